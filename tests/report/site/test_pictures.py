"""Which pictures a report has where decoding is slow or there are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from bench.analysis.curves import SequenceKey
from bench.records.cell import CellResult
from bench.report.site.pictures import DEFAULT_DECODE_S, _Choosing, _left_out

Able = dict[SequenceKey, list[CellResult]]


@pytest.fixture
def able(curve: Callable[..., list[CellResult]]) -> Callable[..., Able]:
    """Cells of codecs at four rate points; codecs by name with how long a decode of ten frames takes."""

    def make(sequences: Sequence[str], **seconds: float) -> Able:
        return {
            SequenceKey("set", name): [
                cell for codec, own in seconds.items() for cell in curve(codec, name, seconds=own)
            ]
            for name in sequences
        }

    return make


def shown(chosen: _Choosing) -> dict[str, dict[str, int]]:
    """Rate points of each codec that are shown, by sequence."""
    return {
        key.sequence: {
            name: sum(cell.codec.name == name for cell in choice.cells)
            for name in dict.fromkeys(cell.codec.name for cell in choice.cells)
        }
        for key, choice in chosen.choices.items()
    }


def test_a_slow_codec_lacks_pictures_itself_and_takes_nobody_elses(able: Callable[..., Able]) -> None:
    """Half of 100 s are more than the bound on every sequence; 0.5 s of each of the others are not."""
    cells = able("abcdef", slow=2 * DEFAULT_DECODE_S, x264=0.5, x265=0.5)
    chosen = _Choosing(cells, None)
    assert shown(chosen) == {name: {"x264": 4, "x265": 4} for name in "abcdef"}
    told = list(_left_out(cells, chosen))
    assert "no pictures of slow" in told[0]
    assert "The bound is 120 pictures and 60 s of decoding; vcbench report --pictures N" in told[1]


def test_a_slow_codec_is_shown_where_there_is_room_and_at_fewer_rate_points(able: Callable[..., Able]) -> None:
    """At 26 s up to the middle frame of ten, 2 of 4 sequences have it, at its middle rate point."""
    chosen = _Choosing(able("abcd", slow=45.0, x264=0.1), None)
    found = shown(chosen)
    assert [found[name].get("slow", 0) for name in "abcd"] == [1, 1, 0, 0]
    assert [found[name]["x264"] for name in "abcd"] == [4, 4, 4, 4]


def test_there_is_always_something_to_see(able: Callable[..., Able]) -> None:
    chosen = _Choosing(able("ab", slow=10 * DEFAULT_DECODE_S, slower=20 * DEFAULT_DECODE_S), None)
    assert shown(chosen) == {"a": {"slow": 1}}


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 40, 1000])
def test_there_are_never_more_than_asked_for(able: Callable[..., Able], limit: int) -> None:
    cells = able("abc", slow=1000.0, x264=0.1)
    chosen = _Choosing(cells, limit)
    count = sum(choice.pictures for choice in chosen.choices.values())
    assert count <= limit
    assert bool(chosen.choices) == (limit >= 2)
    if limit == 1000:
        assert count == 3 * 3 * (1 + 8) and list(_left_out(cells, chosen)) == []
