from __future__ import annotations

from collections.abc import Callable

from bench.analysis.identity import told_apart
from bench.records.cell import CellResult

Cell = Callable[..., CellResult]


def test_usual_cells_stay_as_they_are(usual: list[CellResult]) -> None:
    assert told_apart(usual) == (usual, [])


def test_two_versions_of_a_codec_are_two_codecs(cell: Cell) -> None:
    cells, notes = told_apart([cell(tool={"ffmpeg": "7"}), cell(tool={"ffmpeg": "8"}), cell("y")])
    assert [c.codec.name for c in cells] == ["x265 #1", "x265 #2", "y"]
    assert len(notes) == 1 and "x265 #1" in notes[0]


def test_versions_that_share_no_rate_point_are_noted(cell: Cell) -> None:
    cells, notes = told_apart([cell(rate=22, tool={"ffmpeg": "7"}), cell(rate=27, tool={"ffmpeg": "8"})])
    assert [c.codec.name for c in cells] == ["x265", "x265"]
    assert notes == ["The results of x265 come from 2 different cards or tool versions."]


def test_another_title_or_list_of_rates_makes_no_other_codec(cell: Cell) -> None:
    cards = [{"adapter": "ffmpeg", "title": title, "rates": {"values": [1]}} for title in ("a", "b")]
    cells, notes = told_apart([cell(card=cards[0]), cell(rate=27, card=cards[1])])
    assert [c.codec.name for c in cells] == ["x265", "x265"] and notes == []


def test_sequences_of_other_bytes_are_other_sequences(cell: Cell) -> None:
    cells, notes = told_apart([cell(), cell("y", sha256="c" * 64)])
    assert [c.sequence.name for c in cells] == ["clip (SHA-256 aaaaaaaa)", "clip (SHA-256 cccccccc)"]
    assert len(notes) == 1


def test_sequences_are_told_apart_by_what_differs(cell: Cell) -> None:
    cells, _ = told_apart([cell(frames=10), cell(frames=20)])
    assert [c.sequence.name for c in cells] == ["clip (frames 0 to 9)", "clip (frames 0 to 19)"]


def test_equal_names_in_two_datasets_are_no_clash(cell: Cell) -> None:
    cells = [cell(dataset="a"), cell(dataset="b", sha256="c" * 64)]
    assert told_apart(cells) == (cells, [])
