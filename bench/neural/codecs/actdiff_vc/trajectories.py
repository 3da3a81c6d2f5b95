"""Sparse trajectories: where some points of a segment's first frame are in each of its frames, in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

PRECISIONS = (1, 2)
"""Units a pixel that positions may have."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Points followed through a segment; each is visible in the segment's first frame.

    ``positions``: int32 tracks x frames x 2, (x, y) in units of 1/``per_pixel`` pixel, 0 being the centre of the first
    column or row. ``visible``: bool tracks x frames. ``per_pixel``: 1 or 2. Where a point is not visible its position
    says nothing; `canonical` puts the last visible one there. ValueError for other shapes and precisions.
    """

    positions: Integers
    visible: Mask
    per_pixel: int

    def __post_init__(self) -> None:
        if self.positions.ndim != 3 or self.positions.shape != (*self.visible.shape, 2):
            raise ValueError(f"positions {self.positions.shape} and visible {self.visible.shape} do not fit together")
        if self.visible.shape[1] < 1 or not self.visible[:, 0].all():
            raise ValueError("each track needs a first frame, visible there")
        if self.per_pixel not in PRECISIONS:
            raise ValueError(f"positions have 1 or 2 units per pixel, not {self.per_pixel}")

    @property
    def tracks(self) -> int:
        """Number of points followed."""
        return len(self.visible)

    @property
    def frames(self) -> int:
        """Frames of the segment, its first one included."""
        return self.visible.shape[1]

    def pixels(self) -> npt.NDArray[np.float32]:
        """Positions in pixels, float32 tracks x frames x 2."""
        return self.positions.astype(np.float32) / np.float32(self.per_pixel)

    def canonical(self) -> Trajectories:
        """The form that a bitstream gives back: sorted by start, row by row, and standing still while not visible.

        Tracks of one start keep their order.
        """
        start = self.positions[:, 0]
        order = np.lexsort((start[:, 0], start[:, 1]))
        visible = self.visible[order]
        return Trajectories(held(self.positions[order], visible), visible, self.per_pixel)


def quantised(positions: npt.NDArray[np.float32], visible: Mask, per_pixel: int) -> Trajectories:
    """Canonical trajectories of positions in pixels (tracks x frames x 2), rounded to 1/``per_pixel`` pixel."""
    rounded = np.floor(positions.astype(np.float64) * per_pixel + 0.5)
    return Trajectories(np.where(visible[..., None], rounded, 0).astype(np.int32), visible, per_pixel).canonical()


def held(positions: Integers, visible: Mask) -> Integers:
    """Positions with that of the last visible frame wherever a point is not visible."""
    frames = np.arange(visible.shape[1])
    last = np.maximum.accumulate(np.where(visible, frames, 0), axis=1)
    return np.take_along_axis(positions, last[..., None], axis=1)
