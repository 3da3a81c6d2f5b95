"""What cells will cost, from what others cost before: the longest go first, hungry ones where there is room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.core.untrusted import parse_json, read_text
from bench.engine.cell import Task
from bench.engine.plan import Cell
from bench.engine.store.folder import Store
from bench.errors import StoreError

_GB = 10**9


@dataclass(frozen=True, eq=False)
class Job:
    """A task and what it is likely to cost.

    ``seconds`` are an estimate to compare jobs by, without the metrics' share; ``memory`` is bytes that its programs
    are known to take, 0 where nothing is known; ``gpu`` says whether it needs one. ``new``: its codec was never
    measured here, so that the seconds are a guess.
    """

    task: Task
    seconds: float
    memory: int
    gpu: bool
    new: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its cells."""
        return tuple(cell.name for cell in self.task.cells)


class History:
    """What the cells of a store cost: seconds for each luma sample and peak memory, by codec and rate."""

    def __init__(self, store: Store) -> None:
        self._pace: dict[tuple[str, float], list[float]] = defaultdict(list)
        self._peaks: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for path in sorted((store.root / "cells").glob("*.json")):
            try:
                self._learn(parse_json(read_text(path, store.root)))
            except (StoreError, OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
                continue  # a damaged or failed result teaches nothing
        self._by_codec: dict[str, float] = {}
        for (codec, _), paces in self._pace.items():
            self._by_codec[codec] = max(self._by_codec.get(codec, 0.0), *paces)
        self._slowest = max(self._by_codec.values(), default=1e-7)

    def _learn(self, result: dict[str, Any]) -> None:
        codec, sequence = result["codec"]["name"], result["sequence"]
        costs = (result["encode"], result["decode"])
        area = sequence["width"] * sequence["height"]
        seconds = sum(cost["seconds"] for cost in costs)
        peak = max(cost["peak_rss_bytes"] for cost in costs)
        self._pace[codec, float(result["rate"]["value"])].append(seconds / (area * sequence["frames"]))
        self._peaks[codec].append((area, peak))

    def seconds(self, cell: Cell) -> float:
        """Estimate of a cell's encode and decode; that of the slowest codec for one that was never measured."""
        codec = cell.codec.card.name
        known = self._pace.get((codec, float(cell.rate.value)))
        pace = median(known) if known else self._by_codec.get(codec, self._slowest)
        fmt = cell.sequence.format
        return pace * fmt.width * fmt.height * cell.sequence.frames

    def memory(self, cell: Cell) -> int:
        """Peak bytes of a cell's programs: the card's statement, or the highest yet, in proportion for larger frames.

        0 where neither is there.
        """
        fmt = cell.sequence.format
        area = fmt.width * fmt.height
        seen = [int(peak * max(1.0, area / known)) for known, peak in self._peaks[cell.codec.card.name]]
        stated = cell.codec.card.needs.memory_gb or 0
        return max([int(stated * _GB), *seen])

    def job(self, task: Task) -> Job:
        """A task with its cost. Its cells are encoded one after the other and decoded side by side."""
        return Job(
            task,
            sum(map(self.seconds, task.cells)),
            sum(map(self.memory, task.cells)),
            any(cell.codec.card.needs.gpu for cell in task.cells),
            task.cells[0].codec.card.name not in self._by_codec,
        )


def longest_first(jobs: Iterable[Job]) -> list[Job]:
    """Jobs by falling cost, those of one sequence side by side where they cost the same."""
    return sorted(jobs, key=lambda job: -job.seconds)


def single(job: Job) -> list[Job]:
    """A job for each of its cells."""
    share = len(job.task.cells)
    return [
        replace(job, task=replace(job.task, cells=(cell,)), seconds=job.seconds / share, memory=job.memory // share)
        for cell in job.task.cells
    ]


__all__ = ["History", "Job", "longest_first", "single"]
