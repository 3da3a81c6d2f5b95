"""A codec in Python, in processes of its own: an honest one, and several that misbehave."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Vcbench

import bench
from bench.adapters.base import Codec, RatePoint, copy_alone, placeholders
from bench.adapters.child import ChildCodec
from bench.cards import load_card
from bench.errors import DecodeError, EncodeError, TimeLimitError
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]

CARD = """
name = "packed"
title = "Frames, each packed by zlib"
adapter = "packed.py:{codec}"
licence = "Apache-2.0"
gop = "all intra"
extension = "zz"
[rates]
parameter = "level"
values = [1, 9]
minimum = 0
maximum = 9
[input]
chroma = ["420", "444"]
bit_depths = [8, 10]
size_multiple = 8
"""

SOURCE = '''
import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.adapters.base import Codec, EncodeInfo
from bench.errors import DecodeError, EncodeError
from bench.video.frame import Frame


class Packed(Codec):
    """Lossless: the format, then every frame packed by zlib."""

    def encode(self, source, rate, bitstream):
        transform = self.transform(source.format)
        frames = map(transform.forward, source.read())
        packed = [zlib.compress(frame.data.tobytes(), rate.value) for frame in frames]
        bitstream.write_bytes(pickle.dumps((transform.coded, packed)))
        return EncodeInfo()

    def decode(self, bitstream):
        coded, packed = pickle.loads(bitstream.read_bytes())
        for data in packed:
            yield Frame(coded, np.frombuffer(zlib.decompress(data), "u1" if coded.bit_depth == 8 else "<u2"))


class Talkative(Packed):
    def encode(self, source, rate, bitstream):
        print("encoding")
        return super().encode(source, rate, bitstream)

    def decode(self, bitstream):
        print("decoding")
        for frame in super().decode(bitstream):
            print("a frame")
            yield frame


class Failing(Packed):
    def encode(self, source, rate, bitstream):
        raise RuntimeError("out of ideas")

    def decode(self, bitstream):
        yield next(super().decode(bitstream))
        raise RuntimeError("out of ideas")


class Short(Packed):
    def decode(self, bitstream):
        yield from list(super().decode(bitstream))[:-2]


class Empty(Packed):
    def decode(self, bitstream):
        return iter(())


class Cropped(Packed):
    def decode(self, bitstream):
        for frame in super().decode(bitstream):
            fmt = replace(frame.format, width=frame.format.width - 8)
            yield Frame.from_planes(fmt, [p[:, :s[1]] for p, s in zip(frame.planes, fmt.plane_shapes)])


class Changing(Packed):
    def decode(self, bitstream):
        for index, frame in enumerate(super().decode(bitstream)):
            fmt = replace(frame.format, width=frame.format.width - 8 * index)
            yield Frame.from_planes(fmt, [p[:, :s[1]] for p, s in zip(frame.planes, fmt.plane_shapes)])


class Endless(Packed):
    def decode(self, bitstream):
        while True:
            pass


class Remarking(Packed):
    def encode(self, source, rate, bitstream):
        super().encode(source, rate, bitstream)
        return EncodeInfo(notes={"level": rate.value}, estimated_bits=8 * 1000 + 1)


class Choosy(Packed):
    def encode(self, source, rate, bitstream):
        raise EncodeError("too_calm", "nothing moves")

    def decode(self, bitstream):
        raise DecodeError("too_wild", "everything moves")
        yield


class Curious(Packed):
    """Writes down what it can see while it decodes."""

    def decode(self, bitstream):
        import os, sys
        seen = [str(path.resolve()) for path in Path().rglob("*")]
        near = {path.name: path.read_text() for path in Path("..").glob("*.json")}
        print(repr((str(bitstream), seen, near, dict(os.environ), sys.argv)), file=sys.stderr)
        raise SystemExit(3)
'''


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., ChildCodec]:
    return packed_in(tmp_path / "codecs")


def packed_in(folder: Path) -> Callable[..., ChildCodec]:
    """A factory of the codecs above by name, whose card lies in a new folder."""
    folder.mkdir()
    (folder / "packed.py").write_text(SOURCE)

    def make(name: str = "Packed") -> ChildCodec:
        path = folder / "packed.toml"
        path.write_text(CARD.format(codec=name))
        codec = build(load_card(path), folder=folder, trust=True)
        assert isinstance(codec, Codec)
        return ChildCodec(codec, folder, trust=True)

    return make


@pytest.fixture
def sequence(tiny_clip: TinyClip) -> Sequence:
    return open_sequence(tiny_clip(67, 45), start=2, frames=5)


@pytest.fixture(scope="module")
def honest(tiny_clip: TinyClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Packed writes of that sequence, and with it each codec that only decodes in another way."""
    folder = tmp_path_factory.mktemp("honest")
    sequence = open_sequence(tiny_clip(67, 45), start=2, frames=5)
    return encoded(packed_in(folder / "codecs")(), sequence, folder / "cell")


@pytest.fixture
def bitstream(honest: Path, tmp_path: Path) -> Path:
    """A copy of it, alone in a folder."""
    (tmp_path / "cell").mkdir()
    return Path(shutil.copy(honest, tmp_path / "cell"))


def encoded(codec: ChildCodec, sequence: Sequence, folder: Path, level: int = 9) -> Path:
    folder.mkdir(exist_ok=True)
    bitstream = folder / "bitstream.zz"
    codec.encode(sequence, RatePoint("level", level), bitstream)
    return bitstream


def decoded(codec: ChildCodec, bitstream: Path, transform: CodingTransform) -> list[Frame]:
    with codec.open_decoder(copy_alone(bitstream, bitstream.parent / "decode"), transform.coded) as decoder:
        return list(decoder.frames())


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_honest_codec_goes_there_and_back(
    packed: Callable[..., ChildCodec], tiny_clip: TinyClip, tmp_path: Path, pix_fmt: str
) -> None:
    codec, sequence = packed(), open_sequence(tiny_clip(67, 45, 9, pix_fmt), start=2, frames=5)
    transform = codec.transform(sequence.format)
    sizes = [encoded(codec, sequence, tmp_path / str(level), level).stat().st_size for level in (1, 9)]
    assert sizes[0] > sizes[1] > 0
    frames = [transform.inverse(frame) for frame in decoded(codec, tmp_path / "9" / "bitstream.zz", transform)]
    assert len(frames) == 5
    assert all(np.array_equal(a.data, b.data) for a, b in zip(frames, sequence.read(), strict=True))


def test_a_configuration_goes_to_the_processes_too(
    packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path
) -> None:
    packed()
    path = tmp_path / "codecs" / "packed.toml"
    path.write_text(path.read_text() + '[configurations.fast]\ntitle = "Frames, packed fast"\n')
    codec = build(load_card(path).configured("fast"), folder=path.parent, trust=True)
    assert isinstance(codec, Codec)
    child = ChildCodec(codec, path.parent, trust=True)
    assert len(decoded(child, encoded(child, sequence, tmp_path / "cell"), child.transform(sequence.format))) == 5


def test_cost_is_measured(packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path) -> None:
    codec = packed()
    info = codec.encode(sequence, RatePoint("level", 9), tmp_path / "bitstream.zz")
    assert info.usage is not None
    assert info.usage.cpu_s > 0
    assert info.usage.peak_rss_bytes > 10 << 20  # an interpreter with NumPy


def test_what_the_codec_prints_does_not_reach_the_frames(
    packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path
) -> None:
    codec = packed("Talkative")
    frames = decoded(codec, encoded(codec, sequence, tmp_path / "cell"), codec.transform(sequence.format))
    assert len(frames) == 5


def test_error_of_the_encoder_is_told(packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="RuntimeError: out of ideas"):
        encoded(packed("Failing"), sequence, tmp_path)


def test_error_of_the_decoder_is_told(packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path) -> None:
    codec = packed("Failing")
    with pytest.raises(DecodeError, match="RuntimeError: out of ideas"):
        decoded(codec, bitstream, codec.transform(sequence.format))


def test_reason_of_the_codec_is_kept(
    packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path, tmp_path: Path
) -> None:
    with pytest.raises(EncodeError, match="nothing moves") as encoding:
        encoded(packed("Choosy"), sequence, tmp_path / "a")
    codec = packed("Choosy")
    with pytest.raises(DecodeError, match="everything moves") as decoding:
        decoded(codec, bitstream, codec.transform(sequence.format))
    assert (encoding.value.reason, decoding.value.reason) == ("too_calm", "too_wild")
    assert not list((tmp_path / "a").iterdir())


def test_remarks_and_an_estimate_reach_the_result(
    packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path
) -> None:
    packed("Remarking")
    card = tmp_path / "codecs" / "packed.toml"
    card.write_text('rate_kind = "estimate"\n' + card.read_text())
    results = bench.run([str(card)], inputs=[sequence.path], out=tmp_path / "out", metrics=["psnr_y"], trust=True)
    cell = results.cells[0]
    assert cell.encode is not None and cell.encode.notes == {"level": cell.rate.value}
    assert cell.bitstream is not None and cell.bitstream.bytes != 1001
    assert (cell.bits, cell.rate_bytes) == (8001, 1001)
    assert cell.bpp == 8001 / (9 * 67 * 45)
    assert cell.kbps == 8001 * 25 / 9 / 1000
    assert set(results.to_pandas()["bytes"]) == {1001}


def test_an_estimate_is_refused_where_the_card_promises_bitstreams(
    packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path
) -> None:
    with pytest.raises(EncodeError, match='rate_kind = "bitstream"') as refused:
        encoded(packed("Remarking"), sequence, tmp_path)
    assert refused.value.reason == "rate_kind"


def test_no_frame_at_all_is_an_error(packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path) -> None:
    codec = packed("Empty")
    with pytest.raises(DecodeError, match="decoded no frame"):
        decoded(codec, bitstream, codec.transform(sequence.format))


def test_too_few_frames_come_as_they_are(
    packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path
) -> None:
    codec = packed("Short")
    assert len(decoded(codec, bitstream, codec.transform(sequence.format))) == 3


def test_another_size_comes_as_it_is(packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path) -> None:
    codec = packed("Cropped")
    frames = decoded(codec, bitstream, codec.transform(sequence.format))
    assert {frame.format.width for frame in frames} == {64}  # 72 is what was coded


def test_size_that_changes_in_mid_stream_is_an_error(
    packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path
) -> None:
    codec = packed("Changing")
    with pytest.raises(DecodeError, match=r"frame 1 .*64x48.* after .*72x48"):
        decoded(codec, bitstream, codec.transform(sequence.format))


def test_time_limit(packed: Callable[..., ChildCodec], sequence: Sequence, bitstream: Path) -> None:
    codec = packed("Endless")
    codec.time_limit = 1
    with pytest.raises(TimeLimitError):
        decoded(codec, bitstream, codec.transform(sequence.format))


def test_decoder_sees_nothing_of_the_source(
    packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path
) -> None:
    codec = packed("Curious")
    bitstream = encoded(packed(), sequence, tmp_path / "cell")
    with pytest.raises(DecodeError) as caught:
        decoded(codec, bitstream, codec.transform(sequence.format))
    said = str(caught.value)
    assert f"{bitstream.parent}/decode/bitstream.zz" in said
    assert str(sequence.path) not in said
    assert sequence.path.name not in said


def test_codec_of_a_file_that_is_not_trusted_does_not_run(
    packed: Callable[..., ChildCodec], sequence: Sequence, tmp_path: Path
) -> None:
    codec = packed()
    untrusting = ChildCodec(codec._codec, tmp_path / "codecs", trust=False)
    with pytest.raises(EncodeError, match="give --trust"):
        encoded(untrusting, sequence, tmp_path)


def test_source_compiles_as_shown() -> None:
    compile(textwrap.dedent(SOURCE), "packed.py", "exec")


GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-codec.md"


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the guide shows, in a working directory of their own, which is the current one."""
    blocks = re.findall(r"^`(codecs/[\w.-]+)`:\n\n```\w+\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert {name for name, _ in blocks} == {"codecs/gzip.toml", "codecs/upper_bits.py", "codecs/upper-bits.toml"}
    (tmp_path / "codecs").mkdir()
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands_of_the_guide() -> list[str]:
    return re.findall(r"^    vcbench (run .*)$", GUIDE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", commands_of_the_guide(), ids=lambda command: command.split()[2])
def test_examples_of_the_guide_run(guide: Path, vcbench: Vcbench, tiny_clip: TinyClip, command: str) -> None:
    shutil.copy(tiny_clip(67, 45, 5), guide / "clip.y4m")
    done = vcbench(*command.split(), "--jobs", "1")  # the start of workers would take longer than all cells
    assert done.code == 0, done.err
    out = guide / command.rsplit(maxsplit=1)[-1]
    table = bench.load(out).to_pandas()
    assert (table["status"] == "ok").all()
    quality = table.sort_values("bytes")["value"]
    assert quality.is_monotonic_increasing
    assert np.isinf(quality).all() == ("gzip" in command)  # lossless


def test_first_steps_of_the_guide_lead_from_a_card_to_a_report(
    guide: Path, vcbench: Vcbench, tiny_clip: TinyClip
) -> None:
    steps = re.search(r"and go:\n\n((?:    vcbench .*\n)+)", GUIDE.read_text())
    assert steps is not None
    shutil.copy(tiny_clip(), guide / "clip.y4m")
    commands = [line.split()[1:] for line in steps[1].splitlines()]
    said = [vcbench(*command, *(("--jobs", "1") if command[0] == "run" else ())) for command in commands]
    assert [done.code for done in said] == [0, 0, 0], [done.err for done in said]
    assert said[0].out == "codecs/gzip.toml: ok\n"
    assert (guide / "results" / "gzip" / "report" / "index.html").is_file()


def test_example_of_the_guide_is_not_executed_without_trust(guide: Path, vcbench: Vcbench, tiny_clip: TinyClip) -> None:
    (guide / "codecs" / "upper_bits.py").write_text("open('executed', 'w')")
    for arguments in (["ls", "codecs"], ["validate"], ["run", "--codecs", "upper-bits", "--input", str(tiny_clip())]):
        done = vcbench(*arguments)
        assert (done.code != 0) == (arguments[0] == "run")
    assert "--trust" in done.err + done.out
    assert not list(guide.rglob("executed"))


def test_guide_names_every_placeholder() -> None:
    known = placeholders(VideoFormat(2, 2), 1, RatePoint("qp", 1))
    text = GUIDE.read_text()
    assert all(f"`{{{name}}}`" in text for name in (*known, "input", "output", "bitstream"))
