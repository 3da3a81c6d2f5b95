"""Start worker processes early; imports nothing heavy, so that they come up while the rest is still being imported."""

from __future__ import annotations

import importlib
import threading

_USED_BY_CELLS = ("bench.engine.cell", "cv2", "pyarrow.parquet", "bench.metrics.filters", "bench.metrics.fidelity")


def start_workers(jobs: int, backend: str) -> None:
    """Have loky's worker processes start and import what a cell needs, in the background, while the plan is made.

    joblib gives the same processes to the run that follows with as many jobs.
    """
    if jobs > 1 and backend == "loky":
        threading.Thread(target=_warm_up, args=(jobs,), daemon=True).start()


def _warm_up(jobs: int) -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=jobs, backend="loky", batch_size=1)(delayed(_import_for_cells)() for _ in range(jobs))


def _import_for_cells() -> None:
    for module in _USED_BY_CELLS:
        importlib.import_module(module)
