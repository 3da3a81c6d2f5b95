"""Every codec against every other: the Bjontegaard deltas of all pairs at once."""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bd import (
    DISAGREEMENT,
    FEW_POINTS,
    FLAG_TEXTS,
    LITTLE_OVERLAP,
    OUT_OF_RANGE,
    SPREAD_METHODS,
    UNITS,
    BDResult,
    Cause,
    Domain,
    Doubt,
    PreparedCurve,
    disagreement,
    falling,
    little_overlap,
    overlap_problem,
    prepare,
)
from bench.analysis.curves import DatasetSource, PublishedSource, RDCurve, SequenceKey
from bench.analysis.interpolation import areas
from bench.analysis.options import USUAL, CompareOptions, DeltaAxis
from bench.analysis.pooled import OVER_DATASET
from bench.analysis.shared_sequences import OTHERS_LACK_IT, averaged_sequences, common_sequences
from bench.analysis.significance import Interval, mean_intervals

REASONS_TOLD = 3
FLAGS: tuple[Cause, ...] = tuple(FLAG_TEXTS)
"""What the bits of `Pairs.flags` stand for, the lowest first."""

NOT_COMPARABLE = frozenset({Cause.NOT_MEASURED, Cause.SOURCE_DIFFERS, Cause.PROTOCOL_DIFFERS})
"""Causes of a pair that has no delta because its curves are not of the same thing."""

_LARGEST = math.log(sys.float_info.max)
_Array = NDArray[np.float64]
_Pair = tuple[int, int]


@dataclass(frozen=True)
class Pairs:
    """The deltas of codecs on one sequence; arrays of shape (anchors, tests), NaN where undefined.

    Anchors are the first of the codecs, or all. methods: the value by each of `SPREAD_METHODS`, shape (methods,
    anchors, tests). compared: low and high end of the interval, in the metric's unit or of rate, shape (2, anchors,
    tests); on the diagonal that of a codec's own curve, NaN where curves do not meet. encode, decode: logarithm of the
    ratio of test's time to anchor's, NaN where either was not timed. flags: bits for the doubts, see `FLAGS`. doubts:
    those of each codec's own curve, in words, at their end lacking: what it lacks (`curve_doubts`). falls: that a fit
    falls, by (anchor, test). reasons: why two different codecs have no value, as its cause and in words, by (anchor,
    test). measured: codecs that have a curve, even one without points. sequences: how many the values are over, 1 but
    for curves of a whole dataset. label: the method in words.
    """

    key: SequenceKey
    domain: Domain
    label: str
    value: _Array
    overlap: _Array
    methods: _Array
    compared: _Array
    encode: _Array
    decode: _Array
    flags: NDArray[np.int64]
    doubts: Mapping[int, tuple[Doubt, ...]]
    lacking: Mapping[int, tuple[Doubt, ...]]
    falls: Mapping[_Pair, Doubt]
    reasons: Mapping[_Pair, tuple[Cause, str]]
    measured: NDArray[np.bool_]
    sequences: int = 1

    def result(self, anchor: int, test: int) -> BDResult:
        """One pair as `bd_rate` or `bd_metric` has it, with what its curves lack; undefined, too, of other sources."""
        spot = anchor, test
        overlap = None if math.isnan(self.overlap[spot]) else float(self.overlap[spot])
        doubts = [d for one in spot for d in self.doubts.get(one, ()) if d not in self.lacking.get(one, ())]
        value = float(self.value[spot])
        if math.isnan(value):
            cause, reason = self.reasons[spot]
            if cause in NOT_COMPARABLE:
                return BDResult.undefined(cause, reason, self.label)
            told = tuple(doubt.text for doubt in doubts)
            return replace(BDResult.undefined(cause, reason, self.label, overlap), notes=told)
        assert overlap is not None
        methods = zip(SPREAD_METHODS, self.methods[:, *spot].tolist(), strict=True)
        by_method = {name: one for name, one in methods if math.isfinite(one)}
        doubts += little_overlap(overlap, self.domain)
        if Cause.METHODS_DISAGREE in flags_of(int(self.flags[spot])):
            doubts += disagreement(value, by_method, 0.0, UNITS[self.domain])
        doubts += [self.falls[spot]] if spot in self.falls else []
        doubts += [doubt for one in spot for doubt in self.lacking.get(one, ())]
        low, high = self.compared[:, *spot].tolist()
        return BDResult.of(value, overlap, self.label, doubts, (low, high), by_method)


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
    *,
    names: Sequence[str] | None = None,
    anchors: int | None = None,
) -> Pairs:
    """All pairs of `codecs` by their curves on one sequence; None for a codec that was not measured there.

    Values are those of `bd_rate` (domain "quality"; per cent) or `bd_metric` ("rate"; the metric's unit). Reasons and
    doubts call the codecs by `names`, where these are given. Each curve is interpolated and integrated once, so that
    all anchors cost little more than one does; with `anchors`, the first so many are anchors, else all are.
    """
    settings, min_overlap = axis.curve_settings(options), options.min_overlap
    rows = len(codecs) if anchors is None else anchors
    whole = [curve or RDCurve(name, *key, "", "bpp") for name, curve in zip(codecs, curves, strict=True)]
    reasons = _not_comparable(whole, rows, mix_published=options.mix_published)
    called = codecs if names is None else names
    sides = [prepare(name, *c.delta_points, domain, settings) for name, c in zip(called, whole, strict=True)]
    encode, decode = _time_ratios(whole, rows, reasons)
    methods = tuple(dict.fromkeys((*SPREAD_METHODS, settings.method)))
    with np.errstate(all="ignore"):
        means, overlap, ends = _mean_differences(sides, rows, methods)
        values = means if axis.higher_is_better else -means
        if domain == "quality":
            values = 100 * _exactly(math.expm1, means)
        value = values[methods.index(settings.method)].copy()
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
    lacking = {number: found for number, c in enumerate(whole) if (found := curve_doubts(c))}
    doubts = {n: told for n, side in enumerate(sides) if (told := (*side.doubts, *lacking.get(n, ())))}
    falls = _falls(sides, value, ends) if settings.method == "cubic" else {}
    measured = np.array([curve is not None for curve in curves])
    return Pairs(
        key,
        domain,
        settings.label,
        value,
        overlap,
        values[: len(SPREAD_METHODS)],
        _compared(ends, domain, settings.sign),
        encode,
        decode,
        _flags(sides, doubts, falls, value, overlap, values, domain),
        doubts,
        lacking,
        falls,
        reasons,
        measured,
        _sequences(curves),
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
    sides: Sequence[PreparedCurve],
    doubts: Mapping[int, Iterable[Doubt]],
    falls: Iterable[_Pair],
    value: _Array,
    overlap: _Array,
    methods: _Array,
    domain: Domain,
) -> NDArray[np.int64]:
    rows = len(value)
    own = np.array([flag_bits(doubt.flag for doubt in doubts.get(n, ())) for n in range(len(sides))], dtype=np.int64)
    flags = np.bitwise_or.outer(own[:rows], own)
    slopes = np.array([abs(side.slope) for side in sides[:rows]])[:, None]
    tolerance = np.full_like(slopes, 100 * DISAGREEMENT) if domain == "quality" else DISAGREEMENT * slopes
    with np.errstate(all="ignore"):
        apart = np.fmax.reduce(methods) - np.fmin.reduce(methods) > np.fmax(tolerance, 0.1 * np.abs(value))
        flags |= np.where(overlap < LITTLE_OVERLAP, flag_bits([Cause.LITTLE_OVERLAP]), 0)
    flags |= np.where(apart, flag_bits([Cause.METHODS_DISAGREE]), 0)
    for pair in falls:
        flags[pair] |= flag_bits([Cause.FIT_FALLS])
    return np.where(np.isnan(value), 0, flags)


def _falls(sides: Sequence[PreparedCurve], value: _Array, ends: _Array) -> dict[_Pair, Doubt]:
    return {
        (anchor, test): doubt
        for anchor, test in np.argwhere(~np.isnan(value)).tolist()
        for doubt in falling(sides[anchor], sides[test], *ends[:, anchor, test].tolist())
    }


def _not_comparable(curves: Sequence[RDCurve], rows: int, *, mix_published: bool) -> dict[_Pair, tuple[Cause, str]]:
    """Pairs whose curves are not of the same source, with the reason."""
    distinct: list[Any] = []
    for curve in curves:
        if curve.points and len(curve.sources) == 1 and curve.sources not in distinct:
            distinct.append(curve.sources)
    of = [distinct.index(curve.sources) if curve.points and curve.sources in distinct else None for curve in curves]
    return {
        (row, column): problem
        for row, anchor in enumerate(curves[:rows])
        for column, test in enumerate(curves)
        # two curves of the one source have no problem: most pairs of a long table
        if row != column
        and (of[row] is None or of[row] != of[column])
        and (problem := pair_problem(anchor, test, mix_published=mix_published))
    }


def _mean_differences(
    sides: Sequence[PreparedCurve], rows: int, methods: Sequence[str]
) -> tuple[_Array, _Array, _Array]:
    """Mean difference, test minus anchor, over what both curves reach, the share of the anchor that this is, its ends.

    Shapes (methods, anchors, tests), (anchors, tests) and (2, anchors, tests).
    """
    low, high = (np.array([getattr(side, end) for side in sides], dtype=np.float64) for end in ("low", "high"))
    ends = np.stack([np.maximum.outer(low[:rows], low), np.minimum.outer(high[:rows], high)])
    of_anchor = _areas(sides[:rows], ends, methods)
    # the interval of two curves is the same whichever of them is the anchor
    square = rows == len(sides)
    of_test = (of_anchor if square else _areas(sides, ends.transpose(0, 2, 1), methods)).transpose(0, 2, 1)
    # Halved, as for one pair: the length of an interval may overflow where half of it cannot.
    lengths = (high / 2 - low / 2)[:rows, None]
    common = np.maximum(ends[1] / 2 - ends[0] / 2, 0)
    overlap = np.where(lengths == 0, 0.0, common / lengths)
    return (of_test - of_anchor) / (ends[1] - ends[0]), overlap, ends


def _areas(sides: Sequence[PreparedCurve], ends: _Array, methods: Sequence[str]) -> _Array:
    """The integral of each curve between the ends of its row; shape (methods, curves, others)."""
    low, high = (np.array([[getattr(side, end)] for side in sides], dtype=np.float64) for end in ("low", "high"))
    within = np.clip(ends, low, high)
    pieces = [name for name in methods if name != "cubic"]
    integrals: list[Any] = [side.integrals.get(name) for name in pieces for side in sides]
    found = [areas(integrals, *np.tile(within, (1, len(pieces), 1))).reshape(-1, *ends.shape[1:])]
    if "cubic" in methods:
        fits = [side.integrals.get("cubic") for side in sides]
        nothing = np.full(ends.shape[2], math.nan)
        found.append(
            np.array(
                [
                    [
                        nothing if f is None else np.diff(f(own), axis=0)[0]
                        for f, own in zip(fits, within.transpose(1, 0, 2), strict=True)
                    ]
                ]
            )
        )
    return np.concatenate(found)


def _compared(ends: _Array, domain: Domain, sign: float) -> _Array:
    """Ends of intervals in the unit that is reported, NaN where there is no interval."""
    with np.errstate(all="ignore"):
        told = np.sort(sign * ends, axis=0) if domain == "quality" else _exactly(math.exp, ends)
        return np.where(ends[0] < ends[1], told, math.nan)


def _exactly(function: Callable[[float], float], values: _Array) -> _Array:
    """An exponential of each value as `math` has it: NumPy's differs in the last digit from processor to processor."""
    found = np.frompyfunc(function, 1, 1)(np.minimum(values, _LARGEST)).astype(np.float64)
    return np.where(values > _LARGEST, math.inf, found)


def _reason(
    anchor: PreparedCurve, test: PreparedCurve, overlap: float, domain: Domain, min_overlap: float
) -> tuple[Cause, str]:
    return anchor.problem or test.problem or overlap_problem(overlap, domain, min_overlap) or OUT_OF_RANGE


def _time_ratios(curves: Sequence[RDCurve], rows: int, apart: Collection[_Pair]) -> _Array:
    """Of encoding and of decoding."""
    logs = np.array([curve.log_times for curve in curves]).T
    ratios: _Array = logs[:, None, :] - logs[:, :rows, None]
    for pair in apart:
        ratios[:, *pair] = math.nan
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


def pair_problem(anchor: RDCurve, test: RDCurve, *, mix_published: bool = False) -> tuple[Cause, str] | None:
    """Why two curves are not of the same thing, and so have no delta; None where they are."""
    for curve in (anchor, test):
        if not curve.points:
            why = f"no value ({tally(reasons_of(curve))})" if curve.excluded else "not measured"
            return Cause.NOT_MEASURED, f"{curve.codec}: {why}"
        if len(curve.sources) > 1:
            return Cause.SOURCE_DIFFERS, f"{curve.codec}: mixes {' and '.join(map(str, curve.sources))}"
    mixed = is_mixed(anchor, test)
    if mixed and not mix_published:
        return Cause.PROTOCOL_DIFFERS, (
            f"{anchor.codec} is {_origin(anchor)}, {test.codec} {_origin(test)}: protocols"
            " differ, so they are compared only with --mix-published"
        )
    if anchor.sources != test.sources and not mixed and not _agree(anchor, test):
        return Cause.SOURCE_DIFFERS, f"{anchor.codec} coded {anchor.sources[0]}, {test.codec} {test.sources[0]}"
    return None


def curve_doubts(curve: RDCurve) -> tuple[Doubt, ...]:
    """What a curve lacks: rate points without a value, which its delta is taken without, and points on a ladder's hull.

    The hull's corners are many more than what was measured of it.
    """
    doubts = []
    if curve.is_ladder and len(curve.points) < FEW_POINTS:
        text = f"{curve.codec}: its sizes' hull has {len(curve.points)} of the measured points; four or more are safer"
        doubts.append(Doubt(Cause.THREE_POINTS, text))
    if curve.excluded:
        count = "1 rate point has" if len(curve.excluded) == 1 else f"{len(curve.excluded)} rate points have"
        doubts.append(Doubt(Cause.POINTS_LEFT_OUT, f"{curve.codec}: {count} no value ({tally(reasons_of(curve))})"))
    return tuple(doubts)


def is_mixed(anchor: RDCurve, test: RDCurve) -> bool:
    """Whether a published curve meets one of another paper, or a measured one."""
    return (anchor.published or test.published) and anchor.sources != test.sources and not _agree(anchor, test)


def _agree(anchor: RDCurve, test: RDCurve) -> bool:
    """Whether a curve published for one sequence is of the frames that the other is of."""
    if len(anchor.sources) != 1 or len(test.sources) != 1:
        return False
    (first,), (second,) = anchor.sources, test.sources
    pairs = ((first, second), (second, first))
    return any(isinstance(one, PublishedSource) and one.agrees(other) for one, other in pairs)


def _origin(curve: RDCurve) -> str:
    return str(curve.sources[0]) if curve.published else "measured here"


def reasons_of(curve: RDCurve) -> list[str]:
    """Why each of a curve's points without a value has none."""
    return [point.reason for point in curve.excluded]


def tally(reasons: Iterable[str]) -> str:
    """Reasons with their counts, each once."""
    return ", ".join(f"{count} x {reason}" if count > 1 else reason for reason, count in Counter(reasons).items())
