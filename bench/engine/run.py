"""The main job: plan the cells, skip what is measured, run the rest, store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from bench.cards import Catalog, Scaling
from bench.core.garbage import garbage_kept
from bench.core.sandbox import required
from bench.datasets.manifest import load_manifest, open_entry
from bench.engine.cell import Task, Timing, failed_result, is_done
from bench.engine.executor import execute
from bench.engine.options import ExecutionOptions, RunOptions
from bench.engine.plan import CodecEntry, Plan, codec_entries, make_plan
from bench.engine.pools.backends import open_pool
from bench.engine.pools.base import Pool
from bench.engine.progress import Progress, Watch, announced
from bench.engine.provenance import Facts
from bench.engine.schedule import History
from bench.engine.store.folder import Store
from bench.metrics.sets import expanded
from bench.protocols import protocol_of
from bench.records.cell import CellResult
from bench.registry import DEFAULT_METRICS, metric_class
from bench.video.sequence import Sequence as Clip
from bench.video.sequence import open_sequence

AT_HAND = ExecutionOptions()
"""One cell after the other, in this process."""

_ROUNDS = 3
"""How often cells are worked on whose results another program overwrites meanwhile."""

_OVERWRITTEN = (
    "another program replaced the result file of what was measured; make sure that no earlier vcbench writes into this "
    "folder, and give the same command again"
)


def resolve_metrics(names: Iterable[str], codecs: Iterable[CodecEntry] = ()) -> tuple[str, ...]:
    """Metric names asked for, those of sets among them; "+name" adds to the default ones.

    Where the default ones are measured of codecs that draw detail, vmaf_neg stands beside vmaf, which rewards
    sharpening. Unknown names raise UnknownNameError.
    """
    names = expanded(name for name in names if name)
    added = [name[1:] for name in names if name.startswith("+")]
    plain = [name for name in names if not name.startswith("+")]
    if not plain:
        plain = [*DEFAULT_METRICS, *(["vmaf_neg"] if any(entry.card.draws for entry in codecs) else [])]
    chosen = tuple(dict.fromkeys([*plain, *added]))
    for name in chosen:
        metric_class(name)
    return chosen


def open_sequences(options: RunOptions, catalog: Catalog) -> list[Clip]:
    """The clips of a run: files given directly, and sequences of datasets."""
    clips = [
        cut(open_sequence(path, start=options.start, **options.input_format), options.frames) for path in options.inputs
    ]
    for name in options.datasets:
        manifest = load_manifest(catalog.find("datasets", name))
        for entry in manifest.select(options.sequences or None):
            clips.append(open_entry(manifest, entry, frames=options.frames))
    return _distinctly_named(clips)


def open_codecs(options: RunOptions, catalog: Catalog) -> list[CodecEntry]:
    """The codecs of a run, each able to run here."""
    entries = _entries(options, catalog)
    if not options.scales:
        return entries
    sizes = [None if scale == 1 else Scaling(factor=scale, filter=options.scale_filter) for scale in options.scales]
    return [replace(entry, card=entry.card.model_copy(update={"scaling": size})) for entry in entries for size in sizes]


def _entries(options: RunOptions, catalog: Catalog) -> list[CodecEntry]:
    confined = required() if options.sandbox else None
    protocol = protocol_of(options.protocol) if options.protocol else None
    if protocol is None:
        return codec_entries(catalog, options.codecs, trust=options.trust, sandbox=confined)
    names = [protocol.codec(name, catalog.codec(name)[0]) for name in options.codecs]
    entries = codec_entries(catalog, names, trust=options.trust, sandbox=confined)
    return [replace(entry, card=protocol.card(entry.card)) for entry in entries]


def cut(clip: Clip, frames: int | None) -> Clip:
    """A clip's first ``frames`` frames; the whole clip where it has no more."""
    return clip if frames is None else replace(clip, frames=min(frames, clip.frames))


def _distinctly_named(clips: Sequence[Clip]) -> list[Clip]:
    """Clips of the same name are told apart by their folders' names."""
    names = [(clip.dataset, clip.name) for clip in clips]
    return [
        replace(clip, name=f"{clip.path.resolve().parent.name}_{clip.name}") if names.count(name) > 1 else clip
        for clip, name in zip(clips, names, strict=True)
    ]


def plan(options: RunOptions) -> Plan:
    """The cells of a run, without touching a store. Everything that cannot work raises here, before any encode."""
    catalog = Catalog(options.paths)
    resolve_metrics(options.metrics)  # before codecs are opened, which takes longer
    entries = open_codecs(options, catalog)
    metrics = resolve_metrics(options.metrics, entries)
    planned = make_plan(entries, open_sequences(options, catalog), metrics, rates=options.values)
    return replace(planned, protocol=options.protocol)


def unfinished(planned: Plan, store: Store, timing: Timing = "shared") -> list[Any]:
    """Cells of a plan that still have something to measure, in order."""
    return _unfinished(planned, _stored(planned, store), timing)


def _stored(planned: Plan, store: Store) -> dict[str, CellResult | None]:
    """What is stored of each cell, by name."""
    with garbage_kept():
        return {cell.name: store.read(cell.name) for cell in planned.cells}


def _unfinished(planned: Plan, stored: Mapping[str, CellResult | None], timing: Timing) -> list[Any]:
    return [
        cell
        for cell in planned.cells
        if not is_done(stored[cell.name], planned.metrics, timing, planned.unavailable, cell.sequence.transfer)
    ]


def run(
    planned: Plan,
    store: Store,
    options: ExecutionOptions = AT_HAND,
    *,
    pool: Pool | None = None,
    facts: Facts | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> list[CellResult]:
    """Run the unfinished cells of a plan and return the results of all its cells.

    ``pool`` are workers that are there already, in place of those of the options. ``facts`` are recorded; by default
    those of this process's own command.
    """
    facts = facts or Facts()
    if pool is None:
        with open_pool(
            planned.backend(options.backend), options.jobs, scheduler=options.scheduler, timing=options.timing
        ) as opened:
            return run(planned, store, options, pool=opened, facts=facts, progress=progress)
    mode: Timing = "alone" if options.timing else "shared"
    stored = _stored(planned, store)
    todo = _unfinished(planned, stored, mode)
    report = progress or (lambda _: None)
    if not todo:
        report(Progress(len(planned.cells), len(planned.cells)))
        return [found for found in stored.values() if found is not None]
    pool.start()
    if options.copy_inputs:
        for clip in dict.fromkeys(cell.sequence for cell in todo):
            store.keep_source(clip.path, clip.source.digest())
    workers = {"jobs": pool.at_once, "backend": pool.name}
    conditions = {"protocol": planned.protocol} if planned.protocol else {}
    threads, cpus = pool.threads()
    shared = Task(
        (), planned.metrics, store.root, {**facts.told(), **workers, **conditions}, mode, threads, options.time_limit,
        frozenset(planned.unavailable), cpus,
    )  # fmt: skip
    outcomes: dict[str, CellResult] = {}
    for _ in range(_ROUNDS):
        outcomes |= _work(planned, todo, shared, store, pool, workers, report)
        stored = _listed(planned, store)
        todo = _lost(planned, outcomes, stored, mode)
        if not todo:
            break
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.status != "ok"}
    failed |= {cell.name: failed_result(shared, cell, "failed", "overwritten", _OVERWRITTEN) for cell in todo}
    # of a cell that failed now, what was measured before stays stored
    told = (failed.get(name) or found for name, found in stored.items())
    return [result for result in told if result is not None]


def _work(
    planned: Plan,
    todo: Sequence[Any],
    shared: Task,
    store: Store,
    pool: Pool,
    facts: Mapping[str, Any],
    report: Callable[[Progress], object],
) -> dict[str, CellResult]:
    """Have cells worked on; what came of each, by name."""
    outcomes = {}
    history = History(store)
    work = [history.job(replace(shared, cells=cells)) for cells in planned.groups(todo, pool.at_once)]
    with announced(store, work, len(planned.cells), facts) as pace, closing(execute(work, store, pool)) as results:
        watch = Watch(pace, todo, len(planned.cells))
        report(watch.begin())
        for result in results:
            outcomes[result.name] = result
            report(watch.after(result))
    return outcomes


def _listed(planned: Plan, store: Store) -> dict[str, CellResult | None]:
    """What is stored of each cell, by other machines too."""
    # what another machine wrote just now is seen on a network file system once the folder is listed again
    for _ in (store.root / "cells").iterdir():
        break
    return _stored(planned, store)


def _lost(
    planned: Plan, outcomes: Mapping[str, CellResult], stored: Mapping[str, CellResult | None], timing: Timing
) -> list[Any]:
    """Cells that were measured, before or by this run, and of which something is not stored now."""
    return [
        cell
        for cell in _unfinished(planned, stored, timing)
        if cell.name not in outcomes or not _has_failed(outcomes[cell.name], planned)
    ]


def _has_failed(outcome: CellResult, planned: Plan) -> bool:
    """Whether a cell, or a metric of those asked for, could not be measured, so that trying again is in vain."""
    return outcome.status != "ok" or any(
        name in outcome.measurements and outcome.measurements[name].status in {"failed", "unavailable"}
        for name in planned.metrics
    )


__all__ = [
    "Facts",
    "Progress",
    "RunOptions",
    "open_codecs",
    "open_sequences",
    "plan",
    "resolve_metrics",
    "run",
    "unfinished",
]
