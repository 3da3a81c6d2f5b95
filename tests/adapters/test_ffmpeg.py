"""The FFmpeg adapter: command lines, what is refused, how failures are told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.adapters import ffmpeg as ffmpeg_adapter
from bench.adapters.base import RatePoint, copy_alone
from bench.adapters.ffmpeg import FFmpegCodec, check_version
from bench.adapters.ffmpeg import _packets as count_packets
from bench.cards import Card, Catalog
from bench.errors import CardError, DecodeError, EncodeError, SkippedError, TimeLimitError, UnavailableError
from bench.registry import build
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.sequence import open_sequence

TinyClip = Callable[..., Path]


def card(settings: dict[str, Any] | None = None, **changes: Any) -> Card:
    table = {"encoder": "mpeg2video", "arguments": ["-q:v", "{rate}"], "muxer": "mpeg2video", "demuxer": "mpegvideo"}
    return Card.model_validate(
        {
            "name": "mpeg2",
            "title": "MPEG-2",
            "adapter": "ffmpeg",
            "licence": "LGPL-2.1-or-later",
            "gop": "low delay: P frames only, an I frame every 12 frames",
            "extension": "m2v",
            "rates": {"parameter": "q", "values": [2, 31], "minimum": 1, "maximum": 31},
            "settings": {**table, **(settings or {})},
            **changes,
        }
    )


def codec(settings: dict[str, Any] | None = None, **changes: Any) -> FFmpegCodec:
    built = build(card(settings, **changes))
    assert isinstance(built, FFmpegCodec)
    return built


def test_clip_goes_there_and_back(tiny_clip: TinyClip, tmp_path: Path) -> None:
    sequence = open_sequence(tiny_clip())
    bitstream = tmp_path / "bitstream.m2v"
    info = codec().encode(sequence, RatePoint("q", 2), bitstream)
    with codec().open_decoder(copy_alone(bitstream, tmp_path / "decode"), sequence.format) as decoder:
        frames = list(decoder.frames())
    assert len(frames) == 9
    assert info.usage is not None and decoder.usage is not None
    assert info.usage.cpu_s > 0 and decoder.usage.peak_rss_bytes > 1 << 20


def test_relative_path_of_a_bitstream(tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    codec().encode(open_sequence(tiny_clip()), RatePoint("q", 2), Path("folder/bitstream.m2v"))
    assert (tmp_path / "folder" / "bitstream.m2v").stat().st_size > 0


def test_decoder_is_told_the_file_name_alone(tmp_path: Path) -> None:
    command = codec().decode_command(tmp_path / "decode" / "bitstream.m2v", VideoFormat(64, 64))
    assert "file:bitstream.m2v" in command.argv
    assert not any(str(tmp_path) in argument for argument in command.argv)


@pytest.mark.parametrize(
    ("fps", "period"), [("25", 32), ("30", 32), ("30000/1001", 32), ("50", 64), ("60000/1001", 64)]
)
def test_placeholders(tiny_clip: TinyClip, tmp_path: Path, fps: str, period: int) -> None:
    arguments = ["-g", "{intra_period}", "-q:v", "{rate}", "-metadata", "x={width}x{height} {frames} {fps} {range}"]
    sequence = open_sequence(tiny_clip(), fps=fps)
    command = codec({"arguments": arguments}).encode_command(sequence, sequence.format, RatePoint("q", 2), tmp_path)
    text = " ".join(command.argv)
    rate = fps if "/" in fps else f"{fps}/1"
    assert f"-g {period} -q:v 2 -metadata x=64x64 9 {rate} limited" in text


def test_unknown_placeholder_names_card_key_and_choice(tiny_clip: TinyClip, tmp_path: Path) -> None:
    sequence = open_sequence(tiny_clip())
    with pytest.raises(CardError, match=r"card mpeg2: settings\.arguments: \{qp\} is not a placeholder; .*rate"):
        codec({"arguments": ["-q:v", "{qp}"]}).encode_command(sequence, sequence.format, RatePoint("q", 2), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"arguments": ["-q:v", "2", "/etc/passwd"]},
        {"arguments": ["-f", "rawvideo", "../../escaped"]},
        {"arguments": ["-attach", "..\\x"]},
        {"decoder_arguments": ["-i", "http://127.0.0.1/x"]},
        {"encoder": "../x"},
        {"muxer": "tee:/x"},
        {"decoder": "-y"},
        {"unknown": 1},
    ],
)
def test_hostile_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(CardError, match=f"card mpeg2: settings:\n  {next(iter(settings))}"):
        codec(settings)


def test_failed_encode_says_command_status_and_reason(tiny_clip: TinyClip, tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="exited with status") as caught:
        codec({"arguments": ["-nosuchoption", "1"]}).encode(
            open_sequence(tiny_clip()), RatePoint("q", 2), tmp_path / "b.m2v"
        )
    assert caught.value.reason == "exit_status"
    assert "nosuchoption" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no bitstream at all" * 99])
def test_failed_decode_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.m2v").write_bytes(content)
    with codec().open_decoder(tmp_path / "b.m2v", VideoFormat(64, 64)) as decoder, pytest.raises(DecodeError):
        list(decoder.frames())


def test_time_limit_of_an_encode(tiny_clip: TinyClip, tmp_path: Path) -> None:
    slow = codec({"encoder": "libaom-av1", "arguments": ["-cpu-used", "0", "-crf", "1"], "muxer": "obu"})
    slow.time_limit = 0.3
    with pytest.raises(TimeLimitError, match=r"time limit of 0\.3 s"):
        slow.encode(open_sequence(tiny_clip(352, 288, 60)), RatePoint("q", 2), tmp_path / "b.obu")


def test_two_passes_are_two_commands_and_one_cost(tiny_clip: TinyClip, tmp_path: Path) -> None:
    settings = {"encoder": "libvpx-vp9", "arguments": ["-crf", "{rate}", "-b:v", "0"], "muxer": "ivf", "passes": 2}
    info = codec(settings).encode(open_sequence(tiny_clip()), RatePoint("q", 30), tmp_path / "b.ivf")
    assert len(info.commands) == 2
    assert [argv[argv.index("-pass") + 1] for argv in info.commands] == ["1", "2"]
    assert info.usage is not None and info.usage.cpu_s > 0
    assert (tmp_path / "b.ivf").stat().st_size > 0


@pytest.mark.parametrize(
    ("fmt", "reason"),
    [
        (VideoFormat(64, 64, chroma="444"), "chroma"),
        (VideoFormat(64, 64, chroma="rgb"), "chroma"),
        (VideoFormat(64, 64, bit_depth=10), "bit_depth"),
        (VideoFormat(64, 8), "size"),
    ],
)
def test_formats_the_card_does_not_take_are_skipped(fmt: VideoFormat, reason: str) -> None:
    with pytest.raises(SkippedError, match="mpeg2") as caught:
        codec(input={"minimum_size": 16}).transform(fmt)
    assert caught.value.reason == reason
    assert caught.value.status == "skipped"


def test_unknown_encoder_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="has no encoder libnothing"):
        codec({"encoder": "libnothing"}).check()


@pytest.mark.parametrize(
    ("version", "required", "fits"),
    [
        ("n9.0.2-17-g2a57", ">=7.0", True),
        ("6.1", ">=7.0", False),
        ("n7.1", ">=7.0,<8", True),
        ("N-1-gabc", ">=7", False),
    ],
)
def test_required_version(version: str, required: str, fits: bool) -> None:
    if fits:
        check_version("ffmpeg", version, required)
    else:
        with pytest.raises(UnavailableError, match=f"ffmpeg {version} is installed, the card requires {required}"):
            check_version("ffmpeg", version, required)


def test_card_may_require_a_version() -> None:
    codec(tool_version=">=4").check()
    with pytest.raises(UnavailableError, match="requires >=999"):
        codec(tool_version=">=999").check()


def test_tool_is_version_and_digest() -> None:
    tool = codec().tool()
    assert tool["ffmpeg"] == ffmpeg.version()
    assert len(tool["ffmpeg_sha256"]) == 64


@pytest.fixture
def another_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Clears what is remembered of the FFmpeg in use, before and after."""

    def forget() -> None:
        for remembered in (ffmpeg.executable, ffmpeg._version_text, ffmpeg._names):
            remembered.cache_clear()

    def use(program: str) -> None:
        monkeypatch.setenv("VCBENCH_FFMPEG", program)
        forget()

    yield use
    forget()


def test_ffmpeg_that_is_not_there(another_ffmpeg: Callable[[str], None]) -> None:
    another_ffmpeg("/no/such/ffmpeg")
    with pytest.raises(UnavailableError, match=r"VCBENCH_FFMPEG=/no/such/ffmpeg is not a program"):
        codec().check()


@pytest.mark.parametrize("number", ["4.2.2-static", "N-98765-gabcdef"])
@pytest.mark.parametrize(("library", "right"), [(" 58. 54.100", False), (" 60.  3.100", False), (" 61.  3.100", True)])
def test_ffmpeg_that_is_too_old_is_refused_with_the_version_that_is_needed(
    another_ffmpeg: Callable[[str], None], tmp_path: Path, number: str, library: str, right: bool
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nprintf 'ffmpeg version {number} of\\n  libavcodec     {library} / {library}\\n'\n")
    program.chmod(0o755)
    another_ffmpeg(str(program))
    if right:
        assert ffmpeg.version() == number
    else:
        with pytest.raises(UnavailableError, match=rf"is FFmpeg {number}; vcbench needs 7\.0 or newer"):
            codec().check()


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho 'other version 1'\n", "no program\n"])
def test_program_that_is_no_ffmpeg(another_ffmpeg: Callable[[str], None], tmp_path: Path, script: str) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(script)
    program.chmod(0o755)
    another_ffmpeg(str(program))
    with pytest.raises(UnavailableError, match=str(program)):
        codec().check()


@pytest.mark.skipif(sys.platform != "linux", reason="a symbolic link stands for another program")
def test_another_ffmpeg_is_another_tool(another_ffmpeg: Callable[[str], None], tmp_path: Path) -> None:
    before = codec().tool()
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\nexec {ffmpeg.executable()} "$@"\n')
    program.chmod(0o755)
    another_ffmpeg(str(program))
    assert codec().tool() != before
    codec().check()


@pytest.fixture
def vvenc() -> FFmpegCodec:
    built = build(Catalog((Path(__file__).parents[2],)).card("vvenc@low-delay"))
    assert isinstance(built, FFmpegCodec)
    return built


def test_frames_that_ffmpeg_drops_without_a_word_are_coded_again(
    vvenc: FFmpegCodec, tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def packets(bitstream: Path, demuxer: str) -> int:
        if not counted:
            bitstream.write_bytes(b"")  # as FFmpeg leaves it
        counted.append(count := count_packets(bitstream, demuxer))
        return count

    monkeypatch.setattr(ffmpeg_adapter, "_packets", packets)
    vvenc.encode(open_sequence(tiny_clip(64, 64, 5)), RatePoint("qp", 40), tmp_path / "x.vvc")
    assert counted[0] == 0 and counted[-1] == 5


def test_frames_that_are_dropped_every_time_are_an_error(
    vvenc: FFmpegCodec, tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg_adapter, "_TRIES", 2)
    monkeypatch.setattr(ffmpeg_adapter, "_packets", lambda bitstream, demuxer: 4)
    with pytest.raises(EncodeError, match="wrote 4 of 5 frames") as caught:
        vvenc.encode(open_sequence(tiny_clip(64, 64, 5)), RatePoint("qp", 40), tmp_path / "x.vvc")
    assert caught.value.reason == "frames_lost"
