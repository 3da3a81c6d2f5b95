"""Codecs of keyframes: our learned intra codec, or an intra picture of a video codec through FFmpeg.

The stream names the one that it was written with, so that a decoder needs not be told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench import ffmpeg, process
from bench.errors import BitstreamError, EncodeError, UnavailableError
from bench.neural.blocks import pad_to
from bench.neural.channel import DecoderChannel, EncoderChannel
from bench.neural.picture_codec import STRIDE, PictureCodec
from bench.neural.pictures import to_frame, to_tensor
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

LEARNED = "learned"


class KeyframeCodec(Protocol):
    """Pictures 1 x 3 x H x W (-1 to 1, on the CPU) to bytes and back, at a rate index."""

    def encode(self, picture: Tensor, rate: int) -> tuple[bytes, Tensor]:
        """Bytes, and the picture that a decoder makes of them."""

    def decode(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """The picture of bytes; BitstreamError for some that are no picture of that size."""


class LearnedKeyframes:
    """The intra codec of the weights."""

    def __init__(self, intra: PictureCodec) -> None:
        self._intra = intra

    def encode(self, picture: Tensor, rate: int) -> tuple[bytes, Tensor]:
        """See `KeyframeCodec`."""
        padded = pad_to(picture, STRIDE)
        channel = EncoderChannel(rate)
        decoded, _, _ = self._intra(channel, padded, torch.zeros_like(padded), None)
        (data,) = channel.payloads
        return data, _cut(decoded, picture.shape[-2], picture.shape[-1])

    def decode(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """See `KeyframeCodec`."""
        grey = torch.zeros(1, 3, *(-(-side // STRIDE) * STRIDE for side in (height, width)))
        decoded, _, _ = self._intra(DecoderChannel(rate, [data]), None, grey, None)
        return _cut(decoded, height, width)


def _cut(picture: Tensor, height: int, width: int) -> Tensor:
    return picture[..., :height, :width].clamp(-1, 1)


@dataclass(frozen=True)
class _Encoder:
    """An encoder of FFmpeg: its arguments (``{quality}`` in them), container, and qualities at lowest, highest rate."""

    name: str
    arguments: tuple[str, ...]
    container: str
    coarsest: int
    finest: int


_X265 = "qp={quality}:keyint=1:info=0:pools=none:frame-threads=1:log-level=error"
ENCODERS = {
    "x264": _Encoder("libx264", ("-qp", "{quality}", "-threads", "1"), "h264", 46, 26),
    "x265": _Encoder("libx265", ("-x265-params", _X265), "hevc", 46, 26),
    "libaom": _Encoder(
        "libaom-av1",
        ("-crf", "{quality}", "-b:v", "0", "-cpu-used", "4", "-usage", "allintra", "-threads", "1"),
        "obu",
        62,
        32,
    ),
}
"""Video codecs whose intra pictures keyframes may be."""


class FfmpegKeyframes:
    """One intra picture (4:2:0, BT.709, sides made even) for each keyframe. ``qualities``: QP or CRF by rate index."""

    def __init__(self, name: str, qualities: Sequence[int]) -> None:
        self._encoder = ENCODERS[name]
        self._qualities = qualities
        if self._encoder.name not in ffmpeg.encoders():
            raise UnavailableError(
                f"{ffmpeg.executable()} has no encoder {self._encoder.name} for keyframes: {name}; unset "
                f"{ffmpeg.ENVIRONMENT} to use the static build of imageio-ffmpeg, or choose learned keyframes"
            )

    def encode(self, picture: Tensor, rate: int) -> tuple[bytes, Tensor]:
        """See `KeyframeCodec`. EncodeError with what the encoder said where it fails."""
        height, width = picture.shape[-2:]
        fmt = _format(height, width)
        quality = str(self._qualities[rate])
        arguments = [argument.replace("{quality}", quality) for argument in self._encoder.arguments]
        source = to_frame(pad_to(picture, 2), fmt).data.tobytes()
        given = ("-f", "rawvideo", "-pix_fmt", fmt.pix_fmt, "-video_size", f"{fmt.width}x{fmt.height}")
        made = ("-frames:v", "1", "-c:v", self._encoder.name, *arguments, "-f", self._encoder.container)
        data, error = _through(source, given, made)
        if error:
            raise EncodeError("keyframe", f"{self._encoder.name} failed on a keyframe: {error}")
        return data, self.decode(data, height, width, rate)

    def decode(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """See `KeyframeCodec`."""
        fmt = _format(height, width)
        made = ("-frames:v", "1", "-f", "rawvideo", "-pix_fmt", fmt.pix_fmt)
        samples, error = _through(data, ("-f", self._encoder.container), made)
        if error or len(samples) != fmt.frame_bytes:
            raise BitstreamError(
                f"is no {self._encoder.container} picture of {width}x{height} ({error or 'other size'})"
            )
        frame = Frame(fmt, np.frombuffer(samples, np.uint8))
        return _cut(to_tensor(frame), height, width)


def qualities_of(name: str, rates: int) -> tuple[int, ...]:
    """QP or CRF at each rate index, evenly from coarse to fine, where a card gives none."""
    encoder = ENCODERS[name]
    return tuple(round(value) for value in np.linspace(encoder.coarsest, encoder.finest, rates))


def _format(height: int, width: int) -> VideoFormat:
    return VideoFormat(width + width % 2, height + height % 2, chroma="420", bit_depth=8, matrix="bt709")


def _through(data: bytes, given: Sequence[str], made: Sequence[str]) -> tuple[bytes, str]:
    """What FFmpeg makes of bytes, and what it complains of where it fails."""
    with tempfile.TemporaryDirectory(prefix="vcbench-keyframe-") as folder:
        source = Path(folder) / "in"
        source.write_bytes(data)
        argv = [*ffmpeg.base_command(), *ffmpeg.PROTOCOLS, *given, "-i", f"file:{source}", *made, "pipe:1"]
        try:
            out, err, status = process.run(argv)
        except process.ProcessError as error:
            return b"", str(error)
    return out, "" if status == 0 else (err.strip() or f"exit status {status}")
