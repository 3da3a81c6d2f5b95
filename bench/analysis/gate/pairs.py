"""The cells of a candidate paired with those of its baseline: same codec, sequence, frames and rate point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.analysis.curves import SequenceKey
from bench.records.cell import CellResult


class PointKey(NamedTuple):
    """One rate point of a codec on one sequence."""

    sequence: SequenceKey
    parameter: str
    rate: float
    scale: float = 1.0

    def __str__(self) -> str:
        at = "" if self.scale == 1 else f" at {self.scale:g}x"
        return f"{self.sequence} at {self.parameter}={self.rate:g}{at}"


@dataclass(frozen=True)
class CellPair:
    """One rate point on one sequence as both measured it, each once a run; the first run is what was coded."""

    baseline: tuple[CellResult, ...]
    candidate: tuple[CellResult, ...]

    @property
    def identical(self) -> bool:
        """Whether both wrote the same bitstream, byte for byte."""
        old, new = self.baseline[0].bitstream, self.candidate[0].bitstream
        return old is not None and new is not None and (old.sha256, old.bytes) == (new.sha256, new.bytes)


@dataclass(frozen=True)
class Paired:
    """The pairs of one codec by sequence, and everything that keeps some of it from being compared.

    problems: what is missing or not comparable, by sequence; such a sequence is not judged by its other cells alone.
    failed: the candidate's failed cells.
    """

    pairs: dict[SequenceKey, list[CellPair]] = field(default_factory=dict)
    problems: dict[SequenceKey, list[str]] = field(default_factory=dict)
    failed: dict[PointKey, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def all(self) -> list[CellPair]:
        """Every pair, in the order of sequences."""
        return [pair for pairs in self.pairs.values() for pair in pairs]


def pair_cells(baseline: Sequence[Iterable[CellResult]], candidate: Sequence[Iterable[CellResult]]) -> Paired:
    """Pair the cells of one codec; each side is one list of cells a run.

    Every cell that the first baseline has must be in the first candidate, of the same source. What both skipped is left
    aside; what the candidate has in addition is noted.
    """
    olds, news = [_by_point(run) for run in baseline], [_by_point(run) for run in candidate]
    paired = Paired()
    for key in sorted(olds[0], key=str):
        old, new = olds[0][key], news[0].get(key, [])
        if old[0].status == "skipped" and all(cell.status == "skipped" for cell in new):
            continue
        if new and new[0].status == "failed":
            paired.failed[key] = f"{key}: {new[0].reason}: {_brief(new[0].message)}"
        elif problem := _problem(old, new):
            paired.problems.setdefault(key.sequence, []).append(f"{key}: {problem}")
        else:
            pair = CellPair(_of_runs(key, olds), _of_runs(key, news))
            paired.pairs.setdefault(key.sequence, []).append(pair)
            for side, cells in (("baseline", pair.baseline), ("candidate", pair.candidate)):
                if not _repeats(cells):
                    told = f"{key}: the runs of the {side} wrote different bitstreams; give runs of one encoder"
                    paired.problems.setdefault(key.sequence, []).append(told)
    more = [cells[0] for key, cells in news[0].items() if key not in olds[0]]
    for cell in more:
        if cell.status == "failed":
            key = _point(cell)
            paired.failed[key] = f"{key}: {cell.reason}: {_brief(cell.message)}"
    only_new = sum(cell.status == "ok" for cell in more)
    notes = (f"{only_new} of the candidate's cells are not in the baseline and were not judged",) if only_new else ()
    return Paired(paired.pairs, paired.problems, paired.failed, notes)


def _by_point(cells: Iterable[CellResult]) -> dict[PointKey, list[CellResult]]:
    found: dict[PointKey, list[CellResult]] = {}
    for cell in cells:
        found.setdefault(_point(cell), []).append(cell)
    return found


def _point(cell: CellResult) -> PointKey:
    sequence = SequenceKey(cell.sequence.dataset, cell.sequence.name)
    return PointKey(sequence, cell.rate.parameter, float(cell.rate.value), cell.scale)


def _of_runs(key: PointKey, runs: Sequence[dict[PointKey, list[CellResult]]]) -> tuple[CellResult, ...]:
    """The cell in the first run and in the others that have it, measured, of the same source."""
    first = runs[0][key][0]
    again = [run[key][0] for run in runs[1:] if key in run and not _problem([first], run[key])]
    return (first, *again)


def _repeats(cells: tuple[CellResult, ...]) -> bool:
    """Whether runs are repetitions: the same bitstream each time, of an encoder that says it is deterministic."""
    streams = {cell.bitstream.sha256 for cell in cells if cell.bitstream is not None}
    return len(streams) < 2 or not cells[0].codec.card.get("deterministic", True)


def _problem(old: list[CellResult], new: list[CellResult]) -> str | None:
    if not new:
        return "the candidate does not have it; run it with the same codecs, clips and rates"
    for side, cells in (("baseline", old), ("candidate", new)):
        if len(cells) > 1:
            return f"the {side} has {len(cells)} cells of it, of different runs; keep one run in a result folder"
        if cells[0].status != "ok":
            return f"{cells[0].status} in the {side}: {cells[0].reason}: {_brief(cells[0].message)}"
    before, after = old[0].sequence, new[0].sequence
    for name in ("sha256", "start", "frames", "width", "height", "fps", "pix_fmt", "conversion"):
        left, right = getattr(before, name), getattr(after, name)
        if left != right:
            return f"other frames were coded ({name} is {left} in the baseline, {right} in the candidate)"
    if old[0].codec.rate_kind != new[0].codec.rate_kind:
        return "rate is the size of a bitstream on one side, an estimate on the other"
    return None


def _brief(message: str | None) -> str:
    lines = (message or "no message").strip().splitlines()
    return lines[-1][:300] if lines else "no message"
