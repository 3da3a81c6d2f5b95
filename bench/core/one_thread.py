"""One thread for networks and linear algebra, so that a value has the same bits whatever the number of jobs.

With more, torch and BLAS part their sums otherwise, and the last digits of features differ: a kernel distance, which is
a small difference of large sums, by some millionths. Cells run side by side, so that the threads are not missed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Limit:
    """The limit of this process, held by as many blocks as there are; the first one sets it, the last one lifts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._blas: Any = None
        self._torch_before: int | None = None

    def begin(self) -> None:
        with self._lock:
            if not self._blocks:
                self._blas = _limited_blas()
            self._blocks += 1
        self.hold_torch()

    def hold_torch(self) -> None:
        torch = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "set_num_threads"):  # it is just being imported
            return
        with self._lock:
            if self._blocks and (threads := torch.get_num_threads()) > 1:
                self._torch_before = self._torch_before or threads
                torch.set_num_threads(1)

    def end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks:
                return
            if self._blas is not None:
                self._blas.restore_original_limits()
            if self._torch_before is not None:
                sys.modules["torch"].set_num_threads(self._torch_before)
            self._blas = self._torch_before = None


_limit = _Limit()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread until the block ends; blocks may lie in others, and beside others in several threads."""
    _limit.begin()
    try:
        yield
    finally:
        _limit.end()


def hold_torch() -> None:
    """Limit torch, in this thread too, where such a block goes on: it may have been imported after its beginning."""
    _limit.hold_torch()


def _limited_blas() -> Any:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # an installation of before it was needed: the last digits of distances may differ
        return None
    return threadpool_limits(limits=1, user_api="blas")
