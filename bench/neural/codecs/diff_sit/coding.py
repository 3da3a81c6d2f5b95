"""Diff-SIT for use: its networks from a configuration, and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.diff_sit import paper
from bench.neural.codecs.diff_sit.codec import decode, encode
from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.model import DiffSit, small

_OF_TRAINING = "critic."
_OF_THE_USER = ("odfte.vae.wan.decoder.", "odfte.vae.wan.post_quant_conv.")


def build(config: Mapping[str, Any], scale: str) -> DiffSit:
    """The networks, untrained; at the paper's scale around the user's own, see `paper`."""
    sizes = DiffSitConfig(**config)
    return paper.build(sizes, None) if scale == "paper" else small(sizes)


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return (
        "groups of three: the middle frame as I or as P from the middle frame before, one I frame; of the others "
        f"motion alone; restored in chunks of {config['chunk']} frames"
    )


def is_stored(tensor: str, scale: str) -> bool:
    """Everything but the critic, and of a user's networks the decoder, which never learns."""
    return not tensor.startswith(_OF_TRAINING) and not (scale == "paper" and tensor.startswith(_OF_THE_USER))


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
