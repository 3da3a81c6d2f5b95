"""Codecs of ActDiff-VC's keyframes: source frames in, at their own bit depth, and what the encoder predicted out."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from bench.bitstream.container import StreamHeader, StreamReader, StreamWriter  # noqa: E402
from bench.core.quiet_import import imported  # noqa: E402
from bench.errors import BitstreamError, EncodeError, UsageError  # noqa: E402
from bench.networks.compressai_models import FrameCoder, build  # noqa: E402
from bench.neural.codecs.actdiff_vc.codec import decode, encode  # noqa: E402
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig  # noqa: E402
from bench.neural.codecs.actdiff_vc.intra_encoders import ENCODERS  # noqa: E402
from bench.neural.codecs.actdiff_vc.keyframes import (  # noqa: E402
    CompressaiKeyframes,
    FfmpegKeyframes,
    LearnedKeyframes,
)
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, small  # noqa: E402
from bench.neural.codecs.actdiff_vc.options import ActDiffOptions  # noqa: E402
from bench.neural.coding.pictures import psnr, to_tensor  # noqa: E402
from bench.video.formats import VideoFormat  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.scan import scan  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = ActDiffConfig(
    width=8, deep=8, y_channels=8, hyper_channels=4, rates=3, latent_channels=8, heads=2, head_width=8, layers=1,
    refiner_width=8, refiner_blocks=1,
)  # fmt: skip
WEIGHTS = b"12345678"
IMAGE_MODELS = {
    "bmshj2018-factorized": (8, 12), "bmshj2018-hyperprior": (8, 12), "mbt2018-mean": (8, 12), "mbt2018": (8, 12),
    "cheng2020-anchor": (8,), "cheng2020-attn": (8,),
}  # fmt: skip

TinyClip = Callable[..., Path]


@pytest.fixture(scope="module")
def model() -> ActDiffVc:
    torch.manual_seed(0)
    return small(CONFIG).eval()


def seeded(model: str, seed: int = 0) -> dict[str, Any]:
    """State dict of a small untrained network of the zoo, whose latents are not all zero."""
    torch.manual_seed(seed)
    network = imported("compressai.zoo.image").model_architectures[model](*IMAGE_MODELS[model]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.mul_(1.6)
    network.update()
    found: dict[str, Any] = network.state_dict()
    return found


class Seeded:
    """Networks of which each quality is another seed."""

    def __init__(self, model: str) -> None:
        self.model = model

    def coder(self, quality: int) -> tuple[FrameCoder, bytes]:
        return build(self.model, seeded(self.model, quality)), b"seed000" + bytes([quality])


class LosslessCoder(FrameCoder):
    """Gives a picture's floats as they are, as bytes, in place of a network that would change them."""

    padded_to, reduction, strings = 64, 16, (2, 0)

    def encode(self, picture: Any, reference: Any) -> tuple[list[bytes], None]:
        return [b"", picture.numpy().tobytes()], None

    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Any) -> Any:
        values = np.frombuffer(strings[1], np.float32).reshape(1, 3, shape[0] * 16, shape[1] * 16)
        return torch.from_numpy(values.copy())


class Lossless:
    model = "lossless"

    def coder(self, quality: int) -> tuple[FrameCoder, bytes]:
        return LosslessCoder(None), WEIGHTS


def first_frame(path: Path) -> Frame:
    return next(iter(open_sequence(path).read()))


def patches(fmt: VideoFormat) -> Frame:
    """Flat patches of 32 x 32 at 10 bit, each a step of 10 bit from its neighbour; chroma likewise."""
    planes = []
    for height, width in fmt.plane_shapes:
        rows, columns = np.mgrid[:height, :width] // 32
        planes.append((513 + (rows + columns) % 3).astype("<u2"))
    return Frame.from_planes(fmt, planes)


NATIVE = [
    ("x264", "yuv420p", "yuv420p"), ("x264", "yuv422p10le", "yuv422p10le"), ("x264", "yuv444p12le", "yuv444p10le"),
    ("x265", "yuv420p10le", "yuv420p10le"), ("x265", "yuv444p12le", "yuv444p12le"), ("x265", "gray10le", "gray10le"),
    ("libaom", "yuv420p10le", "yuv420p10le"), ("libaom", "yuv422p12le", "yuv422p12le"), ("libaom", "gray", "gray"),
    ("svt-av1", "yuv420p10le", "yuv420p10le"), ("svt-av1", "yuv444p", "yuv420p"),
    ("svt-av1", "gray10le", "yuv420p10le"),
]  # fmt: skip
"""Encoder, source, and what the stream is then to be in."""


class TestFfmpeg:
    @pytest.mark.parametrize(("name", "pix_fmt", "native"), NATIVE)
    def test_the_sources_chroma_and_depth_are_coded_where_the_encoder_has_them(
        self, tiny_clip: TinyClip, tmp_path: Path, name: str, pix_fmt: str, native: str
    ) -> None:
        """What the stream is, FFmpeg tells that reads it; what comes out is what the encoder predicted."""
        frame = first_frame(tiny_clip(67, 45, 1, pix_fmt, noise=0))
        coder = FfmpegKeyframes(name, 20)
        data, predicted = coder.encode(frame)
        stream = tmp_path / f"picture.{ENCODERS[name].container}"
        stream.write_bytes(data)
        assert scan(stream).reading.pix_fmt == native
        assert torch.equal(coder.decode(data, frame.format), predicted)
        # halving the pattern's chroma costs more than coding it
        assert psnr([predicted], [to_tensor(frame)]) > (24 if (name, pix_fmt) == ("svt-av1", "yuv444p") else 30)

    @pytest.mark.parametrize(("name", "quality"), [("x264", 6), ("x265", 6), ("libaom", 4), ("svt-av1", 4)])
    def test_steps_of_10_bit_come_through(self, name: str, quality: int) -> None:
        """By way of 8 bit, a step of 10 bit would be nothing, or four."""
        frame = patches(VideoFormat(96, 96, chroma="420", bit_depth=10))
        _, decoded = FfmpegKeyframes(name, quality).encode(frame)
        assert float((decoded - to_tensor(frame)).abs().mean()) < 0.5 * 2 / 1023

    @pytest.mark.parametrize("name", sorted(ENCODERS))
    def test_one_quality_is_about_one_size_at_every_depth(self, tiny_clip: TinyClip, name: str) -> None:
        clip = (64, 64, 1)
        sizes = [
            len(FfmpegKeyframes(name, 36).encode(first_frame(tiny_clip(*clip, pix_fmt)))[0])
            for pix_fmt in ("yuv420p", "yuv420p10le")
        ]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.25)

    @pytest.mark.parametrize("name", sorted(ENCODERS))
    def test_qualities_of_ours_rise_with_the_rate(self, tiny_clip: TinyClip, name: str) -> None:
        frame = first_frame(tiny_clip(64, 64, 1))
        chosen = ENCODERS[name].qualities(3)
        sizes = [len(FfmpegKeyframes(name, quality).encode(frame)[0]) for quality in chosen]
        assert sizes == sorted(set(sizes))

    @pytest.mark.parametrize(("name", "size"), [("x265", (8, 6)), ("svt-av1", (1, 1)), ("libaom", (3, 40))])
    def test_small_pictures_are_padded(self, tiny_clip: TinyClip, name: str, size: tuple[int, int]) -> None:
        frame = first_frame(tiny_clip(*size, 1))
        _, decoded = FfmpegKeyframes(name, 20).encode(frame)
        assert decoded.shape == (1, 3, size[1], size[0])

    def test_what_is_no_such_picture_is_refused(self, tiny_clip: TinyClip) -> None:
        coder = FfmpegKeyframes("x265", 30)
        frame = first_frame(tiny_clip(64, 64, 1))
        data, _ = coder.encode(frame)
        for wrong, fmt in (
            (b"nothing", frame.format),
            (data, VideoFormat(66, 64)),
            (data, VideoFormat(64, 64, bit_depth=10)),
        ):
            with pytest.raises(BitstreamError, match=r"is no hevc picture of \d+x64 in yuv420p"):
                coder.decode(wrong, fmt)

    def test_an_encoder_that_fails_says_why(self, tiny_clip: TinyClip) -> None:
        with pytest.raises(EncodeError, match=r"libaom-av1 failed on a keyframe: .*crf"):
            FfmpegKeyframes("libaom", 99).encode(first_frame(tiny_clip(64, 64, 1)))


class TestLearned:
    def test_the_network_sees_the_source_at_its_own_depth(self, model: ActDiffVc) -> None:
        frame = patches(VideoFormat(70, 50, chroma="444", bit_depth=10))
        seen = []
        hook = model.intra.patches.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        with torch.inference_mode():
            LearnedKeyframes(model.intra, 1).encode(frame)
        hook.remove()
        assert torch.equal(seen[0][..., :50, :70], to_tensor(frame))


class TestCompressai:
    @pytest.mark.parametrize("name", IMAGE_MODELS)
    def test_a_keyframe_is_coded_as_the_library_codes_a_picture(self, tiny_clip: TinyClip, name: str) -> None:
        from compressai.ops import compute_padding
        from torch.nn import functional

        frame = first_frame(tiny_clip(67, 45, 1, "yuv420p10le"))
        coder = CompressaiKeyframes(Seeded(name), 3)
        with torch.inference_mode():
            data, predicted = coder.encode(frame)
            picture = (to_tensor(frame) + 1) / 2
            pad, unpad = compute_padding(45, 67, min_div=64)
            network = imported("compressai.zoo.image").model_architectures[name].from_state_dict(seeded(name, 3)).eval()
            theirs = network.compress(functional.pad(picture, pad))
            shown = network.decompress(theirs["strings"], theirs["shape"])["x_hat"]
        strings = [part[0] for part in theirs["strings"]]
        assert data.endswith(strings[-1])
        assert 0 <= len(data) - sum(map(len, strings)) <= 2 * (len(strings) - 1)
        assert torch.equal(coder.decode(data, frame.format), predicted)
        torch.testing.assert_close(predicted, functional.pad(shown, unpad).clamp(0, 1) * 2 - 1)


OPTIONS = ActDiffOptions(
    segments="fixed", longest=4, tracks=4, steps=1, keyframes="compressai:seeded", qualities=(1, 2, 3)
)


def written(
    model: ActDiffVc, frames: list[Frame], images: Any, options: ActDiffOptions = OPTIONS, rate: int = 1
) -> bytes:
    file = io.BytesIO()
    encode(
        model, frames, StreamHeader("tiny", WEIGHTS, frames[0].format, len(frames), rate), file,
        options=options, images=images,
    )  # fmt: skip
    return file.getvalue()


def read(model: ActDiffVc, data: bytes, images: Any, options: ActDiffOptions = OPTIONS) -> list[Frame]:
    return list(
        decode(model, io.BytesIO(data), name="tiny", weights=WEIGHTS, options=options, images=images, warped=True)
    )


def test_a_stream_carries_10_bit_from_end_to_end(model: ActDiffVc) -> None:
    """With keyframes that lose nothing, frames that are keyframes come back but for the way through RGB and back."""
    frames = [patches(VideoFormat(64, 64, chroma="444", bit_depth=10))] * 6
    shown = read(model, written(model, frames, Lossless()), Lossless())
    assert [frame.format for frame in shown] == [frame.format for frame in frames]
    for number in (0, 3, 5):
        assert np.abs(shown[number].data.astype(int) - frames[number].data.astype(int)).max() <= 1


@pytest.fixture(scope="module")
def frames(tiny_clip: TinyClip) -> list[Frame]:
    return list(open_sequence(tiny_clip(64, 48, 6, "yuv444p10le")).read())


@pytest.fixture(scope="module")
def stream(model: ActDiffVc, frames: list[Frame]) -> bytes:
    return written(model, frames, Seeded("mbt2018-mean"))


class TestStream:
    def test_it_names_model_and_weights_and_is_decoded_with_them(
        self, model: ActDiffVc, frames: list[Frame], stream: bytes
    ) -> None:
        assert b"mbt2018-mean" + b"seed000\x02" in stream
        shown = read(model, stream, Seeded("mbt2018-mean"))
        assert [frame.format for frame in shown] == [frame.format for frame in frames]

    def test_each_rate_index_has_its_quality(self, model: ActDiffVc, frames: list[Frame]) -> None:
        for rate in range(3):
            data = written(model, frames[:1], Seeded("bmshj2018-factorized"), rate=rate)
            assert b"seed000" + bytes([rate + 1]) in data

    def test_other_weights_models_and_none_are_refused_by_name(self, model: ActDiffVc, stream: bytes) -> None:
        other = OPTIONS.model_copy(update={"qualities": (1, 3, 2)})
        was = rf"unit 1 \(type 4\): keyframes are of mbt2018-mean with weights {b'seed000'.hex()}02"
        with pytest.raises(BitstreamError, match=rf"{was}, compressai:seeded is mbt2018-mean with weights \w+03"):
            read(model, stream, Seeded("mbt2018-mean"), other)
        with pytest.raises(BitstreamError, match=rf"{was}, compressai:seeded is bmshj2018-factorized with"):
            read(model, stream, Seeded("bmshj2018-factorized"))
        with pytest.raises(BitstreamError, match=rf"{was}; name its card in settings\.options\.keyframes"):
            read(model, stream, None, ActDiffOptions())
        with pytest.raises(UsageError, match=r"name its card in settings\.options\.keyframes, such as"):
            read(model, stream, None)
        with pytest.raises(UsageError, match="qualities: are 1, none is for rate index 1"):
            read(model, stream, Seeded("mbt2018-mean"), OPTIONS.model_copy(update={"qualities": (2,)}))

    def test_streams_of_other_keyframes_need_no_card(self, model: ActDiffVc, frames: list[Frame]) -> None:
        learned = written(model, frames, None, OPTIONS.model_copy(update={"keyframes": "learned", "qualities": ()}))
        assert len(read(model, learned, Seeded("mbt2018-mean"))) == len(frames)

    def test_what_it_says_of_the_weights_is_held_to_its_length(self, model: ActDiffVc, stream: bytes) -> None:
        for cut in (lambda payload: payload[:-1], lambda payload: payload + b"x", lambda payload: payload[:3]):
            file = io.BytesIO()
            reader = StreamReader(io.BytesIO(stream))
            writer = StreamWriter(file, reader.header)
            for unit in reader.units():
                writer.write(unit.kind, cut(unit.payload) if unit.number == 1 else unit.payload)
            writer.close()
            with pytest.raises(BitstreamError, match=r"unit 1 \(type 4\): damaged"):
                read(model, file.getvalue(), Seeded("mbt2018-mean"))
