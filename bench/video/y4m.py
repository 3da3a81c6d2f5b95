"""YUV4MPEG2: read a header, read and write frames.

Format: https://wiki.multimedia.cx/index.php/YUV4MPEG2, with FFmpeg's C tags for more than 8 bit. The older XYSCSS tag
counts where there is no C tag. Where both are absent or a plain 420, chroma sits in the centre (420jpeg), as mjpegtools
and FFmpeg read it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from bench.core.late import Late
from bench.errors import HeaderError, TruncatedError, UsageError
from bench.video.formats import Chroma, Siting, VideoFormat
from bench.video.frame import Frame, require_range, sample_dtype

if TYPE_CHECKING:
    import numpy as np
else:
    np = Late("numpy")

MAGIC = b"YUV4MPEG2"
_MAX_LINE = 1024

_EIGHT_BIT: dict[str, tuple[Chroma, Siting]] = {
    "420jpeg": ("420", "centre"),
    "420mpeg2": ("420", "left"),
    "420paldv": ("420", "topleft"),
    "420": ("420", "centre"),
    "422": ("422", "left"),
    "444": ("444", "left"),
    "mono": ("gray", "left"),
}
_HIGH_DEPTH = re.compile(r"(420|422|444)p(10|12|14|16)|mono(10|12|14|16)")


@dataclass(frozen=True)
class Y4mHeader:
    """The stream's format and the length of its first line in bytes."""

    format: VideoFormat
    length: int
    range_stated: bool = False


def _line(stream: BinaryIO, name: str, offset: int) -> bytes:
    line = stream.readline(_MAX_LINE)
    if line and not line.endswith(b"\n"):
        if len(line) < _MAX_LINE:
            raise TruncatedError(
                f"{name}: byte {offset + len(line)}: ends inside the header that begins at byte {offset}"
            )
        raise HeaderError(f"{name}: no end of line within {_MAX_LINE} bytes of byte {offset}; not a y4m file?")
    return line


def _frame_line(stream: BinaryIO, name: str, offset: int) -> bytes:
    line = _line(stream, name, offset)
    if line in {b"", b"FRAME\n"}:
        return line
    word, *parameters = line[:-1].split(b" ")
    if word != b"FRAME":
        raise HeaderError(f"{name}: byte {offset}: expected a FRAME header")
    if any(parameter[:1] == b"I" and parameter[2:3] == b"i" for parameter in parameters):
        raise HeaderError(f"{name}: byte {offset}: interlaced frames are not supported; deinterlace the clip")
    return line


def read_header(stream: BinaryIO, name: str) -> Y4mHeader:
    """Read the stream header; ``name`` is used in errors. Raises HeaderError naming the byte offset."""
    line = _line(stream, name, 0)
    if not line.startswith(MAGIC + b" "):
        raise HeaderError(f"{name}: byte 0: not a y4m file (it does not start with {MAGIC.decode()})")
    tags: dict[str, str] = {}
    colour_range = sampling = ""
    offset = len(MAGIC) + 1
    for raw in line[offset:-1].split(b" "):
        tag = raw.decode("ascii", "replace")
        if tag.startswith("XCOLORRANGE="):
            colour_range = tag.partition("=")[2]
        elif tag.startswith("XYSCSS="):
            sampling = tag.partition("=")[2]
        elif tag and tag[0] not in tags:
            tags[tag[0]] = tag[1:]
    try:
        chroma, bit_depth, siting = _parse_chroma("C" if "C" in tags else "XYSCSS=", tags.get("C", sampling or "420"))
        fmt = VideoFormat(
            width=_parse_side(tags, "W"),
            height=_parse_side(tags, "H"),
            chroma=chroma,
            bit_depth=bit_depth,
            fps=_parse_rate(tags.get("F", "25:1")),
            full_range=colour_range == "FULL",
            siting=siting,
        )
    except KeyError as missing:
        raise HeaderError(f"{name}: y4m header (byte 0) has no {missing.args[0]} tag") from None
    except ZeroDivisionError:
        raise HeaderError(f"{name}: y4m header (byte 0): frame rate F{tags['F']} divides by zero") from None
    except (ValueError, UsageError) as error:
        raise HeaderError(f"{name}: y4m header (byte 0): {error}") from None
    if tags.get("I", "p") not in {"p", "?"}:
        raise HeaderError(
            f"{name}: y4m header (byte 0): interlaced video (I{tags['I'][:40]}) is not supported; deinterlace it"
        )
    return Y4mHeader(fmt, len(line), colour_range in {"FULL", "LIMITED"})


def _parse_chroma(name: str, text: str) -> tuple[Chroma, int, Siting]:
    tag = text if name == "C" else text.lower()
    if tag in _EIGHT_BIT:
        chroma, siting = _EIGHT_BIT[tag]
        return chroma, 8, siting
    match = _HIGH_DEPTH.fullmatch(tag)
    if match is None:
        raise ValueError(
            f"colour space {name}{text[:40]} is not supported; "
            "there are 420, 422, 444 and mono of 8, 10, 12, 14 and 16 bit"
        )
    sampling, depth, mono_depth = match.groups()
    chroma_of: dict[str, Chroma] = {"420": "420", "422": "422", "444": "444"}
    return chroma_of.get(sampling, "gray"), int(depth or mono_depth), "left"


_RATIO = re.compile(r"([0-9]{1,12})(?::([0-9]{1,12}))?")


def _parse_rate(text: str) -> Fraction:
    if text == "0:0":  # "unknown", for which FFmpeg too takes 25
        return Fraction(25)
    match = _RATIO.fullmatch(text)
    if match is None:
        raise ValueError(f"frame rate F{text[:40]} is not a ratio such as 30000:1001")
    return Fraction(int(match[1]), int(match[2] or 1))


def _parse_side(tags: dict[str, str], letter: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", tags[letter]):
        raise ValueError(f"{letter}{tags[letter][:40]} is not a number of samples")
    return int(tags[letter])


def header_line(fmt: VideoFormat) -> bytes:
    """The stream header for a format; RGB has none in y4m (UsageError)."""
    if fmt.chroma == "rgb":
        raise UsageError("y4m cannot hold RGB frames")
    if fmt.bit_depth > 8:
        tag = f"mono{fmt.bit_depth}" if fmt.chroma == "gray" else f"{fmt.chroma}p{fmt.bit_depth}"
    elif fmt.chroma == "420":
        tag = {"centre": "420jpeg", "left": "420mpeg2", "topleft": "420paldv"}[fmt.siting]
    else:
        tag = "mono" if fmt.chroma == "gray" else fmt.chroma
    colour_range = "FULL" if fmt.full_range else "LIMITED"
    fps = f"{fmt.fps.numerator}:{fmt.fps.denominator}"
    return f"YUV4MPEG2 W{fmt.width} H{fmt.height} F{fps} Ip A1:1 C{tag} XCOLORRANGE={colour_range}\n".encode()


def frame_offsets(stream: BinaryIO, header: Y4mHeader, name: str) -> Iterator[int]:
    """Byte at which each frame of a seekable stream begins; only the frames' headers are read.

    Raises HeaderError or TruncatedError with the byte offset.
    """
    size = stream.seek(0, os.SEEK_END)
    offset = stream.seek(header.length)
    while line := _frame_line(stream, name, offset):
        data = offset + len(line)
        if data + header.format.frame_bytes > size:
            raise _cut(name, header.format, data, size - data)
        yield offset
        offset = stream.seek(data + header.format.frame_bytes)


def read_frames(stream: BinaryIO, header: Y4mHeader, name: str, offset: int | None = None) -> Iterator[Frame]:
    """Frames up to the end of the stream, which stands at byte ``offset`` (after the header where not said).

    Raises HeaderError or TruncatedError with the byte offset.
    """
    fmt = header.format
    dtype = sample_dtype(fmt)
    if offset is None:
        offset = header.length
    index = 0
    while line := _frame_line(stream, name, offset):
        offset += len(line)
        data = np.empty(fmt.samples_per_frame, dtype)
        got = read_exactly(stream, data.view(np.uint8).data)
        if got < fmt.frame_bytes:
            raise _cut(name, fmt, offset, got)
        offset += got
        require_range(data, fmt, name, index)
        yield Frame(fmt, data)
        index += 1


def _cut(name: str, fmt: VideoFormat, offset: int, got: int) -> TruncatedError:
    return TruncatedError(
        f"{name}: byte {offset + got}: ends inside the frame whose samples begin at byte {offset} "
        f"({got} of {fmt.frame_bytes} bytes); cut it there, or get it again"
    )


def read_exactly(stream: BinaryIO, buffer: memoryview) -> int:
    """Fill the buffer from the stream; the number of bytes got, fewer only at the end of the stream."""
    got = 0
    while got < len(buffer):
        count = stream.readinto(buffer[got:])  # type: ignore[attr-defined]
        if not count:
            break
        got += count
    return got
