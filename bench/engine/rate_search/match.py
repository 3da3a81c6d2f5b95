"""Rate points for a fair comparison: a codec's parameter searched until it meets an anchor's curve or given rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal

from bench.cards import Catalog
from bench.engine.options import Matching, RunOptions
from bench.engine.plan import Cell, CodecEntry, Plan, make_cell, make_plan, rate_points
from bench.engine.rate_search.level_search import LevelSearch, Reached, Value
from bench.engine.run import open_codecs, open_sequences, resolve_metrics
from bench.engine.store.folder import Store
from bench.errors import UnknownNameError, UsageError
from bench.records.cell import CellResult
from bench.results.result_set import load
from bench.video.sequence import Sequence as Clip

QUALITY = "psnr_y"


@dataclass(frozen=True)
class Match:
    """What was found for one target of one codec on one sequence.

    target, reached: bits per pixel, or the quality in its unit (``quantity`` says which); no target where the anchor
    has no value. distance: share of the target for a rate, of the anchor's range for a quality; positive is more.
    encodes: how many the search took for all targets of this codec on this sequence together, stored ones included.
    """

    codec: str
    dataset: str
    sequence: str
    quantity: str
    target: float | None
    status: Literal["reached", "nearest", "none"]
    parameter: str
    value: Value | None
    reached: float | None
    distance: float | None
    reason: str | None
    encodes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class MatchPlan:
    """A search before its first encode: whose rate points are searched on which clips, and the anchor's own cells.

    planned: the anchor's cells and every metric. quality: the metric that is searched by, None for the rate.
    """

    matching: Matching
    planned: Plan
    searched: tuple[CodecEntry, ...]
    clips: tuple[Clip, ...]
    quality: str | None


def plan_match(options: RunOptions, matching: Matching) -> MatchPlan:
    """Prepare a search. Everything that cannot work raises here, as in `bench.engine.run.plan`."""
    catalog = Catalog(options.paths)
    entries = open_codecs(options, catalog)
    named = zip(options.codecs, entries, strict=True)
    anchors = [entry for name, entry in named if matching.anchor in {name, entry.card.name}]
    if options.values is not None and not anchors:
        raise UsageError("--rates are the anchor's when others are matched with it, and --codecs does not name it")
    clips = open_sequences(options, catalog)
    metrics = resolve_metrics(options.metrics, entries)
    return MatchPlan(
        matching,
        replace(make_plan(anchors, clips, metrics, rates=options.values), protocol=options.protocol),
        tuple(entry for entry in entries if entry not in anchors),
        tuple(clips),
        _quality(metrics) if matching.by == "range" else None,
    )


def match(
    prepared: MatchPlan,
    store: Store,
    run: Callable[[Plan], list[CellResult]],
    announce: Callable[[str], object] = lambda _: None,
) -> tuple[Plan, list[Match]]:
    """Search rate points by encoding, and plan the run of what was found: the anchor's cells and the nearest ones.

    Every encode is a cell in the store, with no metric but the one that the search needs; the plan measures the rest.
    The same command after an interruption takes the same way, through what is stored. Each sequence has a search of its
    own, with at most `MAX_TRIALS` encodes a target and two to begin with. ``run`` works on the cells of a plan, as
    `bench.engine.run.run` does; ``announce`` gets a line before each round. Raises UnknownNameError or UsageError for
    an anchor that is nowhere measured.
    """
    matching, planned, quality = prepared.matching, prepared.planned, prepared.quality
    wanted = {name: key for name, key in planned.metrics.items() if name == quality}
    probe = Plan((), wanted, protocol=planned.protocol)
    anchored: list[CellResult] = []
    if planned.cells:
        announce(f"anchor {matching.anchor}")
        anchored = run(replace(probe, cells=planned.cells))
    elif matching.anchor:
        anchored = _stored(matching.anchor, prepared.clips, store)
    searches = [
        _Search(entry, tool, clip, matching, quality, anchored)
        for entry, tool in [(entry, entry.build().identity()) for entry in prepared.searched]
        for clip in prepared.clips
    ]
    for number in count(1):
        cells = tuple(cell for search in searches for cell in search.propose())
        if not cells:
            break
        announce(f"search, round {number}")
        found = {result.name: result for result in run(replace(probe, cells=cells))}
        for search in searches:
            search.observe(found)
    chosen = [cell for search in searches for cell in search.chosen()]
    matches = [match for search in searches for match in search.matches()]
    return replace(planned, cells=(*planned.cells, *chosen)), matches


def _quality(metrics: Sequence[str]) -> str:
    return QUALITY if QUALITY in metrics else metrics[0]


def _stored(anchor: str, clips: Sequence[Clip], store: Store) -> list[CellResult]:
    """The anchor's results in the store on the same frames."""
    results = load(store.root, apart=False).cells
    known = {cell.codec.name for cell in results}
    if anchor not in known:
        raise UnknownNameError("anchor, neither in --codecs nor in the result folder,", anchor, known)
    wanted = {_identity(clip) for clip in clips}
    found = [
        cell
        for cell in results
        if cell.codec.name == anchor
        and (cell.sequence.name, cell.sequence.sha256, cell.sequence.start, cell.sequence.frames) in wanted
    ]
    if not found:
        raise UsageError(f"{store.root}: {anchor} is not measured there on these clips and frames; add it to --codecs")
    return found


def _identity(clip: Clip) -> tuple[str, str, int, int]:
    return clip.name, clip.source.digest(), clip.start, clip.frames


class _Search:
    """The search of one codec on one sequence, in terms of cells."""

    def __init__(
        self,
        entry: CodecEntry,
        tool: dict[str, str],
        clip: Clip,
        matching: Matching,
        quality: str | None,
        anchored: Sequence[CellResult],
    ) -> None:
        self._entry, self._tool, self._clip = entry, tool, clip
        self._quality = quality
        self._waiting: dict[Value, Cell] = {}
        self._failures: dict[Value, Cell] = {}
        points = [cell for cell in anchored if (cell.sequence.dataset, cell.sequence.name) == (clip.dataset, clip.name)]
        levels = [level for cell in points if (level := self._level(cell)) is not None]
        targets = sorted({math.log(bpp) for bpp in matching.bpps} | set(levels))
        self._span = (max(levels) - min(levels) if levels else 0.0) if quality else 1.0
        tolerance = matching.tolerance * self._span if quality else math.log1p(matching.tolerance)
        # the quality of these trials is measured, which makes them points of the curve: none should be far outside
        self._search = LevelSearch(
            entry.card.rates_at(clip.format.bit_depth), targets, tolerance, inner=quality is not None
        )
        self._anchor = matching.anchor

    def propose(self) -> list[Cell]:
        self._waiting = {value: self._cell(value) for value in self._search.propose()}
        return list(self._waiting.values())

    def observe(self, found: dict[str, CellResult]) -> None:
        for value, cell in self._waiting.items():
            result = found.get(cell.name)
            level = None if result is None else self._level(result)
            if level is None:
                self._failures[value] = cell
            self._search.observe(value, level, _failure(result, self._quality))

    def chosen(self) -> list[Cell]:
        """Cells of the nearest values; one that failed where none succeeded, so that the run tells why."""
        values = {self._search.outcome(target).value for target in self._search.targets} - {None}
        nearest = [self._cell(value) for value in sorted(value for value in values if value is not None)]
        return nearest or list(self._failures.values())[:1]

    def matches(self) -> list[Match]:
        if not self._search.targets:
            reason = f"the anchor {self._anchor} has no value on this sequence"
            return [self._match(None, Reached("none", None, None, reason))]
        return [self._match(target, self._search.outcome(target)) for target in self._search.targets]

    def _match(self, target: float | None, outcome: Reached) -> Match:
        level = None if target is None or outcome.distance is None else target + outcome.distance
        return Match(
            codec=self._entry.card.name,
            dataset=self._clip.dataset,
            sequence=self._clip.name,
            quantity=self._quality or "bpp",
            target=None if target is None else self._shown(target),
            status=outcome.status,
            parameter=self._entry.card.rates.parameter,
            value=outcome.value,
            reached=None if level is None else self._shown(level),
            distance=None if outcome.distance is None else self._share(outcome.distance),
            reason=outcome.reason,
            encodes=len(self._search.tried),
        )

    def _share(self, distance: float) -> float:
        if self._quality is None:
            return math.expm1(distance)
        return distance / self._span if self._span else distance

    def _shown(self, level: float) -> float:
        return level if self._quality else math.exp(level)

    def _level(self, result: CellResult) -> float | None:
        if result.status != "ok":
            return None
        if self._quality is None:
            return None if result.bpp is None else math.log(result.bpp)
        measured = result.measurements.get(self._quality)
        if measured is None or measured.value is None or not math.isfinite(measured.value):
            return None
        return measured.value

    def _cell(self, value: Value) -> Cell:
        (rate,) = rate_points(self._entry.card, [value], self._clip.format.bit_depth)
        return make_cell(self._entry, self._tool, rate, self._clip)


def _failure(result: CellResult | None, quality: str | None) -> str:
    if result is None:
        return "it has no result"
    if result.status != "ok":
        return f"{result.status}: {result.reason}"
    return f"{quality} has no finite value" if quality else "it has no rate"
