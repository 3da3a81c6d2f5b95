"""S2VC for use: its networks from a configuration, and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.s2vc import paper
from bench.neural.codecs.s2vc.codec import decode, encode
from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig
from bench.neural.codecs.s2vc.transform import PatchAutoencoder
from bench.neural.networks.backbones import small_unet

_OF_TRAINING = ("vae.encoder.", "vae.to_latent.", "guide.projection.", "previewer.")
_OF_THE_USER = ("vae.", "diffusion.unet.")


def build(config: Mapping[str, Any], scale: str) -> S2vc:
    """The networks, untrained; at the paper's scale around the user's own, see `paper`."""
    sizes = S2vcConfig(**config)
    return paper.build(sizes, None) if scale == "paper" else small(sizes)


def small(config: S2vcConfig) -> S2vc:
    """A new, untrained codec at small scale."""
    # drawn in this order, a seed gives the networks that it gave before
    autoencoder = PatchAutoencoder(config.latent_channels, config.vae_width)
    return S2vc(config, autoencoder, small_unet(config.latent_channels, config.unet_widths, config.guidance))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    every = config["reanchor_every"]
    return f"low delay: one I frame, P frames from the frame before, re-anchored to the I frame every {every} P frames"


def is_stored(tensor: str, scale: str) -> bool:
    """Neither the autoencoder's encoder nor what only losses look through; of a user's networks what was learned."""
    if scale == "paper" and tensor.startswith(_OF_THE_USER) and "lora_" not in tensor:
        return False
    return not tensor.startswith(_OF_TRAINING)


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
