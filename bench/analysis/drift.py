"""Quality along time: its slope over a clip, its course within a GOP, and the jump at intra frames."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.analysis.significance import Interval, bootstrap_interval
from bench.registry import metric_class

if TYPE_CHECKING:
    from bench.records.cell import CellResult


class Stored(Protocol):
    """Results with the values of their frames, as a result set has them."""

    cells: list[CellResult]

    def frame_values(self, cell: CellResult, metrics: list[str], /) -> Mapping[str, Any]:
        """Values of a cell's frames by metric, of those metrics that have some."""


LEAST = 5
"""Frames with a value that a slope needs."""

RESAMPLES = 500


@dataclass(frozen=True)
class Slope:
    """Change of a metric a second, above 0 when it gets better, by least squares over the frames of one cell.

    interval: 95 %, with errors that neighbouring frames share (Newey and West 1987).
    """

    value: float
    interval: Interval


@dataclass(frozen=True)
class Course:
    """How one codec's quality runs over its clips, more being better.

    slope: mean over sequences of the cells' slopes, a second, and its interval by the bootstrap over sequences.
    by_position: mean difference from the clip's mean at each place in the GOP, where a period is given; pop: mean jump
    from the last frame of a GOP to the next intra frame; step: mean absolute jump between other neighbours.
    """

    codec: str
    metric: str
    slope: float
    interval: Interval
    cells: int
    by_position: tuple[float | None, ...] = ()
    pop: float | None = None
    step: float | None = None


def slope(values: Sequence[float | None], fps: float) -> Slope | None:
    """Slope of a clip's values; None under five finite ones."""
    known = [(index / fps, value) for index, value in enumerate(values) if value is not None and math.isfinite(value)]
    if len(known) < LEAST:
        return None
    time, quality = (np.array(column) for column in zip(*known, strict=True))
    centred = time - time.mean()
    spread = float(centred @ centred)
    found = float(centred @ quality) / spread
    scores = centred * (quality - quality.mean() - found * centred)
    count = len(known)
    variance = float(scores @ scores)
    lags = int(4 * (count / 100) ** (2 / 9))
    for lag in range(1, min(lags, count - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(scores[lag:] @ scores[:-lag])
    from scipy.stats import t

    reach = float(t.ppf(0.975, count - 2)) * math.sqrt(max(variance, 0.0) * count / (count - 2)) / spread
    return Slope(found, Interval(found - reach, found + reach))


def courses(results: Stored, metric: str, *, period: int | None = None) -> list[Course]:
    """The course of a metric in each codec of some results that has values of frames.

    ``period``: frames from one intra frame to the next, the first frame being one.
    """
    sign = 1.0 if metric_class(metric).direction == "higher" else -1.0
    found: dict[str, dict[tuple[str, str], list[tuple[NDArray[np.float64], float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for cell in results.cells:
        values = results.frame_values(cell, [metric]).get(metric) if metric in cell.measurements else None
        if values is None or cell.status != "ok":
            continue
        numbers = np.array([math.nan if value is None else sign * float(value) for value in values])
        fps = float(Fraction(cell.sequence.fps))
        found[cell.codec.name][cell.sequence.dataset, cell.sequence.name].append((numbers, fps))
    return [course for codec, clips in sorted(found.items()) if (course := _course(codec, metric, clips, period))]


def _course(
    codec: str, metric: str, clips: dict[tuple[str, str], list[tuple[NDArray[np.float64], float]]], period: int | None
) -> Course | None:
    means, count = [], 0
    for parts in clips.values():
        slopes = [one.value for values, fps in parts if (one := slope(_listed(values), fps)) is not None]
        if slopes:
            means.append(float(np.mean(slopes)))
            count += len(slopes)
    if not means:
        return None
    array = np.array(means)
    interval = bootstrap_interval(lambda weights: np.asarray(weights @ array), len(array), resamples=RESAMPLES)
    every = [values for parts in clips.values() for values, _ in parts]
    positions, pop, step = ((), None, None) if period is None else _in_gop(every, period)
    return Course(codec, metric, float(array.mean()), interval, count, positions, pop, step)


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _in_gop(
    clips: Iterable[NDArray[np.float64]], period: int
) -> tuple[tuple[float | None, ...], float | None, float | None]:
    """Mean by position, jump at intra frames after the first, and absolute jump elsewhere."""
    at: list[list[float]] = [[] for _ in range(period)]
    pops: list[float] = []
    steps: list[float] = []
    for values in clips:
        finite = np.where(np.isfinite(values), values, math.nan)
        mean = float(np.nanmean(finite)) if not np.isnan(finite).all() else math.nan
        for index, value in enumerate(finite):
            if not math.isnan(value):
                at[index % period].append(float(value) - mean)
        for index, jump in enumerate(np.diff(finite), start=1):
            if not math.isnan(jump):
                if index % period == 0:
                    pops.append(float(jump))
                else:
                    steps.append(abs(float(jump)))
    positions = tuple(float(np.mean(found)) if found else None for found in at)
    return positions, float(np.mean(pops)) if pops else None, float(np.mean(steps)) if steps else None
