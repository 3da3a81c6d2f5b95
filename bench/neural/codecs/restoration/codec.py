"""The bitstream of restoration codecs: the base stream at a scale that the encoder chose.

Only the base is decoded from bits, by an AV1 decoder, whose integers are the same everywhere. So a stream decodes on
any machine and any number of threads; the last bits of what the network makes of it may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import torch
from torch import Tensor

from bench.bitstream.container import PayloadReader, StreamHeader, StreamReader, StreamWriter, varint
from bench.errors import BitstreamError
from bench.neural.codecs.restoration import av1, base
from bench.neural.codecs.restoration.network import SCALES, Restoration
from bench.neural.codecs.restoration.options import RestorationOptions
from bench.neural.codecs.restoration.restore import Known, restored
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

BASE_UNIT = 1
"""Type of the one unit: scale and CRF of the base, and its stream."""

LOOKED_AT = 24
"""Frames from the clip's beginning by which the scale is chosen."""

MOST = 1.3
"""Times the bytes of the shortest stream that a longer one may have to be chosen: a rate index keeps its rate."""

WORTH = 3.0
"""dB that twice the bytes are worth to the choice of the scale: what they buy at one scale at such rates."""

DEFAULT = RestorationOptions()


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
            found: dict[int, bytes] = {
                scale: encoder.encode(scale, options.crf(scale, header.rate_index), options.structure)
                for scale in sorted(set(options.scales))
            }
            scale = chosen(model, found, seen, header, options)
            crf = options.crf(scale, header.rate_index)
            sizes.append(writer.write(BASE_UNIT, varint(scale) + varint(crf) + found[scale]))
    writer.close()
    return sizes


def chosen(
    model: Restoration,
    found: dict[int, bytes],
    seen: list[Tensor],
    header: StreamHeader,
    options: RestorationOptions,
) -> int:
    """The scale whose stream, decoded and restored, is nearest to the first frames for its bytes."""
    least = min(map(len, found.values()))
    near = [scale for scale, data in found.items() if len(data) <= MOST * least]
    if len(near) == 1:
        return near[0]

    def merit(scale: int) -> float:
        pictures = _pictures(model, found[scale], scale, options.crf(scale, header.rate_index), header, options, "cpu")
        errors = [
            (luma(_cut(picture, header.format)) - luma(wanted)).square().mean()
            for picture, wanted in zip(pictures, seen, strict=False)
        ]
        decibel = float(-10 * torch.log10(torch.stack(errors).mean().clamp_min(1e-9)))
        return decibel - WORTH * float(torch.log2(torch.tensor(len(found[scale]) / least)))

    return max(near, key=merit)


def luma(picture: Tensor) -> Tensor:
    """Luma of RGB by BT.709."""
    return (picture * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(1)


def _pictures(
    model: Restoration,
    data: bytes,
    scale: int,
    crf: int,
    header: StreamHeader,
    options: RestorationOptions,
    device: str | torch.device,
) -> Iterator[Tensor]:
    known = Known(av1.shown_types(data), crf, scale, header.seed)
    small = base.decode(data, base.base_format(header.format, scale), header.frames)
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
    if unit is None or unit.kind != BASE_UNIT:
        raise BitstreamError(f"{unit.name if unit else 'end'}: expected the base (type {BASE_UNIT})")
    fields = PayloadReader(unit.payload, unit.name)
    scale, crf, data = fields.varint(), fields.varint(), fields.rest()
    if scale not in SCALES or crf > 63:
        raise BitstreamError(f"{unit.name}: a base at 1/{scale} with CRF {crf}, which no encoder writes")
    for other in units:
        raise BitstreamError(f"{other.name}: follows the base, which is the only unit")
    with torch.inference_mode(), unit.blamed():
        if len(av1.shown_types(data)) != header.frames:
            raise BitstreamError(f"shows {len(av1.shown_types(data))} frames, the header says {header.frames}")
        for picture in _pictures(model, data, scale, crf, header, options, device):
            yield to_frame(_cut(picture, header.format), header.format)


def bytes_by_type(file: BinaryIO) -> dict[str, int]:
    """Bytes of a stream by what they are for: key frame, frames that others are predicted from, other frames, rest."""
    start = file.tell()
    found = {"key": 0, "reference": 0, "leaf": 0}
    for unit in StreamReader(file).units():
        fields = PayloadReader(unit.payload, unit.name)
        fields.varint(), fields.varint()
        for obu in av1.obus(fields.rest()):
            if obu.is_frame:
                found[{av1.KEY: "key", av1.LEAF: "leaf"}.get(obu.shown, "reference")] += len(obu.data)  # type: ignore[arg-type]
    return {**found, "rest": file.tell() - start - sum(found.values())}
