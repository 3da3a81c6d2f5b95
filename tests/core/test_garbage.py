"""The garbage collector rests inside a block, and is as it was after it."""

from __future__ import annotations

import gc

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
