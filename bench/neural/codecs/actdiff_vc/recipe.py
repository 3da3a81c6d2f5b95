"""How ActDiff-VC's training is put together: model, losses and what they need, at either scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from bench.core.require import require
from bench.neural.codecs.actdiff_vc import paper
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.model import small
from bench.neural.codecs.actdiff_vc.training import (
    ADVERSARIAL,
    CHANGES,
    FEATURES,
    FLOW,
    LAMBDAS,
    TEXTURE,
    ActDiffTask,
    paper_stages,
    small_stages,
)
from bench.neural.codecs.actdiff_vc.transform import start_as_transform
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.training.clips import Pictures
from bench.neural.training.loop import Stage
from bench.neural.training.recipe import Options, with_settings
from bench.weights import files as weights

SUBSTITUTIONS = {
    "LPIPS": "distance of SqueezeNet's features, unweighted, and of their contrast",
    "point tracker": "optical flow by DIS, chained from frame to frame",
    "HED's edge sketch": "blurred Sobel gradients",
    "pretrained video diffusion model": "a small transformer, trained on the same clips as all else",
}


def check(options: Options) -> None:
    """Raise UnavailableError or UsageError for a package, a file of weights or a network that is not here."""
    require("torchvision", extra="perceptual")
    weights.path("squeezenet")
    if options.scale == "paper":
        require("peft", extra="paper")
        paper.check(options.backbone)
    config(options)


def stages(options: Options) -> list[Stage]:
    """The stages of a scale."""
    return paper_stages() if options.scale == "paper" else small_stages()


def config(options: Options) -> ActDiffConfig:
    """Sizes of the networks, with the user's changes."""
    start = paper.SIZES if options.scale == "paper" else ActDiffConfig()
    changed: ActDiffConfig = with_settings(start, options.settings)
    return changed


def about(options: Options) -> dict[str, Any]:
    """Scale, settings of the model, what stands in for what, and the networks it is built on."""
    substitutions = dict(SUBSTITUTIONS)
    if options.scale == "paper":
        del substitutions["pretrained video diffusion model"]
    facts: dict[str, Any] = {
        "title": f"ActDiff-VC, our own, {options.scale} scale",
        "paper": "Active Sampling for Ultra-Low-Bit-Rate Video Compression (arXiv 2605.02849)",
        "config": asdict(config(options)),
        "substitutions": substitutions,
        "loss": {
            "lambda": LAMBDAS,
            "features": FEATURES,
            "texture": TEXTURE,
            "changes": CHANGES,
            "flow": FLOW,
            "adversarial": ADVERSARIAL,
        },
    }
    if options.scale == "paper":
        facts["backbone"] = paper.WAN_VACE.digests(options.backbone)
    return facts


def build(
    options: Options, clips: Sequence[Pictures], held_out: Sequence[Pictures], device: torch.device
) -> ActDiffTask:
    """Model and losses; what is new in the model starts as transforms fitted to the clips."""
    torch.manual_seed(options.seed)
    chosen = config(options)
    model = paper.build(chosen, options.backbone) if options.scale == "paper" else small(chosen)
    start_as_transform(model, clips, options.seed)
    features = DeepFeatures(weights.load("squeezenet")).to(device, memory_format=torch.channels_last)
    return ActDiffTask(model, features, held_out)
