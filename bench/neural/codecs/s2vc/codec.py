"""S2VC's bitstream: frames to units and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

import torch
from torch import Tensor

from bench.bitstream.container import DIGEST_BYTES, StreamHeader, StreamReader, StreamWriter, Unit
from bench.errors import BitstreamError
from bench.neural.codecs.s2vc.model import STRIDE, S2vc, State
from bench.neural.coding.latent_coder import Coded
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.neural.networks.blocks import pad_to
from bench.video.frame import Frame

INTRA_UNIT, INTER_UNIT, STATE_UNIT = 1, 2, 3
"""Unit types: an intra frame, an inter frame, and at the end the digest of what decoder and encoder then agree on."""


def state_digest(state: State) -> bytes:
    """Digest of what the next frame would be coded from. Pictures are no part of it: they need not agree to the bit."""
    kept = (state.features, state.symbols, state.anchor)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in kept)).digest()[:DIGEST_BYTES]


def encode(model: S2vc, frames: Iterable[Frame], header: StreamHeader, file: BinaryIO) -> list[int]:
    """Write a stream of frames; returns the bytes of each frame's unit. One frame is held at a time."""
    writer = StreamWriter(file, header)
    state: State | None = None
    sizes: list[int] = []
    with torch.inference_mode():
        for frame in frames:
            data, state = encode_frame(model, pad_to(to_tensor(frame), STRIDE), state, header.rate_index)
            sizes.append(writer.write(INTRA_UNIT if len(sizes) == 0 else INTER_UNIT, data))
    if state is not None:
        writer.write(STATE_UNIT, state_digest(state))
    writer.close()
    return sizes


def encode_frame(model: S2vc, picture: Tensor, state: State | None, rate: int) -> tuple[bytes, State]:
    """Bytes of one padded picture after a state, and the state that the decoder will have then."""
    codec = model.codec(state)
    context = codec.context_of(model.reference(state), picture)
    before = state.symbols if state is not None else None
    data, coded = codec.coder.encode(codec.analyse(picture, context), codec.context_down(context), before, rate)
    return data, model.advance(coded, codec.synthesise(coded.latent, context), state)


def decode(
    model: S2vc, file: BinaryIO, *, name: str, weights: bytes, device: str | torch.device = "cpu"
) -> Iterator[Frame]:
    """Frames of a stream, one at a time. ``name`` and ``weights`` are those of the model, which the stream must name.

    Guidance, diffusion and autoencoder, on which the coded state does not depend, run on ``device``. Raises
    BitstreamError, naming the unit, for a stream that is damaged, cut, or of other weights, and at the end where
    encoder and decoder did not agree: their arithmetic differs.
    """
    reader = StreamReader(file)
    header = reader.header
    header.expect(name, weights, model.config.rates)
    state: State | None = None
    agreed: bytes | None = None
    count = 0
    for part in (model.adapters, model.guide, model.diffusion, model.vae):
        part.to(device)
    with torch.inference_mode():
        for unit in reader.units():
            if agreed is not None:
                raise BitstreamError(f"{unit.name}: follows the state unit, which is the last")
            if unit.kind == STATE_UNIT:
                agreed = unit.payload
                continue
            coded, features = _decode_unit(model, unit, state, header)
            before = state if state is None else replace(state, features=state.features.to(device))
            picture = model.render(coded, features.to(device), before)
            state = replace(model.advance(coded, features, state), buffer=picture.state.buffer)
            count += 1
            if count > header.frames:
                raise BitstreamError(f"{unit.name}: more frames than the {header.frames} of the header")
            yield to_frame(picture.picture.cpu(), header.format)
    if count != header.frames:
        raise BitstreamError(f"end: {count} frames, the header has {header.frames}")
    if state is None or agreed != state_digest(state):
        raise BitstreamError(
            "state unit: what was decoded is not what the encoder predicted; the two machines' arithmetic differs"
        )


def _decode_unit(model: S2vc, unit: Unit, state: State | None, header: StreamHeader) -> tuple[Coded, Tensor]:
    expected = INTRA_UNIT if state is None else INTER_UNIT
    if unit.kind != expected:
        raise BitstreamError(f"{unit.name}: expected a unit of type {expected}")
    codec = model.codec(state)
    height, width = (-(-side // STRIDE) * STRIDE for side in (header.format.height, header.format.width))
    like = torch.empty(1, 3, height, width, device="meta")
    context = codec.context_of(model.reference(state), like)
    before = state.symbols if state is not None else None
    with unit.blamed():
        coded = codec.coder.decode(unit.payload, codec.context_down(context), before, header.rate_index)
    return coded, codec.synthesise(coded.latent, context)
