"""ActDiff-VC on restoration: small AV1 keyframes, tracks between them, and the restoration network as the generator."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from bench.bitstream.container import StreamHeader, StreamReader  # noqa: E402
from bench.errors import BitstreamError  # noqa: E402
from bench.neural.codecs.actdiff_vc import restored  # noqa: E402
from bench.neural.codecs.actdiff_vc.codec import KEYFRAME_UNIT, PARAMETERS_UNIT  # noqa: E402
from bench.neural.codecs.actdiff_vc.keyframes import KINDS, SmallerKeyframes  # noqa: E402
from bench.neural.codecs.actdiff_vc.options import RestoredOptions  # noqa: E402
from bench.neural.coding.pictures import psnr, to_tensor  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

WEIGHTS = b"12345678"
OPTIONS = RestoredOptions(keyframes="svt-av1-half", segments="fixed", longest=3)


@pytest.fixture(scope="module")
def model() -> restored.Tracked:
    torch.manual_seed(0)
    built = restored.build({"width": 8, "depth": 8, "half": True, "noise": True}).eval()
    torch.nn.init.normal_(built.generator.network.entry_noise.weight, std=0.05)  # untrained, it is nothing
    return built


@pytest.fixture(scope="module")
def frames(tiny_clip: Callable[..., Path]) -> list[Frame]:
    return list(open_sequence(tiny_clip(70, 66, 4)).read())


@pytest.fixture(scope="module")
def data(model: restored.Tracked, frames: list[Frame]) -> bytes:
    file = io.BytesIO()
    header = StreamHeader("tiny", WEIGHTS, frames[0].format, len(frames), 7)
    restored.encode(model, frames, header, file, options=OPTIONS)
    return file.getvalue()


def read(model: restored.Tracked, data: bytes, **changes: object) -> list[Frame]:
    options = OPTIONS.model_copy(update=changes)
    return list(restored.decode(model, io.BytesIO(data), name="tiny", weights=WEIGHTS, options=options))


def test_frames_come_back_in_the_sources_format(model: restored.Tracked, frames: list[Frame], data: bytes) -> None:
    drawn, plain = read(model, data), read(model, data, generate=False)
    assert [frame.format for frame in drawn] == [frame.format for frame in frames]
    assert any((a.data != b.data).any() for a, b in zip(drawn, plain, strict=True))
    silent = read(model, data, without=("diffusion",))
    assert any((a.data != b.data).any() for a, b in zip(drawn, silent, strict=True))
    assert all((a.data == b.data).all() for a, b in zip(drawn, read(model, data), strict=True))
    units = list(StreamReader(io.BytesIO(data)).units())
    assert units[0].kind == PARAMETERS_UNIT
    assert KINDS[units[0].payload[0]] == "svt-av1-half"
    assert sum(unit.kind == KEYFRAME_UNIT for unit in units) == 3


def test_the_state_is_that_of_bytes_whatever_a_machines_arithmetic(
    model: restored.Tracked, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = SmallerKeyframes.decode
    monkeypatch.setattr(SmallerKeyframes, "decode", lambda *given: decode(*given) + 1e-6)
    assert len(read(model, data)) == 4


@pytest.mark.parametrize("kind", ["svt-av1-half", "svt-av1-quarter"])
def test_a_keyframe_is_decoded_as_the_encoder_saw_it(frames: list[Frame], kind: str) -> None:
    fine, coarse = SmallerKeyframes(kind, 20), SmallerKeyframes(kind, 63)
    data, seen = fine.encode(frames[0])
    assert torch.equal(fine.decode(data, frames[0].format), seen)
    few, poor = coarse.encode(frames[0])
    assert len(few) < len(data)
    wanted = [to_tensor(frames[0])]
    assert psnr([seen], wanted) > psnr([poor], wanted)
    with pytest.raises(BitstreamError):
        fine.decode(bytes(np.zeros(9, np.uint8)), frames[0].format)
