"""Restoration codecs for use: the network from a configuration, and the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.restoration.codec import decode, encode
from bench.neural.codecs.restoration.network import NetworkConfig, Restoration

_OF_TRAINING = ("critic.", "teacher.", "taught")
_ADDED = ("exchanges.", "facts.", "semantic.", "entry_noise.", "entry_before.")


def build(config: Mapping[str, Any]) -> Restoration:
    """The network, untrained."""
    return Restoration(NetworkConfig(**config))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return "random access: SVT-AV1's hierarchy over a smaller picture, one key frame"


def is_stored(tensor: str) -> bool:
    """Everything but what training alone has."""
    return not tensor.startswith(_OF_TRAINING)


def begins_as_nothing(tensor: str) -> bool:
    """Whether a network without the tensor is the one with it before its training: parts that are added later."""
    return tensor.startswith(_ADDED)


__all__ = ["begins_as_nothing", "build", "decode", "encode", "gop", "is_stored"]
