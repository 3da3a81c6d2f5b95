"""Frames brought to another size by a named scaler of FFmpeg, for streams that were coded at a size of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bench.core.process import Process, ProcessError
from bench.errors import MediaError
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import Sequence, Source, read_raw_frames

_EXACT = "accurate_rnd+full_chroma_int"

SCALERS = {
    "lanczos": f"flags=lanczos+{_EXACT}:param0=5",
    "bicubic": f"flags=bicubic+{_EXACT}",
    "bilinear": f"flags=bilinear+{_EXACT}",
    "spline": f"flags=spline+{_EXACT}",
    "area": f"flags=area+{_EXACT}",
    "neighbor": f"flags=neighbor+{_EXACT}",
}
"""Settings of FFmpeg's scale filter by name. Lanczos has five lobes."""


def filter_text(width: int, height: int, scaler: str) -> str:
    """The filter, as FFmpeg takes it."""
    return f"scale={width}:{height}:{SCALERS[scaler]}:sws_dither=none"


class ScaledSource(Source):
    """The frames of a sequence at another size."""

    def __init__(self, sequence: Sequence, width: int, height: int, scaler: str) -> None:
        self.sequence, self.scaler = sequence, scaler
        self.path = sequence.path
        self.format = replace(sequence.format, width=width, height=height)
        self.frames = sequence.frames

    def files(self) -> tuple[Path, ...]:
        return self.sequence.source.files()

    def read(self, start: int, count: int) -> Iterator[Frame]:
        fmt = self.format
        frames = rescaled(self.sequence.read(), self.sequence.format, fmt.width, fmt.height, self.scaler)
        return islice(frames, start, start + count)


def at_size(sequence: Sequence, width: int, height: int, scaler: str) -> Sequence:
    """A sequence whose frames are scaled as they are read; RGB originals are left behind."""
    source = ScaledSource(sequence, width, height, scaler)
    return replace(sequence, source=source, format=source.format, start=0)


def rescaled(frames: Iterator[Frame], fmt: VideoFormat, width: int, height: int, scaler: str) -> Iterator[Frame]:
    """Frames of a format at another size, at the same bit depth and sampling, one at a time.

    Raises MediaError where FFmpeg fails, and whatever reading ``frames`` raises.
    """
    target = replace(fmt, width=width, height=height)
    argv = [
        *ffmpeg.base_command(), *ffmpeg.PROTOCOLS, "-f", "rawvideo", "-pix_fmt", fmt.pix_fmt,
        "-video_size", f"{fmt.width}x{fmt.height}", "-framerate", str(fmt.fps),
        "-color_range", "pc" if fmt.full_range else "tv", "-i", "pipe:0",
        "-vf", filter_text(width, height, scaler), "-fps_mode", "passthrough",
        "-color_range", "pc" if fmt.full_range else "tv", "-pix_fmt", fmt.pix_fmt, "-f", "rawvideo", "pipe:1",
    ]  # fmt: skip
    problems: list[Exception] = []
    with Process(argv, stdin="pipe", stdout="pipe") as process:

        def feed() -> None:
            try:
                with suppress(BrokenPipeError):
                    for frame in frames:
                        process.stdin.write(frame.data.data)
            except Exception as error:  # is raised by whoever takes the frames
                problems.append(error)
            with suppress(BrokenPipeError, ValueError):
                process.stdin.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            yield from read_raw_frames(process.stdout, target, "output of FFmpeg's scaler")
            feeder.join()
            if problems:
                raise problems[0]
            process.finish()
        except ProcessError as error:
            raise MediaError(f"FFmpeg's scaler failed: {error}") from None
