"""Fidelity of one plane to another: squared error, PSNR, SSIM and MS-SSIM, on integer planes of up to 16 bit."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bench.core.late import Late

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")

Plane: TypeAlias = "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]"
OddSides = Literal["zeros", "edge"]

MS_SSIM_WEIGHTS: dict[int, tuple[float, ...]] = {
    5: (0.0448, 0.2856, 0.3001, 0.2363, 0.1333),
    4: (0.0517, 0.3295, 0.3462, 0.2726),
}
"""Exponents of the scales, finest first: five as in Wang et al. 2003, four as in HM and DCVC (those, normalised)."""

_WINDOW = 11
_TWO_HALVES = 1 << 20  # samples; below, handing work to a thread costs more than it saves
_BOX, _STRIDE = 8, 4
_EXACT_SUM = 2**50  # cv2.norm squares a float64 square root: below this the result is off by less than one half


@dataclass(frozen=True, slots=True)
class StructuralSimilarity:
    """SSIM and MS-SSIM of a pair of planes; a value that does not exist is None and `reason` says why."""

    ssim: float | None
    ms_ssim: float | None
    levels: int | None
    reason: str | None = None


def plane_sse(a: Plane, b: Plane) -> int:
    """Sum of squared errors of two planes, exact.

    Shapes: equal, H x W (or H x W x C); both uint8 or both uint16; rows may lie apart. ValueError otherwise.
    """
    import cv2

    _check_pair(a, b)
    peak = int(np.iinfo(a.dtype).max)
    samples_in_row = max(1, math.prod(a.shape[1:]))
    rows = max(1, _EXACT_SUM // (peak * peak * samples_in_row))
    total = 0
    for top in range(0, a.shape[0], rows):
        total += round(cv2.norm(a[top : top + rows], b[top : top + rows], cv2.NORM_L2SQR))
    return total


def psnr(sse: float, count: int, peak: int) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(peak² count / sse); infinite for no error.

    `sse` is the sum of squared errors over `count` samples, `peak` the largest code value (255, 1023, ...).
    ValueError for a negative error or no samples.
    """
    if count <= 0 or sse < 0:
        raise ValueError(f"PSNR needs samples and a squared error of at least 0, got {count} and {sse}")
    return math.inf if sse == 0 else 10.0 * math.log10(peak * peak * count / sse)


def ms_ssim_levels(width: int, height: int) -> int | None:
    """Number of MS-SSIM scales for a plane of this size: 5, 4, or None where MS-SSIM has no value.

    Five scales need a short side of 176 (the 11-tap window at 1/16 of it), four need 88; a smaller plane has no MS-SSIM
    and is never resized. The rule of the HM and of DCVC. `pytorch_msssim` uses five scales from 161 on.
    """
    short = min(width, height)
    return next((levels for levels in (5, 4) if short >= _WINDOW << (levels - 1)), None)


def ssim_ms_ssim(
    a: Plane, b: Plane, bit_depth: int, *, levels: int | None = None, odd: OddSides = "zeros"
) -> StructuralSimilarity:
    """SSIM and MS-SSIM of two planes.

    Shapes: equal, H x W, uint8 or uint16; data range 2^bit_depth - 1. Gaussian window 11 x 11, sigma 1.5, K1 = 0.01,
    K2 = 0.03, mean over the pixels whose window lies inside the plane (no padding). Between scales 2 x 2 means; an odd
    side first gets a row or column: of zeros on the top or left ("zeros", as in `pytorch_msssim`), or its last one once
    more ("edge", as in DCVC's evaluation). Negative terms of MS-SSIM count as 0. SSIM lies in [-1, 1], MS-SSIM in
    [0, 1]; identical planes have 1.

    `levels` is 5 or 4, by default `ms_ssim_levels` of the size. A plane too small for it has `ms_ssim` None, one under
    11 pixels no value at all. ValueError for planes of different shape or type, or another number of levels.
    Sources: Wang et al. 2004, eq. 13; Wang, Simoncelli and Bovik 2003, eq. 7.
    """
    _check_pair(a, b)
    if a.ndim != 2 or not 1 <= bit_depth <= 8 * a.itemsize:
        raise ValueError(f"SSIM takes H x W planes, got shape {a.shape}, {a.dtype} at {bit_depth} bit")
    if levels is not None and levels not in MS_SSIM_WEIGHTS:
        raise ValueError(f"MS-SSIM has {' or '.join(map(str, MS_SSIM_WEIGHTS))} levels here, not {levels}")
    height, width = a.shape
    if min(height, width) < _WINDOW:
        return StructuralSimilarity(None, None, None, f"{width}x{height} is smaller than the 11x11 window of SSIM")
    wanted = ms_ssim_levels(width, height) if levels is None else levels
    if wanted is None:
        reason = f"{width}x{height} is too small for MS-SSIM: four levels need a short side of 88"
    elif _coarsest_side(min(height, width), wanted) < _WINDOW:
        reason = f"{width}x{height} is too small for MS-SSIM with {wanted} levels"
    else:
        return _multi_scale(a, b, (1 << bit_depth) - 1, wanted, odd)
    ssim, _ = _ssim_scale(a.astype(np.float32), b.astype(np.float32), (1 << bit_depth) - 1, _brightness(a, b))
    return StructuralSimilarity(ssim, None, None, reason)


def box_ssim(a: Plane, b: Plane, bit_depth: int) -> float:
    """SSIM over 8 x 8 boxes, every fourth sample one, as FFmpeg's `ssim` filter and x264 compute it.

    Shapes: equal, H x W, both sides at least 8; uint8 or uint16; data range 2^bit_depth - 1. Samples beyond the last
    whole block of four count for nothing. Exact sums, rounded constants and sample variances as in that filter.
    ValueError for planes of different shape or type, or smaller ones. Source: Wang et al. 2004, eq. 13.
    """
    _check_pair(a, b)
    if a.ndim != 2 or min(a.shape) < _BOX:
        raise ValueError(f"SSIM over boxes takes planes of at least {_BOX} x {_BOX}, got shape {a.shape}")
    peak, count = (1 << bit_depth) - 1, _BOX * _BOX
    # up to 12 bit the sums of a block fit, and half as many bytes are twice as fast
    exact: type[Any] = np.int32 if bit_depth <= 12 else np.int64
    x, y = a.astype(exact), b.astype(exact)
    sum_x, sum_y, squares, products = (_box_sums(plane) for plane in (x, y, x * x + y * y, x * y))
    c1, c2 = int((0.01 * peak) ** 2 * count + 0.5), int((0.03 * peak) ** 2 * count * (count - 1) + 0.5)
    both, each = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
    luminance = (2 * both + c1) / (each + c1)
    contrast_structure = (2 * (count * products - both) + c2) / (count * squares - each + c2)
    return float((luminance * contrast_structure).mean())


def _box_sums(plane: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Sum of each 8 x 8 box."""
    height, width = (side // _STRIDE for side in plane.shape)
    rows = plane[: height * _STRIDE, : width * _STRIDE].reshape(height, _STRIDE, width * _STRIDE)
    rows = rows[:, 0] + rows[:, 1] + rows[:, 2] + rows[:, 3]
    blocks = (rows[:, 0::4] + rows[:, 1::4] + rows[:, 2::4] + rows[:, 3::4]).astype(np.int64)
    pairs = blocks[1:] + blocks[:-1]
    sums: npt.NDArray[np.int64] = pairs[:, 1:] + pairs[:, :-1]
    return sums


def warm_up() -> None:
    """Compile the SSIM kernel, or load it from numba's cache (seconds, once a process); safe in a background thread."""
    plane = np.zeros((_WINDOW, _WINDOW), np.float32)
    _ssim_scale(plane, plane, 255, (0.0, 0.0))


def _multi_scale(a: Plane, b: Plane, peak: int, levels: int, odd: OddSides) -> StructuralSimilarity:
    x, y = a.astype(np.float32), b.astype(np.float32)
    brightness = _brightness(a, b)
    scales = [_ssim_scale(x, y, peak, brightness)]
    for _ in range(1, levels):
        x, y = _halve(x, odd), _halve(y, odd)
        scales.append(_ssim_scale(x, y, peak, brightness))
    terms = [cs for _, cs in scales[:-1]] + [scales[-1][0]]
    value = math.prod(max(term, 0.0) ** weight for term, weight in zip(terms, MS_SSIM_WEIGHTS[levels], strict=True))
    return StructuralSimilarity(scales[0][0], value, levels)


def _ssim_scale(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], peak: int, brightness: tuple[float, float]
) -> tuple[float, float]:
    """Mean SSIM and contrast-structure term; a large plane in two halves, whatever the number of threads."""
    import cv2

    from bench.metrics.ssim_kernel import ssim_scale

    if x.size < _TWO_HALVES:
        ssim, contrast_structure = ssim_scale(x, y, float(peak), *brightness)
        return ssim, contrast_structure
    rows = x.shape[0] - _WINDOW + 1  # of windows
    upper = rows // 2
    top, bottom = slice(0, upper + _WINDOW - 1), slice(upper, None)
    # OpenCV's number of threads is this process' share of the machine
    other = _second_thread().submit(ssim_scale, x[top], y[top], float(peak), *brightness)
    if cv2.getNumThreads() == 1:
        other.result()
    halves = np.array([ssim_scale(x[bottom], y[bottom], float(peak), *brightness), other.result()])
    ssim, contrast_structure = np.average(halves, axis=0, weights=[rows - upper, upper])
    return float(ssim), float(contrast_structure)


@cache
def _second_thread() -> ThreadPoolExecutor:
    """Thread for the second half of a plane: the compiled loop lets go of Python's lock."""
    return ThreadPoolExecutor(1, thread_name_prefix="ssim")


def _brightness(a: Plane, b: Plane) -> tuple[float, float]:
    """Mean of each plane, rounded to a whole level."""
    import cv2

    return float(round(cv2.mean(a)[0])), float(round(cv2.mean(b)[0]))


def _halve(plane: npt.NDArray[np.float32], odd: OddSides) -> npt.NDArray[np.float32]:
    import cv2

    down, right = plane.shape[0] % 2, plane.shape[1] % 2
    if (down or right) and odd == "zeros":
        plane = cv2.copyMakeBorder(plane, down, 0, right, 0, cv2.BORDER_CONSTANT, value=0)
    elif down or right:
        plane = cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE)
    half: npt.NDArray[np.float32] = cv2.resize(
        plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA
    )
    return half


def _coarsest_side(side: int, levels: int) -> int:
    return -(-side >> (levels - 1))


def _check_pair(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
    if a.shape != b.shape or a.dtype != b.dtype or a.dtype not in (np.uint8, np.uint16):
        got = f"{a.shape} {a.dtype} and {b.shape} {b.dtype}"
        raise ValueError(f"planes must be of one shape and both uint8 or both uint16, got {got}")
