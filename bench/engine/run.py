"""The main job: plan the cells, skip what is measured, run the rest, store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.catalog import Catalog
from bench.engine.cell import Task, Timing, is_done
from bench.engine.executor import execute
from bench.engine.plan import Plan, codec_entries, make_plan
from bench.engine.provenance import collect
from bench.engine.store import Store
from bench.errors import UsageError
from bench.manifests import load_manifest, open_entry
from bench.process import cpu_count
from bench.registry import DEFAULT_METRICS, metric_class
from bench.results import CellResult
from bench.video.sequence import Sequence as Clip
from bench.video.sequence import open_sequence


@dataclass(frozen=True)
class RunOptions:
    """What ``run`` works with. ``inputs`` are files or folders, ``input_format`` their size, pix_fmt and fps if raw."""

    codecs: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    input_format: dict[str, Any] = field(default_factory=dict)
    sequences: tuple[str, ...] = ()
    metrics: tuple[str, ...] = DEFAULT_METRICS
    rates: tuple[float, ...] | None = None
    frames: int | None = None
    start: int = 0
    paths: tuple[Path, ...] = ()
    trust: bool = False


@dataclass(frozen=True)
class Progress:
    """State of a run after a cell: how many of how many are finished, and that cell's result (None at the start)."""

    done: int
    total: int
    result: CellResult | None = None


def resolve_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Metric names asked for; "+name" adds to the default ones. Unknown names raise UnknownNameError."""
    names = [name for name in names if name]
    added = [name[1:] for name in names if name.startswith("+")]
    plain = [name for name in names if not name.startswith("+")]
    chosen = tuple(dict.fromkeys([*(plain or DEFAULT_METRICS), *added]))
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
    if not options.codecs:
        raise UsageError("no codec is named; give --codecs x265,vvenc or the like (vcbench ls codecs)")
    if not options.inputs and not options.datasets:
        raise UsageError("no video is named; give --input FILE... or --datasets NAME (vcbench ls datasets)")
    catalog = Catalog(options.paths)
    metrics = resolve_metrics(options.metrics)
    entries = codec_entries(catalog, options.codecs, trust=options.trust)
    return make_plan(entries, open_sequences(options, catalog), metrics, rates=options.rates)


def unfinished(planned: Plan, store: Store, timing: Timing = "shared") -> list[Any]:
    """Cells of a plan that still have something to measure, in order."""
    return [
        cell
        for cell in planned.cells
        if not is_done(store.read(cell.name), planned.metrics, timing, planned.unavailable)
    ]


def run(
    planned: Plan,
    store: Store,
    *,
    jobs: int = 1,
    backend: str = "loky",
    time_limit: float | None = None,
    timing: bool = False,
    command: list[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> list[CellResult]:
    """Run the unfinished cells of a plan and return the results of all its cells.

    ``timing`` runs one cell at a time with nothing beside it, decoding once more for the clock alone.
    """
    mode: Timing = "alone" if timing else "shared"
    todo = unfinished(planned, store, mode)
    jobs = 1 if timing else max(1, jobs)
    # filters may use every CPU: they cost the same on several threads, and the last cells have CPUs to spare
    threads = cpu_count()
    provenance = {**collect(command), "jobs": jobs, "backend": backend if jobs > 1 else "none"}
    unavailable, cpus = frozenset(planned.unavailable), max(1, threads // jobs)
    tasks = [
        Task(cells, planned.metrics, store.root, provenance, mode, threads, time_limit, unavailable, cpus)
        for cells in planned.groups(todo, jobs)
    ]
    done = len(planned.cells) - len(todo)
    report = progress or (lambda _: None)
    report(Progress(done, len(planned.cells)))
    with closing(execute(tasks, store, jobs=jobs, backend=backend)) as results:
        for result in results:
            done += 1
            report(Progress(done, len(planned.cells), result))
    return [found for cell in planned.cells if (found := store.read(cell.name)) is not None]


__all__ = ["Progress", "RunOptions", "open_sequences", "plan", "resolve_metrics", "run", "unfinished"]
