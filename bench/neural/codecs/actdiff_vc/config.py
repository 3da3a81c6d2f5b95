"""Sizes of ActDiff-VC's networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActDiffConfig:
    """Sizes of the networks, and how many rate points the keyframe codec has.

    ``width`` to ``rates``: of the learned keyframe codec. ``latent_channels``: components of a block of 4 x 8 x 8.
    ``expectation_width``: of what tells their mean and spread. ``heads`` to ``layers``: of the transformer.
    ``refiner_width`` to ``refiner_noise``: of what mends the pictures.
    """

    width: int = 64
    deep: int = 72
    y_channels: int = 112
    hyper_channels: int = 24
    rates: int = 8
    latent_channels: int = 48
    expectation_width: int = 64
    heads: int = 4
    head_width: int = 40
    layers: int = 5
    refiner_width: int = 64
    refiner_blocks: int = 4
    refiner_noise: int = 4
