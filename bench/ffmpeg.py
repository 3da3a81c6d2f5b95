"""The FFmpeg program that vcbench drives: where it is, what it can do, what it says of a file.

``VCBENCH_FFMPEG`` names one; otherwise it is the static build of imageio-ffmpeg.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from bench import process
from bench.errors import MediaError, UnavailableError, UsageError
from bench.video.formats import Matrix, Siting, VideoFormat, parse_fps

ENVIRONMENT = "VCBENCH_FFMPEG"

# Nothing but local files and pipes: a playlist or a card must not make FFmpeg open a connection.
PROTOCOLS = ("-protocol_whitelist", "file,pipe,fd")


@cache
def executable() -> str:
    """Path of the FFmpeg program; raises UnavailableError saying how to get one."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        found = shutil.which(named)
        if found is None:
            raise UnavailableError(f"{ENVIRONMENT}={named} is not a program; set it to an ffmpeg, or unset it")
        return found
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnavailableError(
            f"imageio-ffmpeg has no ffmpeg for this platform ({error}); set {ENVIRONMENT} to one"
        ) from None


def base_command() -> list[str]:
    """How every call of FFmpeg begins: quiet, overwriting, never reading the terminal."""
    return [executable(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y"]


@cache
def version() -> str:
    """Version as the program prints it, such as n9.0.2-17-g2a571b6068."""
    try:
        out, err, status = process.run([executable(), "-version"])
    except (OSError, process.ProcessError) as error:
        raise UnavailableError(f"{executable()} cannot be run: {error}") from None
    match = re.match(rb"ffmpeg version (\S+)", out)
    if status != 0 or match is None:
        raise UnavailableError(f"{executable()} is not a working ffmpeg: {err.strip() or out[:200]!r}")
    return match.group(1).decode("ascii", "replace")


@cache
def _names(listing: str) -> frozenset[str]:
    version()  # says so if this is no ffmpeg
    out, _, _ = process.run([executable(), "-hide_banner", f"-{listing}"])
    return frozenset(re.findall(r"^ [A-Z.|]{2,6} (\S+)", out.decode("utf-8", "replace"), re.MULTILINE))


def encoders() -> frozenset[str]:
    """Names of the encoders this FFmpeg has."""
    return _names("encoders")


def filters() -> frozenset[str]:
    """Names of the filters this FFmpeg has."""
    return _names("filters")


@dataclass(frozen=True)
class Probe:
    """What FFmpeg says of the first video stream of a file."""

    format: VideoFormat
    native_pix_fmt: str
    matrix_stated: bool


_FRAME = re.compile(
    r"\bn:\s*0\b.*? fmt:(?P<fmt>\S+)(?: cl:(?P<location>\S+))?.*? s:(?P<w>\d+)x(?P<h>\d+) i:(?P<interlace>\S)"
)
_COLOUR = re.compile(r"color_range:(?P<range>\S+) color_space:(?P<space>\S+)")
_RATE = re.compile(r"config in time_base: \S+, frame_rate: (\d+/\d+)")
_MATRIX: dict[str, Matrix] = {
    "bt709": "bt709",
    "smpte170m": "bt601",
    "bt470bg": "bt601",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}
_SITING: dict[str, Siting] = {"left": "left", "center": "centre", "topleft": "topleft"}

# Packed and palette layouts whose samples a planar layout holds unchanged; anything else must be asked for by name.
_PLANAR = {
    "rgb24": "gbrp", "bgr24": "gbrp", "bgr0": "gbrp", "rgb0": "gbrp", "0rgb": "gbrp", "0bgr": "gbrp",
    "rgb48le": "gbrp16le", "rgb48be": "gbrp16le", "gray16be": "gray16le", "yuyv422": "yuv422p", "uyvy422": "yuv422p",
    "nv12": "yuv420p", "nv21": "yuv420p", "p010le": "yuv420p10le", "v210": "yuv422p10le",
}  # fmt: skip


# Formats whose file names others, which would be read in its place and be in no digest of it.
_PLAYLISTS = frozenset(
    ("avisynth", "concat", "dash", "dvdvideo", "hls", "imf", "rtp", "rtsp", "sdp", "vapoursynth", "vobsub",
     "webm_dash_manifest")
)  # fmt: skip


@cache
def _one_file_formats() -> str:
    """Names of the formats this FFmpeg reads that are whole in one file."""
    version()  # says so if this is no ffmpeg
    out, _, _ = process.run([executable(), "-hide_banner", "-demuxers"])
    names = re.findall(r"^ D[ d]* (\S+)", out.decode("utf-8", "replace"), re.MULTILINE)
    return ",".join(name for name in names if not _PLAYLISTS.intersection(name.split(",")))


def input_arguments(path: Path) -> list[str]:
    """Arguments that open a file's frames as stored: no rotation by metadata, and nothing but that one file."""
    return [*PROTOCOLS, "-format_whitelist", _one_file_formats(), "-noautorotate", "-i", f"file:{path}"]


def probe(path: Path) -> Probe:
    """Decode one frame of a file and read its true format off it. Raises MediaError if FFmpeg cannot."""
    argv = [executable(), "-hide_banner", "-nostdin", "-loglevel", "info", *input_arguments(path)]
    try:
        _, err, status = process.run(
            [*argv, "-map", "0:v:0", "-frames:v", "1", "-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-"]
        )
    except process.ProcessError as error:
        raise MediaError(f"{path}: FFmpeg cannot decode its first frame: {error}") from None
    frame, colour, rate = _FRAME.search(err), _COLOUR.search(err), _RATE.search(err)
    if status != 0 or frame is None or rate is None:
        if "not on whitelist" in err:
            raise MediaError(f"{path}: is a playlist, not a video; name the file that it plays")
        last = "\n".join(err.strip().splitlines()[-3:])
        raise MediaError(f"{path}: FFmpeg finds no video it can decode in this file:\n{last}")
    if frame["interlace"] not in "P?":
        raise MediaError(f"{path}: interlaced video is not supported; deinterlace it first")
    pix_fmt = _PLANAR.get(frame["fmt"], frame["fmt"])
    space = colour["space"] if colour else ""
    try:
        fmt = VideoFormat(
            width=int(frame["w"]),
            height=int(frame["h"]),
            fps=parse_fps(Fraction(rate[1]) if not rate[1].startswith("0") else Fraction(25)),
            matrix=_MATRIX.get(space, "bt709"),
            full_range=colour is not None and colour["range"] == "pc",
            siting=_SITING.get(frame["location"] or "", "left"),
        ).with_pix_fmt(pix_fmt)
    except UsageError as error:
        raise MediaError(f"{path}: {error}") from None
    return Probe(fmt, frame["fmt"], space in _MATRIX)


def count_frames(path: Path) -> int:
    """Number of frames that decoding the first video stream yields. Raises MediaError unless they are of one size."""
    # framecrc lists every frame with its size in bytes; a null output would not tell that the picture changed
    out, err, status = process.run(
        [*base_command(), *input_arguments(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-noautoscale",
         "-f", "framecrc", "pipe:1"],
        time_limit=None,
    )  # fmt: skip
    sizes = re.findall(rb"^0,[^,]*,[^,]*,[^,]*, *(\d+),", out, re.MULTILINE)
    if status != 0 or not sizes or err.strip():
        raise MediaError(f"{path}: FFmpeg cannot decode this file to its end: {err.strip() or 'no frames'}")
    if len(set(sizes)) > 1:
        changed = next(index for index, size in enumerate(sizes) if size != sizes[0])
        raise MediaError(f"{path}: the size or format of its pictures changes at frame {changed}; cut the file there")
    return len(sizes)


def decode_command(path: Path, pix_fmt: str) -> list[str]:
    """Command that writes a file's frames as raw samples to standard output, one for each coded frame."""
    return [
        *base_command(), *input_arguments(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-noautoscale",
        "-pix_fmt", pix_fmt, "-f", "rawvideo", "pipe:1",
    ]  # fmt: skip
