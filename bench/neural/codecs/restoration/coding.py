"""Restoration codecs for use: the network from a configuration, and the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.restoration.codec import decode, encode
from bench.neural.codecs.restoration.network import NetworkConfig, Restoration


def build(config: Mapping[str, Any], scale: str) -> Restoration:
    """The network, untrained."""
    return Restoration(NetworkConfig(**config))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return "random access: SVT-AV1's hierarchy over a smaller picture, one key frame"


def is_stored(tensor: str, scale: str) -> bool:
    """Everything: training keeps what it alone has beside the network."""
    return True


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
