"""The compiled inner loop of warping: bilinear sampling at positions in full float32 precision.

Importing this module compiles the loop, or loads it from numba's on-disk cache: import it late. OpenCV's own loop
rounds positions to 1/32 pixel before its release 5, so that values would depend on the release.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from bench.core.compiled import cached

Pixels = npt.NDArray[np.float32]


# pictures that several metrics share are read-only
_READ = types.Array(types.float32, 3, "C", readonly=True)


@cached(types.void(_READ, _READ, types.float32[:, :, ::1]))
def bilinear(image: Pixels, positions: Pixels, out: Pixels) -> None:
    """Sample ``image`` (H x W x C) at ``positions`` (h x w x 2; x, y in pixels) into ``out`` (h x w x C).

    A position outside takes the border's value, one that is no number the first column's or row's.
    """
    height, width, channels = image.shape
    right, below = np.float32(width - 1), np.float32(height - 1)
    for row in range(positions.shape[0]):
        for column in range(positions.shape[1]):
            x, y = positions[row, column, 0], positions[row, column, 1]
            x = min(x, right) if x > 0 else np.float32(0)
            y = min(y, below) if y > 0 else np.float32(0)
            left, top = int(x), int(y)
            across, down = x - np.float32(left), y - np.float32(top)
            next_left, next_top = min(left + 1, width - 1), min(top + 1, height - 1)
            for channel in range(channels):
                upper, lower = image[top, left, channel], image[next_top, left, channel]
                upper += across * (image[top, next_left, channel] - upper)
                lower += across * (image[next_top, next_left, channel] - lower)
                out[row, column, channel] = upper + down * (lower - upper)
