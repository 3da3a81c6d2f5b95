"""Every comparison that a report shows: each codec against the anchor, for each metric and dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bench.analysis.compare import Comparison, SpeedRatio, compare_codecs
from bench.analysis.curves import CurveKey, RDCurve, curves
from bench.records.cell import CellResult
from bench.report.measured import Measured, MetricFacts, Scope, scopes
from bench.results.result_set import ResultSet

if TYPE_CHECKING:
    import pandas as pd

UNTIMED = SpeedRatio(None, "no compared sequence has a time from both codecs", 0)


@dataclass(frozen=True)
class Compared:
    """One codec against the anchor; without a comparison, `problem` says why.

    estimated, published: which of the two have a rate that is an estimate, or a curve that was read from a paper.
    labels: names with presets (`CellSet.labels`).
    """

    scope: Scope
    anchor: str
    test: str
    metric: MetricFacts
    comparison: Comparison | None
    problem: str | None
    estimated: frozenset[str]
    published: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

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


def comparisons(measured: Measured) -> list[Compared]:
    """Every codec against the anchor, for each scope and metric, in that order."""
    results, anchor, frame = measured.results, measured.anchor, measured.frame
    estimates = {cell.codec.name for cell in results.cells if cell.codec.rate_kind == "estimate"}
    tests = sorted(set(measured.codecs) - {anchor})
    found = {metric.name: curves(frame, metric.name) for metric in measured.metrics}
    compared = []
    for scope in measured.scopes:
        there = _there(frame, scope)
        for metric in measured.metrics:
            own = {key: c for key, c in found[metric.name].items() if scope.dataset in {None, key.dataset}}
            problems = {test: _problem(there, scope, anchor, test, metric) for test in tests}
            able = [test for test, problem in problems.items() if problem is None]
            of_tests = _compare(own, measured, scope, able, metric)
            compared += [
                Compared(
                    scope,
                    anchor,
                    test,
                    metric,
                    of_tests.get(test),
                    problem,
                    frozenset(estimates & {anchor, test}),
                    frozenset(set(measured.published) & {anchor, test}),
                    measured.labels,
                )
                for test, problem in problems.items()
            ]
    return compared


def speeds(measured: Measured, compared: Sequence[Compared]) -> list[Speed]:
    """The times of every codec in every scope; ratios are those of the first metric that has them."""
    cells, anchor, labels = measured.results.cells, measured.anchor, measured.labels
    return [
        _speed(scope, name, labels[name], anchor, [cell for cell in cells if _within(cell, scope, name)], compared)
        for scope in scopes(cells)
        for name in sorted({cell.codec.name for cell in cells}, key=lambda name: (name != anchor, name))
    ]


def _problem(there: _There, scope: Scope, anchor: str, test: str, metric: MetricFacts) -> str | None:
    """Why there is nothing to compare."""
    if metric.direction is None:
        return metric.problem
    for name in (anchor, test):
        if name not in there.codecs:
            return f"{name}: has no result on {scope.label}"
    if metric.name not in there.metrics:
        return f"{metric.name}: has no measurement on {scope.label}"
    return None


def _compare(
    found: Mapping[CurveKey, RDCurve], measured: Measured, scope: Scope, tests: Sequence[str], metric: MetricFacts
) -> dict[str, Comparison]:
    if metric.axis is None:
        return {}
    anchor = measured.anchor
    pooled = {test: _pooled(measured.results, (anchor, test), scope, metric) for test in tests}
    return compare_codecs(
        found,
        anchor,
        tests,
        metric.axis,
        measured.options,
        pooled={test: table for test, table in pooled.items() if table is not None},
    )


def _pooled(results: ResultSet, codecs: tuple[str, str], scope: Scope, metric: MetricFacts) -> pd.DataFrame | None:
    if not metric.pooled and not results.published:
        return None
    own = results.only(codecs, scope.dataset)
    return own.datasets(metric.name) if metric.name in own.metrics else None


class _There(NamedTuple):
    """What has any result in a scope."""

    codecs: frozenset[str]
    metrics: frozenset[str]


def _there(frame: pd.DataFrame, scope: Scope) -> _There:
    part = frame if scope.dataset is None else frame[frame["dataset"] == scope.dataset]
    return _There(frozenset(part["codec"]), frozenset(part["metric"].dropna()))


def _within(cell: CellResult, scope: Scope, codec: str) -> bool:
    return cell.codec.name == codec and scope.dataset in {None, cell.sequence.dataset}


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
