"""S2VC for use: its networks from a configuration, and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.s2vc.codec import decode, encode
from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig
from bench.neural.codecs.s2vc.transform import PatchAutoencoder
from bench.neural.networks.backbones import small_unet

_OF_TRAINING = ("vae.encoder.", "vae.to_latent.", "guide.projection.", "previewer.")


def build(config: Mapping[str, Any]) -> S2vc:
    """The networks, untrained."""
    return small(S2vcConfig(**config))


def small(config: S2vcConfig) -> S2vc:
    """A new, untrained codec."""
    # drawn in this order, a seed gives the networks that it gave before
    autoencoder = PatchAutoencoder(config.latent_channels, config.vae_width)
    return S2vc(config, autoencoder, small_unet(config.latent_channels, config.unet_widths, config.guidance))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    every = config["reanchor_every"]
    return f"low delay: one I frame, P frames from the frame before, re-anchored to the I frame every {every} P frames"


def is_stored(tensor: str) -> bool:
    """Neither the autoencoder's encoder nor what only losses look through."""
    return not tensor.startswith(_OF_TRAINING)


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
