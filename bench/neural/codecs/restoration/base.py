"""The base stream: a clip made smaller, coded by SVT-AV1 and decoded by dav1d, both through FFmpeg.

Its samples are integers that every AV1 decoder gives alike, on any machine and any number of threads. Whatever size,
sampling and depth the source has, the base has 4:2:0 and 10 bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.core import process
from bench.core.process import Process, ProcessError
from bench.errors import BitstreamError, EncodeError, MediaError
from bench.neural.codecs.restoration import av1
from bench.neural.codecs.restoration.program import DECODER, ENCODER
from bench.neural.coding.pictures import to_frame, to_tensor
from bench.video import ffmpeg
from bench.video.colour import is_convertible
from bench.video.formats import VideoFormat
from bench.video.sequence import read_raw_frames

STRIDE = 8
"""Sides of a padded picture are multiples of it: a quarter of them is even."""

SMALLEST = 64
"""Smallest side of a padded picture: a quarter of it is the smallest that SVT-AV1 takes."""

Structure = Literal["random-access", "low-delay"]
STRUCTURES: dict[Structure, str] = {"random-access": "", "low-delay": ":pred-struct=1"}

_PARAMETERS = "lp=1:tune=1:scd=0"
_PRESET = "4"


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

    def encode(self, scale: int, crf: int, structure: Structure) -> bytes:
        """The stream of what was added, without temporal delimiters; EncodeError with what the encoder said."""
        self._files[scale].flush()
        fmt, out = self.formats[scale], Path(self._folder.name) / "base.obu"
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS,
            "-f", "rawvideo", "-pix_fmt", fmt.pix_fmt, "-video_size", f"{fmt.width}x{fmt.height}",
            "-framerate", str(fmt.fps), "-i", f"file:{self._files[scale].name}", "-fps_mode", "passthrough",
            "-c:v", ENCODER, "-preset", _PRESET, "-crf", str(crf), "-g", "99999",
            "-svtav1-params", _PARAMETERS + STRUCTURES[structure],
            "-flags", "+bitexact", "-fflags", "+bitexact", "-f", "obu", f"file:{out}",
        ]  # fmt: skip
        _, error, status = process.run(argv, time_limit=None)
        data = out.read_bytes() if status == 0 and out.is_file() else b""
        if not data:
            raise EncodeError("base", f"{ENCODER} failed on the base: {error.strip() or f'exit status {status}'}")
        return av1.without_delimiters(data)


def decode(data: bytes, fmt: VideoFormat, frames: int) -> Iterator[Tensor]:
    """Pictures 1 x 3 x h x w (-1 to 1) of a base stream, one at a time; BitstreamError for one that is damaged."""
    count = 0
    with tempfile.TemporaryDirectory(prefix="vcbench-base-") as folder:
        stream = Path(folder) / "base.obu"
        stream.write_bytes(av1.with_delimiters(data))
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS, "-threads", "1", "-c:v", DECODER,
            "-f", "obu", "-i", f"file:{stream}", "-noautoscale", "-fps_mode", "passthrough",
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


def as_video(pictures: Iterable[Tensor]) -> Tensor:
    """Pictures 1 x 3 x h x w in order, as 1 x T x 3 x h x w."""
    return torch.stack(list(pictures), dim=1)
