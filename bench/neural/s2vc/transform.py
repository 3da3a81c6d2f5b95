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

from bench.neural.backbones import tiny_autoencoder
from bench.neural.clips import Pictures, RandomCrops

if TYPE_CHECKING:
    from bench.neural.s2vc.model import FrameCodec, S2vc

PATCH = 8


class PatchAutoencoder(nn.Module):
    """diffusers' AutoencoderTiny beside a linear map of 8 x 8 patches, to which it adds what is not linear.

    Pictures B x 3 x H x W, -1 to 1; latents B x channels x H/8 x W/8.
    """

    def __init__(self, latent_channels: int, width: int) -> None:
        super().__init__()
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
        from diffusers.models.autoencoders.vae import DecoderOutput

        tiny: Any = tiny_autoencoder(latent_channels, width)
        self.encoder, self.decoder = tiny.encoder, tiny.decoder
        for last in (self.encoder.layers[-1], self.decoder.layers[-1]):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
        self.to_latent = nn.Conv2d(3 * PATCH**2, latent_channels, 1)
        self.from_latent = nn.Conv2d(latent_channels, 3 * PATCH**2, 1)
        self._encoded, self._decoded = AutoencoderTinyOutput, DecoderOutput

    def encode(self, picture: Tensor) -> Any:
        """Latents of pictures, as ``.latents``."""
        linear = self.to_latent(functional.pixel_unshuffle(picture, PATCH))
        return self._encoded(latents=linear + self.encoder(picture))

    def decode(self, latent: Tensor) -> Any:
        """Pictures of latents, as ``.sample``; not clamped."""
        linear = functional.pixel_shuffle(self.from_latent(latent), PATCH)
        # the decoder's own range ends in a shift from 0..1 to -1..1, which a correction does not want
        return self._decoded(sample=linear + self.decoder(latent) + 1)


def _components(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first principal directions (count x dimensions) of samples (N x dimensions), and their standard deviations.

    No mean is taken off: the grey level is a component as any other.
    """
    covariance = samples.double().T @ samples.double() / len(samples)
    variance, vectors = torch.linalg.eigh(covariance)
    order = torch.argsort(variance, descending=True)[:count]
    return vectors[:, order].T.float(), variance[order].clamp_min(1e-8).sqrt().float()


@torch.no_grad()
def _become(conv: nn.Conv2d, matrix: Tensor) -> None:
    """Make a convolution the linear map ``matrix`` (out x in) of each place; rows and columns beyond it stay."""
    out, into = matrix.shape
    middle = conv.kernel_size[0] // 2
    conv.weight[:out] = 0
    conv.weight[:out, :into, middle, middle] = matrix
    if conv.bias is not None:
        conv.bias[:out] = 0


def _flat(features: Tensor) -> Tensor:
    return features.transpose(0, 1).flatten(1).T


def _fit(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The linear map (out x in) that takes inputs (N x in) to outputs (N x out) with the least squared error."""
    solution = torch.linalg.lstsq(inputs.double(), outputs.double(), driver="gelsd").solution
    return solution.T.float()


@torch.no_grad()
def start_as_transform(model: S2vc, clips: Sequence[Pictures], seed: int = 0) -> None:
    """Give a new model the transforms fitted to random cuts of clips (frames x height x width x 3, 8 bit)."""
    crops = RandomCrops(clips, 128, 1, seed, strides=(1,))
    cut = np.concatenate([crops.at(step, 32)[:, 0] for step in range(8)])
    pictures = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1
    patches = functional.pixel_unshuffle(pictures, PATCH)
    config = model.config
    directions, deviations = _components(_flat(patches), config.width)
    # half-way to unit variance: networks like it, and what is large still counts more
    scale = deviations.rsqrt()[:, None]
    forward, backward = directions * scale, (directions / scale).T
    channels = config.latent_channels
    vae: Any = model.vae
    _become(vae.to_latent, forward[:channels])
    _become(vae.from_latent, backward[:, :channels])
    features = torch.einsum("oc,bchw->bohw", forward, patches)
    for adapter in model.adapters:
        _become(adapter[-1], torch.eye(channels, config.width))
    blocks = functional.pixel_unshuffle(pictures, 2 * PATCH)
    block_directions, _ = _components(_flat(blocks), config.y_channels)
    wanted = _flat(torch.einsum("oc,bchw->bohw", block_directions, blocks))
    folded = _flat(functional.pixel_unshuffle(features, 2))
    analysis, synthesis = _fit(folded, wanted), _fit(wanted, folded)
    last: Any = model.diffusion.unet.conv_out
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    for codec in (model.intra, model.inter):
        _start(codec, forward, analysis, synthesis)


def _start(codec: FrameCodec, patches: Tensor, analysis: Tensor, synthesis: Tensor) -> None:
    width, y = len(patches), len(analysis)
    same = torch.eye(width)
    other = same if codec.inter else torch.zeros(width, width)
    _become(codec.analysis_in[1], patches)
    _become(codec.join_analysis[0], torch.cat([same, -other], dim=1))
    _become(codec.analysis_out[1], analysis)
    _become(codec.analysis_out[-1], torch.eye(y))
    _become(codec.synthesis_in[0], torch.eye(y))
    _become(codec.synthesis_in[2], synthesis)
    _become(codec.join_synthesis[0], torch.cat([same, other], dim=1))
