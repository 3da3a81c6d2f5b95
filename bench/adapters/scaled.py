"""A codec at a smaller size: frames are scaled before its encoder, and back to the sequence's size after its decoder.

What AOM's common test conditions do for adaptive streaming: the bitstream is that of the small video, and quality is
measured at the source's size. The scaler's time is neither the encoder's nor the decoder's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.adapters.base import Command, EncodeInfo, ExternalCodec, RatePoint, RunningDecoder
from bench.cards import Scaling
from bench.errors import DecodeError
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.scale import at_size, rescaled
from bench.video.sequence import Sequence


def scaled_format(source: VideoFormat, scaling: Scaling) -> VideoFormat:
    """The format at which a codec codes: sides times the factor, to the nearest even number."""
    width, height = (max(2, 2 * round(side * scaling.factor / 2)) for side in (source.width, source.height))
    return replace(source, width=width, height=height)


@dataclass(frozen=True)
class ScaledTransform(CodingTransform):
    """Frames come back at the source's size already; ``inner`` is what the codec's own frames went through."""

    inner: CodingTransform
    scaling: Scaling

    def describe(self) -> list[str]:
        small = self.inner.source
        size, scaler = f"{small.width}x{small.height}", self.scaling.filter
        return [f"coded at {size}, scaled down and back up by FFmpeg's {scaler} filter", *self.inner.describe()]


class ScaledCodec(ExternalCodec):
    """Wraps any codec that the engine runs."""

    def __init__(self, codec: ExternalCodec, scaling: Scaling) -> None:
        self.card, self.sandbox, self.time_limit = codec.card, codec.sandbox, codec.time_limit
        self._codec, self._scaling = codec, scaling

    def check(self) -> None:
        self._codec.check()

    def tool(self) -> dict[str, str]:
        return self._codec.tool()

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return self._codec.made_of()

    def identity(self) -> dict[str, str]:
        return self._codec.identity()

    def identity_now(self) -> dict[str, str]:
        return self._codec.identity_now()

    def seen(self) -> tuple[Path, ...]:
        return self._codec.seen()

    def transform(self, source: VideoFormat) -> ScaledTransform:
        return ScaledTransform(source, source, self._inner(source), self._scaling)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        small = scaled_format(source.format, self._scaling)
        return self._codec.encode(at_size(source, small.width, small.height, self._scaling.filter), rate, bitstream)

    def open_decoder(self, bitstream: Path, coded: VideoFormat) -> RunningDecoder:
        inner = self._inner(coded)
        return _ScaledDecoder(self._codec.open_decoder(bitstream, inner.coded), coded, inner, self._scaling.filter)

    def encode_command(self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path) -> Command:
        return self._codec.encode_command(source, coded, rate, bitstream)

    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        return self._codec.decode_command(bitstream, coded)

    def _inner(self, source: VideoFormat) -> CodingTransform:
        return self._codec.transform(scaled_format(source, self._scaling))


class _ScaledDecoder(RunningDecoder):
    """The decoder of the small video, whose frames come at the source's size."""

    def __init__(self, decoder: RunningDecoder, full: VideoFormat, inner: CodingTransform, scaler: str) -> None:
        self.command = decoder.command
        self.usage = self.macs = None
        self._decoder, self._full, self._inner, self._scaler = decoder, full, inner, scaler

    def frames(self) -> Iterator[Frame]:
        small = map(self._restored, self._decoder.frames())
        first = next(small, None)
        if first is not None:  # of no frame FFmpeg would make an error of its own
            yield from (
                Frame(self._full, frame.data)
                for frame in rescaled(
                    chain([first], small), first.format, self._full.width, self._full.height, self._scaler
                )
            )
        self.usage, self.macs = self._decoder.usage, self._decoder.macs

    def _restored(self, frame: Frame) -> Frame:
        got, expected = frame.format, self._inner.coded
        if any(getattr(got, what) != getattr(expected, what) for what in ("width", "height", "chroma", "bit_depth")):
            raise DecodeError(
                "frame_format",
                f"decoded frames are {got.width}x{got.height} {got.pix_fmt}, "
                f"expected {expected.width}x{expected.height} {expected.pix_fmt}",
            )
        return self._inner.inverse(frame)

    def __enter__(self) -> Any:
        self._decoder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder.__exit__(kind, error, trace)
