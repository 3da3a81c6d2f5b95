"""ActDiff-VC at the paper's scale: a larger keyframe codec, and a user's own Wan-VACE as the generator.

Wan-VACE is made to fill in a video of which some frames are known: here the keyframes, with the warped keyframes as
what guides the frames between them. LoRA adapters of its attention learn. Known from the paper: both keyframes and the
trajectories condition an iterative video diffusion model; which model, and what of it learns, is inferred.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import UnavailableError
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.denoiser import run_wan
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, Generator
from bench.neural.codecs.actdiff_vc.render import Conditions
from bench.neural.networks.block_transform import PATCH, TIME, pad_video
from bench.neural.networks.local_networks import LocalNetworks, described, require_same_latents

WAN_VACE = LocalNetworks(
    "ActDiff-VC",
    "Wan-VACE",
    "in diffusers' layout (Wan2.1-VACE-1.3B-diffusers)",
    "VCBENCH_WAN_VACE",
    {"vae": "AutoencoderKLWan", "transformer": "WanVACETransformer3DModel"},
)

SIZES = ActDiffConfig(width=128, deep=192, y_channels=128, hyper_channels=64)
"""Of the keyframe codec, inferred; those of the generator are its folder's."""

WINDOW = 104
"""Latents a side that Wan sees at once: the 832 pixels that it was made for."""

LORA_RANK = LORA_ALPHA = 64
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")

OF_THE_USER = ("generator.latents.vae.", "generator.denoiser.network.")


def check(given: Path | None) -> None:
    """Raise UnavailableError, naming the folder, unless it holds both networks, of their classes and fitting sizes."""
    where = WAN_VACE.check(given)
    latents, transformer = described(where, "vae").get("z_dim"), described(where, "transformer")
    require_same_latents(where, latents, "transformer", transformer.get("in_channels"))
    control = 2 * int(latents or 0) + PATCH**2
    if transformer.get("vace_in_channels") != control:
        raise UnavailableError(
            f"{where / 'transformer'}: takes a control of {transformer.get('vace_in_channels')} channels, "
            f"the latents of vae/ and a mask have {control}; name a folder whose networks belong together"
        )


def build(config: ActDiffConfig, given: Path | None) -> ActDiffVc:
    """The codec around a user's networks: theirs are frozen, adapters and the keyframe codec learn."""
    check(given)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UnavailableError("peft not installed, which LoRA takes: pip install 'vcbench[paper]'") from None
    networks = WAN_VACE.load(given)
    vae, transformer = (networks[part].requires_grad_(False) for part in ("vae", "transformer"))
    adapter = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=list(LORA_TARGETS))
    inject_adapter_in_model(adapter, transformer)
    generator = Generator(VaceLatents(vae), VaceDenoiser(transformer), vae.config.z_dim, window=WINDOW)
    return ActDiffVc(config, generator)


class VaceLatents(nn.Module):
    """Latents of Wan's own autoencoder, and the control that Wan-VACE takes; see `model`."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        for name, values in (("mean", vae.config.latents_mean), ("deviation", vae.config.latents_std)):
            self.register_buffer(name, torch.tensor(values)[None, :, None, None, None], persistent=False)

    def encode(self, video: Tensor, conditions: Conditions) -> Tensor:
        """Normalised latents of a video; its prediction is no part of them."""
        return self._encoded(_padded(video))

    def condition(self, conditions: Conditions) -> Tensor:
        """Control: latents of what is known, of what guides the rest, and the mask that tells them apart."""
        video = _padded(conditions.predicted)
        mask = torch.zeros_like(video[:, :1])
        mask[:, :, 1:] = 1
        mask[conditions.closed, :, conditions.predicted.shape[2] - 1 :] = 0
        known, guide = self._encoded(video * (1 - mask)), self._encoded(video * mask)
        squares = functional.pixel_unshuffle(mask[:, 0], PATCH)
        places = squares.unflatten(1, (-1, PATCH**2)).transpose(1, 2)
        shrunk = functional.interpolate(places, size=known.shape[2:], mode="nearest-exact")
        return torch.cat([known, guide, shrunk], dim=1)

    def decode(self, latents: Tensor, conditions: Conditions) -> Tensor:
        """The video of latents."""
        frames, height, width = conditions.predicted.shape[2:]
        video: Tensor = self.vae.decode(latents * self.deviation + self.mean).sample
        return video[:, :, :frames, :height, :width].float()

    def _encoded(self, video: Tensor) -> Tensor:
        latents: Tensor = self.vae.encode(video).latent_dist.mode().float()
        return (latents - self.mean) / self.deviation


class VaceDenoiser(nn.Module):
    """Wan-VACE's transformer as a velocity, without a prompt: zeros stand for its embedding."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.network = transformer

    def forward(self, noisy: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        config = self.network.config
        text = torch.zeros(len(noisy), 1, config.text_dim, device=noisy.device)
        scale = torch.ones(len(config.vace_layers), device=noisy.device)
        return run_wan(
            self.network, noisy, time, text, control_hidden_states=condition, control_hidden_states_scale=scale
        )


def _padded(video: Tensor) -> Tensor:
    return pad_video(video, (1 - video.shape[2]) % TIME)
