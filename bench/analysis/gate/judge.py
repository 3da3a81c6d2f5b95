"""Verdicts: rules applied to paired cells, so that noise does not fail a candidate, nor absence pass it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.gate.changes import Beyond, Change, cost_change, sequence_change, shown
from bench.analysis.gate.pairs import Paired, pair_cells
from bench.analysis.gate.rules import Rule, parse_rule
from bench.analysis.significance import bootstrap_interval
from bench.errors import UnknownNameError, UsageError
from bench.records.cell import CellResult
from bench.records.cell_set import CellSet

Verdict = Literal["pass", "fail", "inconclusive", "error"]
Tolerance = Literal["pass", "fail"]

CONFIDENCE = 0.95
"""Of each end of an interval on its own: the change is worse than the near end with this confidence."""

COMPLETE = "complete"
"""Name of the check that the candidate has every cell of the baseline."""

NO_FAILED_CELLS = "failed_cells>0"
"""The rule on failed cells where none is given."""


@dataclass(frozen=True)
class SequenceChange:
    """The change of one sequence in the check's unit; None, with the reason, where there is none.

    beyond: "better" or "worse" where the change has no value and one side is better at every rate. flags: what is
    doubtful about it.
    """

    dataset: str
    sequence: str
    change: float | None
    reason: str | None
    exact: bool
    beyond: Beyond | None = None
    flags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return vars(self) | {"flags": list(self.flags)}


@dataclass(frozen=True)
class Check:
    """One rule on one codec, or on all of them (codec "").

    change, low, high: in `unit`; low and high bound the change on either side with 95 % confidence each. None where
    there is none, as `reason` says. near is the end of the interval on the side of better. exact: candidate and
    baseline are the same throughout, so that the change is exactly 0. seconds: what the check took.
    """

    codec: str
    rule: str
    verdict: Verdict
    reason: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    threshold: float | None = None
    exact: bool = False
    per_sequence: tuple[SequenceChange, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return vars(self) | {"per_sequence": [item.to_dict() for item in self.per_sequence], "notes": list(self.notes)}


@dataclass(frozen=True)
class GateResult:
    """All checks; ``inconclusive`` says what becomes of those that could not decide."""

    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    checks: tuple[Check, ...]
    inconclusive: Tolerance
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed; never without a check."""
        return bool(self.checks) and not any(self.blocks(check) for check in self.checks)

    def blocks(self, check: Check) -> bool:
        """Whether a check keeps the candidate from passing."""
        return check.verdict in {"fail", "error"} or (check.verdict == "inconclusive" and self.inconclusive == "fail")

    def count(self, verdict: Verdict) -> int:
        """How many checks have a verdict."""
        return sum(check.verdict == verdict for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The result as strict JSON."""
        return {
            "passed": self.passed,
            "baseline": list(self.baseline),
            "candidate": list(self.candidate),
            "inconclusive": self.inconclusive,
            "confidence": CONFIDENCE,
            "checks": [check.to_dict() | {"blocks": self.blocks(check)} for check in self.checks],
            "warnings": list(self.warnings),
        }


def judge(
    baseline: Sequence[CellSet],
    candidate: Sequence[CellSet],
    rules: Sequence[Rule],
    *,
    codecs: Sequence[str] = (),
    sequences: Sequence[str] = (),
    inconclusive: Tolerance = "pass",
    min_overlap: float = 0.0,
) -> GateResult:
    """Hold a candidate's results against a baseline's, codec by codec.

    Each side is one result set, or several of repeated runs: the first says what was coded, all of them what it cost.
    Default: every codec of either side and every sequence.

    A rate, bytes or quality rule compares what encoders wrote. That is the same whenever it is measured again, so that
    the only doubt is which sequences were taken: the mean over sequences fails when it is beyond the threshold and its
    interval's near end is worse than no change at all; it is inconclusive when the near end is not. Where a sequence's
    curves have no delta, but one side is better at every rate, that decides: a loss fails, a gain is left out of the
    mean. With one or two
    sequences, which give no interval, the better of them stands for the near end: what is worse on each one is no
    accident of the choice. The worst sequence ("worst") is one known number, and is only held against the threshold.

    A cost rule compares measurements that disturbance falsifies: it fails only when the near end is itself beyond the
    threshold, over all pairs of cells, and is inconclusive when the change is and the near end is not.

    The interval is the expanded percentile bootstrap of `bootstrap_interval`, each end with 95 % confidence. Where
    bitstreams and values are equal the change is exactly 0, even if a curve is undefined. What cannot be compared
    (missing or other cells, another definition of a metric, a delta that is undefined with neither side better) is an
    "error", and errors never pass. ``min_overlap``: the share of the baseline's curve that a delta must compare.

    Raises UsageError without rules, UnknownNameError for a codec or sequence that neither side has.
    """
    if not rules:
        raise UsageError("no rule is given; say what fails, such as --fail 'bd_rate(psnr_y)>0.5%'")
    if not any(rule.kind == "failed_cells" for rule in rules):
        rules = [parse_rule(NO_FAILED_CELLS), *rules]
    if sequences:
        known = {cell.sequence.name for results in (*baseline, *candidate) for cell in results.cells}
        for name in sequences:
            if name not in known:
                raise UnknownNameError("sequence of these results", name, known)
    chosen = set(sequences)
    checks: list[Check] = []
    for codec in _codecs(baseline[0], candidate[0], codecs):
        old, new = ([_cells(results, codec, chosen) for results in side] for side in (baseline, candidate))
        checks += _checks(codec, old, new, rules, min_overlap)
    return GateResult(
        _names(baseline),
        _names(candidate),
        tuple(checks),
        inconclusive,
        tuple(f"left out: {problem}" for results in (*baseline, *candidate) for problem in results.problems),
    )


def _checks(
    codec: str,
    baseline: list[list[CellResult]],
    candidate: list[list[CellResult]],
    rules: Sequence[Rule],
    min_overlap: float,
) -> Iterable[Check]:
    started = time.perf_counter()
    for side, cells, remedy in (
        ("baseline", baseline[0], "run it there too, or name the codecs to judge by --codecs"),
        ("candidate", candidate[0], "run it there too"),
    ):
        if not cells:
            yield Check(codec, COMPLETE, "error", f"the {side} has no cell of {codec}; {remedy}")
            return
    paired = pair_cells(baseline, candidate)
    yield replace(_complete(codec, paired), seconds=time.perf_counter() - started)
    runs = (len(baseline), len(candidate))
    allowed = next(int(rule.threshold) for rule in rules if rule.kind == "failed_cells")
    for rule in rules:
        started = time.perf_counter()
        if rule.kind == "failed_cells":
            check = _failed_cells(codec, rule, paired)
        elif rule.kind == "cost":
            check = _cost_check(codec, rule, paired, runs)
        else:
            check = _sequence_check(codec, rule, paired, min_overlap, tolerant=allowed > 0)
        yield replace(check, seconds=time.perf_counter() - started)


def _complete(codec: str, paired: Paired) -> Check:
    problems = [problem for found in paired.problems.values() for problem in found]
    if problems:
        return Check(codec, COMPLETE, "error", _listed(problems), notes=tuple(problems))
    count = len(paired.all())
    if not count and not paired.failed:
        return Check(codec, COMPLETE, "error", "no cell to compare: all of them were skipped")
    return Check(codec, COMPLETE, "pass", f"{count} pairs of cells", notes=paired.notes)


def _failed_cells(codec: str, rule: Rule, paired: Paired) -> Check:
    failed = list(paired.failed.values())
    return Check(
        codec,
        rule.text,
        "fail" if rule.is_beyond(len(failed)) else "pass",
        _listed(failed) if failed else "no cell failed",
        change=float(len(failed)),
        unit=rule.unit,
        threshold=rule.threshold,
        notes=tuple(failed),
    )


def _sequence_check(codec: str, rule: Rule, paired: Paired, min_overlap: float, *, tolerant: bool) -> Check:
    """A rule on what the encoders wrote: each sequence has one exact change."""
    failed = {key.sequence for key in paired.failed}
    names = sorted({*paired.pairs, *paired.problems, *failed})
    changes: dict[Any, Change] = {}
    for name in names:
        if name in paired.problems:
            changes[name] = Change(None, "; ".join(paired.problems[name][:2]))
        elif name in failed:
            changes[name] = Change(None, "a cell of the candidate failed")
        else:
            changes[name] = sequence_change(rule, paired.pairs[name], min_overlap)
    left_out = [name for name in failed if tolerant and name not in paired.problems]
    judged = {name: change for name, change in changes.items() if name not in left_out}
    check = _decide(codec, rule, judged, noisy=False)
    return replace(
        check,
        per_sequence=tuple(
            SequenceChange(
                name.dataset,
                name.sequence,
                None if change.value is None else shown(rule, change.value),
                change.reason,
                change.exact,
                change.beyond,
                tuple(map(str, change.flags)),
            )
            for name, change in changes.items()
        ),
        notes=(
            *check.notes,
            *(f"{name} is left out: a cell failed" for name in left_out),
            *(f"{name}: {note}" for name, change in changes.items() for note in change.notes),
        ),
    )


def _cost_check(codec: str, rule: Rule, paired: Paired, runs: tuple[int, int]) -> Check:
    """A rule on what was measured with noise: every pair of cells is a sample of it."""
    changes = {
        f"{name}#{number}": cost_change(rule, pair, runs)
        for name, pairs in paired.pairs.items()
        for number, pair in enumerate(pairs)
    }
    return _decide(codec, rule, changes, noisy=True)


def _decide(codec: str, rule: Rule, changes: dict[Any, Change], *, noisy: bool) -> Check:
    check = Check(codec, rule.text, "error", "", unit=rule.unit, threshold=rule.threshold)
    worse = [f"{name}: {change.reason}" for name, change in changes.items() if change.beyond == "worse"]
    if worse:
        return replace(check, verdict="fail", reason=f"worse beyond measure: {_listed(worse)}")
    better = [f"{name}: {change.reason}" for name, change in changes.items() if change.beyond == "better"]
    if better:
        rest = {name: change for name, change in changes.items() if change.beyond is None}
        notes = tuple(f"{text}; left out of the mean" for text in better)
        if not rest:
            return replace(check, verdict="pass", reason=f"better beyond measure: {_listed(better)}", notes=notes)
        decided = _decide(codec, rule, rest, noisy=noisy)
        return replace(decided, notes=(*decided.notes, *notes))
    unknown = [str(change.reason) for change in changes.values() if change.value is None]
    if unknown or not changes:
        whole = f" ({len(unknown)} of {len(changes)})" if len(unknown) < len(changes) else ""
        return replace(check, reason=f"cannot be judged{whole}: {_listed(unknown or ['nothing to compare'])}")
    values = np.array([change.value for change in changes.values()], dtype=np.float64)
    if not noisy and all(change.exact for change in changes.values()):
        reason = (
            "exact match: the same bitstreams and values" if rule.kind != "value" else "exact match: the same values"
        )
        return replace(check, verdict="pass", reason=reason, change=0.0, low=0.0, high=0.0, exact=True)
    if rule.scope == "worst":
        worst = values.max() if rule.sign > 0 else values.min()
        name = list(changes)[int(np.flatnonzero(values == worst)[0])]
        change = shown(rule, float(worst))
        verdict: Verdict = "fail" if rule.is_beyond(change) else "pass"
        return replace(check, verdict=verdict, reason=f"the worst of {len(changes)} sequences is {name}", change=change)
    return _decide_mean(rule, check, values, noisy=noisy)


def _decide_mean(rule: Rule, check: Check, values: NDArray[np.float64], *, noisy: bool) -> Check:
    change = shown(rule, float(values.mean()))
    interval = bootstrap_interval(lambda weights: weights @ values, values.size, confidence=2 * CONFIDENCE - 1)
    low, high = ((None if end is None else shown(rule, end)) for end in (interval.low, interval.high))
    basis = _counted(values.size, "cell" if noisy else "sequence")
    near = low if rule.sign > 0 else high
    if near is None:
        basis += ", too few for an interval"
    if noisy:
        decided = near is not None and rule.is_beyond(near)
    else:
        better = float(values.min() if rule.sign > 0 else values.max())
        decided = rule.is_worse(better if near is None else near)
    verdict: Verdict = "fail" if decided else "inconclusive"
    if not rule.is_beyond(change):
        verdict, reason = "pass", f"within the threshold ({basis})"
    elif decided:
        reason = f"beyond the threshold ({basis})"
    else:
        bound, remedy = _REPEAT if noisy else _ADD_SEQUENCES
        reason = f"beyond the threshold, but {bound} is within its uncertainty ({basis}); {remedy} to decide"
    return replace(check, verdict=verdict, reason=reason, change=change, low=low, high=high)


_REPEAT = ("the threshold", "repeat the runs and give all of them")
_ADD_SEQUENCES = ("no change", "add sequences")


def _cells(results: CellSet, codec: str, sequences: set[str]) -> list[CellResult]:
    """The cells of a codec on some sequences, on all where none is named."""
    return [
        cell
        for cell in results.cells
        if cell.codec.name == codec and (not sequences or cell.sequence.name in sequences)
    ]


def _codecs(baseline: CellSet, candidate: CellSet, wanted: Sequence[str]) -> list[str]:
    known = {cell.codec.name for results in (baseline, candidate) for cell in results.cells}
    for name in wanted:
        if name not in known:
            raise UnknownNameError("codec of these results", name, known)
    return list(dict.fromkeys(wanted)) or sorted(known)


def _names(side: Iterable[CellSet]) -> tuple[str, ...]:
    return tuple(str(folder) for results in side for folder in results.folders)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(texts: Sequence[str], most: int = 3) -> str:
    """A few distinct texts, and how many more there are."""
    distinct = list(dict.fromkeys(texts))
    more = f"; and {len(distinct) - most} more" if len(distinct) > most else ""
    return "; ".join(distinct[:most]) + more
