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


@dataclass
class _Amount:
    """Cells: how many, the sum of their estimated seconds, and of those that their encode and decode really took."""

    count: int = 0
    cost: float = 0.0
    took_s: float = 0.0

    def add(self, cost: float, took_s: float) -> None:
        self.count += 1
        self.cost += cost
        self.took_s += took_s


@dataclass(frozen=True)
class Left:
    """Estimated seconds to the end of a run; the least that they can be where ``at_least``."""

    seconds: float
    at_least: bool = False


class Pace:
    """How fast the cells of a run are finished. ``costs`` are estimates of their seconds, to weigh them by.

    Before the first cell is finished, workers start: it counts from there on, once the time since is longer than the
    time before. Cells that are coded together are finished together: those of the first moment count as the first.
    Cells that were skipped, which takes no time, say nothing about the speed of the others.

    new: cells of codecs that were never measured in the folder, by codec: their costs are guesses, corrected by what
    the first of them take. Until each codec has one, only the rest of the others is known. What cells take beyond
    encode and decode, as for metrics, is taken to be alike: it is what ``jobs`` workers had time for.
    """

    def __init__(
        self, costs: Mapping[str, float], new: Mapping[str, Iterable[str]] | None = None, jobs: int = 1
    ) -> None:
        self._costs = costs
        self._jobs = jobs
        self._codecs = {name: codec for codec, names in (new or {}).items() for name in names}
        self._left: dict[str, _Amount] = defaultdict(_Amount)
        for name, cost in costs.items():
            self._left[self._codecs.get(name, "")].add(cost, 0.0)
        self._done: dict[str, _Amount] = defaultdict(_Amount)
        self._first: dict[str, _Amount] = defaultdict(_Amount)
        self._first_s: float | None = None

    def finish(self, name: str, at_s: float, *, tried: bool = True, took_s: float = 0.0) -> None:
        """A cell is finished, so many seconds after the start; took_s: encode and decode, 0 if not known."""
        cost, codec = self._costs.get(name, 0.0), self._codecs.get(name, "")
        self._left[codec].count -= 1
        self._left[codec].cost = max(0.0, self._left[codec].cost - cost)
        if not tried:
            return
        self._done[codec].add(cost, took_s)
        if self._first_s is None:
            self._first_s = at_s
        if at_s - self._first_s < _MOMENT_S:
            self._first[codec].add(cost, took_s)

    def _since_first(self, now_s: float) -> tuple[float, dict[str, _Amount]]:
        """Seconds, and the cells by codec that the speed is taken from."""
        count = sum(amount.count for amount in self._done.values())
        first = sum(amount.count for amount in self._first.values())
        if self._first_s is None or count - first < _ENOUGH - 1 or now_s - self._first_s < self._first_s:
            return now_s, self._done
        since = {
            codec: _Amount(one.count - f.count, one.cost - f.cost, one.took_s - f.took_s)
            for codec, one in self._done.items()
            for f in (self._first.get(codec, _Amount()),)
        }
        return now_s - self._first_s, since

    def rate(self, now_s: float) -> float | None:
        """Cells per minute, so many seconds after the start; None before the first."""
        seconds, since = self._since_first(now_s)
        count = sum(amount.count for amount in since.values())
        return 60 * count / seconds if count and now_s > _SETTLED_S else None

    def left(self, now_s: float) -> Left | None:
        """Estimate of the time that is left, by the share of the work that is done; None before the first cell."""
        if not any(amount.count > 0 for amount in self._left.values()):
            return Left(0.0)
        seconds, since = self._since_first(now_s)
        took = [amount.took_s for amount in since.values() if amount.count > 0]
        count = sum(amount.count for amount in since.values())
        more = max(0.0, seconds * self._jobs - sum(took)) / count if took and min(took) > 0 else 0.0
        done = sum(amount.cost * self._scale(codec) + more * amount.count for codec, amount in since.items())
        if done <= 0 or now_s <= _SETTLED_S:
            return None
        left, at_least = 0.0, False
        for codec, amount in self._left.items():
            if codec and not self._done[codec].count:
                at_least |= amount.count > 0
            else:
                left += amount.cost * self._scale(codec) + more * amount.count
        return Left(seconds * left / done, at_least)

    def _scale(self, codec: str) -> float:
        """What a second of estimate has turned out to be, of a codec whose estimates are guesses."""
        done = self._done[codec]
        return done.took_s / done.cost if codec and done.cost > 0 and done.took_s > 0 else 1.0


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
    known. at_least: a codec has no cell finished yet, so that it takes longer.
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
    at_least: bool = False


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
def announced(store: Store, jobs: Iterable[Job], total: int, facts: Mapping[str, Any]) -> Iterator[Pace]:
    """Mark a run in the store as under way; gives its pace, for each of its cells to be told as it is finished.

    ``total``: cells of its plan, finished ones among them. ``facts``: backend and jobs.
    """
    costs: dict[str, float] = {}
    new: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        costs |= dict.fromkeys(job.names, job.seconds / len(job.names))
        if job.new:
            new[job.task.cells[0].codec.card.name] += job.names
    for path, content in _runs(store.root):
        if _WORD.fullmatch(path.name) and not path.parent.is_symlink() and not lives(content, path):
            path.unlink(missing_ok=True)
    path = store.root / "work" / f"run-{secrets.token_hex(8)}.json"
    content = {**signature(), **facts, "started": time.time(), "total": total, "cells": costs, "new": new}
    try:
        write_atomically(path, json.dumps(content).encode())
    except OSError as error:
        remedy = "free some room" if is_disk_full(error) else "choose another --out"
        raise StoreError(f"{store.root}: results cannot be written here ({error.strerror}); {remedy}") from None
    with beating(path):
        yield Pace(costs, new, int(facts.get("jobs", 1)))
    # of a run that is ended early the word stays, and tells what is left
    path.unlink(missing_ok=True)


def state(folder: Path) -> FolderState:
    """State of a result folder, which is only read. Raises StoreError for a folder that is no result set."""
    cells = folder / "cells"
    if not cells.is_dir():
        raise StoreError(
            f"{folder}: is not a result set (it has no folder cells/); give the folder that run --out named"
        )
    found = {path.stem: _outcome(path) for path in cells.glob("*.json")}
    now = time.time()
    working = [
        Working(marker["cell"], str(marker.get("host", "")).partition("/")[0], marker["pid"], now - marker["since"])
        for marker in at_work(folder)
    ]
    return FolderState(
        dict(Counter(outcome.status for outcome in found.values())),
        sorted(working, key=lambda item: -item.seconds),
        [_run_state(path, content, found, now) for path, content in sorted(_runs(folder), key=_start)],
    )


def at_work(folder: Path) -> list[dict[str, Any]]:
    """What workers have left of the cells they are at, of every driver of the folder."""
    return [marker for marker in Store(folder).working() if "since" in marker]


def _start(run: tuple[Path, dict[str, Any]]) -> float:
    return float(run[1]["started"])


@dataclass(frozen=True)
class _Outcome:
    """Status in a result file ("unreadable" where it has none), when it was written, what encode and decode took."""

    status: str
    written: float = 0.0
    took_s: float = 0.0


def _outcome(path: Path) -> _Outcome:
    try:
        content = parse_json(read_text(path, path.parent.parent))
        took = sum(cost["seconds"] for cost in (content.get("encode"), content.get("decode")) if cost)
        return _Outcome(str(content["status"]), path.stat().st_mtime, float(took))
    except (StoreError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _Outcome("unreadable")


def _runs(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    runs = []
    for path in (folder / "work").glob("run-*.json"):
        try:
            content = read_signed(path, numbers=["started", "total", "jobs"], texts=["backend"])
            costs = {str(name): float(cost) for name, cost in content["cells"].items()}
            if not all(math.isfinite(cost) and cost >= 0 for cost in costs.values()):
                raise ValueError(f"{path}: has times that no cell takes")
            new = {str(codec): [str(name) for name in names] for codec, names in content.get("new", {}).items()}
            whole = {key: int(content[key]) for key in ("total", "jobs")}
            runs.append((path, {**content, **whole, "cells": costs, "new": new}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
            continue  # it has ended just now, or no run wrote it
    return runs


def _run_state(path: Path, content: Mapping[str, Any], found: Mapping[str, _Outcome], now: float) -> RunState:
    costs = content["cells"]
    finished = {name: found[name] for name in costs if name in found and found[name].written >= content["started"]}
    alive = lives(content, path)
    pace = Pace(costs, content["new"], content["jobs"])
    for name, one in sorted(finished.items(), key=lambda item: item[1].written):
        pace.finish(name, one.written - content["started"], tried=one.status != "skipped", took_s=one.took_s)
    elapsed = now - content["started"]
    rate, left = (pace.rate(elapsed), pace.left(elapsed)) if alive else (None, None)
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
        failed=sum(one.status == "failed" for one in finished.values()),
        rate=rate,
        left_s=None if left is None else left.seconds,
        reason=unknown if left is None else None,
        at_least=left is not None and left.at_least,
    )


@dataclass(frozen=True)
class Progress:
    """State of a run after a cell: ``done`` of ``total`` are finished, and that cell's result (None at the start).

    failed: of the cells finished now. curve: where the cell was the last that its codec lacked on its sequence, the
    results of that pair that are new. rate: cells per minute; left_s: estimated seconds to the end; None while there
    is nothing to estimate them by. at_least: it takes longer, as a codec has no cell finished yet.
    """

    done: int
    total: int
    result: CellResult | None = None
    failed: int = 0
    curve: tuple[CellResult, ...] = ()
    rate: float | None = None
    left_s: float | None = None
    at_least: bool = False


class Watch:
    """Makes the Progress of a run in its driver. ``todo``: its cells."""

    def __init__(self, pace: Pace, todo: Iterable[Cell], total: int) -> None:
        self._pace = pace
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
        took_s = sum(cost.seconds for cost in (result.encode, result.decode) if cost)
        self._pace.finish(result.name, elapsed, tried=result.status != "skipped", took_s=took_s)
        left = self._pace.left(elapsed)
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
            None if left is None else left.seconds,
            left is not None and left.at_least,
        )


__all__ = ["FolderState", "Left", "Pace", "Progress", "RunState", "Watch", "Working", "announced", "at_work", "state"]
