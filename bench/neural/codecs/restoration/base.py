"""The base stream: a clip made smaller, coded and decoded by a classical codec through FFmpeg.

Its samples are integers that every decoder of AV1 or VVC gives alike, on any machine and any number of threads.
Whatever size, sampling and depth the source has, the base has 4:2:0 and 10 bit.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from bench.core import process
from bench.core.process import Process, ProcessError
from bench.errors import BitstreamError, EncodeError, MediaError
from bench.neural.codecs.restoration import av1
from bench.neural.codecs.restoration.program import PROGRAMS, Base, Structure
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.video import ffmpeg
from bench.video.colour import is_convertible
from bench.video.formats import VideoFormat
from bench.video.sequence import read_raw_frames

STRIDE = 8
"""Sides of a padded picture are multiples of it: a quarter of them is even."""

SMALLEST = 64
"""Smallest side of a padded picture: a quarter of it is the smallest that SVT-AV1 takes."""


_TRIES = 10
"""Runs of an encoder whose frames FFmpeg loses: busy on its own threads, VVenC at times has none ready when it is first
asked at the end of the input, which FFmpeg takes for the end of all."""


def padded_size(fmt: VideoFormat) -> tuple[int, int]:
    """(height, width) of the picture that is made smaller."""
    height, width = (max(SMALLEST, -(-side // STRIDE) * STRIDE) for side in (fmt.height, fmt.width))
    return height, width


def padded(picture: Tensor, fmt: VideoFormat) -> Tensor:
    """A picture 1 x 3 x H x W with its right and lower edges repeated up to `padded_size`."""
    height, width = padded_size(fmt)
    missing = (0, width - picture.shape[-1], 0, height - picture.shape[-2])
    return functional.pad(picture, missing, mode="replicate") if any(missing) else picture


def base_format(source: VideoFormat, scale: int) -> VideoFormat:
    """Format of the base of a source at one over ``scale`` of its size."""
    height, width = padded_size(source)
    matrix = source.matrix if is_convertible(source) and source.chroma in {"420", "422", "444"} else "bt709"
    return replace(
        source,
        width=width // scale,
        height=height // scale,
        chroma="420",
        bit_depth=10,
        matrix="bt709" if matrix == "gbr" else matrix,
        full_range=False,
        siting="left",
    )


def smaller(picture: Tensor, scale: int) -> Tensor:
    """A picture at one over ``scale`` of its size, by an antialiased cubic."""
    size = [side // scale for side in picture.shape[-2:]]
    return functional.interpolate(picture, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


class BaseEncoder:
    """Pictures of one clip at some scales, kept as raw files until they are encoded; a context that removes them."""

    def __init__(self, source: VideoFormat, scales: Iterable[int]) -> None:
        self.formats = {scale: base_format(source, scale) for scale in scales}
        self.frames = 0
        self._folder = tempfile.TemporaryDirectory(prefix="vcbench-base-")
        self._files = {scale: (Path(self._folder.name) / f"{scale}.yuv").open("wb") for scale in self.formats}

    def __enter__(self) -> BaseEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._folder.cleanup()

    def add(self, picture: Tensor) -> None:
        """The next picture, 1 x 3 x H x W, padded, -1 to 1."""
        self.frames += 1
        for scale, fmt in self.formats.items():
            self._files[scale].write(to_frame(smaller(picture, scale), fmt).data.data)

    def encode(self, scale: int, quality: int, structure: Structure, base: Base = "svt-av1") -> bytes:
        """The stream of what was added, without temporal delimiters; EncodeError with what the encoder said."""
        chosen = PROGRAMS[base]
        self._files[scale].flush()
        fmt, out = self.formats[scale], Path(self._folder.name) / "base"
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS,
            "-f", "rawvideo", "-pix_fmt", fmt.pix_fmt, "-video_size", f"{fmt.width}x{fmt.height}",
            "-framerate", str(fmt.fps), "-i", f"file:{self._files[scale].name}", "-fps_mode", "passthrough",
            "-c:v", chosen.encoder, chosen.quality, str(quality), *chosen.arguments, *chosen.structures[structure],
            "-flags", "+bitexact", "-fflags", "+bitexact", "-progress", "pipe:1", "-f", chosen.muxer, f"file:{out}",
        ]  # fmt: skip
        for _ in range(_TRIES):
            said, error, status = process.run(argv, time_limit=None)
            coded = int((re.findall(rb"^frame=(\d+)$", said, re.MULTILINE) or [0])[-1])
            if status or coded == self.frames:
                break
        if status or coded != self.frames:
            reason = error.strip() or f"exit status {status}, {coded} of {self.frames} frames"
            raise EncodeError("base", f"{chosen.encoder} failed on the base: {reason}")
        data = out.read_bytes()
        return av1.without_delimiters(data) if base == "svt-av1" else data


def decode(data: bytes, fmt: VideoFormat, frames: int, base: Base = "svt-av1") -> Iterator[Tensor]:
    """Pictures 1 x 3 x h x w (-1 to 1) of a base stream, one at a time; BitstreamError for one that is damaged."""
    count, chosen = 0, PROGRAMS[base]
    with tempfile.TemporaryDirectory(prefix="vcbench-base-") as folder:
        stream = Path(folder) / "base"
        stream.write_bytes(av1.with_delimiters(data) if base == "svt-av1" else data)
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS, "-threads", "1", "-c:v", chosen.decoder,
            "-f", chosen.muxer, "-i", f"file:{stream}", "-noautoscale", "-fps_mode", "passthrough",
            "-pix_fmt", fmt.pix_fmt, "-f", "rawvideo", "pipe:1",
        ]  # fmt: skip
        try:
            with Process(argv, stdout="pipe") as program:
                for frame in read_raw_frames(program.stdout, fmt, "the base"):
                    count += 1
                    if count > frames:
                        break
                    yield to_tensor(frame)
                if count <= frames:
                    program.finish()
        except (ProcessError, MediaError) as error:
            raise BitstreamError(f"the base is damaged: {error}") from None
    if count != frames:
        raise BitstreamError(f"the base has {'more' if count > frames else count} frames, the header says {frames}")
