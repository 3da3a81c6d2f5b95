"""Worker processes of this machine; imports nothing heavy, so that they come up while the rest is still being imported.

They are joblib's loky: a process that is killed is noticed, and the next submission gets a new set of them.
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import Any

_USED_BY_CELLS = ("bench.engine.cell", "cv2", "pyarrow.parquet", "bench.metrics.filters", "bench.metrics.fidelity")

_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip

_IDLE_S = 300


def worker_processes(jobs: int) -> Any:
    """Loky's executor with so many processes: the one there is, or a new one where there is none or it is broken."""
    from joblib.externals.loky import get_reusable_executor

    return get_reusable_executor(max_workers=jobs, timeout=_IDLE_S, env=_environment(jobs))


def end_workers() -> None:
    """Kill the worker processes, with all they have started; they would wait for more in their old environment.

    They are not asked to end: if one was killed from outside while it held the lock of their queue, the others never
    get to read the request, and would be waited for until they have been idle for `_IDLE_S`.
    """
    from joblib.externals.loky import get_reusable_executor

    # loky ends an executor that it cannot hand out again before it makes a new one, so both are told
    get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)


def warm_up(jobs: int) -> threading.Thread:
    """Have worker processes start and import what a cell needs in the background, while the plan is made."""

    def start() -> None:
        executor = worker_processes(jobs)
        for _ in range(jobs):
            executor.submit(_import_for_cells)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    return thread


def _environment(jobs: int) -> dict[str, str]:
    """Each process takes its share of the CPUs for libraries with threads of their own, unless the user says more."""
    from bench.process import cpu_count

    share = str(max(1, cpu_count() // jobs))
    return {name: os.environ.get(name, share) for name in _THREADS}


def _import_for_cells() -> None:
    for module in _USED_BY_CELLS:
        importlib.import_module(module)
