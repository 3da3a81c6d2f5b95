"""How the network behind ActDiff-VC's tracks is trained on: on keyframes, warped along them as a decoder warps them.

It begins with the weights of `bench.neural.codecs.restoration`'s diffusion (``--from``), which never saw such pictures.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.bitstream.container import StreamHeader
from bench.core.files import cache_folder
from bench.neural.codecs.actdiff_vc import codec
from bench.neural.codecs.actdiff_vc.options import RestoredOptions
from bench.neural.codecs.actdiff_vc.render import Conditions
from bench.neural.codecs.actdiff_vc.restored import CRF, SCALE, Tracked, TrackedGenerator, smaller, types
from bench.neural.codecs.restoration import recipe
from bench.neural.codecs.restoration.network import NetworkConfig
from bench.neural.codecs.restoration.pairs import Pair, as_tensor
from bench.neural.codecs.restoration.training import RestorationTask, Trained
from bench.neural.coding.pictures import to_frame
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.training.clips import Pictures
from bench.neural.training.loop import Stage
from bench.neural.training.recipe import Options, with_settings
from bench.video.formats import VideoFormat
from bench.weights import files as weights

LONGEST = 13
"""Frames of a clip that are coded."""

RATES = range(1, 7)
"""Rate indexes to choose from: one for each clip."""

SHORTEST = 3
"""Frames of a segment that is learned from."""

check = recipe.check


def stages(options: Options) -> list[Stage]:
    """One, behind the temporal filter."""
    return [Stage("warped", 300, 3e-4, 2, 96, 3, {"part": "generation"})]


def config(options: Options) -> NetworkConfig:
    """The network of the card's weights, with the user's changes."""
    begun = NetworkConfig(half=True, exchanges=(5, 10), facts=True, noise=True)
    changed: NetworkConfig = with_settings(begun, options.settings)
    return changed


def about(options: Options) -> dict[str, Any]:
    """Those of the restoration network's training; its pairs are others."""
    facts = recipe.about(replace(options, settings={}))
    pairs = {"keyframes": f"SVT-AV1 at 1/{SCALE}", "rate indexes": [*RATES], "frames": LONGEST}
    title = "Restoration of keyframes warped along tracks, our own weights"
    return {**facts, "title": title, "config": vars(config(options)), "pairs": pairs}


def build(
    options: Options, clips: Sequence[Pictures], held_out: Sequence[Pictures], device: torch.device
) -> RestorationTask:
    """The network, and the pairs of the clips, coded if they are not in the cache."""
    torch.manual_seed(options.seed)
    network = Trained(config(options))
    features = DeepFeatures(weights.load("squeezenet")).to(device, memory_format=torch.channels_last)
    task = RestorationTask(network, features, list(pairs(clips)), list(pairs(held_out)))
    task.model = Tracked(network.config)
    task.model.generator = TrackedGenerator(network)
    return task


def pairs(clips: Sequence[Pictures]) -> Iterator[Pair]:
    """The segments of some clips with their warped keyframes; which rate index a clip has depends on it alone."""
    for clip in clips:
        kept = clip[:LONGEST]
        digest = hashlib.sha256(f"{kept.shape}".encode() + np.ascontiguousarray(kept[::4]).tobytes()).hexdigest()
        rate = int(np.random.default_rng(int(digest[:16], 16)).choice(RATES))
        target = cache_folder() / "training-pairs" / f"{digest[:32]}-warped-{rate}.npz"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(f".{os.getpid()}.partial.npz")
            np.savez(partial, **_warped(kept, rate))
            partial.replace(target)
        with np.load(target, allow_pickle=False) as arrays:
            first = 0
            for number in range(len(arrays) // 2):
                small, kinds = arrays[f"small{number}"], arrays[f"types{number}"]
                if len(small) >= SHORTEST:
                    yield Pair(kept[first : first + len(small)], small, kinds, SCALE, CRF, "random-access")
                first += len(small) - 1


class _Watching(nn.Module):
    """In a generator's place: keeps what the network would see of each segment, and shows the warped keyframes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, npt.NDArray[Any]] = {}

    def forward(self, moved: Conditions, **_: Any) -> Tensor:
        number = len(self.seen) // 2
        small = smaller(moved.predicted.transpose(1, 2)[0], SCALE)
        levels = ((small.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        self.seen |= {f"small{number}": levels.numpy(), f"types{number}": np.array(types(moved))}
        return moved.predicted


def _warped(clip: Pictures, rate: int) -> dict[str, npt.NDArray[Any]]:
    """What the network sees of a clip: pictures of each segment, and types of their frames."""
    fmt = VideoFormat(clip.shape[2], clip.shape[1], chroma="444")
    model, options, stream = Tracked(NetworkConfig(half=True)), RestoredOptions(keyframes="svt-av1-half"), io.BytesIO()
    model.generator = watching = _Watching()
    frames = (to_frame(as_tensor(picture[None]), fmt) for picture in clip)
    header = StreamHeader("actdiff-vc-restored", bytes(8), fmt, len(clip), rate_index=rate)
    codec.encode(model, frames, header, stream, options=options)
    stream.seek(0)
    for _ in codec.decode(model, stream, name=header.codec, weights=header.weights, options=options):
        pass
    return watching.seen
