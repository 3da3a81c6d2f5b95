"""Codecs of keyframes: our learned intra codec, an image codec of CompressAI's, or an intra picture through FFmpeg.

The stream names the one that it was written with, and the weights that it takes beside the model's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.bitstream.container import DIGEST_BYTES, PayloadReader, varint
from bench.core import process
from bench.errors import BitstreamError, EncodeError, UsageError
from bench.networks.compressai_models import FrameCoder, pack_strings, unpack_strings
from bench.neural.codecs.actdiff_vc.intra_encoders import ENCODERS
from bench.neural.codecs.actdiff_vc.model import ActDiffVc
from bench.neural.codecs.actdiff_vc.options import COMPRESSAI, LEARNED, SMALLER, SMALLER_QUALITIES, ActDiffOptions
from bench.neural.codecs.restoration import base, program
from bench.neural.codecs.restoration.restore import larger
from bench.neural.coding.channel import DecoderChannel, EncoderChannel
from bench.neural.coding.picture_codec import STRIDE, PictureCodec
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.neural.networks.blocks import pad_to
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype

KINDS = (LEARNED, "x264", "x265", "libaom", "svt-av1", COMPRESSAI, *SMALLER)
"""Keyframe codecs by their number in a stream."""


class KeyframeCodec(Protocol):
    """Source frames to bytes, and bytes to pictures 1 x 3 x H x W (-1 to 1, on the CPU), at one rate index."""

    @property
    def kind(self) -> str:
        """Which of `KINDS`."""

    def about(self) -> bytes:
        """What a stream says of it beside its kind."""

    def encode(self, frame: Frame) -> tuple[bytes, Tensor]:
        """Bytes, and the picture that a decoder makes of them. Nothing is rounded to fewer bits than the frame has."""

    def decode(self, data: bytes, fmt: VideoFormat) -> Tensor:
        """The picture of bytes that are of frames of that format; BitstreamError for bytes that are not."""


class ImageModels(Protocol):
    """Networks of one of CompressAI's image models, one for each of its qualities."""

    @property
    def model(self) -> str:
        """Name in CompressAI's zoo."""

    def coder(self, quality: int) -> tuple[FrameCoder, bytes]:
        """The network of a quality, and the digest of its weights."""


def keyframe_codec(
    model: ActDiffVc, options: ActDiffOptions, rate: int, images: ImageModels | None, *, kind: str | None = None
) -> KeyframeCodec:
    """The codec that the options choose, or the one that a stream names as ``kind``, at a rate index.

    ``images``: those of the card that the options name. Raises UsageError where there is none that are needed, or the
    options have no quality for the rate index; UnavailableError where a program or weights are not here.
    """
    kind = kind or options.keyframe_kind
    if kind == LEARNED:
        return LearnedKeyframes(model.intra, rate, options.rdoq)
    rates = model.config.rates
    if kind in ENCODERS:
        of_kind = options.qualities if options.keyframe_kind == kind else ()
        return FfmpegKeyframes(kind, _at(of_kind or ENCODERS[kind].qualities(rates), rate))
    if kind in SMALLER:
        of_kind = options.qualities if options.keyframe_kind == kind else ()
        return SmallerKeyframes(kind, _at(of_kind or smaller_qualities(rates), rate))
    if images is None:
        raise UsageError(
            "keyframes are of an image codec of CompressAI's: name its card in settings.options.keyframes, such as "
            f'"{COMPRESSAI}:bmshj2018-hyperprior"'
        )
    return CompressaiKeyframes(images, _at(options.qualities, rate))


def _at(qualities: Sequence[int], rate: int) -> int:
    if rate >= len(qualities):
        raise UsageError(
            f"settings.options.qualities: are {len(qualities)}, none is for rate index {rate}; name one for each"
        )
    return qualities[rate]


class LearnedKeyframes:
    """The intra codec of the weights."""

    kind = LEARNED

    def __init__(self, intra: PictureCodec, rate: int, rdoq: float = 0.0) -> None:
        self._intra = intra
        self._rate = rate
        self._rdoq = rdoq

    def about(self) -> bytes:
        """See `KeyframeCodec`."""
        return b""

    def encode(self, frame: Frame) -> tuple[bytes, Tensor]:
        """See `KeyframeCodec`."""
        padded = pad_to(to_tensor(frame), STRIDE)
        channel = EncoderChannel(self._rate, self._rdoq)
        decoded, _, _ = self._intra(channel, padded, torch.zeros_like(padded), None)
        (data,) = channel.payloads
        return data, _cut(decoded, frame.format)

    def decode(self, data: bytes, fmt: VideoFormat) -> Tensor:
        """See `KeyframeCodec`."""
        grey = torch.zeros(1, 3, *(-(-side // STRIDE) * STRIDE for side in (fmt.height, fmt.width)))
        decoded, _, _ = self._intra(DecoderChannel(self._rate, [data]), None, grey, None)
        return _cut(decoded, fmt)


def _cut(picture: Tensor, fmt: VideoFormat) -> Tensor:
    return picture[..., : fmt.height, : fmt.width].clamp(-1, 1)


class CompressaiKeyframes:
    """An image model of CompressAI's; the stream names model and weights, and no other ones decode it."""

    kind = COMPRESSAI

    def __init__(self, images: ImageModels, quality: int) -> None:
        self._model = images.model
        self._coder, self._weights = images.coder(quality)

    def about(self) -> bytes:
        """See `KeyframeCodec`."""
        return varint(len(self._model)) + self._model.encode("ascii") + self._weights

    def encode(self, frame: Frame) -> tuple[bytes, Tensor]:
        """See `KeyframeCodec`."""
        strings, _ = self._coder.encode(self._coder.padded((to_tensor(frame) + 1) / 2), None)
        data = pack_strings(strings)
        return data, self.decode(data, frame.format)

    def decode(self, data: bytes, fmt: VideoFormat) -> Tensor:
        """See `KeyframeCodec`."""
        strings = unpack_strings(PayloadReader(data, "keyframe"), self._coder.strings[0])
        padded = self._coder.decode(strings, self._coder.latent_size(fmt.height, fmt.width), None)
        return self._coder.cut(padded, fmt.height, fmt.width).clamp(0, 1) * 2 - 1


def describe(about: bytes, name: str) -> str:
    """What a stream says of its keyframes' weights, for messages; BitstreamError, naming the unit, if damaged."""
    fields = PayloadReader(about, name)
    model, weights = fields.take(fields.varint()), fields.take(DIGEST_BYTES)
    fields.end()
    return f"{model.decode('ascii', 'replace')} with weights {weights.hex()}"


def smaller_qualities(rates: int) -> tuple[int, ...]:
    """CRF of `SmallerKeyframes` at each rate index, evenly from coarse to fine."""
    coarse, fine = SMALLER_QUALITIES
    return tuple(round(coarse + index * (fine - coarse) / max(1, rates - 1)) for index in range(rates))


class SmallerKeyframes:
    """A picture at a part of the size by SVT-AV1, whose integers are the same anywhere, made large by a cubic."""

    def __init__(self, kind: str, crf: int) -> None:
        """UnavailableError where FFmpeg lacks the encoder."""
        self.kind = kind
        self._scale = SMALLER[kind]
        self._crf = crf
        program.check()

    def about(self) -> bytes:
        """See `KeyframeCodec`."""
        return b""

    def encode(self, frame: Frame) -> tuple[bytes, Tensor]:
        """See `KeyframeCodec`. EncodeError with what the encoder said where it fails."""
        with base.BaseEncoder(frame.format, (self._scale,)) as encoder:
            encoder.add(base.padded(to_tensor(frame), frame.format))
            data = encoder.encode(self._scale, self._crf, "random-access")
        return data, self.decode(data, frame.format)

    def decode(self, data: bytes, fmt: VideoFormat) -> Tensor:
        """See `KeyframeCodec`."""
        (small,) = base.decode(data, base.base_format(fmt, self._scale), 1)
        return _cut(larger(small, self._scale), fmt)


class FfmpegKeyframes:
    """One intra picture for each keyframe, at the source's chroma and bit depth where the encoder has them."""

    def __init__(self, name: str, quality: int) -> None:
        """``quality``: QP or CRF. UnavailableError where FFmpeg lacks the encoder."""
        self.kind = name
        self._encoder = ENCODERS[name]
        self._quality = quality
        self._encoder.check()

    def about(self) -> bytes:
        """See `KeyframeCodec`."""
        return b""

    def encode(self, frame: Frame) -> tuple[bytes, Tensor]:
        """See `KeyframeCodec`. EncodeError with what the encoder said where it fails."""
        transform = self._encoder.transform(frame.format)
        given = frame if frame.format == transform.source else to_frame(to_tensor(frame), transform.source)
        with tempfile.TemporaryDirectory(prefix="vcbench-keyframe-") as folder:
            source = Path(folder) / "picture.yuv"
            source.write_bytes(transform.forward(given).data.tobytes())
            data, error = _run(self._encoder.encode_arguments(transform.coded, self._quality, str(source)))
        if error or not data:
            raise EncodeError("keyframe", f"{self._encoder.name} failed on a keyframe: {error or 'it wrote nothing'}")
        return data, self.decode(data, frame.format)

    def decode(self, data: bytes, fmt: VideoFormat) -> Tensor:
        """See `KeyframeCodec`."""
        transform = self._encoder.transform(fmt)
        coded = transform.coded
        with tempfile.TemporaryDirectory(prefix="vcbench-keyframe-") as folder:
            stream = Path(folder) / "stream"
            stream.write_bytes(data)
            samples, error = _run(self._encoder.decode_arguments(coded, str(stream)))
        if error or len(samples) != coded.frame_bytes:
            raise BitstreamError(
                f"is no {self._encoder.container} picture of {coded.width}x{coded.height} in {coded.pix_fmt} "
                f"({error or 'other size'})"
            )
        frame = Frame(coded, np.frombuffer(samples, sample_dtype(coded)))
        return to_tensor(transform.inverse(frame))


def _run(argv: Sequence[str]) -> tuple[bytes, str]:
    """What FFmpeg writes, and what it complains of where it fails."""
    try:
        out, err, status = process.run(argv)
    except process.ProcessError as error:
        return b"", str(error)
    return out, "" if status == 0 else (err.strip() or f"exit status {status}")
