"""How far metrics agree with what is known without them: with the order of rates, and with people's scores."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.analysis.significance import Interval, bootstrap_interval
from bench.errors import UsageError, VcbenchError
from bench.registry import metric_class

if TYPE_CHECKING:
    from bench.records.cell import CellResult

Array = NDArray[np.float64]
Point = tuple[str, str, str, float]
"""Dataset, sequence, codec and rate parameter of a cell."""

RESAMPLES = 500


@dataclass(frozen=True)
class Order:
    """Whether a metric keeps the order of rates: of two rate points of one codec on one sequence, does it find the one
    with more bits better?

    kept: mean over the sequences of the share of pairs in order, a tie counting half, 0 to 1. pairs: how many there
    are. curves: of how many (codec, sequence). reversal: of all that the curves go up and down from rate to rate, the
    share that they go down, 0 to 1.
    """

    metric: str
    kept: float
    interval: Interval
    pairs: int
    curves: int
    reversal: float


@dataclass(frozen=True)
class Score:
    """What people said of one coded sequence. interval: half the width of its confidence interval, if it is stated."""

    dataset: str | None
    sequence: str
    codec: str
    rate: float
    mos: float
    interval: float | None = None


@dataclass(frozen=True)
class Statistic:
    """A number with its interval by the bootstrap over sequences; None with the reason where there is none."""

    value: float | None
    interval: Interval


@dataclass(frozen=True)
class Agreement:
    """A metric against people's scores, ``direction`` taken care of: 1 is full agreement.

    ``across``: over all points: "spearman", "kendall", and after a monotone fit "pearson" and "rmse" (in the unit of
    the scores). ``within``: the means of "pearson", "spearman" and "kendall" of each sequence with three points and
    more. ``fit``: what mapped the metric to the scores. ``noise``: root mean square of the scores' own intervals, which
    no metric need beat.
    """

    metric: str
    points: int
    sequences: int
    across: Mapping[str, Statistic]
    within: Mapping[str, Statistic]
    fit: str
    noise: float | None


def order_kept(cells: Iterable[CellResult], metrics: Iterable[str] | None = None) -> list[Order]:
    """The order of rates in each metric of some cells, or the wanted ones; those with no pair of rates are left out."""
    curves: dict[str, dict[tuple[str, str], list[list[tuple[int, float]]]]] = defaultdict(lambda: defaultdict(list))
    grouped: dict[tuple[str, str, str, float], list[CellResult]] = defaultdict(list)
    for cell in cells:
        if cell.status == "ok" and cell.bits is not None:
            grouped[cell.sequence.dataset, cell.sequence.name, cell.codec.name, cell.scale].append(cell)
    for (dataset, sequence, *_), found in grouped.items():
        for metric in {name for cell in found for name in cell.measurements}:
            points = sorted((cell.bits or 0, value) for cell in found if (value := _oriented(cell, metric)) is not None)
            if len({bits for bits, _ in points}) > 1:
                curves[metric][dataset, sequence].append(points)
    names = list(curves) if metrics is None else [name for name in metrics if name in curves]
    return [_order(name, curves[name]) for name in sorted(names)]


def _oriented(cell: CellResult, metric: str) -> float | None:
    """Value of a cell, more being better; an infinite one as the metric's cap."""
    measured = cell.measurements.get(metric)
    if measured is None or measured.value is None:
        return None
    try:
        kind = metric_class(metric)
    except VcbenchError:  # of a plug-in that is not here: its direction is not known
        return None
    value = float(measured.value)
    if math.isinf(value):
        if kind.cap is None:
            return None
        value = kind.cap
    return value if kind.direction == "higher" else -value


def _order(metric: str, curves: Mapping[tuple[str, str], Sequence[Sequence[tuple[int, float]]]]) -> Order:
    shares, pairs, down, moved = [], 0, 0.0, 0.0
    for found in curves.values():
        kept = counted = 0.0
        for points in found:
            for index, (bits, value) in enumerate(points):
                for more, better in points[index + 1 :]:
                    if more > bits:
                        counted += 1
                        kept += 1.0 if better > value else 0.5 if better == value else 0.0
            steps = np.diff([value for _, value in points])
            down, moved = down - float(steps[steps < 0].sum()), moved + float(np.abs(steps).sum())
        shares.append(kept / counted)
        pairs += int(counted)
    values = np.array(shares)
    interval = bootstrap_interval(lambda weights: weights @ values, len(values), resamples=RESAMPLES)
    reversal = down / moved if moved else 0.0
    return Order(metric, float(values.mean()), interval, pairs, sum(map(len, curves.values())), reversal)


_COLUMNS = {"sequence", "codec", "rate", "mos"}


def read_scores(path: Path) -> list[Score]:
    """Scores of a CSV file with the columns sequence, codec, rate and mos, and dataset and interval if there are any.

    ``rate`` is the value of the codec's rate parameter, as result sets have it. Raises UsageError, naming the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [
                {(key or "").strip().lower(): value for key, value in row.items()} for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows:
        raise UsageError(f"{path}: has no rows; the first line names the columns sequence, codec, rate, mos")
    if missing := sorted(_COLUMNS - set(rows[0])):
        columns = "columns" if len(missing) > 1 else "column"
        raise UsageError(
            f"{path}: lacks the {columns} {', '.join(missing)}; name them in its first line, "
            f"which has {', '.join(sorted(rows[0]))}"
        )
    scores = []
    for line, row in enumerate(rows, start=2):
        try:
            rate, mos = float(row["rate"]), float(row["mos"])
            interval = float(row["interval"]) if (row.get("interval") or "").strip() else None
        except (TypeError, ValueError):
            raise UsageError(f"{path}, line {line}: rate, mos and interval are numbers, not {row}") from None
        if not (math.isfinite(rate) and math.isfinite(mos)):
            raise UsageError(f"{path}, line {line}: rate and mos are finite numbers")
        dataset = (row.get("dataset") or "").strip() or None
        scores.append(Score(dataset, row["sequence"].strip(), row["codec"].strip(), rate, mos, interval))
    return scores


def matched(cells: Iterable[CellResult], scores: Sequence[Score]) -> tuple[list[tuple[CellResult, Score]], list[Score]]:
    """Each score with its cell, and the scores that have none. UsageError for two scores of one cell."""
    by_point: dict[Point, CellResult] = {
        (cell.sequence.dataset, cell.sequence.name, cell.codec.name, cell.rate.value): cell
        for cell in cells
        if cell.status == "ok" and cell.scale == 1
    }
    found: dict[Point, tuple[CellResult, Score]] = {}
    lost = []
    for score in scores:
        point = next((p for p in by_point if _is_of(score, p)), None)
        if point is None:
            lost.append(score)
        elif point in found:
            raise UsageError(f"two scores are of {score.codec} at {score.rate:g} on {score.sequence}; leave one out")
        else:
            found[point] = by_point[point], score
    return list(found.values()), lost


def _is_of(score: Score, point: Point) -> bool:
    dataset, sequence, codec, rate = point
    same = (score.sequence, score.codec) == (sequence, codec) and math.isclose(score.rate, rate, rel_tol=1e-9)
    return same and score.dataset in {None, dataset}


def agreement(pairs: Sequence[tuple[CellResult, Score]], metrics: Iterable[str] | None = None) -> list[Agreement]:
    """Each metric of some cells, or the wanted ones, against their scores; one needs four points."""
    names = {name for cell, _ in pairs for name in cell.measurements} if metrics is None else metrics
    return [found for name in sorted(names) if (found := _agreement(name, pairs)) is not None]


def _agreement(metric: str, pairs: Sequence[tuple[CellResult, Score]]) -> Agreement | None:
    known = [(cell, score, value) for cell, score in pairs if (value := _oriented(cell, metric)) is not None]
    if len(known) < 4:
        return None
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (cell, _, _) in enumerate(known):
        groups[cell.sequence.dataset, cell.sequence.name].append(index)
    values, mos = np.array([value for _, _, value in known]), np.array([score.mos for _, score, _ in known])
    mapped, fit = _fitted(values, mos)
    members = [np.array(indices) for indices in groups.values()]
    large = [part for part in members if len(part) >= 3]
    noises = [score.interval for _, score, _ in known if score.interval is not None]
    return Agreement(
        metric,
        len(known),
        len(groups),
        {
            "pearson": _across(mapped, mos, members, _pearson),
            "spearman": _across(values, mos, members, _spearman),
            "kendall": _across(values, mos, members, _kendall),
            "rmse": _across(mapped, mos, members, lambda a, b: float(np.sqrt(np.mean((a - b) ** 2)))),
        },
        {
            name: _within(values, mos, large, measure)
            for name, measure in (("pearson", _pearson), ("spearman", _spearman), ("kendall", _kendall))
        },
        fit,
        math.sqrt(sum(noise * noise for noise in noises) / len(noises)) if noises else None,
    )


def _fitted(values: Array, mos: Array) -> tuple[Array, str]:
    """The metric mapped to the scores by a logistic of four parameters, which rises (ITU-T P.1401); a line without it.

    Where the metric tells nothing, the mean.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    spread = float(values.std())
    if spread == 0:
        return np.full_like(mos, mos.mean()), "the mean: the metric has one value"
    scaled = (values - values.mean()) / spread

    def logistic(x: Array, low: float, rise: float, middle: float, width: float) -> Array:
        return np.asarray(low + rise / (1 + np.exp(-np.clip((x - middle) / width, -50, 50))))

    import warnings

    start = (mos.min(), max(float(np.ptp(mos)), 1e-6), 0.0, 1.0)
    limits = ([-np.inf, 0, -10, 1e-2], [np.inf, np.inf, 10, 100])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            found, _ = curve_fit(logistic, scaled, mos, p0=start, bounds=limits, max_nfev=5000)
    except (RuntimeError, ValueError, TypeError, OptimizeWarning):
        slope, offset = np.polyfit(scaled, mos, 1)
        if slope < 0:
            return np.full_like(mos, mos.mean()), "the mean: the metric falls as scores rise"
        return slope * scaled + offset, "a line: no logistic was found"
    return logistic(scaled, *found), "logistic, four parameters"


Measure = Callable[[Array, Array], float]


def _pearson(a: Array, b: Array) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan


def _spearman(a: Array, b: Array) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(a), rankdata(b))


def _kendall(a: Array, b: Array) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan


def _across(values: Array, mos: Array, members: Sequence[NDArray[np.intp]], measure: Measure) -> Statistic:
    """Over all points; a resample has the points of the sequences drawn, as often as they were."""

    def statistic(weights: Array) -> Array:
        times = np.rint(weights * len(members)).astype(int)
        drawn = [np.concatenate([np.tile(part, n) for part, n in zip(members, row, strict=True)]) for row in times]
        return np.array([measure(values[index], mos[index]) for index in drawn])

    return _statistic(measure(values, mos), statistic, len(members))


def _within(values: Array, mos: Array, members: Sequence[NDArray[np.intp]], measure: Measure) -> Statistic:
    """Mean over the sequences; one in which either has one value alone says nothing."""
    each = np.array([measure(values[index], mos[index]) for index in members])
    each = each[~np.isnan(each)]
    if not each.size:
        return Statistic(None, Interval(None, None, "no sequence has three points of different values"))
    return _statistic(float(each.mean()), lambda weights: np.asarray(weights @ each), len(each))


def _statistic(value: float, statistic: Callable[[Array], Array], count: int) -> Statistic:
    if math.isnan(value):
        return Statistic(None, Interval(None, None, "undefined: one of the two has one value alone"))
    return Statistic(value, bootstrap_interval(statistic, count, resamples=RESAMPLES))
