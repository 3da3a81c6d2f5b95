"""Where keyframes go: a segment lasts as long as its first frame, moved along its tracks, accounts for the others.

Every keyframe ends one segment and begins the next: segments overlap by one frame, and the keyframes are the clip's
first frame and the last one of each segment. A cut lies between two keyframes, in a segment of nothing else. Frames
are read once and held for one segment at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from bench.errors import UsageError
from bench.neural.codecs.actdiff_vc.perceptual import Measure, measure_named
from bench.neural.codecs.actdiff_vc.splat import splat
from bench.neural.codecs.actdiff_vc.tracks import Dis, Grid, Mask, Picture, Points, Tracker

Why = Literal["coverage", "perceptual", "scene cut", "longest", "end"]

STILL_SEEN = 0.35
"""Least share of a frame's points that are seen in the next one: fewer are chance matches across a cut (seen: 0.33 at
most, between pictures of noise; in scenes of fast motion, half)."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Frames ``first`` to ``first + length - 1`` of a clip, the keyframes at both ends, and the tracks between them.

    ``positions``: float32 points x length x 2, pixels; ``visible``: bool points x length; ``why`` it is no longer.
    ``start``, ``end``: the keyframes, RGB uint8 H x W x 3. They are one only where the clip is one frame.
    """

    first: int
    length: int
    positions: Points
    visible: Mask
    why: Why
    start: Picture
    end: Picture


@dataclass(frozen=True)
class _Limits:
    """What a segment is held to; ``fixed`` is nothing but a length."""

    longest: int
    patience: int
    coverage: float
    perceptual: float
    fixed: bool

    def __post_init__(self) -> None:
        if self.longest < 2:
            raise UsageError(f"a segment of {self.longest} frames has no room for both keyframes; give 2 or more")
        if self.patience < 1:
            raise UsageError(f"patience of {self.patience} frames; give 1 or more")
        for name in ("coverage", "perceptual"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name)}: give a threshold from 0 to 1")


def segments(
    frames: Iterable[Picture],
    *,
    longest: int = 49,
    patience: int = 3,
    coverage: float = 0.7,
    perceptual: float = 0.3,
    fixed: int | None = None,
    tracker: Tracker | None = None,
    measure: Measure | None = None,
) -> Iterator[Segment]:
    """Segments of a clip, in order, each as soon as it is known. Frames: RGB uint8 H x W x 3, all of one size.

    A frame fails where the keyframe, splatted along the tracks, covers less than ``coverage`` of it or looks further
    away than ``perceptual`` (0 to 1, see `Measure`). The last of ``patience`` failing frames in a row becomes a
    keyframe, which those before it are next to. A segment ends also before a cut, after ``longest`` frames, and with
    the clip. ``fixed``: nothing but segments of so many frames. Without ``tracker`` DIS, without ``measure`` the one of
    `measure_named`. UsageError for limits that no segment can keep.
    """
    limits = _Limits(fixed or longest, patience, coverage, perceptual, fixed is not None)
    tracker = tracker or Dis()
    measure = measure or measure_named()
    window = _Window(frames)
    first = 0
    while window.holds(1):
        segment = _segment(window, first, limits, tracker, measure)
        yield segment
        first += segment.length - 1
        window.drop(segment.length - 1)
        if not window.holds(2):
            return


class _Window:
    """The frames of one segment, read as they are asked for and kept until they are dropped."""

    def __init__(self, frames: Iterable[Picture]) -> None:
        self._source = iter(frames)
        self._held: deque[Picture] = deque()

    def holds(self, count: int) -> bool:
        """Whether there are as many frames."""
        self._held.extend(islice(self._source, max(0, count - len(self._held))))
        return len(self._held) >= count

    def __getitem__(self, index: int) -> Picture:
        return self._held[index]

    def frames(self, count: int) -> Iterator[Picture]:
        """The first frames, up to a count."""
        for index in range(count):
            if not self.holds(index + 1):
                return
            yield self[index]

    def drop(self, count: int) -> None:
        for _ in range(count):
            self._held.popleft()


def _segment(window: _Window, first: int, limits: _Limits, tracker: Tracker, measure: Measure) -> Segment:
    grid = Grid.of(*window[0].shape[:2])
    tracks = []
    failures: list[Why] = []
    length = 0
    why: Why
    for index, (places, seen) in enumerate(tracker.follow(window.frames(limits.longest), grid)):
        tracks.append((places, seen))
        length = index + 1
        if index == 0 or limits.fixed:
            continue
        if seen.sum() < STILL_SEEN * tracks[-2][1].sum():
            length, why = max(2, index), "scene cut"
            break
        shown = splat(window[0], grid, places, seen)
        if shown.coverage < limits.coverage:
            failures.append("coverage")
        elif measure.distance(window[index], shown) > limits.perceptual:
            failures.append("perceptual")
        else:
            failures.clear()
        if len(failures) == limits.patience:
            why = failures[0]
            break
    else:
        why = "longest" if window.holds(length + 1) else "end"
    positions, visible = zip(*tracks[:length], strict=True)
    ends = window[0], window[length - 1]
    return Segment(first, length, np.stack(positions, axis=1), np.stack(visible, axis=1), why, *ends)
