from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.analysis.compare import compare
from bench.records.cell import CellResult
from bench.registry import metric_class
from bench.results.result_set import ResultSet


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | None:
    return None if text == "undefined" else float(text)


def test_bd_rates_are_those_of_the_construction(usual_report: Path) -> None:
    values = {(row["test"], row["metric"]): float(row["bd_rate_percent"]) for row in read(usual_report, "bd_rate.csv")}
    assert values == {
        ("half", "psnr_y"): pytest.approx(-50, abs=1e-9),
        ("double", "psnr_y"): pytest.approx(100, abs=1e-9),
        ("half", "ssim"): pytest.approx(-50, abs=1e-9),
        ("double", "ssim"): pytest.approx(100, abs=1e-9),
    }


@pytest.mark.parametrize("metric", ["psnr_y", "ssim"])
@pytest.mark.parametrize("test", ["half", "double"])
def test_every_number_is_that_of_the_analysis(
    usual: list[CellResult], usual_report: Path, test: str, metric: str
) -> None:
    kind = metric_class(metric)
    expected = compare(
        ResultSet((), usual).to_pandas(),
        "x265",
        test,
        metric,
        higher_is_better=kind.direction == "higher",
        cap=kind.cap,
        saturation=kind.saturation,
    )
    (row,) = (r for r in read(usual_report, "bd_rate.csv") if (r["test"], r["metric"]) == (test, metric))
    overall, mean, quality = expected.bd_rate, expected.bd_rates["mean-curve"], expected.bd_metric
    assert [
        number(row[column])
        for column in ("bd_rate_percent", "ci_low", "ci_high", "overlap", "bd_rate_mean_curve_percent", "bd_metric")
    ] == [overall.value, overall.interval.low, overall.interval.high, overall.overlap, mean.value, quality.value]
    assert (int(row["sequences_used"]), int(row["sequences_total"])) == (4, 4)
    assert (row["method"], row["convention"]) == (overall.method, overall.convention)
    rows = [r for r in read(usual_report, "bd_rate_sequences.csv") if (r["test"], r["metric"]) == (test, metric)]
    assert [(r["sequence"], number(r["bd_rate_percent"]), number(r["bd_metric"])) for r in rows] == [
        (r.sequence, r.bd_rate.value, r.bd_metric.value) for r in expected.per_sequence
    ]
    (speed,) = (r for r in read(usual_report, "speed.csv") if r["codec"] == test)
    assert number(speed["encode_ratio"]) == expected.encode.value
    assert number(speed["decode_ratio"]) == expected.decode.value


def test_speed(usual_report: Path) -> None:
    rows = {row["codec"]: row for row in read(usual_report, "speed.csv")}
    assert float(rows["half"]["encode_ratio"]) == pytest.approx(3)
    assert float(rows["double"]["encode_ratio"]) == pytest.approx(0.5)
    assert float(rows["half"]["encode_s_per_frame"]) == pytest.approx(0.6)
    assert rows["x265"]["encode_ratio"] == "1.0" and rows["x265"]["timing"] == "alone"


def test_times_under_load_are_marked(curve: Callable[..., list[CellResult]], report: Callable[..., Path]) -> None:
    folder = report([*curve("x265", timing="shared"), *curve("b")])
    assert {row["codec"]: row["timing"] for row in read(folder, "speed.csv")} == {"x265": "under load", "b": "alone"}
    assert "under load" in (folder / "tables" / "speed.md").read_text(encoding="utf-8")


def test_the_long_table_is_that_of_the_result_set(usual: list[CellResult], usual_report: Path) -> None:
    frame = ResultSet((), usual).to_pandas()
    rows = read(usual_report, "results.csv")
    assert list(rows[0]) == list(frame.columns)
    for column in ("value", "bpp", "kbps", "encode_s"):
        assert [float(row[column]) for row in rows] == list(frame[column])


def test_the_wide_table_has_one_row_a_cell(usual: list[CellResult], usual_report: Path) -> None:
    rows = read(usual_report, "rd.csv")
    assert [row["cell"] for row in rows] == [cell.name for cell in usual]
    assert [float(row["psnr_y"]) for row in rows] == [cell.measurements["psnr_y"].value for cell in usual]


def test_an_undefined_bd_rate_shows_its_reason(
    curve: Callable[..., list[CellResult]], report: Callable[..., Path]
) -> None:
    folder = report([*curve("x265"), *curve("far", shift=50.0)])
    for name in ("bd_rate.csv", "bd_rate_sequences.csv"):
        (row,) = read(folder, name)
        assert (row["bd_rate_percent"], row["status"]) == ("undefined", "undefined")
        assert "overlap 0 %" in row["reason"]
    assert {row["what"] for row in read(folder, "excluded.csv")} == {"BD-rate", "BD-rate overall"}
    for text in ("tables/bd_rate.md", "tables/bd_rate_sequences.md", "tables/excluded.md", "data/gaps.js"):
        content = (folder / text).read_text(encoding="utf-8")
        assert "undefined" in content and "overlap 0 %" in content, text


def test_no_interval_shows_its_reason(curve: Callable[..., list[CellResult]], report: Callable[..., Path]) -> None:
    folder = report([*curve("x265"), *curve("b", scale=0.5)])
    (row,) = read(folder, "bd_rate.csv")
    assert float(row["bd_rate_percent"]) == pytest.approx(-50)
    assert row["ci_low"] == "undefined" and "at least 3" in row["ci_reason"]
    assert "at least 3" in (folder / "tables" / "bd_rate.md").read_text(encoding="utf-8")


def test_everything_absent_is_excluded_with_a_reason(
    cell: Callable[..., CellResult], curve: Callable[..., list[CellResult]], report: Callable[..., Path]
) -> None:
    cells = [
        *curve("x265", metrics=("psnr_y", "ssim")),
        *curve("b"),
        cell("c", 22, status="failed", message="the encoder stood still"),
        cell("c", 27, status="skipped", message="too small"),
        cell("c", 32, values={"psnr_y": None}),
    ]
    folder = report(cells, problems=["cells/x.json: is not strict JSON"])
    found = {
        (row["what"], row["codec"], row["rate"], row["metric"]): (row["status"], row["reason"])
        for row in read(folder, "excluded.csv")
    }
    assert found["result file", "", "", ""] == ("unreadable", "cells/x.json: is not strict JSON")
    assert found["cell", "c", "22", ""] == ("failed", "timeout: the encoder stood still")
    assert found["cell", "c", "27", ""] == ("skipped", "timeout: too small")
    assert found["measurement", "c", "32", "psnr_y"] == ("undefined", "no frame has a value")
    assert found["measurement", "b", "22", "ssim"][0] == "not measured"
    assert all(reason for _, reason in found.values())
    page = (folder / "data" / "gaps.js").read_text(encoding="utf-8")
    assert "the encoder stood still" in page and "too small" in page and "is not strict JSON" in page
    (failed,) = (row for row in read(folder, "rd.csv") if row["rate"] == "22" and row["codec"] == "c")
    assert (failed["status"], failed["psnr_y"], failed["bpp"]) == ("failed", "", "")


def test_infinite_quality_is_capped_in_bd_only(
    curve: Callable[..., list[CellResult]], report: Callable[..., Path]
) -> None:
    cells = curve("b", scale=0.5)
    lossless = cells[0].model_copy(
        update={
            "measurements": {
                "psnr_y": cells[0].measurements["psnr_y"].model_copy(update={"value": math.inf}),
            }
        }
    )
    folder = report([*curve("x265"), lossless, *cells[1:]])
    assert "inf" in [row["psnr_y"] for row in read(folder, "rd.csv")]
    (row,) = read(folder, "bd_rate_sequences.csv")
    assert "capped at 99.9" in row["notes"]


def test_estimates_are_marked_wherever_they_stand(
    curve: Callable[..., list[CellResult]], report: Callable[..., Path]
) -> None:
    folder = report([*curve("x265"), *curve("learned", scale=0.5, rate_kind="estimate")])
    assert read(folder, "bd_rate.csv")[0]["rate_kind"] == "estimate"
    for name in ("tables/bd_rate.md", "tables/bd_rate_sequences.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "learned (rate estimated)" in text and "≈ −50.00 %" in text
    assert "learned (rate estimated)" in (folder / "method.html").read_text(encoding="utf-8")
    assert "The rate of learned is an estimate" in (folder / "index.html").read_text(encoding="utf-8")


def test_hostile_cells_are_no_formulas(hostile_report: Path) -> None:
    for path in (hostile_report / "tables").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                for text in row:
                    if text[:1] in {"=", "+", "-", "@", "\t", "\r"}:
                        float(text)


def test_hostile_names_stay_inside_their_markdown_cells(hostile_report: Path) -> None:
    for path in (hostile_report / "tables").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text and "<b>" not in text
        columns = 0
        for line in text.splitlines():
            bars = line.replace(r"\|", "").count("|")
            if not line.startswith("|"):
                columns = 0
                assert not bars, line
            elif columns:
                assert bars == columns, line
            else:
                columns = bars


def test_every_doubt_has_its_columns(doubtful_report: Path) -> None:
    rows = {row["test"]: row for row in read(doubtful_report, "bd_rate.csv") if row["metric"] == "psnr_y"}
    assert {name: (row["status"], row["flags"], row["sequences_used"]) for name, row in rows.items()} == {
        "part": ("partial", "partial", "3"),
        "near": ("partial", "little_overlap; partial", "3"),
        "far": ("undefined", "", "0"),
        "few": ("partial", "partial", "1"),
    }
    near = rows["near"]
    assert float(near["bd_rate_percent"]) == pytest.approx(-87.5), "half the rate, and 4 dB of 2 dB per doubling"
    assert float(near["overlap"]) == pytest.approx(1 / 3, abs=0.01)
    assert [float(near[f"compared_{end}"]) for end in ("low", "high")] == pytest.approx([38, 40], abs=0.01)
    assert [float(near[f"spread_{end}"]) for end in ("low", "high")] == pytest.approx([-87.5, -87.5], abs=0.01)
    assert "crew (others in the table lack it)" in near["reason"]
    assert "less than 75 % of the anchor's curve is compared (3 of 3 sequences" in near["notes"]
    assert rows["far"]["spread_low"] == "undefined" and rows["far"]["compared_low"] == ""
    assert near["bd_metric_status"] == "partial" and "little_overlap" in near["bd_metric_flags"]


def test_every_sequence_has_its_doubts(doubtful_report: Path) -> None:
    (row,) = (
        row
        for row in read(doubtful_report, "bd_rate_sequences.csv")
        if (row["test"], row["metric"], row["sequence"]) == ("near", "ssim", "bus")
    )
    assert (row["status"], row["flags"], row["unit"]) == ("ok", "little_overlap", "dB")
    assert [float(row[f"compared_{end}"]) for end in ("low", "high")] == pytest.approx([38, 40], abs=0.01)
    assert "33.3 % of the anchor's quality is compared" in row["notes"]
    assert "BD-metric: 66.6 % of the anchor's rate is compared" in row["notes"]


def test_marks_in_markdown_have_a_legend(doubtful_report: Path) -> None:
    text = (doubtful_report / "tables" / "bd_rate.md").read_text(encoding="utf-8")
    near = next(line for line in text.splitlines() if "| near |" in line)
    assert "−87.50 % (o,p)" in near and "3 of 4" in near and "38 to 40 dB" in near and "33.3 %" in near
    told = next(line for line in text.splitlines() if line.startswith("Marks: "))
    assert told == (
        "Marks: o: less than 75 % of the anchor's curve is compared; p: a mean over some of the sequences only."
    )
    sequences = (doubtful_report / "tables" / "bd_rate_sequences.md").read_text(encoding="utf-8")
    assert "−87.50 % (o)" in sequences and "Marks: o: less than 75 %" in sequences


def test_a_mean_over_a_part_is_nowhere_plainly_ok(doubtful_report: Path) -> None:
    for row in read(doubtful_report, "bd_rate.csv"):
        if row["status"] != "undefined":
            whole = row["sequences_used"] == row["sequences_total"]
            assert (row["status"] == "ok") == whole
            assert ("partial" in row["flags"]) != whole
