"""Start worker processes early; imports nothing heavy, so that they come up while the rest is still being imported."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_USED_BY_CELLS = ("bench.engine.cell", "cv2", "pyarrow.parquet", "bench.metrics.filters", "bench.metrics.fidelity")


@contextmanager
def warm_workers(jobs: int, backend: str) -> Iterator[None]:
    """Have loky's worker processes start and import what a cell needs, in the background, while the plan is made.

    joblib gives the same processes to the run that follows with as many jobs. They end with the block.
    """
    thread = threading.Thread(target=_warm_up, args=(jobs,), daemon=True)
    if jobs > 1 and backend == "loky":
        thread.start()
    try:
        yield
    finally:
        if thread.ident is not None:
            thread.join()
            end_workers()


def end_workers() -> None:
    """End the worker processes, which would otherwise wait for more and keep the environment they were started in."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=False)


def _warm_up(jobs: int) -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=jobs, backend="loky", batch_size=1)(delayed(_import_for_cells)() for _ in range(jobs))


def _import_for_cells() -> None:
    for module in _USED_BY_CELLS:
        importlib.import_module(module)
