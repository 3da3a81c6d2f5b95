"""Drops the lowest bits of every sample: nothing but Python and exact integers, so that its keys and bytes never change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.adapters.base import Codec, EncodeInfo, RatePoint
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import Sequence


class UpperBits(Codec):
    """The bits that stay, packed; a decoder takes the middle of what the rest may be."""

    rounded = True

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        transform = self.transform(source.format)
        kept = 8 - int(rate.value)
        with bitstream.open("wb") as stream:
            stream.write(bytes([transform.coded.width, transform.coded.height, kept]))
            for frame in map(transform.forward, source.read()):
                stream.write(np.packbits(np.unpackbits(frame.data.reshape(-1, 1), axis=1)[:, :kept]).tobytes())
        return EncodeInfo(notes={"kept_bits": kept})

    def decode(self, bitstream: Path) -> Iterator[Frame]:
        with bitstream.open("rb") as stream:
            width, height, kept = stream.read(3)
            coded = VideoFormat(width, height).with_pix_fmt("yuv420p")
            samples = width * height * 3 // 2
            while packed := stream.read(-(-samples * kept // 8)):
                bits = np.zeros((samples, 8), np.uint8)
                bits[:, :kept] = np.unpackbits(np.frombuffer(packed, np.uint8), count=samples * kept).reshape(-1, kept)
                middle = (1 << (8 - kept)) >> 1 if self.rounded else 0
                yield Frame(coded, np.packbits(bits) + np.uint8(middle))


class CutBits(UpperBits):
    """The same bits, decoded with zeros for the rest."""

    rounded = False
