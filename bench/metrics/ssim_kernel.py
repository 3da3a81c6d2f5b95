"""The compiled inner loop of SSIM: one scale of one pair of planes.

Importing this module imports numba and compiles the loop, or loads it from numba's on-disk cache: import it late.

The window is applied to the sum u = x + y and the difference v = x - y, because their four blurs (u, v, u², v²) carry
all that SSIM needs:

    1 - cs        = var(v) / ((var(u) + var(v)) / 2 + C2)
    1 - luminance = mean(v)² / ((mean(u)² + mean(v)²) / 2 + C1)

What is computed in float32 is thus the distance from 1, so a value near 1 loses no digits, and identical planes give 1
exactly. u and v are centred on the planes' mean levels first: the variance of a flat bright area, or of one that has
changed its brightness, would otherwise be the difference of two large numbers. Sums over the plane are kept in float64.

No fast-math: every operation is an IEEE one in the written order, the loops vectorise across columns, and therefore
values depend neither on the machine's vector width nor on threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.core.compiled import cached, inlined

Row = npt.NDArray[np.float32]
Rows = npt.NDArray[np.float32]
Constants = tuple[np.float32, np.float32, np.float32, np.float32]

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03

# A strip and its ring buffers stay in the first two cache levels. Rows lie at a distance known to the compiler, which
# is what lets it vectorise a loop that reads eleven of them.
_STRIP = 512
_STRIDE = _STRIP + 16
_REACH = WINDOW - 1


def gaussian_taps() -> Row:
    """The eleven taps of the Gaussian window (sigma 1.5), float32, summing to 1 within 2e-9.

    The middle tap takes up what rounding the others left, since a sum beside 1 would add a fraction of the squared
    brightness to every variance.
    """
    offset = np.arange(WINDOW) - WINDOW // 2
    exact = np.exp(-(offset**2) / (2 * SIGMA**2))
    taps: Row = (exact / exact.sum()).astype(np.float32)
    taps[WINDOW // 2] = 1.0 - 2.0 * taps[: WINDOW // 2].sum(dtype=np.float64)
    return taps


_W0, _W1, _W2, _W3, _W4, _W5 = gaussian_taps()[: WINDOW // 2 + 1]


@inlined
def _load_row(x: Row, y: Row, constants: Constants, rings: Rows, slot: int) -> None:
    centre_u, centre_v, _, _ = constants
    again = slot + WINDOW * _STRIDE
    sums, sums_again = rings[0, slot:], rings[0, again:]
    for j in range(x.size):
        u = x[j] + y[j] - centre_u
        sums[j] = u
        sums_again[j] = u
    differences, differences_again = rings[1, slot:], rings[1, again:]
    for j in range(x.size):
        v = x[j] - y[j] - centre_v
        differences[j] = v
        differences_again[j] = v


@inlined
def _blur_columns(rows: Row, count: int, mean: Row, mean_square: Row) -> None:
    for j in range(count):
        r0 = rows[j]
        r1 = rows[j + _STRIDE]
        r2 = rows[j + 2 * _STRIDE]
        r3 = rows[j + 3 * _STRIDE]
        r4 = rows[j + 4 * _STRIDE]
        r5 = rows[j + 5 * _STRIDE]
        r6 = rows[j + 6 * _STRIDE]
        r7 = rows[j + 7 * _STRIDE]
        r8 = rows[j + 8 * _STRIDE]
        r9 = rows[j + 9 * _STRIDE]
        r10 = rows[j + 10 * _STRIDE]
        mean[j] = _W0 * (r0 + r10) + _W1 * (r1 + r9) + _W2 * (r2 + r8) + _W3 * (r3 + r7) + _W4 * (r4 + r6) + _W5 * r5
        mean_square[j] = (
            _W0 * (r0 * r0 + r10 * r10)
            + _W1 * (r1 * r1 + r9 * r9)
            + _W2 * (r2 * r2 + r8 * r8)
            + _W3 * (r3 * r3 + r7 * r7)
            + _W4 * (r4 * r4 + r6 * r6)
            + _W5 * (r5 * r5)
        )


@inlined
def _blur_row(row: Row, count: int, blurred: Row) -> None:
    for j in range(count):
        blurred[j] = (
            _W0 * (row[j] + row[j + 10])
            + _W1 * (row[j + 1] + row[j + 9])
            + _W2 * (row[j + 2] + row[j + 8])
            + _W3 * (row[j + 3] + row[j + 7])
            + _W4 * (row[j + 4] + row[j + 6])
            + _W5 * row[j + 5]
        )


@inlined
def _accumulate(blurred: Rows, count: int, constants: Constants, losses: npt.NDArray[np.float64]) -> None:
    centre_u, centre_v, c1, c2 = constants
    half = np.float32(0.5)
    mean_u, mean_v, square_u, square_v = blurred[0], blurred[1], blurred[2], blurred[3]
    ssim_loss, cs_loss = losses[0], losses[1]
    for j in range(count):
        u = mean_u[j]
        v = mean_v[j]
        variance_u = square_u[j] - u * u
        variance_v = square_v[j] - v * v
        u += centre_u
        v += centre_v
        cs = variance_v / (half * (variance_u + variance_v) + c2)
        luminance = v * v / (half * (u * u + v * v) + c1)
        cs_loss[j] += cs
        ssim_loss[j] += cs + luminance - cs * luminance


@cached("UniTuple(float64, 2)(float32[:, ::1], float32[:, ::1], float64, float64, float64)")
def ssim_scale(x: Rows, y: Rows, peak: float, level_x: float, level_y: float) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term of two planes at one scale.

    Shapes: float32 H x W, C order, both sides at least 11; values in 0..peak. ``level_x`` and ``level_y`` are whole
    numbers near the planes' means; precision alone depends on them. Every pixel whose 11 x 11 window lies inside the
    plane counts ("valid" area). Sources: Wang et al. 2004, eq. 13; Wang et al. 2003, eq. 2-3.
    """
    height, width = x.shape
    c1, c2 = np.float32((K1 * peak) ** 2), np.float32((K2 * peak) ** 2)
    constants = (np.float32(level_x + level_y), np.float32(level_x - level_y), c1, c2)
    # Each row is written twice, eleven slots apart, so that any eleven consecutive rows lie one after the other.
    rings = np.empty((2, 2 * WINDOW * _STRIDE), np.float32)
    columns = np.empty((4, _STRIDE), np.float32)
    blurred = np.empty((4, _STRIDE), np.float32)
    losses = np.zeros((2, _STRIDE), np.float64)
    for left in range(0, width - _REACH, _STRIP):
        count = min(_STRIP, width - _REACH - left)
        right = left + count + _REACH
        for row in range(height):
            _load_row(x[row, left:right], y[row, left:right], constants, rings, row % WINDOW * _STRIDE)
            if row < _REACH:
                continue
            first = (row - _REACH) % WINDOW * _STRIDE
            _blur_columns(rings[0, first:], right - left, columns[0], columns[2])
            _blur_columns(rings[1, first:], right - left, columns[1], columns[3])
            for k in range(4):
                _blur_row(columns[k], count, blurred[k])
            _accumulate(blurred, count, constants, losses)
    ssim_loss = 0.0
    cs_loss = 0.0
    for j in range(_STRIP):
        ssim_loss += losses[0, j]
        cs_loss += losses[1, j]
    pixels = (height - _REACH) * (width - _REACH)
    return 1.0 - ssim_loss / pixels, 1.0 - cs_loss / pixels
