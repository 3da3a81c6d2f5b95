"""ActDiff-VC's bitstream: segments to keyframes and trajectories, and back to frames."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import numpy as np
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
from bench.neural.codecs.actdiff_vc.keyframes import KINDS, ImageModels, KeyframeCodec, describe, keyframe_codec
from bench.neural.codecs.actdiff_vc.model import ActDiffVc
from bench.neural.codecs.actdiff_vc.options import COMPRESSAI, SMALLER, ActDiffOptions, trajectory_bits
from bench.neural.codecs.actdiff_vc.perceptual import MEASURES, measure_named
from bench.neural.codecs.actdiff_vc.render import render
from bench.neural.codecs.actdiff_vc.segments import Segment, segments
from bench.neural.codecs.actdiff_vc.selection import select, sketch
from bench.neural.codecs.actdiff_vc.tracking_networks import tracker_named
from bench.neural.codecs.actdiff_vc.tracks import Picture
from bench.neural.codecs.actdiff_vc.trajectories import Trajectories, quantised
from bench.neural.codecs.actdiff_vc.trajectory_coding import decode_trajectories, encode_trajectories
from bench.neural.coding.pictures import to_frame
from bench.neural.coding.temporal_filter import TemporalFilter
from bench.video import colour
from bench.video.frame import Frame

KEYFRAME_UNIT, TRAJECTORIES_UNIT, STATE_UNIT, PARAMETERS_UNIT = 1, 2, 3, 4
"""Unit types: a keyframe; what lies between it and the next one (frames of the segment, trajectories); at the end the
digest of what decoder and encoder then agree on; at the start which keyframe codec it is, how many keyframes a segment
is made from, which perceptual measure ended segments, and which weights the keyframe codec takes, if it takes some."""

UNIT_NAMES = {KEYFRAME_UNIT: "keyframes", TRAJECTORIES_UNIT: "trajectories"}

MEASURE_NUMBERS = tuple(sorted(MEASURES))

PER_PIXEL = 1
"""Units a pixel of coded positions."""


def encode(
    model: ActDiffVc,
    frames: Iterable[Frame],
    header: StreamHeader,
    file: BinaryIO,
    *,
    options: ActDiffOptions | None = None,
    images: ImageModels | None = None,
) -> list[int]:
    """Write a stream of frames; returns the bytes of each unit. One segment is held at a time.

    ``images``: those of the card that the options name for keyframes, if they do.
    """
    chosen = options or ActDiffOptions()
    writer = StreamWriter(file, header)
    coder = keyframe_codec(model, chosen, header.rate_index, images)
    passing = _Passing(frames)
    state = hashlib.sha256()
    sizes: list[int] = []
    measure = measure_named(chosen.measure)
    found = segments(
        passing,
        longest=chosen.longest,
        patience=chosen.patience,
        coverage=chosen.coverage,
        perceptual=chosen.perceptual,
        fixed=chosen.longest if chosen.segments == "fixed" else None,
        tracker=tracker_named(chosen.tracker),
        measure=measure,
    )

    def write(kind: int, payload: bytes) -> None:
        sizes.append(writer.write(kind, payload))

    def write_keyframe(number: int) -> None:
        data, decoded = coder.encode(passing.frame(number))
        state.update(_agreed(coder, data, decoded))
        write(KEYFRAME_UNIT, data)

    parameters = (KINDS.index(coder.kind), chosen.boundaries, MEASURE_NUMBERS.index(measure.name))
    with torch.inference_mode():
        for segment in found:
            if segment.first == 0:
                write(PARAMETERS_UNIT, b"".join(map(varint, parameters)) + coder.about())
                write_keyframe(0)
            if segment.length == 1:
                break
            payload = _trajectories(segment, chosen, header, model.config.rates)
            state.update(payload)
            write(TRAJECTORIES_UNIT, varint(segment.length) + payload)
            last = segment.first + segment.length - 1
            if chosen.boundaries == 2 or last + 1 < header.frames:
                write_keyframe(last)
    if sizes:
        writer.write(STATE_UNIT, state.digest()[:DIGEST_BYTES])
    writer.close()
    return sizes


class _Passing:
    """Frames on their way to the analysis, as RGB of 8 bit; each is kept until one after it has been asked for."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = iter(frames)
        self._kept: deque[Frame] = deque()
        self._first = 0

    def __iter__(self) -> Iterator[Picture]:
        return self

    def __next__(self) -> Picture:
        frame = next(self._frames)
        self._kept.append(frame)
        rgb = colour.to_rgb(frame)
        return (rgb >> (frame.format.bit_depth - 8)).astype(np.uint8)

    def frame(self, number: int) -> Frame:
        """The frame as it came, by its number in the clip; no earlier one can be had after it."""
        for _ in range(number - self._first):
            self._kept.popleft()
        self._first = number
        return self._kept[0]


def _trajectories(segment: Segment, options: ActDiffOptions, header: StreamHeader, rates: int) -> bytes:
    """The coded trajectories of the chosen points; nothing where none is chosen."""
    height, width = segment.start.shape[:2]
    budget = trajectory_bits(header.rate_index, rates, height * width * (segment.length - 1))
    chosen = select(
        segment.positions,
        segment.visible,
        sketch(segment.start) if options.sketch else None,
        size=(height, width),
        tracks=options.tracks,
        bits=None if options.tracks else budget,
        method=options.selection,
        per_pixel=PER_PIXEL,
    )
    if not len(chosen):
        return b""
    tracks = quantised(segment.positions[chosen], segment.visible[chosen], PER_PIXEL)
    return encode_trajectories(tracks, height, width)


def decode(
    model: ActDiffVc,
    file: BinaryIO,
    *,
    name: str,
    weights: bytes,
    device: str | torch.device = "cpu",
    options: ActDiffOptions | None = None,
    images: ImageModels | None = None,
    warped: bool = False,
) -> Iterator[Frame]:
    """Frames of a stream, a segment at a time. ``name`` and ``weights`` are those the stream must name, and ``images``
    have the weights of keyframes that it names, if it does.

    The generator runs on ``device``, in the steps of the options; with ``warped``, frames are the keyframes warped
    along the trajectories, which it starts from. Raises BitstreamError, naming the unit, for a stream that is damaged,
    cut, or of other weights, and at the end where encoder and decoder did not agree: their arithmetic differs.
    """
    chosen = options or ActDiffOptions()
    reader = StreamReader(file)
    header = reader.header
    header.expect(name, weights, model.config.rates)
    with torch.inference_mode():
        warped = warped or not chosen.generate
        steady = TemporalFilter(0 if warped else chosen.temporal_filter)
        for number, part in enumerate(_parts(model, reader, chosen, images)):
            conditions = render(part.first, part.last, *_points(part.trajectories, part.length))
            if warped:
                video = conditions.predicted
            else:
                generator = model.generator.to(device)
                video = generator(
                    conditions, steps=chosen.steps, seed=header.seed + number, strength=chosen.strength
                ).cpu()
            shown = part.length if part.ends else part.length - 1
            pairs = zip(video.clamp(-1, 1).unbind(2), conditions.predicted.unbind(2), strict=True)
            yield from (to_frame(steady(picture, guide), header.format) for picture, guide in islice(pairs, shown))


@dataclass(frozen=True)
class _Part:
    """A segment as it is in a stream: ``length`` frames, whose last one is the next part's first unless it ``ends``."""

    first: Tensor
    last: Tensor | None
    trajectories: Trajectories | None
    length: int
    ends: bool


def _parts(
    model: ActDiffVc, reader: StreamReader, options: ActDiffOptions, images: ImageModels | None
) -> Iterator[_Part]:
    """Segments of a stream, one after the other, and at the end the check of the state."""
    header = reader.header
    height, width = header.format.height, header.format.width
    units = reader.units()
    if not header.frames:
        raise BitstreamError("header: a stream of no frames")
    unit = _next(units, PARAMETERS_UNIT, "parameters")
    kind, boundaries, about = _parameters(unit)
    coder = _coder_named(kind, about, unit, model, options, header.rate_index, images)
    state = hashlib.sha256()

    def keyframe() -> Tensor:
        unit = _next(units, KEYFRAME_UNIT, "a keyframe")
        try:
            decoded = coder.decode(unit.payload, header.format)
        except BitstreamError as error:
            raise BitstreamError(f"{unit.name}: {error}") from None
        state.update(_agreed(coder, unit.payload, decoded))
        return decoded

    first = keyframe()
    at = 1
    if header.frames == 1:
        yield _Part(first, None, None, 1, True)
    while at < header.frames:
        unit = _next(units, TRAJECTORIES_UNIT, "trajectories")
        fields = PayloadReader(unit.payload, unit.name)
        length, payload = fields.varint(), fields.rest()
        ends = at + length - 1 == header.frames
        if length < 2 or at + length - 1 > header.frames:
            raise BitstreamError(f"{unit.name}: a segment of {length} frames, {header.frames - at + 1} are left")
        trajectories = _decoded(payload, unit, height, width, length)
        state.update(payload)
        coded = keyframe() if boundaries == 2 or not ends else None
        yield _Part(first, coded if boundaries == 2 else None, trajectories, length, ends)
        first = coded if coded is not None else first
        at += length - 1
    agreed = _next(units, STATE_UNIT, "the state, after the last segment")
    if agreed.payload != state.digest()[:DIGEST_BYTES]:
        raise BitstreamError(
            "state unit: what was decoded is not what the encoder predicted; the two machines' arithmetic differs"
        )
    for unit in units:
        raise BitstreamError(f"{unit.name}: follows the state unit, which is the last")


def _parameters(unit: Unit) -> tuple[str, int, bytes]:
    """Kind of the keyframe codec, keyframes of a segment, and what the stream says of the codec's weights."""
    fields = PayloadReader(unit.payload, unit.name)
    kind, boundaries, measure = fields.varint(), fields.varint(), fields.varint()
    if kind >= len(KINDS) or boundaries not in {1, 2} or measure >= len(MEASURE_NUMBERS):
        raise BitstreamError(f"{unit.name}: parameters {kind}, {boundaries}, {measure}, which no encoder writes")
    about = fields.rest() if KINDS[kind] == COMPRESSAI else b""
    fields.end()
    return KINDS[kind], boundaries, about


def _coder_named(
    kind: str,
    about: bytes,
    unit: Unit,
    model: ActDiffVc,
    options: ActDiffOptions,
    rate: int,
    images: ImageModels | None,
) -> KeyframeCodec:
    """The keyframe codec that a stream names; BitstreamError where the options bring another's weights, or none."""
    if kind != COMPRESSAI:
        return keyframe_codec(model, options, rate, None, kind=kind)
    written = describe(about, unit.name)
    if options.keyframe_kind != COMPRESSAI:
        raise BitstreamError(f"{unit.name}: keyframes are of {written}; name its card in settings.options.keyframes")
    coder = keyframe_codec(model, options, rate, images, kind=kind)
    if coder.about() != about:
        raise BitstreamError(
            f"{unit.name}: keyframes are of {written}, {options.keyframes} is {describe(coder.about(), unit.name)}"
        )
    return coder


def _decoded(payload: bytes, unit: Unit, height: int, width: int, length: int) -> Trajectories | None:
    if not payload:
        return None
    try:
        found = decode_trajectories(payload, height, width)
    except BitstreamError as error:
        raise BitstreamError(f"{unit.name}: {error}") from None
    if found.frames != length:
        raise BitstreamError(f"{unit.name}: trajectories of {found.frames} frames in a segment of {length}")
    return found


def _points(trajectories: Trajectories | None, length: int) -> tuple[Tensor, Tensor]:
    """Positions in pixels and visibility, as `render` takes them."""
    if trajectories is None:
        return torch.zeros(0, length, 2), torch.zeros(0, length, dtype=torch.bool)
    return torch.from_numpy(trajectories.pixels()), torch.from_numpy(trajectories.visible)


def _next(units: Iterator[Unit], kind: int, what: str) -> Unit:
    unit = next(units, None)
    if unit is None:
        raise BitstreamError(f"end: the stream has fewer frames than its header says, {what} is missing")
    if unit.kind != kind:
        raise BitstreamError(f"{unit.name}: expected {what} (type {kind})")
    return unit


def _agreed(coder: KeyframeCodec, data: bytes, decoded: Tensor) -> bytes:
    """What both must have in common of a keyframe: the picture, or its bytes where integers decode it."""
    return data if coder.kind in SMALLER else _bytes(decoded)


def _bytes(picture: Tensor) -> bytes:
    data: bytes = picture.contiguous().numpy().tobytes()
    return data


def bytes_by_type(file: BinaryIO) -> dict[str, int]:
    """Bytes of a stream by what they are for: keyframes, trajectories, and headers (parameters, state and end too)."""
    found = dict.fromkeys([*UNIT_NAMES.values(), "headers"], 0)
    start = file.tell()
    for unit in StreamReader(file).units():
        if unit.kind in UNIT_NAMES:
            found[UNIT_NAMES[unit.kind]] += 1 + len(varint(len(unit.payload))) + len(unit.payload) + 4
    found["headers"] = file.tell() - start - sum(found.values())
    return found
