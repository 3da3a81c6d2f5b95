"""Streams of CompressAI's models: frames to units of `bench.bitstream.container`, and back.

A unit holds the strings of one frame (see `bench.networks.compressai_models`). The last unit is a digest of every
index by which a table of probabilities was chosen: these come from networks in floating point, and a decoder that
chose another one would read noise without knowing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from bench.bitstream.container import DIGEST_BYTES, PayloadReader, StreamHeader, StreamReader, StreamWriter, Unit
from bench.core.quiet_import import imported
from bench.errors import BitstreamError
from bench.networks.compressai_models import FrameCoder, pack_strings, unpack_strings
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype

INTRA_UNIT, INTER_UNIT, STATE_UNIT = 1, 2, 3


def encode(
    coder: FrameCoder, frames: Iterable[Frame], header: StreamHeader, file: BinaryIO, intra_period: int = 0
) -> None:
    """Write a stream of frames, one of which is held at a time.

    ``intra_period``: frames from one intra frame to the next, 0 where only the first is one.
    """
    writer = StreamWriter(file, header)
    choices = _choices_of_tables(coder.model)
    reference: Tensor | None = None
    with torch.inference_mode():
        for number, frame in enumerate(frames):
            if intra_period and number % intra_period == 0:
                reference = None
            kind = INTRA_UNIT if reference is None else INTER_UNIT
            strings, reference = coder.encode(coder.padded(_picture(frame)), reference)
            writer.write(kind, pack_strings(strings))
    writer.write(STATE_UNIT, choices.digest()[:DIGEST_BYTES])
    writer.close()


def decode(coder: FrameCoder, reader: StreamReader) -> Iterator[Frame]:
    """Frames of a stream whose header has been read, one at a time, in the header's format.

    Raises BitstreamError, naming the unit, for a stream that is damaged or cut, and at the end where the decoder chose
    other tables than the encoder: their arithmetic differs.
    """
    header = reader.header
    choices = _choices_of_tables(coder.model)
    reference: Tensor | None = None
    agreed: bytes | None = None
    count = 0
    with torch.inference_mode():
        for unit in reader.units():
            if agreed is not None:
                raise BitstreamError(f"{unit.name}: follows the state unit, which is the last")
            if unit.kind == STATE_UNIT:
                agreed = unit.payload
                continue
            picture = _decode_unit(coder, unit, header.format, reference)
            reference = picture if coder.strings[1] else None
            count += 1
            if count > header.frames:
                raise BitstreamError(f"{unit.name}: more frames than the {header.frames} of the header")
            yield _frame(coder.cut(picture, header.format.height, header.format.width), header.format)
    if count != header.frames:
        raise BitstreamError(f"end: {count} frames, the header has {header.frames}")
    if agreed != choices.digest()[:DIGEST_BYTES]:
        raise BitstreamError(
            "state unit: tables were chosen that the encoder did not choose; the arithmetic of the two machines differs"
        )


def _decode_unit(coder: FrameCoder, unit: Unit, fmt: VideoFormat, reference: Tensor | None) -> Tensor:
    count = {INTRA_UNIT: coder.strings[0], INTER_UNIT: coder.strings[1]}.get(unit.kind, 0)
    if unit.kind == INTRA_UNIT:
        reference = None
    elif reference is None or not count:
        raise BitstreamError(f"{unit.name}: a unit of this kind cannot be here")
    strings = unpack_strings(PayloadReader(unit.payload, unit.name), count)
    with unit.blamed():
        return coder.decode(strings, coder.latent_size(fmt.height, fmt.width), reference)


def _choices_of_tables(model: Any) -> Any:
    """A running SHA-256 of the indexes of tables that the model's Gaussian conditionals build from now on."""
    choices = hashlib.sha256()

    def watched(build_indexes: Any, scales: Tensor) -> Tensor:
        indexes: Tensor = build_indexes(scales)
        choices.update(indexes.numpy().tobytes())
        return indexes

    kind = imported("compressai.entropy_models").GaussianConditional
    for part in model.modules():
        if isinstance(part, kind):
            part.build_indexes = partial(watched, partial(kind.build_indexes, part))
    return choices


def _picture(frame: Frame) -> Tensor:
    """A frame as 1 x 3 x H x W, RGB 0 to 1."""
    rgb = torch.from_numpy(colour.to_rgb(frame).astype(np.float32))
    return rgb.permute(2, 0, 1)[None].contiguous() / frame.format.peak


def _frame(picture: Tensor, fmt: VideoFormat) -> Frame:
    """The frame of a picture."""
    rgb = torch.round(picture[0].permute(1, 2, 0).clamp(0, 1) * fmt.peak).numpy().astype(sample_dtype(fmt))
    return Frame(fmt, colour.from_rgb(np.ascontiguousarray(rgb), fmt).data)
