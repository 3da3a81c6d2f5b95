"""Coding a latent under a hyperprior, a context and its own neighbours, with rate points from one set of weights.

A latent y is scaled by a learned step for each channel and rate index and coded in four passes: of each 2 x 2 places
first the upper left ones, then the lower right, the upper right, the lower left. A pass is rounded against a mean
predicted from the hyper latent, a context of any kind and what the passes before have brought, and coded under
Gaussians. The Gaussians' scales are chosen by integers alone: the hyper symbols, the symbols of the frame before, the
symbols of the passes before, and the rate. After Minnen et al. 2018 (mean-scale hyperprior), He et al. 2021 and Li et
al. 2023 (context in few passes), and Li et al. 2024 (one model for many rates by learned steps).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.bitstream.entropy import (
    LOG_STEP,
    SMALLEST_SCALE,
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
from bench.neural.networks.blocks import Down, Up, noisy, round_through, stack, zeroed

HYPER_STRIDE = 4
"""Sides of the latent for each side of the hyper latent."""

PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column, in each 2 x 2 places, of what a pass codes."""

FASTER = 10.0
"""Steps and scales are parameters in their logarithm over this: a few numbers that all else waits for learn faster."""


@dataclass(frozen=True)
class Coded:
    """A latent that went through the coder: as the decoder has it, its integer symbols, its cost in bits."""

    latent: Tensor
    symbols: Tensor
    bits: Tensor


class LatentCoder(nn.Module):
    """Entropy model of a latent of ``channels`` at ``rates`` rate points, given a context of ``context`` channels.

    Higher rate index, finer steps, from ``coarsest`` to ``finest`` steps a unit at first. ``temporal``: scales also
    follow the symbols of the frame before. ``inner``: width of the networks, and how many of the channels, the first
    ones, are predicted linearly from their neighbours; all unless given.
    """

    def __init__(
        self,
        channels: int,
        hyper: int,
        context: int,
        rates: int,
        *,
        temporal: bool,
        coarsest: float = 0.2,
        finest: float = 1.5,
        inner: int | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.rates, self.temporal = channels, rates, temporal
        self.inner = inner = channels if inner is None else min(inner, channels)
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1), nn.LeakyReLU(0.1), Down(inner, inner),
            nn.Conv2d(inner, hyper, 3, stride=2, padding=1),
        )  # fmt: skip
        self.prior = FactorizedPrior(hyper)
        self.hyper_synthesis = nn.Sequential(Up(hyper, inner), Up(inner, inner))
        self.base = nn.Sequential(nn.Conv2d(inner + context, inner, 1), nn.LeakyReLU(0.1), stack(inner, 1))
        # a linear prediction for each pass, and what all of them share
        self.near = nn.ModuleList(zeroed(nn.Conv2d(inner, inner, 3, padding=1, bias=False)) for _ in PASSES[1:])
        self.join = nn.Sequential(nn.Conv2d(inner + channels, 2 * inner, 3, padding=1), nn.LeakyReLU(0.1))
        self.mean = nn.ModuleList(zeroed(nn.Conv2d(2 * inner, channels, 1)) for _ in PASSES)
        self.scale = ExactNet(hyper, hyper, channels, upscale=HYPER_STRIDE)
        self.scale_near = ExactNet(channels, inner, channels, layers=1)
        learned = [self.scale, self.scale_near]
        if temporal:
            self.scale_before = ExactNet(channels, inner, channels, layers=1)
            learned.append(self.scale_before)
        for network in learned:
            zeroed(network.head)
        self.log_scale = nn.Parameter(torch.zeros(len(PASSES), channels))
        start = torch.linspace(np.log(coarsest), np.log(finest), rates)[:, None].expand(rates, channels)
        self.log_gain = nn.Parameter(start / FASTER)
        self._tables: tuple[Tables, Tables] | None = None

    def gain(self, rate: Tensor) -> Tensor:
        """Steps for a unit of latent, B x channels x 1 x 1, of rate indexes B."""
        return torch.exp(FASTER * self.log_gain[rate])[:, :, None, None]

    def forward(self, latent: Tensor, context: Tensor, before: Tensor | None, rate: Tensor, rdoq: float = 0.0) -> Coded:
        """Training: the decoder's latent (quantised, gradients passed through) and each item's cost in bits.

        ``rdoq`` as `encode` says.
        """
        gain = self.gain(rate)
        scaled = latent.float() * gain
        hyper = self.hyper_analysis(scaled).float()
        rounded = round_through(hyper)
        base = self._base(rounded, context)
        # probabilities are differences of nearly equal numbers, which bfloat16 would lose
        with torch.autocast(latent.device.type, enabled=False):
            shared = self._shared_index(rounded, before, rate)
            bits = self.prior.bits(noisy(hyper)).sum((1, 2, 3))
        known, symbols = torch.zeros_like(scaled), torch.zeros_like(scaled)
        for number, chosen in enumerate(_masks(scaled)):
            mean = self._mean(number, base, known).float()
            residual = scaled - mean
            with torch.autocast(latent.device.type, enabled=False):
                index = shared + FASTER * self.log_scale[number][:, None, None] / LOG_STEP
                if number:
                    index = index + self.scale_near(symbols.abs())
                scale = scale_of_index(index)
                quantised = _quantised(residual.detach(), scale.detach(), rdoq)
                cost = _bits(residual, quantised, scale)
            bits = bits + (cost * chosen).sum((1, 2, 3))
            coded = residual + (quantised - residual).detach()
            known = known + chosen * (coded + mean)
            symbols = symbols + chosen * coded.detach()
        return Coded(known / gain, symbols, bits)

    def _base(self, hyper: Tensor, context: Tensor) -> Tensor:
        base: Tensor = self.base(torch.cat([self.hyper_synthesis(hyper), context], dim=1))
        return base

    def _mean(self, number: int, base: Tensor, known: Tensor) -> Tensor:
        mean: Tensor = self.mean[number](self.join(torch.cat([base, known], dim=1)))
        if not number:
            return mean
        near: Tensor = self.near[number - 1](known[:, : self.inner])
        return mean + functional.pad(near, (0, 0, 0, 0, 0, self.channels - self.inner))

    def _shared_index(self, hyper: Tensor, before: Tensor | None, rate: Tensor) -> Tensor:
        """What all passes have in common of the tables' indexes: the rate, the hyper symbols, the frame before."""
        gain = (FASTER * self.log_gain[rate] - np.log(SMALLEST_SCALE))[:, :, None, None]
        index: Tensor = self.scale(hyper) + gain / LOG_STEP
        return index + self.scale_before(before) if self.temporal and before is not None else index

    def _exact_shared_index(self, hyper: Tensor, before: Tensor | None, rate: int) -> Tensor:
        exact = self.scale.exact(hyper)
        if self.temporal and before is not None:
            exact = exact + self.scale_before.exact(before)
        return exact + _exact((FASTER * self.log_gain[rate].double() - np.log(SMALLEST_SCALE)) / LOG_STEP)

    def _exact_indexes(self, number: int, shared: Tensor, symbols: Tensor) -> Integers:
        exact = shared + _exact(FASTER * self.log_scale[number].double() / LOG_STEP)
        if number:
            exact = exact + self.scale_near.exact(symbols.abs())
        chosen: Integers = indexes(exact)
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
    def encode(
        self, latent: Tensor, context: Tensor, before: Tensor | None, rate: int, rdoq: float = 0.0
    ) -> tuple[bytes, Coded]:
        """Bytes of a latent (1 x channels x H x W, sides multiples of `HYPER_STRIDE`), and what a decoder has of it.

        ``rdoq``: of rate-distortion optimised quantisation, what a bit is worth in squared steps; 0 rounds.
        """
        scaled = latent * self.gain(torch.tensor([rate], device=latent.device))
        hyper = _whole(self.hyper_analysis(scaled))
        encoder = SymbolEncoder()
        for_hyper, for_latent = self.tables()
        hyper_symbols = _integers(hyper)
        encoder.add(hyper_symbols, self._channels(hyper_symbols.shape[1:])[None], for_hyper)

        def code(mean: Tensor, chosen: Tensor, index: Integers) -> Tensor:
            symbols = _whole(scaled - mean)
            if rdoq:
                scale = scale_of_index(torch.from_numpy(index).to(mean.device, torch.float32))
                symbols = _quantised(scaled - mean, scale, rdoq)
            symbols = symbols * chosen
            places = chosen.cpu().numpy().astype(bool)
            encoder.add(_integers(symbols)[..., places], index[..., places], for_latent)
            return symbols

        coded = self._in_passes(hyper, context, before, rate, code)
        data = encoder.finish()
        return data, replace(coded, bits=torch.tensor([8.0 * len(data)]))

    @torch.no_grad()
    def decode(self, data: bytes, context: Tensor, before: Tensor | None, rate: int) -> Coded:
        """What `encode` said the decoder will have, of its bytes."""
        height, width = context.shape[-2:]
        decoder = SymbolDecoder(data)
        for_hyper, for_latent = self.tables()
        shape = (1, self.prior.bottleneck.channels, height // HYPER_STRIDE, width // HYPER_STRIDE)
        hyper_symbols = decoder.take(np.broadcast_to(self._channels(shape[1:]), shape), for_hyper)
        hyper = torch.from_numpy(hyper_symbols).float().to(context.device)

        def code(mean: Tensor, chosen: Tensor, index: Integers) -> Tensor:
            places = chosen.cpu().numpy().astype(bool)
            symbols = np.zeros(index.shape, np.float32)
            symbols[..., places] = decoder.take(index[..., places], for_latent)
            return torch.from_numpy(symbols).to(mean.device)

        coded = self._in_passes(hyper, context, before, rate, code)
        decoder.end()
        return replace(coded, bits=torch.tensor([8.0 * len(data)]))

    def _in_passes(
        self,
        hyper: Tensor,
        context: Tensor,
        before: Tensor | None,
        rate: int,
        code: Callable[[Tensor, Tensor, Integers], Tensor],
    ) -> Coded:
        """The passes of encoder and decoder alike; ``code`` gives a pass's symbols of mean, places and tables."""
        base = self._base(hyper, context)
        shared = self._exact_shared_index(hyper, before, rate)
        known = base.new_zeros(len(base), self.channels, *base.shape[2:])
        symbols = torch.zeros_like(known)
        for number, chosen in enumerate(_masks(base)):
            mean = self._mean(number, base, known)
            coded = code(mean, chosen, self._exact_indexes(number, shared, symbols))
            known = known + chosen * (coded + mean)
            symbols = symbols + coded
        gain = self.gain(torch.tensor([rate], device=base.device))
        return Coded(known / gain, symbols, torch.zeros(1))


def _bits(residual: Tensor, symbols: Tensor, scale: Tensor) -> Tensor:
    """Bits of the symbols, as they are coded; their gradient towards the latent is that under uniform noise.

    Noise alone would give a floor of about 0.1 bit per symbol however surely it is zero, several times the rate
    of ultra-low rate points; rounding alone has no slope where a symbol is zero.
    """
    told = gaussian_bits(symbols, scale)
    felt = gaussian_bits(noisy(residual), scale.detach())
    return told + (felt - felt.detach())


def _masks(like: Tensor) -> Iterator[Tensor]:
    """For each pass the places that it codes, as an H x W tensor of ones and zeros."""
    for row, column in PASSES:
        mask = torch.zeros(like.shape[-2:], device=like.device)
        mask[row::2, column::2] = 1
        yield mask


def _exact(index: Tensor) -> Tensor:
    """An index of each channel (C, float64) in the units of `ExactNet.exact`, as C x 1 x 1."""
    return torch.round(index * 2.0**ExactNet.FRACTION_BITS)[:, None, None]


def _integers(whole: Tensor) -> Integers:
    integers: Integers = whole.to(torch.int32).cpu().numpy()
    return integers


def _whole(x: Tensor) -> Tensor:
    """Rounded, without negative zeros: the decoder has none."""
    return torch.round(x) + 0.0


def _quantised(residual: Tensor, scale: Tensor, rdoq: float) -> Tensor:
    """Rounded, or one nearer to zero where the bits that this saves are worth more than the error that it adds.

    Rate-distortion optimised quantisation with the costs of Gaussians of these scales; symbols' effect on later ones
    is not looked at.
    """
    rounded = _whole(residual)
    if not rdoq:
        return rounded
    nearer = rounded - rounded.sign()
    saved = gaussian_bits(rounded, scale) - gaussian_bits(nearer, scale)
    added = (residual - nearer).square() - (residual - rounded).square()
    return torch.where(rdoq * saved > added, nearer, rounded) + 0.0


def start_coder(coder: LatentCoder, latents: Tensor) -> None:
    """Give a new coder the linear predictions and scales fitted to latents (B x channels x H x W)."""
    with torch.no_grad():
        deviations = latents.square().mean((0, 2, 3)).clamp_min(1e-6).sqrt()
        latents = latents[:, : coder.inner]
        padded = functional.unfold(functional.pad(latents, (1, 1, 1, 1)), 3)
        count, channels, height, width = latents.shape
        around = padded.view(count, channels, 9, height, width)
        known: set[tuple[int, int]] = set()
        for number, (row, column) in enumerate(PASSES):
            wanted = latents[:, :, row::2, column::2]
            residual = wanted
            if number:
                usable = [k for k in range(9) if ((row + k // 3 - 1) % 2, (column + k % 3 - 1) % 2) in known]
                inputs = around[:, :, usable, row::2, column::2]
                flat = inputs.permute(0, 3, 4, 1, 2).reshape(-1, channels * len(usable)).double()
                targets = wanted.permute(0, 2, 3, 1).reshape(-1, channels).double()
                matrix = flat.T @ flat
                # what is known will carry the noise of rounding to a step of about a unit
                matrix += len(flat) / 12 * torch.eye(len(matrix), dtype=torch.double)
                weights = torch.linalg.solve(matrix, flat.T @ targets)
                kernel = torch.zeros(channels, channels, 9, dtype=torch.double)
                kernel[:, :, usable] = weights.T.view(channels, channels, len(usable))
                coder.near[number - 1].weight.copy_(kernel.view(channels, channels, 3, 3))
                predicted = (flat @ weights).view(count, *wanted.shape[-2:], channels).permute(0, 3, 1, 2)
                residual = wanted - predicted.to(wanted.dtype)
            deviations[: coder.inner] = residual.square().mean((0, 2, 3)).clamp_min(1e-6).sqrt()
            coder.log_scale[number] = deviations.log() / FASTER
            known.add((row, column))
