"""Our cards of encoders that are programs of the user's: each is run for real where its program is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.adapters.base import RatePoint, copy_alone
from bench.adapters.command import CommandCodec
from bench.cards import Catalog, brought, load_card
from bench.errors import UnavailableError
from bench.registry import build
from bench.video import ffmpeg
from bench.video.frame import Frame
from bench.video.sequence import Sequence, open_sequence

TinyClip = Callable[..., Path]

OURS = next(folder for folder in brought("codecs") if folder.is_dir())
PROGRAMS = {
    "x265-cli": "x265", "svtav1encapp": "SvtAv1EncApp", "vvencapp": "vvencapp", "uvg266": "uvg266",
    "kvazaar-cli": "kvazaar",
}  # fmt: skip

REFERENCE = {"hm": "HM", "vtm": "VTM", "ecm": "ECM", "avm": "AVM"}
# read before the tests have an environment of their own
FOLDERS = {name: os.environ.get(f"VCBENCH_{tool}") for name, tool in REFERENCE.items()}


def codec_of(name: str) -> CommandCodec:
    base, _, configuration = name.partition("@")
    built = build(load_card(OURS / f"{base}.toml").configured(configuration or None), folder=OURS)
    assert isinstance(built, CommandCodec)
    return built


def installed(name: str) -> CommandCodec:
    """The codec of a card, if its program is on PATH."""
    program = PROGRAMS[name.partition("@")[0]]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on PATH")
    codec = codec_of(name)
    codec.check()
    return codec


def configured() -> Iterator[str]:
    for name in PROGRAMS:
        yield from (name, *(f"{name}@{other}" for other in load_card(OURS / f"{name}.toml").configurations))


def encode(codec: CommandCodec, sequence: Sequence, rate: float, folder: Path) -> Path:
    folder.mkdir(parents=True)
    bitstream = folder / f"bitstream.{codec.card.extension}"
    codec.encode(sequence, RatePoint(codec.card.rates.parameter, rate), bitstream)
    return bitstream


def decode(codec: CommandCodec, bitstream: Path, sequence: Sequence) -> list[Frame]:
    transform = codec.transform(sequence.format)
    with codec.open_decoder(copy_alone(bitstream, bitstream.parent / "decode"), transform.coded) as decoder:
        frames = list(decoder.frames())
    coded = transform.coded
    assert {(frame.format.width, frame.format.height, frame.format.pix_fmt) for frame in frames} == {
        (coded.width, coded.height, coded.pix_fmt)
    }
    return [transform.inverse(frame) for frame in frames]


def psnr(sequence: Sequence, frames: list[Frame], plane: int) -> float:
    pairs = zip(sequence.read(), frames, strict=True)
    error = np.mean([np.mean((a.planes[plane].astype(float) - b.planes[plane]) ** 2) for a, b in pairs])
    return float(10 * np.log10(sequence.format.peak**2 / max(float(error), 1e-3)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_bits_fall_and_pictures_come_back(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    codec = installed(name)
    sequence = open_sequence(tiny_clip(95, 67, 9, noise=3))
    rates = codec.card.rates
    points = [rates.minimum, *rates.values[1:3], rates.maximum]
    streams = [encode(codec, sequence, rate, tmp_path / str(rate)) for rate in points]
    sizes = [stream.stat().st_size for stream in streams]
    assert sizes == sorted(set(sizes), reverse=True)
    fine, coarse = (decode(codec, stream, sequence) for stream in (streams[0], streams[-1]))
    assert len(fine) == len(coarse) == 9
    for plane in range(3):
        assert psnr(sequence, fine, plane) > max(36, psnr(sequence, coarse, plane) + 3)
    again = encode(codec, sequence, points[1], tmp_path / "again")
    assert again.read_bytes() == streams[1].read_bytes()
    assert codec.tool()["version"][0].isdigit()


FORMATS = [
    (name, chroma, depth)
    for name in PROGRAMS
    for chroma in load_card(OURS / f"{name}.toml").input.chroma
    for depth in load_card(OURS / f"{name}.toml").input.bit_depths
]


@pytest.mark.parametrize(("name", "chroma", "depth"), FORMATS)
def test_formats_and_the_smallest_size_in_full_range(
    tiny_clip: TinyClip, tmp_path: Path, name: str, chroma: str, depth: int
) -> None:
    codec = installed(name)
    side = codec.card.input.minimum_size
    pix_fmt = f"yuv{chroma}p" + (f"{depth}le" if depth > 8 else "")
    sequence = open_sequence(tiny_clip(side, side, 3, pix_fmt, noise=3, full_range=True))
    frames = decode(codec, encode(codec, sequence, codec.card.rates.minimum, tmp_path / "cell"), sequence)
    assert len(frames) == 3
    assert all(psnr(sequence, frames, plane) > 36 for plane in range(3))  # a change of range would cost more


@pytest.mark.parametrize("name", list(configured()))
def test_gop_structure_is_the_one_described(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    codec = installed(name)
    random_access = "random access" in codec.card.gop
    for rate, expected in (("25", [0, 32, 64]), ("60", [0, 64])) if random_access else (("25", [0]),):
        sequence = open_sequence(tiny_clip(64, 64, 70, rate=rate))
        stream = encode(codec, sequence, codec.card.rates.values[1], tmp_path / rate)
        assert intra_frames(stream, codec.settings.decoder.arguments) == expected


def intra_frames(stream: Path, arguments: tuple[str, ...]) -> list[int]:
    """Numbers of the I frames, as the card's own decoder reads the stream."""
    until_input = [argument.replace("{bitstream}", str(stream)) for argument in arguments[: arguments.index("-i") + 2]]
    until_input[until_input.index("-loglevel") + 1] = "info"
    argv = [ffmpeg.executable(), *until_input, "-vf", "showinfo", "-f", "null", "-"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
    return [number for number, kind in enumerate(re.findall(r" type:(\S)", said)) if kind == "I"]


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_encoders_where_a_build_is_named(
    tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = FOLDERS[name]
    if folder is None:
        pytest.skip(f"VCBENCH_{REFERENCE[name]} names no build of {REFERENCE[name]}")
    monkeypatch.setenv(f"VCBENCH_{REFERENCE[name]}", folder)
    codec = codec_of(name)
    codec.check()
    sequence = open_sequence(tiny_clip(67, 45, 3, noise=3))
    streams = [
        encode(codec, sequence, rate, tmp_path / str(rate))
        for rate in codec.card.rates.values[:: len(codec.card.rates.values) - 1]
    ]
    fine, coarse = (decode(codec, stream, sequence) for stream in streams)
    assert streams[0].stat().st_size > streams[1].stat().st_size
    assert all(psnr(sequence, fine, plane) > psnr(sequence, coarse, plane) + 3 for plane in range(3))
    assert psnr(sequence, fine, 0) > 36


@pytest.mark.parametrize("name", [*PROGRAMS, *REFERENCE])
def test_without_the_program_the_card_says_all_that_helps(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    codec = codec_of(name)
    with pytest.raises(UnavailableError) as caught:
        codec.check()
    wanted = codec.settings.encoder
    assert f"set {wanted.env} to it" in str(caught.value)
    assert all(program in str(caught.value) for program in wanted.names)
    assert codec.settings.get in str(caught.value)


def test_settings_are_those_of_the_cards_that_run_inside_ffmpeg() -> None:
    catalog = Catalog((OURS.parent,))
    for program, inside in (("x265-cli", "x265"), ("svtav1encapp", "svt-av1"), ("vvencapp", "vvenc")):
        theirs, ours = (catalog.card(name) for name in (program, inside))
        assert theirs.rates.values == ours.rates.values
        assert theirs.gop == ours.gop
