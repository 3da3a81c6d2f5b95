from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import StoreError, UnknownNameError, UsageError
from bench.report import build_report
from bench.results import CellResult, ResultSet

Curve = Callable[..., list[CellResult]]
Report = Callable[..., Path]


def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def figures(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "figures").iterdir())


def test_every_figure_is_there_in_three_formats(usual_report: Path) -> None:
    stems = ["psnr_y_mean", "psnr_y_sequences", "ssim_mean", "ssim_sequences"]
    assert figures(usual_report) == sorted(
        f"rd_set_{stem}.{suffix}" for stem in stems for suffix in ("pdf", "png", "svg")
    )
    for path in (usual_report / "figures").glob("*.svg"):
        ElementTree.parse(path)


def test_equal_results_give_equal_files(usual: list[CellResult], usual_report: Path, report: Report) -> None:
    again = report(usual)
    names = sorted(path.relative_to(usual_report) for path in usual_report.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert (again / name).read_bytes() == (usual_report / name).read_bytes(), name


def test_the_order_of_cells_does_not_matter_to_figures(
    usual: list[CellResult], usual_report: Path, report: Report
) -> None:
    again = report(usual[::-1], metrics=["psnr_y"])
    for path in (again / "figures").iterdir():
        assert path.read_bytes() == (usual_report / "figures" / path.name).read_bytes(), path.name


def test_only_the_metrics_asked_for(usual: list[CellResult], report: Report) -> None:
    folder = report(usual, metrics=["ssim"])
    assert all("ssim" in name for name in figures(folder))
    assert "psnr_y" not in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")


def test_figures_of_an_earlier_report_go(usual: list[CellResult], report: Report) -> None:
    folder = report(usual, metrics=["psnr_y"])
    own = folder / "figures" / "mine.svg"
    own.touch()
    report(usual, metrics=["ssim"])
    assert own.exists() and not [name for name in figures(folder) if "psnr_y" in name]


def test_another_anchor(usual: list[CellResult], report: Report) -> None:
    folder = report(usual, anchor="double", metrics=["psnr_y"])
    assert "Anchor: <strong>double</strong>, as asked for" in page(folder)
    assert "−75.00 %" in page(folder)


def test_without_x265_the_first_codec_is_the_anchor(curve: Curve, report: Report) -> None:
    folder = report([*curve("b"), *curve("a")])
    assert "Anchor: <strong>a</strong>, the first codec by name" in page(folder)


def test_an_anchor_that_failed_everywhere_is_none(
    cell: Callable[..., CellResult], curve: Curve, report: Report
) -> None:
    folder = report([cell("x265", status="failed", message="no"), *curve("b"), *curve("a")])
    assert "Anchor: <strong>a</strong>" in page(folder)


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
    assert len(figures(folder)) == 6
    assert "x264, a codec of the tests" in page(folder)


def test_one_sequence_has_one_figure_and_no_interval(curve: Curve, report: Report) -> None:
    folder = report([*curve("x265"), *curve("b", scale=0.5)])
    assert len(figures(folder)) == 3
    assert "no interval: an interval needs at least 3 sequences, there is 1" in page(folder)


def test_no_cell_that_ended_well(cell: Callable[..., CellResult], report: Report) -> None:
    folder = report(
        [cell("x265", 22, status="failed", message="broken"), cell("b", 22, status="skipped", message="odd")]
    )
    assert figures(folder) == []
    assert "No cell ended well" in page(folder) and "broken" in page(folder) and "odd" in page(folder)


def test_a_cell_without_any_measurement(cell: Callable[..., CellResult], report: Report) -> None:
    folder = report([cell("x265", 22)])
    assert "No metric was measured" in page(folder)


def test_a_codec_that_lacks_a_sequence_does_not_shift_the_means(curve: Curve, report: Report) -> None:
    folder = report([*curve("x265", "a"), *curve("x265", "b"), *curve("y", "a")])
    assert "mean curves over 1 of 2 sequences (a), those on which every codec shown has all of its rate points" in page(
        folder
    )
    assert "another codec lacks it" in (folder / "tables" / "excluded.csv").read_text(encoding="utf-8")


def test_codecs_without_a_common_sequence(curve: Curve, report: Report) -> None:
    folder = report([*curve("x265", "a"), *curve("y", "b")])
    assert "Not drawn, for want of these sequences: y." in page(folder)
    assert "y: not measured" in page(folder) and "x265: not measured" in page(folder)


def test_a_codec_with_few_sequences_does_not_take_the_others_away(curve: Curve, report: Report) -> None:
    cells = [cell for codec in ("x265", "y") for name in "abc" for cell in curve(codec, name)]
    folder = report([*cells, *curve("z", "a")])
    assert "mean curves over 3 sequences (a, b, c)." in page(folder)
    assert "Not drawn, for want of these sequences: z." in page(folder)
    assert "z,,set,a,psnr_y,left out" in (folder / "tables" / "excluded.csv").read_text(encoding="utf-8")


def test_long_reasons_are_whole_in_the_csv_and_short_in_the_table(
    cell: Callable[..., CellResult], curve: Curve, report: Report
) -> None:
    long = "the encoder said: " + "x" * 500
    folder = report([*curve("x265"), cell("y", 22, status="failed", message=long)])
    assert long in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")
    assert long not in (folder / "tables" / "bd_rate.md").read_text(encoding="utf-8")


def test_several_datasets_are_apart_and_together(curve: Curve, report: Report) -> None:
    cells = [*curve("x265", "a", dataset="uvg"), *curve("x265", "b", dataset="mcl")]
    cells += [*curve("y", "a", dataset="uvg", scale=0.5), *curve("y", "b", dataset="mcl", scale=2)]
    folder = report(cells)
    text = page(folder)
    assert all(f"BD-rate on {name}" in text for name in ("uvg", "mcl", "all datasets"))
    assert "−50.00 %" in text and "+100.00 %" in text and "+25.00 %" in text
    assert len(figures(folder)) == 6


def test_a_codec_missing_on_one_dataset(curve: Curve, report: Report) -> None:
    folder = report([*curve("x265", "a", dataset="uvg"), *curve("y", "a", dataset="uvg"), *curve("y", dataset="mcl")])
    assert "x265: has no result on mcl" in page(folder)


def test_a_metric_that_is_not_installed_is_drawn_but_not_compared(curve: Curve, report: Report) -> None:
    folder = report([*curve("x265", metrics=("of_a_plugin",)), *curve("y", metrics=("of_a_plugin",))])
    assert "of_a_plugin is not installed here" in page(folder)
    assert len(figures(folder)) == 3
    assert "undefined" in (folder / "tables" / "bd_rate.csv").read_text(encoding="utf-8")


def test_a_metric_on_some_cells_only(curve: Curve, report: Report) -> None:
    folder = report([*curve("x265", metrics=("psnr_y", "ssim")), *curve("y", metrics=("psnr_y",))])
    assert "y: not measured" in page(folder)


def test_many_sequences_are_drawn_in_parts(curve: Curve, report: Report) -> None:
    folder = report([cell for number in range(30) for cell in curve("x265", f"s{number:02}")], metrics=["psnr_y"])
    assert [name for name in figures(folder) if name.endswith("svg")] == [
        "rd_set_psnr_y_mean.svg",
        "rd_set_psnr_y_sequences-1.svg",
        "rd_set_psnr_y_sequences-2.svg",
    ]


def test_loading_the_package_draws_nothing() -> None:
    code = (
        "import sys, bench.report; print([m for m in ('matplotlib', 'pandas', 'jinja2', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
