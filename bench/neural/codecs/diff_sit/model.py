"""Diff-SIT: the sparse temporal encoder, and the generator that restores what it leaves out."""

from __future__ import annotations

from torch import nn

from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.odfte import Odfte, small_odfte
from bench.neural.codecs.diff_sit.stem import Stem
from bench.neural.networks.critic import Critic
from bench.neural.networks.perceptual_loss import CHANNELS


class DiffSit(nn.Module):
    """The whole codec: ``stem`` is all that is coded, ``odfte`` sees only what the stem has decoded.

    ``critic`` serves training alone.
    """

    def __init__(self, config: DiffSitConfig, odfte: Odfte) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        self.odfte = odfte
        self.critic = Critic(CHANNELS)


def small(config: DiffSitConfig) -> DiffSit:
    """A new, untrained codec."""
    return DiffSit(config, small_odfte(config))
