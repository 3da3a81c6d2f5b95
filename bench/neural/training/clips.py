"""Clips to train on: decoded once into arrays on disk, cut at random as training wants them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.files import cache_folder, file_digest
from bench.errors import MediaError, UsageError
from bench.video import colour
from bench.video.sequence import open_sequence

Pictures = npt.NDArray[np.uint8]
SUFFIXES = (".mp4", ".mkv", ".y4m", ".webm", ".avi", ".mov")
HELD_OUT_SHARE = 0.1


def is_held_out(name: str) -> bool:
    """Whether a clip of that file name is kept out of training, for validation: every tenth or so, by its name alone.

    What stands before the last "_s" names the video that several clips were cut from: they stay together.
    """
    video = name.rpartition("_s")[0] or name
    return bool(hashlib.sha256(video.encode()).digest()[0] < 256 * HELD_OUT_SHARE)


def find_clips(folder: Path) -> list[Path]:
    """The video files of a folder, sorted; UsageError where there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise UsageError(f"{folder}: holds no video to train on ({', '.join(SUFFIXES)})")
    return found


def as_array(path: Path) -> Pictures:
    """RGB pictures of a clip (frames, height, width, 3), 8 bit, decoded once and mapped from the cache folder.

    Raises MediaError for a file that is no video.
    """
    target = cache_folder() / "training-clips" / f"{file_digest(path)}.npy"
    if not target.is_file():
        frames = []
        for frame in open_sequence(path).read():
            rgb = colour.to_rgb(frame)
            frames.append((rgb >> (frame.format.bit_depth - 8)).astype(np.uint8))
        if not frames:
            raise MediaError(f"{path}: has no frames; take it out of the folder of training clips")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial.npy")
        np.save(partial, np.stack(frames), allow_pickle=False)
        partial.replace(target)
    pictures: Pictures = np.load(target, mmap_mode="r", allow_pickle=False)
    return pictures


@dataclass
class RandomCrops:
    """Endless random cuts of clips: ``frames`` pictures in a row of ``size`` x ``size``, flipped by chance.

    ``at(step)`` depends on the seed and the step alone, so that a training that is resumed goes on with the same cuts.
    """

    clips: Sequence[Pictures]
    size: int
    frames: int
    seed: int = 0
    strides: Sequence[int] = (1, 1, 1, 2)

    def at(self, step: int, batch: int) -> Pictures:
        """A batch: (batch, frames, size, size, 3), 8 bit."""
        generator = np.random.default_rng((self.seed, step))
        return np.stack([self._cut(generator) for _ in range(batch)])

    def _cut(self, generator: np.random.Generator) -> Pictures:
        clip = self.clips[int(generator.integers(len(self.clips)))]
        count, height, width, _ = clip.shape
        stride = self.strides[int(generator.integers(len(self.strides)))]
        if (self.frames - 1) * stride >= count:
            stride = 1
        first = generator.integers(count - (self.frames - 1) * stride)
        top, left = generator.integers(height - self.size + 1), generator.integers(width - self.size + 1)
        cut = clip[
            first : first + (self.frames - 1) * stride + 1 : stride, top : top + self.size, left : left + self.size
        ]
        if generator.random() < 0.5:
            cut = cut[:, :, ::-1]
        if generator.random() < 0.5:
            cut = cut[::-1]
        return cut


def training_clips(folder: Path, *, size: int, frames: int) -> tuple[list[Pictures], list[Pictures]]:
    """Clips to train on and clips held out, those of ``frames`` pictures of ``size`` x ``size`` or more.

    Raises UsageError where none is left to train on.
    """
    train: list[Pictures] = []
    held_out: list[Pictures] = []
    for path in find_clips(folder):
        clip = as_array(path)
        if min(clip.shape[1:3]) >= size and len(clip) >= frames:
            (held_out if is_held_out(path.stem) else train).append(clip)
    if not train:
        held = f" ({len(held_out)} held out for validation)" if held_out else ""
        raise UsageError(
            f"{folder}: no clip to train on has {frames} frames of {size}x{size}{held}; add longer or larger clips"
        )
    return train, held_out


def names(paths: Iterable[Path]) -> Iterator[str]:
    """Names of the clips that training may see, for a model card."""
    return (path.stem for path in paths if not is_held_out(path.stem))
