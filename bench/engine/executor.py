"""Runs the tasks of a plan side by side through joblib, and keeps what they found whatever happens to the workers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence

from bench.engine.cell import Task, failed_result, run_cell
from bench.engine.store import Store
from bench.results import CellResult

MAX_ATTEMPTS = 3


def execute(
    tasks: Sequence[Task], store: Store, *, jobs: int = 1, backend: str = "loky"
) -> Generator[CellResult, None, None]:
    """Results as they are finished, in any order; workers write them, so they are stored before they arrive here.

    A cell whose worker process is killed is tried again, ``MAX_ATTEMPTS`` times in all; then it fails as
    "worker_lost". Raises StoreError when results cannot be written any more.
    """
    store.abandoned()
    pending = {task.cell.name: task for task in tasks}
    attempts: Counter[str] = Counter()
    while pending:
        try:
            for result in _parallel(list(pending.values()), jobs, backend):
                pending.pop(result.name, None)
                yield result
        except _worker_lost() as error:
            lost = [name for name in store.abandoned() if name in pending]
            attempts.update(lost)
            for name in list(pending):
                finished = store.read(name)
                task = pending[name]
                if finished is not None and finished.status == "ok" and set(task.metrics) <= set(finished.measurements):
                    yield finished
                elif attempts[name] >= MAX_ATTEMPTS:
                    message = f"its worker process was ended from outside {attempts[name]} times ({error})"
                    result = failed_result(task, "failed", "worker_lost", message)
                    store.write(result)
                    yield result
                else:
                    continue
                del pending[name]


def _parallel(tasks: list[Task], jobs: int, backend: str) -> Iterator[CellResult]:
    if jobs == 1:
        yield from map(run_cell, tasks)
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
        yield from parallel(delayed(run_cell)(task) for task in tasks)


def _worker_lost() -> tuple[type[BaseException], ...]:
    from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

    return (BrokenProcessPool, TerminatedWorkerError)
