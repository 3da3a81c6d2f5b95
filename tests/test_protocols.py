"""Conditions by name: which codecs, frames and metrics they mean, and that a report names them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from bench.analysis.options import CompareOptions
from bench.cards import Catalog
from bench.cli.options import PROTOCOL_NAMES
from bench.engine.options import RunOptions
from bench.engine.run import plan, resolve_metrics
from bench.errors import UnknownNameError
from bench.protocols import PROTOCOLS, common, protocol_of
from bench.report import build_report
from bench.report.measured import Measured

TinyClip = Callable[..., Path]


def test_the_command_line_offers_them_all() -> None:
    assert tuple(PROTOCOLS) == PROTOCOL_NAMES
    for protocol in PROTOCOLS.values():
        assert resolve_metrics([protocol.metrics])


@pytest.mark.parametrize(
    ("protocol", "codec", "meant"),
    [
        ("jvet-ra", "x265", "x265"),
        ("jvet-ra", "vtm", "vtm@random-access"),
        ("jvet-ld", "x265", "x265@low-delay"),
        ("jvet-ld", "vtm", "vtm"),
        ("jvet-ld", "x265@veryslow", "x265@veryslow"),
        ("dcvc", "openh264", "openh264"),
        ("jvet-ld", "apv", "apv"),
    ],
)
def test_a_codec_is_meant_in_the_structure(protocol: str, codec: str, meant: str) -> None:
    card = Catalog().card(codec)
    assert protocol_of(protocol).codec(codec, card) == meant
    deviates = protocol_of(protocol).deviates(Catalog().card(meant))
    assert deviates == (meant in {"x265@veryslow", "apv"})


def test_intra_period_is_the_protocols() -> None:
    card = Catalog().card("x265")
    ours = PROTOCOLS["aom-ctc"].card(card)
    assert "keyint=65:min-keyint=65" in ours.settings["arguments"][3]
    assert "I frame every 65 frames" in ours.gop
    assert ours.digest() != card.digest()
    assert PROTOCOLS["jvet-ra"].card(card) == card
    low_delay = Catalog().card("x265@low-delay")
    assert PROTOCOLS["aom-ctc"].card(low_delay) == low_delay


def test_a_plan_has_the_frames_and_metrics(tiny_clip: TinyClip) -> None:
    clip = tiny_clip(64, 64, 140)
    options = RunOptions(codecs=("x264",), inputs=(clip,), protocol="aom-ctc", rates=(30,))
    planned = plan(options)
    assert planned.protocol == "aom-ctc"
    assert [cell.sequence.frames for cell in planned.cells] == [130]
    assert "psnr_hvs" in planned.metrics
    given = plan(
        RunOptions(codecs=("x264",), inputs=(clip,), protocol="dcvc", rates=(30,), frames=7, metrics=("psnr_y",))
    )
    assert [(cell.codec.card.name, cell.sequence.frames) for cell in given.cells] == [("x264@low-delay", 7)]
    assert list(given.metrics) == ["psnr_y"]


def test_a_protocol_that_is_none(tiny_clip: TinyClip) -> None:
    with pytest.raises(UnknownNameError, match="jvet-ra"):
        RunOptions(codecs=("x264",), inputs=(tiny_clip(),), protocol="jvet")


def test_the_report_names_the_protocol(tiny_clip: TinyClip, tmp_path: Path) -> None:
    results = bench.run(
        ["x264", "mpeg2"], inputs=[tiny_clip()], protocol="dcvc", metrics=["psnr_y"], rates=[20], out=tmp_path / "out"
    )
    assert {cell.codec.name for cell in results.cells} == {"x264@low-delay", "mpeg2"}
    assert common(cell.provenance for cell in results.cells) is PROTOCOLS["dcvc"]
    assert common([{}, {"protocol": "dcvc"}]) is None
    page = build_report(results, tmp_path / "report", pictures=0)
    told = html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))
    assert "2 cells ran under the protocol dcvc (the DCVC family's: low delay, one I frame, the first 96 frames" in told
    assert "Another GOP structure than that of dcvc: mpeg2." in told


def test_every_output_has_the_protocols_convention(tiny_clip: TinyClip, tmp_path: Path) -> None:
    """What all outputs are made from takes the protocol's convention; one that is asked for stays."""
    results = bench.run(
        ["x264", "x265"], inputs=[tiny_clip(frames=3)], protocol="dcvc", metrics=["psnr_y"], rates=[20, 26, 32, 38],
        out=tmp_path / "out",
    )  # fmt: skip
    assert Measured.of(results).options.convention == "mean-curve"
    asked = CompareOptions(convention="per-sequence")
    assert Measured.of(results, options=asked).options.convention == "per-sequence"


def test_a_search_of_rates_records_the_protocol(tiny_clip: TinyClip, tmp_path: Path) -> None:
    results = bench.run(
        ["x265", "x264"], inputs=[tiny_clip(frames=3)], protocol="jvet-ld", metrics=["psnr_y"], rates=[30],
        match_rate="x265", tolerance=0.5, out=tmp_path / "out",
    )  # fmt: skip
    assert {cell.codec.name for cell in results.cells} == {"x265@low-delay", "x264@low-delay"}
    assert common(cell.provenance for cell in results.cells) is PROTOCOLS["jvet-ld"]
