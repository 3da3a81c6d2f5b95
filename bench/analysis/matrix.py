"""Every codec against every other: the Bjontegaard deltas of all pairs at once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bd import MIN_OVERLAP, Domain, PreparedCurve, overlap_problem, prepare
from bench.analysis.compare import pair_problem
from bench.analysis.curves import DatasetSource, RDCurve, RDPoint, SequenceKey
from bench.analysis.pooled import OVER_DATASET
from bench.analysis.significance import Interval, mean_intervals

REASONS_TOLD = 3

_Array = NDArray[np.float64]
_Pair = tuple[int, int]


@dataclass(frozen=True)
class Pairs:
    """The deltas of all codecs on one sequence; arrays of shape (anchors, tests), NaN where undefined.

    encode, decode: logarithm of the ratio of test's time to anchor's, NaN where either was not timed. reasons: why two
    different codecs have no value, by (anchor, test). measured: codecs that have a curve, even one without points.
    sequences: how many the values are over, 1 but for curves of a whole dataset.
    """

    key: SequenceKey
    value: _Array
    overlap: _Array
    encode: _Array
    decode: _Array
    reasons: Mapping[_Pair, str]
    measured: NDArray[np.bool_]
    sequences: int = 1


@dataclass(frozen=True)
class Summary:
    """One pair over sequences, as `bench.analysis.compare.Comparison` has it.

    encode, decode: ratio of times, None where no compared sequence has both. total: sequences that either was
    measured on.
    """

    value: float | None
    reason: str | None
    overlap: float | None
    interval: Interval
    used: int
    total: int
    encode: float | None
    decode: float | None


def delta_pairs(
    key: SequenceKey,
    curves: Sequence[RDCurve | None],
    codecs: Sequence[str],
    domain: Domain,
    *,
    higher_is_better: bool,
    cap: float | None = None,
    saturation: float | None = None,
    mix_published: bool = False,
) -> Pairs:
    """All pairs of `codecs` by their curves on one sequence; None for a codec that was not measured there.

    Values are those of `bd_rate` (domain "quality"; per cent) or `bd_metric` ("rate"; the metric's unit) with PCHIP.
    Each curve is interpolated and integrated once, so that all anchors cost little more than one does.
    """
    settings: dict[str, Any] = {"higher_is_better": higher_is_better, "cap": cap, "saturation": saturation}
    whole = [curve or RDCurve(name, *key, "", "bpp") for name, curve in zip(codecs, curves, strict=True)]
    reasons = _not_comparable(whole, mix_published=mix_published)
    sides = [prepare(c.codec, c.rates, c.delta_qualities, domain, **settings) for c in whole]
    encode = _time_ratios(curves, lambda point: point.encode_s, reasons)
    decode = _time_ratios(curves, lambda point: point.decode_s, reasons)
    with np.errstate(all="ignore"):
        mean, overlap = _mean_differences(sides)
        value: _Array = mean if higher_is_better else -mean
        if domain == "quality":
            value = np.asarray(100 * np.expm1(mean), dtype=np.float64)
        undefined = ~(np.isfinite(value) & (overlap >= MIN_OVERLAP))
    for anchor, test in np.argwhere(undefined).tolist():
        if anchor != test and (anchor, test) not in reasons:
            reasons[anchor, test] = _reason(sides[anchor], sides[test], float(overlap[anchor, test]), domain)
    for pair in reasons:
        value[pair] = math.nan
    np.fill_diagonal(value, math.nan)
    measured = np.array([curve is not None for curve in curves])
    return Pairs(key, value, overlap, encode, decode, reasons, measured, _sequences(curves))


def summarise(
    pairs: Sequence[Pairs], codecs: Sequence[str], wholes: Sequence[Pairs] | None = None
) -> list[list[Summary]]:
    """Every pair over the sequences of `pairs`: rows are anchors, columns test codecs.

    The value is the mean of the sequences' with its bootstrap interval; with `wholes`, pairs by curves of whole
    datasets, the mean of these, which has no interval.
    """
    decisive = pairs if wholes is None else wholes
    count = len(codecs)
    values = _stacked([p.value for p in decisive], count)
    overlaps = _stacked([p.overlap for p in decisive], count)
    weights = np.array([p.sequences for p in decisive], dtype=int)
    intervals = _intervals(values) if wholes is None else {}
    encode = _ratios(_stacked([p.encode for p in pairs], count))
    decode = _ratios(_stacked([p.decode for p in pairs], count))
    measured = np.array([p.measured for p in pairs], dtype=bool).reshape(-1, count)

    def summary(anchor: int, test: int) -> Summary:
        own, overlap = values[:, anchor, test], overlaps[:, anchor, test]
        defined = ~np.isnan(own)
        has_value = bool(defined.any())
        known = overlap[defined] if has_value else overlap[~np.isnan(overlap)]
        return Summary(
            float(own[defined].mean()) if has_value else None,
            None if has_value else _told(p.reasons.get((anchor, test), "") for p in decisive),
            float(known.min()) if known.size else None,
            intervals.get((anchor, test), _no_interval(has_value, pooled=wholes is not None)),
            int(weights[defined].sum()),
            int((measured[:, anchor] | measured[:, test]).sum()),
            _number(encode[anchor, test]),
            _number(decode[anchor, test]),
        )

    return [[summary(anchor, test) for test in range(count)] for anchor in range(count)]


def _not_comparable(curves: Sequence[RDCurve], *, mix_published: bool) -> dict[_Pair, str]:
    """Pairs whose curves are not of the same source, with the reason."""
    return {
        (row, column): problem[1]
        for row, anchor in enumerate(curves)
        for column, test in enumerate(curves)
        if row != column and (problem := pair_problem(anchor, test, mix_published=mix_published))
    }


def _mean_differences(sides: Sequence[PreparedCurve]) -> tuple[_Array, _Array]:
    """Mean difference, test minus anchor, over what both curves reach, and their overlap; shape (anchors, tests)."""
    low, high = (np.array([getattr(side, end) for side in sides], dtype=np.float64) for end in ("low", "high"))
    common_low, common_high = np.maximum.outer(low, low), np.minimum.outer(high, high)
    area = np.full(common_low.shape, math.nan)
    for row, side in enumerate(sides):
        if side.integral is not None:
            ends = side.integral(np.clip([common_low[row], common_high[row]], side.low, side.high))
            area[row] = ends[1] - ends[0]
    # Halved, as for one pair: the length of an interval may overflow where half of it cannot.
    lengths = high / 2 - low / 2
    common = np.maximum(common_high / 2 - common_low / 2, 0)
    longer = np.maximum.outer(lengths, lengths)
    return (area.T - area) / (common_high - common_low), np.where(longer == 0, 0.0, common / longer)


def _reason(anchor: PreparedCurve, test: PreparedCurve, overlap: float, domain: Domain) -> str:
    problem = anchor.problem or test.problem or overlap_problem(overlap, domain)
    return problem[1] if problem else "the integral leaves the floating-point range"


def _time_ratios(
    curves: Sequence[RDCurve | None], time: Callable[[RDPoint], float | None], apart: Collection[_Pair]
) -> _Array:
    logs = np.full(len(curves), math.nan)
    for index, curve in enumerate(curves):
        times = [seconds for point in curve.points if (seconds := time(point)) is not None] if curve else []
        if times:
            logs[index] = np.log(times).mean()
    ratios: _Array = logs - logs[:, None]
    for pair in apart:
        ratios[pair] = math.nan
    return ratios


def _sequences(curves: Sequence[RDCurve | None]) -> int:
    sources = (source for curve in curves if curve for source in curve.sources)
    return max((source.sequences for source in sources if isinstance(source, DatasetSource)), default=1)


def _stacked(tables: Sequence[_Array], count: int) -> _Array:
    return np.array(tables, dtype=np.float64).reshape(-1, count, count)


def _intervals(values: _Array) -> dict[_Pair, Interval]:
    """The interval of every pair that has a value; pairs with equally many sequences share their resamples."""
    alike: dict[int, list[_Pair]] = defaultdict(list)
    for anchor, test in np.argwhere(~np.isnan(values).all(axis=0)).tolist():
        alike[int((~np.isnan(values[:, anchor, test])).sum())].append((anchor, test))
    found: dict[_Pair, Interval] = {}
    for group in alike.values():
        columns = [values[:, anchor, test] for anchor, test in group]
        samples = np.array([column[~np.isnan(column)] for column in columns]).T
        found.update(zip(group, mean_intervals(samples), strict=True))
    return found


def _no_interval(defined: bool, *, pooled: bool) -> Interval:
    if pooled and defined:
        return Interval(None, None, f"values are {OVER_DATASET}, so its sequences cannot be drawn again")
    return Interval(None, None, "the value itself is undefined")


def _ratios(logs: _Array) -> _Array:
    timed = ~np.isnan(logs)
    with np.errstate(all="ignore"):
        ratios: _Array = np.exp(np.where(timed, logs, 0).sum(axis=0) / timed.sum(axis=0))
    return ratios


def _told(reasons: Any) -> str:
    """Why no sequence has a value: the most frequent reasons, each with its number of sequences."""
    counts = Counter(reason for reason in reasons if reason)
    told = [f"{reason} ({_sequence_count(times)})" for reason, times in counts.most_common(REASONS_TOLD)]
    if len(counts) > REASONS_TOLD:
        told.append(f"and {len(counts) - REASONS_TOLD} other reasons")
    return "; ".join(told) or "neither codec was measured"


def _sequence_count(count: int) -> str:
    return "1 sequence" if count == 1 else f"{count} sequences"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
