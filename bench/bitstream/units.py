"""What the bytes of a bitstream are: the units of H.264, HEVC, VVC and AV1, and the containers IVF and Ogg.

Sources: Rec. ITU-T H.264 table 7-1, H.265 table 7-1, H.266 table 5 (types of NAL units) and their annexes B (byte
streams); AV1 bitstream specification 5.3 and 6.2.2 (types of OBUs); libvpx ivfdec.c (IVF); RFC 3533
section 6 (pages of Ogg); Theora specification 6.1 (headers).
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from bench.errors import BitstreamError

Kind = Literal["pictures", "parameters", "messages", "delimiters", "filler", "container"]
"""``parameters``: parameter sets and sequence headers. ``messages``: SEI, user data and metadata. ``delimiters``: of
access units, and ends of sequences. ``container``: headers of the file and of each of its frames."""

_Types = tuple[tuple[range, Kind], ...]
_H264: _Types = (
    (range(1, 6), "pictures"), (range(6, 7), "messages"), (range(7, 9), "parameters"), (range(9, 12), "delimiters"),
    (range(12, 13), "filler"), (range(13, 14), "parameters"), (range(15, 16), "parameters"),
    (range(19, 22), "pictures"),
)  # fmt: skip
_HEVC: _Types = (
    (range(32), "pictures"), (range(32, 35), "parameters"), (range(35, 38), "delimiters"), (range(38, 39), "filler"),
    (range(39, 41), "messages"),
)  # fmt: skip
_VVC: _Types = (
    (range(12), "pictures"), (range(12, 19), "parameters"), (range(19, 20), "pictures"), (range(20, 23), "delimiters"),
    (range(23, 25), "messages"), (range(25, 26), "filler"),
)  # fmt: skip
_OBU: _Types = (
    (range(1, 2), "parameters"), (range(2, 3), "delimiters"), (range(3, 5), "pictures"), (range(5, 6), "messages"),
    (range(6, 9), "pictures"), (range(15, 16), "filler"),
)  # fmt: skip

IVF_HEADER, IVF_FRAME_HEADER = 32, 12
OGG_PAGE_HEADER = 27
# identification, comments, tables; the first byte of a frame is below 0x80
_THEORA_HEADERS: Mapping[int, Kind] = {0x80: "parameters", 0x81: "messages", 0x82: "parameters"}
THEORA_HEADERS = len(_THEORA_HEADERS)
"""Packets before the first frame of a Theora stream."""
_TEXT = re.compile(rb"[ -~]{20,}")


def contents(path: Path) -> dict[Kind, int]:
    """Bytes of a bitstream file by what they are; they add up to the file's size.

    Start codes count with the unit that they precede, AV1's headers and sizes of OBUs with theirs. Empty for a format
    that is not known here. Raises BitstreamError for a file that is cut or damaged.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:
            return {}
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            head = bytes(data[:8])
            if head.startswith(b"DKIF"):
                return dict(_ivf(data, path.name))
            if head.startswith(b"OggS"):
                return dict(_ogg(data, path.name))
            if head.startswith(b"\x12\x00"):
                return dict(_obus(data, 0, size, path.name))
            start = re.match(rb"\x00?\x00\x00\x01(..)", head, re.DOTALL)
            return dict(_annex_b(data, start.group(1))) if start else {}


def container_bytes(path: Path) -> int:
    """Bytes of a bitstream file that belong to its container; 0 for a stream in none."""
    return contents(path).get("container", 0)


def texts(path: Path) -> list[str]:
    """Runs of 20 and more printable characters in a file: settings, names and dates that an encoder left there."""
    return [run.decode("ascii") for run in _TEXT.findall(path.read_bytes())]


def _kind(types: _Types, number: int) -> Kind:
    # a type that no specification has given a meaning belongs to no picture
    return next((kind for numbers, kind in types if number in numbers), "messages")


def _annex_b(data: mmap.mmap, first: bytes) -> Mapping[Kind, int]:
    if first[0] & 0x80 == 0 and first[0] & 0x1F in (6, 7, 9) and first[1] != 1 and first[0] != 0x46:
        types, byte, shift, mask = _H264, 0, 0, 0x1F
    elif first[0] == 0 and first[1] & 7:
        types, byte, shift, mask = _VVC, 1, 3, 0x1F
    elif first[0] & 0x81 == 0 and first[1] == 1:
        types, byte, shift, mask = _HEVC, 0, 1, 0x3F
    else:
        return {}
    starts = [(match.start(), match.end()) for match in re.finditer(rb"\x00?\x00\x00\x01", data)]
    found: Counter[Kind] = Counter()
    ends = [start for start, _ in starts[1:]] + [len(data)]
    for (start, at), end in zip(starts, ends, strict=True):
        if at + 1 < len(data):
            found[_kind(types, data[at + byte] >> shift & mask)] += end - start
    return found


def _obus(data: mmap.mmap, at: int, end: int, name: str) -> Mapping[Kind, int]:
    found: Counter[Kind] = Counter()
    while at < end:
        header = data[at]
        size_at = at + 1 + (header >> 2 & 1)
        if header & 0x80 or not header & 2:
            raise BitstreamError(f"{name}: byte {at} starts no AV1 unit with a size")
        size, after = _leb128(data, size_at, end, name)
        if after + size > end:
            raise BitstreamError(f"{name}: ends inside of the AV1 unit at byte {at}")
        found[_kind(_OBU, header >> 3 & 0xF)] += after + size - at
        at = after + size
    return found


def _leb128(data: mmap.mmap, at: int, end: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 56, 7):
        if at >= end:
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise BitstreamError(f"{name}: the size of the AV1 unit before byte {at} has no end")


def _ivf(data: mmap.mmap, name: str) -> Mapping[Kind, int]:
    found: Counter[Kind] = Counter()
    start = int.from_bytes(data[6:8], "little")
    if start < IVF_HEADER or start > len(data):
        raise BitstreamError(f"{name}: its IVF header is damaged")
    found["container"] += start
    for at, size in _ivf_frames(data, start, name):
        found["container"] += IVF_FRAME_HEADER
        if data[8:12] == b"AV01":
            found.update(_obus(data, at, at + size, name))
        else:
            found["pictures"] += size
    return found


def _ivf_frames(data: mmap.mmap, at: int, name: str) -> Iterator[tuple[int, int]]:
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        at += IVF_FRAME_HEADER
        if at + size > len(data):
            raise BitstreamError(f"{name}: ends inside of an IVF frame")
        yield at, size
        at += size


def ogg_packets(path: Path) -> int:
    """Packets of the stream in an Ogg file, headers among them. Raises BitstreamError for a file that is cut."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # a packet ends with the first segment that is not full
        return sum(length < 255 for _, _, lacing in _ogg_pages(data, path.name) for length in lacing)


def _ogg(data: mmap.mmap, name: str) -> Mapping[Kind, int]:
    found: Counter[Kind] = Counter()
    kind: Kind = "pictures"
    packet_begins = True
    for header, body, lacing in _ogg_pages(data, name):
        found["container"] += header
        at = body
        for length in lacing:
            if packet_begins:
                # an empty packet repeats a frame
                kind = _THEORA_HEADERS.get(data[at], "pictures") if length else "pictures"
            found[kind] += length
            at += length
            packet_begins = length < 255
    return found


def _ogg_pages(data: mmap.mmap, name: str) -> Iterator[tuple[int, int, bytes]]:
    """Size of each page's header, where its content begins, and the sizes of the segments there."""
    at = 0
    while at < len(data):
        segments = at + OGG_PAGE_HEADER
        if data[at : at + 4] != b"OggS" or segments > len(data):
            raise BitstreamError(f"{name}: byte {at} starts no Ogg page")
        lacing = bytes(data[segments : segments + data[segments - 1]])
        body = segments + len(lacing)
        if len(lacing) < data[segments - 1] or body + sum(lacing) > len(data):
            raise BitstreamError(f"{name}: ends inside of the Ogg page at byte {at}")
        yield body - at, body, lacing
        at = body + sum(lacing)
