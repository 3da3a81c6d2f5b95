"""What a rule compares, computed: the change of each sequence or cell, candidate against baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.analysis.bd import BDResult, Cause, bd_metric, bd_rate
from bench.analysis.gate.pairs import CellPair
from bench.analysis.gate.rules import Rule
from bench.analysis.quality import QualityAxis
from bench.records.cell import CellResult, CostRecord

Beyond = Literal["better", "worse"]

_UNMEASURED = {Cause.NO_OVERLAP, Cause.TOO_FEW_POINTS, Cause.LITTLE_OVERLAP}
"""Why a delta may be undefined although it is clear which side is better."""


@dataclass(frozen=True)
class Change:
    """The change of one sequence or cell, or the reason why it is not known.

    value: on an axis where changes add up, a logarithm for ratios; `shown` gives it in the rule's unit. exact: both
    sides are the same, byte for byte and value for value, so that nothing was computed. beyond: which way the change
    goes where it has no value, but one side is better at every rate; reason says how that is known. flags, notes: what
    is doubtful about the value.
    """

    value: float | None
    reason: str | None = None
    exact: bool = False
    beyond: Beyond | None = None
    flags: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()


def shown(rule: Rule, value: float) -> float:
    """A change in the rule's unit: per cent for ratios."""
    return 100 * math.expm1(value) if rule.kind in {"bytes", "cost"} else value


def sequence_change(rule: Rule, pairs: Sequence[CellPair], min_overlap: float = 0.0) -> Change:
    """Change of one sequence for a rule on rates, bytes or quality: the same whenever it is measured again.

    min_overlap: the share of the baseline's curve that a delta must compare, 0 to 1.
    """
    if rule.kind == "bytes":
        return _mean(_byte_change(pair) for pair in pairs)
    axis = rule.axis
    qualities = [_qualities(axis, pair) for pair in pairs]
    reasons = [found for found in qualities if isinstance(found, str)]
    if reasons:
        return Change(None, "; ".join(dict.fromkeys(reasons)))
    values = [found for found in qualities if not isinstance(found, str)]
    if rule.kind == "value":
        return _mean(_difference(rule.name, old, new) for old, new in values)
    if all(pair.identical and old == new for pair, (old, new) in zip(pairs, values, strict=True)):
        return Change(0.0, exact=True)
    curves = (
        [_bpp(pair.baseline[0]) for pair in pairs],
        [old for old, _ in values],
        [_bpp(pair.candidate[0]) for pair in pairs],
        [new for _, new in values],
    )
    settings: dict[str, Any] = {
        "higher_is_better": axis.kind.direction == "higher",
        "cap": axis.cap,
        "saturation": axis.saturation,
        "min_overlap": min_overlap,
        "hull": len({pair.baseline[0].scale for pair in pairs}) > 1,
    }
    deltas = {"bd_rate": bd_rate(*curves, **settings), "bd_metric": bd_metric(*curves, **settings)}
    result = deltas.pop(rule.kind)
    if result.value is None and result.cause in _UNMEASURED:
        (other,) = deltas.values()
        higher = settings["higher_is_better"]
        beyond, how = _by_points(curves, higher=higher) or _by_other_delta(rule, other, higher=higher) or (None, "")
        return Change(None, f"{result.reason}{how}", beyond=beyond, notes=result.notes)
    return Change(result.value, result.reason, flags=result.flags, notes=result.notes)


def _by_points(curves: tuple[list[float], ...], *, higher: bool) -> tuple[Beyond, str] | None:
    """Which side is better where it needs no more bits for no less quality at every rate point that both have."""
    old_rate, old, new_rate, new = map(np.array, curves)
    gain = new - old if higher else old - new
    if (new_rate <= old_rate).all() and (gain >= 0).all():
        return "better", "; the candidate needs no more bits for no less quality at every rate point"
    if (new_rate >= old_rate).all() and (gain <= 0).all():
        return "worse", "; the candidate needs no fewer bits for no more quality at every rate point"
    return None


def _by_other_delta(rule: Rule, other: BDResult, *, higher: bool) -> tuple[Beyond, str] | None:
    """Which side is better by the delta on the other axis: quality at equal rate where no quality is equal."""
    if not other.value:
        return None
    of_quality = rule.kind == "bd_rate"
    better = (other.value > 0) == higher if of_quality else other.value < 0
    unit = rule.axis.unit if of_quality else "%"
    at = "quality at equal rate" if of_quality else "rate at equal quality"
    return ("better" if better else "worse"), f"; {at} changes by {other.value:+.3g} {unit}".rstrip()


def cost_change(rule: Rule, pair: CellPair, runs: tuple[int, int]) -> Change:
    """Change of a cell's cost as a log ratio: the least of each side's runs, since disturbance only ever adds."""
    costs = []
    for side, cells, wanted in (("baseline", pair.baseline, runs[0]), ("candidate", pair.candidate, runs[1])):
        if len(cells) < wanted:
            return Change(
                None, f"{wanted - len(cells)} of {wanted} runs of the {side} do not have it; repeat all of it"
            )
        found = [_cost(rule.name, cell) for cell in cells]
        told = [f"{side}: {cost}" for cost in found if isinstance(cost, str)]
        if told:
            return Change(None, told[0])
        costs.append(min(cost for cost in found if not isinstance(cost, str)))
    if "memory" not in rule.name and (differ := _other_machine(pair)):
        return Change(None, differ)
    return Change(_log_ratio(costs[1], costs[0]))


def _cost(name: str, cell: CellResult) -> float | str:
    """A cost, or why it cannot be compared."""
    record = cell.encode if name.startswith("encode") else cell.decode
    if record is None:
        return "was not measured"
    if name in {"encode_s", "decode_s"} and record.timing != "alone":
        return "times were taken with other work beside it; run both sides with --timing"
    reader: Callable[[CostRecord], float] = {
        "s": lambda cost: cost.seconds,
        "cpu_s": lambda cost: cost.cpu_s,
        "memory": lambda cost: cost.peak_rss_bytes,
    }[name.partition("_")[2]]
    value = reader(record)
    return value if value > 0 else f"is {value:g}, too little to be measured; use longer clips"


def _other_machine(pair: CellPair) -> str | None:
    known = {
        (cell.provenance.get("cpu"), cell.provenance.get("gpu"))
        for cell in (*pair.baseline, *pair.candidate)
        if "cpu" in cell.provenance
    }
    if len(known) < 2:
        return None
    names = sorted(" and ".join(str(part) for part in machine if part) for machine in known)
    return f"times of different machines ({', '.join(names)}); run both sides on one"


def _qualities(axis: QualityAxis, pair: CellPair) -> tuple[float, float] | str:
    """Values of both sides as a delta takes them, or why there are none."""
    metric = axis.metric
    found = []
    for side, cell in (("baseline", pair.baseline[0]), ("candidate", pair.candidate[0])):
        measured = cell.measurements.get(metric)
        where = cell.point
        if measured is None:
            return f"{metric} was not measured on the {side}; vcbench run again with --metrics +{metric}"
        if measured.value is None:
            return f"{metric} has no value on the {side} at {where}: {measured.status}: {measured.reason}"
        value = measured.value if axis.pooling is None else measured.pooled.get(axis.pooling)
        if value is None:
            return f"{metric} has no {axis.pooling} of its frames on the {side} at {where}"
        if axis.pooling is None and math.isinf(value):
            value = measured.pooled.get("mean_capped", value)
        found.append((axis.of(value), measured.key))
    (old, old_key), (new, new_key) = found
    if old_key != new_key:
        return f"{metric} was measured by two definitions of it (another tool or version); measure both sides alike"
    return old, new


def _difference(metric: str, old: float, new: float) -> Change:
    if old == new:
        return Change(0.0, exact=True)
    difference = new - old
    return Change(difference) if math.isfinite(difference) else Change(None, f"{metric} is infinite on one side only")


def _mean(changes: Iterable[Change]) -> Change:
    found = list(changes)
    for change in found:
        if change.value is None:
            return change
    values = [change.value for change in found if change.value is not None]
    return Change(math.fsum(values) / len(values), exact=all(change.exact for change in found))


def _log_ratio(new: float, old: float) -> float:
    return math.log(new / old)


def _byte_change(pair: CellPair) -> Change:
    new, old = pair.candidate[0].rate_bytes, pair.baseline[0].rate_bytes
    if not new or not old:
        return Change(None, "a bitstream has no bytes; run that side again")
    return Change(_log_ratio(new, old), exact=pair.identical)


def _bpp(cell: CellResult) -> float:
    return math.nan if cell.bpp is None else cell.bpp
