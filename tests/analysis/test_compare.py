"""Comparisons worked by hand: curves straight in log rate, and a test that needs k times the rate of its anchor."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.bd import Cause, bd_metric, bd_rate
from bench.analysis.compare import compare, compare_codecs
from bench.analysis.curves import curves, mean_curve
from bench.analysis.options import DeltaAxis
from bench.errors import UnknownNameError, UsageError

LABELS = ("37", "32", "27", "22")
RATES = np.array([0.05, 0.1, 0.2, 0.4])
PSNR = np.array([31.0, 34.0, 37.0, 40.0])


def rows(codec: str, sequence: str, rates: Any, qualities: Any, **columns: Any) -> list[dict[str, Any]]:
    cells = []
    for label, rate, quality in zip(LABELS, rates, qualities, strict=True):
        cell = {
            "codec": codec,
            "rate": label,
            "dataset": "cif",
            "sequence": sequence,
            "frames": 48,
            "width": 352,
            "height": 288,
            "fps": 30.0,
            "bytes": 1,
            "bpp": float(rate),
            "kbps": float(rate) * 3000,
            "rate_kind": "bitstream",
            "metric": "psnr_y",
            "value": float(quality),
            "status": "ok",
            "reason": None,
            "encode_s": None,
            "decode_s": None,
        }
        cells.append(cell | columns)
    return cells


def pair(sequence: str, factor: float, **test_columns: Any) -> list[dict[str, Any]]:
    """A sequence on which test needs `factor` times the anchor's rate at every quality."""
    return rows("anchor", sequence, RATES, PSNR) + rows("test", sequence, factor * RATES, PSNR, **test_columns)


def compared(cells: list[dict[str, Any]], **settings: Any) -> Any:
    defaults: dict[str, Any] = {"higher_is_better": True}
    return compare(pd.DataFrame(cells), "anchor", "test", "psnr_y", **(defaults | settings))


def test_the_per_sequence_convention_is_the_mean_of_per_cents() -> None:
    result = compared(pair("a", 0.5) + pair("b", 0.8) + pair("c", 1.1))
    assert [item.bd_rate.value for item in result.per_sequence] == pytest.approx([-50, -20, 10])
    assert result.bd_rate.value == pytest.approx(-20)
    assert (result.bd_rate.convention, result.bd_rate.sequences_used, result.bd_rate.sequences_total) == (
        "per-sequence",
        3,
        3,
    )


def test_the_mean_curve_convention_weights_sequences_by_their_rate() -> None:
    cells = pair("a", 0.5) + rows("anchor", "b", 9 * RATES, PSNR) + rows("test", "b", 9 * RATES, PSNR)
    # Mean rates are (1 + 9) / 2 and (0.5 + 9) / 2 times RATES, at the same mean quality: 0.95.
    result = compared(cells, convention="mean-curve")
    assert result.bd_rate.value == pytest.approx(-5)
    assert result.bd_rates["per-sequence"].value == pytest.approx(-25)
    assert result.bd_rate.convention == "mean-curve"


def test_the_mean_curve_value_is_the_delta_of_the_two_mean_curves() -> None:
    rng = np.random.default_rng(2)
    cells = []
    for sequence in "abcd":
        for codec in ("anchor", "test"):
            scale = rng.uniform(0.5, 2)
            cells += rows(codec, sequence, scale * RATES, PSNR + np.sort(rng.uniform(0, 1, 4)))
    result = compared(cells, convention="mean-curve", method="akima")
    found = curves(pd.DataFrame(cells), "psnr_y")
    anchor, test = (
        mean_curve(curve for key, curve in found.items() if key.codec == codec).curve for codec in ("anchor", "test")
    )
    points = (anchor.rates, anchor.qualities, test.rates, test.qualities)
    assert result.bd_rate.value == pytest.approx(bd_rate(*points, method="akima").value)
    assert result.bd_metric.value == pytest.approx(bd_metric(*points, method="akima").value)


def test_bd_metric_is_compared_the_same_way() -> None:
    cells = []
    for sequence, gain in (("a", 1.0), ("b", 3.0)):
        cells += rows("anchor", sequence, RATES, PSNR) + rows("test", sequence, RATES, PSNR + gain)
    result = compared(cells)
    assert result.bd_metric.value == pytest.approx(2)
    assert result.bd_metrics["mean-curve"].value == pytest.approx(2)


def test_a_falling_metric_is_oriented() -> None:
    cells = rows("anchor", "a", RATES, -PSNR) + rows("test", "a", 0.5 * RATES, -PSNR)
    assert compared(cells, higher_is_better=False).bd_rate.value == pytest.approx(-50)
    assert compared(cells).per_sequence[0].bd_rate.cause is Cause.TOO_FEW_POINTS


def away(sequence: str) -> list[dict[str, Any]]:
    """A sequence on which the two curves share no quality."""
    return rows("anchor", sequence, RATES, PSNR) + rows("test", sequence, RATES, PSNR + 20)


def test_a_mean_over_a_part_of_the_sequences_is_partial_and_says_which() -> None:
    result = compared(pair("a", 0.5) + pair("b", 0.7) + away("c"))
    assert (result.bd_rate.value, result.bd_rate.status) == (pytest.approx(-40), "partial")
    assert (result.bd_rate.sequences_used, result.bd_rate.sequences_total) == (2, 3)
    assert result.bd_rate.flags == (Cause.PARTIAL,)
    assert (result.bd_rate.reason or "").startswith("2 of 3 sequences: without cif/c (the curves have no quality in")
    assert result.per_sequence[2].bd_rate.cause is Cause.NO_OVERLAP
    assert "BD-rate is undefined on 1 of 3 sequences (no_overlap)" in result.warnings


def test_bd_rate_bd_metric_and_speed_are_over_the_same_sequences() -> None:
    """On c the rates meet and the qualities do not, so that its BD-metric has no BD-rate beside it."""
    cells = pair("a", 0.5) + pair("b", 0.7) + away("c")
    for cell in cells:
        cell["encode_s"] = 100.0 if (cell["codec"], cell["sequence"]) == ("test", "c") else 1.0
    result = compared(cells)
    assert result.per_sequence[2].bd_metric.value == pytest.approx(20)
    assert (result.bd_metric.sequences_used, result.bd_metric.status) == (2, "partial")
    assert "without cif/c (others in the table lack it)" in (result.bd_metric.reason or "")
    assert (result.encode.value, result.encode.sequences_used) == (pytest.approx(1), 2)


def test_a_value_that_nothing_else_has_is_not_withheld() -> None:
    result = compared(away("a") + away("b"))
    assert (result.bd_rate.value, result.bd_metric.value) == (None, pytest.approx(20))
    assert result.bd_metric.sequences_used == 2


def test_codecs_of_one_table_are_averaged_over_the_same_sequences() -> None:
    cells = [cell for name, factor in zip("abcd", (0.5, 0.7, 0.9, 1.1), strict=True) for cell in pair(name, factor)]
    cells += [cell | {"codec": "other"} for cell in cells if cell["codec"] == "test" and cell["sequence"] != "d"]
    cells += [cell | {"codec": "rare"} for cell in cells if cell["codec"] == "test" and cell["sequence"] == "d"]
    found, axis = curves(pd.DataFrame(cells), "psnr_y"), DeltaAxis.of("psnr_y")
    table = compare_codecs(found, "anchor", ["test", "other", "rare"], axis)
    assert table["test"].bd_rate.value == table["other"].bd_rate.value == pytest.approx(-30)
    assert [table[name].bd_rate.sequences_used for name in ("test", "other", "rare")] == [3, 3, 1]
    assert "without cif/d (others in the table lack it)" in (table["test"].bd_rate.reason or "")
    assert (table["rare"].bd_rate.value, table["rare"].bd_rate.status) == (pytest.approx(10), "partial")
    alone = compare_codecs(found, "anchor", ["test"], axis)["test"].bd_rate
    assert (alone.value, alone.status) == (pytest.approx(-20), "ok")


def test_the_doubts_of_the_sequences_are_counted_in_the_whole() -> None:
    bent = rows("anchor", "b", RATES, PSNR) + rows("test", "b", 0.5 * RATES, [31, 34, 33, 40])
    result = compared(pair("a", 0.5) + pair("c", 0.5) + bent)
    assert result.bd_rate.status == "ok"
    assert set(result.bd_rate.flags) >= {Cause.NON_MONOTONE, Cause.THREE_POINTS}
    assert any(note.endswith("at least as good (1 of 3 sequences: cif/b)") for note in result.bd_rate.notes)
    alone = compared(bent).bd_rate
    assert alone.notes[0].startswith("cif/b: test: not monotone, 1 of 4 points left out")


def test_the_spread_of_the_whole_is_that_of_the_means() -> None:
    rng = np.random.default_rng(7)
    cells = []
    for name in "abc":
        for codec in ("anchor", "test"):
            cells += rows(codec, name, RATES * rng.uniform(0.9, 1.1, 4), PSNR + rng.uniform(-0.5, 0.5, 4))
    result = compared(cells)
    for method in ("pchip", "akima"):
        own = compared(cells, method=method).bd_rate.value
        assert result.bd_rate.by_method[method] == pytest.approx(own)
    low, high = result.bd_rate.spread
    assert low <= result.bd_rate.value <= high


def test_a_cubic_that_falls_is_not_averaged() -> None:
    steep = rows("anchor", "b", RATES, PSNR) + rows("test", "b", [0.01, 0.5, 0.55, 4.0], [31, 32, 39, 40])
    result = compared(pair("a", 0.5) + pair("c", 0.5) + steep, method="cubic")
    assert result.per_sequence[1].bd_rate.value is not None
    assert (result.bd_rate.value, result.bd_rate.status) == (pytest.approx(-50), "partial")
    assert "without cif/b (the cubic fit falls" in (result.bd_rate.reason or "")


def test_points_that_failed_are_a_doubt_of_the_value() -> None:
    cells = pair("a", 0.5)
    cells[-1] |= {"status": "failed", "reason": "timeout"}
    result = compared(cells)
    assert result.bd_rate.value == pytest.approx(-50)
    assert set(result.bd_rate.flags) == {Cause.THREE_POINTS, Cause.POINTS_LEFT_OUT, Cause.LITTLE_OVERLAP}
    assert "cif/a: test: 1 rate point has no value (timeout)" in result.bd_rate.notes


def test_a_metric_has_its_own_direction_cap_and_saturation_by_its_name() -> None:
    cells = pair("a", 0.5)
    vmaf = pd.DataFrame([cell | {"metric": "vmaf", "value": 99.0 + cell["value"] / 100} for cell in cells])
    assert Cause.SATURATED not in compare(vmaf, "anchor", "test", "vmaf", saturation=None).bd_rate.flags
    assert compare(vmaf.assign(value=vmaf["value"] + 0.2), "anchor", "test", "vmaf").bd_rate.flags == (Cause.SATURATED,)
    niqe = pd.DataFrame([cell | {"metric": "niqe", "value": -cell["value"]} for cell in cells])
    assert compare(niqe, "anchor", "test", "niqe").bd_rate.value == pytest.approx(-50)
    lossless = pd.DataFrame([cell | {"value": math.inf if cell["rate"] == "22" else cell["value"]} for cell in cells])
    assert compare(lossless, "anchor", "test", "psnr_y").bd_rate.flags == (Cause.CAPPED,)
    foreign = pd.DataFrame([cell | {"metric": "sharpness"} for cell in cells])
    with pytest.raises(UsageError, match="name its direction by higher_is_better"):
        compare(foreign, "anchor", "test", "sharpness")
    assert compare(foreign, "anchor", "test", "sharpness", higher_is_better=True).bd_rate.value == pytest.approx(-50)


def test_no_defined_sequence_means_no_value_and_the_reasons_are_reported() -> None:
    result = compared(away("a"))
    assert (result.bd_rate.value, result.bd_rate.status) == (None, "undefined")
    assert result.bd_rate.cause is Cause.NO_SEQUENCE
    assert (result.bd_rate.reason or "").startswith("no sequence has a value (cif/a: the curves have no quality")
    assert result.bd_rate.overlap == 0


def test_the_overlap_of_the_whole_is_the_smallest_of_the_sequences() -> None:
    cells = pair("a", 0.5) + rows("anchor", "b", RATES, PSNR) + rows("test", "b", RATES, PSNR + 1.8)
    assert compared(cells).bd_rate.overlap == pytest.approx(0.8)
    assert compared(cells).bd_rate.compared == (31, 40)
    little = rows("anchor", "c", RATES, PSNR) + rows("test", "c", RATES, PSNR + 6)
    assert compared(cells + little).bd_rate.overlap == pytest.approx(1 / 3)
    assert compared(cells + little, min_overlap=0.5).bd_rate.status == "partial"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"frames": 96}, "anchor coded 48 frames of 352x288 at 30 fps, test 96 frames of 352x288 at 30 fps"),
        ({"width": 176, "height": 144}, "test 48 frames of 176x144"),
        ({"fps": 15.0}, "at 15 fps"),
    ],
)
def test_sequences_of_different_sources_are_not_compared(columns: dict[str, Any], words: str) -> None:
    result = compared(pair("a", 0.5) + pair("b", 0.8, **columns))
    assert result.bd_rate.value == pytest.approx(-50)
    assert result.per_sequence[1].bd_rate.cause is Cause.SOURCE_DIFFERS
    assert words in (result.per_sequence[1].bd_rate.reason or "")
    assert result.bd_rates["mean-curve"].sequences_used == 1


def test_a_curve_of_mixed_sources_is_not_compared() -> None:
    cells = pair("a", 0.5)
    cells[0]["frames"] = 96
    assert "anchor: mixes 48 frames" in (compared(cells).per_sequence[0].bd_rate.reason or "")


def test_a_sequence_of_one_codec_alone_is_listed() -> None:
    result = compared(pair("a", 0.5) + rows("anchor", "b", RATES, PSNR))
    assert result.per_sequence[1].bd_rate.reason == "test: not measured"
    assert result.bd_rate.sequences_total == 2


def test_failed_cells_are_counted_with_their_reasons() -> None:
    failed = rows("anchor", "b", RATES, PSNR) + rows("test", "b", RATES, PSNR, status="failed", reason="timeout")
    result = compared(pair("a", 0.5) + failed)
    assert result.per_sequence[1].bd_rate.reason == "test: no value (4 x timeout)"
    assert "test: points without a value: 4 (4 x timeout)" in result.warnings


def test_the_mean_curve_leaves_out_sequences_that_miss_a_point() -> None:
    cells = pair("a", 0.5) + pair("b", 0.8)
    cells[-1] |= {"status": "failed", "reason": "oom"}
    result = compared(cells, convention="mean-curve")
    assert result.bd_rate.value == pytest.approx(-50)
    assert result.bd_rate.sequences_used == 1
    assert "the mean curve leaves out cif/b (test: no value at rate 22)" in result.warnings


def test_codecs_with_other_rate_points_are_compared() -> None:
    cells = pair("a", 0.5)
    for cell in cells[4:]:
        cell["rate"] = f"cq{cell['rate']}"
    result = compared(cells)
    assert [overall.value for overall in result.bd_rates.values()] == pytest.approx([-50, -50])


def test_no_complete_sequence_leaves_the_mean_curve_undefined() -> None:
    cells = pair("a", 0.5) + pair("b", 0.8)
    cells[0]["rate"] = "51"
    result = compared(cells, convention="mean-curve")
    assert result.bd_rate.reason == "no sequence has every rate point of both codecs"
    assert result.bd_rate.interval.reason == "an interval needs at least 3 sequences, there are 0"


@pytest.mark.parametrize("convention", ["per-sequence", "mean-curve"])
def test_the_interval_of_three_sequences_is_their_range(convention: str) -> None:
    result = compared(pair("a", 0.5) + pair("b", 0.8) + pair("c", 1.1), convention=convention)
    interval = result.bd_rate.interval
    assert (interval.low, interval.high) == pytest.approx((-50, 10))
    assert any(warning.startswith("BD-rate, 3 sequences: the interval holds") for warning in result.warnings)
    (other,) = {"per-sequence", "mean-curve"} - {convention}
    assert result.bd_rates[other].interval.reason == f"computed for the chosen convention alone, {convention}"


def test_two_sequences_have_no_interval() -> None:
    interval = compared(pair("a", 0.5) + pair("b", 0.8)).bd_rate.interval
    assert (interval.low, interval.reason) == (None, "an interval needs at least 3 sequences, there are 2")


@pytest.mark.parametrize("convention", ["per-sequence", "mean-curve"])
def test_the_interval_depends_on_the_seed_and_not_on_the_order_of_rows(convention: str) -> None:
    cells = [cell for index, name in enumerate("abcdef") for cell in pair(name, 0.6 + 0.08 * index**1.3)]
    settings = {"convention": convention, "resamples": 200}
    first = compared(cells, **settings)
    assert compared(cells[::-1], **settings).bd_rate.interval == first.bd_rate.interval
    assert compared(cells, seed=1, **settings).bd_rate.interval != first.bd_rate.interval


def test_the_mean_curve_interval_covers_its_value() -> None:
    cells = [cell for index, name in enumerate("abcdef") for cell in pair(name, 0.6 + 0.05 * index)]
    overall = compared(cells, convention="mean-curve", resamples=300).bd_rate
    # Every sequence has the same anchor, so the mean curve needs the mean factor.
    assert overall.value == pytest.approx(100 * (0.6 + 0.05 * 2.5 - 1))
    low, high = overall.interval.low, overall.interval.high
    assert low is not None and high is not None and -40 <= low < (overall.value or 0) < high <= -15


def test_speed_is_the_geometric_mean_over_paired_cells() -> None:
    cells = pair("a", 0.5) + pair("b", 0.8)
    ratios = []
    for anchor, test in zip([*cells[:4], *cells[8:12]], [*cells[4:8], *cells[12:]], strict=True):
        position = len(ratios)
        anchor |= {"encode_s": 1.0 + position, "decode_s": 0.5}
        test |= {"encode_s": 20.0 - position, "decode_s": 0.25}
        ratios.append(test["encode_s"] / anchor["encode_s"])
    result = compared(cells)
    assert result.encode.value == pytest.approx(math.prod(ratios) ** (1 / 8))
    assert (result.decode.value, result.decode.sequences_used) == (pytest.approx(0.5), 2)


def test_speed_is_of_compared_sequences_alone() -> None:
    same, other = pair("a", 0.5, decode_s=1.0), pair("b", 0.5, decode_s=9.0, frames=96)
    for cell in (*same[:4], *other[:4]):
        cell["decode_s"] = 2.0
    assert compared(same + other).decode.to_dict() == {"value": 0.5, "reason": None, "sequences_used": 1}


def test_speed_without_times_says_so() -> None:
    assert compared(pair("a", 0.5)).encode.to_dict() == {
        "value": None,
        "reason": "no compared sequence has a time from both codecs",
        "sequences_used": 0,
    }


def test_an_estimated_rate_is_a_warning_of_its_codec() -> None:
    result = compared(pair("a", 0.5, rate_kind="estimate"))
    assert result.warnings == ("test: rate is an estimate, not the size of a bitstream",)


def test_pooled_datasets_are_a_warning() -> None:
    cells = pair("a", 0.5) + [cell | {"dataset": ""} for cell in pair("b", 0.5)]
    assert compared(cells).warnings == ("sequences of 2 datasets are pooled: direct input, cif",)


def test_a_cap_holds_for_both_conventions_and_is_named() -> None:
    lossless = [31.0, 34.0, 37.0, math.inf]
    cells = rows("anchor", "a", RATES, lossless) + rows("test", "a", 0.5 * RATES, lossless)
    uncapped = compared(cells, cap=None)
    assert uncapped.per_sequence[0].bd_rate.cause is Cause.INFINITE_QUALITY
    assert uncapped.bd_rates["mean-curve"].cause is Cause.INFINITE_QUALITY
    capped = compared(cells, cap=99.9)
    assert [overall.value for overall in capped.bd_rates.values()] == pytest.approx([-50, -50])
    assert capped.bd_rates["per-sequence"].notes[0] == "cif/a: anchor: 1 of 4 qualities capped at 99.9"
    assert capped.bd_rates["mean-curve"].notes == ("2 qualities capped at 99.9 before averaging",)


def test_settings_reach_every_delta() -> None:
    bent = rows("anchor", "a", RATES, PSNR) + rows("test", "a", RATES, PSNR)
    assert compared(bent, saturation=40).per_sequence[0].bd_rate.flags == (Cause.SATURATED,)
    result = compared(bent, hull=True, method="cubic")
    assert {overall.method for overall in result.bd_rates.values()} == {"cubic, convex hull"}
    assert compared(bent, rate_axis="kbps").bd_rate.value == pytest.approx(0)


def test_the_dictionary_is_strict_json_of_the_contract() -> None:
    cells = pair("a", 0.5) + pair("b", 0.8) + pair("c", 1.1) + rows("anchor", "d", RATES, [31, 34, 37, math.inf])
    told = json.loads(json.dumps(compared(cells).to_dict(), allow_nan=False))
    assert {"anchor", "test", "metric", "bd_rate", "per_sequence", "bd_metric", "speed", "warnings"} <= told.keys()
    assert {
        *("value", "status", "reason", "overlap", "method"),
        *("ci_low", "ci_high", "convention", "sequences_used", "sequences_total"),
    } <= told["bd_rate"].keys()
    assert told["per_sequence"][0]["dataset"] == "cif"
    assert told["per_sequence"][0]["sequence"] == "a"
    assert {"value", "status", "reason", "overlap", "method"} <= told["per_sequence"][3]["bd_rate"].keys()
    assert told["conventions"]["per-sequence"]["bd_rate"] == told["bd_rate"]


def test_wrong_use_is_a_usage_error() -> None:
    cells = pair("a", 0.5)
    frame = pd.DataFrame(cells)
    with pytest.raises(UnknownNameError, match="unknown codec 'tset'; did you mean test"):
        compare(frame, "anchor", "tset", "psnr_y", higher_is_better=True)
    with pytest.raises(UnknownNameError, match="unknown metric 'vmaf'"):
        compare(frame, "anchor", "test", "vmaf", higher_is_better=True)
    with pytest.raises(UsageError, match="unknown convention 'median'; there are: per-sequence, mean-curve"):
        compared(cells, convention="median")
    with pytest.raises(UsageError, match="unknown BD method 'spline'"):
        compared(cells, method="spline")


def test_clips_of_one_name_and_other_content_are_not_compared() -> None:
    cells = pair("akiyo", 0.5, source="aaaa+0")
    for cell in cells:
        cell.setdefault("source", "bbbb+0")
    (result,) = compared(cells).per_sequence
    assert result.bd_rate.status == "undefined"
    assert "bbbb+0" in result.bd_rate.reason
    assert "aaaa+0" in result.bd_rate.reason
