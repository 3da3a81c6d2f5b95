"""Leaderboards: known ranks, ties, and everything that is not comparable left out with its reason."""

from __future__ import annotations

import csv
import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.files import hash_file
from bench.engine.verify.cells import Check, CheckedCell
from bench.engine.verify.records import write_record
from bench.errors import StoreError, UnknownNameError, UsageError
from bench.records.cell import CellResult
from bench.records.published import committed, read_published, write_published
from bench.report.board.leaderboard import BoardOptions, Leaderboard, build_leaderboard
from bench.report.board.page import write_leaderboard
from bench.report.measured import Measured
from bench.results.result_set import load

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize(("protocol", "said"), [("dcvc", True), ("jvet-ra", False), (None, False)])
def test_a_convention_of_mean_curves_is_named_where_ranks_do_not_follow_it(
    submit: Submit, codec: Any, protocol: str | None, said: bool
) -> None:
    how = {"provenance": {"vcbench": "0.1.0", "protocol": protocol}} if protocol else {}
    found = board([submit("ours", [*codec("x265", **how), *codec("half", 0.5, **how)])])
    assert ("BD-rate of the mean curves" in found.rule) is said
    assert rows(found)["half"].bd_rate_percent == pytest.approx(-50, abs=0.1)


def test_what_the_interval_cannot_tell_is_a_tie(submit: Submit, codec: Any) -> None:
    mixed = codec("mixed", [0.8, 1.3, 0.7, 1.25, 1.0])
    found = rows(board([submit("a", [*codec("x265"), *mixed, *codec("half", 0.5)])]))
    assert (found["half"].rank, found["mixed"].rank, found["x265"].rank) == (1, 2, 2)
    assert found["mixed"].ties == ("x265",) and found["x265"].ties == ("mixed",)


def test_leaving_out_a_sequence_earns_nothing_and_is_named(submit: Submit, codec: Any) -> None:
    """Left out is the sequence on which it would lose; nobody is ranked on it then."""
    a = submit("a", [*codec("x265"), *codec("whole", [0.3, 0.3, 0.3, 0.3, 0.9])])
    found = board([a, submit("b", codec("partial", 0.3, SEQUENCES[:4]))])
    whole, partial = rows(found)["whole"], rows(found)["partial"]
    assert (whole.rank, partial.rank, partial.ties) == (1, 1, ("whole",))
    assert whole.bd_rate_percent == partial.bd_rate_percent == pytest.approx(-70, abs=0.2)
    assert (whole.sequences_used, whole.sequences_total, whole.flags) == (4, 5, ("partial",))
    (one,) = found.boards
    assert one.ranked_on == SEQUENCES[:4]
    assert one.notes == (
        "Ranked on 4 of 5 sequences, those on which every ranked entry has a BD-rate.",
        "partial has none on elk: partial: not measured",
    )


def test_an_entry_that_lacks_most_sequences_takes_none_from_the_others(submit: Submit, codec: Any) -> None:
    a = submit("a", [*codec("x265"), *codec("whole", 0.5)])
    found = rows(board([a, submit("b", codec("rare", 0.3, SEQUENCES[:2]))]))
    assert (found["whole"].rank, found["whole"].sequences_used, found["whole"].flags) == (1, 5, ())
    assert found["rare"].rank is None
    assert "a BD-rate on only 2 of the 5 sequences that the others share (crew: rare: not measured" in (
        found["rare"].remark
    )


def test_a_doubtful_value_is_ranked_with_its_mark(submit: Submit, codec: Any, tmp_path: Path) -> None:
    """VVenC was left out for 74 % of overlap on one clip."""
    found = board([submit("a", [*codec("x265"), *codec("shifted", 0.5, shift=2.0)])])
    row = rows(found)["shifted"]
    assert (row.rank, row.flags) == (1, ("little_overlap",))
    (withheld,) = board([tmp_path / "a"], min_overlap=0.75).boards
    assert [row.bd_rate_percent for row in withheld.rows if row.entry == "shifted"] == [None]
    page = write_leaderboard(found, tmp_path / "board").read_text()
    assert "% o</td>" in page
    assert "o: less than 75 % of the anchor&#39;s curve is compared" in page
    assert "% o |" in (tmp_path / "board" / "leaderboard.md").read_text()


def test_other_frames_of_a_sequence_are_refused(submit: Submit, codec: Any) -> None:
    a = submit("a", codec("x265"))
    b = submit("b", [*codec("cut", 0.5, SEQUENCES[:1], frames=5), *codec("cut", 0.5, SEQUENCES[1:])])
    found = board([a, b])
    assert rows(found)["cut"].sequences_used == 4
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


def test_nothing_of_one_submission_enters_the_curve_of_another(submit: Submit, codec: Any) -> None:
    """The keeper has three sequences; a stranger brings more of the anchor, worse than it is, to look better by it."""
    ours = submit("ours", [*codec("x265", sequences=SEQUENCES[:3]), *codec("half", 0.5, SEQUENCES[:3])])
    padded = submit("theirs", [*codec("x265", 4.0, SEQUENCES[3:]), *codec("half", 0.1, SEQUENCES[3:])])
    found = board([ours, padded])
    assert rows(found)["ours:half"].bd_rate_percent == pytest.approx(-50, abs=0.1)
    assert rows(found)["ours:half"].sequences_total == 3
    assert "theirs:half" not in rows(found)
    assert "theirs / theirs:half on set, duck / ours:x265 was not run on it" in reasons(found)


def test_what_a_submission_repeats_of_an_earlier_one_counts_once(submit: Submit, codec: Any) -> None:
    a = submit("a", [*codec("x265"), *codec("half", 0.5)])
    found = board([a, submit("b", [*codec("x265", sequences=SEQUENCES[:2]), *codec("good", 0.7)])])
    assert list(rows(found)) == ["half", "good", "x265"]
    assert "b / x265 / has the same bitstreams and values as x265 of a, and counts once" in reasons(found)


def test_the_anchor_is_that_of_the_first_folder_unless_another_is_named(submit: Submit, codec: Any) -> None:
    a, b = submit("a", codec("x265")), submit("b", codec("x265", 0.5, tool={"ffmpeg": "9"}))
    assert rows(board([a, b]))["b:x265"].bd_rate_percent == pytest.approx(-50, abs=0.1)
    assert board([a, b], anchor="a:x265").anchor == "a:x265"
    assert rows(board([a, b], anchor="a:x265"))["b:x265"].submission == "b"
    assert rows(board([a, b], anchor="b:x265"))["a:x265"].bd_rate_percent == pytest.approx(100, abs=0.1)
    with pytest.raises(UsageError, match=r"half is not in the first folder, a; .* or give one of c:half as anchor"):
        board([a, submit("c", codec("half", 0.5))], anchor="half")
    next((a / "bitstreams").iterdir()).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"a: is the first folder, which holds the anchor: .* not the file"):
        board([a, b])


def test_the_best_of_several_tools_or_tries_has_no_rank(submit: Submit, codec: Any) -> None:
    a = submit("a", codec("x265"))
    two_tools = [*codec("tools", 0.5, SEQUENCES[:2]), *codec("tools", 0.5, SEQUENCES[2:], tool={"ffmpeg": "9"})]
    tries = [*codec("tries", 0.5), *codec("tries", 0.4, SEQUENCES[:1], provenance={"cpu": "b"})]
    again = [c.model_copy(update={"name": c.name + "-2", "key": "f" * 64}) for c in tries[-1:]]
    found = rows(board([a, submit("b", [*two_tools, *tries, *again])]))
    assert (found["tools"].rank, found["tries"].rank) == (None, None)
    assert "come from 2 different cards or tool versions" in found["tools"].remark
    assert "several results for one rate point: akiyo at 37" in found["tries"].remark


def test_the_rate_kind_is_that_of_the_card_here(submit: Submit, codec: Any) -> None:
    cells = [c.model_copy(update={"estimated_bits": 8}) for c in codec("x264", rate_kind="estimate")]
    row = rows(board([submit("a", codec("x265")), submit("b", cells)], rank_estimates=True))["x264"]
    assert row.rank is None
    assert "its rate kind is estimate in its results, bitstream by the card here" in row.remark


def record(records: Path, folder: Path, *, only: int | None = None, **outcomes: str) -> None:
    """Writes what `vcbench verify --metrics --record` would; all equal but `outcomes`."""
    cells = load(folder).cells[:only]
    whats = {"bitstream": "equal", "rate": "equal", "frames": "equal", "source": "equal", "psnr_y": "equal", **outcomes}
    found = [CheckedCell(c.name, tuple(Check(w, o, reason="why") for w, o in whats.items())) for c in cells]
    write_record(records, folder, cells, found, by="K. Eeper", sandbox="bubblewrap")


def test_with_records_only_what_is_verified_whole_is_ranked(submit: Submit, codec: Any, tmp_path: Path) -> None:
    a, records = submit("a", codec("x265")), tmp_path / "records"
    names = ("honest", "part", "lie", "unmeasured", "unheard", "edited")
    made = {name: submit(name, codec(name, 0.5)) for name in names}
    record(records, made["honest"], encode="equal", encode_s="claimed")
    record(records, made["part"], only=3)
    record(records, made["lie"], only=1, psnr_y="different")
    record(records, made["unmeasured"], psnr_y="unchecked")
    record(records, made["edited"])
    for path in (made["edited"] / "cells").iterdir():
        path.write_text(path.read_text().replace('"seconds":2.0', '"seconds":1.0'))
    found = board([a, *made.values()], records=records)
    row = rows(found)
    assert found.recorded
    assert {name for name in names if row[name].rank is not None} == {"honest"}
    assert (row["honest"].verified, row["honest"].points, row["honest"].encoded) == (20, 20, 20)
    assert "as claimed" not in (row["honest"].remark or "")
    record(records, made["unheard"])
    later = rows(board([a, made["unheard"]], records=records))["unheard"]
    assert later.rank == 1 and "which encoder made its bitstreams is as claimed" in later.remark
    assert row["x265"].rank == 2 and row["lie"].bd_rate_percent == pytest.approx(-50, abs=0.1)
    assert "3 of 20 points are verified (17 have no record" in row["part"].remark
    assert "verification found a difference in lie_" in row["lie"].remark and "(psnr_y: why)" in row["lie"].remark
    assert "20 could not be checked by psnr_y in full" in row["unmeasured"].remark
    assert "0 of 20 points are verified" in row["unheard"].remark and "changed after" in row["edited"].remark
    assert rows(board([a, *made.values()]))["lie"].rank == 1  # without records all is as claimed, and the page says so
    page = write_leaderboard(found, tmp_path / "out").read_text()
    assert ">20 of 20</td>" in page and "keeper&#39;s own" in page and "Nothing on this page was verified" not in page
    assert re.search(r"20 of 20 points, \d{4}-\d\d-\d\d by K. Eeper, vcbench .*, in the sandbox \(bubblewrap\)", page)


def test_records_are_never_kept_in_the_submission(submit: Submit, codec: Any, tmp_path: Path) -> None:
    b = submit("b", codec("half", 0.5))
    for inside in (b / "records", b):
        with pytest.raises(UsageError, match="is inside the submission"):
            record(inside, b)
    record(tmp_path / "r", b)
    (tmp_path / "r" / "other.json").write_text('{"record_version": 2}')
    with pytest.raises(StoreError, match="is not a record of vcbench verify"):
        board([submit("a", codec("x265")), b], records=tmp_path / "r")


def test_the_page_has_what_an_entry_is_made_of(submit: Submit, codec: Any, tmp_path: Path) -> None:
    cells = codec("half", [0.5, 0.4, 0.6, 0.5, 0.5], provenance={"started": "2026-11-28T10:00:00+00:00"})
    found = board([submit("a", codec("x265")), submit("b", cells)], title="Codecs & <people>")
    page = write_leaderboard(found, tmp_path / "out").read_text()
    assert "<h1>Codecs &amp; &lt;people&gt;</h1>" in page and page.count("<polyline") == 3
    assert "2026-11-28" in page and "−60.00 %" in page and ">0.2</td>" in page
    assert "Nothing on this page was verified" in page
    own = rows(found)["half"].details
    assert [round(item.bd_rate_percent) for item in own.per_sequence] == [-50, -60, -40, -50, -50]
    assert [point.rate for point in own.curve] == ["37", "32", "27", "22"]
    assert (own.encode_ratio, own.encode_s_per_frame, own.timing) == (pytest.approx(1), pytest.approx(0.2), "alone")


def test_estimates_are_ranked_only_when_asked(submit: Submit, codec: Any) -> None:
    a = submit("a", [*codec("x265"), *codec("guess", 0.5, rate_kind="estimate")])
    assert (rows(board([a]))["guess"].rank, rows(board([a]))["guess"].rate_kind) == (None, "estimated")
    assert rows(board([a], rank_estimates=True))["guess"].rank == 1


def test_published_curves_are_ranked_only_when_asked(submit: Submit, codec: Any, tmp_path: Path) -> None:
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
    (tmp_path / "records").mkdir()
    found = rows(board([a, tmp_path / "paper"], mix_published=True, records=tmp_path / "records"))["diff-sit:half"]
    assert found.rank is None and "a curve from a paper cannot be verified" in found.remark


def test_what_cannot_be_ranked_against_is_refused(submit: Submit, codec: Any, tmp_path: Path) -> None:
    a = submit("a", codec("x265"))
    with pytest.raises(UnknownNameError, match="unknown anchor 'x266'"):
        board([a], anchor="x266")
    with pytest.raises(UnknownNameError, match="unknown metric of x265 'ssim'"):
        board([a], metrics=["ssim"])
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name a folder"):
        write_leaderboard(board([a]), tmp_path / "file" / "x")


def test_entries_are_shown_with_their_presets_as_in_reports(submit: Submit, codec: Any, tmp_path: Path) -> None:
    def titled(preset: str, cells: list[CellResult]) -> list[CellResult]:
        title = f"an encoder, preset {preset}, constant QP"
        return [c.model_copy(update={"codec": c.codec.model_copy(update={"title": title})}) for c in cells]

    a = submit("a", [*titled("medium", codec("x265")), *titled("slow", codec("vvenc", 0.5)), *codec("plain", 0.5)])
    b = submit(
        "b",
        [
            *titled("12", codec("vvenc", [0.4, 0.6, 0.5, 0.5], SEQUENCES[:4])),
            *titled("8", codec("svt", dataset="other")),
        ],
    )
    found = board([a, b])
    shown = Measured.of(load(a)).labels
    assert shown == {"x265": "x265 (preset medium)", "vvenc": "vvenc (preset slow)", "plain": "plain"}
    assert found.anchor == "x265" and found.title == "Leaderboard against x265 (preset medium)"
    assert found.rule.startswith("Ranked by BD-rate against x265 (preset medium):")
    assert set(rows(found)) == {"x265", "plain", "a:vvenc", "b:vvenc"}
    assert "b:vvenc (preset 12) has none on elk" in found.boards[0].notes[-1]
    assert "b / svt (preset 8) on other / x265 (preset medium) was not run on it" in reasons(found)
    page = write_leaderboard(found, tmp_path / "out").read_text()
    markdown = (tmp_path / "out" / "leaderboard.md").read_text()
    for label in ("x265 (preset medium)", "a:vvenc (preset slow)", "b:vvenc (preset 12)", "plain"):
        assert f">{label}</a></th>" in page and f"<summary>{label}:" in page and f"| {label} |" in markdown
    ties = "a:vvenc (preset slow), b:vvenc (preset 12)"
    assert f">{ties}</td>" in page.replace(" long", "") and f"| {ties} |" in markdown
    assert "grey: x265 (preset medium)." in page
    (row,) = [row for row in rows(found).values() if row.entry == "plain"]
    assert row.ties == ("a:vvenc", "b:vvenc")


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
    assert not [tag for tag, _ in tags if tag in {"link", "img", "iframe"}]
    assert [tag for tag, _ in tags].count("script") == 1
    (policy,) = [a["content"] or "" for tag, a in tags if tag == "meta" and "http-equiv" in a]
    script = re.search(r"<script>(.*?)</script>", page.read_text(), re.DOTALL)
    assert script is not None
    assert f"'sha256-{b64encode(sha256(script[1].encode()).digest()).decode()}'" in policy
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
