"""Image autoencoders and U-Nets of diffusers: small ones from a configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.core.quiet_import import imported
from bench.neural.networks.blocks import zero_conv

INTRA, INTER = 0, 1
"""Frame types."""


def tiny_autoencoder(latent_channels: int, width: int = 32) -> nn.Module:
    """diffusers' AutoencoderTiny with stride 8, small enough for a CPU. Pictures and latents about -1 to 1."""
    model: nn.Module = imported("diffusers.models.autoencoders.autoencoder_tiny").AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(1, 2, 2, 2),
        num_decoder_blocks=(3, 3, 2, 1),
    )
    return model


def small_unet(latent_channels: int, widths: tuple[int, ...], guidance: int) -> nn.Module:
    """diffusers' UNet2DConditionModel with cross-attention to ``guidance`` channels in every block; two frame types."""
    levels = len(widths)
    model: nn.Module = imported("diffusers.models.unets.unet_2d_condition").UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=guidance,
        attention_head_dim=4,
        norm_num_groups=16,
        num_class_embeds=2,
    )
    return model


def to_latent(vae: nn.Module, picture: Tensor) -> Tensor:
    """Latent of a picture (-1 to 1) in the units that U-Nets work in, whichever autoencoder it is."""
    autoencoder: Any = vae
    encoded = autoencoder.encode(picture)
    latent: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    factor, shift = _units(vae)
    return (latent - shift) * factor


def to_picture(vae: nn.Module, latent: Tensor) -> Tensor:
    """Picture of a latent, the way back of `to_latent`; not clamped."""
    autoencoder: Any = vae
    factor, shift = _units(vae)
    picture: Tensor = autoencoder.decode(latent / factor + shift).sample
    return picture


def _units(vae: nn.Module) -> tuple[float, float]:
    """Factor and shift between an autoencoder's own latents and those of its U-Net."""
    config: Any = getattr(vae, "config", None)
    return float(getattr(config, "scaling_factor", None) or 1.0), float(getattr(config, "shift_factor", None) or 0.0)


class GuidedUnet(nn.Module):
    """A U-Net whose encoder takes the features that it had on the frame before (temporal consistency guidance).

    After each down block, a zero convolution of the previous frame's features of that block is added; the features
    after the addition are the next frame's guidance.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        config: Any = unet.config
        self.guides = nn.ModuleList(zero_conv(width, width) for width in config.block_out_channels)
        self._before: list[Tensor] | None = None
        self._features: list[Tensor] = []
        for block, guide in zip(unet.down_blocks, self.guides, strict=True):
            block.register_forward_hook(self._guided(guide))

    def _guided(self, guide: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: tuple[Tensor, tuple[Tensor, ...]]) -> Any:
            sample, skips = output
            # the last block has no downsampler: its output is its last skip too
            last = skips[-1]
            if self._before is not None:
                sample = sample + guide(self._before[len(self._features)])
            self._features.append(sample)
            return sample, (*skips[:-1], sample if last is output[0] else last)

        return hook

    def forward(
        self, latent: Tensor, guidance: Tensor, before: list[Tensor] | None, frame_type: int, timestep: int = 999
    ) -> tuple[Tensor, list[Tensor]]:
        """The network's output at one time step, and its features for the frame after.

        ``latent``: B x C x h x w; ``guidance``: B x tokens x channels, keys and values of all cross-attentions;
        ``frame_type``: `INTRA` or `INTER`, of all items.
        """
        self._before, self._features = before, []
        typed = self.unet.config.num_class_embeds
        labels = torch.full((len(latent),), frame_type, device=latent.device) if typed else None
        sample: Tensor = self.unet(latent, timestep, encoder_hidden_states=guidance, class_labels=labels).sample
        features, self._features, self._before = self._features, [], None
        return sample, features
