"""The FFmpeg program that vcbench drives: where it is, what it can do, how it opens a file.

``VCBENCH_FFMPEG`` names one; otherwise it is the static build of imageio-ffmpeg.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import cache
from pathlib import Path

from bench.core import process
from bench.errors import UnavailableError

ENVIRONMENT = "VCBENCH_FFMPEG"

# Nothing but local files and pipes: a playlist or a card must not make FFmpeg open a connection.
PROTOCOLS = ("-protocol_whitelist", "file,pipe,fd")


OLDEST = "7.0"
"""The oldest FFmpeg whose results are known to be right: 5.1 does not say where chroma sits, 4.2 lacks options."""

_OLDEST_LIBAVCODEC = 61
"""That of FFmpeg 7.0; it has a number also in builds whose version is a date or a commit."""


@cache
def executable() -> str:
    """Path of the FFmpeg program; raises UnavailableError for one that is missing or too old, saying how to get one."""
    program = _located()
    version = _version_text(program)
    library = re.search(r"^ *libavcodec +(\d+)\.", version, re.MULTILINE)
    if library is None or int(library[1]) < _OLDEST_LIBAVCODEC:
        raise UnavailableError(
            f"{program} is FFmpeg {_version_number(version)}; vcbench needs {OLDEST} or newer: set {ENVIRONMENT} to "
            "one, or unset it for the static build of imageio-ffmpeg"
        )
    return program


def _located() -> str:
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


@cache
def _version_text(program: str) -> str:
    try:
        out, err, status = process.run([program, "-version"])
    except (OSError, process.ProcessError) as error:
        raise UnavailableError(f"{program} cannot be run: {error}") from None
    if status != 0 or not out.startswith(b"ffmpeg version "):
        raise UnavailableError(f"{program} is not a working ffmpeg: {err.strip() or out[:200]!r}")
    return out.decode("ascii", "replace")


def _version_number(text: str) -> str:
    return text.split()[2]


def base_command() -> list[str]:
    """How every call of FFmpeg begins: quiet, overwriting, never reading the terminal."""
    return [executable(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y"]


def version() -> str:
    """Version as the program prints it, such as n9.0.2-17-g2a571b6068."""
    return _version_number(_version_text(executable()))


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


# Formats whose file names others, which would be read in its place and be in no digest of it.
_PLAYLISTS = frozenset(
    ("avisynth", "concat", "dash", "dvdvideo", "hls", "image2", "imf", "mlv", "rtp", "rtsp", "sdp", "vapoursynth",
     "vobsub", "webm_dash_manifest")
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
