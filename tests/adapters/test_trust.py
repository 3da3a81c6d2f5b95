"""What a card from elsewhere may do without --trust: set up an encoder, and nothing more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from card_texts import command_card
from command_line import Vcbench

from bench.adapters.base import RatePoint
from bench.cards import Card, brought, is_ours, load_card
from bench.errors import UnavailableError
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.sequence import open_sequence

OURS = next(folder for folder in brought("codecs") if folder.is_dir())


def strangers_card(name: str, witness: Path) -> str:
    touch = ["-c", f"touch {witness}"]
    return command_card(name, "STRANGER", touch, touch, version=touch, names=["sh"])


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose codecs/ replace x265 by a program; the file that exists once the program has run."""
    witness = tmp_path / "executed"
    (tmp_path / "codecs").mkdir()
    (tmp_path / "codecs" / "x265.toml").write_text(strangers_card("x265", witness))
    monkeypatch.chdir(tmp_path)
    return witness


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["ls", "codecs"], 0),
        (["validate"], 0),
        (["validate", "codecs/x265.toml"], 0),
        (["validate", "--run", "x265"], 4),
        (["run", "--codecs", "x265", "--dry-run"], 4),
        (["run", "--codecs", "x265"], 4),
        (["run", "--codecs", "codecs/x265.toml"], 4),
    ],
)
def test_no_command_runs_a_strangers_program(
    stranger: Path, tiny_clip: Callable[..., Path], vcbench: Vcbench, command: list[str], code: int
) -> None:
    more = ["--input", str(tiny_clip(64, 48, frames=2)), "--metrics", "psnr_y"] if command[0] == "run" else []
    told = vcbench(*command, *more)
    assert told.code == code
    assert not stranger.exists()
    if code == 4:
        assert "card x265 in codecs would run sh or what STRANGER names; give --trust" in told.err.replace(
            str(Path.cwd() / "codecs"), "codecs"
        )


def test_a_trusted_program_runs(stranger: Path) -> None:
    build(load_card(Path("codecs/x265.toml")), folder=Path("codecs"), trust=True).check()
    assert stranger.exists()


def test_ours_are_those_that_come_with_vcbench(tmp_path: Path) -> None:
    assert is_ours(OURS)
    assert not is_ours(tmp_path)
    assert not is_ours(OURS / "weights")
    (tmp_path / "codecs").symlink_to(OURS)
    assert is_ours(tmp_path / "codecs")


def ffmpeg_card(**settings: Any) -> Card:
    card = load_card(OURS / "x264.toml")
    return card.model_copy(update={"settings": {**card.settings, **settings}})


@pytest.mark.parametrize(
    "settings",
    [
        {"arguments": ["-an", "udp:127.0.0.1:9"]},
        {"arguments": ["-qp", "30", "udp:127.0.0.1:9"]},
        {"arguments": ["-i", "tcp:127.0.0.1:9"]},
        {"arguments": ["-vf", "movie=secret.y4m"]},
        {"arguments": ["-progress", "tcp:127.0.0.1:9"]},
        {"arguments": ["-protocol_whitelist", "file,http,tcp"]},
        {"arguments": ["-qp:a:0", "30"]},
        {"decoder_arguments": ["-protocol_whitelist", "file,http,tcp"]},
        {"muxer": "tee"},
        {"demuxer": "concat"},
        {"demuxer": "hls"},
    ],
    ids=str,
)
def test_ffmpeg_options_that_open_things_need_trust(settings: dict[str, Any], tmp_path: Path) -> None:
    card = ffmpeg_card(**settings)
    refused = build(card, folder=tmp_path)
    for step in (refused.check, lambda: refused.decode_command(tmp_path / "b.h264", VideoFormat(64, 64))):
        with pytest.raises(UnavailableError, match=r"may open files or connections; give --trust"):
            step()
    build(card, folder=tmp_path, trust=True).check()


def test_an_encode_without_trust_is_refused_too(tmp_path: Path, tiny_clip: Callable[..., Path]) -> None:
    refused = build(ffmpeg_card(arguments=["-an", "udp:127.0.0.1:9"]), folder=tmp_path)
    with pytest.raises(UnavailableError, match="gives FFmpeg -an"):
        refused.encode(open_sequence(tiny_clip(64, 48, frames=2)), RatePoint("qp", 30), tmp_path / "b.h264")


def test_parameters_of_an_encoder_need_no_trust(tmp_path: Path) -> None:
    """A copy of each of our FFmpeg cards is a good start for one of one's own."""
    copies = [Path(shutil.copy(path, tmp_path)) for path in OURS.glob("*.toml")]
    # what a hardware encoder takes, its driver decides, which few machines have
    cards = [card for card in map(load_card, copies) if card.adapter == "ffmpeg" and "hardware" not in card.settings]
    assert len(cards) >= 7
    for card in cards:
        for configuration in (None, *card.configurations):
            build(card.configured(configuration), folder=tmp_path).check()
