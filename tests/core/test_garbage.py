"""The garbage collector rests inside a block, and is as it was after it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from bench.core.garbage import garbage_kept


def test_nothing_is_collected_inside_also_of_nested_blocks() -> None:
    with garbage_kept():
        with garbage_kept():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_comes_back_after_an_error_and_stays_off_where_it_was_off() -> None:
    with pytest.raises(KeyError), garbage_kept():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with garbage_kept():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("before", ["pass", "gc.freeze()"])
def test_what_others_have_frozen_stays_so_and_nothing_else_is(before: str) -> None:
    program = f"import gc\nfrom bench.core.garbage import garbage_kept\n{before}\nfound = gc.get_freeze_count()\n"
    program += "with garbage_kept():\n    kept = [[] for _ in range(9)]\nprint(found, gc.get_freeze_count())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found, after = map(int, done.stdout.split())
    assert found == after
    assert (found > 0) == (before != "pass")
