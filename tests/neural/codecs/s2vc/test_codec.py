"""S2VC's stream with untrained networks: what comes back is what the encoder predicted; all else is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from needed import needed
from untrained import awake

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from bench.bitstream.container import StreamHeader  # noqa: E402
from bench.errors import BitstreamError  # noqa: E402
from bench.neural.codecs.s2vc.codec import decode, encode, to_frame, to_tensor  # noqa: E402
from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig  # noqa: E402
from bench.neural.networks.backbones import small_unet, tiny_autoencoder  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

CONFIG = S2vcConfig(
    width=16, deep=16, y_channels=8, hyper_channels=8, guidance=16, unet_widths=(16, 16), vae_width=8, rates=3,
    reanchor_every=2, teacher_channels=4,
)  # fmt: skip
WEIGHTS = b"12345678"


@pytest.fixture(scope="module")
def model() -> S2vc:
    torch.manual_seed(0)
    vae = tiny_autoencoder(CONFIG.latent_channels, CONFIG.vae_width)
    unet = small_unet(CONFIG.latent_channels, CONFIG.unet_widths, CONFIG.guidance)
    built: S2vc = awake(S2vc(CONFIG, vae, unet), std=0.1)
    return built


@pytest.fixture(scope="module")
def frames(tiny_clip: Callable[..., Path]) -> list[Frame]:
    return list(open_sequence(tiny_clip(90, 70, 5)).read())


def written(model: S2vc, frames: list[Frame], rate: int = 1) -> bytes:
    file = io.BytesIO()
    encode(model, frames, StreamHeader("tiny", WEIGHTS, frames[0].format, len(frames), rate), file)
    return file.getvalue()


def read(model: S2vc, data: bytes, **settings: object) -> list[Frame]:
    return list(decode(model, io.BytesIO(data), **{"name": "tiny", "weights": WEIGHTS, **settings}))


def test_frames_come_back_in_the_sources_format(model: S2vc, frames: list[Frame]) -> None:
    decoded = read(model, written(model, frames))
    assert [frame.format for frame in decoded] == [frame.format for frame in frames]
    assert not np.array_equal(decoded[0].data, decoded[-1].data)


def test_the_decoder_ends_in_the_state_the_encoder_predicted(model: S2vc, frames: list[Frame]) -> None:
    """The stream's last unit has the encoder's digest, re-anchoring included; a changed weight is found by it."""
    data = written(model, frames)
    changed = S2vc(CONFIG, model.vae, model.diffusion.unet).eval()
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.inter.join_synthesis[0].weight[0, 0] += 1e-3
    with pytest.raises(BitstreamError, match=r"state unit|unit \d"):
        read(changed, data)


def test_higher_rate_indexes_cost_more(model: S2vc, frames: list[Frame]) -> None:
    sizes = [len(written(model, frames, rate)) for rate in range(CONFIG.rates)]
    assert sizes == sorted(set(sizes))


def test_wrong_weights_name_and_rate_are_refused(model: S2vc, frames: list[Frame]) -> None:
    data = written(model, frames[:1])
    with pytest.raises(BitstreamError, match="header: was written by tiny"):
        read(model, data, weights=b"87654321")
    with pytest.raises(BitstreamError, match="header: was written by tiny"):
        read(model, data, name="other")
    with pytest.raises(BitstreamError, match="rate index 3, the model has 3"):
        file = io.BytesIO()
        encode(model, [], StreamHeader("tiny", WEIGHTS, frames[0].format, 0, 3), file)
        read(model, file.getvalue())


def test_missing_frames_are_found(model: S2vc, frames: list[Frame]) -> None:
    file = io.BytesIO()
    encode(model, frames[:2], StreamHeader("tiny", WEIGHTS, frames[0].format, 3, 0), file)
    with pytest.raises(BitstreamError, match="2 frames, the header has 3"):
        read(model, file.getvalue())


def test_pictures_survive_the_way_there_and_back(frames: list[Frame]) -> None:
    """Through RGB and back only the conversion's rounding is lost."""
    luma, *chroma = frames[0].planes  # without colour: the synthetic clip's are outside what RGB can show
    frame = Frame.from_planes(frames[0].format, [luma.clip(16, 235), *(plane * 0 + 128 for plane in chroma)])
    back = to_frame(to_tensor(frame), frame.format)
    assert all(np.array_equal(ours, given) for ours, given in zip(back.planes, frame.planes, strict=True))
