"""Verdicts on result sets whose changes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import bench
from bench.analysis.gate.judge import Check, GateResult, judge
from bench.analysis.gate.rules import parse_rules
from bench.errors import UnknownNameError, UsageError
from bench.results.result_set import ResultSet


def gate(baseline: ResultSet | list[ResultSet], candidate: ResultSet | list[ResultSet], *rules: str, **settings):
    sides = [side if isinstance(side, list) else [side] for side in (baseline, candidate)]
    return judge(*sides, parse_rules(rules), **settings)


def check(result: GateResult, rule: str) -> Check:
    (found,) = (item for item in result.checks if item.rule == rule)
    return found


FIVE = dict.fromkeys("abcde", 1.0)
RULE = "bd_rate(psnr_y)>0.5%"


def test_the_same_is_an_exact_match_even_where_a_curve_is_undefined(make) -> None:
    one = make({"a": 1.0})
    two = ResultSet(one.folders, one.cells[:2])
    result = gate(two, two, RULE, "psnr_y<0", "bytes>0%")
    assert result.passed
    assert [item.exact for item in result.checks[2:]] == [True, True, True]
    assert check(result, RULE).change == 0
    assert "exact match" in check(result, RULE).reason


def test_equal_bitstreams_that_decode_to_other_values_are_no_exact_match(make) -> None:
    worse = make(FIVE)
    for number, cell in enumerate(worse.cells):
        psnr = cell.measurements["psnr_y"]
        less = {"psnr_y": psnr.model_copy(update={"value": psnr.value - 1})}
        worse.cells[number] = cell.model_copy(update={"measurements": less})
    result = gate(make(FIVE), worse, RULE, "psnr_y<-0.1")
    assert check(result, "psnr_y<-0.1").change == pytest.approx(-1)
    assert check(result, RULE).verdict == "fail"


def test_a_change_of_every_sequence_is_found_and_measured(make) -> None:
    result = gate(make(FIVE), make(dict.fromkeys("abcde", 1.01)), RULE, "bytes>0.5%")
    assert not result.passed
    for rule in (RULE, "bytes>0.5%"):
        assert check(result, rule).verdict == "fail"
        # bytes are whole, so that a factor of 1.01 is one of about 1.01
        assert check(result, rule).change == pytest.approx(1.0, abs=0.01)
    (overall,) = {item.sequence for item in check(result, RULE).per_sequence if item.change is None} or {None}
    assert overall is None


def test_the_change_is_the_mean_of_the_sequences_bd_rates(make) -> None:
    factors = {"a": 1.03, "b": 0.99, "c": 1.02}
    before, after = make(dict.fromkeys(factors, 1.0)), make(factors)
    expected = []
    for name in factors:
        curves = [[cell for cell in results.cells if cell.sequence.name == name] for results in (before, after)]
        values = [[cell.bpp for cell in curve] for curve in curves]
        psnr = [[cell.measurements["psnr_y"].value for cell in curve] for curve in curves]
        expected.append(bench.bd_rate(values[0], psnr[0], values[1], psnr[1]).value)
    found = check(gate(before, after, RULE), RULE)
    assert found.change == pytest.approx(np.mean(expected))
    assert [item.change for item in found.per_sequence] == pytest.approx(expected)


def test_better_is_no_failure_however_different(make) -> None:
    result = gate(make(FIVE), make(dict.fromkeys("abcde", 0.7)), RULE, "worst bd_rate(psnr_y)>0%", "bytes>0%")
    assert result.passed
    assert check(result, RULE).change == pytest.approx(-30, abs=0.1)


def test_sequences_that_disagree_are_inconclusive_and_the_choice_decides(make) -> None:
    candidate = make({"a": 1.06, "b": 0.97, "c": 1.05, "d": 0.98, "e": 1.0})
    tolerant, strict = (gate(make(FIVE), candidate, RULE, inconclusive=choice) for choice in ("pass", "fail"))
    found = check(tolerant, RULE)
    assert found.verdict == "inconclusive"
    assert found.change > 0.5 and found.low < 0 < found.high
    assert "add sequences" in found.reason
    assert (tolerant.passed, strict.passed) == (True, False)


def test_the_bounds_are_those_of_a_one_sided_t_test_for_many_sequences(make) -> None:
    spread = np.random.default_rng(1).normal(1.02, 0.01, 40)
    names = [f"s{number}" for number in range(40)]
    found = check(gate(make(dict.fromkeys(names, 1.0)), make(dict(zip(names, spread, strict=True))), RULE), RULE)
    values = [item.change for item in found.per_sequence]
    error = stats.sem(values) * stats.t.ppf(0.95, 39)
    assert found.low == pytest.approx(np.mean(values) - error, abs=0.1 * error)
    assert found.high == pytest.approx(np.mean(values) + error, abs=0.1 * error)


def test_neutral_changes_that_scatter_seldom_fail(make) -> None:
    """The scatter of encoder decisions alone: the mean is beyond the threshold in many cases, the gate fails in few."""
    draws = np.random.default_rng(7).normal(1.0, 0.02, (60, 5))
    found = [check(gate(make(FIVE), make(dict(zip("abcde", row, strict=True))), RULE), RULE) for row in draws]
    beyond = sum(item.change > 0.5 for item in found)
    assert beyond > 8
    assert sum(item.verdict == "fail" for item in found) <= 6 < beyond


@pytest.mark.parametrize(
    ("factors", "verdict"), [((1.01,), "fail"), ((1.01, 1.02), "fail"), ((1.05, 0.99), "inconclusive")]
)
def test_with_one_or_two_sequences_each_must_be_worse(make, factors: tuple[float, ...], verdict: str) -> None:
    names = "ab"[: len(factors)]
    result = gate(make(dict.fromkeys(names, 1.0)), make(dict(zip(names, factors, strict=True))), RULE)
    assert check(result, RULE).verdict == verdict
    assert check(result, RULE).low is None
    assert "too few for an interval" in check(result, RULE).reason


def test_the_worst_sequence_is_held_against_the_threshold_alone(make) -> None:
    candidate = make({**FIVE, "c": 1.05})
    result = gate(make(FIVE), candidate, RULE, "worst bd_rate(psnr_y)>2%")
    assert check(result, RULE).verdict == "inconclusive"
    worst = check(result, "worst bd_rate(psnr_y)>2%")
    assert (worst.verdict, round(worst.change)) == ("fail", 5)
    assert "input/c" in worst.reason


def test_slower_fails_and_noise_does_not(make) -> None:
    rule = "encode_s>10%"
    assert check(gate(make(FIVE), make(FIVE, seconds=1.5), rule), rule).verdict == "fail"
    assert check(gate(make(FIVE), make(FIVE, seconds=1.05), rule), rule).verdict == "pass"
    noisy = make(FIVE)
    for number, cell in enumerate(noisy.cells):
        cost = cell.encode.model_copy(update={"seconds": (0.8, 1.6)[number % 2]})
        noisy.cells[number] = cell.model_copy(update={"encode": cost})
    found = check(gate(make(FIVE), noisy, rule), rule)
    assert (found.verdict, found.change > 10, found.low < 10) == ("inconclusive", True, True)
    again = gate([make(FIVE)] * 2, [noisy, make(FIVE)], rule)
    assert check(again, rule).verdict == "pass"


def test_runs_of_two_encoders_are_no_repetitions(make) -> None:
    result = gate([make(FIVE), make(dict.fromkeys(FIVE, 1.1))], make(FIVE), "encode_s>10%")
    assert not result.passed
    assert "the runs of the baseline wrote different bitstreams" in check(result, "complete").reason


def test_one_slow_cell_without_an_interval_is_inconclusive(make) -> None:
    baseline, candidate = make({"a": 1.0}), make({"a": 1.0}, seconds=3.0)
    sides = [ResultSet(results.folders, results.cells[:1]) for results in (baseline, candidate)]
    assert check(gate(*sides, "encode_s>10%"), "encode_s>10%").verdict == "inconclusive"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"encode": {"timing": "shared"}}, "--timing"),
        ({"provenance": {"cpu": "two"}}, "different machines"),
        ({"encode": None}, "was not measured"),
        ({"encode": {"seconds": 0.0}}, "too little"),
    ],
)
def test_times_that_cannot_be_compared_are_errors(make, changed: dict, says: str) -> None:
    result = gate(make(FIVE), make(FIVE, **changed), "encode_s>10%")
    assert check(result, "encode_s>10%").verdict == "error"
    assert says in check(result, "encode_s>10%").reason
    assert not result.passed


def only(results: ResultSet, keep) -> ResultSet:
    return ResultSet(results.folders, [cell for cell in results.cells if keep(cell)])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda new: ResultSet(new.folders, []), "the candidate has no cell of x265"),
        (lambda new: only(new, lambda cell: cell.sequence.name != "c"), "the candidate does not have it"),
        (lambda new: only(new, lambda cell: cell.rate.value != 37), "the candidate does not have it"),
        (lambda new: ResultSet(new.folders, new.cells + new.cells[:1]), "2 cells of it"),
    ],
)
def test_what_is_missing_never_passes(make, spoil, says: str) -> None:
    result = gate(make(FIVE), spoil(make(FIVE)), RULE)
    assert not result.passed
    assert check(result, "complete").verdict == "error"
    assert says in check(result, "complete").reason


@pytest.mark.parametrize("field", [{"frames": 11}, {"sha256": "1" * 64}, {"start": 5}, {"pix_fmt": "yuv420p10le"}])
def test_other_frames_are_not_compared(make, field: dict) -> None:
    other = gate(make(FIVE), make(FIVE, sequence=field), RULE)
    assert not other.passed
    assert f"other frames were coded ({next(iter(field))} is" in check(other, "complete").reason
    assert check(other, RULE).verdict == "error"


def test_a_codec_without_a_baseline_fails_until_it_is_left_out(make) -> None:
    old, new = make(FIVE), make(FIVE)
    both = ResultSet(new.folders, new.cells + make(FIVE, codec="vvenc").cells)
    result = gate(old, both, RULE)
    assert not result.passed
    assert [item.codec for item in result.checks if item.verdict == "error"] == ["vvenc"]
    assert gate(old, both, RULE, codecs=["x265"]).passed
    assert not gate(both, old, RULE).passed
    with pytest.raises(UnknownNameError, match="did you mean x265"):
        gate(old, both, RULE, codecs=["x264"])


def test_without_a_cell_on_either_side_nothing_passes() -> None:
    empty = ResultSet((Path("made"),), [])
    result = gate(empty, empty, RULE)
    assert (result.checks, result.passed) == ((), False)


def test_a_failed_cell_fails_unless_so_many_are_tolerated(make) -> None:
    candidate = make(dict.fromkeys("abcde", 1.02))
    candidate.cells[0] = candidate.cells[0].model_copy(
        update={"status": "failed", "reason": "timeout", "message": "took\ntoo long", "bitstream": None}
    )
    strict = gate(make(FIVE), candidate, RULE)
    found = check(strict, "failed_cells>0")
    assert (found.verdict, found.change) == ("fail", 1)
    assert "timeout: too long" in found.reason
    assert check(strict, RULE).verdict == "error"
    tolerant = gate(make(FIVE), candidate, RULE, "failed_cells>1")
    assert check(tolerant, "failed_cells>1").verdict == "pass"
    assert check(tolerant, RULE).verdict == "fail"
    assert check(tolerant, RULE).notes == ("input/a is left out: a cell failed",)


def test_what_both_skipped_is_left_aside_and_what_one_skipped_is_missing(make) -> None:
    def skipped(results: ResultSet) -> ResultSet:
        cells = [
            cell.model_copy(update={"status": "skipped", "reason": "chroma", "message": "4:4:4"})
            if cell.sequence.name == "a"
            else cell
            for cell in results.cells
        ]
        return ResultSet(results.folders, cells)

    assert gate(skipped(make(FIVE)), skipped(make(FIVE)), RULE).passed
    assert not gate(make(FIVE), skipped(make(FIVE)), RULE).passed
    alone = skipped(make({"a": 1.0}))
    assert check(gate(alone, alone, RULE), "complete").verdict == "error"


def test_a_metric_that_is_missing_undefined_or_another_is_an_error(make) -> None:
    missing = check(gate(make(FIVE), make(FIVE), "bd_rate(vmaf)>1%"), "bd_rate(vmaf)>1%")
    assert (missing.verdict, missing.change) == ("error", None)
    assert "--metrics +vmaf" in missing.reason
    value = {"psnr_y": {"key": "d" * 64, "status": "undefined", "reason": "too small"}}
    assert "too small" in check(gate(make(FIVE), make(FIVE, measurements=value), RULE), RULE).reason
    other = {"psnr_y": {"key": "e" * 64, "status": "ok", "value": 40.0}}
    assert "two definitions" in check(gate(make(FIVE), make(FIVE, measurements=other), RULE), RULE).reason


def two_points(make, factor: float, gain: float = 0.0) -> ResultSet:
    """Five sequences, a with two rate points alone, `factor` times the bytes and `gain` dB more."""
    found = only(make({**FIVE, "a": factor}), lambda cell: cell.sequence.name != "a" or cell.rate.value > 27)
    for number, cell in enumerate(found.cells):
        if cell.sequence.name == "a":
            psnr = cell.measurements["psnr_y"]
            more = {"psnr_y": psnr.model_copy(update={"value": psnr.value + gain})}
            found.cells[number] = cell.model_copy(update={"measurements": more})
    return found


def test_an_undefined_delta_without_a_better_side_is_an_error_with_its_reason(make) -> None:
    found = check(gate(two_points(make, 1), two_points(make, 2, gain=1), RULE), RULE)
    assert found.verdict == "error"
    assert "cannot be judged (1 of 5)" in found.reason and "2 points" in found.reason


def test_a_better_candidate_passes_and_a_worse_one_fails_also_without_a_number(make) -> None:
    for factor, gain, verdict in ((0.5, 0, "pass"), (0.5, 1, "pass"), (2, 0, "fail"), (2, -1, "fail")):
        found = check(gate(two_points(make, 1), two_points(make, factor, gain), RULE), RULE)
        assert found.verdict == verdict
        (a,) = (item for item in found.per_sequence if item.sequence == "a")
        assert (a.change, a.beyond) == (None, "better" if verdict == "pass" else "worse")
        assert any("at every rate point" in text for text in (found.reason, *found.notes))


@pytest.mark.parametrize(("gain", "verdict"), [(40, "pass"), (-40, "fail")])
def test_curves_that_share_no_quality_are_judged_by_the_quality_at_equal_rate(make, gain: float, verdict: str) -> None:
    changed = make(FIVE)
    for number, cell in enumerate(changed.cells):
        psnr = cell.measurements["psnr_y"]
        # one byte more or less, so that no side is better at every rate point
        size = cell.bitstream.model_copy(update={"bytes": cell.bitstream.bytes + (1 if gain > 0 else -1)})
        more = {"psnr_y": psnr.model_copy(update={"value": psnr.value + gain})}
        changed.cells[number] = cell.model_copy(update={"measurements": more, "bitstream": size})
    found = check(gate(make(FIVE), changed, RULE), RULE)
    assert found.verdict == verdict
    assert f"quality at equal rate changes by {gain:+} dB" in found.reason


def test_doubts_about_a_value_are_notes_and_flags_and_do_not_block(make) -> None:
    """A saturated point rejected an improvement for want of a number."""

    def saturated(factor: float) -> ResultSet:
        found = make(dict.fromkeys("abcde", factor))
        for number, cell in enumerate(found.cells):
            value = 99.0 + (37 - cell.rate.value) / 20
            vmaf = {"vmaf": cell.measurements["psnr_y"].model_copy(update={"value": min(value, 99.7)})}
            found.cells[number] = cell.model_copy(update={"measurements": vmaf})
        return found

    rule = "bd_rate(vmaf)>1%"
    better = check(gate(saturated(1), saturated(0.9), rule), rule)
    assert (better.verdict, better.change) == ("pass", pytest.approx(-10, abs=0.1))
    assert better.per_sequence[0].flags == ("saturated",)
    assert any("points saturated (at or beyond 99.5)" in note for note in better.notes)
    assert check(gate(saturated(1), saturated(1.1), rule), rule).verdict == "fail"


def test_a_least_overlap_is_asked_for(make) -> None:
    part = only(make(dict.fromkeys("abcde", 1.01)), lambda cell: cell.rate.value != 37)
    whole = only(make(FIVE), lambda cell: cell.rate.value != 37)
    for results, value in ((whole, 3), (part, 9)):
        for number, cell in enumerate(results.cells):
            psnr = cell.measurements["psnr_y"]
            more = {"psnr_y": psnr.model_copy(update={"value": psnr.value + value})}
            size = cell.bitstream.model_copy(update={"bytes": cell.bitstream.bytes * (2 if value == 9 else 1)})
            results.cells[number] = cell.model_copy(update={"measurements": more, "bitstream": size})
    assert check(gate(whole, part, RULE), RULE).change is not None
    found = check(gate(whole, part, RULE, min_overlap=0.75), RULE)
    assert "under the 75 % asked for" in " ".join((found.reason, *found.notes))


def test_a_rule_may_name_a_pooling_and_a_scale(make) -> None:
    pooled = {"pooled": {"p5": 30.0, "minimum": 20.0}}
    less = {"pooled": {"p5": 29.0, "minimum": 20.0}}
    psnr = {"key": "d" * 64, "status": "ok", "value": 40.0}
    old, new = (make({"a": 1.0}, measurements={"psnr_y": psnr | more}) for more in (pooled, less))
    assert check(gate(old, new, "psnr_y@p5<-0.5"), "psnr_y@p5<-0.5").change == pytest.approx(-1)
    assert check(gate(old, new, "psnr_y@min<-0.5"), "psnr_y@min<-0.5").verdict == "pass"
    missing = check(gate(old, new, "psnr_y@p95<-0.5"), "psnr_y@p95<-0.5")
    assert "psnr_y has no p95 of its frames" in missing.reason


def test_infinite_psnr_counts_as_capped(make) -> None:
    lossless = {"psnr_y": {"key": "d" * 64, "status": "ok", "value": float("inf"), "pooled": {"mean_capped": 99.9}}}
    result = gate(make({"a": 1.0}, measurements=lossless), make({"a": 1.0}), "psnr_y<-0.1")
    expected = np.mean([62 - 0.8 * rate - 99.9 for rate in (22, 27, 32, 37)])
    assert check(result, "psnr_y<-0.1").change == pytest.approx(expected)


def test_result_files_without_bytes_are_no_crash(make) -> None:
    empty = make(FIVE, bitstream={"bytes": 0})
    result = gate(make(FIVE), empty, RULE, "bytes>1%")
    assert [item.verdict for item in result.checks[2:]] == ["error", "error"]
    without = make(FIVE, bitstream=None)
    assert [item.verdict for item in gate(without, make(FIVE), RULE, "bytes>1%").checks[2:]] == ["error", "error"]


def test_only_some_sequences(make) -> None:
    candidate = make({**FIVE, "a": 1.2})
    assert not gate(make(FIVE), candidate, "worst bytes>1%").passed
    assert gate(make(FIVE), candidate, "worst bytes>1%", sequences=["b", "c"]).passed
    with pytest.raises(UnknownNameError):
        gate(make(FIVE), candidate, RULE, sequences=["z"])


def test_a_gate_without_rules_is_refused(make) -> None:
    with pytest.raises(UsageError, match="no rule is given"):
        gate(make(FIVE), make(FIVE))


def test_the_result_is_strict_json(make) -> None:
    import json

    result = gate(make(FIVE), make({**FIVE, "a": 1.1}), RULE, "bd_rate(vmaf)>1%", "encode_s>1%")
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["passed"] is False
    assert {item["verdict"] for item in written["checks"]} >= {"pass", "error"}
    assert all(item["blocks"] == (item["verdict"] in {"fail", "error"}) for item in written["checks"])
