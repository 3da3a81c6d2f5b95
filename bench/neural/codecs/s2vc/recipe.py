"""How S2VC's training is put together: model, loss and what they need."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench.networks.flow import SpyNet
from bench.neural.codecs.s2vc.coding import small
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
from bench.neural.codecs.s2vc.transform import start_as_transform
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.training.clips import Pictures
from bench.neural.training.recipe import CodecRecipe
from bench.weights import files as weights


def _task(model: S2vc, features: DeepFeatures, held_out: Sequence[Pictures], device: torch.device) -> S2vcTask:
    flow = SpyNet.of(weights.load("spynet")).to(device, memory_format=torch.channels_last)
    return S2vcTask(model, features, held_out, half_size(flow))


RECIPE = CodecRecipe(
    title="S2VC",
    paper="Single-step Diffusion-based Video Coding with Semantic-Temporal Guidance (arXiv 2512.07480)",
    substitutions={
        "LPIPS": "distance of SqueezeNet's features, unweighted",
        "DINOv3 (the teacher of the semantic guidance)": "the last features of SqueezeNet",
        "flow network": "SpyNet, on pictures of half the size",
    },
    loss={
        "lambda": LAMBDAS,
        "intra share": INTRA_SHARE,
        "distillation": DISTILLATION,
        "flow": FLOW,
        "features": FEATURES,
        "L1 of the codec alone": CODEC_DISTANCE,
    },
    sizes=S2vcConfig(),
    schedule=small_stages,
    model=small,
    start=start_as_transform,
    task=_task,
    weights=("squeezenet", "spynet"),
)
