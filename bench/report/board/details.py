"""What a leaderboard shows of an entry beside its place: sequences, curve, settings, date and speed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.analysis.bd import Cause
from bench.analysis.matrix import Summary, flags_of
from bench.records.cell import CellResult
from bench.report.board.evidence import Finding
from bench.report.grid import Grid
from bench.report.measured import codec_facts
from bench.results.result_set import ResultSet


@dataclass(frozen=True)
class SequenceValue:
    """BD-rate of one sequence in per cent; None with the reason."""

    sequence: str
    bd_rate_percent: float | None
    reason: str | None


@dataclass(frozen=True)
class CurvePoint:
    """One rate point over the dataset: mean bpp, and the metric's mean, or its value pooled over all frames."""

    rate: str
    bpp: float
    value: float


@dataclass(frozen=True)
class Details:
    """Of one entry on one board.

    encode_s_per_frame, decode_s_per_frame: seconds as claimed; encode_ratio, decode_ratio: over the anchor's.
    encode_here_to_claimed: seconds of the keeper's encoder over the claimed ones, on the cells that it coded again.
    timing: "alone", "shared" (other cells were at work), or both. measured_on: as claimed, a date or
    "first to last". signed_off: who verified it, when, and by what.
    """

    per_sequence: tuple[SequenceValue, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    title: str = ""
    rates: str = ""
    gop: str = ""
    tool: str = ""
    settings: tuple[str, ...] = ()
    measured_on: str | None = None
    encode_s_per_frame: float | None = None
    decode_s_per_frame: float | None = None
    encode_ratio: float | None = None
    decode_ratio: float | None = None
    encode_here_to_claimed: float | None = None
    timing: str | None = None
    signed_off: str | None = None


@dataclass(frozen=True)
class Against:
    """An entry against the anchor, as the grid has it: over the board, and BD-rates of its sequences with their doubts.

    pooled: the overall value is of the dataset as a whole, not a mean over sequences.
    """

    overall: Summary
    per_sequence: tuple[SequenceValue, ...]
    flags: Mapping[str, tuple[Cause, ...]]
    pooled: bool

    @classmethod
    def of(cls, grid: Grid, dataset: str) -> Against:
        """The second codec of a grid against the first."""
        (overall,) = (grid.over(scope)["quality"][0][1] for scope in grid.measured.scopes if scope.dataset == dataset)
        values, flags = [], {}
        for key, pairs in grid.pairs["quality"].items():
            value = float(pairs.value[0, 1])
            _, reason = pairs.reasons.get((0, 1), (None, None))
            values.append(SequenceValue(key.sequence, None if math.isnan(value) else value, reason))
            flags[key.sequence] = flags_of(int(pairs.flags[0, 1]))
        pooled = grid.metric.pooled or bool(grid.measured.published)
        return cls(overall, tuple(values), flags, pooled)


def details(comparison: Against | None, results: ResultSet, metric: str, codec: str, finding: Finding) -> Details:
    """Details of the codec of `results`, its cells on the board; `comparison` is None for the anchor."""
    done = [cell for cell in results.cells if cell.status == "ok"]
    curve = tuple(_curve(results, metric))
    sequences = comparison.per_sequence if comparison else ()
    if not done:
        return Details(per_sequence=sequences, curve=curve)
    facts = codec_facts(results.cells, codec)
    started = sorted({str(cell.provenance["started"])[:10] for cell in done if cell.provenance.get("started")})
    timings = {cost.timing for cell in done for cost in (cell.encode, cell.decode) if cost}
    here = finding.encode_s
    claimed = _per_frame(done, "encode")
    return Details(
        per_sequence=sequences,
        curve=curve,
        title=facts.title,
        rates=facts.rates,
        gop=facts.gop,
        tool=facts.tool,
        settings=facts.settings,
        measured_on=" to ".join(dict.fromkeys([started[0], started[-1]])) if started else None,
        encode_s_per_frame=claimed,
        decode_s_per_frame=_per_frame(done, "decode"),
        encode_ratio=comparison.overall.encode if comparison else None,
        decode_ratio=comparison.overall.decode if comparison else None,
        encode_here_to_claimed=here[0] / here[1] if here and here[1] > 0 else None,
        timing=" and ".join(sorted(timings)) or None,
        signed_off=finding.signed_off,
    )


def _curve(results: ResultSet, metric: str) -> Iterator[CurvePoint]:
    if metric not in results.metrics:
        return
    table = results.datasets(metric).sort_values("bpp")
    for row in table[table.status == "ok"].to_dict("records"):
        if math.isfinite(row["bpp"]) and math.isfinite(row["value"]):
            yield CurvePoint(str(row["rate"]), float(row["bpp"]), float(row["value"]))


def _per_frame(cells: Sequence[CellResult], step: Literal["encode", "decode"]) -> float | None:
    """Seconds per frame over all cells."""
    costs = [(cost.seconds, cell.sequence.frames) for cell in cells if (cost := getattr(cell, step)) is not None]
    total = sum(seconds for seconds, _ in costs)
    return total / sum(frames for _, frames in costs) if costs and math.isfinite(total) else None
