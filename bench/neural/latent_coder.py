"""Coding a latent under a hyperprior and a context, with rate points from one set of weights.

A latent y is scaled by a learned step for each channel and rate index, rounded against a predicted mean, and coded
under Gaussians. The Gaussians' scales are chosen by integers alone (the hyper symbols, and the symbols of the frame
before), the mean by networks on the hyper symbols and a context of any kind. After Minnen et al. 2018 (mean-scale
hyperprior) and Li et al. 2024 (one model for many rates by learned steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.neural.blocks import Down, Up, noisy, round_through, stack
from bench.neural.entropy import (
    SCALES,
    ExactNet,
    FactorizedPrior,
    Integers,
    SymbolDecoder,
    SymbolEncoder,
    Tables,
    gaussian_bits,
    gaussian_tables,
    indexes,
    scale_of_index,
)

HYPER_STRIDE = 4
"""Sides of the latent for each side of the hyper latent."""


@dataclass(frozen=True)
class Coded:
    """A latent that went through the coder: as the decoder has it, its integer symbols, its cost in bits."""

    latent: Tensor
    symbols: Tensor
    bits: Tensor


class LatentCoder(nn.Module):
    """Entropy model of a latent of ``channels`` at ``rates`` rate points, given a context of ``context`` channels.

    Higher rate index, finer steps. ``temporal``: scales also follow the symbols of the frame before.
    """

    def __init__(
        self, channels: int, hyper: int, context: int, rates: int, *, temporal: bool, finest: float = 5.0
    ) -> None:
        super().__init__()
        self.channels, self.rates, self.temporal = channels, rates, temporal
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.1), Down(channels, channels),
            nn.Conv2d(channels, hyper, 3, stride=2, padding=1),
        )  # fmt: skip
        self.prior = FactorizedPrior(hyper)
        self.hyper_synthesis = nn.Sequential(Up(hyper, channels), Up(channels, channels))
        self.mean = nn.Sequential(
            nn.Conv2d(channels + context, channels * 2, 1), nn.LeakyReLU(0.1), stack(channels * 2, 1),
            nn.Conv2d(channels * 2, channels, 3, padding=1),
        )  # fmt: skip
        nn.init.zeros_(self.mean[-1].weight)
        nn.init.zeros_(self.mean[-1].bias)
        self.scale = ExactNet(hyper, hyper, channels, upscale=HYPER_STRIDE)
        nn.init.constant_(self.scale.head.bias, SCALES / 3)
        if temporal:
            self.scale_before = ExactNet(channels, channels, channels, layers=1)
            nn.init.zeros_(self.scale_before.head.weight)
            nn.init.zeros_(self.scale_before.head.bias)
        start = torch.linspace(np.log(0.4), np.log(finest), rates)[:, None].expand(rates, channels)
        self.log_gain = nn.Parameter(start.clone())
        self._tables: tuple[Tables, Tables] | None = None

    def gain(self, rate: Tensor) -> Tensor:
        """Steps for a unit of latent, B x channels x 1 x 1, of rate indexes B."""
        return torch.exp(self.log_gain[rate])[:, :, None, None]

    def forward(self, latent: Tensor, context: Tensor, before: Tensor | None, rate: Tensor) -> Coded:
        """Training: the decoder's latent (rounded, gradients passed through) and each item's cost in bits."""
        gain = self.gain(rate)
        scaled = latent.float() * gain
        hyper = self.hyper_analysis(scaled).float()
        rounded = round_through(hyper)
        mean = self._mean(rounded, context).float()
        residual = scaled - mean
        # probabilities are differences of nearly equal numbers, which bfloat16 would lose
        with torch.autocast(latent.device.type, enabled=False):
            scale = scale_of_index(self._index(rounded, before))
            bits = gaussian_bits(noisy(residual), scale).sum((1, 2, 3)) + self.prior.bits(noisy(hyper)).sum((1, 2, 3))
        symbols = round_through(residual)
        return Coded((symbols + mean) / gain, symbols.detach(), bits)

    def _mean(self, hyper: Tensor, context: Tensor) -> Tensor:
        mean: Tensor = self.mean(torch.cat([self.hyper_synthesis(hyper), context], dim=1))
        return mean

    def _index(self, hyper: Tensor, before: Tensor | None) -> Tensor:
        index: Tensor = self.scale(hyper)
        return index + self.scale_before(before) if self.temporal and before is not None else index

    def _exact_indexes(self, hyper: Tensor, before: Tensor | None) -> Integers:
        exact = self.scale.exact(hyper)
        if self.temporal and before is not None:
            exact = exact + self.scale_before.exact(before)
        chosen: Integers = indexes(exact)[0]
        return chosen

    def tables(self) -> tuple[Tables, Tables]:
        """Tables of the hyper symbols and of the latent's; made once, and to be stored with the weights."""
        if self._tables is None:
            self._tables = self.prior.tables(), gaussian_tables()
        return self._tables

    def use_tables(self, hyper: Tables, gaussian: Tables) -> None:
        """Code with stored tables, so that no arithmetic of this machine enters."""
        self._tables = hyper, gaussian

    def _channels(self, shape: tuple[int, ...]) -> Integers:
        channels = np.arange(shape[0], dtype=np.int32)[:, None, None]
        spread: Integers = np.broadcast_to(channels, shape)
        return spread

    @torch.no_grad()
    def encode(self, latent: Tensor, context: Tensor, before: Tensor | None, rate: int) -> tuple[bytes, Coded]:
        """Bytes of a latent (1 x channels x H x W, sides multiples of `HYPER_STRIDE`), and what a decoder has of it."""
        gain = self.gain(torch.tensor([rate]))
        scaled = latent * gain
        hyper = _whole(self.hyper_analysis(scaled))
        mean = self._mean(hyper, context)
        symbols = _whole(scaled - mean)
        encoder = SymbolEncoder()
        for_hyper, for_latent = self.tables()
        hyper_symbols = hyper[0].to(torch.int32).numpy()
        encoder.add(hyper_symbols, self._channels(hyper_symbols.shape), for_hyper)
        encoder.add(symbols[0].to(torch.int32).numpy(), self._exact_indexes(hyper, before), for_latent)
        data = encoder.finish()
        return data, Coded((symbols + mean) / gain, symbols, torch.tensor([8.0 * len(data)]))

    @torch.no_grad()
    def decode(self, data: bytes, context: Tensor, before: Tensor | None, rate: int) -> Coded:
        """What `encode` said the decoder will have, of its bytes."""
        height, width = context.shape[-2:]
        decoder = SymbolDecoder(data)
        for_hyper, for_latent = self.tables()
        shape = (self.prior.bottleneck.channels, height // HYPER_STRIDE, width // HYPER_STRIDE)
        hyper = torch.from_numpy(decoder.take(self._channels(shape), for_hyper))[None].float()
        chosen = self._exact_indexes(hyper, before)
        symbols = torch.from_numpy(decoder.take(chosen, for_latent))[None].float()
        mean = self._mean(hyper, context)
        return Coded((symbols + mean) / self.gain(torch.tensor([rate])), symbols, torch.tensor([8.0 * len(data)]))


def _whole(x: Tensor) -> Tensor:
    """Rounded, without negative zeros: the decoder has none."""
    return torch.round(x) + 0.0
