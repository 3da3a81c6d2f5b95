"""The networks' first state: a block transform codec, fitted to the training clips.

A codec that starts from random numbers spends most of a short training on what a Karhunen-Loeve transform does from
the first step. So every path from picture to latent and back is linear at first (residual blocks start as the
identity, all else at zero) and holds the principal components of blocks: 8 x 8 for the features and the autoencoder's
latent, 16 x 16 for y. An inter frame starts as the coded difference of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core.quiet_import import imported
from bench.neural.coding.latent_coder import start_coder
from bench.neural.networks.backbones import tiny_autoencoder
from bench.neural.networks.linear import become, components, fit, flat
from bench.neural.training.clips import Pictures, RandomCrops

if TYPE_CHECKING:
    from bench.neural.codecs.s2vc.model import FrameCodec, S2vc

PATCH = 8

CUTS = 256
"""Pairs of frames, of 128 x 128, that a new model's transforms are fitted to."""

_AT_ONCE = 32


class PatchAutoencoder(nn.Module):
    """diffusers' AutoencoderTiny beside a linear map of 8 x 8 patches, to which it adds what is not linear.

    Pictures B x 3 x H x W, -1 to 1; latents B x channels x H/8 x W/8.
    """

    def __init__(self, latent_channels: int, width: int) -> None:
        super().__init__()
        tiny: Any = tiny_autoencoder(latent_channels, width)
        self.encoder, self.decoder = tiny.encoder, tiny.decoder
        for last in (self.encoder.layers[-1], self.decoder.layers[-1]):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
        self.to_latent = nn.Conv2d(3 * PATCH**2, latent_channels, 1)
        self.from_latent = nn.Conv2d(latent_channels, 3 * PATCH**2, 1)
        self._encoded = imported("diffusers.models.autoencoders.autoencoder_tiny").AutoencoderTinyOutput
        self._decoded = imported("diffusers.models.autoencoders.vae").DecoderOutput

    def encode(self, picture: Tensor) -> Any:
        """Latents of pictures, as ``.latents``."""
        linear = self.to_latent(functional.pixel_unshuffle(picture, PATCH))
        return self._encoded(latents=linear + self.encoder(picture))

    def decode(self, latent: Tensor) -> Any:
        """Pictures of latents, as ``.sample``; not clamped."""
        linear = functional.pixel_shuffle(self.from_latent(latent), PATCH)
        # the decoder's own range ends in a shift from 0..1 to -1..1, which a correction does not want
        return self._decoded(sample=linear + self.decoder(latent) + 1)


@torch.no_grad()
def start_as_transform(model: S2vc, clips: Sequence[Pictures], seed: int = 0) -> None:
    """Give a new model the transforms fitted to random cuts of clips (frames x height x width x 3, 8 bit)."""
    crops = RandomCrops(clips, 128, 2, seed, strides=(1,))
    cut = np.concatenate([crops.at(step, _AT_ONCE) for step in range(CUTS // _AT_ONCE)])
    pairs = torch.from_numpy(cut).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    pictures = pairs[:, 0]
    patches = functional.pixel_unshuffle(pictures, PATCH)
    config = model.config
    directions, deviations = components(flat(patches), config.width)
    # half-way to unit variance: networks like it, and what is large still counts more
    scale = deviations.rsqrt()[:, None]
    forward, backward = directions * scale, (directions / scale).T
    channels = config.latent_channels
    vae: Any = model.vae
    become(vae.to_latent, forward[:channels])
    become(vae.from_latent, backward[:, :channels])
    become(model.previewer, backward)
    features = torch.einsum("oc,bchw->bohw", forward, patches)
    for adapter in model.adapters:
        become(adapter[-1], torch.eye(channels, config.width))
    blocks = functional.pixel_unshuffle(pictures, 2 * PATCH)
    block_directions, _ = components(flat(blocks), config.y_channels)
    latents = torch.einsum("oc,bchw->bohw", block_directions, blocks)
    wanted = flat(latents)
    folded = flat(functional.pixel_unshuffle(features, 2))
    analysis, synthesis = fit(folded, wanted), fit(wanted, folded)
    last: Any = model.diffusion.unet.conv_out
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    for codec in (model.intra, model.inter):
        _start(codec, forward, analysis, synthesis)
    changes = functional.pixel_unshuffle(pairs[:, 1] - pairs[:, 0], 2 * PATCH)
    start_coder(model.intra.coder, latents)
    start_coder(model.inter.coder, torch.einsum("oc,bchw->bohw", block_directions, changes))


def _start(codec: FrameCodec, patches: Tensor, analysis: Tensor, synthesis: Tensor) -> None:
    width, y = len(patches), len(analysis)
    same = torch.eye(width)
    other = same if codec.inter else torch.zeros(width, width)
    become(codec.analysis_in[1], patches)
    become(codec.join_analysis[0], torch.cat([same, -other], dim=1))
    become(codec.analysis_out[1], analysis)
    become(codec.analysis_out[-1], torch.eye(y))
    become(codec.synthesis_in[0], torch.eye(y))
    become(codec.synthesis_in[2], synthesis)
    become(codec.join_synthesis[0], torch.cat([same, other], dim=1))
