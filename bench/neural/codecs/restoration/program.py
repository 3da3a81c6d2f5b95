"""The programs that code the base, all in FFmpeg. Asking whether they are here imports no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.files import file_digest
from bench.errors import UnavailableError
from bench.video import ffmpeg

Base = Literal["svt-av1", "vvenc"]
Structure = Literal["random-access", "low-delay"]


@dataclass(frozen=True)
class Program:
    """An encoder and its decoder. Quality is CRF or QP, 0 to 63, as arguments that follow ``quality``.

    ``structures``: arguments for an order of the frames, of which there is one key frame whatever it is.
    """

    encoder: str
    decoder: str
    muxer: str
    quality: str
    arguments: tuple[str, ...]
    structures: Mapping[Structure, tuple[str, ...]]


PROGRAMS: Mapping[Base, Program] = {
    "svt-av1": Program(
        "libsvtav1",
        "libdav1d",
        "obu",
        "-crf",
        ("-preset", "4", "-g", "99999"),
        {
            "random-access": ("-svtav1-params", "lp=1:tune=1:scd=0"),
            "low-delay": ("-svtav1-params", "lp=1:tune=1:scd=0:pred-struct=1"),
        },
    ),
    "vvenc": Program(
        "libvvenc",
        "vvc",
        "vvc",
        "-qp",
        ("-preset", "faster", "-qpa", "0", "-threads", "1"),
        {
            "random-access": ("-vvenc-params", "intraperiod=0:poc0idr=1:accessunitdelimiter=0"),
            "low-delay": (
                "-vvenc-params",
                "picreordering=0:decodingrefreshtype=none:gopsize=8:intraperiod=-1:accessunitdelimiter=0",
            ),
        },
    ),
}


def check(base: Base = "svt-av1") -> None:
    """Raise UnavailableError where FFmpeg lacks the encoder."""
    if (encoder := PROGRAMS[base].encoder) not in ffmpeg.encoders():
        raise UnavailableError(
            f"{ffmpeg.executable()} has no encoder {encoder}, which codes the base; unset {ffmpeg.ENVIRONMENT} to use "
            "the static build of imageio-ffmpeg"
        )


def programs() -> dict[str, str]:
    """The program that codes the base: version and digest."""
    return {"ffmpeg": ffmpeg.version(), "ffmpeg_sha256": file_digest(Path(ffmpeg.executable()))}
