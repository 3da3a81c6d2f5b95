"""Dense tracks: where the points of a grid on a segment's first frame are in the frames after it.

Three trackers, chosen by name: "dis", optical flow chained from frame to frame, is always there; "cotracker" and
"alltracker" are networks in a user's own checkout, see `tracking_networks`, which knows all by name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.video.flow import MIN_SIDE, Flow, dis_flow, occlusion_mask, warp

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

GRID_POINTS = 30_000
"""At most as many points are followed, whatever the size of a frame: every second pixel each way of 352x288."""

ALIKE, UNLIKE = 4.0, 24.0
"""Mean difference of luma, in 8-bit levels, over `PATCH`: up to the first a place looks like the one that it came from,
beyond the second it is another, however well the flows agree."""
PATCH = 5


@dataclass(frozen=True)
class Grid:
    """Points ``step`` pixels apart on a frame of ``height`` x ``width`` pixels, row by row."""

    height: int
    width: int
    step: int

    @classmethod
    def of(cls, height: int, width: int) -> Grid:
        """The finest grid of at most `GRID_POINTS` points, or nearly so."""
        return cls(height, width, max(1, math.ceil((height * width / GRID_POINTS) ** 0.5)))

    @property
    def rows(self) -> int:
        """Points from top to bottom."""
        return len(range(self._offset, self.height, self.step))

    @property
    def columns(self) -> int:
        """Points from left to right."""
        return len(range(self._offset, self.width, self.step))

    @property
    def _offset(self) -> int:
        return min(self.step // 2, self.height - 1, self.width - 1)

    def points(self) -> Points:
        """Positions float32 points x 2, (x, y) in pixels."""
        x = np.arange(self._offset, self.width, self.step, dtype=np.float32)
        y = np.arange(self._offset, self.height, self.step, dtype=np.float32)
        points: Points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        return points

    def at_pixels(self, values: Points) -> Points:
        """Values of the points (points x channels) at all pixels, H x W x channels, bilinear."""
        between = (_pixels(self.height, self.width) - np.float32(self._offset)) / np.float32(self.step)
        return sampled(values.reshape(self.rows, self.columns, -1), between)

    def nearest(self, values: Mask) -> Mask:
        """Of each pixel, H x W, the value of the point next to it."""
        row = np.clip((np.arange(self.height) - self._offset + self.step // 2) // self.step, 0, self.rows - 1)
        column = np.clip((np.arange(self.width) - self._offset + self.step // 2) // self.step, 0, self.columns - 1)
        near: Mask = values.reshape(self.rows, self.columns)[np.ix_(row, column)]
        return near


class Tracker(ABC):
    """One way to follow points."""

    name: str

    @abstractmethod
    def follow(self, frames: Iterable[Picture], grid: Grid) -> Iterator[tuple[Points, Mask]]:
        """Positions (points x 2, pixels) and visibility (points) of a grid's points, frame by frame.

        Frames: RGB uint8 H x W x 3. In the first one all points are visible and on the grid. UnavailableError where
        the tracker is not here.
        """

    def check(self) -> None:
        """Raise UnavailableError, saying what to do, if it cannot run on this machine."""


class Dis(Tracker):
    """Optical flow by DIS from frame to frame, on luma.

    A point is lost for good where flow and opposite flow differ (Sundaram et al. 2010, `occlusion_mask`) and what is
    there looks different too: on a flat ground flows differ by chance, and it matters to nobody. It is lost also where
    what is there looks like another thing altogether, as after a cut.
    """

    name = "dis"

    def follow(self, frames: Iterable[Picture], grid: Grid) -> Iterator[tuple[Points, Mask]]:
        positions, visible = grid.points(), np.ones(grid.rows * grid.columns, bool)
        before: Picture | None = None
        for frame in frames:
            after = _luma(frame)
            if before is not None:
                positions, visible = _moved(positions, visible, before, after)
            yield positions, visible
            before = after


def dense_tracks(
    frames: Iterable[Picture], grid: Grid | None = None, tracker: Tracker | None = None
) -> tuple[Points, Mask]:
    """Positions float32 points x frames x 2, in pixels, and visibility bool points x frames, of all frames at once.

    Frames: RGB uint8 H x W x 3, one at least. By DIS and `Grid.of` unless others are given.
    """
    source = iter(frames)
    first = next(source)
    found = (tracker or Dis()).follow(_chained(first, source), grid or Grid.of(*first.shape[:2]))
    positions, visible = zip(*found, strict=True)
    return np.stack(positions, axis=1), np.stack(visible, axis=1)


def sampled(values: Points, at: Points) -> Points:
    """Bilinear values (H x W x channels) at positions (h x w x 2); beyond the border those of the border."""
    from bench.video.sampling_kernel import bilinear

    found = np.empty((*at.shape[:2], values.shape[2]), np.float32)
    bilinear(np.ascontiguousarray(values, np.float32), np.ascontiguousarray(at, np.float32), found)
    return found


def _moved(positions: Points, visible: Mask, before: Picture, after: Picture) -> tuple[Points, Mask]:
    forth, back = _flow(before, after), _flow(after, before)
    difference = _difference(before, warp(after, forth))
    lost = (occlusion_mask(forth, back, motion_boundaries=False) & (difference > ALIKE)) | (difference > UNLIKE)
    height, width = before.shape
    x, y = (np.clip(np.rint(positions[:, axis]).astype(int), 0, side - 1) for axis, side in ((0, width), (1, height)))
    moved = positions + sampled(forth, positions[None])[0]
    inside = ((moved >= 0) & (moved <= (width - 1, height - 1))).all(axis=1)
    return moved, visible & inside & ~lost[y, x]


def _difference(first: Picture, second: Points) -> Points:
    import cv2

    mean: Points = cv2.blur(np.abs(first.astype(np.float32) - second), (PATCH, PATCH))
    return mean


def _flow(first: Picture, second: Picture) -> Flow:
    height, width = first.shape
    if min(height, width) >= MIN_SIDE:
        return dis_flow(first, second)
    margin = ((0, max(0, MIN_SIDE - height)), (0, max(0, MIN_SIDE - width)))
    flow = dis_flow(np.pad(first, margin, mode="edge"), np.pad(second, margin, mode="edge"))
    return flow[:height, :width]


def _luma(frame: Picture) -> Picture:
    import cv2

    grey: Picture = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return grey


def _pixels(height: int, width: int) -> Points:
    grid: Points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    return grid


def _chained(first: Picture, rest: Iterator[Picture]) -> Iterator[Picture]:
    yield first
    yield from rest
