"""Gives jobs to a pool of workers, longest first, and keeps what they found whatever happens to the workers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable

from bench.engine.cell import Task, failed_result, is_done
from bench.engine.pools.base import Pool
from bench.engine.schedule import Job, longest_first, single
from bench.engine.store.folder import Store, disk_full, is_disk_full
from bench.records.cell import CellResult

MAX_ATTEMPTS = 3

_LOOKS, _LOOK_S = 20, 0.05
"""How often, and how many seconds apart, folders of lost workers are looked for at a run's end."""


def execute(jobs: Iterable[Job], store: Store, pool: Pool) -> Generator[CellResult, None, None]:
    """Results as they are finished, in any order; workers write them, so they are stored before they arrive here.

    When a worker is lost, the cells that were under way are run again at the end, one at a time, so that the guilty one
    is known: a cell that loses its worker ``MAX_ATTEMPTS`` times on its own fails as "worker_lost". Raises StoreError
    when results cannot be written any more.
    """
    store.abandoned()
    waiting = longest_first(jobs)
    running: dict[int, Job] = {}
    doubtful: list[Job] = []
    worker_lost = False
    while waiting or running:
        yield from _fill(waiting, running, store, pool)
        if not running:
            continue
        lost = yield from _take(running, pool)
        worker_lost |= bool(lost)
        if lost and not pool.tries_again:
            while running:  # they were lost with it
                lost += yield from _take(running, pool)
            begun = set(store.abandoned())
            waiting[:0] = [job for job in lost if begun.isdisjoint(job.names)]
            lost = [job for job in lost if not begun.isdisjoint(job.names)]
        doubtful += lost
    for group in doubtful:
        for job in single(group):
            yield _alone(job, store, pool)
    # a killed process counts as living until the system has taken it down
    for _ in range(_LOOKS if worker_lost else 0):
        store.abandoned()
        if not store.working():
            break
        time.sleep(_LOOK_S)


def _fill(waiting: list[Job], running: dict[int, Job], store: Store, pool: Pool) -> Generator[CellResult, None, None]:
    """Give the workers what there is room for; results are of cells that no worker can take."""
    for job in list(waiting):
        if len(running) >= pool.slots:
            return
        reason = pool.refusal(job)
        if reason is not None:
            waiting.remove(job)
            for cell in job.task.cells:
                yield _failed(job.task, store, "no_worker", f"{cell.codec.card.name}: {reason}", cell.name)
        elif pool.has_room(job, running.values()):
            waiting.remove(job)
            running[id(job)] = job
            pool.submit(job)


def _take(running: dict[int, Job], pool: Pool) -> Generator[CellResult, None, list[Job]]:
    """Results of the next job that ends; gives the job back if its worker was lost."""
    job, results = pool.take()
    del running[id(job)]
    if results is None:
        return [job]
    yield from results
    return []


def _alone(job: Job, store: Store, pool: Pool) -> CellResult:
    """Result of a job's only cell, whose worker was lost, run with nothing beside it."""
    for _ in range(MAX_ATTEMPTS):
        finished = _finished(job.task, store)
        if finished is not None:
            return finished
        pool.submit(job)
        _, results = pool.take()
        if results is not None:
            return results[0]
        store.abandoned()
    name = job.task.cells[0].name
    message = "its worker process was killed each time the cell ran, also when it ran alone"
    return _failed(job.task, store, "worker_lost", message, name)


def _failed(task: Task, store: Store, reason: str, message: str, name: str) -> CellResult:
    cell = next(cell for cell in task.cells if cell.name == name)
    result = failed_result(task, cell, "failed", reason, message)
    try:
        store.write(result, wanted=task.metrics)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(store.root) from None
        raise
    return result


def _finished(task: Task, store: Store) -> CellResult | None:
    cell = task.cells[0]
    result = store.read(cell.name)
    return result if is_done(result, task.metrics, task.timing, task.unavailable, cell.sequence.transfer) else None
