"""Streams of CompressAI's models: frames to units of `bench.neural.container`, and back.

Pictures are RGB from 0 to 1, padded as CompressAI's own evaluation does: with zeros, the same on opposite sides. A unit
holds the strings of one frame as the model's own ``compress`` gives them, each but the last after its length. The last
unit is a digest of every index by which a table of probabilities was chosen: these come from networks in floating
point, and a decoder that chose another one would read noise without knowing.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import BitstreamError
from bench.neural.container import DIGEST_BYTES, PayloadReader, StreamHeader, StreamReader, StreamWriter, Unit, varint
from bench.neural.imports import imported
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

INTRA_UNIT, INTER_UNIT, STATE_UNIT = 1, 2, 3

VIDEO_MODEL = "ssf2020"


class FrameCoder(ABC):
    """A model that codes one frame at a time.

    ``padded_to``: sides are padded to multiples of it. ``reduction``: how often a side of the last latent, whose size
    the decoder must know, goes into the picture's.
    """

    padded_to: int
    reduction: int
    strings: tuple[int, int]
    """How many strings an intra frame has, and an inter frame: 0 where every frame is an intra frame."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @abstractmethod
    def encode(self, picture: Tensor, reference: Tensor | None) -> tuple[list[bytes], Tensor | None]:
        """Strings of a picture, and what the next one is coded from: None where that is nothing."""

    @abstractmethod
    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Tensor | None) -> Tensor:
        """The picture of some strings, which may exceed 0 to 1; ``shape`` is that of the last latent."""


class ImageCoder(FrameCoder):
    """An image model: every frame on its own."""

    padded_to = 64

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.reduction = model.downsampling_factor
        self.strings = (1 if type(model).__name__ == "FactorizedPrior" else 2, 0)

    def encode(self, picture: Tensor, reference: Tensor | None) -> tuple[list[bytes], None]:
        return [part[0] for part in self.model.compress(picture)["strings"]], None

    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Tensor | None) -> Tensor:
        picture: Tensor = self.model.decompress([[part] for part in strings], shape)["x_hat"]
        return picture


class ScaleSpaceFlowCoder(FrameCoder):
    """Scale-space flow: an inter frame is motion and residual against the picture before it."""

    padded_to = reduction = 128
    strings = (2, 4)

    def encode(self, picture: Tensor, reference: Tensor | None) -> tuple[list[bytes], Tensor]:
        decoded: Tensor
        if reference is None:
            decoded, coded = self.model.encode_keyframe(picture)
            parts = coded["strings"]
        else:
            decoded, coded = self.model.encode_inter(picture, reference)
            parts = [*coded["strings"]["motion"], *coded["strings"]["residual"]]
        return [part[0] for part in parts], decoded

    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Tensor | None) -> Tensor:
        parts = [[part] for part in strings]
        picture: Tensor
        if reference is None:
            picture = self.model.decode_keyframe(parts, shape)
        else:
            both = {"motion": parts[:2], "residual": parts[2:]}
            picture = self.model.decode_inter(reference, both, dict.fromkeys(both, shape))
        return picture


def build(model: str, tensors: Mapping[str, Tensor]) -> FrameCoder:
    """The coder of a model of CompressAI's zoo from its state dict, on the CPU, ready to code.

    Raises KeyError, RuntimeError or ValueError for tensors that are not that model's. Tables of probabilities are made
    where the state dict holds none, as that of a training does.
    """
    zoo = imported("compressai.zoo.video" if model == VIDEO_MODEL else "compressai.zoo.image")
    renamed = imported("compressai.zoo.pretrained").load_pretrained(dict(tensors))
    network = zoo.model_architectures[model].from_state_dict(renamed).eval().requires_grad_(False)
    network.update()
    return ScaleSpaceFlowCoder(network) if model == VIDEO_MODEL else ImageCoder(network)


def encode(
    coder: FrameCoder, frames: Iterable[Frame], header: StreamHeader, file: BinaryIO, intra_period: int = 0
) -> None:
    """Write a stream of frames, one of which is held at a time.

    ``intra_period``: frames from one intra frame to the next, 0 where only the first is one.
    """
    writer = StreamWriter(file, header)
    choices = _choices_of_tables(coder.model)
    reference: Tensor | None = None
    with torch.inference_mode():
        for number, frame in enumerate(frames):
            if intra_period and number % intra_period == 0:
                reference = None
            kind = INTRA_UNIT if reference is None else INTER_UNIT
            strings, reference = coder.encode(_padded(_picture(frame), coder.padded_to), reference)
            lengths = [varint(len(part)) for part in strings[:-1]] + [b""]
            writer.write(kind, b"".join(piece for pair in zip(lengths, strings, strict=True) for piece in pair))
    writer.write(STATE_UNIT, choices.digest()[:DIGEST_BYTES])
    writer.close()


def decode(coder: FrameCoder, reader: StreamReader) -> Iterator[Frame]:
    """Frames of a stream whose header has been read, one at a time, in the header's format.

    Raises BitstreamError, naming the unit, for a stream that is damaged or cut, and at the end where the decoder chose
    other tables than the encoder: their arithmetic differs.
    """
    header = reader.header
    choices = _choices_of_tables(coder.model)
    reference: Tensor | None = None
    agreed: bytes | None = None
    count = 0
    with torch.inference_mode():
        for unit in reader.units():
            if agreed is not None:
                raise BitstreamError(f"{unit.name}: follows the state unit, which is the last")
            if unit.kind == STATE_UNIT:
                agreed = unit.payload
                continue
            picture = _decode_unit(coder, unit, header.format, reference)
            reference = picture if coder.strings[1] else None
            count += 1
            if count > header.frames:
                raise BitstreamError(f"{unit.name}: more frames than the {header.frames} of the header")
            yield _frame(picture, header.format, coder.padded_to)
    if count != header.frames:
        raise BitstreamError(f"end: {count} frames, the header has {header.frames}")
    if agreed != choices.digest()[:DIGEST_BYTES]:
        raise BitstreamError(
            "state unit: tables were chosen that the encoder did not choose; the arithmetic of the two machines differs"
        )


def _decode_unit(coder: FrameCoder, unit: Unit, fmt: VideoFormat, reference: Tensor | None) -> Tensor:
    count = {INTRA_UNIT: coder.strings[0], INTER_UNIT: coder.strings[1]}.get(unit.kind, 0)
    if unit.kind == INTRA_UNIT:
        reference = None
    elif reference is None or not count:
        raise BitstreamError(f"{unit.name}: no such unit can stand here")
    payload = PayloadReader(unit.payload, unit.name)
    strings = [payload.take(payload.varint()) for _ in range(count - 1)] + [payload.rest()]
    height, width = (_multiple(side, coder.padded_to) // coder.reduction for side in (fmt.height, fmt.width))
    return coder.decode(strings, (height, width), reference)


def _choices_of_tables(model: Any) -> Any:
    """A running SHA-256 of the indexes of tables that the model's Gaussian conditionals build from now on."""
    choices = hashlib.sha256()

    def watched(build_indexes: Any, scales: Tensor) -> Tensor:
        indexes: Tensor = build_indexes(scales)
        choices.update(indexes.numpy().tobytes())
        return indexes

    kind = imported("compressai.entropy_models").GaussianConditional
    for part in model.modules():
        if isinstance(part, kind):
            part.build_indexes = partial(watched, partial(kind.build_indexes, part))
    return choices


def _picture(frame: Frame) -> Tensor:
    """A frame as 1 x 3 x H x W, RGB 0 to 1."""
    rgb = torch.from_numpy(colour.to_rgb(frame).astype(np.float32))
    return rgb.permute(2, 0, 1)[None].contiguous() / frame.format.peak


def _frame(padded: Tensor, fmt: VideoFormat, multiple: int) -> Frame:
    """The frame of a padded picture."""
    left, top = ((_multiple(side, multiple) - side) // 2 for side in (fmt.width, fmt.height))
    picture = padded[0, :, top : top + fmt.height, left : left + fmt.width].permute(1, 2, 0)
    rgb = torch.round(picture.clamp(0, 1) * fmt.peak).numpy().astype(sample_dtype(fmt))
    return Frame(fmt, colour.from_rgb(np.ascontiguousarray(rgb), fmt).data)


def _padded(picture: Tensor, multiple: int) -> Tensor:
    height, width = picture.shape[-2:]
    below, right = _multiple(height, multiple) - height, _multiple(width, multiple) - width
    left, top = right // 2, below // 2
    return functional.pad(picture, (left, right - left, top, below - top))


def _multiple(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
