"""Encoders in hardware: their cards against what FFmpeg's encoders take, and what is said where no device is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.adapters import hardware
from bench.adapters.base import RatePoint
from bench.adapters.ffmpeg import FFmpegCodec
from bench.cards import Card, brought, load_card
from bench.core import process
from bench.errors import UnavailableError
from bench.registry import build
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.sequence import open_sequence

TinyClip = Callable[..., Path]
OURS = next(folder for folder in brought("codecs") if folder.is_dir())
CARDS = {path.stem: load_card(path) for path in sorted(OURS.glob("*-*.toml")) if "hardware =" in path.read_text()}
# options that FFmpeg itself has for every encoder
COMMON = {"g", "bf", "q:v", "global_quality"}


def codec_of(card: Card) -> FFmpegCodec:
    codec = build(card)
    assert isinstance(codec, FFmpegCodec)
    return codec


def test_three_formats_by_three_interfaces() -> None:
    assert set(CARDS) == {f"{coded}-{by}" for coded in ("h264", "hevc", "av1") for by in ("nvenc", "qsv", "vaapi")}


@pytest.mark.parametrize("name", CARDS)
def test_encoders_have_the_options_of_their_cards(name: str) -> None:
    settings = CARDS[name].settings
    assert settings["encoder"] in ffmpeg.encoders()
    out, _, _ = process.run([ffmpeg.executable(), "-hide_banner", "-h", f"encoder={settings['encoder']}"])
    known = set(re.findall(r"^  -(\S+)", out.decode(), re.MULTILINE)) | COMMON
    assert {option.removeprefix("-") for option in settings["arguments"][::2]} <= known


@pytest.mark.parametrize("name", CARDS)
def test_a_machine_without_the_device_says_what_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hardware.VAAPI_DEVICE, "/dev/dri/no-such-device")
    hardware.device.cache_clear()
    try:
        told = codec_of(CARDS[name]).tool()["device"]
    except UnavailableError as error:
        assert re.search(r"needs an? (NVIDIA |Intel )?GPU", str(error))
        assert CARDS[name].settings["encoder"] in str(error)
    else:
        assert told and "vaapi" not in name
    finally:
        hardware.device.cache_clear()


@pytest.mark.parametrize(("name", "depth", "surface"), [("hevc-vaapi", 8, "nv12"), ("hevc-vaapi", 10, "p010le")])
def test_frames_are_sent_to_the_device(
    tiny_clip: TinyClip, tmp_path: Path, name: str, depth: int, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hardware.VAAPI_DEVICE, "/dev/dri/renderD129")
    coded = VideoFormat(256, 256, bit_depth=depth)  # type: ignore[arg-type]
    command = codec_of(CARDS[name]).encode_command(
        open_sequence(tiny_clip()), coded, RatePoint("qp", 30), tmp_path / "b.hevc"
    )
    line = " ".join(command.argv)
    assert "-init_hw_device vaapi=hw:/dev/dri/renderD129 -filter_hw_device hw" in line
    assert f"-vf format={surface},hwupload" in line
    assert "-qp 30" in line
    assert line.index("-init_hw_device") < line.index(" -i ") < line.index("-vf")


def test_qsv_takes_the_samples_interleaved(tiny_clip: TinyClip, tmp_path: Path) -> None:
    coded = VideoFormat(256, 256)
    command = codec_of(CARDS["h264-qsv"]).encode_command(
        open_sequence(tiny_clip()), coded, RatePoint("qp", 30), tmp_path / "b.h264"
    )
    after = command.argv[command.argv.index("-i") :]
    assert after[after.index("-pix_fmt") + 1] == "nv12"


def test_a_probe_that_succeeds_tells_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (node := tmp_path / "renderD128").touch()
    monkeypatch.setenv(hardware.VAAPI_DEVICE, str(node))
    said = "[AVHWDeviceContext @ 0x1] VAAPI driver: Intel iHD driver for Intel(R) Gen Graphics - 24.1.0 ().\n"
    monkeypatch.setattr(process, "run", lambda argv: (b"", said, 0))
    hardware.device.cache_clear()
    assert hardware.device("vaapi", "h264_vaapi", ("-qp", "30")).startswith("Intel iHD driver")
    hardware.device.cache_clear()
