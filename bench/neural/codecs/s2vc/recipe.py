"""How S2VC's training is put together: model, loss and what they need, at either scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from bench.core.require import require
from bench.networks.flow import SpyNet
from bench.neural.codecs.s2vc import paper
from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig
from bench.neural.codecs.s2vc.training import (
    CODEC_DISTANCE,
    DISTILLATION,
    FEATURES,
    FLOW,
    INTRA_SHARE,
    LAMBDAS,
    S2vcTask,
    half_size,
    small_stages,
)
from bench.neural.codecs.s2vc.transform import PatchAutoencoder, start_as_transform
from bench.neural.networks.backbones import small_unet
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.training.clips import Pictures
from bench.neural.training.loop import Stage
from bench.neural.training.recipe import Options, with_settings
from bench.weights import files as weights

SUBSTITUTIONS = {
    "LPIPS": "distance of SqueezeNet's features, unweighted",
    "DINOv3 (the teacher of the semantic guidance)": "the last features of SqueezeNet",
    "flow network": "SpyNet, on pictures of half the size",
}


def check(options: Options) -> None:
    """Raise UnavailableError or UsageError for a package, a file of weights or a network that is not here."""
    require("torchvision", extra="perceptual")
    for name in ("squeezenet", "spynet"):
        weights.path(name)
    if options.scale == "paper":
        require("peft", extra="paper")
        paper.check(options.backbone)
    config(options)


def stages(options: Options) -> list[Stage]:
    """The stages of a scale."""
    return paper.stages() if options.scale == "paper" else small_stages()


def config(options: Options) -> S2vcConfig:
    """Sizes and switches of the networks, with the user's changes."""
    start = paper.config(options.backbone) if options.scale == "paper" else S2vcConfig()
    changed: S2vcConfig = with_settings(start, options.settings)
    return changed


def about(options: Options) -> dict[str, Any]:
    """Scale, settings of the model, what stands in for what, and the networks it is built on."""
    facts: dict[str, Any] = {
        "title": f"S2VC, our own, {options.scale} scale",
        "paper": "Single-step Diffusion-based Video Coding with Semantic-Temporal Guidance (arXiv 2512.07480)",
        "config": asdict(config(options)),
        "substitutions": SUBSTITUTIONS,
        "loss": {
            "lambda": LAMBDAS,
            "intra share": INTRA_SHARE,
            "distillation": DISTILLATION,
            "flow": FLOW,
            "features": FEATURES,
            "L1 of the codec alone": CODEC_DISTANCE,
        },
    }
    if options.scale == "paper":
        facts["backbone"] = paper.STABLE_DIFFUSION.digests(options.backbone)
    return facts


def build(options: Options, clips: Sequence[Pictures], held_out: Sequence[Pictures], device: torch.device) -> S2vcTask:
    """Model and loss; the small model starts as a transform codec fitted to the clips, the paper's as its backbone."""
    torch.manual_seed(options.seed)
    if options.scale == "paper":
        model = paper.build(config(options), options.backbone)
    else:
        chosen = config(options)
        model = S2vc(
            chosen,
            PatchAutoencoder(chosen.latent_channels, chosen.vae_width),
            small_unet(chosen.latent_channels, chosen.unet_widths, chosen.guidance),
        )
        start_as_transform(model, clips, options.seed)
    features = DeepFeatures(weights.load("squeezenet")).to(device, memory_format=torch.channels_last)
    flow = SpyNet.of(weights.load("spynet")).to(device, memory_format=torch.channels_last)
    return S2vcTask(model, features, held_out, half_size(flow))
