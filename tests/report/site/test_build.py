from __future__ import annotations

import html
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import StoreError, UnknownNameError, UsageError
from bench.records.cell import CellResult
from bench.report import build_report
from bench.report.site import section
from bench.results.result_set import ResultSet

Curve = Callable[..., list[CellResult]]
Report = Callable[..., Path]
SiteData = Callable[[Path, str], Any]


def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def method(folder: Path) -> str:
    return (folder / "method.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("forks", [1, 2])
def test_equal_results_give_equal_files(
    usual: list[CellResult], usual_report: Path, report: Report, monkeypatch: pytest.MonkeyPatch, forks: int
) -> None:
    if forks > 1:
        monkeypatch.setattr(section, "FEW_MEASUREMENTS", 0)
        monkeypatch.setattr("bench.core.forks.cpu_count", lambda: forks)
    again = report(usual)
    names = sorted(path.relative_to(usual_report) for path in usual_report.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert (again / name).read_bytes() == (usual_report / name).read_bytes(), name


def test_only_the_metrics_asked_for(usual: list[CellResult], report: Report, site_data: SiteData) -> None:
    folder = report(usual, metrics=["ssim"])
    assert [metric["name"] for metric in site_data(folder, "index")["metrics"]] == ["ssim"]
    assert sorted(path.name for path in (folder / "data").glob("compare-*")) == ["compare-0-0.js"]
    assert "psnr_y" not in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")


def test_another_anchor(usual: list[CellResult], report: Report, site_data: SiteData) -> None:
    folder = report(usual, anchor="double", metrics=["psnr_y"])
    assert "<strong>double</strong>, as asked for" in method(folder)
    assert [codec["name"] for codec in site_data(folder, "index")["codecs"]] == ["double", "half", "x265"]
    assert "−75.00 %" in (folder / "tables" / "bd_rate.md").read_text(encoding="utf-8")


def test_without_x265_the_first_codec_is_the_anchor(curve: Curve, report: Report) -> None:
    folder = report([*curve("b"), *curve("a")])
    assert "<strong>a</strong>, the first codec by name" in method(folder)


def test_an_anchor_that_failed_everywhere_is_none(
    cell: Callable[..., CellResult], curve: Curve, report: Report
) -> None:
    folder = report([cell("x265", status="failed", message="no"), *curve("b"), *curve("a")])
    assert "<strong>a</strong>, the first codec by name" in method(folder)


@pytest.mark.parametrize(("key", "kind"), [("anchor", "codec"), ("metrics", "metric")])
def test_unknown_names(usual: list[CellResult], report: Report, key: str, kind: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown {kind} 'nope'"):
        report(usual, **{key: "nope" if key == "anchor" else ["nope"]})


def test_nothing_to_report(report: Report) -> None:
    with pytest.raises(UsageError, match="has no results to report"):
        report([])
    with pytest.raises(UsageError, match="is not JSON"):
        report([], problems=["cells/a.json: is not JSON"])


def test_a_folder_that_cannot_be_made(usual: list[CellResult], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        build_report(ResultSet((), usual), tmp_path / "file")


def test_one_codec_alone(curve: Curve, report: Report) -> None:
    folder = report([*curve("x264", "a"), *curve("x264", "b")])
    assert "here is only x264" in page(folder)
    assert "here is only x264" in (folder / "tables" / "bd_rate.md").read_text(encoding="utf-8")
    assert "x264, a codec of the tests" in method(folder)


def test_one_sequence_has_no_interval(curve: Curve, report: Report, site_data: SiteData) -> None:
    folder = report([*curve("x265"), *curve("b", scale=0.5)])
    compared = site_data(folder, "compare-0-0")
    assert compared["quality"]["low"][0][1] is None
    reason = compared["texts"][compared["quality"]["interval"][0][1]]
    assert reason == "an interval needs at least 3 sequences, there is 1"


def test_no_cell_that_ended_well(cell: Callable[..., CellResult], report: Report, site_data: SiteData) -> None:
    folder = report(
        [cell("x265", 22, status="failed", message="broken"), cell("b", 22, status="skipped", message="odd")]
    )
    assert "No cell succeeded" in page(folder)
    assert {"timeout: broken", "timeout: odd"} <= set(site_data(folder, "gaps")["texts"])


def test_a_cell_without_any_measurement(cell: Callable[..., CellResult], report: Report) -> None:
    folder = report([cell("x265", 22)])
    assert "No metric was measured" in method(folder)


def test_a_codec_that_lacks_a_sequence_does_not_shift_the_means(
    curve: Curve, report: Report, site_data: SiteData
) -> None:
    folder = report([*curve("x265", "a"), *curve("x265", "b"), *curve("y", "a")])
    told = "Mean curves over 1 of 2 sequences (a), those on which every codec shown has all of its rate points"
    assert told in site_data(folder, "compare-0-0")["curvesOver"]
    assert "another codec lacks it" in (folder / "tables" / "excluded.csv").read_text(encoding="utf-8")


def test_codecs_without_a_common_sequence(curve: Curve, report: Report, site_data: SiteData) -> None:
    folder = report([*curve("x265", "a"), *curve("y", "b")])
    compared = site_data(folder, "compare-0-0")
    assert "Not drawn, because these sequences are missing: y." in compared["curvesOver"]
    reason = compared["texts"][compared["quality"]["reason"][0][1]]
    assert reason == "y: not measured (1 sequence); x265: not measured (1 sequence)"


def test_a_codec_with_few_sequences_does_not_take_the_others_away(
    curve: Curve, report: Report, site_data: SiteData
) -> None:
    cells = [cell for codec in ("x265", "y") for name in "abc" for cell in curve(codec, name)]
    folder = report([*cells, *curve("z", "a")])
    over = site_data(folder, "compare-0-0")["curvesOver"]
    assert "Mean curves over 3 sequences (a, b, c)." in over
    assert "Not drawn, because these sequences are missing: z." in over
    assert "z,,set,a,psnr_y,left out" in (folder / "tables" / "excluded.csv").read_text(encoding="utf-8")


def test_long_reasons_are_whole_in_the_csv_and_short_in_the_table(
    cell: Callable[..., CellResult], curve: Curve, report: Report
) -> None:
    long = "the encoder said: " + "x" * 500
    folder = report([*curve("x265"), cell("y", 22, status="failed", message=long)])
    assert long in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")
    assert long not in (folder / "tables" / "bd_rate.md").read_text(encoding="utf-8")


def test_several_datasets_are_apart_and_together(curve: Curve, report: Report, site_data: SiteData) -> None:
    cells = [*curve("x265", "a", dataset="uvg"), *curve("x265", "b", dataset="mcl")]
    cells += [*curve("y", "a", dataset="uvg", scale=0.5), *curve("y", "b", dataset="mcl", scale=2)]
    folder = report(cells)
    index = site_data(folder, "index")
    assert [scope["label"] for scope in index["scopes"]] == ["mcl", "uvg", "all datasets"]
    values = [site_data(folder, f"compare-{number}-0")["quality"]["value"][0][1] for number in range(3)]
    assert values == pytest.approx([100, -50, 25], abs=0.01)


def test_a_codec_missing_on_one_dataset(curve: Curve, report: Report, site_data: SiteData) -> None:
    folder = report([*curve("x265", "a", dataset="uvg"), *curve("y", "a", dataset="uvg"), *curve("y", dataset="mcl")])
    compared = site_data(folder, "compare-0-0")
    assert compared["texts"][compared["quality"]["reason"][0][1]] == "x265: not measured (1 sequence)"
    assert "x265: has no result on mcl" in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")


def test_a_metric_that_is_not_installed_is_drawn_but_not_compared(
    curve: Curve, report: Report, site_data: SiteData
) -> None:
    folder = report([*curve("x265", metrics=("of_a_plugin",)), *curve("y", metrics=("of_a_plugin",))])
    assert "of_a_plugin is not installed here" in page(folder)
    compared = site_data(folder, "compare-0-0")
    assert len(compared["curves"]) == 2 and "quality" not in compared
    assert "undefined" in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")


def test_a_metric_on_some_cells_only(curve: Curve, report: Report, site_data: SiteData) -> None:
    folder = report([*curve("x265", metrics=("psnr_y", "ssim")), *curve("y", metrics=("psnr_y",))])
    compared = site_data(folder, "compare-0-1")
    assert compared["texts"][compared["quality"]["reason"][0][1]] == "y: not measured (1 sequence)"


def test_loading_the_package_draws_nothing() -> None:
    code = (
        "import sys, bench.report; print([m for m in ('matplotlib', 'pandas', 'jinja2', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_partial_flagged_or_undefined_is_said_first(doubtful_report: Path, usual_report: Path) -> None:
    text = " ".join(html.unescape(page(doubtful_report)).split())
    assert "2 of 8 overall BD-rates against x265 are undefined; each gives its reason." in text
    assert (
        "6 of 8 overall BD-rates are partial: a mean over some of the sequences only (mark p, with the count)" in text
    )
    assert "less than 75 % of the anchor's curve is compared (mark o, 2 values)" in text
    assert "vcbench run --rates auto" in text
    assert "overall BD-rate" not in page(usual_report)


def test_pages_have_the_doubts(doubtful_report: Path, site_data: SiteData) -> None:
    index = site_data(doubtful_report, "index")
    codec = {one["name"]: number for number, one in enumerate(index["codecs"])}
    compared = site_data(doubtful_report, "compare-0-0")
    table = compared["quality"]

    def marked(test: str) -> str:
        bits = table["flags"][0][codec[test]]
        return "".join(flag["mark"] for bit, flag in enumerate(index["flags"]) if bits >> bit & 1)

    assert {name: marked(name) for name in codec} == {"x265": "", "part": "p", "near": "op", "far": "", "few": "p"}
    assert {name: table["apart"][0][number] for name, number in codec.items() if name not in ("x265", "far")} == {
        "part": 0,
        "near": 0,
        "few": 1,
    }
    near = codec["near"]
    assert (table["used"][0][near], table["total"][0][near]) == (3, 4)
    assert table["spread"][0][near] == pytest.approx([-87.5, -87.5])
    assert table["compared"][0][near] == pytest.approx([38, 40], abs=0.01)
    assert table["reason"][0][near] is not None and table["reason"][0][codec["far"]] is not None
    own = compared["qualitySequences"][0]
    assert (own["ends"][0], own["ends"][near]) == (pytest.approx([34, 40]), pytest.approx([38, 44]))


def test_ssim_is_in_db_on_curves_and_linear_in_cells(doubtful_report: Path, site_data: SiteData) -> None:
    (ssim,) = (one for one in site_data(doubtful_report, "index")["metrics"] if one["name"] == "ssim")
    assert (ssim["unit"], ssim["axisUnit"], ssim["scale"]) == ("", "dB", "db")
    compared = site_data(doubtful_report, "compare-0-1")
    curve = next(points for number, points in compared["curves"] if number == 0)
    assert [quality for _, quality, _ in curve] == pytest.approx([34, 36, 38, 40], abs=1e-3)
    assert "SSIM of luma is drawn in dB" in compared["curvesOver"]
    cells = site_data(doubtful_report, "sequence-0")["cells"]
    values = [cell["values"][1] for cell in cells if cell["codec"] == 0]
    assert [-10 * math.log10(1 - value) for value in values] == pytest.approx([40, 38, 36, 34], abs=1e-6)


def test_a_least_overlap_is_asked_for(doubtful: list[CellResult], report: Report, site_data: SiteData) -> None:
    folder = report(doubtful, min_overlap=0.75, metrics=["psnr_y"])
    codecs = [codec["name"] for codec in site_data(folder, "index")["codecs"]]
    compared = site_data(folder, "compare-0-0")
    near = codecs.index("near")
    assert compared["quality"]["value"][0][near] is None
    assert "is under the 75 % asked for" in compared["texts"][compared["quality"]["reason"][0][near]]
    table = (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")
    assert "overlap 33.3 % is under the 75 % asked for" in table
    assert "less than 75 % of the anchor's curve has no value here" in " ".join(html.unescape(method(folder)).split())
    with pytest.raises(UsageError, match="min_overlap is 75; give a share"):
        report(doubtful, min_overlap=75, name="refused")


def test_what_networks_multiply_is_among_the_costs_where_it_was_counted(
    curve: Curve, report: Report, site_data: SiteData
) -> None:
    """Five thousand multiply-accumulates per pixel of ten frames of 352x288."""
    counted = [
        one.model_copy(
            update={
                "decode": one.decode.model_copy(update={"macs": 352 * 288 * 10 * 5000}) if one.decode else None,
                "parameters": 840_000,
            }
        )
        for one in curve("learned")
    ]
    (costs,) = site_data(report([*curve("x265"), *counted]), "index")["costs"]
    values = {column["title"]: column["values"] for column in costs}
    assert (values["Decoder, kMAC/pixel"], values["Parameters, M"]) == ([None, 5.0], [None, 0.84])
    assert values["Encoding, s/frame"] == [0.2, 0.2]
    assert not {"Encoder, kMAC/pixel", "Encoding, J/frame"} & set(values)
