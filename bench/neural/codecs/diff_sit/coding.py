"""Diff-SIT for use: its networks from a configuration, and its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.neural.codecs.diff_sit.codec import decode, encode
from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.model import DiffSit, small

_OF_TRAINING = "critic."


def build(config: Mapping[str, Any]) -> DiffSit:
    """The networks, untrained."""
    return small(DiffSitConfig(**config))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return (
        "groups of three: the middle frame as I or as P from the middle frame before, one I frame; of the others "
        f"motion alone; restored in chunks of {config['chunk']} frames"
    )


def is_stored(tensor: str) -> bool:
    """Everything but the critic."""
    return not tensor.startswith(_OF_TRAINING)


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
