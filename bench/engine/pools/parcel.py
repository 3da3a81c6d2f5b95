"""A task on its way to a worker that shares no more with us than the result folder and, perhaps, the clips' paths.

What a cell depends on is held there to what its key says: the clip's bytes, the card, the program that writes the bits,
the metrics. A worker that differs fails its cells with the reason and measures nothing under a wrong name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench._version import __version__
from bench.cards import Catalog, brought, is_ours, load_card, parted
from bench.datasets.manifest import load_manifest, locate
from bench.engine.cell import Task, failed_result, run_cells
from bench.engine.plan import Cell, CodecEntry, metric_keys
from bench.engine.provenance import machine
from bench.engine.store.folder import Store
from bench.engine.store.liveness import host
from bench.errors import CellError, EncodeError, VcbenchError
from bench.records.cell import CellResult
from bench.video.sequence import DIRECT_INPUT, Sequence, sequence_from_json, sequence_to_json


@dataclass(frozen=True)
class Parcel:
    """A task with its clip as plain data and the SHA-256 (hex) that the clip must have.

    ours: names of the codecs whose cards come with vcbench, and are trusted wherever it is installed.
    """

    task: Task
    clip: dict[str, Any]
    sha256: str
    ours: frozenset[str]
    version: str = __version__


def pack(task: Task) -> Parcel:
    """A task for another machine; its paths are absolute."""
    clip = task.cells[0].sequence
    cells = tuple(replace(cell, codec=replace(cell.codec, folder=cell.codec.folder.resolve())) for cell in task.cells)
    ours = frozenset(cell.codec.card.name for cell in cells if is_ours(cell.codec.folder))
    return Parcel(replace(task, cells=cells), sequence_to_json(clip), clip.source.digest(), ours)


def run_parcel(parcel: Parcel) -> list[CellResult]:
    """Work on a task here. A cell that this machine cannot work on as its key says is a failed result."""
    task = parcel.task
    store = Store(task.root)
    results = []
    ready = []
    for cell in task.cells:
        try:
            ready.append(_here(cell, parcel, store))
        except CellError as error:
            results.append(failed_result(task, cell, error.status, error.reason, str(error)))
            store.write(results[-1], wanted=task.metrics)
    if ready:
        here = replace(task, cells=tuple(ready), provenance={**task.provenance, **_machine(), "worker": host()})
        results += run_cells(here)
    return results


@cache
def _machine() -> dict[str, Any]:
    return machine()


def _here(cell: Cell, parcel: Parcel, store: Store) -> Cell:
    """The cell with the clip and the card's folder as they are found here; CellError where something differs."""
    worker = host().partition("/")[0]
    if parcel.version != __version__:
        raise EncodeError(
            "worker_differs", f"worker {worker} has vcbench {__version__}, the run {parcel.version}; install the same"
        )
    codec = _codec(cell.codec, worker, ours=cell.codec.card.name in parcel.ours)
    try:
        built = codec.build()
        built.check()
        tool = built.identity()
    except VcbenchError as error:
        raise EncodeError("worker_differs", f"worker {worker} cannot run {codec.card.name}: {error}") from None
    if tool != cell.tool:
        raise EncodeError(
            "worker_differs",
            f"worker {worker} would encode with {_told(tool)}, the cell is of {_told(cell.tool)}; "
            "install there what the driver has",
        )
    wanted = {name: key for name, key in parcel.task.metrics.items() if name not in parcel.task.unavailable}
    other = [name for name, key in metric_keys(wanted).items() if key != wanted[name]]
    if other:
        raise EncodeError(
            "worker_differs",
            f"worker {worker} measures {', '.join(other)} by another definition or tool; install the same vcbench, "
            "libraries and FFmpeg as the driver's",
        )
    return replace(cell, codec=codec, sequence=_clip(cell.sequence, parcel, store, worker))


def _told(tool: dict[str, str]) -> str:
    return ", ".join(f"{name} {value[:16]}" for name, value in tool.items()) or "nothing"


def _codec(entry: CodecEntry, worker: str, *, ours: bool) -> CodecEntry:
    """The codec with its card's folder as it is here.

    Of a card of vcbench's, that is where the worker's vcbench has its own, which is trusted as the driver's is; of
    another, the same path, or where a card of that name is found.
    """
    if not ours and entry.folder.is_dir():
        return entry
    base, configuration = parted(entry.card.name)
    with suppress(VcbenchError):
        path = _our_card(base) if ours else Catalog().named("codecs", base)
        if load_card(path).configured(configuration).digest() == entry.card.digest():
            return replace(entry, folder=path.parent)
    raise EncodeError(
        "worker_differs",
        f"worker {worker} has the card {entry.card.name} of vcbench {__version__} in another version than the "
        "driver; install the same vcbench there"
        if ours
        else f"worker {worker} has neither {entry.folder} nor the card {entry.card.name} among its own; "
        "share that folder, or name one that holds codecs/ by VCBENCH_PATH there",
    )


def _our_card(name: str) -> Path:
    return next(folder for folder in brought("codecs") if folder.is_dir()) / f"{name}.toml"


def _clip(sequence: Sequence, parcel: Parcel, store: Store, worker: str) -> Sequence:
    """The clip by a path that holds its bytes here."""
    tried = []
    for path in _candidates(sequence, parcel, store):
        if not path.exists():
            tried.append(f"{path} is not there")
            continue
        try:
            clip = sequence_from_json({**parcel.clip, "path": str(path)})
            if clip.source.digest() == parcel.sha256:
                return clip
            tried.append(f"{path} has other bytes")
        except (VcbenchError, OSError) as error:
            tried.append(f"{path} cannot be read: {error}")
    raise EncodeError(
        "source",
        f"worker {worker} does not have the clip {sequence.name} (SHA-256 {parcel.sha256[:12]}): {'; '.join(tried)}; "
        "share its folder under the same path, or give --copy-inputs",
    )


def _candidates(sequence: Sequence, parcel: Parcel, store: Store) -> Iterator[Path]:
    yield Path(parcel.clip["path"])
    if sequence.dataset != DIRECT_INPUT:
        with suppress(VcbenchError):
            yield locate(load_manifest(Catalog().find("datasets", sequence.dataset)), sequence.name)
    yield store.source_path(parcel.sha256, sequence.path.suffix)
