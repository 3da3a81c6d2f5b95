"""Work on many things shared out to forks of this process, which have all that it has loaded."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from bench.core.process import cpu_count
from bench.errors import VcbenchError

Item = TypeVar("Item")
Made = TypeVar("Made")

_work: Callable[[int], Any]
"""In a fork: what it does for the item of a number."""


def in_forks(work: Callable[[Item], Made], items: Sequence[Item], forks: int | None = None) -> Iterator[Made]:
    """What ``work`` makes of each item, in their order; by default in as many forks as there are CPUs.

    A fork costs no import and no copy of the items, and only what it makes is sent back. With one CPU or one item, or
    ``forks`` under 2, the work is done here. Its first error is raised here too, VcbenchError where a fork was killed.
    """
    count = min(cpu_count() if forks is None else forks, len(items))
    if count < 2:
        yield from map(work, items)
        return
    pool = ProcessPoolExecutor(count, get_context("fork"), _begin, (lambda number: work(items[number]),))
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads, which here are BLAS's: it renews them in a fork
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            made = pool.map(_do, range(len(items)))
        yield from made
    except BrokenProcessPool:
        raise VcbenchError(
            f"one of {count} processes was killed from outside, most likely for want of memory; free some and try again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(work: Callable[[int], Any]) -> None:
    global _work  # noqa: PLW0603 - a pool hands over numbers alone; a function with all that it refers to is inherited
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends the pool, and one traceback is enough


def _do(number: int) -> Any:
    return _work(number)
