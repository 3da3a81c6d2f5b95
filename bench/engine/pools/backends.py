"""Where tasks run: in this process, on its threads, in processes of this machine, or on a cluster.

A pool takes jobs and gives them back as they end, in any order. Workers write their results themselves: what a pool
gives back is only news of them. Nothing heavy is imported here, so that processes are under way before all else.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread, current_thread
from typing import TYPE_CHECKING

from bench.core.process import cpu_count, stop_programs
from bench.engine.pools.workers import end_workers, submit, warm_up
from bench.engine.provenance import gpu_count
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.engine.schedule import Job
    from bench.records.cell import CellResult
from bench.engine.pools.base import Outcome, Pool, memory_limit

BACKENDS = ("loky", "threading", "dask", "ray")
CLUSTERS = ("dask", "ray")

_UNWIND_S = 1.0
"""Seconds that threads get to remove their working folders when they are stopped."""


class LocalPool(Pool):
    """Workers that share this machine's memory and GPU: jobs that are known to be hungry wait for room."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._memory = memory_limit()
        self._gpus = gpu_count()

    def threads(self) -> tuple[int, int]:
        # the last cells have CPUs to spare
        return cpu_count(), max(1, cpu_count() // self.slots)

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        if not running:
            return True
        enough = sum(other.memory for other in running) + job.memory <= self._memory
        # they would all take the first GPU
        return super().has_room(job, running) and enough and not (job.gpu and any(other.gpu for other in running))

    def refusal(self, job: Job) -> str | None:
        if job.gpu and not self._gpus:
            return "it needs a GPU and this machine has none; run it with --backend dask or ray on one that has"
        return None


class InlinePool(LocalPool):
    """No workers: a job is done when it is given."""

    name = "none"

    def _start(self, job: Job) -> Outcome:
        future: Future[list[CellResult]] = Future()
        try:
            future.set_result(_run(job))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        _end_warm_processes()


class ThreadsPool(LocalPool):
    """Threads of this process. One that is ended in mid-job ends its programs and stops at its next step with one."""

    name = "threading"

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._members: list[Thread] = []
        self._threads = ThreadPoolExecutor(slots, initializer=lambda: self._members.append(current_thread()))

    def _start(self, job: Job) -> Outcome:
        return self._threads.submit(_run, job)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        stop_programs(self._members)
        until = time.monotonic() + _UNWIND_S
        for member in self._members:
            member.join(max(0.0, until - time.monotonic()))
        _end_warm_processes()


class LokyPool(LocalPool):
    """Processes of this machine. One that is killed takes the others with it; the next job gets new ones."""

    name = "loky"

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        # loky's own thread warns when a worker is gone while others work; the executor deals with it
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        self._warming = warm_up(slots)

    def _start(self, job: Job) -> Outcome:
        self._warming.join()
        try:
            return submit(self.slots, _run, job)  # type: ignore[no-any-return]
        except self._lost() as error:
            broken: Future[list[CellResult]] = Future()
            broken.set_exception(error)
            return broken

    def _lost(self) -> tuple[type[BaseException], ...]:
        from loky.process_executor import (
            BrokenProcessPool,
            ShutdownExecutorError,
            TerminatedWorkerError,
        )

        return (BrokenProcessPool, TerminatedWorkerError, ShutdownExecutorError)

    def close(self) -> None:
        self._warming.join()
        end_workers()


def _end_warm_processes() -> None:
    """Those of this process: a worker's end with it."""
    from bench.adapters.warm import end_all

    end_all()


def _run(job: Job) -> list[CellResult]:
    from bench.engine.cell import run_cells

    return run_cells(job.task)


@contextmanager
def open_pool(
    backend: str, jobs: int | None = None, *, scheduler: str | None = None, timing: bool = False
) -> Iterator[Pool]:
    """Workers by the name of their backend, which end with the block.

    ``jobs``: how many run at once; default one for each CPU here, or all that a cluster has. ``scheduler``: address of
    a running Dask scheduler (or its file) or Ray cluster; default one of our own on this machine. ``timing``: one job
    at a time with nothing beside it. A cluster is connected to when the pool is started, after all that can be wrong
    before is known. Raises UsageError for what does not go together.
    """
    pool = _pool(backend, jobs, scheduler, timing=timing)
    try:
        yield pool
    finally:
        pool.close()


def _pool(backend: str, jobs: int | None, scheduler: str | None, *, timing: bool) -> Pool:
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; use one of {', '.join(BACKENDS)}")
    if scheduler is not None and backend not in CLUSTERS:
        raise UsageError(f"--scheduler is of a cluster and the backend is {backend}; give --backend dask or ray")
    if timing and backend in CLUSTERS:
        raise UsageError(f"--timing runs one cell at a time on this machine; leave --backend {backend} out")
    if backend in CLUSTERS:
        from bench.engine.pools.cluster import DaskPool, RayPool

        return {"dask": DaskPool, "ray": RayPool}[backend](scheduler, jobs)
    jobs = 1 if timing else jobs or cpu_count()
    if jobs == 1:
        return InlinePool(1)
    return LokyPool(jobs) if backend == "loky" else ThreadsPool(jobs)
