"""How far a run is, read from its result folder alone: to its own terminal, to another one, from another machine.

A driver leaves a file in ``work/`` that names the cells it is to run, and takes it away when all of them are finished;
that of a driver that was ended early stays, and tells what is left.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.core.files import write_atomically
from bench.core.untrusted import parse_json, read_text
from bench.engine.plan import Cell
from bench.engine.schedule import Job
from bench.engine.store.folder import Store, is_disk_full
from bench.engine.store.liveness import beating, lives, read_signed, signature
from bench.errors import StoreError
from bench.records.cell import CellResult

_ENOUGH = 4

_WORD = re.compile(r"run-[0-9a-f]{16}\.json")
"""Name of the file that a driver leaves."""


_MOMENT_S = 1.0
"""Cells that are finished within it after the first were coded with it."""

_SETTLED_S = 2.0
"""Before so much of a run is over there is no speed to speak of."""


class Pace:
    """How fast the cells of a run are finished. ``costs`` are estimates of their seconds, to weigh them by.

    Before the first cell is finished, workers start: it counts from there on, once the time since is longer than the
    time before. Cells that are coded together are finished together: those of the first moment count as the first.
    Cells that were skipped, which takes no time, say nothing about the speed of the others.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs = costs
        self._left = sum(costs.values())
        self._unfinished = len(costs)
        self._first: tuple[float, float, int] | None = None
        self._finished = 0.0
        self._count = 0

    def finish(self, name: str, at_s: float, *, tried: bool = True) -> None:
        """A cell is finished, so many seconds after the start."""
        cost = self._costs.get(name, 0.0)
        self._left = max(0.0, self._left - cost)
        self._unfinished -= 1
        if not tried:
            return
        self._finished += cost
        self._count += 1
        if self._first is None:
            self._first = at_s, cost, 1
        elif at_s - self._first[0] < _MOMENT_S:
            start_s, with_it, count = self._first
            self._first = start_s, with_it + cost, count + 1

    def _since_first(self, now_s: float) -> tuple[float, float, int]:
        """Seconds, cost and number of cells that the speed is taken from."""
        if self._first is None:
            return now_s, self._finished, self._count
        at_s, cost, count = self._first
        if self._count - count < _ENOUGH - 1 or now_s - at_s < at_s:
            return now_s, self._finished, self._count
        return now_s - at_s, self._finished - cost, self._count - count

    def rate(self, now_s: float) -> float | None:
        """Cells per minute, so many seconds after the start; None before the first."""
        seconds, _, count = self._since_first(now_s)
        return 60 * count / seconds if count and now_s > _SETTLED_S else None

    def left_s(self, now_s: float) -> float | None:
        """Estimate of the seconds that are left, by the share of the work that is done; None before the first cell."""
        if self._unfinished <= 0:
            return 0.0
        seconds, cost, _ = self._since_first(now_s)
        return seconds * self._left / cost if cost > 0 and now_s > _SETTLED_S else None


@dataclass(frozen=True)
class Working:
    """A cell that is being worked on, where, and for how many seconds."""

    cell: str
    host: str
    pid: int
    seconds: float


@dataclass(frozen=True)
class RunState:
    """A run that is going on, or was ended early (``alive`` false).

    total: cells of its plan, those that were measured before among them. done: finished, before and now. failed: among
    those finished now. rate: cells per minute; left_s: estimated seconds to the end; None, with the reason, where not
    known.
    """

    host: str
    pid: int
    alive: bool
    backend: str
    jobs: int
    started: float
    total: int
    done: int
    failed: int
    rate: float | None
    left_s: float | None
    reason: str | None


@dataclass(frozen=True)
class FolderState:
    """A result folder: its cells by status, the cells being worked on, its runs."""

    cells: dict[str, int]
    working: list[Working]
    runs: list[RunState]

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return asdict(self)


@contextmanager
def announced(store: Store, jobs: Iterable[Job], total: int, facts: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Mark a run in the store as under way; gives the estimated seconds of each of its cells.

    ``total``: cells of its plan, finished ones among them. ``facts``: backend and jobs.
    """
    costs = {name: job.seconds / len(job.names) for job in jobs for name in job.names}
    for path, content in _runs(store.root):
        if _WORD.fullmatch(path.name) and not path.parent.is_symlink() and not lives(content, path):
            path.unlink(missing_ok=True)
    path = store.root / "work" / f"run-{secrets.token_hex(8)}.json"
    content = {**signature(), **facts, "started": time.time(), "total": total, "cells": costs}
    try:
        write_atomically(path, json.dumps(content).encode())
    except OSError as error:
        remedy = "free some room" if is_disk_full(error) else "choose another --out"
        raise StoreError(f"{store.root}: results cannot be written here ({error.strerror}); {remedy}") from None
    with beating(path):
        yield costs
    # of a run that is ended early the word stays, and tells what is left
    path.unlink(missing_ok=True)


def state(folder: Path) -> FolderState:
    """State of a result folder, which is only read. Raises StoreError for a folder that is no result set."""
    cells = folder / "cells"
    if not cells.is_dir():
        raise StoreError(
            f"{folder}: is not a result set (it has no folder cells/); give the folder that run --out named"
        )
    found = {path.stem: _status(path) for path in cells.glob("*.json")}
    now = time.time()
    working = [
        Working(marker["cell"], str(marker.get("host", "")).partition("/")[0], marker["pid"], now - marker["since"])
        for marker in at_work(folder)
    ]
    return FolderState(
        dict(Counter(status for status, _ in found.values())),
        sorted(working, key=lambda item: -item.seconds),
        [_run_state(path, content, found, now) for path, content in sorted(_runs(folder), key=_start)],
    )


def at_work(folder: Path) -> list[dict[str, Any]]:
    """What workers have left of the cells they are at, of every driver of the folder."""
    return [marker for marker in Store(folder).working() if "since" in marker]


def _start(run: tuple[Path, dict[str, Any]]) -> float:
    return float(run[1]["started"])


def _status(path: Path) -> tuple[str, float]:
    """Status in a result file ("unreadable" where it has none) and when it was written."""
    try:
        return str(parse_json(read_text(path, path.parent.parent))["status"]), path.stat().st_mtime
    except (StoreError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return "unreadable", 0.0


def _runs(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    runs = []
    for path in (folder / "work").glob("run-*.json"):
        try:
            content = read_signed(path, numbers=["started", "total", "jobs"], texts=["backend"])
            costs = {str(name): float(cost) for name, cost in content["cells"].items()}
            if not all(math.isfinite(cost) and cost >= 0 for cost in costs.values()):
                raise ValueError(f"{path}: has times that no cell takes")
            runs.append((path, {**content, **{key: int(content[key]) for key in ("total", "jobs")}, "cells": costs}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
            continue  # it has ended just now, or no run wrote it
    return runs


def _run_state(path: Path, content: Mapping[str, Any], found: Mapping[str, tuple[str, float]], now: float) -> RunState:
    costs = content["cells"]
    finished = {name: found[name] for name in costs if name in found and found[name][1] >= content["started"]}
    alive = lives(content, path)
    pace = Pace(costs)
    for name, (status, written) in sorted(finished.items(), key=lambda item: item[1][1]):
        pace.finish(name, written - content["started"], tried=status != "skipped")
    elapsed = now - content["started"]
    rate, left = (pace.rate(elapsed), pace.left_s(elapsed)) if alive else (None, None)
    unknown = "no cell is finished yet" if alive else "it was ended early; the same command continues it"
    return RunState(
        host=str(content.get("host", "")).partition("/")[0],
        pid=content["pid"],
        alive=alive,
        backend=str(content["backend"]),
        jobs=content["jobs"],
        started=content["started"],
        total=content["total"],
        done=content["total"] - len(costs) + len(finished),
        failed=sum(status == "failed" for status, _ in finished.values()),
        rate=rate,
        left_s=left,
        reason=unknown if left is None else None,
    )


@dataclass(frozen=True)
class Progress:
    """State of a run after a cell: ``done`` of ``total`` are finished, and that cell's result (None at the start).

    failed: of the cells finished now. curve: where the cell was the last that its codec lacked on its sequence, the
    results of that pair that are new. rate: cells per minute; left_s: estimated seconds to the end; None while there
    is nothing to estimate them by.
    """

    done: int
    total: int
    result: CellResult | None = None
    failed: int = 0
    curve: tuple[CellResult, ...] = ()
    rate: float | None = None
    left_s: float | None = None


class Watch:
    """Makes the Progress of a run in its driver. ``todo``: its cells."""

    def __init__(self, costs: Mapping[str, float], todo: Iterable[Cell], total: int) -> None:
        self._pace = Pace(costs)
        self._started = time.monotonic()
        self._failed = 0
        self._pairs = {cell.name: (cell.codec.card.name, cell.sequence) for cell in todo}
        self._lacking = Counter(self._pairs.values())
        self._found: dict[Any, list[CellResult]] = defaultdict(list)
        self._done = total - len(self._pairs)
        self._total = total

    def begin(self) -> Progress:
        """The state before the first cell."""
        return Progress(self._done, self._total)

    def after(self, result: CellResult) -> Progress:
        """The state after a cell."""
        self._done += 1
        self._failed += result.status == "failed"
        elapsed = time.monotonic() - self._started
        self._pace.finish(result.name, elapsed, tried=result.status != "skipped")
        pair = self._pairs[result.name]
        self._found[pair].append(result)
        self._lacking[pair] -= 1
        return Progress(
            self._done,
            self._total,
            result,
            self._failed,
            () if self._lacking[pair] else tuple(self._found.pop(pair)),
            self._pace.rate(elapsed),
            self._pace.left_s(elapsed),
        )


__all__ = ["FolderState", "Pace", "Progress", "RunState", "Watch", "Working", "announced", "at_work", "state"]
