"""AV1 streams taken apart: temporal delimiters left out and put back, and the type of each shown frame.

A stream is a row of OBUs in the low-overhead format (AV1 Bitstream & Decoding Process Specification, section 5). A
temporal delimiter says nothing that the frames do not: a temporal unit ends with the frame that it shows. Two bytes a
frame are 3 % of a stream of 0.005 bits per pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import BitstreamError

KEY, REFERENCE, LEAF = 0, 1, 2
"""Types of a shown frame: a key frame; one that was coded before others, from which these are predicted, and is shown
after them (it has more bits than they); any other."""

DELIMITER = bytes((0x12, 0x00))
"""A temporal delimiter."""

_SEQUENCE, _DELIMITER, _HEADER, _FRAME = 1, 2, 3, 6
_FRAME_KEY = 0


@dataclass(frozen=True)
class Obu:
    """One OBU: its type, its bytes with the header, and where in these the payload begins."""

    kind: int
    data: bytes
    start: int

    @property
    def first(self) -> int:
        """First byte of the payload, 0 where it is empty."""
        return self.data[self.start] if self.start < len(self.data) else 0

    @property
    def is_frame(self) -> bool:
        """Whether it holds a frame, or says that one is shown."""
        return self.kind in {_HEADER, _FRAME}

    @property
    def shown(self) -> int | None:
        """Type of the frame that it shows, None where it shows none.

        A frame header begins with show_existing_frame (1 bit), else frame_type (2) and show_frame (1).
        """
        if not self.is_frame:
            return None
        if self.first & 0x80:
            return REFERENCE
        if not self.first & 0x10:
            return None
        return KEY if (self.first >> 5) & 3 == _FRAME_KEY else LEAF


def obus(data: bytes) -> Iterator[Obu]:
    """The OBUs of a stream; BitstreamError for bytes that are none."""
    at = 0
    while at < len(data):
        head = data[at]
        if head & 0x81 or not head & 0x02:
            raise BitstreamError(f"byte {at}: is not AV1 in the low-overhead format")
        position = at + (2 if head & 0x04 else 1)
        size = shift = 0
        while True:
            if position >= len(data) or shift > 28:
                raise BitstreamError(f"byte {at}: an OBU without a length")
            byte = data[position]
            size |= (byte & 0x7F) << shift
            shift, position = shift + 7, position + 1
            if byte < 0x80:
                break
        if position + size > len(data):
            raise BitstreamError(f"byte {at}: an OBU that the stream ends in")
        yield Obu(head >> 3 & 15, data[at : position + size], position - at)
        at = position + size


def without_delimiters(data: bytes) -> bytes:
    """The stream without its temporal delimiters."""
    return b"".join(obu.data for obu in obus(data) if obu.kind != _DELIMITER)


def with_delimiters(data: bytes) -> bytes:
    """The stream with a temporal delimiter before each temporal unit, as decoders take it."""
    parts: list[bytes] = []
    begins = True
    for obu in obus(data):
        if obu.kind == _DELIMITER:
            continue
        if begins:
            parts.append(DELIMITER)
        parts.append(obu.data)
        begins = obu.shown is not None
    return b"".join(parts)


def shown_types(data: bytes) -> list[int]:
    """Types of the frames in the order in which they are shown."""
    return [shown for obu in obus(data) if (shown := obu.shown) is not None]
