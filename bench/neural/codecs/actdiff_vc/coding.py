"""ActDiff-VC for use: its networks from a configuration, and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.actdiff_vc import paper
from bench.neural.codecs.actdiff_vc.codec import decode, encode
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, small

_OF_TRAINING = "critic."


def build(config: Mapping[str, Any], scale: str) -> ActDiffVc:
    """The networks, untrained; at the paper's scale around the user's own, see `paper`."""
    sizes = ActDiffConfig(**config)
    return paper.build(sizes, None) if scale == "paper" else small(sizes)


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return "segments of content's own length that share their keyframes, which are I frames; trajectories between them"


def is_stored(tensor: str, scale: str) -> bool:
    """Everything but the critic, and of a user's networks only the adapters that were learned."""
    if tensor.startswith(_OF_TRAINING):
        return False
    return not (scale == "paper" and tensor.startswith(paper.OF_THE_USER) and "lora_" not in tensor)


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
