"""What the bytes of bitstreams are, and that no card's stream holds bytes that others do without."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.adapters.base import ExternalCodec, RatePoint
from bench.bitstream.units import THEORA_HEADERS, contents, ogg_packets, texts
from bench.cards import Card, Catalog, brought, load_card
from bench.errors import BitstreamError
from bench.records.cell import BitstreamRecord
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
RunFFmpeg = Callable[..., bytes]

OURS = next(folder for folder in brought("codecs") if folder.is_dir())
FRAMES = 9
# programs of the user's that may be on PATH
PROGRAMS = {"x265-cli": "x265", "svtav1encapp": "SvtAv1EncApp", "vvencapp": "vvencapp", "kvazaar-cli": "kvazaar",
            "uvg266": "uvg266"}  # fmt: skip


def cards() -> Iterator[Card]:
    for path in sorted(OURS.glob("*.toml")):
        card = load_card(path)
        if (card.adapter == "ffmpeg" and "hardware" not in card.settings) or path.stem in PROGRAMS:
            # a preset, a rate control and all intra write the units of the card itself
            yield from (card.configured(name) for name in (None, *card.configurations) if name in {None, "low-delay"})


CARDS = {card.name: card for card in cards()}
UNREAD = {"xavs2": "AVS2", "mpeg2": "MPEG-2", "apv": "APV"}
"""Formats whose units are not told apart."""
DEPTHS = [(name, depth) for name, card in CARDS.items() for depth in card.input.bit_depths if depth in (8, 10)]


def encoded(card: Card, clip: Path, folder: Path) -> Path:
    codec = build(card, folder=OURS)
    assert isinstance(codec, ExternalCodec)
    sequence = open_sequence(clip)
    rates = card.rates_at(sequence.format.bit_depth)
    path = folder / f"bitstream.{card.extension}"
    codec.encode(sequence, RatePoint(rates.parameter, rates.values[-1]), path)
    return path


@pytest.mark.parametrize(("name", "depth"), DEPTHS)
def test_streams_hold_pictures_and_what_their_decoder_needs(
    tiny_clip: TinyClip, tmp_path: Path, name: str, depth: int
) -> None:
    program = PROGRAMS.get(name.partition("@")[0])
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not on PATH")
    card = CARDS[name]
    side = max(64, card.input.minimum_size)
    chroma = "420" if "420" in card.input.chroma else card.input.chroma[0]
    clip = tiny_clip(side, side, FRAMES, VideoFormat(2, 2, chroma=chroma, bit_depth=depth).pix_fmt)  # type: ignore[arg-type]
    path = encoded(card, clip, tmp_path)
    found = contents(path)
    if name in UNREAD:
        assert texts(path) == []
        assert found == {}
        return
    # Theora's second header is a comment, which names the library
    comment = found.pop("messages") if name == "theora" else 0
    assert (comment > 0) == (texts(path) != [])
    assert sum(found.values()) + comment == path.stat().st_size
    assert found.pop("pictures") > 0
    if card.extension != "ivf" or name == "svtav1encapp":
        assert found.pop("parameters") > 0
    # AV1's specification has a temporal delimiter of two bytes begin each frame
    assert found.pop("delimiters", 0) == (2 * FRAMES if re.search("av1|aom|rav1e", name) else 0)
    container = found.pop("container", 0)
    # Ogg: three pages of headers and one of frames, 27 bytes and one for each started 255 of a packet
    assert container == (32 + 12 * FRAMES if card.container == "ivf" else 0) or (
        card.container == "ogg" and container > 4 * 27
    )
    assert found == {}


def test_units_that_ffmpeg_removes_are_the_ones_counted(
    tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
) -> None:
    cases = [
        ("h264", ["-c:v", "libx264"], 6, "messages"),
        ("hevc", ["-c:v", "libx265", "-x265-params", "aud=1:log-level=none"], 39, "messages"),
        ("hevc", ["-c:v", "libx265", "-x265-params", "aud=1:info=0:log-level=none"], 35, "delimiters"),
        ("vvc", ["-c:v", "libvvenc", "-preset", "faster"], 20, "delimiters"),
        ("obu", ["-c:v", "libaom-av1", "-cpu-used", "8"], 1, "parameters"),
        ("ivf", ["-c:v", "libaom-av1", "-cpu-used", "8"], 1, "parameters"),
    ]
    clip = tiny_clip(64, 64, 5, "yuv420p10le")
    for number, (suffix, encoder, unit, kind) in enumerate(cases):
        whole, less = tmp_path / f"{number}.{suffix}", tmp_path / f"{number}-less.{suffix}"
        run_ffmpeg("-i", clip, *encoder, "-f", suffix, whole)
        run_ffmpeg("-i", whole, "-c", "copy", "-bsf:v", f"filter_units=remove_types={unit}", "-f", suffix, less)
        found = contents(whole)
        removed = whole.stat().st_size - less.stat().st_size
        # the start code of a unit that comes to stand first is a byte longer
        assert 0 <= found[kind] - removed <= 5 < removed  # type: ignore[literal-required]
        assert sum(found.values()) == whole.stat().st_size
    assert any("x264 - core" in text for text in texts(tmp_path / "0.h264"))
    assert texts(tmp_path / "0-less.h264") == []


@pytest.mark.parametrize("content", [b"", b"\1", b"no stream at all", bytes(100), b"\0\0\1", b"\0\0\0\1\xff\xff\xff"])
def test_what_is_no_known_stream_has_no_contents(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    assert contents(path) == {}


@pytest.mark.parametrize("suffix", ["obu", "ivf"])
def test_cut_streams_are_refused(tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    run_ffmpeg("-i", tiny_clip(64, 64, 3), "-c:v", "libaom-av1", "-cpu-used", "8", "-f", suffix, path)
    data = path.read_bytes()
    for length in itertools.chain(range(9, 60, 7), [len(data) - 1]):
        path.write_bytes(data[:length])
        try:
            assert sum(contents(path).values()) == length  # cut between two units
        except BitstreamError as error:
            assert "x." in str(error)
    with pytest.raises(BitstreamError, match="ends inside of"):
        contents(path)


def test_bytes_of_a_container_are_no_part_of_the_rate(tiny_clip: TinyClip, tmp_path: Path) -> None:
    found = bench.run(["vp9"], inputs=[tiny_clip()], metrics=["psnr_y"], rates=[40], out=tmp_path / "out")
    (cell,) = found.cells
    assert cell.bitstream is not None
    container = 32 + 12 * cell.sequence.frames
    assert cell.bitstream.contents == {"container": container, "pictures": cell.bitstream.bytes - container}
    assert cell.bits == 8 * (cell.bitstream.bytes - container)
    (row,) = found.to_pandas().to_dict("records")
    assert row["bytes"] == cell.bitstream.bytes - container
    assert row["bpp"] == pytest.approx(8 * row["bytes"] / (9 * 64 * 64))


def test_container_that_a_stream_lacks_is_a_failed_cell(tiny_clip: TinyClip, tmp_path: Path) -> None:
    (tmp_path / "codecs").mkdir()
    text = Catalog().find("codecs", "x264").read_text()
    text = text.replace('name = "x264"', 'name = "mine"').replace("[rates]", 'container = "ivf"\n[rates]', 1)
    (tmp_path / "codecs" / "mine.toml").write_text(text)
    found = bench.run(["mine"], inputs=[tiny_clip()], rates=[30], out=tmp_path / "out", paths=[tmp_path])
    (cell,) = found.cells
    assert (cell.status, cell.reason) == ("failed", "container")
    assert 'card mine says container = "ivf"' in str(cell.message)


def test_units_of_a_card_are_dropped(tiny_clip: TinyClip, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**CARDS["x264"].settings, "drop_units": []}
    whole = encoded(CARDS["x264"].model_copy(update={"settings": settings}), tiny_clip(), tmp_path)
    assert contents(whole)["messages"] > 500
    (tmp_path / "less").mkdir()
    less = encoded(CARDS["x264"], tiny_clip(), tmp_path / "less")
    assert whole.stat().st_size - less.stat().st_size == contents(whole)["messages"]


def test_container_larger_than_its_file_is_refused() -> None:
    whole = {"file": "x.ivf", "bytes": 100, "sha256": "0" * 64}
    assert BitstreamRecord.model_validate({**whole, "contents": {"container": 44, "pictures": 56}}).bytes == 100
    with pytest.raises(ValueError, match="a container of 101 bytes in a file of 100"):
        BitstreamRecord.model_validate({**whole, "contents": {"container": 101}})


def test_packets_of_ogg_are_counted_with_the_empty_ones(run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
    path = tmp_path / "still.ogg"
    run_ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x64:r=25", "-frames:v", "7", "-c:v", "libtheora", "-q:v", "3", path)
    listing = run_ffmpeg("-i", path, "-c", "copy", "-f", "framecrc", "-")
    sizes = [int(line.split(b",")[4]) for line in listing.splitlines() if line.startswith(b"0,")]
    assert len(sizes) == 7 and 0 in sizes
    assert ogg_packets(path) == THEORA_HEADERS + 7
    found = contents(path)
    assert found["pictures"] == sum(sizes)
    assert sum(found.values()) == path.stat().st_size


def test_cut_ogg_is_refused(run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25", "-frames:v", "5", "-c:v", "libtheora", path)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    for read in (contents, ogg_packets):
        with pytest.raises(BitstreamError, match="ends inside of the Ogg page"):
            read(path)
    path.write_bytes(data + b"no page")
    with pytest.raises(BitstreamError, match="starts no Ogg page"):
        contents(path)
