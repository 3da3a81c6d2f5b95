"""The networks' first state: block transforms and differences, fitted to the training clips.

As with S2VC, a short training should not spend itself on what a Karhunen-Loeve transform does from the first step: the
paths from picture to latent and back start as the principal components of blocks, a P frame as the coded difference
from what its motion predicts, entropy coding with the predictions and scales that fit these, the video autoencoder as
the components of blocks of four frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bench.neural.clips import Pictures, RandomCrops
from bench.neural.diff_sit.model import DiffSit
from bench.neural.diff_sit.odfte import PATCH, TIME, BlockTransform
from bench.neural.diff_sit.stem import PictureCodec
from bench.neural.latent_coder import start_coder
from bench.neural.linear import become, components, fit, flat
from bench.neural.training import to_batch

CUTS, SIZE = 96, 128
"""Random cuts that the components are those of, 5 frames of so many pixels along a side."""


@torch.no_grad()
def start_as_transform(model: DiffSit, clips: Sequence[Pictures], seed: int = 0) -> None:
    """Give a new model the transforms fitted to random cuts of clips (frames x height x width x 3, 8 bit)."""
    crops = RandomCrops(clips, SIZE, 1 + TIME, seed, strides=(1,))
    video = to_batch(crops.at(0, CUTS), torch.device("cpu")).transpose(1, 2)
    _start_pictures(model, video[:, :, 0], video[:, :, 1])
    if model.odfte.vae.transform is not None:
        _start_video(model.odfte.vae.transform, video)
        model.odfte.observe(model.odfte.vae.transform(video), 1.0)


def _start_pictures(model: DiffSit, pictures: Tensor, following: Tensor) -> None:
    width, y = model.config.width, model.config.y_channels
    patches = functional.pixel_unshuffle(pictures, 8)
    directions, deviations = components(flat(patches), width)
    # half-way to unit variance: networks like it, and what is large still counts more
    scale = deviations.rsqrt()[:, None]
    forward, backward = directions * scale, (directions / scale).T
    features = torch.einsum("oc,bchw->bohw", forward, patches)
    blocks = functional.pixel_unshuffle(pictures, 16)
    block_directions, _ = components(flat(blocks), y)
    latents = torch.einsum("oc,bchw->bohw", block_directions, blocks)
    wanted = flat(latents)
    folded = flat(functional.pixel_unshuffle(features, 2))
    analysis, synthesis = fit(folded, wanted), fit(wanted, folded)
    for codec in (model.stem.intra, model.stem.inter):
        _start_codec(codec, forward, backward, analysis, synthesis)
    changes = functional.pixel_unshuffle(following - pictures, 16)
    start_coder(model.stem.intra.coder, latents)
    start_coder(model.stem.inter.coder, torch.einsum("oc,bchw->bohw", block_directions, changes))


def _start_codec(codec: PictureCodec, forward: Tensor, backward: Tensor, analysis: Tensor, synthesis: Tensor) -> None:
    width, y = len(forward), len(analysis)
    same, none = torch.eye(width), torch.zeros(width, width)
    become(codec.patches[1], forward)
    if codec.context is not None:
        become(codec.context[1], forward)
    become(codec.join_analysis[0], torch.cat([same, none if codec.context is None else -same], dim=1))
    become(codec.analysis[1], analysis)
    become(codec.analysis[-1], torch.eye(y))
    become(codec.synthesis[0], torch.eye(y))
    become(codec.synthesis[2], synthesis)
    become(codec.join_synthesis[0], torch.cat([same, none], dim=1))
    become(codec.to_picture[0], backward)


def _start_video(transform: BlockTransform, video: Tensor) -> None:
    blocks = functional.pixel_unshuffle(video.transpose(1, 2), PATCH)
    first, later = blocks[:, 0], blocks[:, 1:].flatten(1, 2)
    for samples, to_latents, back in (
        (first, transform.first, transform.first_back),
        (later, transform.later, transform.later_back),
    ):
        directions, deviations = components(flat(samples), transform.first.out_channels)
        scale = deviations.rsqrt()[:, None]
        become(to_latents, directions * scale)
        become(back, (directions / scale).T)
