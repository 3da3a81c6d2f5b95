"""How Diff-SIT's training is put together: model, losses and what they need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.model import DiffSit, small
from bench.neural.codecs.diff_sit.training import (
    ADVERSARIAL,
    CHANGES,
    DIVERGENCE,
    FEATURES,
    LAMBDAS,
    SMOOTHNESS,
    TEXTURE,
    DiffSitTask,
    small_stages,
)
from bench.neural.coding.latent_coder import start_coder
from bench.neural.coding.picture_codec import start_picture_codecs
from bench.neural.networks.block_transform import TIME, start_block_transform
from bench.neural.training.clips import Pictures, RandomCrops
from bench.neural.training.loop import to_batch
from bench.neural.training.recipe import CodecRecipe

CUTS, SIZE = 96, 128
"""Random cuts that the components are those of, 5 frames of so many pixels along a side."""


@torch.no_grad()
def start_as_transform(model: DiffSit, clips: Sequence[Pictures], seed: int = 0) -> None:
    """Give a new model the transforms fitted to random cuts of clips (frames x height x width x 3, 8 bit).

    As with S2VC, a short training should not spend itself on what a Karhunen-Loeve transform does from the first step:
    the paths from picture to latent and back start as the principal components of blocks, a P frame as the coded
    difference from what its motion predicts, entropy coding with the predictions and scales that fit these, the video
    autoencoder as the components of blocks of four frames.
    """
    crops = RandomCrops(clips, SIZE, 1 + TIME, seed, strides=(1,))
    video = to_batch(crops.at(0, CUTS), torch.device("cpu")).transpose(1, 2)
    _start_pictures(model, video[:, :, 0], video[:, :, 1])
    if model.odfte.vae.transform is not None:
        start_block_transform(model.odfte.vae.transform, video)
        model.odfte.observe(model.odfte.vae.transform(video), 1.0)


def _start_pictures(model: DiffSit, pictures: Tensor, following: Tensor) -> None:
    directions = start_picture_codecs([model.stem.intra, model.stem.inter], pictures)
    for codec, shown in ((model.stem.intra, pictures), (model.stem.inter, following - pictures)):
        blocks = functional.pixel_unshuffle(shown, 16)
        start_coder(codec.coder, torch.einsum("oc,bchw->bohw", directions, blocks))


RECIPE = CodecRecipe(
    title="Diff-SIT",
    paper="Efficient Video Diffusion with Sparse Information Transmission (arXiv 2603.18501)",
    substitutions={
        "LPIPS": "distance of SqueezeNet's features, unweighted, and of their contrast",
        "embedding of the empty prompt": "zeros",
    },
    loss={
        "lambda": LAMBDAS,
        "features": FEATURES,
        "texture": TEXTURE,
        "changes": CHANGES,
        "adversarial": ADVERSARIAL,
        "divergence": DIVERGENCE,
        "smoothness of motion": SMOOTHNESS,
    },
    sizes=DiffSitConfig(),
    schedule=small_stages,
    model=small,
    start=start_as_transform,
    task=lambda model, features, held_out, _: DiffSitTask(model, features, held_out),
)
