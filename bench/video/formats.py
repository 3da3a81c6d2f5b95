"""What a frame is made of: size, chroma sampling, bit depth, frame rate, colour."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, get_args

from bench.errors import UsageError

Chroma = Literal["gray", "420", "422", "444", "rgb"]
# streams of our own codecs number them in this order
Matrix = Literal[
    "bt709", "bt601", "bt2020", "smpte240m", "fcc", "ycgco",
    "bt2020c", "chroma-derived-nc", "chroma-derived-c", "ictcp", "ipt-c2", "smpte2085", "ycgco-re", "ycgco-ro", "gbr",
]  # fmt: skip
Siting = Literal["left", "centre", "topleft"]
# how samples become light: those of SMPTE ST 2084, of BT.2100's hybrid log-gamma, or of any SDR display
Transfer = Literal["pq", "hlg", "sdr"]

CHROMA_SUBSAMPLING: dict[Chroma, tuple[int, int]] = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "rgb": (1, 1)}
BIT_DEPTHS = (8, 10, 12, 14, 16)

# Beyond any camera; a header that claims more is damaged or hostile.
MAX_SIDE = 65536
MAX_PIXELS = 1 << 28
MAX_FPS = 1_000_000


@dataclass(frozen=True)
class VideoFormat:
    """Format of every frame of a sequence.

    ``width`` and ``height`` are in luma samples, ``bit_depth`` in bits per sample (8 to 16; more than 8 are stored
    as little-endian 16-bit words), ``fps`` in frames per second. ``matrix``, ``full_range`` and ``siting`` say how
    the samples relate to RGB; for chroma "rgb" the planes are G, B, R and the matrix has no meaning.
    """

    width: int
    height: int
    chroma: Chroma = "420"
    bit_depth: int = 8
    fps: Fraction = Fraction(30)
    matrix: Matrix = "bt709"
    full_range: bool = False
    siting: Siting = "left"

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise UsageError(f"frame size {self.width}x{self.height} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}")
        if self.width * self.height > MAX_PIXELS:
            raise UsageError(f"frame size {self.width}x{self.height} is beyond {MAX_PIXELS} pixels")
        if self.chroma not in get_args(Chroma):
            raise UsageError(f"chroma {self.chroma!r} is not one of {', '.join(get_args(Chroma))}")
        if self.bit_depth not in BIT_DEPTHS:
            raise UsageError(f"bit depth {self.bit_depth} is not one of {', '.join(map(str, BIT_DEPTHS))}")
        if self.matrix not in get_args(Matrix):
            raise UsageError(f"matrix {_short(self.matrix)!r} is not one of {', '.join(get_args(Matrix))}")
        if not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"frame rate {_short(self.fps)} is not above 0 and at most {MAX_FPS}")

    @property
    def peak(self) -> int:
        """Largest sample value: 255, 1023, 4095 ..."""
        return (1 << self.bit_depth) - 1

    @property
    def bytes_per_sample(self) -> int:
        return 1 if self.bit_depth == 8 else 2

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane; chroma planes of odd sizes are rounded up."""
        luma = (self.height, self.width)
        if self.chroma == "gray":
            return (luma,)
        sub_x, sub_y = CHROMA_SUBSAMPLING[self.chroma]
        chroma = (-(-self.height // sub_y), -(-self.width // sub_x))
        return (luma, chroma, chroma)

    @property
    def samples_per_frame(self) -> int:
        return sum(height * width for height, width in self.plane_shapes)

    @property
    def frame_bytes(self) -> int:
        return self.samples_per_frame * self.bytes_per_sample

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name of the sample layout, such as yuv420p10le."""
        base = {"gray": "gray", "rgb": "gbrp"}.get(self.chroma, f"yuv{self.chroma}p")
        return base if self.bit_depth == 8 else f"{base}{self.bit_depth}le"

    def with_pix_fmt(self, pix_fmt: str) -> VideoFormat:
        chroma, bit_depth, full_range = parse_pix_fmt(pix_fmt)
        return replace(self, chroma=chroma, bit_depth=bit_depth, full_range=full_range or self.full_range)

    def describe(self) -> str:
        return f"{self.width}x{self.height} {self.pix_fmt} at {float(self.fps):g} fps"


_PIX_FMT = re.compile(r"(?:(gray|gbrp)|yuv(j?)(420|422|444)p)(?:(10|12|14|16)(?:le)?)?")


def parse_pix_fmt(pix_fmt: str) -> tuple[Chroma, int, bool]:
    """Chroma, bit depth and "is full range by name" (yuvj420p) of a planar FFmpeg pixel format."""
    match = _PIX_FMT.fullmatch(pix_fmt)
    if match is None or (match[2] and match[4]):
        raise UsageError(
            f"pixel format {_short(pix_fmt)!r} is not supported; use gray, yuv420p, yuv422p, yuv444p or gbrp, "
            "alone or with 10le, 12le, 14le or 16le"
        )
    chroma_of: dict[str, Chroma] = {"gray": "gray", "gbrp": "rgb", "420": "420", "422": "422", "444": "444"}
    return chroma_of[match[1] or match[3]], int(match[4] or 8), bool(match[2])


_SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})", re.IGNORECASE)
_FPS = re.compile(r"[0-9]{1,12}([./][0-9]{1,12})?")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as 352x288."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"size {_short(text)!r} is not WIDTHxHEIGHT, such as 352x288")
    return int(match[1]), int(match[2])


def parse_fps(text: str | float | Fraction) -> Fraction:
    """Frame rate of 30, "29.97", "30000/1001" ...; 29.97 and its kin mean the NTSC fractions."""
    # digits alone: Fraction would take 1e999999999, and all memory with it
    if not _FPS.fullmatch(str(text)):
        raise UsageError(f"frame rate {_short(text)!r} is not a number such as 30, 29.97 or 30000/1001")
    try:
        fps = Fraction(str(text))
    except ZeroDivisionError:
        raise UsageError(f"frame rate {text!r} divides by zero") from None
    ntsc = Fraction(round(fps * 1001 / 1000) * 1000, 1001)
    if fps.denominator != 1 and abs(fps - ntsc) < Fraction(1, 200):
        fps = ntsc
    if fps <= 0:
        raise UsageError(f"frame rate {text!r} is not positive")
    return fps


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
