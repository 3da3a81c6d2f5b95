"""How the restoration network's training is put together: the network, its pairs, and stages for the parts it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from bench.core.require import require
from bench.neural.codecs.restoration import program
from bench.neural.codecs.restoration.network import NetworkConfig
from bench.neural.codecs.restoration.pairs import CODED, pairs
from bench.neural.codecs.restoration.training import (
    ADVERSARIAL,
    CHANGES,
    FEATURES,
    NEARNESS,
    SHARE,
    SHOWN,
    STEPS,
    TEXTURE,
    RestorationTask,
    Trained,
)
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.training.clips import Pictures
from bench.neural.training.loop import Stage
from bench.neural.training.recipe import Options, with_settings
from bench.weights import files as weights

BEGINNING = "realesr-animevideov3"


def check(options: Options) -> None:
    """Raise UnavailableError for a package, a program or a file of weights that is not here."""
    require("torchvision", extra="perceptual")
    program.check()
    for name in ("squeezenet", BEGINNING):
        weights.path(name)
    config(options)


def stages(options: Options) -> list[Stage]:
    """Those of the parts that the network has: restoration, or diffusion and its distillation; then generation behind
    the temporal filter, the same for both. Recurrence alone where the network has the frame before."""
    chosen = config(options)
    if chosen.before:
        return [Stage("recurrence", 360, 3e-4, 3, 96, 3, {"part": "recurrence", "structure": "low-delay"})]
    frames = 3 if chosen.exchanges else 1
    first = (
        [
            Stage("diffusion", 900, 4e-4, 3, 96, 3, {"part": "diffusion"}),
            Stage("distillation", 900, 3e-4, 3, 96, 2, {"part": "distillation"}),
        ]
        if chosen.noise
        else [Stage("restoration", 2600, 4e-4, 6 // frames, 96, frames, {"part": "restoration"})]
    )
    return [*first, Stage("generation", 1600, 3e-4, 2, 96, 3, {"part": "generation"})]


def config(options: Options) -> NetworkConfig:
    """Parts of the network, with the user's changes."""
    changed: NetworkConfig = with_settings(NetworkConfig(half=True), options.settings)
    return changed


def about(options: Options) -> dict[str, Any]:
    """Settings of the network, what it begins with, and the loss."""
    return {
        "title": "Restoration of a small AV1 picture, our own weights",
        "paper": "layout of SRVGGNetCompact, Real-ESRGAN (arXiv 2107.10833)",
        "config": asdict(config(options)),
        "substitutions": {"LPIPS": "distance of SqueezeNet's features, and of their contrast"},
        "began with": {"weights": BEGINNING, "sha256": weights.sha256(BEGINNING), "licence": "BSD-3-Clause"},
        "pairs": CODED,
        "loss": {
            "features": FEATURES,
            "texture": TEXTURE,
            "frames' changes": CHANGES,
            "adversarial": ADVERSARIAL,
            "nearness to the teacher": NEARNESS,
            "teacher's steps": STEPS,
            "generation": {"share of the temporal filter": SHARE, "factors": SHOWN},
        },
    }


def build(
    options: Options, clips: Sequence[Pictures], held_out: Sequence[Pictures], device: torch.device
) -> RestorationTask:
    """The network with the weights it begins with, and the pairs of the clips, coded if they are not in the cache."""
    torch.manual_seed(options.seed)
    network = Trained(config(options))
    network.begin_with(weights.load(BEGINNING))
    features = DeepFeatures(weights.load("squeezenet")).to(device, memory_format=torch.channels_last)
    return RestorationTask(network, features, pairs(clips), pairs(held_out))
