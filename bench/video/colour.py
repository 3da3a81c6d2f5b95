"""Conversion between YUV and RGB with the matrix, the range and the chroma filter said aloud.

Matrices: ITU-R BT.709-6, BT.601-7, BT.2020-2 (non-constant luminance), SMPTE 240M, FCC 73.682 and YCgCo, the last three
as ITU-T H.273 has them. Limited range is 16-235 for luma and 16-240 for chroma at 8 bit, scaled by powers of two above.
The other matrices of H.273 are no linear function of RGB, or depend on more than the samples.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.core.late import Late
from bench.errors import MetricError
from bench.video.formats import CHROMA_SUBSAMPLING, Matrix, VideoFormat
from bench.video.frame import Frame, Samples, sample_dtype

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")

# Kr, Kb of each recommendation
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}

Float: TypeAlias = "npt.NDArray[np.float32]"


def describe(fmt: VideoFormat) -> str:
    """Conversion that ``to_rgb`` applies to frames of this format, for provenance."""
    if fmt.chroma == "rgb":
        return "native RGB, none"
    if fmt.chroma == "gray":
        return "luma repeated, none"
    if not is_convertible(fmt):
        return f"none from {fmt.matrix}"
    return (
        f"{fmt.matrix} {'full' if fmt.full_range else 'limited'} range, chroma bilinear ({fmt.siting} siting), "
        f"rounded to {fmt.bit_depth} bit"
    )


def is_convertible(fmt: VideoFormat) -> bool:
    """Whether frames of a format can be converted to RGB and back."""
    return fmt.chroma in {"rgb", "gray"} or fmt.matrix == "ycgco" or fmt.matrix in LUMA_WEIGHTS


@cache
def _scales(fmt: VideoFormat) -> tuple[float, float, float, float]:
    """Luma offset and span, chroma centre and span, in sample values."""
    if fmt.full_range:
        return 0.0, float(fmt.peak), float(1 << (fmt.bit_depth - 1)), float(fmt.peak)
    step = 1 << (fmt.bit_depth - 8)
    return 16.0 * step, 219.0 * step, 128.0 * step, 224.0 * step


@cache
def _yuv_to_rgb(fmt: VideoFormat) -> npt.NDArray[np.float64]:
    """3x4 affine map from Y, U, V sample values to R, G, B sample values."""
    if not is_convertible(fmt):
        raise MetricError(
            f"the matrix is {fmt.matrix}, from which there is no conversion to RGB here; there is from "
            f"{', '.join(LUMA_WEIGHTS)} and ycgco"
        )
    luma_offset, luma_span, centre, chroma_span = _scales(fmt)
    linear = _chroma_weights(fmt.matrix) @ np.diag(
        [fmt.peak / luma_span, fmt.peak / chroma_span, fmt.peak / chroma_span]
    )
    offset = -linear @ np.array([luma_offset, centre, centre])
    return np.hstack([linear, offset[:, None]])


def _chroma_weights(matrix: Matrix) -> npt.NDArray[np.float64]:
    """3x3 map from Y in 0 to 1 and U, V in -0.5 to 0.5 to R, G, B in 0 to 1."""
    if matrix == "ycgco":
        return np.array([[1, -1, 1], [1, 1, 0], [1, -1, -1]], np.float64)
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    return np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )


@cache
def _rgb_to_yuv(fmt: VideoFormat) -> npt.NDArray[np.float64]:
    inverse = np.linalg.inv(_yuv_to_rgb(fmt)[:, :3])
    offset = -inverse @ _yuv_to_rgb(fmt)[:, 3]
    return np.hstack([inverse, offset[:, None]])


@lru_cache(maxsize=2)  # as large as two frames each
def _upsampling_maps(fmt: VideoFormat) -> tuple[Float, Float]:
    """Chroma coordinates of every luma sample."""
    sub_x, sub_y = CHROMA_SUBSAMPLING[fmt.chroma]
    x = np.arange(fmt.width, dtype=np.float32)
    y = np.arange(fmt.height, dtype=np.float32)
    centred_x = sub_x == 1 or fmt.siting == "centre"
    centred_y = sub_y == 1 or fmt.siting != "topleft"
    columns = (x + 0.5) / sub_x - 0.5 if centred_x else x / sub_x
    rows = (y + 0.5) / sub_y - 0.5 if centred_y else y / sub_y
    grid_x, grid_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return grid_x, grid_y


def _upsample(plane: Float, fmt: VideoFormat) -> Float:
    import cv2

    if CHROMA_SUBSAMPLING[fmt.chroma] == (1, 1):
        return plane
    map_x, map_y = _upsampling_maps(fmt)
    upsampled: Float = cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return upsampled


def to_rgb(frame: Frame) -> Samples:
    """RGB picture (height, width, 3; R, G, B) at the frame's bit depth, rounded to nearest and clipped.

    A frame with an original RGB picture gives that one. Grey frames repeat their luma. Raises MetricError for a matrix
    that has no conversion here.
    """
    import cv2

    if frame.rgb is not None:
        return frame.rgb
    fmt, planes = frame.format, frame.planes
    if fmt.chroma == "rgb":
        green, blue, red = planes
        return np.dstack([red, green, blue])
    if fmt.chroma == "gray":
        return np.dstack([planes[0]] * 3)
    yuv = cv2.merge([planes[0].astype(np.float32), *(_upsample(p.astype(np.float32), fmt) for p in planes[1:])])
    rgb = cv2.transform(yuv, _yuv_to_rgb(fmt).astype(np.float32))
    return _quantise(rgb, fmt)


def from_rgb(rgb: Samples, fmt: VideoFormat) -> Frame:
    """YUV frame of an RGB picture (height, width, 3) of the same bit depth; the picture is kept as ``frame.rgb``.

    Chroma is averaged over the samples it stands for: the box of 2x2 (or 2x1) where it sits in their centre, and
    1-2-1 across with a vertical pair where it sits on the left (MPEG-2 siting).
    """
    import cv2

    if fmt.chroma == "rgb":
        return Frame.from_planes(fmt, [rgb[..., 1], rgb[..., 2], rgb[..., 0]])
    yuv = cv2.transform(rgb.astype(np.float32), _rgb_to_yuv(fmt).astype(np.float32))
    planes: list[Any] = [yuv[..., 0]]
    if fmt.chroma != "gray":
        planes += [_downsample(yuv[..., index], fmt) for index in (1, 2)]
    return Frame(fmt, np.concatenate([_quantise(plane, fmt).ravel() for plane in planes]), rgb)


def _downsample(plane: Float, fmt: VideoFormat) -> Float:
    import cv2

    sub_x, sub_y = CHROMA_SUBSAMPLING[fmt.chroma]
    if (sub_x, sub_y) == (1, 1):
        return plane
    left = fmt.siting != "centre"
    across = np.array([0.25, 0.5, 0.25] if left else [0, 0.5, 0.5], np.float32)
    down = {1: [0, 1, 0], 2: [0.25, 0.5, 0.25] if fmt.siting == "topleft" else [0, 0.5, 0.5]}[sub_y]
    smooth = cv2.sepFilter2D(plane, -1, across, np.array(down, np.float32), borderType=cv2.BORDER_REPLICATE)
    decimated: Float = smooth[::sub_y, ::sub_x]
    return decimated


def _quantise(values: Float, fmt: VideoFormat) -> Samples:
    quantised: Samples = np.clip(np.floor(values + 0.5), 0, fmt.peak).astype(sample_dtype(fmt))
    return quantised


def rgb_of(frame: Frame) -> Samples:
    """A frame as RGB picture (height, width, 3) at its bit depth, converted once."""
    return frame.derived("rgb", lambda: to_rgb(frame))
