"""One frame: its samples, and the exact changes a codec's input format may need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from bench.core.late import Late
from bench.errors import MediaError
from bench.video.formats import VideoFormat

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")

Samples: TypeAlias = "npt.NDArray[Any]"
T = TypeVar("T")


def sample_dtype(fmt: VideoFormat) -> np.dtype[Any]:
    return np.dtype("u1") if fmt.bit_depth == 8 else np.dtype("<u2")


def require_range(data: Samples, fmt: VideoFormat, name: str, index: int) -> None:
    """Raise MediaError for a sample above the peak of the format's bit depth in frame ``index`` of ``name``."""
    if fmt.bit_depth in {8, 16}:
        return
    highest = int(data.max())
    if highest > fmt.peak:
        shifted = 16 - fmt.bit_depth
        high_bits = not (data & ((1 << shifted) - 1)).any()
        hint = f"they are in the high bits; shift them right by {shifted}" if high_bits else "check the pixel format"
        raise MediaError(
            f"{name}: frame {index}: a sample is {highest}, above {fmt.peak}, the peak of {fmt.bit_depth} bit; {hint}"
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """The samples of one frame in one flat array, plane after plane.

    ``data`` has ``format.samples_per_frame`` samples (uint8, or little-endian uint16 above 8 bit).
    ``rgb`` is the original picture (height, width, 3; R, G, B) where the sequence is natively RGB and ``data`` was
    converted from it.
    """

    format: VideoFormat
    data: Samples
    rgb: Samples | None = field(default=None, repr=False)
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_planes(cls, fmt: VideoFormat, planes: list[Samples]) -> Frame:
        return cls(fmt, np.concatenate([plane.ravel() for plane in planes]).astype(sample_dtype(fmt), copy=False))

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` works out from this frame, once for all who ask by ``key``; kept as long as the frame."""
        if key not in self._derived:
            self._derived[key] = make()
        found: T = self._derived[key]
        return found

    @property
    def planes(self) -> tuple[Samples, ...]:
        """Views of the planes: Y, U, V (or Y alone, or G, B, R), each (height, width)."""
        views = []
        start = 0
        for height, width in self.format.plane_shapes:
            views.append(self.data[start : start + height * width].reshape(height, width))
            start += height * width
        return tuple(views)


class DigestedFrames(Iterator[Frame]):
    """Frames of an iterator as they are, with their number and the SHA-256 of their raw bytes so far."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.count = 0
        self._frames = frames
        self._digest = hashlib.sha256()

    def __next__(self) -> Frame:
        frame = next(self._frames)
        self._digest.update(frame.data.data)
        self.count += 1
        return frame

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the frames that were taken."""
        return self._digest.hexdigest()


@dataclass(frozen=True)
class CodingTransform:
    """How a source frame becomes what a codec takes, and how the decoded frame comes back.

    Two changes are allowed, both exactly reversible on the source's samples: edge samples repeated to the right
    and below up to a multiple the codec needs, and a shift to a higher bit depth (back by rounding to nearest).
    """

    source: VideoFormat
    coded: VideoFormat

    @classmethod
    def fit(cls, source: VideoFormat, *, size_multiple: int = 1, bit_depth: int | None = None) -> CodingTransform:
        """Transform for a codec that wants sides divisible by ``size_multiple`` and (or) a bit depth of its own."""
        return cls(
            source,
            replace(
                source,
                width=-(-source.width // size_multiple) * size_multiple,
                height=-(-source.height // size_multiple) * size_multiple,
                bit_depth=max(bit_depth or 0, source.bit_depth),
            ),
        )

    @property
    def is_identity(self) -> bool:
        return self.source == self.coded

    def describe(self) -> list[str]:
        """The changes in words, for the provenance of a result."""
        source, coded = self.source, self.coded
        changes = []
        if (source.width, source.height) != (coded.width, coded.height):
            right, below = coded.width - source.width, coded.height - source.height
            changes.append(f"padded by {right} right and {below} below (edge repeated), cropped after decoding")
        if source.bit_depth != coded.bit_depth:
            changes.append(
                f"coded at {coded.bit_depth} bit (shifted left), decoded samples rounded to {source.bit_depth} bit"
            )
        return changes

    def forward(self, frame: Frame) -> Frame:
        """Source frame to coded frame."""
        if self.is_identity:
            return frame
        shift = self.coded.bit_depth - self.source.bit_depth
        planes: list[Samples] = []
        for plane, (height, width) in zip(frame.planes, self.coded.plane_shapes, strict=True):
            pad = ((0, height - plane.shape[0]), (0, width - plane.shape[1]))
            padded = np.pad(plane, pad, mode="edge") if any(after for _, after in pad) else plane
            planes.append(padded.astype(sample_dtype(self.coded)) << shift)
        return Frame.from_planes(self.coded, planes)

    def inverse(self, frame: Frame) -> Frame:
        """Decoded frame in the coded format to the source's format.

        The colour description is the source's too: a bitstream may have none, and the samples mean what they did.
        """
        if self.is_identity:
            return frame if frame.format == self.source else Frame(self.source, frame.data)
        shift = self.coded.bit_depth - self.source.bit_depth
        planes: list[Samples] = []
        for plane, (height, width) in zip(frame.planes, self.source.plane_shapes, strict=True):
            cropped = plane[:height, :width]
            if shift:
                rounded = (cropped.astype(np.uint32) + (1 << (shift - 1))) >> shift
                cropped = np.minimum(rounded, self.source.peak).astype(sample_dtype(self.source))
            planes.append(cropped)
        return Frame.from_planes(self.source, planes)
