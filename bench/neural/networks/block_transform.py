"""Videos in blocks: of the first frame 8 x 8, of the frames after it 4 x 8 x 8, as Wan's autoencoder takes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.networks.blocks import pad_to
from bench.neural.networks.linear import become, components, flat

PATCH = 8
TIME = 4
"""Pictures for a latent along each side, and frames for each latent after the first."""

SIDE = 16
"""Sides of a video that autoencoders and transformers take: `PATCH` times the transformers' patch of 2."""


class BlockTransform(nn.Module):
    """A linear map of blocks 8 x 8 of the first frame, and 4 x 8 x 8 of those after it, to latents and back."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        picture = 3 * PATCH**2
        self.first, self.later = nn.Conv2d(picture, latents, 1), nn.Conv2d(TIME * picture, latents, 1)
        self.first_back, self.later_back = nn.Conv2d(latents, picture, 1), nn.Conv2d(latents, TIME * picture, 1)

    def forward(self, video: Tensor) -> Tensor:
        """Latents B x C x 1 + T/4 x H/8 x W/8 of a video B x 3 x 1 + T x H x W."""
        blocks = functional.pixel_unshuffle(video.transpose(1, 2), PATCH)
        later = blocks[:, 1:].unflatten(1, (-1, TIME)).flatten(2, 3)
        latents = [self.first(blocks[:, 0]), *(self.later(group) for group in later.unbind(1))]
        return torch.stack(latents, dim=2)

    def back(self, latents: Tensor) -> Tensor:
        """The video of latents."""
        first, *later = latents.unbind(2)
        blocks = [self.first_back(first)[:, None], *(self.later_back(one).unflatten(1, (TIME, -1)) for one in later)]
        return functional.pixel_shuffle(torch.cat(blocks, dim=1), PATCH).transpose(1, 2)


def pad_video(video: Tensor, frames: int) -> Tensor:
    """A video with so many frames more, as its last, and its sides brought to multiples of `SIDE` by reflection."""
    batch, _, count = video.shape[:3]
    pictures = pad_to(video.transpose(1, 2).flatten(0, 1), SIDE)
    padded = pictures.unflatten(0, (batch, count)).transpose(1, 2)
    return torch.cat([padded, padded[:, :, -1:].expand(-1, -1, frames, -1, -1)], dim=2) if frames else padded


@torch.no_grad()
def start_block_transform(transform: BlockTransform, video: Tensor) -> None:
    """Make a new transform the principal components of the blocks of videos (B x 3 x 1 + T x H x W)."""
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
