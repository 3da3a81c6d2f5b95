"""Curves from a table small enough to read."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.analysis.curves import (
    COLUMNS,
    CurveKey,
    ExcludedPoint,
    RDCurve,
    RDPoint,
    SequenceKey,
    Source,
    curves,
    curves_of,
    mean_curve,
    point_table,
)
from bench.errors import UnknownNameError, UsageError
from bench.results.result_set import load

ROOT = Path(__file__).resolve().parents[2]


def row(codec: str, sequence: str, rate: object, bpp: float, value: float | None, **other: Any) -> dict[str, Any]:
    return {
        "codec": codec,
        "rate": rate,
        "dataset": "cif",
        "sequence": sequence,
        "frames": 48,
        "width": 352,
        "height": 288,
        "fps": 30.0,
        "bytes": 1000,
        "bpp": bpp,
        "kbps": bpp * 3000,
        "rate_kind": "bitstream",
        "metric": "psnr_y",
        "value": value,
        "status": "ok",
        "reason": None,
        "encode_s": 2.0,
        "decode_s": 0.1,
    } | other


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def only(found: dict[CurveKey, RDCurve]) -> RDCurve:
    (curve,) = found.values()
    return curve


def test_points_of_a_curve_rise_in_rate_and_keep_their_labels() -> None:
    frame = table(row("x265", "akiyo", 22, 0.4, 42.0), row("x265", "akiyo", 37, 0.05, 33.0))
    found = curves(frame, "psnr_y")
    assert list(found) == [("x265", "cif", "akiyo")]
    curve = only(found)
    assert curve.points == (RDPoint(0.05, 33.0, "37", 2.0, 0.1), RDPoint(0.4, 42.0, "22", 2.0, 0.1))
    assert curve.sources == (Source(48, 352, 288, 30.0),)
    assert (curve.rates.tolist(), curve.qualities.tolist()) == ([0.05, 0.4], [33.0, 42.0])


def test_each_codec_sequence_and_dataset_is_a_curve_of_its_own() -> None:
    frame = table(
        row("x265", "b", 22, 0.4, 42.0),
        row("x264", "b", 22, 0.4, 42.0),
        row("x265", "a", 22, 0.4, 42.0, dataset="uvg"),
        row("x265", "a", 22, 0.4, 42.0, dataset=None),
        row("x265", "a", 22, 0.4, 0.9, metric="ssim"),
    )
    assert list(curves(frame, "psnr_y")) == [
        ("x264", "cif", "b"),
        ("x265", "", "a"),
        ("x265", "cif", "b"),
        ("x265", "uvg", "a"),
    ]


def test_the_rate_axis_may_be_kbps() -> None:
    assert only(curves(table(row("x265", "akiyo", 22, 0.4, 42.0)), "psnr_y", rate_axis="kbps")).rates == 1200


def test_rows_without_a_value_are_left_out_and_their_reasons_kept() -> None:
    frame = table(
        row("x265", "akiyo", 22, 0.4, 42.0),
        row("x265", "akiyo", 27, math.nan, None, status="failed", reason="timeout"),
        row("x265", "akiyo", 32, 0.1, None, status="skipped"),
        row("x265", "akiyo", 37, 0.05, math.nan),
        row("x265", "akiyo", 42, math.nan, 30.0),
    )
    curve = only(curves(frame, "psnr_y"))
    assert [point.label for point in curve.points] == ["22"]
    assert curve.excluded == (
        ExcludedPoint("27", "failed", "timeout"),
        ExcludedPoint("32", "skipped", "no reason given"),
        ExcludedPoint("37", "ok", "no value"),
        ExcludedPoint("42", "ok", "no bpp"),
    )


def test_a_curve_without_any_value_is_still_there() -> None:
    frame = table(row("x265", "akiyo", 22, math.nan, None, status="failed", reason="oom", frames=None, width=None))
    curve = only(curves(frame, "psnr_y"))
    assert (curve.points, curve.sources, len(curve.excluded)) == ((), (), 1)


def test_an_infinite_quality_is_kept() -> None:
    assert only(curves(table(row("x265", "akiyo", 1, 9.0, math.inf)), "psnr_y")).points[0].quality == math.inf


@pytest.mark.parametrize("seconds", [None, math.nan, 0.0, -1.0, math.inf])
def test_times_that_are_not_positive_seconds_are_none(seconds: float | None) -> None:
    curve = only(curves(table(row("x265", "akiyo", 22, 0.4, 42.0, encode_s=seconds)), "psnr_y"))
    assert curve.points[0].encode_s is None


def test_mixed_sources_and_estimated_rates_are_known() -> None:
    frame = table(
        row("s2vc", "akiyo", 1, 0.1, 30.0, rate_kind="estimate"), row("s2vc", "akiyo", 2, 0.2, 31.0, frames=96)
    )
    curve = only(curves(frame, "psnr_y"))
    assert curve.estimated
    assert [str(source) for source in curve.sources] == [
        "48 frames of 352x288 at 30 fps",
        "96 frames of 352x288 at 30 fps",
    ]


def test_wrong_use_is_a_usage_error() -> None:
    frame = table(row("x265", "akiyo", 22, 0.4, 42.0))
    with pytest.raises(UsageError, match="lacks the columns bpp, encode_s"):
        curves(frame.drop(columns=["encode_s", "bpp"]), "psnr_y")
    with pytest.raises(UnknownNameError, match="did you mean psnr_y"):
        curves(frame, "psnr")
    with pytest.raises(UsageError, match="unknown rate axis 'bytes'"):
        curves(frame, "psnr_y", rate_axis="bytes")  # type: ignore[arg-type]
    assert set(COLUMNS) <= set(frame.columns)


def three_sequences() -> list[RDCurve]:
    frame = table(
        row("x265", "a", 22, 0.4, 42.0),
        row("x265", "a", 37, 0.1, 34.0),
        row("x265", "b", 22, 0.8, 40.0),
        row("x265", "b", 37, 0.3, 31.0),
        row("x265", "c", 37, 0.2, 30.0),
        row("x265", "c", 22, 0.9, None, status="failed", reason="timeout"),
    )
    return list(curves(frame, "psnr_y").values())


def test_the_mean_curve_is_of_the_sequences_with_every_rate_point() -> None:
    mean = mean_curve(three_sequences())
    assert mean.used == (SequenceKey("cif", "a"), SequenceKey("cif", "b"))
    assert mean.left_out == {SequenceKey("cif", "c"): "no value at rate 22"}
    assert [point.label for point in mean.curve.points] == ["37", "22"]
    assert mean.curve.rates == pytest.approx([0.2, 0.6])
    assert mean.curve.qualities == pytest.approx([32.5, 41.0])
    assert (mean.curve.dataset, mean.curve.sequence) == ("cif", "mean of 2 sequences")


def test_a_rate_point_without_a_value_anywhere_is_not_missed() -> None:
    frame = table(
        row("x265", "a", 22, 0.4, 42.0), row("x265", "a", 37, 0.1, None, status="failed", reason="exit code 1")
    )
    assert mean_curve(curves(frame, "psnr_y").values()).used == (SequenceKey("cif", "a"),)


def test_a_repeated_rate_point_leaves_the_sequence_out() -> None:
    frame = table(row("x265", "a", 22, 0.4, 42.0), row("x265", "a", 22, 0.4, 42.1))
    mean = mean_curve(curves(frame, "psnr_y").values())
    assert mean.left_out == {SequenceKey("cif", "a"): "more than one value at rate 22"}
    assert mean.curve.points == ()


def test_sequences_without_a_value_are_left_out() -> None:
    frame = table(row("x265", "a", 22, math.nan, None, status="failed", reason="oom"))
    assert point_table(curves(frame, "psnr_y").values()).left_out == {
        SequenceKey("cif", "a"): "no rate point has a value"
    }


def test_a_mean_of_different_codecs_is_a_usage_error() -> None:
    frame = table(row("x265", "a", 22, 0.4, 42.0), row("x264", "a", 22, 0.4, 42.0))
    with pytest.raises(UsageError, match="given 2 combinations"):
        mean_curve(curves(frame, "psnr_y").values())
    with pytest.raises(UsageError, match="given 0 combinations"):
        mean_curve([])


def test_sequences_print_with_their_dataset() -> None:
    assert str(SequenceKey("uvg", "Beauty")) == "uvg/Beauty"
    assert str(SequenceKey("", "clip.y4m")) == "clip.y4m"


def test_a_point_with_lossless_frames_counts_by_its_frames_capped_in_a_delta() -> None:
    frame = table(
        row("x265", "akiyo", 1, 0.4, math.inf, value_capped=61.5),
        row("x265", "akiyo", 9, 0.2, 40.0, value_capped=39.0),
        row("x265", "akiyo", 20, 0.1, math.inf, value_capped=None),
    )
    curve = only(curves(frame, "psnr_y"))
    assert list(curve.qualities) == [math.inf, 40.0, math.inf]
    assert list(curve.delta_qualities) == [math.inf, 40.0, 61.5]


def test_a_failed_cell_which_has_no_metric_is_excluded_from_every_curve_of_its_codec() -> None:
    failed = row("x265", "akiyo", 9, 0.2, None, metric=None, status="failed", reason="timeout: too slow")
    curve = only(curves(table(row("x265", "akiyo", 1, 0.4, 40.0), failed), "psnr_y"))
    assert curve.excluded == (ExcludedPoint("9", "failed", "timeout: too slow"),)


def test_curves_of_cells_are_those_of_their_table() -> None:
    """Failed cells, poolings and published curves among them, from results of an earlier vcbench and a paper."""
    folders = (ROOT / "tests/results/old_result_set/set", ROOT / "results/published/dcvc")
    results = load(*folders)
    metrics = [results.metrics[0], f"{results.metrics[0]}@p5", results.metrics[-1]]
    frame = results.to_pandas(["p5"])
    for metric, found in zip(metrics, curves_of(results, metrics), strict=True):
        assert found == curves(frame, metric)
    with pytest.raises(UnknownNameError, match="no_such"):
        list(curves_of(results, ["no_such"]))
    with pytest.raises(UsageError, match="rate axis"):
        list(curves_of(results, metrics, rate_axis="mpg"))  # type: ignore[arg-type]
