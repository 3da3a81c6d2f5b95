"""A codec over its revisions: how rate, time and memory changed since the first, with the gate's verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.gate.judge import Check, judge
from bench.analysis.gate.rules import Rule, parse_rule
from bench.analysis.quality import QualityAxis
from bench.errors import UnknownNameError
from bench.records.cell_set import CellSet
from bench.records.gate_verdict import GateVerdict

COST_TITLES = {
    "encode_s": "Encoding time",
    "encode_cpu_s": "Encoding CPU time",
    "decode_s": "Decoding time",
    "decode_cpu_s": "Decoding CPU time",
    "encode_memory": "Encoding peak memory",
}


@dataclass(frozen=True)
class Revision:
    """One state of the codecs: its name, what was measured of it, and the gate's verdict, if there is one."""

    label: str
    results: CellSet
    verdict: GateVerdict | None = None


@dataclass(frozen=True)
class Point:
    """The change of one quantity at one revision, per cent of the reference.

    value is None, with the reason, where it cannot be computed. low, high: bounds on either side, each with 95 %
    confidence; None where there are too few sequences. exact: nothing differs from the reference.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    exact: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Track:
    """One quantity of one codec over all revisions, as changes from ``reference``, the first that has the codec.

    quantity: as a rule of the gate names it, such as "bd_rate(psnr_y)" or "encode_cpu_s". Below zero is better.
    """

    codec: str
    quantity: str
    title: str
    reference: str
    points: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return {**vars(self), "points": [point.to_dict() for point in self.points]}


@dataclass(frozen=True)
class History:
    """Revisions in order, and a track per codec and quantity."""

    revisions: tuple[Revision, ...]
    tracks: tuple[Track, ...]

    @property
    def codecs(self) -> list[str]:
        """Names of the codecs, in alphabetical order."""
        return sorted({track.codec for track in self.tracks})

    @property
    def quantities(self) -> dict[str, str]:
        """Titles of the quantities, in order."""
        return {track.quantity: track.title for track in self.tracks}

    def to_dict(self) -> dict[str, Any]:
        """The history as strict JSON."""
        return {
            "revisions": [
                {
                    "label": revision.label,
                    "verdict": None if revision.verdict is None else revision.verdict.word,
                    "blocking": [] if revision.verdict is None else [c.model_dump() for c in revision.verdict.blocking],
                }
                for revision in self.revisions
            ],
            "tracks": [track.to_dict() for track in self.tracks],
        }


def history(
    revisions: Sequence[Revision], metrics: Sequence[str] = (), codecs: Sequence[str] = (), *, min_overlap: float = 0.0
) -> History:
    """Changes of every codec from the first revision that has it: BD-rate by each of ``metrics``, times, memory.

    The changes are those of the gate (`bench.analysis.gate.judge`): cells are paired, and what is equal byte for byte
    is exactly 0. Default: every metric of the first revision, every codec. Times are wall times where all of them were
    taken with nothing else at work, CPU times otherwise.

    Raises UnknownNameError for a metric or codec that no revision has.
    """
    known = sorted({cell.codec.name for revision in revisions for cell in revision.results.cells})
    for codec in codecs:
        if codec not in known:
            raise UnknownNameError("codec of these results", codec, known)
    measured = dict.fromkeys(name for revision in revisions for name in revision.results.metrics)
    for metric in metrics:
        if QualityAxis.parse(metric).metric not in measured:
            raise UnknownNameError("metric of these results", metric, measured)
    rules = [parse_rule(f"bd_rate({metric})>0%") for metric in metrics or measured]
    rules += [parse_rule(f"{cost}>0%") for cost in _costs(revisions)]
    tracks = []
    for codec in codecs or known:
        first = next(r for r in revisions if any(cell.codec.name == codec for cell in r.results.cells))
        checks = [_checks(first, revision, codec, rules, min_overlap) for revision in revisions]
        for rule in rules:
            points = tuple(_point(found, rule) for found in checks)
            if any(point.value is not None for point in points):
                tracks.append(Track(codec, _quantity(rule), _title(rule), first.label, points))
    return History(tuple(revisions), tuple(tracks))


def _costs(revisions: Sequence[Revision]) -> tuple[str, ...]:
    cells = [cell for revision in revisions for cell in revision.results.cells if cell.status == "ok"]
    alone = all(cost.timing == "alone" for cell in cells for cost in (cell.encode, cell.decode) if cost is not None)
    times = ("encode_s", "decode_s") if alone else ("encode_cpu_s", "decode_cpu_s")
    return (*times, "encode_memory")


def _checks(first: Revision, revision: Revision, codec: str, rules: Sequence[Rule], min_overlap: float) -> list[Check]:
    if not any(cell.codec.name == codec for cell in revision.results.cells):
        return []
    found = judge([first.results], [revision.results], rules, codecs=[codec], min_overlap=min_overlap)
    return list(found.checks)


def _point(checks: Sequence[Check], rule: Rule) -> Point:
    if not checks:
        return Point(None, reason="not measured")
    check = next((check for check in checks if check.rule == rule.text), None)
    if check is None:
        return Point(None, reason="; ".join(other.reason for other in checks if other.verdict == "error"))
    return Point(check.change, check.low, check.high, check.exact, check.reason if check.change is None else "")


def _quantity(rule: Rule) -> str:
    return rule.text.partition(">")[0]


def _title(rule: Rule) -> str:
    if rule.kind == "cost":
        return COST_TITLES[rule.name]
    return f"BD-rate, {rule.axis.kind.title}"
