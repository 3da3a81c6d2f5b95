"""Leaderboards: known ranks, ties, and everything that is not comparable left out with its reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.digests import hash_file
from bench.errors import StoreError, UnknownNameError, UsageError
from bench.published import committed, read_published, write_published
from bench.report.leaderboard import BoardOptions, Leaderboard, build_leaderboard, write_leaderboard
from bench.results import CellResult

SEQUENCES = ("akiyo", "bus", "crew", "duck", "elk")
Submit = Callable[..., Path]


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    """Writes cells as a result set that `vcbench validate` accepts."""

    def write(name: str, cells: list[CellResult]) -> Path:
        folder = tmp_path / name
        for part in ("cells", "bitstreams", "frames"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for cell in cells:
            assert cell.bitstream is not None
            path = folder / "bitstreams" / f"{cell.name}.bin"
            path.write_bytes(bytes(cell.bitstream.bytes))
            record = cell.bitstream.model_copy(update={"file": path.name, "sha256": hash_file(path)})
            done = cell.model_copy(update={"bitstream": record})
            (folder / "cells" / f"{cell.name}.json").write_text(done.model_dump_json())
            pq.write_table(pa.table({"psnr_y": [30.0]}), folder / "frames" / f"{cell.name}.parquet")
        return folder

    return write


@pytest.fixture
def codec(curve: Any) -> Callable[..., list[CellResult]]:
    """Cells of a codec on the sequences; `scales` is its rate by sequence, as a factor of the anchor's."""

    def make(name: str, scales: float | list[float] = 1.0, sequences: Any = SEQUENCES, **more: Any) -> list[CellResult]:
        given = scales if isinstance(scales, list) else [scales] * len(sequences)
        return [
            cell for sequence, scale in zip(sequences, given, strict=True)
            for cell in curve(name, sequence, scale=scale / 100, **more)
        ]  # fmt: skip

    return make


def board(folders: list[Path], **options: Any) -> Leaderboard:
    return build_leaderboard(folders, BoardOptions(**{"anchor": "x265", **options}))


def rows(found: Leaderboard) -> dict[str, Any]:
    (one,) = found.boards
    return {row.entry: row for row in one.rows}


def reasons(found: Leaderboard) -> str:
    return "\n".join(f"{item.submission} / {item.what} / {item.reason}" for item in found.refused)


def test_known_rates_give_known_ranks(submit: Submit, codec: Any) -> None:
    ours = submit("ours", [*codec("x265"), *codec("half", 0.5)])
    theirs = submit("theirs", [*codec("double", 2.0), *codec("good", 0.8)])
    found = rows(board([ours, theirs]))
    assert [(name, row.rank) for name, row in found.items()] == [("half", 1), ("good", 2), ("x265", 3), ("double", 4)]
    assert found["half"].bd_rate_percent == pytest.approx(-50, abs=0.1)
    assert found["double"].bd_rate_percent == pytest.approx(100, abs=0.1)
    assert found["double"].submission == "theirs"
    assert found["x265"].bd_rate_percent == 0


def test_what_the_interval_cannot_tell_is_a_tie(submit: Submit, codec: Any) -> None:
    mixed = codec("mixed", [0.8, 1.3, 0.7, 1.25, 1.0])
    found = rows(board([submit("a", [*codec("x265"), *mixed, *codec("half", 0.5)])]))
    assert (found["half"].rank, found["mixed"].rank, found["x265"].rank) == (1, 2, 2)
    assert found["mixed"].ties == ("x265",) and found["x265"].ties == ("mixed",)


def test_leaving_out_a_sequence_earns_no_rank(submit: Submit, codec: Any) -> None:
    a = submit("a", codec("x265"))
    found = rows(board([a, submit("b", codec("partial", 0.3, SEQUENCES[:4]))]))
    assert found["partial"].rank is None
    assert found["partial"].bd_rate_percent == pytest.approx(-70, abs=0.2)
    assert "defined on 4 of 5 sequences (elk: partial: not measured)" in found["partial"].remark


def test_other_frames_of_a_sequence_are_refused(submit: Submit, codec: Any) -> None:
    a = submit("a", codec("x265"))
    b = submit("b", [*codec("cut", 0.5, SEQUENCES[:1], frames=5), *codec("cut", 0.5, SEQUENCES[1:])])
    found = board([a, b])
    assert rows(found)["cut"].rank is None
    assert "b / cut on set, akiyo / coded frames 0 to 4" in reasons(found)


def test_another_definition_of_a_metric_is_refused(submit: Submit, codec: Any) -> None:
    def redefined(cell: CellResult) -> CellResult:
        measured = {name: m.model_copy(update={"key": "e" * 64}) for name, m in cell.measurements.items()}
        return cell.model_copy(update={"measurements": measured})

    found = board([submit("a", codec("x265")), submit("b", [*map(redefined, codec("odd", 0.5))])])
    assert set(rows(found)) == {"x265"}
    assert "b / odd on set by psnr_y / its metric is defined otherwise" in reasons(found)


def test_datasets_and_metrics_that_the_anchor_lacks_are_told(submit: Submit, codec: Any) -> None:
    extra = [*codec("new", 0.5, metrics=("psnr_y", "ssim")), *codec("new", 0.5, dataset="elsewhere")]
    told = reasons(board([submit("a", codec("x265")), submit("b", extra)]))
    assert "b / new by ssim / x265 was not measured by it" in told
    assert "b / new on elsewhere / x265 was not run on it" in told


def test_a_submission_that_is_not_valid_is_refused_whole(submit: Submit, codec: Any) -> None:
    b = submit("b", codec("half", 0.5))
    next((b / "bitstreams").iterdir()).write_bytes(b"x")
    found = board([submit("a", codec("x265")), b])
    assert set(rows(found)) == {"x265"}
    (refusal,) = found.refused
    assert refusal.whole and "not the file that was measured" in refusal.reason


def test_one_codec_in_two_submissions_counts_once(submit: Submit, codec: Any) -> None:
    a = submit("a", codec("x265", sequences=SEQUENCES[:3]))
    b = submit("b", [*codec("x265"), *codec("half", 0.5)])
    found = board([a, b])
    assert rows(found)["half"].sequences_total == 5
    assert "b / x265 / is the codec of a" in reasons(found)


def test_an_anchor_that_was_run_differently_must_be_named(submit: Submit, codec: Any) -> None:
    a, b = submit("a", codec("x265")), submit("b", codec("x265", 0.5, tool={"ffmpeg": "9"}))
    with pytest.raises(UsageError, match="name one of a:x265, b:x265 as anchor"):
        board([a, b])
    found = rows(board([a, b], anchor="a:x265"))
    assert found["b:x265"].bd_rate_percent == pytest.approx(-50, abs=0.1)


def test_estimates_are_ranked_only_when_asked(submit: Submit, codec: Any) -> None:
    a = submit("a", [*codec("x265"), *codec("guess", 0.5, rate_kind="estimate")])
    assert (rows(board([a]))["guess"].rank, rows(board([a]))["guess"].rate_kind) == (None, "estimated")
    assert rows(board([a], rank_estimates=True))["guess"].rank == 1


def test_published_curves_are_ranked_only_when_asked(submit: Submit, codec: Any, tmp_path: Path) -> None:
    from bench.results import load

    a = submit("a", codec("x265"))
    published = read_published(committed()["diff-sit"])
    table = load(a).datasets("psnr_y").sort_values("bpp")
    points = [(rate / 2, value) for rate, value in zip(table.bpp, table.value, strict=True)]
    half = published.curves[0].model_copy(
        update={"codec": "half", "dataset": "set", "metric": "psnr_y", "points": tuple(points)}
    )
    write_published(tmp_path / "paper", published.model_copy(update={"curves": (half,)}))
    plain = rows(board([a, tmp_path / "paper"]))["diff-sit:half"]
    assert (plain.rank, plain.bd_rate_percent, plain.rate_kind) == (None, None, "published")
    assert "protocols differ" in plain.remark
    mixed = rows(board([a, tmp_path / "paper"], mix_published=True))["diff-sit:half"]
    assert mixed.rank == 1 and mixed.bd_rate_percent == pytest.approx(-50)
    assert "published, not measured" in mixed.remark and "by value alone" in mixed.remark


def test_what_cannot_be_ranked_against_is_refused(submit: Submit, codec: Any, tmp_path: Path) -> None:
    a = submit("a", codec("x265"))
    with pytest.raises(UnknownNameError, match="unknown anchor 'x266'"):
        board([a], anchor="x266")
    with pytest.raises(UnknownNameError, match="unknown metric of x265 'ssim'"):
        board([a], metrics=["ssim"])
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name a folder"):
        write_leaderboard(board([a]), tmp_path / "file" / "x")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_every_format_says_the_same_and_names_do_nothing(submit: Submit, codec: Any, tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", "=cmd|x", r"\input{a}|`b`")
    cells = [*codec("x265"), *(cell for n in range(len(names)) for cell in codec(f"codec{n}", 0.5 + n / 10))]
    found = board([submit("a", cells)])
    # no result file may have such names, and what shows them does not rely on it
    renamed = {f"codec{n}": name for n, name in enumerate(names)}
    rows_of = [tuple(replace(r, entry=renamed.get(r.entry, r.entry)) for r in b.rows) for b in found.boards]
    found = replace(found, boards=tuple(replace(b, rows=r) for b, r in zip(found.boards, rows_of, strict=True)))
    page = write_leaderboard(found, tmp_path / "out")
    tags = Page(page.read_text()).tags
    assert not [tag for tag, _ in tags if tag in {"script", "link", "img", "iframe"}]
    assert [a["href"] for tag, a in tags if tag == "a"].count("leaderboard.csv") == 1
    assert not [value for _, a in tags for value in a.values() if value and value.startswith("http")]
    data = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert [row["rank"] for row in data["boards"][0]["rows"]] == [1, 2, 3, 4]
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["rank"] for row in table] == ["1", "2", "3", "4"]
    assert [row["entry"] for row in table] == ["<script>alert(1)</script>", "'=cmd|x", names[2], "x265"]
    markdown = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "<script>" not in markdown and "\\|x" in markdown
