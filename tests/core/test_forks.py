"""Work in forks."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from bench.core.forks import in_forks
from bench.errors import StoreError, VcbenchError


def squares(numbers: Sequence[int], forks: int) -> list[tuple[int, int]]:
    """Squares, each with the process that made it; a function of this call, which no other process could import."""
    return list(in_forks(lambda number: (number * number, os.getpid()), numbers, forks))


def test_results_come_in_order_from_other_processes() -> None:
    made = squares(range(20), 2)
    assert [square for square, _ in made] == [number * number for number in range(20)]
    assert os.getpid() not in {process for _, process in made}
    assert len({process for _, process in made}) <= 2


@pytest.mark.parametrize(("numbers", "forks"), [([3], 2), ([3, 4], 1), ([], 2)])
def test_what_is_not_worth_a_fork_is_done_here(numbers: list[int], forks: int) -> None:
    assert squares(numbers, forks) == [(number * number, os.getpid()) for number in numbers]


def test_an_error_is_that_of_the_work() -> None:
    def work(number: int) -> int:
        if number:
            raise StoreError(f"{number}: no")
        return number

    with pytest.raises(StoreError, match="1: no"):
        list(in_forks(work, [0, 1, 2], 2))


def test_a_fork_that_is_killed_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(VcbenchError, match="free some and try again"):
        list(in_forks(lambda _: os.kill(os.getpid(), signal.SIGKILL), [0, 1], 2))


def test_no_process_stays_when_nobody_asks_any_more() -> None:
    results = in_forks(lambda _: os.getpid(), range(50), 2)
    process = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
