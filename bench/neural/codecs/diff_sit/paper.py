"""Diff-SIT at the paper's scale: the same sparse temporal encoder, larger, and a user's own Wan 2.1 as the generator.

Known from the paper: the autoencoder's decoder is frozen; its encoder, the transformer and f_type learn.
"""

from __future__ import annotations

from pathlib import Path

import torch

from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.model import DiffSit
from bench.neural.codecs.diff_sit.odfte import Odfte, VideoAutoencoder
from bench.neural.networks.local_networks import LocalNetworks, described, require_same_latents

WAN = LocalNetworks(
    "Diff-SIT",
    "Wan 2.1",
    "in diffusers' layout (Wan2.1-T2V-1.3B-Diffusers)",
    "VCBENCH_WAN21",
    {"vae": "AutoencoderKLWan", "transformer": "WanTransformer3DModel"},
)

SIZES = DiffSitConfig(width=128, deep=192, y_channels=128, hyper_channels=64, flow_width=48, motion_width=96)
"""Of the sparse temporal encoder, inferred; those of the generator are its folder's."""


def check(given: Path | None) -> None:
    """Raise UnavailableError, naming the folder, unless it holds both networks, of their classes and fitting sizes."""
    where = WAN.check(given)
    taken = described(where, "transformer").get("in_channels")
    require_same_latents(where, described(where, "vae").get("z_dim"), "transformer", taken)


def build(config: DiffSitConfig, given: Path | None) -> DiffSit:
    """The codec around a user's networks; their decoder stays as it is."""
    check(given)
    networks = WAN.load(given)
    vae = networks["vae"]
    for kept in (vae.decoder, vae.post_quant_conv):
        kept.requires_grad_(False)
    odfte = Odfte(VideoAutoencoder(vae), networks["transformer"], sigma=config.sigma, frame_types=config.frame_types)
    for buffer, values in ((odfte.mean, vae.config.latents_mean), (odfte.deviation, vae.config.latents_std)):
        buffer.copy_(torch.tensor(values)[None, :, None, None, None])
    return DiffSit(config, odfte)
