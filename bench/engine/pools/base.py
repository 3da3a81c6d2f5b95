"""What every pool of workers offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.core.process import memory_bytes

if TYPE_CHECKING:
    from bench.engine.schedule import Job
    from bench.records.cell import CellResult


class Outcome(Protocol):
    """A job under way, as loky, Dask and Ray have it."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object: ...

    def result(self) -> list[CellResult]: ...


class Pool(ABC):
    """Workers. ``slots`` is how many jobs they are given at once, known once they are started."""

    name: ClassVar[str]

    tries_again: ClassVar[bool] = False
    """Whether the engine itself runs a job again whose worker was lost, before it gives it back as lost."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._ended: SimpleQueue[tuple[Job, Outcome]] = SimpleQueue()

    @property
    def at_once(self) -> int:
        """Jobs that run side by side; a pool may be given more, for its workers to find their next at once."""
        return self.slots

    def threads(self) -> tuple[int, int]:
        """Threads of a job's filters, which cost the same on several, and its share of the worker's CPUs."""
        return 1, 1

    def start(self) -> None:
        """Have the workers; nothing for a pool that is started. Raises UnavailableError where there are none."""

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        """Whether a job can be given now, beside those that run."""
        return len(running) < self.slots

    def refusal(self, job: Job) -> str | None:
        """Why no worker can ever take a job; None if one can."""
        return None

    def submit(self, job: Job) -> None:
        """Give a job to the workers."""
        self._start(job).add_done_callback(lambda ended: self._ended.put((job, ended)))

    def take(self) -> tuple[Job, list[CellResult] | None]:
        """The next job that ends, with its results; None in their place where its worker was lost.

        Waits for it. Raises what the work raised.
        """
        job, ended = self._next()
        try:
            return job, ended.result()
        except self._lost():
            return job, None

    def _next(self) -> tuple[Job, Outcome]:
        """The next job that ends; waits for it."""
        return self._ended.get()

    @abstractmethod
    def _start(self, job: Job) -> Outcome:
        """Set a job going."""

    def _lost(self) -> tuple[type[BaseException], ...]:
        """What an outcome raises when its worker was lost."""
        return ()

    def close(self) -> None:
        """End the workers, and with them what still runs, as far as they are ours."""


def memory_limit() -> int:
    """Bytes of memory that the processes of this machine, or of this container, may take together."""
    total = memory_bytes()
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no limit is the word "max"
        return total
