"""RGB as DCVC's evaluation makes it of YUV clips: full range, whatever the clip's, and chroma centred on one half.

Source: the code published with Li, Li and Lu, *Neural Video Compression with Feature Modulation*, CVPR 2024, which
writes the pictures of its RGB test set with it. Its float32 is followed operation by operation, because a picture that
rounds the other way in a thousandth of the samples would no longer be the one that the papers measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.core.late import Late
from bench.errors import MetricError
from bench.metrics.base import FramePair
from bench.video import colour
from bench.video.colour import rgb_of
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, Samples, sample_dtype

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")

RED, BLUE = colour.LUMA_WEIGHTS["bt709"]
GREEN = 0.7152  # to four digits, not what the others leave

_WITHOUT_CHROMA = {"gray", "rgb"}


def rgb_pair(pair: FramePair) -> tuple[Samples, Samples]:
    """Both frames as RGB pictures (height, width, 3) at the format's bit depth.

    A natively RGB source is compared by its own pictures, and the decoded frames are brought back to RGB by the matrix
    that made YUV of them: DCVC's would undo another conversion than the one done.
    """
    if pair.reference.rgb is not None:
        return pair.rgb
    reference, distorted = (
        frame.derived("dcvc rgb", lambda frame=frame: to_rgb(frame))  # type: ignore[misc]
        for frame in (pair.reference, pair.distorted)
    )
    return reference, distorted


def describe(fmt: VideoFormat) -> str:
    """Conversion that ``rgb_pair`` applies, for provenance."""
    ours = colour.describe(fmt)
    if fmt.chroma in _WITHOUT_CHROMA:
        return ours
    theirs = f"bt709 full range, chroma bilinear with aligned corners, rounded to {fmt.bit_depth} bit"
    return f"{theirs}; of natively RGB sources {ours}"


def to_rgb(frame: Frame) -> Samples:
    """RGB picture (height, width, 3) of a YUV frame, rounded to nearest, ties to even; grey and RGB ones as ever."""
    fmt = frame.format
    if fmt.chroma in _WITHOUT_CHROMA:
        return rgb_of(frame)
    if fmt.matrix not in colour.LUMA_WEIGHTS:
        raise MetricError(f"the matrix is {fmt.matrix}, which DCVC's conversion would take for BT.709")
    peak = np.float32(fmt.peak)
    luma, blue_difference, red_difference = (
        _enlarge(plane.astype(np.float32) / peak, (fmt.height, fmt.width)) for plane in frame.planes
    )
    red = luma + (2 - 2 * RED) * (red_difference - 0.5)
    blue = luma + (2 - 2 * BLUE) * (blue_difference - 0.5)
    green = (luma - RED * red - BLUE * blue) / GREEN
    planes = [np.rint(plane.clip(0, 1) * peak).astype(sample_dtype(fmt)) for plane in (red, green, blue)]
    return np.dstack(planes)


def _enlarge(plane: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear enlargement that maps corner samples to corner samples, in float64 within, as ``scipy.ndimage.zoom``."""
    if plane.shape == shape:
        return plane
    # across first, on the fewer rows: taking columns is the slow half
    wide = _interpolate(plane.astype(np.float64), shape[1], axis=1)
    return _interpolate(wide, shape[0], axis=0).astype(np.float32)


def _interpolate(plane: npt.NDArray[np.float64], length: int, axis: int) -> npt.NDArray[np.float64]:
    last = plane.shape[axis] - 1
    position = np.arange(length) * (last / max(length - 1, 1))
    before = np.minimum(position.astype(np.intp), max(last - 1, 0))
    fraction = np.expand_dims(position - before, 1 - axis)
    first: npt.NDArray[np.float64] = plane.take(before, axis)
    second = plane.take(np.minimum(before + 1, last), axis)
    first *= 1 - fraction
    second *= fraction
    first += second
    return first
