"""The worker processes of this machine: started and ended by different threads."""

from __future__ import annotations

import pytest

from bench.engine.pools import workers
from bench.engine.pools.workers import end_workers, warm_up

pytestmark = pytest.mark.slow


def test_workers_that_are_ended_while_they_warm_up_end_without_a_fault() -> None:
    """Work that came as they ended was a KeyError in loky's thread, which a later test got as its own."""
    for _ in range(3):
        warming = warm_up(2)
        end_workers()
        warming.join()
        end_workers()
    assert not workers._in_use


def test_a_warming_up_that_is_late_starts_no_worker_again() -> None:
    end_workers()
    with workers._lock:
        warming = warm_up(2)
        workers._ends += 1  # as an end does that came first
    warming.join()
    assert not workers._in_use
