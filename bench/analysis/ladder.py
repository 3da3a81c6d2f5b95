"""Which size of a ladder is on the hull at which rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bench.analysis.curves import RDCurve, curves_of

if TYPE_CHECKING:
    from bench.records.cell import CellResult
    from bench.records.cell_set import CellSet


@dataclass(frozen=True)
class Rung:
    """A stretch of a ladder's hull at one size: from its lowest to its highest rate and quality, in the curve's units.

    Between a rung's `high` and the `low` of the next lies the rate at which the next size takes over.
    """

    scale: float
    low: float
    high: float
    worst: float
    best: float
    points: int


def rungs(curve: RDCurve) -> list[Rung]:
    """The stretches of a ladder's hull by rising rate; none of a curve that is of one size."""
    if not curve.is_ladder:
        return []
    stretches = [list(group) for _, group in groupby(curve.points, key=lambda point: point.scale)]
    return [Rung(p[0].scale, p[0].rate, p[-1].rate, p[0].quality, p[-1].quality, len(p)) for p in stretches]


def rungs_text(found: Iterable[Rung]) -> str:
    """Sizes with their rates in words: "0.5x to 0.021, 1x from 0.034"; of one size "1x throughout"."""
    found = list(found)
    if len(found) == 1:
        return f"{found[0].scale:g}x throughout"
    parts = []
    for number, rung in enumerate(found):
        ends = f"{rung.low:.3g} to {rung.high:.3g}" if rung.points > 1 else f"at {rung.low:.3g}"
        first, last = number == 0, number == len(found) - 1
        parts.append(
            f"{rung.scale:g}x " + (f"to {rung.high:.3g}" if first else f"from {rung.low:.3g}" if last else ends)
        )
    return ", ".join(parts)


def scales(cells: Iterable[CellResult]) -> dict[str, str]:
    """Of each codec that was coded at several sizes, these and the filter: "1, 0.75, 0.5; lanczos"."""
    found: dict[str, dict[float, str | None]] = {}
    for cell in cells:
        scaling = cell.codec.card.get("scaling")
        filter_name = str(scaling.get("filter")) if isinstance(scaling, dict) else None
        found.setdefault(cell.codec.name, {})[cell.scale] = filter_name
    return {
        codec: ", ".join(f"{scale:g}" for scale in sorted(sizes, reverse=True))
        + f"; {', '.join(sorted({name for name in sizes.values() if name}))}"
        for codec, sizes in sorted(found.items())
        if len(sizes) > 1
    }


def ladder_curves(results: CellSet, metrics: Sequence[str]) -> dict[tuple[str, str], list[RDCurve]]:
    """The curves of codecs that were coded at several sizes, by codec and metric, sequence by sequence."""
    found: dict[tuple[str, str], list[RDCurve]] = {}
    if not scales(results.cells):
        return found
    for metric, own in zip(metrics, curves_of(results, metrics), strict=True):
        for curve in own.values():
            if curve.is_ladder:
                found.setdefault((curve.codec, metric), []).append(curve)
    return found
