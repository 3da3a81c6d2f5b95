"""The container of our own codecs: what was written comes back, and nothing else is ever accepted."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bitstream.container import PayloadReader, StreamHeader, StreamReader, StreamWriter, varint
from bench.errors import BitstreamError, UsageError
from bench.video.formats import VideoFormat

HEADER = StreamHeader(
    "s2vc-small",
    bytes(range(8)),
    VideoFormat(352, 288, fps=Fraction(30000, 1001), matrix="bt601", siting="centre"),
    frames=21,
    rate_index=3,
    seed=123456,
)


def stream(*units: tuple[int, bytes], header: StreamHeader = HEADER) -> bytes:
    file = io.BytesIO()
    writer = StreamWriter(file, header)
    for kind, payload in units:
        writer.write(kind, payload)
    writer.close()
    return file.getvalue()


def read(data: bytes) -> tuple[StreamHeader, list[tuple[int, bytes]]]:
    reader = StreamReader(io.BytesIO(data))
    return reader.header, [(unit.kind, unit.payload) for unit in reader.units()]


@given(
    st.lists(st.tuples(st.integers(1, 254), st.binary(max_size=300)), max_size=6),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from(["gray", "420", "422", "444", "rgb"]),
    st.sampled_from([8, 10, 12]),
    st.integers(0, 1 << 32),
)
def test_what_was_written_is_read(
    units: list[tuple[int, bytes]], width: int, height: int, chroma: str, depth: int, seed: int
) -> None:
    fmt = VideoFormat(width, height, chroma=chroma, bit_depth=depth, full_range=True)
    header = StreamHeader("x", b"12345678", fmt, 7, 0, seed)
    assert read(stream(*units, header=header)) == (header, units)


def test_the_layout_is_that_of_the_documentation() -> None:
    import zlib

    data = stream((7, b"abc"), header=HEADER)
    payload = HEADER.pack()
    header_unit = b"\x00" + bytes([len(payload)]) + payload
    first = zlib.crc32(header_unit)
    second = zlib.crc32(b"\x07\x03abc", first)
    third = zlib.crc32(b"\xff\x00", second)
    expected = b"VCB\x01" + header_unit + first.to_bytes(4, "little") + b"\x07\x03abc" + second.to_bytes(4, "little")
    assert data == expected + b"\xff\x00" + third.to_bytes(4, "little")
    assert len(data) < 64


UNITS = ((1, b"intra" * 40), (2, b""), (2, b"inter" * 9))


def test_every_flipped_byte_and_every_cut_is_found() -> None:
    data = stream(*UNITS)
    for position in range(len(data)):
        flipped = (data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :] for flip in (1, 0x80, 0xFF))
        for damaged in (data[:position], *flipped):
            with pytest.raises(BitstreamError):
                read(damaged)


def test_the_message_names_the_unit() -> None:
    data = bytearray(stream(*UNITS))
    data[-20] ^= 4
    with pytest.raises(BitstreamError, match="unit 3: damaged"):
        read(bytes(data))
    with pytest.raises(BitstreamError, match="unit 1: the stream ends inside it"):
        read(stream(*UNITS)[:100])
    with pytest.raises(BitstreamError, match="bytes follow the end"):
        read(stream(*UNITS) + b"x")
    with pytest.raises(BitstreamError, match="not a stream of vcbench"):
        read(b"YUV4MPEG2 W352")
    with pytest.raises(BitstreamError, match="container version 9"):
        read(b"VCB\x09")


def test_units_that_are_missing_doubled_or_swapped_are_found() -> None:
    whole = stream((1, b"aaaa"), (2, b"bbbb"))
    end = whole.index(b"\x01\x04aaaa")
    first, second, rest = whole[end : end + 10], whole[end + 10 : end + 20], whole[end + 20 :]
    for wrong in (second + rest, first + first + second + rest, second + first + rest, first + rest):
        with pytest.raises(BitstreamError, match=r"unit [12]: damaged"):
            read(whole[:end] + wrong)


def test_a_length_beyond_reason_asks_for_no_memory() -> None:
    with pytest.raises(BitstreamError, match="header: damaged"):
        read(b"VCB\x01\x00" + varint(1 << 34))
    with pytest.raises(BitstreamError, match="its length is not a number"):
        read(b"VCB\x01\x00" + b"\xff" * 20)


def test_a_header_of_no_video_is_refused() -> None:
    good = HEADER.pack()
    for wrong in (good + b"\x00", good[:-1], good.replace(varint(352), varint(0), 1), b"\x05abc"):
        with pytest.raises(BitstreamError, match="header"):
            StreamHeader.unpack(wrong)


def test_a_picture_that_is_larger_than_streams_hold_is_neither_written_nor_read() -> None:
    largest, beyond = (replace(HEADER, format=VideoFormat(8192, height)) for height in (4096, 4097))
    assert StreamHeader.unpack(largest.pack()) == largest
    with pytest.raises(UsageError, match=r"8192x4097 is beyond the 33554432 pixels.*another codec"):
        beyond.pack()
    forged = largest.pack().replace(varint(4096), varint(4097), 1)
    with pytest.raises(BitstreamError, match="header: 8192x4097 is beyond the 33554432 pixels"):
        StreamHeader.unpack(forged)


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    for start in (b"", b"VCB\x01"):
        with pytest.raises(BitstreamError):
            read(start + data)


@given(st.lists(st.integers(0, 1 << 60)))
def test_numbers_come_back(numbers: list[int]) -> None:
    reader = PayloadReader(b"".join(map(varint, numbers)), "test")
    assert [reader.varint() for _ in numbers] == numbers
    reader.end()


def test_a_unit_type_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="from 1 to 254"):
        StreamWriter(io.BytesIO(), HEADER).write(255, b"")
    with pytest.raises(ValueError, match="negative"):
        varint(-1)
