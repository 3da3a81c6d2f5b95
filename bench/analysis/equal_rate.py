"""Codecs at equal rate: for each target rate, each codec's nearest measured cell, and how near it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from bench.records.cell import CellResult
    from bench.records.cell_set import CellSet


@dataclass(frozen=True)
class AtRate:
    """One codec at one target rate on one sequence.

    target_bpp, bpp: bits per pixel. distance: bpp over target less 1. values: of the metrics asked for, None where the
    cell has none. Without a cell (reason says why) everything of it is None.
    """

    dataset: str
    sequence: str
    target_bpp: float
    codec: str
    parameter: str | None
    rate: int | float | None
    bpp: float | None
    distance: float | None
    values: dict[str, float | None]
    cell: str | None
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON."""
        return dict(vars(self))


class _Frames(NamedTuple):
    """The frames that were coded; cells of other frames are never put side by side."""

    dataset: str
    sequence: str
    sha256: str
    start: int
    frames: int


def at_rate(
    results: CellSet,
    targets: Iterable[float] | None = None,
    *,
    anchor: str | None = None,
    metrics: Iterable[str] = (),
    codecs: Iterable[str] = (),
) -> list[AtRate]:
    """Every codec's cell nearest to each target, by the logarithm of rate, on every sequence.

    ``targets`` are rates in bpp; without them, the rates of each of ``anchor``'s cells, sequence by sequence. Only
    cells that have a value of one of ``metrics`` (default: of any) are taken. Default: every codec. The nearest may be
    far: look at ``distance``, or search rates by ``vcbench run --match-rate``.

    Raises UsageError unless targets or an anchor are given, UnknownNameError for a codec or metric that is not there.
    """
    wanted = list(metrics) or results.metrics
    for metric in wanted:
        if metric not in results.metrics:
            raise UnknownNameError("metric", metric, results.metrics)
    known = sorted({cell.codec.name for cell in results.cells})
    shown = list(dict.fromkeys(codecs)) or known
    for codec in (*shown, *([anchor] if anchor is not None else [])):
        if codec not in known:
            raise UnknownNameError("codec of these results", codec, known)
    given = None if targets is None else _checked(targets)
    if given is None and anchor is None:
        raise UsageError("equal rates need targets in bpp, or an anchor whose rates they are")
    cells: dict[_Frames, dict[str, list[CellResult]]] = {}
    for cell in results.cells:
        of_codec = cells.setdefault(_frames(cell), {}).setdefault(cell.codec.name, [])
        if cell.bpp is not None and any(_value(cell, metric) is not None for metric in wanted):
            of_codec.append(cell)
    rows = []
    for frames in sorted(cells):
        on_clip = cells[frames]
        rates = given if given is not None else sorted({cell.bpp for cell in on_clip.get(str(anchor), []) if cell.bpp})
        rows += [_nearest(frames, target, codec, on_clip.get(codec, []), wanted) for target in rates for codec in shown]
    return rows


def _checked(targets: Iterable[float]) -> list[float]:
    rates = sorted(set(targets))
    for rate in rates:
        if not 0 < rate < math.inf:
            raise UsageError(f"{rate:g} is not a rate; give bits per pixel above 0")
    if not rates:
        raise UsageError("no target rate is given; give bits per pixel such as 0.05,0.1")
    return rates


def _frames(cell: CellResult) -> _Frames:
    sequence = cell.sequence
    return _Frames(sequence.dataset, sequence.name, sequence.sha256, sequence.start, sequence.frames)


def _nearest(frames: _Frames, target: float, codec: str, cells: list[CellResult], metrics: list[str]) -> AtRate:
    found = min(((abs(math.log(cell.bpp / target)), cell.name, cell) for cell in cells if cell.bpp), default=None)
    if found is None:
        nothing = dict.fromkeys(metrics)
        reason = f"{codec} has no measured cell on it"
        return AtRate(frames.dataset, frames.sequence, target, codec, None, None, None, None, nothing, None, reason)
    cell = found[2]
    assert cell.bpp is not None
    return AtRate(
        dataset=frames.dataset,
        sequence=frames.sequence,
        target_bpp=target,
        codec=codec,
        parameter=cell.rate.parameter,
        rate=cell.rate.value,
        bpp=cell.bpp,
        distance=cell.bpp / target - 1,
        values={metric: _value(cell, metric) for metric in metrics},
        cell=cell.name,
        reason=None,
    )


def _value(cell: CellResult, metric: str) -> float | None:
    measured = cell.measurements.get(metric)
    return None if measured is None else measured.value
