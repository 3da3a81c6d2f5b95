"""ActDiff-VC for use: its networks from a configuration, and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.actdiff_vc.codec import decode, encode
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, small

_OF_TRAINING = "critic."


def build(config: Mapping[str, Any]) -> ActDiffVc:
    """The networks, untrained."""
    return small(ActDiffConfig(**config))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return "segments of content's own length that share their keyframes, which are I frames; trajectories between them"


def is_stored(tensor: str) -> bool:
    """Everything but the critic."""
    return not tensor.startswith(_OF_TRAINING)


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
