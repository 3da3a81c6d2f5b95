"""Two codecs compared over sequences: BD-rate and BD-metric with their confidence intervals, and speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bd import (
    DISAGREEMENT,
    DOMAINS,
    FLAG_TEXTS,
    BDResult,
    Cause,
    Domain,
    Doubt,
    bd_metric,
    bd_rate,
    cap_quality,
    disagreement,
)
from bench.analysis.curves import (
    CurveKey,
    DatasetSource,
    RDCurve,
    SequenceKey,
    curves,
    curves_of,
    point_table,
)
from bench.analysis.hull import ladder_hull
from bench.analysis.matrix import NOT_COMPARABLE, delta_pairs, is_mixed, reasons_of, tally
from bench.analysis.options import CONVENTIONS, USUAL, CompareOptions, Convention, DeltaAxis
from bench.analysis.pooled import OVER_DATASET, DatasetKey, dataset_curves, dataset_table, is_pooled
from bench.analysis.quality import QualityAxis
from bench.analysis.shared_sequences import OTHERS_LACK_IT, averaged_sequences
from bench.analysis.significance import Interval, Statistic, bootstrap_interval
from bench.core.signatures import takes
from bench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.cell_set import CellSet

MIXED = (
    "values of different protocols are mixed: frames, size, colour conversion and backbone may differ. On UVG near"
    " 0.024 bpp one paper gives DCVC-FM an LPIPS of 0.257, another about 0.15"
)

_Delta = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], BDResult]
_Array = NDArray[np.float64]


@dataclass(frozen=True)
class SequenceResult:
    """Both deltas on one sequence."""

    dataset: str
    sequence: str
    bd_rate: BDResult
    bd_metric: BDResult

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return {
            "dataset": self.dataset,
            "sequence": self.sequence,
            "bd_rate": self.bd_rate.to_dict(),
            "bd_metric": self.bd_metric.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Overall(BDResult):
    """One delta over all sequences, by one convention; status "partial" where it rests on a part of them.

    overlap: that of the mean curves, or the smallest among the sequences. compared: that of the mean curves, or from
    the lowest to the highest end among the sequences. interval: in the unit of `value`. sequences_total: the sequences
    that either codec was measured on.
    """

    interval: Interval
    convention: Convention
    sequences_used: int
    sequences_total: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return super().to_dict() | {
            "ci_low": self.interval.low,
            "ci_high": self.interval.high,
            "ci_reason": self.interval.reason,
            "convention": self.convention,
            "sequences_used": self.sequences_used,
            "sequences_total": self.sequences_total,
        }


@dataclass(frozen=True)
class SpeedRatio:
    """Time of test over that of anchor, a geometric mean; under 1, test is faster. None, with a reason, if untimed."""

    value: float | None
    reason: str | None
    sequences_used: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return {"value": self.value, "reason": self.reason, "sequences_used": self.sequences_used}


@dataclass(frozen=True)
class Comparison:
    """Test against anchor on one metric, by every convention that it has; `convention` is the one reported."""

    anchor: str
    test: str
    metric: str
    convention: Convention
    bd_rates: Mapping[Convention, Overall]
    bd_metrics: Mapping[Convention, Overall]
    per_sequence: tuple[SequenceResult, ...]
    encode: SpeedRatio
    decode: SpeedRatio
    warnings: tuple[str, ...]

    @property
    def bd_rate(self) -> Overall:
        """Overall BD-rate by the chosen convention, per cent."""
        return self.bd_rates[self.convention]

    @property
    def bd_metric(self) -> Overall:
        """Overall BD-metric by the chosen convention, in the metric's unit and direction."""
        return self.bd_metrics[self.convention]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as strict JSON: no NaN, no infinity, no type beyond JSON's."""
        return {
            "anchor": self.anchor,
            "test": self.test,
            "metric": self.metric,
            "bd_rate": self.bd_rate.to_dict(),
            "per_sequence": [result.to_dict() for result in self.per_sequence],
            "bd_metric": self.bd_metric.to_dict(),
            "speed": {"encode": self.encode.to_dict(), "decode": self.decode.to_dict()},
            "conventions": {
                name: {"bd_rate": self.bd_rates[name].to_dict(), "bd_metric": self.bd_metrics[name].to_dict()}
                for name in self.bd_rates
            },
            "warnings": list(self.warnings),
        }


@takes(CompareOptions)
def compare(
    frame: pd.DataFrame,
    anchor: str,
    test: str,
    metric: str,
    *,
    higher_is_better: bool | Literal["own"] = "own",
    cap: float | Literal["own"] | None = "own",
    saturation: float | Literal["own"] | None = "own",
    pooled: pd.DataFrame | None = None,
    **settings: Any,
) -> Comparison:
    """Compare `test` with `anchor` on one metric of a long table of measurements.

    `metric` names a quality axis: a metric, one with a pooling (vmaf@p5), or with a scale (ssim:linear); see `curves`.
    `higher_is_better`, `cap` and `saturation` are the metric's own unless they are given. `pooled` has values of whole
    datasets, as `ResultSet.datasets`. Settings are the fields of `CompareOptions`. Raises UnknownNameError for a codec
    or metric that the table does not have, UsageError for a wrong setting.
    """
    axis = {"higher_is_better": higher_is_better, "cap": cap, "saturation": saturation}
    given = {name: value for name, value in axis.items() if value != "own"}
    options = CompareOptions(**settings)
    found = curves(frame, metric, rate_axis=options.rate_axis)
    codecs = {str(name) for name in frame["codec"].unique()}
    for codec in (anchor, test):
        if codec not in codecs:
            raise UnknownNameError("codec", codec, codecs)
    tables = None if pooled is None else {test: pooled}
    return compare_codecs(found, anchor, [test], DeltaAxis.of(metric, given), options, pooled=tables)[test]


def compare_results(
    results: CellSet, anchor: str, tests: Sequence[str], metrics: Iterable[str], options: CompareOptions = USUAL
) -> dict[str, dict[str, Comparison]]:
    """Codecs of a result set against one of them, by metric and test codec.

    Direction, cap, saturation and pooling are each metric's own. Raises UnknownNameError for a codec or metric that the
    results do not have.
    """
    axes = [QualityAxis.parse(metric) for metric in metrics]
    for codec in (anchor, *tests):
        if codec not in results.codecs:
            raise UnknownNameError("codec", codec, results.codecs)
    by_dataset = _has_dataset_curves(results)

    def pooled(axis: QualityAxis) -> dict[str, pd.DataFrame] | None:
        """Values of whole datasets of each pair, where the metric has them or curves are published."""
        found: dict[str, pd.DataFrame] = {}
        if axis.pooling is not None or not (is_pooled(axis.metric) or by_dataset):
            return None
        for test in tests:
            both = results.only(codecs=(anchor, test))
            if (is_pooled(axis.metric) or _has_dataset_curves(both)) and axis.metric in both.metrics:
                found[test] = dataset_table(both, axis.metric)
        return found or None

    found = curves_of(results, [axis.name for axis in axes], rate_axis=options.rate_axis)
    return {
        axis.name: compare_codecs(curves_of_axis, anchor, tests, DeltaAxis.of(axis.name), options, pooled=pooled(axis))
        for axis, curves_of_axis in zip(axes, found, strict=True)
    }


def compare_codecs(
    found: Mapping[CurveKey, RDCurve],
    anchor: str,
    tests: Iterable[str],
    axis: DeltaAxis,
    options: CompareOptions = USUAL,
    *,
    pooled: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, Comparison]:
    """Compare each of `tests` with `anchor` by their curves of one metric among `found`, as `curves` gives them.

    A sequence is compared where both codecs coded the same source: equal frame count, size, frame rate and, where the
    table has it, content. The others stay in the result as undefined, with the reason.

    Both conventions of the field are computed; the options say which is reported. "per-sequence" is the arithmetic
    mean of the per-sequence results (per cent for BD-rate). BD-rates, BD-metrics and ratios of time of all tests are
    means over the same sequences: those where every test has both deltas; a test that has less than half of these has
    means over its own. A mean over a part of the sequences is "partial", and its reason names the others. "mean-curve"
    is the result of the two mean curves over the compared sequences that have every rate point of both codecs, whether
    or not they are defined on their own; a cap applies before averaging. Either is undefined when no sequence
    qualifies.

    A metric with values of its own for a dataset (FID) has a third, "dataset": the result of the curves of the values
    in `pooled`, for each test a table of `ResultSet.datasets` of both codecs; over several datasets, the mean of their
    results. The sequences' values are then those of single videos. Default: "dataset" where `pooled` is given, else
    "per-sequence".

    The interval is the bootstrap over sequences, drawn for both codecs together (see `bootstrap_interval`, also for few
    sequences), for the chosen convention alone. Values pooled over a dataset have none.

    Curves published for whole datasets have no values of sequences: with one of them the convention is
    "dataset", and `pooled` is needed. Two of one paper are compared; a published one with a measured one, or with one
    of another paper, only with `mix_published`, and a warning, since protocols differ.

    Speed is the ratio of the geometric mean times of the points on the curves, per sequence, then the geometric mean of
    these over the sequences of the mean: with equally many points everywhere, that is the geometric mean over paired
    cells, however they are paired.

    Raises UsageError for a wrong setting.
    """
    tests = list(tests)
    metric, codecs = axis.metric, (anchor, *tests)
    unmixed = replace(options, mix_published=False)
    on_sequences = [
        _on(key, codecs, [found.get(CurveKey(codec, *key)) for codec in codecs], axis, unmixed)
        for key in sorted({curve.key for curve in found.values() if curve.codec in codecs})
    ]
    from_papers = {curve.codec for curve in found.values() if curve.published_for_dataset}
    sides: dict[str, _Side] = {}
    for number, test in enumerate(tests):
        table = None if pooled is None else pooled.get(test)
        published = from_papers & {anchor, test}
        if published and table is None:
            names = " and ".join(sorted(published))
            raise UsageError(f"{metric}: {names}: published, so values of datasets are needed")
        chosen: Convention = options.convention or ("per-sequence" if table is None else "dataset")
        known = [name for name in CONVENTIONS if name != "dataset" or table is not None]
        if chosen not in known:
            raise UsageError(f"unknown convention {chosen!r}; there are: {', '.join(known)} for {metric}")
        pairs = [] if published else [pair for one in on_sequences if (pair := one[number])]
        sides[test] = _Side(
            test,
            chosen,
            pairs,
            None if table is None else _dataset_pairs(table, anchor, test, axis, options),
            _Joint.of(pairs, axis.cap, higher_is_better=axis.higher_is_better),
        )
    among = averaged_sequences(
        {(side.test, domain): side.averageable(domain) for side in sides.values() for domain in DOMAINS}
    )
    how = {**vars(axis.curve_settings(options)), "min_overlap": options.min_overlap}
    deltas: dict[Domain, _Delta] = {"quality": partial(bd_rate, **how), "rate": partial(bd_metric, **how)}
    return {
        test: _comparison(anchor, metric, side, deltas, {one: among[test, one] for one in DOMAINS}, options)
        for test, side in sides.items()
    }


@dataclass(frozen=True)
class _Pair:
    """The curves of both codecs on one sequence, or over one dataset, with their deltas and ratios of time.

    ratios: logarithm of the time of test over that of anchor, of encoding and decoding, NaN where there is none.
    """

    key: SequenceKey
    anchor: RDCurve
    test: RDCurve
    results: Mapping[Domain, BDResult]
    ratios: tuple[float, float]

    @property
    def is_comparable(self) -> bool:
        return self.results["quality"].cause not in NOT_COMPARABLE


@dataclass(frozen=True)
class _Side:
    """One test codec against the anchor, on each sequence, over each dataset, and by their mean curves."""

    test: str
    convention: Convention
    pairs: list[_Pair]
    wholes: list[_Pair] | None
    joint: _Joint

    def averageable(self, domain: Domain) -> list[SequenceKey]:
        return [pair.key for pair in self.pairs if pair.results[domain].averageable]


def _comparison(
    anchor: str,
    metric: str,
    side: _Side,
    deltas: Mapping[Domain, _Delta],
    among: Mapping[Domain, Collection[SequenceKey]],
    options: CompareOptions,
) -> Comparison:
    pairs, chosen, label = side.pairs, side.convention, options.label

    def overall(domain: Domain) -> dict[Convention, Overall]:
        both = [(pair.key, pair.results[domain]) for pair in pairs]
        values = np.array([result.value for key, result in both if key in among[domain]], dtype=np.float64)
        estimates: dict[Convention, _Estimate] = {
            "per-sequence": _Estimate(
                mean_of_results(both, among[domain], domain, label), lambda weights: weights @ values, values.size
            ),
            "mean-curve": _delta_of_means(deltas[domain], side.joint, len(pairs), label),
        }
        if side.wholes is not None:
            of_wholes = mean_of_datasets([(pair.key, pair.results[domain]) for pair in side.wholes], domain, label)
            estimates["dataset"] = _Estimate(of_wholes, None, _sequences(side.wholes, domain))
        not_chosen = Interval(None, None, f"computed for the chosen convention alone, {chosen}")
        return {
            convention: Overall(
                **{field.name: getattr(estimate.result, field.name) for field in fields(BDResult)},
                interval=_interval(estimate, options) if convention == chosen else not_chosen,
                convention=convention,
                sequences_used=estimate.used,
                sequences_total=len(pairs),
            )
            for convention, estimate in estimates.items()
        }

    bd_rates, bd_metrics = overall("quality"), overall("rate")
    timed = [pair for pair in pairs if pair.key in among["quality"]] or pairs
    return Comparison(
        anchor=anchor,
        test=side.test,
        metric=metric,
        convention=chosen,
        bd_rates=bd_rates,
        bd_metrics=bd_metrics,
        per_sequence=tuple(
            SequenceResult(pair.key.dataset, pair.key.sequence, pair.results["quality"], pair.results["rate"])
            for pair in pairs
        ),
        encode=_speed(pair.ratios[0] for pair in timed),
        decode=_speed(pair.ratios[1] for pair in timed),
        warnings=(
            *_warnings(pairs, side.joint),
            *_dataset_warnings(side.wholes or [], mixed=options.mix_published),
            *_interval_notes({"BD-rate": bd_rates[chosen], "BD-metric": bd_metrics[chosen]}),
        ),
    )


def _has_dataset_curves(results: CellSet) -> bool:
    return any(curve.sequence is None for part in results.published for curve in part.curves)


@dataclass(frozen=True)
class _Estimate:
    """A value over sequences, and the same as a statistic of their weights, for the bootstrap; None: no such thing."""

    result: BDResult
    statistic: Statistic | None
    used: int


@dataclass(frozen=True)
class _Joint:
    """The points of both codecs on the sequences that have all of them: arrays of shape (sequences, rate points)."""

    anchor_rates: _Array
    anchor_quality: _Array
    test_rates: _Array
    test_quality: _Array
    left_out: dict[SequenceKey, str]
    notes: tuple[str, ...]
    scales: tuple[_Array, _Array]
    sign: int

    @classmethod
    def of(cls, pairs: Iterable[_Pair], cap: float | None, *, higher_is_better: bool) -> _Joint:
        comparable = [pair for pair in pairs if pair.is_comparable]
        anchor = point_table(pair.anchor for pair in comparable)
        test = point_table(pair.test for pair in comparable)
        common = set(anchor.sequences) & set(test.sequences)
        in_anchor = [key in common for key in anchor.sequences]
        in_test = [key in common for key in test.sequences]
        anchor_quality, anchor_capped = cap_quality(anchor.qualities[in_anchor], cap, higher_is_better=higher_is_better)
        test_quality, test_capped = cap_quality(test.qualities[in_test], cap, higher_is_better=higher_is_better)
        capped = anchor_capped + test_capped
        left_out: dict[SequenceKey, str] = {}
        for pair in comparable:
            for codec, table in ((pair.test.codec, test), (pair.anchor.codec, anchor)):
                if pair.key in table.left_out:
                    left_out[pair.key] = f"{codec}: {table.left_out[pair.key]}"
        notes = (f"{capped} qualities capped at {cap:g} before averaging",) if capped else ()
        return cls(
            anchor.rates[in_anchor],
            anchor_quality,
            test.rates[in_test],
            test_quality,
            left_out,
            notes,
            (np.array(anchor.scales), np.array(test.scales)),
            1 if higher_is_better else -1,
        )

    def weighted(self, weights: _Array) -> tuple[_Array, _Array, _Array, _Array]:
        """Mean curves, as the arguments of a delta, of ladders their hulls; weights have shape (sequences,)."""
        anchor = self._curve(weights @ self.anchor_rates, weights @ self.anchor_quality, self.scales[0])
        test = self._curve(weights @ self.test_rates, weights @ self.test_quality, self.scales[1])
        return (*anchor, *test)

    def _curve(self, rates: _Array, quality: _Array, scales: _Array) -> tuple[_Array, _Array]:
        if np.unique(scales).size < 2 or not (np.isfinite(quality).all() and (rates > 0).all()):
            return rates, quality
        corners, best, _ = ladder_hull(rates, self.sign * quality, scales)
        return corners, self.sign * best


def _on(
    key: SequenceKey,
    codecs: Sequence[str],
    curves: Sequence[RDCurve | None],
    axis: DeltaAxis,
    options: CompareOptions,
) -> list[_Pair | None]:
    """The anchor, the first of the codecs, with each other on one sequence; None where neither was measured."""
    names = ["anchor", *["test"] * (len(codecs) - 1)]
    deltas = {one: delta_pairs(key, curves, codecs, one, axis, options, names=names, anchors=1) for one in DOMAINS}
    anchor, *tests = (
        curve or RDCurve(name, *key, axis.metric, options.rate_axis) for name, curve in zip(codecs, curves, strict=True)
    )
    encode, decode = deltas["quality"].encode[0].tolist(), deltas["quality"].decode[0].tolist()
    return [
        _Pair(
            key,
            anchor,
            test,
            {domain: pairs.result(0, number) for domain, pairs in deltas.items()},
            (encode[number], decode[number]),
        )
        if curves[0] or curves[number]
        else None
        for number, test in enumerate(tests, start=1)
    ]


def _dataset_pairs(
    pooled: pd.DataFrame, anchor: str, test: str, axis: DeltaAxis, options: CompareOptions
) -> list[_Pair]:
    """The curves of values pooled over each dataset; their sequence is what they are pooled over."""
    found = dataset_curves(pooled, options.rate_axis)
    both = (anchor, test)
    pairs = (
        _on(SequenceKey(name, OVER_DATASET), both, [found.get(DatasetKey(one, name)) for one in both], axis, options)
        for name in sorted({key.dataset for key in found if key.codec in both})
    )
    return [pair for (pair,) in pairs if pair]


def _interval(estimate: _Estimate, options: CompareOptions) -> Interval:
    if estimate.statistic is None:
        return Interval(None, None, f"values are {OVER_DATASET}, so its sequences cannot be drawn again")
    resamples, confidence, seed = options.resamples, options.confidence, options.seed
    return bootstrap_interval(estimate.statistic, estimate.used, resamples=resamples, confidence=confidence, seed=seed)


def mean_of_results(
    both: Sequence[tuple[SequenceKey, BDResult]],
    among: Collection[SequenceKey],
    domain: Domain,
    label: str,
    what: str = "sequences",
    unit: str = "",
) -> BDResult:
    """The mean over the sequences `among`; "partial", with the others and their reasons, where these are not all.

    unit: of the values by other interpolations, in the notes.
    """
    used = [(key, result) for key, result in both if key in among]
    overlap = min((r.overlap for _, r in used or both if r.overlap is not None), default=None)
    if not used:
        listed = "; ".join(f"{names}: {why}" for why, names in _left_out(both, among).items())
        return BDResult.undefined(Cause.NO_SEQUENCE, f"no sequence has a value ({listed})", label, overlap)
    value = float(np.array([result.value for _, result in used], dtype=np.float64).mean())
    by_method = {
        method: float(np.mean([result.by_method[method] for _, result in used]))
        for method in used[0][1].by_method
        if all(method in result.by_method for _, result in used)
    }
    # Of a mean of BD-metrics there is no one curve whose slope says what a share of rate is worth.
    apart = disagreement(value, by_method, 100 * DISAGREEMENT if domain == "quality" else 0.0, unit)
    flags, notes = _flags_of_all([(str(key), result) for key, result in used], apart, what)
    reason = None
    if len(used) < len(both):
        listed = "; ".join(f"without {names} ({why})" for why, names in _left_out(both, among).items())
        reason = f"{len(used)} of {len(both)} {what}: {listed}"
        flags = (*flags, Cause.PARTIAL)
    ends = [result.compared for _, result in used if result.compared is not None]
    return BDResult(
        value,
        "ok" if reason is None else "partial",
        reason,
        overlap,
        label,
        flags=flags,
        notes=notes,
        compared=(min(low for low, _ in ends), max(high for _, high in ends)) if ends else None,
        by_method=by_method,
    )


def mean_of_datasets(
    results: Sequence[tuple[SequenceKey, BDResult]], domain: Domain, label: str, unit: str = ""
) -> BDResult:
    """That of the one dataset, or the mean over several."""
    if len(results) == 1:
        return results[0][1]
    among = [key for key, result in results if result.averageable]
    mean = mean_of_results(results, among, domain, label, "datasets", unit)
    return replace(mean, notes=(f"mean over {len(among)} datasets", *mean.notes))


def _flags_of_all(
    named: Sequence[tuple[str, BDResult]], apart: Iterable[Doubt], what: str
) -> tuple[tuple[Cause, ...], tuple[str, ...]]:
    """The flags of several results, each with where it holds; of one result, its own notes.

    Whether interpolations disagree is a matter of the means, in which differences of single sequences cancel.
    """
    if len(named) == 1:
        return named[0][1].flags, tuple(f"{named[0][0]}: {note}" for note in named[0][1].notes)
    flags: dict[Cause, list[str]] = {}
    for name, result in named:
        for flag in result.flags:
            if flag is not Cause.METHODS_DISAGREE:
                flags.setdefault(flag, []).append(name)
    notes = [
        f"{FLAG_TEXTS[flag]} ({len(names)} of {len(named)} {what}: {_few(names)})" for flag, names in flags.items()
    ]
    if not any(Cause.METHODS_DISAGREE in result.flags for _, result in named):
        apart = ()
    return (*flags, *(doubt.flag for doubt in apart)), (*notes, *(doubt.text for doubt in apart))


def _left_out(both: Iterable[tuple[SequenceKey, BDResult]], among: Collection[SequenceKey]) -> dict[str, str]:
    """The sequences that a mean lacks, by reason, the first of them by name."""
    reasons: dict[str, list[str]] = {}
    for key, result in both:
        if key not in among:
            why = result.reason or (FLAG_TEXTS[Cause.FIT_FALLS] if Cause.FIT_FALLS in result.flags else OTHERS_LACK_IT)
            reasons.setdefault(why, []).append(str(key))
    return {why: _few(names) for why, names in reasons.items()}


def _sequences(wholes: Iterable[_Pair], domain: Domain) -> int:
    """How many sequences the values of datasets are over."""
    return sum(
        source.sequences
        for pair in wholes
        for source in pair.test.sources
        if pair.results[domain].value is not None and isinstance(source, DatasetSource)
    )


def _delta_of_means(delta: _Delta, joint: _Joint, total: int, label: str) -> _Estimate:
    count = len(joint.anchor_rates)

    def statistic(weights: _Array) -> _Array:
        values = (delta(*joint.weighted(row)).value for row in weights)
        return np.array([math.nan if value is None else value for value in values])

    if not count:
        reason = "no sequence has every rate point of both codecs"
        return _Estimate(BDResult.undefined(Cause.NO_SEQUENCE, reason, label), statistic, 0)
    result = delta(*joint.weighted(np.full(count, 1 / count)))
    if result.value is not None and count < total:
        reason = f"{count} of {total} sequences have every rate point of both codecs"
        result = replace(result, status="partial", reason=reason, flags=(*result.flags, Cause.PARTIAL))
    if result.value is not None and joint.notes:
        result = replace(result, flags=(*result.flags, Cause.CAPPED))
    return _Estimate(replace(result, notes=joint.notes + result.notes), statistic, count)


def _speed(ratios: Iterable[float]) -> SpeedRatio:
    timed = [ratio for ratio in ratios if not math.isnan(ratio)]
    if not timed:
        return SpeedRatio(None, "no compared sequence has a time from both codecs", 0)
    return SpeedRatio(math.exp(math.fsum(timed) / len(timed)), None, len(timed))


def _warnings(pairs: Sequence[_Pair], joint: _Joint) -> Iterator[str]:
    for side in ([pair.anchor for pair in pairs], [pair.test for pair in pairs]):
        reasons = [reason for curve in side for reason in reasons_of(curve)]
        if reasons:
            yield f"{side[0].codec}: points without a value: {len(reasons)} ({tally(reasons)})"
        lossless = sum(point.delta_quality != point.quality for curve in side for point in curve.points)
        if lossless:
            yield f"{side[0].codec}: {lossless} points have lossless frames, each counted as the metric's cap"
        if any(curve.estimated for curve in side):
            yield f"{side[0].codec}: rate is an estimate, not the size of a bitstream"
    for name, domain in (("BD-rate", DOMAINS[0]), ("BD-metric", DOMAINS[1])):
        causes = [str(cause) for pair in pairs if (cause := pair.results[domain].cause)]
        if causes:
            yield f"{name} is undefined on {len(causes)} of {len(pairs)} sequences ({tally(causes)})"
    for key, reason in joint.left_out.items():
        yield f"the mean curve leaves out {key} ({reason})"
    datasets = sorted({pair.key.dataset for pair in pairs})
    if len(datasets) > 1:
        names = ", ".join(name or "direct input" for name in datasets)
        yield f"sequences of {len(datasets)} datasets are pooled: {names}"


def _dataset_warnings(pairs: Sequence[_Pair], *, mixed: bool) -> Iterator[str]:
    for codec in sorted({c.codec for pair in pairs for c in (pair.anchor, pair.test) if c.published}):
        yield f"{codec}: read from a paper's figures, not measured here"
    if mixed and any(is_mixed(pair.anchor, pair.test) for pair in pairs):
        yield MIXED
    for curve in (curve for pair in pairs for curve in (pair.anchor, pair.test)):
        if curve.excluded:
            name = curve.dataset or "direct input"
            yield (
                f"{curve.codec}: rate points without a value {OVER_DATASET} {name}: {len(curve.excluded)} "
                f"({tally(reasons_of(curve))})"
            )


def _interval_notes(overall: Mapping[str, Overall]) -> Iterator[str]:
    for name, delta in overall.items():
        if delta.interval.note:
            yield f"{name}, {delta.interval.note}"


def _few(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
