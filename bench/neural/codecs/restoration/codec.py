"""The bitstream of restoration codecs: the base stream at a scale that the encoder chose.

Only the base is decoded from bits, by a decoder of AV1 or VVC, whose integers are the same everywhere. So a stream
decodes on any machine and any number of threads; the last bits of what the network makes of it may differ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from bench.bitstream.container import PayloadReader, StreamHeader, StreamReader, StreamWriter, varint
from bench.errors import BitstreamError
from bench.neural.codecs.restoration import av1, base, program
from bench.neural.codecs.restoration.network import SCALES, Restoration
from bench.neural.codecs.restoration.options import RestorationOptions
from bench.neural.codecs.restoration.restore import Known, restored
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

BASE_UNITS: Mapping[int, program.Base] = {1: "svt-av1", 2: "vvenc"}
"""Codec of the base by the type of the one unit, which holds the base's scale, its CRF or QP, and its stream."""

LOOKED_AT = 24
"""Frames from the clip's beginning by which the scale is chosen."""

NEAR = 0.95
"""Share of the bytes of a rate index that a base at another scale has at least, where its CRFs allow it."""

WORTH = 3.0
"""dB that twice the bytes are worth to the choice of the scale, where rates differ: what they buy at one scale."""

DOUBLING = 6
"""Steps of CRF or QP, about, that double the bytes."""

DEFAULT = RestorationOptions()


@dataclass(frozen=True)
class Stream:
    """A base: its codec, scale, CRF or QP, and bytes."""

    base: program.Base
    scale: int
    quality: int
    data: bytes

    def types(self, frames: int) -> list[int]:
        """Types of the frames in the order in which they are shown, as far as the stream says them."""
        return av1.shown_types(self.data) if self.base == "svt-av1" else [av1.KEY, *[av1.LEAF] * (frames - 1)]


def encode(
    model: Restoration,
    frames: Iterable[Frame],
    header: StreamHeader,
    file: BinaryIO,
    *,
    options: RestorationOptions = DEFAULT,
) -> list[int]:
    """Write a stream of frames; returns the bytes of each unit. Few frames are held at a time."""
    writer = StreamWriter(file, header)
    sizes: list[int] = []
    seen: list[Tensor] = []
    with torch.inference_mode(), base.BaseEncoder(header.format, options.scales) as encoder:
        for frame in frames:
            picture = to_tensor(frame)
            encoder.add(base.padded(picture, header.format))
            if len(seen) < LOOKED_AT and len(options.scales) > 1:
                seen.append(picture)
        if encoder.frames:
            found, *others = streams(encoder, header.rate_index, options)
            if others:
                found = max([found, *others], key=lambda stream: _merit(model, stream, seen, header, options))
            kind = next(kind for kind, name in BASE_UNITS.items() if name == found.base)
            sizes.append(writer.write(kind, varint(found.scale) + varint(found.quality) + found.data))
    writer.close()
    return sizes


def streams(encoder: base.BaseEncoder, index: int, options: RestorationOptions) -> list[Stream]:
    """The streams to choose from at a rate index: the one at the smallest size, and at others those of its rate.

    What is restored gets better with the rate at either scale; so does the better of two of equal rate.
    """
    smallest, *others = sorted(set(options.scales), reverse=True)

    def coded(scale: int, quality: int) -> Stream:
        return Stream(options.base, scale, quality, encoder.encode(scale, quality, options.structure, options.base))

    found = [coded(smallest, options.crf(smallest, index))]
    target = len(found[0].data)
    for scale in others:
        low, high, quality, best = 0, 63, options.crf(scale, index), None
        while low <= high:
            trial = coded(scale, quality)
            share = len(trial.data) / target
            if share > 1:
                low = quality + 1
            else:
                best, high = trial, quality - 1
                if share >= NEAR:
                    break
            quality = min(max(quality + round(DOUBLING * math.log2(share)), low), high)
        found += [best] if best else []
    return found


def _merit(
    model: Restoration, stream: Stream, seen: list[Tensor], header: StreamHeader, options: RestorationOptions
) -> float:
    """How near a stream, decoded and restored, is to the first frames (PSNR of luma), less what its bytes are worth."""
    errors = [
        (luma(_cut(picture, header.format)) - luma(wanted)).square().mean()
        for picture, wanted in zip(_pictures(model, stream, header, options), seen, strict=False)
    ]
    decibel = float(-10 * torch.log10(torch.stack(errors).mean().clamp_min(1e-9)))
    return decibel - WORTH * math.log2(len(stream.data))


def luma(picture: Tensor) -> Tensor:
    """Luma of RGB by BT.709."""
    return (picture * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(1)


def _pictures(
    model: Restoration,
    stream: Stream,
    header: StreamHeader,
    options: RestorationOptions,
    device: str | torch.device = "cpu",
) -> Iterator[Tensor]:
    known = Known(stream.types(header.frames), stream.quality, stream.scale, header.seed)
    small = base.decode(stream.data, base.base_format(header.format, stream.scale), header.frames, stream.base)
    return restored(model, small, known, options, device)


def _cut(picture: Tensor, fmt: VideoFormat) -> Tensor:
    return picture[..., : fmt.height, : fmt.width]


def decode(
    model: Restoration,
    file: BinaryIO,
    *,
    name: str,
    weights: bytes,
    device: str | torch.device = "cpu",
    options: RestorationOptions = DEFAULT,
) -> Iterator[Frame]:
    """Frames of a stream, restored a few at a time. ``name`` and ``weights`` are those the stream must name.

    Raises BitstreamError, naming the unit, for a stream that is damaged, cut, or of other weights.
    """
    reader = StreamReader(file)
    header = reader.header
    header.expect(name, weights, model.config.rates)
    units = reader.units()
    unit = next(units, None)
    if unit is None or unit.kind not in BASE_UNITS:
        raise BitstreamError(
            f"{unit.name if unit else 'end'}: expected the base (type {' or '.join(map(str, BASE_UNITS))})"
        )
    fields = PayloadReader(unit.payload, unit.name)
    stream = Stream(BASE_UNITS[unit.kind], fields.varint(), fields.varint(), fields.rest())
    if stream.scale not in SCALES or stream.quality > 63:
        raise BitstreamError(
            f"{unit.name}: a base at 1/{stream.scale} with CRF or QP {stream.quality}, which no encoder writes"
        )
    for other in units:
        raise BitstreamError(f"{other.name}: follows the base, which is the only unit")
    with torch.inference_mode(), unit.blamed():
        if (shown := len(stream.types(header.frames))) != header.frames:
            raise BitstreamError(f"shows {shown} frames, the header says {header.frames}")
        for picture in _pictures(model, stream, header, options, device):
            yield to_frame(_cut(picture, header.format), header.format)


def bytes_by_type(file: BinaryIO) -> dict[str, int]:
    """Bytes of a stream by what they are for: key frame, frames that others are predicted from, other frames, rest.

    A base by VVenC is "base" as a whole.
    """
    start = file.tell()
    found = Counter(key=0, reference=0, leaf=0)
    for unit in StreamReader(file).units():
        fields = PayloadReader(unit.payload, unit.name)
        fields.varint(), fields.varint()
        data = fields.rest()
        if BASE_UNITS[unit.kind] == "svt-av1":
            for obu in av1.obus(data):
                if obu.is_frame:
                    found[{av1.KEY: "key", av1.LEAF: "leaf"}.get(obu.shown, "reference")] += len(obu.data)  # type: ignore[arg-type]
        else:
            found["base"] += len(data)
    return {**found, "rest": file.tell() - start - sum(found.values())}
