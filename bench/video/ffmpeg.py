"""The FFmpeg program that vcbench drives: where it is, what it can do, how it opens a file.

``VCBENCH_FFMPEG`` names one; otherwise it is the static build of imageio-ffmpeg.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench.core import process
from bench.core.files import remembered
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
    bundled = _bundled()
    if bundled is not None:
        return str(bundled)
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnavailableError(
            f"imageio-ffmpeg has no ffmpeg for this platform ({error}); set {ENVIRONMENT} to one"
        ) from None


@cache
def _bundled() -> Path | None:
    """The static build that imageio-ffmpeg brings, where it would take that, which it starts to see that it runs."""
    found = find_spec("imageio_ffmpeg")
    if os.environ.get("IMAGEIO_FFMPEG_EXE") or found is None:
        return None
    files = [file for place in found.submodule_search_locations or () for file in Path(place).glob("binaries/ffmpeg-*")]
    return files[0] if len(files) == 1 and os.access(files[0], os.X_OK) else None


def _said(program: str, argument: str) -> str:
    """What FFmpeg prints; of a static build, which nothing but its file can change, as it was remembered."""

    def ask(path: Path) -> str:
        out, _, _ = process.run([str(path), "-hide_banner", argument])
        return out.decode("utf-8", "replace")

    if program != str(_bundled()):
        return ask(Path(program))
    return remembered(Path(program), f"ffmpeg{argument}", "said", ask)


@cache
def _version_text(program: str) -> str:
    if program == str(_bundled()):
        return remembered(Path(program), "ffmpeg-version", "said", lambda path: _asked_version(str(path)))
    return _asked_version(program)


def _asked_version(program: str) -> str:
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
    said = _said(executable(), f"-{listing}")
    return frozenset(re.findall(r"^ [A-Z.|]{2,6} (\S+)", said, re.MULTILINE))


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
    names = re.findall(r"^ D[ d]* (\S+)", _said(executable(), "-demuxers"), re.MULTILINE)
    return ",".join(name for name in names if not _PLAYLISTS.intersection(name.split(",")))


def input_arguments(path: Path) -> list[str]:
    """Arguments that open a file's frames as stored: no rotation by metadata, and nothing but that one file."""
    return [*PROTOCOLS, "-format_whitelist", _one_file_formats(), "-noautorotate", "-i", f"file:{path}"]
