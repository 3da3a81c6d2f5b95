"""The bitstream of our own codecs: a header, then units, each with a checksum of its own.

Everything a decoder needs beside the weights is in the file, and everything in it is checked before it is used: a
damaged, cut or foreign stream is refused with the name of the unit, never decoded into garbage.

Layout (integers are unsigned LEB128 varints unless a width is given)::

    "VCB" u8 version                           magic
    header unit, then any number of units, then the end unit
    unit: u8 type, varint length, payload, u32 little-endian CRC-32 of type, length and payload

The CRC of a unit is chained from the one before it, so that a unit that is missing, doubled or out of its place is
found too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, get_args

from bench.errors import BitstreamError, UsageError
from bench.video.formats import Chroma, Matrix, Siting, VideoFormat

MAGIC = b"VCB"
VERSION = 1
DIGEST_BYTES = 8
LONGEST_UNIT = 1 << 28
"""Bytes; a length beyond it is damage, not a reason to ask for the memory."""

MOST_PIXELS = 1 << 25
"""Of a picture; 7680x4320 has fewer. A header that claims more is no reason to ask for the memory either."""

_HEADER, _END = 0, 255
_CHROMAS, _MATRICES, _SITINGS = get_args(Chroma), get_args(Matrix), get_args(Siting)


@dataclass(frozen=True)
class StreamHeader:
    """What a stream is: which codec and weights wrote it, the video's format, the rate index and the seed of its noise.

    ``weights``: the first 8 bytes of the SHA-256 of weights and entropy tables; a decoder with others refuses.
    """

    codec: str
    weights: bytes
    format: VideoFormat
    frames: int
    rate_index: int
    seed: int = 0

    def pack(self) -> bytes:
        """The payload of the header unit; UsageError for a picture that is larger than streams hold."""
        fmt = self.format
        if fmt.width * fmt.height > MOST_PIXELS:
            raise UsageError(
                f"{fmt.width}x{fmt.height} is beyond the {MOST_PIXELS} pixels that streams of our own codecs hold; "
                "use another codec, or a smaller picture"
            )
        name = self.codec.encode("ascii")
        traits = (
            _CHROMAS.index(fmt.chroma),
            fmt.bit_depth,
            _MATRICES.index(fmt.matrix),
            int(fmt.full_range),
            _SITINGS.index(fmt.siting),
        )
        numbers = (fmt.width, fmt.height, fmt.fps.numerator, fmt.fps.denominator, self.frames, *traits)
        packed = b"".join(map(varint, (*numbers, self.rate_index, self.seed)))
        return varint(len(name)) + name + self.weights + packed

    @classmethod
    def unpack(cls, payload: bytes) -> StreamHeader:
        """Header of a payload; BitstreamError for one that no encoder writes."""
        reader = PayloadReader(payload, "header")
        name = reader.take(reader.varint()).decode("ascii", "replace")
        weights = reader.take(DIGEST_BYTES)
        width, height, numerator, denominator, frames = (reader.varint() for _ in range(5))
        chroma, bit_depth, matrix, full_range, siting = (reader.varint() for _ in range(5))
        rate_index, seed = reader.varint(), reader.varint()
        reader.end()
        try:
            fmt = VideoFormat(
                width,
                height,
                chroma=_CHROMAS[chroma],
                bit_depth=bit_depth,
                fps=Fraction(numerator, denominator),
                matrix=_MATRICES[matrix],
                full_range=bool(full_range),
                siting=_SITINGS[siting],
            )
        except UsageError as error:
            raise BitstreamError(f"header: describes no video: {error}") from None
        except (IndexError, ZeroDivisionError):
            known = "no chroma format, matrix and siting that are known, or no frame rate"
            raise BitstreamError(f"header: describes no video: {known}") from None
        if width * height > MOST_PIXELS:
            raise BitstreamError(f"header: {width}x{height} is beyond the {MOST_PIXELS} pixels that a stream holds")
        return cls(name, weights, fmt, frames, rate_index, seed)

    def expect(self, codec: str, weights: bytes, rates: int) -> None:
        """Check that a decoder of that name and those weights, with that many rate indexes, can read the stream."""
        if self.codec != codec or self.weights != weights:
            raise BitstreamError(
                f"header: was written by {self.codec} with weights {self.weights.hex()}, "
                f"this is {codec} with weights {weights.hex()}"
            )
        if self.rate_index >= rates:
            raise BitstreamError(f"header: rate index {self.rate_index}, the model has {rates}")


@dataclass(frozen=True)
class Unit:
    """One piece of a stream; ``number`` counts from 1, after the header."""

    number: int
    kind: int
    payload: bytes

    @property
    def name(self) -> str:
        """For messages."""
        return f"unit {self.number} (type {self.kind})"

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """While it lasts, a BitstreamError tells that it is this unit's."""
        try:
            yield
        except BitstreamError as error:
            raise BitstreamError(f"{self.name}: {error}") from None


class StreamWriter:
    """Writes a stream to a file opened in binary mode; ``close`` writes the end unit."""

    def __init__(self, file: BinaryIO, header: StreamHeader) -> None:
        self._file = file
        self._chain = 0
        file.write(MAGIC + bytes([VERSION]))
        self._write(_HEADER, header.pack())

    def write(self, kind: int, payload: bytes) -> int:
        """Append a unit of type 1 to 254; returns the bytes it takes in the file."""
        if not _HEADER < kind < _END:
            raise ValueError(f"a unit's type is from 1 to 254, not {kind}")
        return self._write(kind, payload)

    def _write(self, kind: int, payload: bytes) -> int:
        unit = bytes([kind]) + varint(len(payload)) + payload
        self._chain = zlib.crc32(unit, self._chain)
        return self._file.write(unit + self._chain.to_bytes(4, "little"))

    def close(self) -> None:
        """End the stream; without it a reader finds it cut."""
        self._write(_END, b"")


class StreamReader:
    """Reads a stream: ``header`` at once, then the units one by one.

    Raises BitstreamError, naming the unit, for whatever is not as it was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chain = 0
        start = file.read(len(MAGIC) + 1)
        if start[: len(MAGIC)] != MAGIC:
            raise BitstreamError("is not a stream of vcbench's own codecs (its first bytes differ)")
        if start[len(MAGIC) :] != bytes([VERSION]):
            found = start[-1] if len(start) > len(MAGIC) else "none"
            raise BitstreamError(f"has container version {found}, this vcbench reads {VERSION}")
        kind, payload = self._read("header")
        if kind != _HEADER:
            raise BitstreamError(f"header: missing, the stream starts with a unit of type {kind}")
        self.header = StreamHeader.unpack(payload)

    def units(self) -> Iterator[Unit]:
        """The units in order, up to the end unit; nothing may follow that."""
        number = 0
        while True:
            number += 1
            kind, payload = self._read(f"unit {number}")
            if kind == _END:
                if self._file.read(1):
                    raise BitstreamError("end: bytes follow the end of the stream")
                return
            if kind == _HEADER:
                raise BitstreamError(f"unit {number}: a second header")
            yield Unit(number, kind, payload)

    def _read(self, name: str) -> tuple[int, bytes]:
        head = self._exactly(1, name)
        length, shift = 0, 0
        while True:
            byte = self._exactly(1, name)
            head += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
            if shift > 35:
                raise BitstreamError(f"{name}: damaged (its length is not a number)")
        if length > LONGEST_UNIT:
            raise BitstreamError(f"{name}: damaged (claims {length} bytes)")
        payload = self._exactly(length, name)
        self._chain = zlib.crc32(head + payload, self._chain)
        if self._exactly(4, name) != self._chain.to_bytes(4, "little"):
            raise BitstreamError(f"{name}: damaged (its checksum differs), or a unit before it is missing")
        return head[0], payload

    def _exactly(self, count: int, name: str) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise BitstreamError(f"{name}: the stream ends inside it")
        return data


class PayloadReader:
    """Reads the fields of a unit's payload; BitstreamError naming the unit where its bytes are too few or too many."""

    def __init__(self, payload: bytes, name: str) -> None:
        self._payload = payload
        self._name = name
        self._at = 0

    def varint(self) -> int:
        """The next unsigned LEB128 number."""
        value, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise BitstreamError(f"{self._name}: damaged (a number without end)")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        found = self._payload[self._at : self._at + count]
        if len(found) != count:
            raise BitstreamError(f"{self._name}: damaged (its fields are longer than it is)")
        self._at += count
        return found

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self._payload) - self._at)

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._payload):
            raise BitstreamError(f"{self._name}: damaged ({len(self._payload) - self._at} bytes too many)")


def varint(value: int) -> bytes:
    """Unsigned LEB128 of a number from 0 up."""
    if value < 0:
        raise ValueError(f"{value} is negative")
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
