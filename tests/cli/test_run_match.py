"""Rate points are searched by real encodes, through the store."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import bench
from bench.errors import UnknownNameError, UsageError

pytestmark = pytest.mark.slow

CARDS = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory, tiny_clip) -> Path:
    """x264 by CRF at x265's four rates, with two metrics."""
    folder = tmp_path_factory.mktemp("matched") / "set"
    bench.run(
        ["x265", "x264-crf"],
        **{"inputs": tiny_clip(96, 80, noise=4), "metrics": ["psnr_y", "ssim"], "paths": CARDS},
        match_rate="x265",
        out=folder,
    )
    return folder


def test_each_rate_of_the_anchor_is_met(matched: Path) -> None:
    table = bench.load(matched).at_rate(anchor="x265", metrics=["psnr_y"])
    pairs = table[table["codec"] == "x264-crf"]
    assert len(pairs) == 4
    assert (pairs["distance"].abs() <= 0.02).all()
    assert pairs["psnr_y"].notna().all()
    own = table[table["codec"] == "x265"]
    assert own["distance"].abs().max() == pytest.approx(0)


def test_only_the_nearest_cells_are_measured(matched: Path) -> None:
    cells = [cell for cell in bench.load(matched).cells if cell.codec.name == "x264-crf"]
    with_metrics = [cell for cell in cells if cell.measurements]
    assert {cell.status for cell in cells} == {"ok"}
    assert 4 == len(with_metrics) < len(cells) <= 2 + 3 * 4
    assert all({"psnr_y", "ssim"} == set(cell.measurements) for cell in with_metrics)


def test_the_same_search_again_encodes_nothing(matched: Path, tiny_clip) -> None:
    before = {path: path.stat().st_mtime_ns for path in (matched / "cells").iterdir()}
    bench.run(
        ["x265", "x264-crf"],
        **{"inputs": tiny_clip(96, 80, noise=4), "metrics": ["psnr_y", "ssim"], "paths": CARDS},
        match_rate="x265",
        out=matched,
    )
    assert {path: path.stat().st_mtime_ns for path in (matched / "cells").iterdir()} == before


def test_an_anchor_of_the_result_folder(vcbench, matched: Path, tiny_clip) -> None:
    words = ("run", "--codecs", "x264", "--input", tiny_clip(96, 80, noise=4), "--metrics", "psnr_y", "--json")
    done = vcbench(*words, "--match-rate", "x265", "--out", matched, "-j", "1")
    assert done.code == 0
    found = done.json["matches"]
    assert [item["codec"] for item in found] == ["x264"] * 4
    for item in found:
        assert item["distance"] == pytest.approx(item["reached"] / item["target"] - 1)
        assert item["status"] == "reached" or "either side" in item["reason"]
    assert found[0]["encodes"] <= 2 + 3 * 4
    other = vcbench(*words, "--match-rate", "x266", "--out", matched, "-j", "1")
    assert other.code == 4
    assert "unknown anchor" in other.err
    frames = vcbench(*words, "--match-rate", "x265", "--out", matched, "-j", "1", "--frames", "3")
    assert frames.code == 4
    assert "not measured there on these clips and frames" in frames.err


def test_given_rates_are_met_by_every_codec(vcbench, tmp_path: Path, tiny_clip) -> None:
    words = ("run", "--codecs", "x264-crf", "--path", CARDS, "--input", tiny_clip(96, 80, noise=4))
    where = ("--metrics", "psnr_y", "--out", tmp_path / "set", "-j", "1")
    done = vcbench(*words, *where, "--target-bpp", "0.3,0.8,900", "--tolerance", "5%")
    assert done.code == 0
    assert "2 of 3 targets reached" in done.out
    assert "crf=0 is the end of its range" in done.out
    rows = vcbench("compare", tmp_path / "set", "--at-rate", "0.3,0.8", "--json").json
    assert [abs(row["distance"]) < 0.05 for row in rows] == [True, True]


def test_rates_auto_covers_the_anchors_range(vcbench, tmp_path: Path, tiny_clip) -> None:
    clip = tiny_clip(96, 80, noise=4)
    words = ("run", "--codecs", "x265,x264-crf", "--path", CARDS, "--input", clip, "--metrics", "psnr_y")
    done = vcbench(*words, "--rates", "auto", "--out", tmp_path / "set", "-j", "1", "--json")
    assert done.code == 0
    assert {item["quantity"] for item in done.json["matches"]} == {"psnr_y"}
    assert all(abs(item["distance"]) <= 0.05 for item in done.json["matches"])
    compared = vcbench("compare", tmp_path / "set", "--anchor", "x265", "--json").json[0]["bd_rate"]
    assert (compared["status"], compared["overlap"] > 0.8) == ("ok", True)


def test_a_codec_that_cannot_take_the_clip_is_told(vcbench, tmp_path: Path, tiny_clip) -> None:
    clip = tiny_clip(64, 64, pix_fmt="yuv444p")
    words = ("run", "--codecs", "x265,svt-av1", "--input", clip, "--metrics", "psnr_y", "--match-rate", "x265")
    done = vcbench(*words, "--rates", "30,40", "--out", tmp_path / "set", "-j", "1", "--json")
    assert done.code == 0
    assert done.json["cells"] == {"ok": 2, "failed": 0, "skipped": 1}
    assert {(item["status"], item["value"], item["reason"]) for item in done.json["matches"]} == {
        ("none", None, "skipped: chroma")
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"match_rate": "x265", "target_bpp": [0.1]}, "leave --match-rate and --rates out"),
        ({"target_bpp": [0.1], "rates": (22,)}, "leave --match-rate and --rates out"),
        ({"target_bpp": [0.0]}, "0 is not a rate"),
        ({"target_bpp": [math.inf]}, "inf is not a rate"),
        ({"tolerance": 0.1}, "a tolerance is of a search"),
        ({"match_rate": "x265", "tolerance": 2.0}, "not a share"),
        ({"codecs": ["x265"], "match_rate": "x265"}, "names only the anchor"),
        ({"codecs": ["x265"], "rates": "auto"}, "names only the anchor"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bench.RunOptions(**{"codecs": ["x265", "x264"], "inputs": "clip.y4m", **settings})


def test_rates_in_words_are_refused_from_python(tmp_path: Path, tiny_clip) -> None:
    with pytest.raises(UsageError, match='give a list of numbers, or "auto"'):
        bench.run("x264", inputs=tiny_clip(), rates="22", out=tmp_path / "set")  # type: ignore[arg-type]


def test_what_cannot_be_searched_is_refused_before_any_work(vcbench, tmp_path: Path, tiny_clip) -> None:
    words = ("run", "--codecs", "x264,x265", "--input", tiny_clip(), "--out", tmp_path / "set", "-j", "1")
    for more, says in [
        (("--match-rate", "x264", "--dry-run"), "cannot show the cells of a search"),
        (("--match-rate", "vvenc", "--rates", "22"), "--codecs does not name it"),
        (("--match-rate", "x264", "--tolerance", "2"), "not a percentage such as 2%"),
        (("--match-rate", "x264", "--rates", "99"), "outside 1 to 51"),
    ]:
        done = vcbench(*words, *more)
        assert done.code == 4
        assert says in done.err
    assert not (tmp_path / "set").exists()


def test_pairs_at_equal_rate_refuse_what_is_not_there(vcbench, matched: Path) -> None:
    results = bench.load(matched)
    with pytest.raises(UnknownNameError, match="codec of these results"):
        results.at_rate(anchor="vvenc")
    with pytest.raises(UnknownNameError, match="metric"):
        results.at_rate([0.1], metrics=["vmaf"])
    with pytest.raises(UsageError, match="targets in bpp, or an anchor"):
        results.at_rate()
    with pytest.raises(UsageError, match="-1 is not a rate"):
        results.at_rate([-1.0])
    assert vcbench("compare", matched, "--at-rate", "anchor").code == 4
    assert "at equal rate" in vcbench("compare", matched, "--at-rate", "anchor", "--anchor", "x265").out


def test_other_frames_are_never_put_side_by_side(tmp_path: Path, tiny_clip) -> None:
    clip = tiny_clip(96, 80, noise=4)
    bench.run("x264", inputs=clip, metrics="psnr_y", rates=[30], out=tmp_path / "set")
    bench.run("x265", inputs=clip, metrics="psnr_y", rates=[30], frames=3, out=tmp_path / "set")
    rows = bench.load(tmp_path / "set").at_rate([0.5])
    assert sorted(zip(rows["codec"], rows["reason"].isna(), strict=True)) == [
        ("x264", False), ("x264", True), ("x265", False), ("x265", True),
    ]  # fmt: skip
