"""Diff-SIT's bitstream: groups of frames to units and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO

import torch
from torch import Tensor

from bench.bitstream.container import (
    DIGEST_BYTES,
    PayloadReader,
    StreamHeader,
    StreamReader,
    StreamWriter,
    Unit,
    varint,
)
from bench.errors import BitstreamError
from bench.neural.codecs.diff_sit.config import DiffSitOptions
from bench.neural.codecs.diff_sit.model import DiffSit
from bench.neural.codecs.diff_sit.stem import (
    GROUP,
    MOTION,
    State,
    Stem,
    centre,
    in_order,
    starts_chain,
)
from bench.neural.coding.channel import DecoderChannel, EncoderChannel
from bench.neural.coding.picture_codec import STRIDE
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.neural.coding.temporal_filter import TemporalFilter
from bench.neural.networks.blocks import pad_to
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

INTRA_UNIT, INTER_UNIT, MOTION_UNIT, STATE_UNIT = 1, 2, 3, 4
"""Unit types: an I frame; a P frame (length of its motion, motion, picture); the motion of the frames beside either;
at the end the digest of what decoder and encoder then agree on."""

DEFAULT = DiffSitOptions()

UNIT_NAMES = {INTRA_UNIT: "I", INTER_UNIT: "P", MOTION_UNIT: "MV"}

Group = tuple[list[Tensor], list[int]]
"""A group's intermediate pictures, as they are shown, and their types."""


def encode(
    model: DiffSit,
    frames: Iterable[Frame],
    header: StreamHeader,
    file: BinaryIO,
    *,
    options: DiffSitOptions = DEFAULT,
) -> list[int]:
    """Write a stream of frames; returns the bytes of each unit. One group is held at a time.

    Of ``options``, a decoder needs not be told how long chains are and how symbols were chosen.
    """
    writer = StreamWriter(file, header)
    sizes: list[int] = []
    state: State | None = None
    source = iter(frames)
    with torch.inference_mode():
        for index in range(-(-header.frames // GROUP)):
            pictures = [pad_to(to_tensor(frame), STRIDE) for frame in islice(source, GROUP)]
            if not pictures:
                break
            before = None if starts_chain(index, options.chain) else state
            units, state = encode_group(model.stem, pictures, before, header, options.rdoq)
            sizes += [writer.write(kind, payload) for kind, payload in units]
    if state is not None:
        writer.write(STATE_UNIT, state_digest(state))
    writer.close()
    return sizes


def encode_group(
    stem: Stem, pictures: list[Tensor], state: State | None, header: StreamHeader, rdoq: float = 0.0
) -> tuple[list[tuple[int, bytes]], State]:
    """Units of a group of one to three padded pictures after a state, and the state that the decoder will have then."""
    middle = pictures.pop(centre(len(pictures)))
    channel = EncoderChannel(header.rate_index, rdoq)
    backbone = stem.backbone(channel, middle, state, (1, *middle.shape[-2:]))
    *motion, picture = channel.payloads
    units = [(INTER_UNIT, varint(len(motion[0])) + motion[0] + picture) if motion else (INTRA_UNIT, picture)]
    if not pictures:
        return units, backbone.state
    channel = EncoderChannel(header.rate_index, rdoq)
    _, _, state = stem.sides(channel, pictures, backbone)
    return [*units, (MOTION_UNIT, channel.payloads[0])], state


def decode(
    model: DiffSit,
    file: BinaryIO,
    *,
    name: str,
    weights: bytes,
    device: str | torch.device = "cpu",
    options: DiffSitOptions = DEFAULT,
) -> Iterator[Frame]:
    """Frames of a stream, restored a chunk at a time. ``name`` and ``weights`` are those the stream must name.

    The generator runs on ``device``; by ``options``, frames are those of the intermediate sequence instead. Raises
    BitstreamError, naming the unit, for a stream that is damaged, cut, or of other weights, and at the end where
    encoder and decoder did not agree: their arithmetic differs.
    """
    reader = StreamReader(file)
    header = reader.header
    header.expect(name, weights, model.config.rates)
    with torch.inference_mode():
        rate = torch.tensor([header.rate_index], device=device)
        steady = TemporalFilter(options.temporal_filter)
        for pictures, types in _chunks(_groups(model.stem, reader), model.config.chunk):
            sent = torch.stack([_cut(picture, header.format) for picture in pictures], dim=2).clamp(-1, 1)
            if options.intermediate:
                yield from (to_frame(picture, header.format) for picture in sent.unbind(2))
                continue
            restored = model.odfte.to(device)(sent.to(device), types, rate).cpu().clamp(-1, 1)
            for picture, guide in zip(restored.unbind(2), sent.unbind(2), strict=True):
                yield to_frame(steady(picture, guide), header.format)


def _cut(picture: Tensor, fmt: VideoFormat) -> Tensor:
    return picture[..., : fmt.height, : fmt.width]


def _chunks(groups: Iterator[Group], length: int) -> Iterator[Group]:
    pictures: list[Tensor] = []
    types: list[int] = []
    for more, their_types in groups:
        pictures, types = [*pictures, *more], [*types, *their_types]
        if len(pictures) >= length:
            yield pictures, types
            pictures, types = [], []
    if pictures:
        yield pictures, types


def _groups(stem: Stem, reader: StreamReader) -> Iterator[Group]:
    """Groups of a stream, decoded one after the other, and at the end the check of the state."""
    header = reader.header
    units = reader.units()
    state: State | None = None
    for first in range(0, header.frames, GROUP):
        frames = min(GROUP, header.frames - first)
        pictures, types, state = _decode_group(stem, units, frames, state, header)
        yield pictures, types
    if state is None:
        raise BitstreamError("header: a stream of no frames")
    agreed = _next(units, {STATE_UNIT}, "the state, after the last frame")
    if agreed.payload != state_digest(state):
        raise BitstreamError(
            "state unit: what was decoded is not what the encoder predicted; the two machines' arithmetic differs"
        )
    for unit in units:
        raise BitstreamError(f"{unit.name}: follows the state unit, which is the last")


def _decode_group(
    stem: Stem, units: Iterator[Unit], frames: int, state: State | None, header: StreamHeader
) -> tuple[list[Tensor], list[int], State]:
    kinds = {INTRA_UNIT} if state is None else {INTRA_UNIT, INTER_UNIT}
    unit = _next(units, kinds, "a backbone frame")
    height, width = (-(-side // STRIDE) * STRIDE for side in (header.format.height, header.format.width))
    channel = DecoderChannel(header.rate_index, _payloads(unit))
    with unit.blamed():
        backbone = stem.backbone(channel, None, None if unit.kind == INTRA_UNIT else state, (1, height, width))
    if frames == 1:
        return [backbone.picture], [backbone.kind], backbone.state
    unit = _next(units, {MOTION_UNIT}, "motion")
    channel = DecoderChannel(header.rate_index, [unit.payload])
    with unit.blamed():
        warped, _, after = stem.sides(channel, [None] * (frames - 1), backbone)
    return in_order(backbone.picture, warped), in_order(backbone.kind, [MOTION] * len(warped)), after


def _next(units: Iterator[Unit], kinds: set[int], what: str) -> Unit:
    unit = next(units, None)
    if unit is None:
        raise BitstreamError(f"end: the stream has fewer frames than its header says, {what} is missing")
    if unit.kind not in kinds:
        raise BitstreamError(f"{unit.name}: expected {what} (type {' or '.join(map(str, sorted(kinds)))})")
    return unit


def _payloads(unit: Unit) -> list[bytes]:
    if unit.kind == INTRA_UNIT:
        return [unit.payload]
    fields = PayloadReader(unit.payload, unit.name)
    return [fields.take(fields.varint()), fields.rest()]


def state_digest(state: State) -> bytes:
    """Digest of what the next group would be coded from. The generator's pictures are no part of it."""
    kept = (state.picture, state.symbols, state.motion, state.sides)
    found = (part.numpy().tobytes() if part is not None else b"" for part in kept)
    return hashlib.sha256(b"".join(found)).digest()[:DIGEST_BYTES]


def bytes_by_type(file: BinaryIO) -> dict[str, int]:
    """Bytes of a stream by what they are for: I, P and MV frames, and the rest (header, state, end)."""
    found = dict.fromkeys([*UNIT_NAMES.values(), "other"], 0)
    start = file.tell()
    for unit in StreamReader(file).units():
        if unit.kind in UNIT_NAMES:
            found[UNIT_NAMES[unit.kind]] += 1 + len(varint(len(unit.payload))) + len(unit.payload) + 4
    found["other"] = file.tell() - start - sum(found.values())
    return found
