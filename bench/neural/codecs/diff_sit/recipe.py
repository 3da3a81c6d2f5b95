"""How Diff-SIT's training is put together: model, losses and what they need, at either scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from bench.core.require import require
from bench.neural.codecs.diff_sit import paper
from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.model import small
from bench.neural.codecs.diff_sit.training import (
    ADVERSARIAL,
    CHANGES,
    DIVERGENCE,
    FEATURES,
    LAMBDAS,
    SMOOTHNESS,
    TEXTURE,
    DiffSitTask,
    paper_stages,
    small_stages,
)
from bench.neural.codecs.diff_sit.transform import start_as_transform
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.training.clips import Pictures
from bench.neural.training.loop import Stage
from bench.neural.training.recipe import Options, with_settings
from bench.weights import files as weights

SUBSTITUTIONS = {
    "LPIPS": "distance of SqueezeNet's features, unweighted, and of their contrast",
    "embedding of the empty prompt": "zeros",
}


def check(options: Options) -> None:
    """Raise UnavailableError or UsageError for a package, a file of weights or a network that is not here."""
    require("torchvision", extra="perceptual")
    weights.path("squeezenet")
    if options.scale == "paper":
        paper.check(options.backbone)
    config(options)


def stages(options: Options) -> list[Stage]:
    """The stages of a scale."""
    return paper_stages() if options.scale == "paper" else small_stages()


def config(options: Options) -> DiffSitConfig:
    """Sizes and switches of the networks, with the user's changes."""
    start = paper.SIZES if options.scale == "paper" else DiffSitConfig()
    changed: DiffSitConfig = with_settings(start, options.settings)
    return changed


def about(options: Options) -> dict[str, Any]:
    """Scale, settings of the model, what stands in for what, and the networks it is built on."""
    facts: dict[str, Any] = {
        "title": f"Diff-SIT, our own, {options.scale} scale",
        "paper": "Efficient Video Diffusion with Sparse Information Transmission (arXiv 2603.18501)",
        "config": asdict(config(options)),
        "substitutions": SUBSTITUTIONS,
        "loss": {
            "lambda": LAMBDAS,
            "features": FEATURES,
            "texture": TEXTURE,
            "changes": CHANGES,
            "adversarial": ADVERSARIAL,
            "divergence": DIVERGENCE,
            "smoothness of motion": SMOOTHNESS,
        },
    }
    if options.scale == "paper":
        facts["backbone"] = paper.WAN.digests(options.backbone)
    return facts


def build(
    options: Options, clips: Sequence[Pictures], held_out: Sequence[Pictures], device: torch.device
) -> DiffSitTask:
    """Model and losses; what is new in the model starts as transforms fitted to the clips."""
    torch.manual_seed(options.seed)
    chosen = config(options)
    model = paper.build(chosen, options.backbone) if options.scale == "paper" else small(chosen)
    start_as_transform(model, clips, options.seed)
    features = DeepFeatures(weights.load("squeezenet")).to(device, memory_format=torch.channels_last)
    return DiffSitTask(model, features, held_out)
