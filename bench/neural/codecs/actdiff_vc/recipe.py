"""How ActDiff-VC's training is put together: model, losses and what they need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.latents import ResidualLatents
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, small
from bench.neural.codecs.actdiff_vc.motion import conditions_of
from bench.neural.codecs.actdiff_vc.training import (
    ADVERSARIAL,
    CHANGES,
    FEATURES,
    FLOW,
    LAMBDAS,
    TEXTURE,
    ActDiffTask,
    small_stages,
)
from bench.neural.coding.channel import TrainingChannel
from bench.neural.coding.latent_coder import start_coder
from bench.neural.coding.picture_codec import start_picture_codecs
from bench.neural.networks.block_transform import TIME, start_block_transform
from bench.neural.training.clips import Pictures, RandomCrops
from bench.neural.training.loop import to_batch
from bench.neural.training.recipe import CodecRecipe

CUTS, SIZE = 32, 128
"""Random cuts of 2 x 4 + 1 frames that the components are those of."""


@torch.no_grad()
def start_as_transform(model: ActDiffVc, clips: Sequence[Pictures], seed: int = 0) -> None:
    """Give a new model the transforms fitted to random cuts of clips (frames x height x width x 3, 8 bit).

    As with our other codecs, a short training should not spend itself on what a Karhunen-Loeve transform does from the
    first step: the keyframe codec starts as a block transform, latents as components of what motion leaves.
    """
    crops = RandomCrops(clips, SIZE, 1 + 2 * TIME, seed, strides=(1,))
    batch = to_batch(crops.at(0, CUTS), torch.device("cpu"))
    pictures = batch[:, 0]
    directions = start_picture_codecs([model.intra], pictures)
    start_coder(model.intra.coder, torch.einsum("oc,bchw->bohw", directions, functional.pixel_unshuffle(pictures, 16)))
    latents = model.generator.latents
    if isinstance(latents, ResidualLatents):
        draw = torch.Generator().manual_seed(seed)
        rate = torch.randint(model.config.rates, (CUTS,), generator=draw)
        # what keyframes lose is part of what is to be generated
        first, last = (model.intra(TrainingChannel(rate), batch[:, at], batch[:, at] * 0, None)[0] for at in (0, -1))
        conditions = conditions_of(batch, first, last, draw)
        video = batch.transpose(1, 2)
        start_block_transform(latents.transform, (video - conditions.predicted)[:, :, : 1 + TIME])
        latents.observe(video, conditions, 1.0)


RECIPE = CodecRecipe(
    title="ActDiff-VC",
    paper="Active Sampling for Ultra-Low-Bit-Rate Video Compression (arXiv 2605.02849)",
    substitutions={
        "LPIPS": "distance of SqueezeNet's features, unweighted, and of their contrast",
        "point tracker": "optical flow by DIS, chained from frame to frame",
        "HED's edge sketch": "blurred Sobel gradients",
        "pretrained video diffusion model": "a small transformer, trained on the same clips as all else",
    },
    loss={
        "lambda": LAMBDAS,
        "features": FEATURES,
        "texture": TEXTURE,
        "changes": CHANGES,
        "flow": FLOW,
        "adversarial": ADVERSARIAL,
    },
    sizes=ActDiffConfig(),
    schedule=small_stages,
    model=small,
    start=start_as_transform,
    task=lambda model, features, held_out, _: ActDiffTask(model, features, held_out),
)
