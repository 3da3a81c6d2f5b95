"""Every codec against every other: the Bjontegaard deltas of all pairs at once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bd import (
    DISAGREEMENT,
    FLAG_TEXTS,
    LITTLE_OVERLAP,
    OUT_OF_RANGE,
    SPREAD_METHODS,
    Cause,
    Domain,
    Doubt,
    PreparedCurve,
    overlap_problem,
    prepare,
)
from bench.analysis.compare import OTHERS_LACK_IT, USUAL, curve_doubts, pair_problem
from bench.analysis.curves import DatasetSource, RDCurve, RDPoint, SequenceKey
from bench.analysis.interpolation import areas
from bench.analysis.options import CompareOptions, DeltaAxis
from bench.analysis.pooled import OVER_DATASET
from bench.analysis.shared_sequences import averaged_sequences, common_sequences
from bench.analysis.significance import Interval, mean_intervals

REASONS_TOLD = 3
FLAGS: tuple[Cause, ...] = tuple(FLAG_TEXTS)
"""What the bits of `Pairs.flags` stand for, the lowest first."""

_Array = NDArray[np.float64]
_Pair = tuple[int, int]


@dataclass(frozen=True)
class Pairs:
    """The deltas of all codecs on one sequence; arrays of shape (anchors, tests), NaN where undefined.

    methods: the value by each of `SPREAD_METHODS`, shape (methods, anchors, tests). compared: low and high end of the
    interval, in the metric's unit or of rate, shape (2, anchors, tests); on the diagonal that of a codec's own curve,
    NaN where curves do not meet. encode, decode: logarithm of the ratio of test's time to anchor's, NaN where either
    was not timed. flags: bits for the doubts, see `FLAGS`. doubts: those of each codec's own curve, in words. reasons:
    why two different codecs have no value, as its cause and in words, by (anchor, test). measured: codecs that have a
    curve, even one without points. sequences: how many the values are over, 1 but for curves of a whole dataset.
    """

    key: SequenceKey
    value: _Array
    overlap: _Array
    methods: _Array
    compared: _Array
    encode: _Array
    decode: _Array
    flags: NDArray[np.int64]
    doubts: Mapping[int, tuple[Doubt, ...]]
    reasons: Mapping[_Pair, tuple[Cause, str]]
    measured: NDArray[np.bool_]
    sequences: int = 1


@dataclass(frozen=True)
class Summary:
    """One pair over sequences, as `bench.analysis.compare.Comparison` has it.

    flags: bits, as in `Pairs`. reason: why there is no value, or what a part of the sequences lacks. compared: from the
    lowest to the highest end among the sequences. encode, decode: ratio of times, None where no compared sequence has
    both. total: sequences that either was measured on. keys: those that the value is of. apart: the mean is over the
    pair's own sequences, since it lacks most of those that the anchor's other pairs have in common; it does not rank
    with these.
    """

    value: float | None
    reason: str | None
    overlap: float | None
    compared: tuple[float, float] | None
    spread: tuple[float, float] | None
    interval: Interval
    flags: int
    used: int
    total: int
    encode: float | None
    decode: float | None
    keys: tuple[SequenceKey, ...] = ()
    apart: bool = False


def flag_bits(flags: Iterable[Cause]) -> int:
    """Flags as bits."""
    return sum(1 << FLAGS.index(flag) for flag in set(flags))


def flags_of(bits: int) -> tuple[Cause, ...]:
    """The flags that bits stand for, in their order."""
    return tuple(flag for number, flag in enumerate(FLAGS) if bits >> number & 1)


def delta_pairs(
    key: SequenceKey,
    curves: Sequence[RDCurve | None],
    codecs: Sequence[str],
    domain: Domain,
    axis: DeltaAxis,
    options: CompareOptions = USUAL,
) -> Pairs:
    """All pairs of `codecs` by their curves on one sequence; None for a codec that was not measured there.

    Values are those of `bd_rate` (domain "quality"; per cent) or `bd_metric` ("rate"; the metric's unit), of which
    the method is one of `SPREAD_METHODS`.
    Each curve is interpolated and integrated once, so that all anchors cost little more than one does.
    """
    settings, min_overlap = axis.curve_settings(options), options.min_overlap
    whole = [curve or RDCurve(name, *key, "", "bpp") for name, curve in zip(codecs, curves, strict=True)]
    reasons = _not_comparable(whole, mix_published=options.mix_published)
    sides = [prepare(c.codec, *c.delta_points, domain, settings) for c in whole]
    encode = _time_ratios(curves, lambda point: point.encode_s, reasons)
    decode = _time_ratios(curves, lambda point: point.decode_s, reasons)
    with np.errstate(all="ignore"):
        means, overlap, ends = _mean_differences(sides)
        values = means if axis.higher_is_better else -means
        if domain == "quality":
            values = np.asarray(100 * np.expm1(means), dtype=np.float64)
        value = values[SPREAD_METHODS.index(settings.method)].copy()
        values = np.where(np.isfinite(values), values, math.nan)
        undefined = ~(np.isfinite(value) & (overlap > 0) & (overlap >= min_overlap))
    for anchor, test in np.argwhere(undefined).tolist():
        if anchor != test and (anchor, test) not in reasons:
            reasons[anchor, test] = _reason(
                sides[anchor], sides[test], float(overlap[anchor, test]), domain, min_overlap
            )
    for pair in reasons:
        value[pair] = math.nan
    np.fill_diagonal(value, math.nan)
    values[:, np.isnan(value)] = math.nan
    sides = [replace(side, doubts=(*side.doubts, *curve_doubts(c))) for side, c in zip(sides, whole, strict=True)]
    flags = _flags(sides, value, overlap, values, domain)
    measured = np.array([curve is not None for curve in curves])
    doubts = {number: side.doubts for number, side in enumerate(sides) if side.doubts}
    compared = _compared(ends, domain, settings.sign)
    return Pairs(
        key, value, overlap, values, compared, encode, decode, flags, doubts, reasons, measured, _sequences(curves)
    )


def summarise(
    pairs: Mapping[Domain, Sequence[Pairs]],
    codecs: Sequence[str],
    wholes: Mapping[Domain, Sequence[Pairs]] | None = None,
    *,
    whole: str = OVER_DATASET,
) -> dict[Domain, list[list[Summary]]]:
    """Every pair over the sequences of `pairs`, by domain: rows are anchors, columns test codecs.

    The value is the mean of the sequences' with its bootstrap interval, over the sequences that an anchor's row has in
    common, as in `bench.analysis.compare.compare_codecs`; with `wholes`, pairs by curves of whole datasets, the mean of
    these, which has no interval; `whole` says what their values are.
    """
    among, apart = _among(pairs, len(codecs))
    timed = {domain: _timed(among.get("quality", own)) for domain, own in among.items()}
    return {
        domain: _summaries(
            domain,
            of_domain,
            among[domain],
            timed[domain],
            apart,
            len(codecs),
            None if wholes is None else wholes.get(domain, ()),
            whole,
        )
        for domain, of_domain in pairs.items()
    }


def _among(
    pairs: Mapping[Domain, Sequence[Pairs]], count: int
) -> tuple[dict[Domain, NDArray[np.bool_]], Collection[tuple[Domain, int, int]]]:
    """The sequences that each pair is averaged over, shape (sequences, anchors, tests), and the pairs apart."""
    owned = {domain: ~np.isnan(_stacked([p.value for p in found], count)) for domain, found in pairs.items()}
    apart: set[tuple[Domain, int, int]] = set()
    for anchor in range(count):
        row = {
            (domain, test): np.flatnonzero(own[:, anchor, test]).tolist()
            for domain, own in owned.items()
            for test in range(count)
            if test != anchor and own[:, anchor, test].any()
        }
        _, together = common_sequences(row)
        apart |= {(domain, anchor, test) for domain, test in row if (domain, test) not in together}
        for (domain, test), keys in averaged_sequences(row).items():
            own = owned[domain][:, anchor, test]
            own[:] = False
            own[sorted(keys)] = True
    return owned, apart


def _summaries(
    domain: Domain,
    pairs: Sequence[Pairs],
    among: NDArray[np.bool_],
    timed: NDArray[np.bool_],
    apart: Collection[tuple[Domain, int, int]],
    count: int,
    wholes: Sequence[Pairs] | None,
    whole: str,
) -> list[list[Summary]]:
    decisive = pairs if wholes is None else wholes
    values = _stacked([p.value for p in decisive], count)
    used = among if wholes is None else ~np.isnan(values)
    values = np.where(used, values, math.nan)
    overlaps = _stacked([p.overlap for p in decisive], count)
    methods = np.array([p.methods for p in decisive], dtype=np.float64).reshape(-1, len(SPREAD_METHODS), count, count)
    ends = np.array([p.compared for p in decisive], dtype=np.float64).reshape(-1, 2, count, count)
    flags = np.array([p.flags for p in decisive], dtype=np.int64).reshape(-1, count, count)
    weights = np.array([p.sequences for p in decisive], dtype=int)
    intervals = _intervals(values) if wholes is None else {}
    encode, decode = (
        _ratios(np.where(timed, _stacked([getattr(p, step) for p in pairs], count), math.nan))
        for step in ("encode", "decode")
    )
    measured = np.array([p.measured for p in pairs], dtype=bool).reshape(-1, count)
    total = (measured[:, :, None] | measured[:, None, :]).sum(axis=0).tolist()
    number = np.tensordot(weights, used, axes=1).tolist()
    defined = used.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = (np.where(used, values, 0).sum(axis=0) / defined).tolist()
        means = np.where(used[:, None], methods, 0).sum(axis=0) / defined
        spreads = np.stack([np.fmin.reduce(means), np.fmax.reduce(means)], axis=-1).tolist()
        of_used = np.where(used, overlaps, math.inf).min(axis=0, initial=math.inf)
        known = np.where(defined > 0, of_used, np.fmin.reduce(overlaps, initial=math.inf)).tolist()
    lowest = np.where(used, ends[:, 0], math.inf).min(axis=0, initial=math.inf).tolist()
    highest = np.where(used, ends[:, 1], -math.inf).max(axis=0, initial=-math.inf).tolist()
    bits = np.bitwise_or.reduce(np.where(used, flags, 0), axis=0).tolist()
    of_pair = np.moveaxis(used, 0, -1)
    keys = {
        row.tobytes(): tuple(p.key for p, ok in zip(decisive, row, strict=True) if ok)
        for row in of_pair.reshape(count * count, len(decisive))
    }

    def summary(anchor: int, test: int) -> Summary:
        own = of_pair[anchor, test]
        count_used = int(defined[anchor, test])
        has_value = count_used > 0
        value = mean[anchor][test] if has_value else None
        spread = tuple(spreads[anchor][test]) if has_value else None
        partial = has_value and (
            count_used < len(decisive) if wholes is not None else number[anchor][test] < total[anchor][test]
        )
        reason = None
        if partial or not has_value:
            absent = (p for p, ok in zip(decisive, own, strict=True) if not ok)
            otherwise = (None, OTHERS_LACK_IT if has_value else "")
            reason = _told(p.reasons.get((anchor, test), otherwise)[1] for p in absent)
        return Summary(
            value,
            reason,
            None if math.isinf(known[anchor][test]) else known[anchor][test],
            (lowest[anchor][test], highest[anchor][test]) if has_value else None,
            spread,
            intervals.get((anchor, test), _no_interval(has_value, None if wholes is None else whole)),
            _overall_flags(bits[anchor][test], count_used, value, spread, domain)
            | (flag_bits([Cause.PARTIAL]) * partial),
            number[anchor][test],
            total[anchor][test],
            _number(encode[anchor, test]),
            _number(decode[anchor, test]),
            keys[own.tobytes()],
            wholes is None and (domain, anchor, test) in apart,
        )

    return [[summary(anchor, test) for test in range(count)] for anchor in range(count)]


def _overall_flags(
    bits: int, sequences: int, value: float | None, spread: tuple[float, float] | None, domain: Domain
) -> int:
    """The flags of any sequence; that methods disagree is a matter of the means."""
    disagree = flag_bits([Cause.METHODS_DISAGREE])
    if sequences > 1 and bits & disagree and value is not None and spread is not None:
        tolerance = 100 * DISAGREEMENT if domain == "quality" else 0.0
        if spread[1] - spread[0] <= max(tolerance, 0.1 * abs(value)):
            bits &= ~disagree
    return bits


def _flags(
    sides: Sequence[PreparedCurve], value: _Array, overlap: _Array, methods: _Array, domain: Domain
) -> NDArray[np.int64]:
    own = np.array([flag_bits(doubt.flag for doubt in side.doubts) for side in sides], dtype=np.int64)
    flags = np.bitwise_or.outer(own, own)
    slopes = np.array([abs(side.slope) for side in sides])[:, None]
    tolerance = np.full_like(slopes, 100 * DISAGREEMENT) if domain == "quality" else DISAGREEMENT * slopes
    with np.errstate(all="ignore"):
        apart = np.fmax.reduce(methods) - np.fmin.reduce(methods) > np.fmax(tolerance, 0.1 * np.abs(value))
        flags |= np.where(overlap < LITTLE_OVERLAP, flag_bits([Cause.LITTLE_OVERLAP]), 0)
    flags |= np.where(apart, flag_bits([Cause.METHODS_DISAGREE]), 0)
    return np.where(np.isnan(value), 0, flags)


def _not_comparable(curves: Sequence[RDCurve], *, mix_published: bool) -> dict[_Pair, tuple[Cause, str]]:
    """Pairs whose curves are not of the same source, with the reason."""
    distinct: list[Any] = []
    for curve in curves:
        if curve.points and len(curve.sources) == 1 and curve.sources not in distinct:
            distinct.append(curve.sources)
    of = [distinct.index(curve.sources) if curve.points and curve.sources in distinct else None for curve in curves]
    return {
        (row, column): problem
        for row, anchor in enumerate(curves)
        for column, test in enumerate(curves)
        # two curves of the one source have no problem: most pairs of a long table
        if row != column
        and (of[row] is None or of[row] != of[column])
        and (problem := pair_problem(anchor, test, mix_published=mix_published))
    }


def _mean_differences(sides: Sequence[PreparedCurve]) -> tuple[_Array, _Array, _Array]:
    """Mean difference, test minus anchor, over what both curves reach, the share of the anchor that this is, its ends.

    Shapes (methods, anchors, tests), (anchors, tests) and (2, anchors, tests).
    """
    low, high = (np.array([getattr(side, end) for side in sides], dtype=np.float64) for end in ("low", "high"))
    common_low, common_high = np.maximum.outer(low, low), np.minimum.outer(high, high)
    within = np.clip([common_low, common_high], low[:, None], high[:, None])
    integrals: list[Any] = [side.integrals.get(method) for method in SPREAD_METHODS for side in sides]
    area = areas(integrals, *np.tile(within, (1, len(SPREAD_METHODS), 1))).reshape(-1, *common_low.shape)
    # Halved, as for one pair: the length of an interval may overflow where half of it cannot.
    lengths = (high / 2 - low / 2)[:, None]
    common = np.maximum(common_high / 2 - common_low / 2, 0)
    overlap = np.where(lengths == 0, 0.0, common / lengths)
    ends = np.stack([common_low, common_high])
    return (area.transpose(0, 2, 1) - area) / (common_high - common_low), overlap, ends


def _compared(ends: _Array, domain: Domain, sign: float) -> _Array:
    """Ends of intervals in the unit that is reported, NaN where there is no interval."""
    with np.errstate(all="ignore"):
        told = np.sort(sign * ends, axis=0) if domain == "quality" else np.exp(ends)
        return np.where(ends[0] < ends[1], told, math.nan)


def _reason(
    anchor: PreparedCurve, test: PreparedCurve, overlap: float, domain: Domain, min_overlap: float
) -> tuple[Cause, str]:
    return anchor.problem or test.problem or overlap_problem(overlap, domain, min_overlap) or OUT_OF_RANGE


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


def _timed(among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The sequences that times are averaged over: those of the values, all where a pair has no value."""
    nowhere: NDArray[np.bool_] = ~among.any(axis=0)
    return among | nowhere


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


def _no_interval(defined: bool, whole: str | None) -> Interval:
    if whole and defined:
        return Interval(None, None, f"values are {whole}, so its sequences cannot be drawn again")
    return Interval(None, None, "the value itself is undefined")


def _ratios(logs: _Array) -> _Array:
    timed = ~np.isnan(logs)
    with np.errstate(all="ignore"):
        ratios: _Array = np.exp(np.where(timed, logs, 0).sum(axis=0) / timed.sum(axis=0))
    return ratios


def _told(reasons: Any) -> str:
    """Why sequences have no value: the most frequent reasons, each with its number of sequences."""
    counts = Counter(reason for reason in reasons if reason)
    told = [f"{reason} ({_sequence_count(times)})" for reason, times in counts.most_common(REASONS_TOLD)]
    if len(counts) > REASONS_TOLD:
        told.append(f"and {len(counts) - REASONS_TOLD} other reasons")
    return "; ".join(told) or "neither codec was measured"


def _sequence_count(count: int) -> str:
    return "1 sequence" if count == 1 else f"{count} sequences"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
