"""The program that codes the base. Asking whether it is here imports no network."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import file_digest
from bench.errors import UnavailableError
from bench.video import ffmpeg

ENCODER, DECODER = "libsvtav1", "libdav1d"


def check() -> None:
    """Raise UnavailableError where FFmpeg lacks the encoder."""
    if ENCODER not in ffmpeg.encoders():
        raise UnavailableError(
            f"{ffmpeg.executable()} has no encoder {ENCODER}, which codes the base; unset {ffmpeg.ENVIRONMENT} to use "
            "the static build of imageio-ffmpeg"
        )


def programs() -> dict[str, str]:
    """The program that codes the base: version and digest."""
    return {"ffmpeg": ffmpeg.version(), "ffmpeg_sha256": file_digest(Path(ffmpeg.executable()))}
