"""Worker processes of this machine; imports nothing heavy, so that they come up while the rest is still being imported.

They are loky's: a process that is killed is noticed, and the next submission gets a new set of them. They end
with the driver, however that ends.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_USED_BY_CELLS = ("bench.engine.cell", "cv2", "pyarrow.parquet", "bench.metrics.libvmaf", "bench.metrics.fidelity")

_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip

_IDLE_S = 300
_LOOK_S = 0.2
"""Seconds between two looks of a worker whether its driver lives."""

_lock = threading.Lock()
"""Held while executors are given their first work or ended: loky's thread trips over work that comes as it ends."""
_ends = 0
"""How often the workers were ended, so that a warming-up that is late starts none again."""
_in_use: list[Any] = []
"""The executor that was asked for last: loky itself gives it to those alone who give all of its settings again."""


def submit(jobs: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Give work to one of so many worker processes: its future. Raises what loky does when the workers are gone."""
    return worker_processes(jobs).submit(function, *arguments)


def worker_processes(jobs: int) -> Any:
    """Loky's executor with so many processes: the one there is, or a new one where there is none or it is broken."""
    from loky import get_reusable_executor

    executor = get_reusable_executor(
        max_workers=jobs, timeout=_IDLE_S, env=_environment(jobs), initializer=_begin, initargs=(os.getpid(),)
    )
    _in_use[:] = [executor]
    return executor


def end_workers() -> None:
    """Kill the worker processes, with all they have started; they would wait for more in their old environment.

    They are not asked to end: if one was killed from outside while it held the lock of their queue, the others never
    get to read the request, and would be waited for until they have been idle for `_IDLE_S`.
    """
    global _ends  # noqa: PLW0603
    with _lock:
        _ends += 1
        for executor in _in_use:
            # before what they started: a worker that sees its encoder killed would store that as the encoder's failure
            for pid in list(executor._processes or ()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            executor.shutdown(wait=True, kill_workers=True)
        _in_use.clear()


def warm_up(jobs: int) -> threading.Thread:
    """Have worker processes start and import what a cell needs in the background, while the plan is made."""

    ends = _ends

    def start() -> None:
        with _lock:
            if _ends != ends:
                return
            for _ in range(jobs):
                submit(jobs, _import_for_cells)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    return thread


def _environment(jobs: int) -> dict[str, str]:
    """Each process takes its share of the CPUs for libraries with threads of their own, unless the user says more."""
    from bench.core.process import cpu_count

    share = str(max(1, cpu_count() // jobs))
    return {name: os.environ.get(name, share) for name in _THREADS}


def _begin(driver: int) -> None:
    """In a worker: Ctrl-C is the driver's to deal with, and nobody is left to work for once the driver has gone."""
    signal.signal(signal.SIGINT, lambda number, frame: None)  # not ignored: programs would inherit that
    threading.Thread(target=_end_with, args=(driver,), daemon=True, name="driver").start()


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_LOOK_S)
    os._exit(1)  # what it has started ends with it


def _import_for_cells() -> None:
    for module in _USED_BY_CELLS:
        importlib.import_module(module)
