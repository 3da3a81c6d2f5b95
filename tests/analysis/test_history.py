"""A history's changes are those of the gate, against the first revision that has the codec."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bench.analysis.gate.judge import judge
from bench.analysis.gate.rules import parse_rule
from bench.analysis.history import Revision, history
from bench.errors import UnknownNameError
from bench.results.result_set import ResultSet

_spec = importlib.util.spec_from_file_location("made_cells", Path(__file__).parent / "gate" / "conftest.py")
assert _spec is not None and _spec.loader is not None
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)

CLIPS = "abc"


def results(factor: float, *codecs: str, seconds: float = 1.0, **changed: object) -> ResultSet:
    """x265, or other codecs, on three clips with ``factor`` times the bytes."""
    cells = [
        _made.cell(codec, clip, rate, 62.0 - 0.8 * rate, round(factor * 2e6 * 2 ** (-rate / 6)), seconds, **changed)
        for codec in codecs or ("x265",)
        for clip in CLIPS
        for rate in _made.RATES
    ]
    return ResultSet((Path("made"),), cells)


def of(found, quantity: str, codec: str = "x265") -> list[float | None]:
    track = next(track for track in found.tracks if (track.quantity, track.codec) == (quantity, codec))
    return [point.value for point in track.points]


def test_changes_are_from_the_first_revision_and_equal_the_gates() -> None:
    sets = [results(1.0), results(1.0), results(0.9, seconds=2.0), results(1.1)]
    found = history([Revision(str(n), item) for n, item in enumerate(sets)], ["psnr_y"])
    assert of(found, "bd_rate(psnr_y)") == pytest.approx([0, 0, -10, 10], abs=0.01)
    assert of(found, "encode_s") == pytest.approx([0, 0, 100, 0])
    track = found.tracks[0]
    assert [point.exact for point in track.points] == [True, True, False, False]
    rule = parse_rule("bd_rate(psnr_y)>0%")
    check = next(c for c in judge([sets[0]], [sets[3]], [rule]).checks if c.rule == rule.text)
    assert (track.points[3].low, track.points[3].high) == (check.low, check.high)


def test_a_codec_that_comes_later_has_its_own_reference_and_one_that_goes_a_gap() -> None:
    sets = [results(1.0), results(1.0, "x264", "x265"), results(1.05, "x264")]
    found = history([Revision(str(n), item) for n, item in enumerate(sets)], ["psnr_y"])
    assert of(found, "bd_rate(psnr_y)", "x264") == [None, 0, pytest.approx(5, abs=0.01)]
    assert of(found, "bd_rate(psnr_y)") == [0, 0, None]
    assert {track.codec: track.reference for track in found.tracks} == {"x264": "1", "x265": "0"}
    assert found.tracks[0].points[0].reason == "not measured"


def test_times_under_load_are_left_for_cpu_times() -> None:
    shared = {"timing": "shared"}
    sets = [results(1.0), results(1.0, encode=shared)]
    found = history([Revision(str(n), item) for n, item in enumerate(sets)], ["psnr_y"])
    assert [name for name in found.quantities if name.startswith("encode")] == ["encode_cpu_s", "encode_memory"]


def test_what_was_not_measured_is_named() -> None:
    revisions = [Revision("0", results(1.0)), Revision("1", results(1.0))]
    with pytest.raises(UnknownNameError, match="vvenc"):
        history(revisions, ["psnr_y"], ["vvenc"])
    with pytest.raises(UnknownNameError, match="vmaf"):
        history(revisions, ["vmaf"])
