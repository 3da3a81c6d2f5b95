"""The check of codecs passes an honest one and finds each fault of one that is not, under its own rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Vcbench

from bench.adapters import warm
from bench.cards import load_card
from bench.conformance import Check, check_codec
from bench.conformance import codec as kit
from bench.engine.plan import CodecEntry
from bench.errors import UnavailableError

pytestmark = pytest.mark.slow

CARD = """
name = "packed"
title = "Frames, each packed by zlib"
adapter = "packed.py:{codec}"
kind = "{kind}"
licence = "Apache-2.0"
gop = "all intra"
extension = "zz"
deterministic = {deterministic}
[rates]
parameter = "dropped"
values = [{rates}]
minimum = 0
maximum = {maximum}
[input]
chroma = ["gray", "420"]
bit_depths = [8, 10]
"""

SOURCE = '''
import json
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from bench.adapters.base import Codec, EncodeInfo
from bench.errors import DecodeError, EncodeError
from bench.video.formats import VideoFormat
from bench.video.frame import Frame


def sealed(data):
    return zlib.crc32(data).to_bytes(4, "big") + len(data).to_bytes(4, "big") + data


def unsealed(stream):
    head = stream.read(8)
    data = stream.read(int.from_bytes(head[4:], "big"))
    if zlib.crc32(data).to_bytes(4, "big") != head[:4]:
        raise DecodeError("damaged", "a part of the stream is not what was written")
    return data


class Honest(Codec):
    """Drops low bits, packs each frame, and checks each part that it reads."""

    def prepare(self):
        """To have imported this file is all that its processes can share."""

    def tool(self):
        return {"zlib": zlib.ZLIB_VERSION}

    def encode(self, source, rate, bitstream):
        fmt = source.format
        with bitstream.open("wb") as stream:
            about = [fmt.width, fmt.height, fmt.pix_fmt, source.frames, rate.value]
            stream.write(sealed(json.dumps(about).encode()))
            for frame in source.read():
                stream.write(sealed(zlib.compress((frame.data >> rate.value).tobytes())))
        return EncodeInfo()

    def decode(self, bitstream):
        with bitstream.open("rb") as stream:
            width, height, pix_fmt, frames, dropped = json.loads(unsealed(stream))
            fmt = VideoFormat(width, height).with_pix_fmt(pix_fmt)
            for _ in range(frames):
                samples = np.frombuffer(zlib.decompress(unsealed(stream)), "u1" if fmt.bit_depth == 8 else "<u2")
                yield Frame(fmt, samples << dropped)


class Unprepared(Honest):
    prepare = Codec.prepare


class Heavy(Honest):
    def check(self):
        import cv2


class Fickle(Honest):
    def tool(self):
        return {"version": str(os.urandom(4))}


class Messy(Honest):
    def encode(self, source, rate, bitstream):
        bitstream.with_name("statistics").write_text("kept")
        return super().encode(source, rate, bitstream)


class Hoarding(Honest):
    def encode(self, source, rate, bitstream):
        Path(tempfile.gettempdir(), "side").write_text("information")
        return super().encode(source, rate, bitstream)


class Silent(Honest):
    def encode(self, source, rate, bitstream):
        return EncodeInfo()


class Cheating(Honest):
    """The bitstream is the path of the source."""

    def encode(self, source, rate, bitstream):
        bitstream.write_text(str(source.path))
        return EncodeInfo()

    def decode(self, bitstream):
        from bench.video.sequence import open_sequence

        yield from open_sequence(Path(bitstream.read_text())).read()


class Short(Honest):
    def decode(self, bitstream):
        frames = list(super().decode(bitstream))
        yield from frames[:-1] if len(frames) > 2 else frames


class Random(Honest):
    def encode(self, source, rate, bitstream):
        super().encode(source, rate, bitstream)
        with bitstream.open("ab") as stream:
            stream.write(os.urandom(8))
        return EncodeInfo()


class Restless(Honest):
    def decode(self, bitstream):
        for frame in super().decode(bitstream):
            yield Frame(frame.format, frame.data ^ np.frombuffer(os.urandom(1), "u1")[0] % 4)


class Constant(Honest):
    """The rate point changes nothing."""

    def encode(self, source, rate, bitstream):
        return super().encode(source, type(rate)(rate.parameter, 2), bitstream)


class Inverted(Honest):
    """More bytes, and a worse picture."""

    def decode(self, bitstream):
        with bitstream.open("rb") as stream:
            dropped = json.loads(unsealed(stream))[4]
        for frame in super().decode(bitstream):
            yield Frame(frame.format, frame.data // (8 - dropped))


class Limited(Honest):
    def encode(self, source, rate, bitstream):
        if rate.value > 4:
            raise EncodeError("rate", "too much")
        return super().encode(source, rate, bitstream)


class EvenOnly(Honest):
    def decode(self, bitstream):
        for frame in super().decode(bitstream):
            if frame.format.width % 2:
                raise DecodeError("odd", "width is odd")
            yield frame


class Deep(Honest):
    def encode(self, source, rate, bitstream):
        if source.format.bit_depth > 8:
            raise ValueError("8 bit alone")
        return super().encode(source, rate, bitstream)


class Trusting(Honest):
    """Checks nothing that it reads."""

    def encode(self, source, rate, bitstream):
        super().encode(source, rate, bitstream)
        bitstream.write_bytes(b"".join(frame.data.tobytes() for frame in source.read()))
        return EncodeInfo()

    def decode(self, bitstream):
        fmt = VideoFormat(96, 64)
        data = bitstream.read_bytes().ljust(9 * fmt.frame_bytes, b"0")
        for at in range(9):
            yield Frame(fmt, np.frombuffer(data, "u1", fmt.frame_bytes, at * fmt.frame_bytes))


class Tracing(Honest):
    def decode(self, bitstream):
        try:
            yield from super().decode(bitstream)
        except DecodeError:
            raise KeyError("crc") from None


class Greedy(Honest):
    """Holds every frame."""

    def encode(self, source, rate, bitstream):
        frames = [np.repeat(frame.data, 16) for frame in source.read()]
        return super().encode(source, rate, bitstream)


class Unlucky(Honest):
    """Is disturbed the first time that it encodes a long clip."""

    def encode(self, source, rate, bitstream):
        disturbed = Path(__file__).with_name("disturbed")
        if source.frames > 100 and not disturbed.exists():
            disturbed.touch()
            np.ones(100 << 20, np.uint8)
        return super().encode(source, rate, bitstream)


class Hanging(Honest):
    def decode(self, bitstream):
        while True:
            pass
'''

Run = Callable[..., dict[str, Check]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Check a codec of the file above by some of the rules."""
    (tmp_path / "packed.py").write_text(SOURCE)

    def checked(name: str, *rules: str, time_limit: float = 120, **changes: str) -> dict[str, Check]:
        settings = {"kind": "learned", "deterministic": "true", "rates": "0, 2, 4", "maximum": "6", **changes}
        (tmp_path / "packed.toml").write_text(CARD.format(codec=name, **settings))
        entry = CodecEntry(load_card(tmp_path / "packed.toml"), tmp_path, trust=True)
        if rules:
            monkeypatch.setattr(kit, "RULES", {rule: kit.RULES[rule] for rule in rules})
        return {check.name: check for check in check_codec(entry, time_limit=time_limit)}

    yield checked
    warm.end_all()


def test_an_honest_codec_keeps_the_contract(run: Run) -> None:
    found = run("Honest")
    assert {check.outcome for check in found.values()} == {"ok"}, found
    assert list(found) == list(kit.RULES)
    assert found["damage"].message == "7 of 7 damaged bitstreams are refused"
    assert found["rates"].message.startswith("bytes fall with dropped (0: ")
    assert "yuv420p10le" in found["formats"].message


def test_a_codec_that_is_not_prepared_keeps_it_too(run: Run) -> None:
    """Each of its processes is an interpreter of its own."""
    found = run("Unprepared", "encode", "decode", "determinism", "decoding")
    assert {check.outcome for check in found.values()} == {"ok"}, found


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("Heavy", "start", "load cv2, which delays every listing"),
        ("Fickle", "tool", "changes from call to call"),
        ("Messy", "encode", "leaves statistics beside the bitstream"),
        ("Hoarding", "encode", "leaves temporary files/side beside the bitstream"),
        ("Silent", "encode", "wrote no bitstream"),
        ("Cheating", "decode", "only while the source clip is in its place"),
        ("Short", "decode", "decoded 8 frames, 9 were encoded"),
        ("Random", "determinism", "encoding twice gives different bitstreams"),
        ("Restless", "decoding", "decoding twice gives different frames"),
        ("Constant", "rates", "bytes neither rise nor fall monotonically with dropped"),
        ("Inverted", "quality", "more bytes give a worse picture"),
        ("Limited", "range", "2 frames of 96x64 yuv420p at dropped=6: "),
        ("EvenOnly", "sizes", "3 frames of 67x45 yuv420p: "),
        ("Deep", "formats", "2 frames of 96x64 yuv420p10le: "),
        ("Trusting", "damage", "other frames come out, without an error"),
        ("Tracing", "damage", "ends in a trace (KeyError: 'crc')"),
        ("Greedy", "memory", "encoding 160 frames takes "),
    ],
)
def test_each_fault_is_found_by_its_rule(run: Run, name: str, rule: str, message: str) -> None:
    found = run(name, rule)
    assert found[rule].outcome == "failed", found[rule]
    assert message in found[rule].message


def test_memory_that_was_disturbed_once_is_measured_again(run: Run, tmp_path: Path) -> None:
    found = run("Unlucky", "memory")
    assert found["memory"].outcome == "ok", found
    assert (tmp_path / "disturbed").exists()


def test_a_decoder_that_does_not_end_is_ended_and_nothing_more_is_tried(run: Run) -> None:
    found = run("Hanging", "decode", "rates", time_limit=2)
    assert "ran past its time limit of 2 s" in found["decode"].message
    assert found["rates"] == Check("rates", "not applicable", "not tried, since decode failed")


def test_what_the_card_does_not_claim_is_not_asked(run: Run) -> None:
    found = run("Random", "determinism", "rates", "quality", deterministic="false", rates="2")
    assert {check.outcome for check in found.values()} == {"not applicable"}
    assert "deterministic = false" in found["determinism"].message


def test_concealment_is_reported_for_classical_codecs_alone(run: Run) -> None:
    assert (
        "7 are decoded to different frames (concealment)"
        in run("Trusting", "damage", kind="classical")["damage"].message
    )


def test_a_file_that_is_not_trusted_is_not_executed(tmp_path: Path) -> None:
    (tmp_path / "packed.py").write_text("raise SystemExit")
    (tmp_path / "packed.toml").write_text(
        CARD.format(codec="Honest", kind="learned", deterministic="true", rates="1", maximum="6")
    )
    with pytest.raises(UnavailableError, match="--trust"):
        list(check_codec(CodecEntry(load_card(tmp_path / "packed.toml"), tmp_path)))


def test_the_command_on_a_clip_of_ones_own(vcbench: Vcbench, tiny_clip: Callable[..., Path]) -> None:
    """x265 keeps the contract but for damage, which its decoder conceals; the exit code says that all is well."""
    done = vcbench("validate", "--run", "x265@low-delay", "--input", tiny_clip(64, 64, 5), "--json")
    assert done.code == 0, done.out + done.err
    found = done.json
    assert (found["codec"], found["passed"]) == ("x265@low-delay", True)
    assert [check["name"] for check in found["checks"]] == list(kit.RULES)
    assert "5 frames of 64x64 yuv420p at 25 fps" in next(c["message"] for c in found["checks"] if c["name"] == "encode")


def test_the_command_tells_what_failed(vcbench: Vcbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packed.py").write_text(SOURCE)
    (tmp_path / "packed.toml").write_text(
        CARD.format(codec="Silent", kind="learned", deterministic="true", rates="1, 2", maximum="6")
    )
    done = vcbench("validate", "--run", "packed.toml", "--trust")
    assert done.code == 6
    assert done.out.splitlines()[-1] == "packed: failed: encode"
    assert "--run takes neither targets" in vcbench("validate", "--run", "x264", "packed.toml").err
    assert "--input is for --run" in vcbench("validate", "--input", "packed.toml").err
