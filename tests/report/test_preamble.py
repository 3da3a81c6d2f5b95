"""What stands before the numbers: leads that rest on metrics that can be fooled, metrics that break the order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from bench.analysis import fooled
from bench.analysis.significance import Interval
from bench.report import preamble as summary


@dataclass
class _Rate:
    value: float | None
    interval: Interval


@dataclass
class _Comparison:
    bd_rate: _Rate


@dataclass
class _Named:
    name: str = ""
    label: str = ""


@dataclass
class _Compared:
    metric: _Named
    comparison: _Comparison | None
    test: str = "mine"
    anchor: str = "x265"
    scope: _Named = None  # type: ignore[assignment]


def compared(rates: Mapping[str, tuple[float | None, float | None]]) -> list[_Compared]:
    scope = _Named(label="set")
    return [
        _Compared(_Named(metric), _Comparison(_Rate(value, Interval(None, high))), scope=scope)
        for metric, (value, high) in rates.items()
    ]


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ({"niqe": (-30.0, -20.0), "psnr_y": (12.0, 20.0)}, "rests on niqe (fooled by grain) alone, and not on psnr_y"),
        ({"niqe": (-30.0, None), "psnr_y": (-1.0, 4.0)}, "alone, and not on psnr_y"),
        ({"niqe": (-30.0, None)}, "alone; no other metric was compared"),
        ({"niqe": (-30.0, -20.0), "psnr_y": (-5.0, -1.0)}, None),
        ({"niqe": (30.0, 40.0), "psnr_y": (5.0, 9.0)}, None),
        ({"niqe": (None, None), "psnr_y": (5.0, 9.0)}, None),
    ],
)
def test_a_lead_that_rests_on_fooled_metrics_alone_is_named(
    monkeypatch: pytest.MonkeyPatch, rates: dict[str, tuple[float | None, float | None]], says: str | None
) -> None:
    monkeypatch.setattr(fooled, "FOOLED", {"niqe": ("grain",)})
    found = list(summary._fooled(compared(rates)))  # type: ignore[arg-type]
    assert len(found) == (says is not None)
    assert says is None or (says in found[0] and found[0].startswith("On set, the lead of mine over x265"))


def cell(name: str, kind: str, *metrics: str, **card: bool) -> SimpleNamespace:
    return SimpleNamespace(codec=SimpleNamespace(name=name, kind=kind, card=card), measurements=dict.fromkeys(metrics))


def test_vmaf_without_neg_is_named_where_a_codec_draws_detail() -> None:
    cells = [
        cell("x265", "classical", "vmaf"),
        cell("sr", "learned", "vmaf", restores=True),
        cell("drawn", "diffusion", "vmaf"),
        cell("both", "diffusion", "vmaf", "vmaf_neg"),
        cell("plain", "learned", "vmaf"),
    ]
    (note,) = summary._sharpened(cells)  # type: ignore[arg-type]
    assert "drawn and sr may sharpen: prefer VMAF NEG" in note
    assert not list(summary._sharpened([cells[0], cells[3], cells[4]]))  # type: ignore[list-item]


def test_codecs_whose_last_bits_depend_on_the_machine_are_named() -> None:
    cells = [
        cell("x265", "classical"),
        cell("net", "learned"),
        cell("integers", "learned", exact=True),
        cell("fitted", "overfitted"),
        cell("odd", "classical", exact=False),
    ]
    (note,) = summary._inexact(cells)  # type: ignore[arg-type]
    assert "what net and odd decoded may differ on another machine" in note
    assert not list(summary._inexact([cells[0], cells[3]]))  # type: ignore[list-item]


def test_overfitted_codecs_say_what_their_rate_and_time_hold() -> None:
    def fitted(kind: str, frames: int, seconds: float) -> SimpleNamespace:
        codec = SimpleNamespace(kind=kind, label="cool-chic (preset debug)")
        return SimpleNamespace(
            codec=codec, status="ok", encode=SimpleNamespace(seconds=seconds), sequence=SimpleNamespace(frames=frames)
        )

    (note,) = summary.overfitted([fitted("overfitted", 2, 120), fitted("overfitted", 6, 200)])  # type: ignore[list-item]
    assert note.startswith("cool-chic (preset debug) trains a network on each clip: its weights are in the bitstream")
    assert note.endswith("40 s per frame on average.")
    assert not list(summary.overfitted([fitted("learned", 2, 120)]))  # type: ignore[list-item]


def test_a_variant_is_fooled_as_its_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fooled, "FOOLED", {"ewarp": ("blur",), "vmaf": ("sharpen",)})
    assert fooled.fooled_by("ewarp:raft") == ("blur",)
    assert fooled.fooled_by("vmaf_neg") == ()
    assert fooled.fooled_by("vmaf@p5") == ("sharpen",)
