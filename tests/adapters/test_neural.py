"""Our own codecs through the interface of all codecs, with a tiny untrained S2VC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.adapters.base import RatePoint
from bench.adapters.child import ChildCodec
from bench.adapters.neural import NeuralCodec
from bench.cards import load_card
from bench.core.files import hash_file
from bench.errors import CardError, DecodeError, EncodeError, UnavailableError
from bench.registry import build
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
Make = Callable[..., NeuralCodec]

CARD = """
name = "tiny"
title = "S2VC of the smallest sizes, untrained"
adapter = "neural"
kind = "diffusion"
licence = "Apache-2.0"
gop = "low delay: one I frame"
extension = "vcb"
[rates]
parameter = "index"
values = [0, 1, 2]
minimum = 0
maximum = 7
[input]
chroma = ["gray", "420", "422", "444"]
bit_depths = [8, 10, 12]
[[weights]]
file = "weights/tiny.safetensors"
sha256 = "{sha256}"
[settings]
codec = "{codec}"
"""


@pytest.fixture
def make(tiny_weights: Path, tmp_path: Path) -> Make:
    (tmp_path / "weights").mkdir()
    shutil.copy(tiny_weights, tmp_path / "weights")

    def card(**changes: Any) -> NeuralCodec:
        path = tmp_path / "tiny.toml"
        path.write_text(CARD.format(**{"sha256": hash_file(tiny_weights), "codec": "s2vc", **changes}))
        codec = build(load_card(path), folder=tmp_path)
        assert isinstance(codec, NeuralCodec)
        return codec

    return card


FORMATS = [
    (90, 70, "yuv420p"), (33, 17, "yuv422p10le"), (16, 48, "yuv444p12le"), (64, 64, "gray"), (1, 1, "yuv420p"),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height", "pix_fmt"), FORMATS)
def test_every_format_comes_back_as_it_was(
    make: Make, tiny_clip: TinyClip, tmp_path: Path, width: int, height: int, pix_fmt: str
) -> None:
    codec, source = make(), open_sequence(tiny_clip(width, height, 2, pix_fmt))
    codec.encode(source, RatePoint("index", 1), tmp_path / "stream.vcb")
    decoded = list(codec.decode(tmp_path / "stream.vcb"))
    assert [frame.format for frame in decoded] == [source.format] * 2
    assert all(frame.data.size == source.format.samples_per_frame for frame in decoded)


def test_pictures_follow_the_source(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """The stream of another clip gives other frames: what is decoded comes from the file."""
    codec = make()
    found = []
    for noise in (0, 60):
        codec.encode(open_sequence(tiny_clip(64, 64, 2, noise=noise)), RatePoint("index", 2), tmp_path / "stream.vcb")
        found.append(b"".join(frame.data.tobytes() for frame in codec.decode(tmp_path / "stream.vcb")))
    assert found[0] != found[1]


def test_damage_is_told_with_the_unit(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    codec, stream = make(), tmp_path / "stream.vcb"
    codec.encode(open_sequence(tiny_clip(64, 64, 3)), RatePoint("index", 1), stream)
    data = bytearray(stream.read_bytes())
    stream.write_bytes(data[:-5])
    with pytest.raises(DecodeError, match=r"stream\.vcb: unit \d+: the stream ends inside it"):
        list(codec.decode(stream))
    data[len(data) // 2] ^= 4
    stream.write_bytes(data)
    with pytest.raises(DecodeError, match=r"stream\.vcb: unit \d+: damaged"):
        list(codec.decode(stream))


def test_a_rate_that_the_weights_do_not_have_is_refused(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="rate index 5, its weights have 0 to 2"):
        make().encode(open_sequence(tiny_clip()), RatePoint("index", 5), tmp_path / "stream.vcb")


def test_processes_of_their_own_agree(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """The decoder is another process, and finds the state that the encoder predicted, or it would refuse."""
    codec, source = make(), open_sequence(tiny_clip(48, 32, 3))
    child = ChildCodec(codec, tmp_path, trust=False)
    (tmp_path / "cell").mkdir()
    info = child.encode(source, RatePoint("index", 0), tmp_path / "cell" / "stream.vcb")
    with child.open_decoder(tmp_path / "cell" / "stream.vcb", source.format) as decoder:
        assert [frame.format for frame in decoder.frames()] == [source.format] * 3
    # what networks multiply is counted in both, and more by the decoder, which ends in a diffusion
    assert info.parameters is not None and info.parameters > 1000
    assert info.macs is not None and decoder.macs is not None
    assert decoder.macs > info.macs > info.parameters


def test_missing_and_other_weights_are_told(make: Make, tmp_path: Path) -> None:
    make().check()
    with pytest.raises(UnavailableError, match=r"tiny\.safetensors: SHA-256 is [0-9a-f]{64}, card tiny requires 0000"):
        make(sha256="0" * 64).check()
    (tmp_path / "weights" / "tiny.safetensors").unlink()
    with pytest.raises(UnavailableError, match=r"weights/tiny\.safetensors: no such weight file"):
        make().check()


def test_checking_and_keying_load_no_network(make: Make, tmp_path: Path) -> None:
    make()
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.cards import load_card\nfrom bench.registry import build\n"
        f"codec = build(load_card(Path({str(tmp_path / 'tiny.toml')!r})), folder=Path({str(tmp_path)!r}))\n"
        "codec.check()\nassert set(codec.tool()) == {'torch', 'compressai', 'diffusers', 'safetensors'}\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "False"


def test_a_device_of_the_users_is_part_of_the_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = make().tool()
    monkeypatch.setenv("VCBENCH_DEVICE", "cpu")
    assert make().tool() == on_cpu
    monkeypatch.setenv("VCBENCH_DEVICE", "cuda:1")
    assert make().tool() == {**on_cpu, "device": "cuda:1"}


def test_wrong_cards_are_refused(make: Make, tiny_weights: Path) -> None:
    with pytest.raises(CardError, match=r"codec: 'vc2s' is not one of vcbench's own codecs: .*s2vc"):
        make(codec="vc2s")
    twice = f'{hash_file(tiny_weights)}"\n[[weights]]\nfile = "b"\nsha256 = "{"0" * 64}'
    with pytest.raises(CardError, match="the adapter neural takes one file, not 2"):
        make(sha256=twice)
