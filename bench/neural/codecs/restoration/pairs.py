"""What the network is trained on: clips, and what is left of them in base streams; coded once, kept in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.files import cache_folder
from bench.neural.codecs.restoration import av1, base
from bench.neural.codecs.restoration.program import Structure
from bench.neural.training.clips import Pictures
from bench.video.formats import VideoFormat

VERSION = 2
"""Of what is in the cache; another one is made anew."""

LONGEST = 17
"""Frames of a clip that are coded."""

CODED: tuple[tuple[int, Structure, tuple[int, ...], int], ...] = (
    (4, "random-access", (63, 61, 58, 54, 49, 43, 36), 2),
    (4, "low-delay", (63, 60, 56, 50, 42), 1),
    (2, "random-access", (63, 60, 55, 48), 1),
)
"""Scale, structure, CRFs to choose from, and how many of these each clip is coded with."""


@dataclass(frozen=True)
class Pair:
    """A clip and one base stream of it, decoded: pictures T x h x w x 3 of 8 bit, types of its frames."""

    clip: Pictures
    small: Pictures
    types: npt.NDArray[np.int64]
    scale: int
    crf: int
    structure: Structure


def pairs(clips: Sequence[Pictures], *, longest: int = LONGEST) -> list[Pair]:
    """The pairs of some clips, coded where they are not in the cache; which CRFs a clip has depends on it alone."""
    with ThreadPoolExecutor(2) as pool:
        return [pair for found in pool.map(lambda clip: _pairs_of(clip, longest), clips) for pair in found]


def _pairs_of(clip: Pictures, longest: int) -> list[Pair]:
    kept = clip[: min(longest, len(clip))]
    digest = hashlib.sha256(
        f"{VERSION} {kept.shape}".encode() + np.ascontiguousarray(kept[:: len(kept) // 2 or 1]).tobytes()
    )
    chooser = np.random.default_rng(int.from_bytes(digest.digest()[:8], "little"))
    found: list[Pair] = []
    wanted = [
        (scale, structure, int(crf))
        for scale, structure, crfs, count in CODED
        for crf in chooser.choice(crfs, count, replace=False)
    ]
    for scale, structure, crf in wanted:
        small, types = _coded(kept, digest.hexdigest()[:32], scale, structure, crf)
        found.append(Pair(kept, small, types, scale, crf, structure))
    return found


def _coded(
    clip: Pictures, digest: str, scale: int, structure: Structure, crf: int
) -> tuple[Pictures, npt.NDArray[np.int64]]:
    target = cache_folder() / "training-pairs" / f"{digest}-{scale}-{structure}-{crf}.npz"
    if not target.is_file():
        fmt = VideoFormat(clip.shape[2], clip.shape[1], chroma="444")
        with base.BaseEncoder(fmt, (scale,)) as encoder:
            for picture in clip:
                encoder.add(base.padded(as_tensor(picture[None]), fmt))
            data = encoder.encode(scale, crf, structure)
        decoded = [
            ((picture[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
            for picture in base.decode(data, base.base_format(fmt, scale), len(clip))
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez(partial, small=np.stack(decoded), types=np.array(av1.shown_types(data)))
        partial.replace(target)
    with np.load(target, allow_pickle=False) as arrays:
        return arrays["small"], arrays["types"]


def as_tensor(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """Pictures N x H x W x 3 of 8 bit as N x 3 x H x W, -1 to 1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class Batch:
    """Cuts of pairs of one scale: pictures B x T x 3 x H x W, small ones B x T x 3 x h x w, types B x T, CRF B."""

    pictures: Tensor
    small: Tensor
    types: Tensor
    crf: Tensor
    scale: int


@dataclass(frozen=True)
class PairCuts:
    """Endless random cuts of pairs, ``size`` x ``size`` and ``frames`` in a row, mirrored by chance; of one scale each.

    ``at(step)`` depends on the seed and the step alone.
    """

    pairs: Sequence[Pair]
    size: int
    frames: int
    seed: int = 0
    structure: Structure | None = None

    def at(self, step: int, batch: int) -> Batch:
        """The cuts of a step."""
        generator = np.random.default_rng((self.seed, step))
        known = [pair for pair in self.pairs if self.structure in {None, pair.structure}]
        scale = known[int(generator.integers(len(known)))].scale
        known = [pair for pair in known if pair.scale == scale]
        chosen = [known[int(generator.integers(len(known)))] for _ in range(batch)]
        cuts = [self._cut(pair, generator) for pair in chosen]
        pictures = torch.stack([as_tensor(large) for large, _, _ in cuts])
        small = torch.stack([as_tensor(picture) for _, picture, _ in cuts])
        types = torch.from_numpy(np.stack([kinds for _, _, kinds in cuts]))
        return Batch(pictures, small, types, torch.tensor([pair.crf for pair in chosen]), scale)

    def _cut(self, pair: Pair, generator: np.random.Generator) -> tuple[Pictures, Pictures, npt.NDArray[np.int64]]:
        count, height, width, _ = pair.clip.shape
        first = int(generator.integers(count - self.frames + 1))
        top, left = (int(generator.integers((side - self.size) // 4 + 1)) * 4 for side in (height, width))
        time, scale = slice(first, first + self.frames), pair.scale
        large = pair.clip[time, top : top + self.size, left : left + self.size]
        small = pair.small[
            time,
            top // scale : (top + self.size) // scale,
            left // scale : (left + self.size) // scale,
        ]
        types = pair.types[time]
        if generator.random() < 0.5:
            large, small = large[:, :, ::-1], small[:, :, ::-1]
        return large, small, types
