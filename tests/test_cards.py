"""Every card we bring does what it says: formats, rates, GOP structure, the same bytes twice."""

from __future__ import annotations

import functools
import itertools
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.adapters.base import RatePoint, copy_alone
from bench.adapters.ffmpeg import FFmpegCodec
from bench.cards import Card, Catalog
from bench.datasets import quickstart
from bench.registry import build
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
RunFFmpeg = Callable[..., bytes]

OURS = Path(__file__).resolve().parents[1] / "codecs"
FRAMES = 9


def cards() -> Iterator[Card]:
    """Every FFmpeg card beside the package, in each of its configurations."""
    catalog = Catalog((OURS.parent,))
    for path in sorted(OURS.glob("*.toml")):
        card = catalog.card(str(path))
        if card.adapter == "ffmpeg" and "hardware" not in card.settings:
            yield from (card.configured(configuration) for configuration in (None, *card.configurations))


CARDS = {card.name: card for card in cards()}
WHOLE = [name for name in CARDS if "@" not in name or "low-delay" in name]
"""Cards that are tested whole: another preset, period, rate control or all intra changes nothing in what an encoder
takes."""

RISING = {"bpp", "quality"}
"""Parameters that rise with the rate."""


def finest_first(card: Card, values: Iterable[float]) -> list[float]:
    return sorted(values, reverse=card.rates.parameter in RISING)


def fitting(tiny_clip: TinyClip, name: str, frames: int = FRAMES, **more: object) -> Path:
    """A tiny clip that a card takes."""
    wanted = CARDS[name].input
    # cpu-used 0 takes minutes of larger ones, VVenC seconds; at its lowest QP that fails on smaller ones
    sides = {"libaom@ctc": 16, "vvenc@slow": 24, "vvenc@medium": 24, "vvenc@low-delay": 24, "vvenc": 64, "theora": 64}
    side = (sides | {"x264@two-pass": 144, "x265@two-pass": 144}).get(name, 32)
    side = max(side, wanted.minimum_size)
    return tiny_clip(side, side, frames, **{"pix_fmt": pix_fmt(wanted.chroma[0], wanted.bit_depths[0]), **more})


def codec_of(name: str) -> FFmpegCodec:
    codec = build(CARDS[name])
    assert isinstance(codec, FFmpegCodec)
    return codec


def quick(name: str) -> FFmpegCodec:
    """The codec at its fastest preset, where only formats matter and its own takes seconds."""
    card, faster = CARDS[name], {"rav1e": ("-speed", "10")}.get(name.partition("@")[0])
    if faster is None:
        return codec_of(name)
    arguments = list(card.settings["arguments"])
    arguments[arguments.index(faster[0]) + 1] = faster[1]
    codec = build(card.model_copy(update={"settings": {**card.settings, "arguments": arguments}}))
    assert isinstance(codec, FFmpegCodec)
    return codec


def pix_fmt(chroma: str, depth: int) -> str:
    return VideoFormat(2, 2, chroma=chroma, bit_depth=depth).pix_fmt  # type: ignore[arg-type]


def encode(codec: FFmpegCodec, sequence: Sequence, rate: float, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    bitstream = folder / f"bitstream.{codec.card.extension}"
    codec.encode(sequence, RatePoint(codec.card.rates.parameter, rate), bitstream)
    return bitstream


def decode(codec: FFmpegCodec, bitstream: Path, source: VideoFormat) -> list[Frame]:
    transform = codec.transform(source)
    with codec.open_decoder(copy_alone(bitstream, bitstream.parent / "decode"), transform.coded) as decoder:
        frames = list(decoder.frames())
    for frame in frames:
        got, coded = frame.format, transform.coded
        assert (got.width, got.height, got.pix_fmt) == (coded.width, coded.height, coded.pix_fmt)
        assert got.full_range == coded.full_range
    return [transform.inverse(frame) for frame in frames]


def psnr(sequence: Sequence, frames: list[Frame], plane: int) -> float:
    errors = [
        np.mean((source.planes[plane].astype(float) - frame.planes[plane]) ** 2)
        for source, frame in zip(sequence.read(), frames, strict=True)
    ]
    return float(10 * np.log10(sequence.format.peak**2 / max(float(np.mean(errors)), 1e-3)))


FORMATS = [
    pytest.param(name, chroma, depth, size, id=f"{name} {pix_fmt(chroma, depth)} {size[0]}x{size[1]}")
    for name, card in CARDS.items()
    for chroma, depth in itertools.product(card.input.chroma, card.input.bit_depths)
    for size in [(67, 45) if depth == 8 else (64, 64)]
    if name in WHOLE
]


@pytest.mark.parametrize(("name", "chroma", "depth", "size"), FORMATS)
def test_declared_formats_and_the_ends_of_the_rate_range(
    tiny_clip: TinyClip, tmp_path: Path, name: str, chroma: str, depth: int, size: tuple[int, int]
) -> None:
    codec = quick(name)
    # little noise: what the lowest QP has to code must fit
    more = max(0, codec.card.input.minimum_size - min(size))
    sequence = open_sequence(tiny_clip(size[0] + more, size[1] + more, 5, pix_fmt(chroma, depth), noise=3))
    rates = codec.card.rates_at(depth)
    sizes, qualities = [], []
    for rate in finest_first(codec.card, (rates.minimum, rates.maximum)):
        bitstream = encode(codec, sequence, rate, tmp_path / str(rate))
        frames = decode(codec, bitstream, sequence.format)
        sizes.append(bitstream.stat().st_size)
        qualities.append([psnr(sequence, frames, plane) for plane in range(len(frames[0].planes))])
        assert len(frames) == 5
    # 3 kB of a Theora stream are headers
    assert sizes[0] > (1.5 if name == "theora" else 4) * sizes[1] > 0
    assert min(qualities[0]) > 38  # each plane: none is lost, shifted or of another range
    assert all(fine > coarse for fine, coarse in zip(*qualities, strict=True))


@pytest.mark.parametrize("name", WHOLE)
def test_bits_fall_from_rate_point_to_rate_point(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    codec = codec_of(name)
    sequence = open_sequence(fitting(tiny_clip, name))
    values = codec.card.rates.values
    assert list(values) == sorted(values)
    rates = finest_first(codec.card, values)
    sizes = [encode(codec, sequence, rate, tmp_path / str(rate)).stat().st_size for rate in rates]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("name", WHOLE)
def test_smallest_size(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    codec = codec_of(name)
    side = codec.card.input.minimum_size
    sequence = open_sequence(tiny_clip(side, side, pix_fmt=pix_fmt(codec.card.input.chroma[0], 8)))
    bitstream = encode(codec, sequence, codec.card.rates.values[-1], tmp_path)
    assert len(decode(codec, bitstream, sequence.format)) == FRAMES


FULL_RANGE = [
    pytest.param(name, chroma, depth, id=f"{name} {pix_fmt(chroma, depth)}")
    for name, card in CARDS.items()
    for chroma, depth in itertools.product(card.input.chroma, card.input.bit_depths)
    if "@" not in name and depth in (8, 10)
]


@pytest.mark.parametrize(("name", "chroma", "depth"), FULL_RANGE)
def test_full_range_is_neither_stretched_nor_forgotten(
    tiny_clip: TinyClip, tmp_path: Path, name: str, chroma: str, depth: int
) -> None:
    codec = codec_of(name)
    sequence = open_sequence(fitting(tiny_clip, name, pix_fmt=pix_fmt(chroma, depth), noise=3, full_range=True))
    assert sequence.format.full_range
    rates = codec.card.rates
    finest = finest_first(codec.card, (rates.minimum, rates.maximum))[0]
    frames = decode(codec, encode(codec, sequence, finest, tmp_path), sequence.format)
    for plane in range(len(frames[0].planes)):
        means = [
            np.mean([frame.planes[plane].mean() for frame in given]) / sequence.format.peak
            for given in (list(sequence.read()), frames)
        ]
        assert means[1] == pytest.approx(means[0], abs=0.003)  # a change of range moves these by 0.03 and more
        assert psnr(sequence, frames, plane) > 38


LENGTH = 17
"""Frames of the clips that qualities are compared on; every frame of an all-intra codec says the same."""


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory, run_ffmpeg: RunFFmpeg) -> dict[tuple[int, int], Path]:
    """Small clips of the embedded dataset's coffee, by bit depth and frames."""
    folder = tmp_path_factory.mktemp("natural")
    whole = quickstart.write_y4m("coffee", folder / "whole.y4m")
    clips = {}
    for depth, frames in ((8, LENGTH), (10, LENGTH), (8, 4)):
        clips[depth, frames] = folder / f"{depth}-{frames}.y4m"
        run_ffmpeg(
            "-i", whole, "-frames:v", frames, "-vf", "crop=96:80:100:80", "-pix_fmt", pix_fmt("420", depth),
            "-strict", "-1", clips[depth, frames],
        )  # fmt: skip
    return clips


@pytest.fixture(scope="module")
def quality(
    natural: dict[tuple[int, int], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int, int], float]:
    """PSNR of a card at a bit depth, at its first rate point (0) or its last (-1)."""

    @functools.cache
    def measured(name: str, depth: int, end: int) -> float:
        frames = 4 if "all intra" in CARDS[name].gop else LENGTH
        codec, sequence = codec_of(name), open_sequence(natural[depth, frames])
        rate = finest_first(codec.card, codec.card.rates_at(depth).values)[end]
        bitstream = encode(codec, sequence, rate, tmp_path_factory.mktemp("natural"))
        return psnr(sequence, decode(codec, bitstream, sequence.format), 0)

    return measured


OTHER_QUALITIES = {
    "x265": "is the anchor",
    "x265@low-delay": "is the anchor",
    "x265@all-intra": "is the anchor",
    "x265@veryslow": "has the anchor's points",
    "x265-ldp-fast": "has the points of the papers",
    "x265-ldp-fast@gop10": "has the points of the papers",
    "libaom@ctc": "has the points of AOM's common test conditions",
    "apv": "codes for editing, at ten times the rate, and takes no 4:2:0",
    "x264@two-pass": "has bitrates",
    "x265@two-pass": "has bitrates",
    "x264@veryslow": "has the points of preset medium, at its quality within 0.3 dB",
    "svt-av1@preset-4": "has the points of preset 8",
    "svt-av1@preset-12": "has the points of preset 8",
    "vvenc@slow": "has the points of preset medium, and takes seconds",
    "x265@tune-psnr": "has x264's points, and takes a second",
    "x265@tune-ssim": "has x264's points, and takes a second",
    "x265@grain": "has grain added behind the decoder",
    "x265@filter": "has a filter behind the decoder",
}


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        (name, depth)
        for name, card in CARDS.items()
        for depth in card.input.bit_depths
        if name not in OTHER_QUALITIES
        and (depth == 8 or (depth == 10 and ("@" not in name or name == "x264@low-delay")))
    ],
)
def test_rate_points_have_the_qualities_of_the_other_cards(
    quality: Callable[[str, int, int], float], name: str, depth: int
) -> None:
    structure = next((part for part in ("low-delay", "all-intra") if part.replace("-", " ") in CARDS[name].gop), None)
    anchor = f"x265@{structure}" if structure else "x265"
    for end in (0, -1):
        assert quality(name, depth, end) == pytest.approx(quality(anchor, depth, end), abs=2)


def packets(codec: FFmpegCodec, sequence: Sequence, folder: Path) -> tuple[list[tuple[int, bool]], bytes]:
    """(frame number, is a random access point) of each packet in the order of coding, as the encoder gives them.

    With them the bitstream of this encode.
    """
    coded = codec.transform(sequence.format).coded
    rate = RatePoint(codec.card.rates.parameter, codec.card.rates.values[-1])
    out = b""
    for command in codec.encode_commands(sequence, coded, rate, folder / "bitstream"):
        argv = list(command.argv)
        if argv[-1] != "-":  # not the first of two passes
            both = f"[f=framecrc]pipe:1|[f={codec.settings.muxer}:fflags=+bitexact]file:{folder / 'teed'}"
            argv[len(argv) - argv[::-1].index("-f") - 1 :] = ["-map", "0:v", "-f", "tee", both]
        frames = map(codec.transform(sequence.format).forward, sequence.read())
        data = b"".join(frame.data.tobytes() for frame in frames)
        done = subprocess.run(argv, input=data, cwd=folder, capture_output=True, check=True)
        out = done.stdout
    rows = [line.split(b",") for line in out.splitlines() if line.startswith(b"0,")]
    times = sorted(int(row[2]) for row in rows)
    coded_as = [(times.index(int(row[2])), not any(b"F=" in field for field in row)) for row in rows]
    return coded_as, (folder / "teed").read_bytes()


def picture_types(bitstream: Path, codec: FFmpegCodec) -> str:
    argv = [ffmpeg.executable(), "-hide_banner", "-nostdin", "-f", codec.settings.demuxer, "-i", str(bitstream)]
    argv += ["-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return "".join(re.findall(r" type:(\S)", done.stderr))


def hidden_frames(run_ffmpeg: RunFFmpeg, bitstream: Path, codec: FFmpegCodec) -> int:
    """Coded frames that are not shown when they come: alternate references."""
    split = {"obu": "av1_frame_split", "ivf": "vp9_superframe_split"}[codec.settings.muxer]
    listing = run_ffmpeg(
        "-f", codec.settings.demuxer, "-i", bitstream, "-c", "copy", "-bsf:v", split, "-f", "framecrc", "-"
    )  # fmt: skip
    return sum(line.startswith(b"0,") for line in listing.splitlines()) - FRAMES_OF_A_STRUCTURE


FRAMES_OF_A_STRUCTURE = 70
I_EVERY_32 = [0, 32, 64]
ALL_INTRA = (list(range(70)), False, "I")
STRUCTURES = {
    "x264": (I_EVERY_32, True, "IPB"),
    "x264@low-delay": ([0], False, "IP"),
    "x265": (I_EVERY_32, True, "IPB"),
    "x265@low-delay": ([0], False, "IP"),
    "x265@grain": ([0], False, "IP"),
    "x265@filter": ([0], False, "IP"),
    "x265-ldp-fast": ([0, 12, 24, 36, 48, 60], False, "IP"),
    "x265-ldp-fast@gop10": ([0, 10, 20, 30, 40, 50, 60], False, "IP"),
    "vvenc": (I_EVERY_32, True, "IB"),
    "vvenc@medium": (I_EVERY_32, True, "IB"),
    "vvenc@low-delay": ([0], False, "IB"),
    "svt-av1": (I_EVERY_32, True, "IP"),
    "svt-av1@low-delay": ([0], False, "IP"),
    "libaom": (I_EVERY_32, True, "IP"),
    "libaom@low-delay": ([0], False, "IP"),
    "vp9": (I_EVERY_32, True, "IP"),
    "vp9@low-delay": ([0], False, "IP"),
    "x264@veryslow": (I_EVERY_32, True, "IPB"),
    "x264@tune-psnr": (I_EVERY_32, True, "IPB"),
    "x264@tune-ssim": (I_EVERY_32, True, "IPB"),
    "x264@two-pass": (I_EVERY_32, True, "IPB"),
    "x265@veryslow": (I_EVERY_32, True, "IPB"),
    "x265@tune-psnr": (I_EVERY_32, True, "IPB"),
    "x265@tune-ssim": (I_EVERY_32, True, "IPB"),
    "x265@two-pass": (I_EVERY_32, True, "IPB"),
    "svt-av1@preset-4": (I_EVERY_32, True, "IP"),
    "svt-av1@preset-12": (I_EVERY_32, True, "IP"),
    "vvenc@slow": (I_EVERY_32, True, "IB"),
    "libaom@ctc": ([0, 65], True, "IP"),
    "kvazaar": (I_EVERY_32, True, "IPB"),
    "kvazaar@low-delay": ([0], False, "IPB"),
    "rav1e": (I_EVERY_32, True, "IP"),
    "rav1e@low-delay": ([0], False, "IP"),
    "xavs2": (I_EVERY_32, True, "ISB"),
    "vp8": (I_EVERY_32, True, "IP"),
    "vp8@low-delay": ([0], False, "IP"),
    "openh264": ([0, 17, 34, 51, 68], False, "IP"),  # its scene changes in noise
    "mpeg2": ([0, 33, 63], True, "IPB"),
    "theora": (I_EVERY_32, False, "IP"),
    "apv": ALL_INTRA,
    **{f"{name}@all-intra": ALL_INTRA for name in (
        "x264", "x265", "vvenc", "svt-av1", "libaom", "vp9", "kvazaar", "rav1e", "mpeg2"
    )},
}  # fmt: skip


def test_every_card_has_its_structure_stated_here() -> None:
    assert set(STRUCTURES) == set(CARDS)


def test_controls_have_the_arguments_of_low_delay() -> None:
    for name in ("x265@grain", "x265@filter"):
        assert CARDS[name].settings["arguments"] == CARDS["x265@low-delay"].settings["arguments"]
        assert CARDS[name].post_filters


# vvenc@slow takes a minute, and has the arguments of vvenc@medium but for the preset
@pytest.mark.parametrize("name", [name for name in CARDS if name != "vvenc@slow"])
def test_gop_structure_is_the_one_described_in_the_same_bytes_twice(
    tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, name: str
) -> None:
    intra, reordering, types = STRUCTURES[name]
    codec = codec_of(name)
    all_intra = "all intra" in codec.card.gop
    # one intra period of VVenC takes seconds
    frames = FRAMES if all_intra else 35 if name.startswith("vvenc") else FRAMES_OF_A_STRUCTURE
    intra = [number for number in intra if number < frames]
    # OpenH264's intra frames are the scene changes that it finds in noise
    sequence = open_sequence(fitting(tiny_clip, name, frames, noise=12 if name == "openh264" else 3))
    coded, again = packets(codec, sequence, tmp_path)
    # VP8's alternate references are packets, and shift the numbers; libxavs2 gives packets none
    numbered = name.partition("@")[0] not in {"vp8", "xavs2"}
    assert not numbered or sorted(number for number, is_key in coded if is_key) == intra
    bitstream = encode(codec, sequence, codec.card.rates.values[-1], tmp_path)
    assert bitstream.read_bytes() == again
    found = picture_types(bitstream, codec)
    assert set(found) <= set(types)
    assert [index for index, kind in enumerate(found) if kind == "I"] == intra
    order = [number for number, _ in coded]
    if not numbered:
        assert (len(coded) > frames or "B" in found) == reordering
    elif codec.settings.muxer in {"obu", "ivf"} and not all_intra:
        # these reorder by frames that are coded early and not shown
        assert (hidden_frames(run_ffmpeg, bitstream, codec) > 0) == reordering
    else:
        assert (order != sorted(order)) == reordering
    assert ("random access" in codec.card.gop) == reordering
    assert ("low delay" in codec.card.gop) != (reordering or all_intra)


@pytest.mark.parametrize(
    "name", [name for name in WHOLE if STRUCTURES.get(name, ([],))[0] == I_EVERY_32 and name not in {"vp8", "xavs2"}]
)
def test_intra_period_is_64_above_30_frames_a_second(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    codec = codec_of(name)
    coded, _ = packets(codec, open_sequence(fitting(tiny_clip, name, 70, rate="60")), tmp_path)
    assert sorted(number for number, is_key in coded if is_key) == [0, 64]


def test_open_gop_of_x265_is_open(tiny_clip: TinyClip, tmp_path: Path) -> None:
    assert "open GOP" in CARDS["x265"].gop
    order = [number for number, _ in packets(codec_of("x265"), open_sequence(tiny_clip(64, 64, 70)), tmp_path)[0]]
    assert order.index(32) < order.index(31)


def test_closed_gop_of_x264_is_closed(tiny_clip: TinyClip, tmp_path: Path) -> None:
    assert "closed GOP" in CARDS["x264"].gop
    order = [number for number, _ in packets(codec_of("x264"), open_sequence(tiny_clip(64, 64, 70)), tmp_path)[0]]
    assert all(order.index(32) > order.index(number) for number in range(32))


def test_low_delay_of_vp9_is_another_encode(tiny_clip: TinyClip, tmp_path: Path) -> None:
    sequence = open_sequence(tiny_clip(64, 64, 21))
    names = ("vp9", "vp9@low-delay")
    ours, theirs = (encode(codec_of(name), sequence, 32, tmp_path / name).read_bytes() for name in names)
    assert ours != theirs


def test_perceptual_adaptation_of_vvenc_is_off() -> None:
    for name, card in CARDS.items():
        if name.startswith("vvenc"):
            arguments = card.settings["arguments"]
            assert arguments[arguments.index("-qpa") + 1] == "0"


def test_encoders_use_one_thread() -> None:
    # their number of threads changes bitstreams, and cells run side by side
    for name, card in CARDS.items():
        text = " ".join(card.settings["arguments"])
        assert re.search(r"-threads 1\b|pools=none:wpp=0:frame-threads=1|lp=1\b", text), name
