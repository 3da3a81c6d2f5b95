"""Every comparison that a report shows: each codec against the anchor, for each metric and dataset."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from bench.analysis.bd import DOMAINS, UNITS, BDResult, Cause, Domain, Status
from bench.analysis.compare import (
    MIXED,
    Overall,
    SequenceResult,
    SpeedRatio,
    mean_of_datasets,
    mean_of_results,
)
from bench.analysis.curves import SequenceKey
from bench.analysis.matrix import Pairs, Summary, flags_of
from bench.analysis.options import Convention
from bench.analysis.significance import Interval
from bench.records.cell import CellResult
from bench.report.grid import Grid
from bench.report.measured import Measured, MetricFacts, Scope, scopes

UNTIMED = SpeedRatio(None, "no compared sequence has a time from both codecs", 0)


@dataclass(frozen=True)
class Deltas:
    """One codec against the anchor: overall, by the mean curves, and on each sequence; ratios of times."""

    convention: Convention
    bd_rate: Overall
    of_means: Overall
    bd_metric: Overall
    per_sequence: tuple[SequenceResult, ...]
    encode: SpeedRatio
    decode: SpeedRatio


@dataclass(frozen=True)
class Compared:
    """One codec against the anchor; without a comparison, `problem` says why.

    estimated, published: which of the two have a rate that is an estimate, or a curve that was read from a paper.
    labels: names with presets (`CellSet.labels`). method: the interpolation.
    """

    scope: Scope
    anchor: str
    test: str
    metric: MetricFacts
    comparison: Deltas | None
    problem: str | None
    estimated: frozenset[str]
    published: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    method: str = "pchip"

    @property
    def anchor_label(self) -> str:
        """The anchor's name with its preset."""
        return self.labels.get(self.anchor, self.anchor)

    @property
    def test_label(self) -> str:
        """The test codec's name with its preset, and what its rate is if no bitstream's."""
        name = self.labels.get(self.test, self.test)
        if self.test in self.published:
            return f"{name} (published)"
        return f"{name} (rate estimated)" if self.test in self.estimated else name


@dataclass(frozen=True)
class Speed:
    """How long one codec took in one scope.

    encode, decode: the ratio to the anchor's times, None for the anchor itself and where nothing is compared.
    encode_s, decode_s: seconds a frame, the geometric mean over the codec's finished cells. timing: "alone", "shared"
    (measured while other cells were at work), "mixed" or "" where nothing was timed.
    """

    scope: Scope
    codec: str
    label: str
    is_anchor: bool
    encode: SpeedRatio
    decode: SpeedRatio
    encode_s: float | None
    decode_s: float | None
    cells: int
    timing: str
    complexity: Complexity


@dataclass(frozen=True)
class Complexity:
    """What else one codec cost in one scope. None: no cell of it says.

    encode_kmac, decode_kmac: thousands of multiply-accumulates per pixel of its networks, the mean over the cells that
    were counted. parameters: numbers in their weights, at the rate point that has the most. encode_bytes, decode_bytes:
    the highest peak of resident memory. encode_j, decode_j: joules per frame that the machine's processors took, the
    mean over cells that ran alone (`bench.core.energy`).
    """

    encode_kmac: float | None
    decode_kmac: float | None
    parameters: int | None
    encode_bytes: int | None
    decode_bytes: int | None
    encode_j: float | None
    decode_j: float | None

    @classmethod
    def of(cls, cells: Sequence[CellResult]) -> Complexity:
        """That of some finished cells."""
        encodes = [(cell, cell.encode) for cell in cells if cell.encode]
        decodes = [(cell, cell.decode) for cell in cells if cell.decode]
        return cls(
            encode_kmac=_mean(cell.kmac_per_pixel(cost) for cell, cost in encodes),
            decode_kmac=_mean(cell.kmac_per_pixel(cost) for cell, cost in decodes),
            parameters=max((cell.parameters for cell in cells if cell.parameters is not None), default=None),
            encode_bytes=max((cost.peak_rss_bytes for _, cost in encodes), default=None),
            decode_bytes=max((cost.peak_rss_bytes for _, cost in decodes), default=None),
            encode_j=_mean(_per_frame(cell, cost.energy_j) for cell, cost in encodes),
            decode_j=_mean(_per_frame(cell, cost.energy_j) for cell, cost in decodes),
        )


def comparisons(grid: Grid) -> list[Compared]:
    """Every codec against the anchor by the metric of a grid, for each scope."""
    measured, metric = grid.measured, grid.metric
    compared = []

    @cache
    def on(key: SequenceKey, test: int) -> SequenceResult:
        """Remembered, since the sequences of all datasets together are those of each dataset once more."""
        return SequenceResult(*key, *(grid.pairs[domain][key].result(0, test) for domain in DOMAINS))

    for scope in measured.scopes:
        scoped = _Pairs.of(grid, scope)
        for number, test in sorted(enumerate(measured.codecs[1:], start=1), key=lambda one: one[1]):
            problem = _problem(measured, scope, test, metric)
            both = {measured.anchor, test}
            compared.append(
                Compared(
                    scope,
                    measured.anchor,
                    test,
                    metric,
                    _deltas(grid, scoped, number, on) if problem is None else None,
                    problem,
                    measured.estimated & both,
                    frozenset(measured.published.keys() & both),
                    measured.labels,
                    measured.options.label,
                )
            )
    return compared


def speeds(measured: Measured, compared: Sequence[Compared]) -> list[Speed]:
    """The times of every codec in every scope; ratios are those of the first metric that has them."""
    cells, anchor, labels = measured.results.cells, measured.anchor, measured.labels
    own: dict[tuple[Scope, str], list[CellResult]] = defaultdict(list)
    for cell in cells:
        for scope in (Scope(None), Scope(cell.sequence.dataset)):
            own[scope, cell.codec.name].append(cell)
    return [
        _speed(scope, name, labels[name], anchor, own[scope, name], compared)
        for scope in scopes(cells)
        for name in sorted({cell.codec.name for cell in cells}, key=lambda name: (name != anchor, name))
    ]


def _problem(measured: Measured, scope: Scope, test: str, metric: MetricFacts) -> str | None:
    """Why there is nothing to compare."""
    if metric.direction is None:
        return metric.problem
    codecs, metrics = measured.found[scope]
    for name in (measured.anchor, test):
        if name not in codecs:
            return f"{name}: has no result on {scope.label}"
    if metric.name not in metrics:
        return f"{metric.name}: has no measurement on {scope.label}"
    return None


class _Pairs(NamedTuple):
    """What a grid has of a scope: pairs on its sequences, on its datasets as wholes, and of the mean curves; summaries.

    means: the sequences that the mean curves are over.
    """

    own: Mapping[Domain, Sequence[Pairs]]
    wholes: Mapping[Domain, Sequence[Pairs]]
    averaged: Mapping[Domain, Sequence[Pairs]]
    means: frozenset[SequenceKey]
    over: Mapping[Domain, Sequence[Sequence[Summary]]]

    @classmethod
    def of(cls, grid: Grid, scope: Scope) -> _Pairs:
        means, averaged = grid.means(scope)
        return cls(*grid.on(scope), averaged, means, grid.over(scope))


def _deltas(grid: Grid, scoped: _Pairs, test: int, on: Callable[[SequenceKey, int], SequenceResult]) -> Deltas:
    """The codec of that number against the first one, the anchor."""
    measured = grid.measured
    over = {domain: found[0][test] for domain, found in scoped.over.items()}
    published = {measured.codecs[0], measured.codecs[test]} & measured.published.keys()
    coded = all if published else any
    measured_there = {pairs.key: (pairs.measured[0], pairs.measured[test]) for pairs in scoped.own["quality"]}
    own = {key: on(key, test) for key, both in measured_there.items() if any(both)}
    per_sequence = tuple(one for key, one in own.items() if coded(measured_there[key]))
    usual: Convention = "dataset" if grid.metric.pooled or published else "per-sequence"
    convention = measured.options.convention or usual

    def overall(domain: Domain) -> Overall:
        summary = over[domain]
        label, unit = measured.options.label, UNITS[domain]
        wholes, means = (_results(pairs.get(domain, ()), test) for pairs in (scoped.wholes, scoped.averaged))
        if any(key in wholes or key in means for key in summary.keys):
            whole = [*(wholes if summary.keys[0] in wholes else means).items()]
            flags = flags_of(summary.flags)
            status: Status = "partial" if Cause.PARTIAL in flags else "ok"
            result = mean_of_datasets(whole, domain, label, unit)
            result = replace(result, status=status, reason=summary.reason, flags=flags)
        elif own:
            both = [(key, one.bd_rate if domain == "quality" else one.bd_metric) for key, one in own.items()]
            result = mean_of_results(both, summary.keys, domain, label, unit=unit)
        else:
            result = BDResult.undefined(Cause.NO_SEQUENCE, summary.reason or "", label)
        return _over(result, convention, summary.used, summary.total, summary.interval)

    nothing = f"{measured.codecs[test]}: has no mean curve over the sequences that the others share"
    of_means = BDResult.undefined(Cause.NO_SEQUENCE, nothing, measured.options.label)
    used, total = 0, 1
    if scoped.averaged.get("quality") and scoped.averaged["quality"][0].measured[[0, test]].all():
        of_means = scoped.averaged["quality"][0].result(0, test)
        used, total = len(scoped.means), over["quality"].total
        if of_means.value is not None and used < total:
            reason = f"{used} of {total} sequences have every rate point of every codec"
            of_means = replace(of_means, status="partial", reason=reason, flags=(*of_means.flags, Cause.PARTIAL))
    rate = overall("quality")
    if published and measured.options.mix_published:
        rate = replace(rate, notes=(*rate.notes, MIXED))
    timed = [pairs for pairs in scoped.own["quality"] if pairs.key in over["quality"].keys] or scoped.own["quality"]
    ratios = {
        step: SpeedRatio(ratio, None, sum(math.isfinite(getattr(p, step)[0, test]) for p in timed))
        if (ratio := getattr(over["quality"], step)) is not None
        else UNTIMED
        for step in ("encode", "decode")
    }
    means = _over(of_means, "mean-curve", used, total, Interval(None, None))
    return Deltas(convention, rate, means, overall("rate"), per_sequence, **ratios)


def _results(pairs: Iterable[Pairs], test: int) -> dict[SequenceKey, BDResult]:
    """The deltas of a codec wherever it or the anchor was measured."""
    return {one.key: one.result(0, test) for one in pairs if one.measured[0] or one.measured[test]}


def _over(result: BDResult, convention: Convention, used: int, total: int, interval: Interval) -> Overall:
    return Overall(**vars(result), interval=interval, convention=convention, sequences_used=used, sequences_total=total)


def _speed(
    scope: Scope, name: str, label: str, anchor: str, cells: Sequence[CellResult], compared: Sequence[Compared]
) -> Speed:
    own = [c.comparison for c in compared if c.comparison and c.scope == scope and c.test == name]
    done = [cell for cell in cells if cell.status == "ok"]
    costs = [cost for cell in done for cost in (cell.encode, cell.decode) if cost]
    timings = {cost.timing for cost in costs}
    return Speed(
        scope,
        name,
        label,
        name == anchor,
        next((c.encode for c in own if c.encode.value is not None), UNTIMED),
        next((c.decode for c in own if c.decode.value is not None), UNTIMED),
        _geometric_mean(c.encode.seconds / c.sequence.frames for c in done if c.encode),
        _geometric_mean(c.decode.seconds / c.sequence.frames for c in done if c.decode),
        len(done),
        "mixed" if len(timings) > 1 else next(iter(timings), ""),
        Complexity.of(done),
    )


def _per_frame(cell: CellResult, value: float | None) -> float | None:
    return None if value is None else value / cell.sequence.frames


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _geometric_mean(values: Iterable[float]) -> float | None:
    logs = [math.log(value) for value in _positive(values)]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def _positive(values: Iterable[float]) -> Iterator[float]:
    return (value for value in values if 0 < value < math.inf)
