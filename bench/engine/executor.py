"""Runs the tasks of a plan side by side through joblib, and keeps what they found whatever happens to the workers."""

from __future__ import annotations

import warnings
from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from bench.engine.cell import Task, failed_result, is_done, run_cells
from bench.engine.store import Store
from bench.results import CellResult

MAX_ATTEMPTS = 3


def execute(
    tasks: Sequence[Task], store: Store, *, jobs: int = 1, backend: str = "loky"
) -> Generator[CellResult, None, None]:
    """Results as they are finished, in any order; workers write them, so they are stored before they arrive here.

    When a worker process is killed, the cells that were under way are run again one at a time, so that the guilty one
    is known: a cell that loses its worker ``MAX_ATTEMPTS`` times on its own fails as "worker_lost". Raises StoreError
    when results cannot be written any more.
    """
    store.abandoned()
    pending = {cell.name: replace(task, cells=(cell,)) for task in tasks for cell in task.cells}
    while pending:
        try:
            for result in _parallel(_left(tasks, pending), jobs, backend):
                pending.pop(result.name, None)
                yield result
        except _worker_lost():
            suspects = set(store.abandoned())
            for name in [name for name in pending if name in suspects or _finished(pending[name], store)]:
                yield _alone(pending.pop(name), store, jobs, backend)


def _left(tasks: Sequence[Task], pending: Container[str]) -> list[Task]:
    """Tasks with the cells that are still to be done."""
    left = [replace(task, cells=tuple(cell for cell in task.cells if cell.name in pending)) for task in tasks]
    return [task for task in left if task.cells]


def _alone(task: Task, store: Store, jobs: int, backend: str) -> CellResult:
    """Result of a task's only cell, whose worker was lost, run with nothing beside it."""
    for _ in range(MAX_ATTEMPTS):
        finished = _finished(task, store)
        if finished is not None:
            return finished
        try:
            (result,) = _parallel([task], jobs, backend)
            return result
        except _worker_lost() as error:
            store.abandoned()
            message = f"its worker process was ended from outside {MAX_ATTEMPTS} times ({error})"
    lost = failed_result(task, task.cells[0], "failed", "worker_lost", message)
    store.write(lost)
    return lost


def _finished(task: Task, store: Store) -> CellResult | None:
    result = store.read(task.cells[0].name)
    return result if is_done(result, task.metrics, task.timing, task.unavailable) else None


def _parallel(tasks: list[Task], jobs: int, backend: str) -> Iterator[CellResult]:
    if jobs == 1:
        yield from chain.from_iterable(map(run_cells, tasks))
        return
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=jobs,
        backend=backend,
        batch_size=1,
        pre_dispatch="2*n_jobs",
        return_as="generator_unordered",
    )
    with warnings.catch_warnings():
        # joblib warns when a worker is gone while others work; the loop above deals with it
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        yield from chain.from_iterable(parallel(delayed(run_cells)(task) for task in tasks))


def _worker_lost() -> tuple[type[BaseException], ...]:
    from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

    return (BrokenProcessPool, TerminatedWorkerError)
