"""All pairs at once are what `compare` says of each pair, in value and in what is undefined."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.bd import METHODS, Domain, bd_metric, bd_rate
from bench.analysis.compare import Comparison, compare, compare_codecs
from bench.analysis.curves import COLUMNS, CurveKey, curves
from bench.analysis.matrix import (
    NOT_COMPARABLE,
    Pairs,
    Summary,
    curve_doubts,
    delta_pairs,
    flag_bits,
    summarise,
)
from bench.analysis.options import CompareOptions, DeltaAxis
from bench.errors import UsageError

CODECS = ("a", "b", "c", "far", "short", "bent")
AXIS = DeltaAxis("psnr_y", higher_is_better=True)
DOMAINS: tuple[Domain, ...] = ("quality", "rate")


def row(codec: str, sequence: str, rate: int, bpp: float, value: float | None, **more: Any) -> dict[str, Any]:
    base = {"codec": codec, "rate": rate, "dataset": "set", "sequence": sequence, "frames": 10, "width": 64}
    base |= {"height": 64, "fps": 30.0, "bpp": bpp, "kbps": bpp, "rate_kind": "bitstream", "metric": "psnr_y"}
    base |= {"value": value, "status": "undefined" if value is None else "ok", "reason": None if value else "broken"}
    return {**dict.fromkeys(COLUMNS), **base, "encode_s": 1.0 + bpp, "decode_s": None, **more}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Six codecs on five sequences: three alike, one out of reach, one of two points, one that is not monotone."""
    random = np.random.default_rng(5)
    rows = []
    for number in range(5):
        for index, codec in enumerate(CODECS):
            if codec == "b" and number == 4:
                continue
            for step in range(2 if codec == "short" else 4):
                bpp = 0.05 * 2**step * (1 + 0.1 * index + 0.05 * random.random())
                value = 30.0 + 3 * step + 0.4 * random.random() + (40 if codec == "far" else 0)
                if codec == "bent" and step == 2:
                    value -= 6
                broken = codec == "c" and number == 3
                rows.append(row(codec, f"s{number}", step, bpp, None if broken else value))
        if number == 2:
            rows += [row("c", "s2", 9, 3.0, 48.0, frames=11)]
    return pd.DataFrame(rows)


def all_pairs(frame: pd.DataFrame, domain: Domain) -> list[Pairs]:
    found = curves(frame, "psnr_y")
    keys = sorted({curve.key for curve in found.values()})
    return [
        delta_pairs(key, [found.get(CurveKey(codec, *key)) for codec in CODECS], CODECS, domain, AXIS) for key in keys
    ]


@pytest.fixture(scope="module")
def tables(frame: pd.DataFrame) -> dict[str, list[list[Summary]]]:
    return dict(summarise({domain: all_pairs(frame, domain) for domain in DOMAINS}, CODECS))


@pytest.fixture(scope="module")
def said(frame: pd.DataFrame) -> dict[tuple[str, str], Comparison]:
    found = curves(frame, "psnr_y")
    return {
        (anchor, test): one
        for anchor in CODECS
        for test, one in compare_codecs(found, anchor, [name for name in CODECS if name != anchor], AXIS).items()
    }


@pytest.mark.parametrize("anchor", CODECS)
@pytest.mark.parametrize("test", CODECS)
def test_every_pair_is_what_compare_says(
    said: dict[tuple[str, str], Comparison], tables: dict[str, list[list[Summary]]], anchor: str, test: str
) -> None:
    if anchor == test:
        return
    one = said[anchor, test]
    for domain, overall in (("quality", one.bd_rate), ("rate", one.bd_metric)):
        got = tables[domain][CODECS.index(anchor)][CODECS.index(test)]
        assert (got.value is None) == (overall.value is None)
        assert got.value is None or got.value == pytest.approx(overall.value, rel=1e-9, abs=1e-9)
        assert (got.interval.low is None) == (overall.interval.low is None)
        if got.interval.low is not None:
            assert (got.interval.low, got.interval.high) == pytest.approx(
                (overall.interval.low, overall.interval.high), rel=1e-9, abs=1e-9
            )
        assert (got.used, got.total) == (overall.sequences_used, overall.sequences_total)
        assert got.interval.note == overall.interval.note
        assert got.value is None or got.overlap == pytest.approx(overall.overlap)
        assert (got.reason is None) == (overall.reason is None)
        assert got.flags == flag_bits(overall.flags)
        assert got.compared == (None if overall.compared is None else pytest.approx(overall.compared))
        assert got.spread == (None if overall.spread is None else pytest.approx(overall.spread, rel=1e-9, abs=1e-9))
        assert (got.encode is None) == (one.encode.value is None)
        assert got.encode is None or got.encode == pytest.approx(one.encode.value)
        assert got.decode is None


def test_sequences_without_a_value_have_the_reason_that_one_pair_has(
    frame: pd.DataFrame, said: dict[tuple[str, str], Comparison]
) -> None:
    checked = 0
    for pairs in all_pairs(frame, "quality"):
        for (anchor, test), (_, reason) in pairs.reasons.items():
            results = said[CODECS[anchor], CODECS[test]].per_sequence
            one = next((r.bd_rate for r in results if r.sequence == pairs.key.sequence), None)
            if one is not None:
                named = (one.reason or "").replace("anchor: ", f"{CODECS[anchor]}: ", 1)
                assert reason == named.replace("test: ", f"{CODECS[test]}: ", 1)
                checked += 1
    assert checked > 50


def test_many_reasons_are_folded(tables: dict[str, list[list[Summary]]]) -> None:
    reason = tables["quality"][CODECS.index("a")][CODECS.index("short")].reason
    assert reason == "short: 2 points; at least 3 are needed: measure more rates (--rates) (5 sequences)"


def test_no_sequence_at_all() -> None:
    summary = summarise({"quality": []}, ("a", "b"))["quality"][0][1]
    assert summary.value is None and summary.reason == "neither codec was measured" and summary.total == 0


def test_a_codec_against_itself_has_no_value(tables: dict[str, list[list[Summary]]]) -> None:
    assert all(tables["quality"][index][index].value is None for index in range(len(CODECS)))


def test_lower_is_better_turns_the_metric_and_not_the_rate(frame: pd.DataFrame) -> None:
    turned = frame.assign(value=100 - frame["value"])
    found = curves(turned, "psnr_y")
    key = min(curve.key for curve in found.values())
    both = [found[CurveKey(codec, *key)] for codec in ("a", "b")]
    pairs = {domain: delta_pairs(key, both, ("a", "b"), domain, DeltaAxis("psnr_y", False)) for domain in DOMAINS}
    said = compare(turned, "a", "b", "psnr_y", higher_is_better=False)
    one = next(result for result in said.per_sequence if result.sequence == key.sequence)
    assert pairs["quality"].value[0, 1] == pytest.approx(one.bd_rate.value)
    assert pairs["rate"].value[0, 1] == pytest.approx(one.bd_metric.value)
    assert not math.isnan(pairs["rate"].value[0, 1])


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("higher", [True, False])
def test_a_least_overlap_takes_the_values_below_it_and_says_so(
    frame: pd.DataFrame, domain: Domain, higher: bool
) -> None:
    """What each pair compares is what `compare` says, under the same least overlap."""
    turned = frame if higher else frame.assign(value=100 - frame["value"])
    found = curves(turned, "psnr_y")
    key = min(curve.key for curve in found.values())
    of_key = [found.get(CurveKey(codec, *key)) for codec in CODECS]
    axis, options = DeltaAxis("psnr_y", higher), CompareOptions(min_overlap=0.99)
    pairs = delta_pairs(key, of_key, CODECS, domain, axis, options)
    refused = 0
    for anchor, name in enumerate(CODECS):
        tests = [codec for codec in CODECS if codec != name]
        said = compare_codecs(found, name, tests, axis, options)
        for test, one in said.items():
            spot = anchor, CODECS.index(test)
            result = next(r for r in one.per_sequence if r.sequence == key.sequence)
            delta = result.bd_rate if domain == "quality" else result.bd_metric
            assert math.isnan(pairs.value[spot]) == (delta.value is None), (name, test)
            if delta.value is None:
                assert pairs.reasons[spot][1].endswith(str(delta.reason).partition(": ")[2])
                refused += "is under the 99 % asked for" in pairs.reasons[spot][1]
            else:
                assert tuple(pairs.compared[:, *spot]) == pytest.approx(delta.compared)
    assert refused > 2
    with pytest.raises(UsageError, match="min_overlap is 75; give a share"):
        CompareOptions(min_overlap=75)


def test_a_pair_on_few_sequences_stands_apart(frame: pd.DataFrame) -> None:
    """Codec c keeps one of five sequences, less than half of what the others have in common."""
    few = frame[(frame["codec"] != "c") | (frame["sequence"] == "s0")]
    row = summarise({domain: all_pairs(few, domain) for domain in DOMAINS}, CODECS)["quality"][0]
    assert [(one.apart, one.used) for one in row[1:3]] == [(False, 4), (True, 1)]
    assert row[2].reason and "not measured (4 sequences)" in row[2].reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hull", [False, True])
@pytest.mark.parametrize("higher", [True, False])
def test_every_pair_is_to_the_last_digit_what_one_pair_alone_is(
    frame: pd.DataFrame, method: str, hull: bool, higher: bool
) -> None:
    """Values, flags, notes and reasons are those of `bd_rate` and `bd_metric`, which integrate curve by curve."""
    turned = frame if higher else frame.assign(value=100 - frame["value"])
    found = curves(turned, "psnr_y")
    axis, options = DeltaAxis("psnr_y", higher), CompareOptions(method=method, hull=hull, min_overlap=0.3)
    settings: dict[str, Any] = {"higher_is_better": higher, "method": method, "hull": hull, "min_overlap": 0.3}
    names = ["anchor", *["test"] * (len(CODECS) - 1)]
    alone: dict[Domain, Any] = {"quality": bd_rate, "rate": bd_metric}
    compared = 0
    for key in sorted({curve.key for curve in found.values()}):
        own = [found.get(CurveKey(codec, *key)) for codec in CODECS]
        for domain in DOMAINS:
            one_row = delta_pairs(key, own, CODECS, domain, axis, options, names=names, anchors=1)
            every = delta_pairs(key, own, CODECS, domain, axis, options)
            for number, curve in enumerate(own[1:], start=1):
                result = one_row.result(0, number)
                assert result.value is None or result.value == every.result(0, number).value
                if own[0] is None or curve is None or result.cause in NOT_COMPARABLE:
                    continue
                said = alone[domain](*own[0].delta_points, *curve.delta_points, **settings)
                lacking = [doubt.text for doubt in (*curve_doubts(own[0]), *curve_doubts(curve))]
                told = tuple(note for note in result.notes if note not in lacking)
                flags = tuple(flag for flag in result.flags if flag in said.flags)
                assert replace(result, notes=told, flags=flags) == said
                compared += said.value is not None
    assert compared > 12
