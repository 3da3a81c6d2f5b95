"""Entropy coding whose decoder cannot lose step: tables are integers, and so is all that chooses among them.

A symbol is coded by compressai's range coder under one of a set of integer CDFs, and decoded by a loop of our own that
a forged stream cannot lead astray (`bench.bitstream.range_decoder`). The index of the CDF comes from integers that the
decoder has too (hyper symbols, symbols of the frame before), by a small network evaluated in exact arithmetic
(`ExactNet`): on any machine, with any number of threads, encoder and decoder choose the same table. Only means, which
shift a symbol and never choose a table, may come from floating-point networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core.quiet_import import imported
from bench.errors import BitstreamError

Integers = npt.NDArray[np.int32]

SCALES = 64
"""Gaussian tables: standard deviations from `SMALLEST_SCALE` to `LARGEST_SCALE`, evenly spaced in their logarithm."""
SMALLEST_SCALE, LARGEST_SCALE = 0.11, 64.0
LOG_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)
_PRECISION = 16


@dataclass(frozen=True)
class Tables:
    """Integer CDFs. Row ``i`` belongs to index ``i``: its first ``sizes[i]`` entries, for symbols from ``offsets[i]``.

    Symbols beyond a table are escaped by the coder, at a cost.
    """

    cdfs: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        """ValueError for tables that a coder would follow out of its memory."""
        if not len(self.cdfs) == len(self.sizes) == len(self.offsets):
            raise ValueError("tables, their sizes and their offsets differ in number")
        for number, (cdf, size) in enumerate(zip(self.arrays[0], self.sizes, strict=True)):
            row = cdf[: max(size, 0)]
            whole = 2 < size <= len(cdf) and row[0] == 0 and row[-1] == 1 << _PRECISION
            if not whole or (row[1:] <= row[:-1]).any():
                raise ValueError(f"table {number} of {size} entries does not rise from 0 to {1 << _PRECISION}")

    @cached_property
    def arrays(self) -> tuple[Integers, Integers, Integers]:
        """CDFs, sizes and offsets, for compiled loops."""
        return np.array(self.cdfs, np.int32), np.array(self.sizes, np.int32), np.array(self.offsets, np.int32)

    @classmethod
    def from_probabilities(cls, rows: Sequence[npt.NDArray[np.float64]], offsets: Sequence[int]) -> Tables:
        """Tables of probability mass functions; the last entry of a row is the mass of all symbols beyond it."""
        to_cdf = imported("compressai._CXX").pmf_to_quantized_cdf
        cdfs = [tuple(to_cdf(row.tolist(), _PRECISION)) for row in rows]
        longest = max(map(len, cdfs))
        padded = tuple(cdf + (0,) * (longest - len(cdf)) for cdf in cdfs)
        return cls(padded, tuple(map(len, cdfs)), tuple(map(int, offsets)))

    def to_tensor(self) -> Tensor:
        """All three as one int32 tensor, to be stored with the weights."""
        head = torch.tensor([self.sizes, self.offsets], dtype=torch.int32).T
        return torch.cat([head, torch.tensor(self.cdfs, dtype=torch.int32)], dim=1)

    @classmethod
    def from_tensor(cls, stored: Tensor) -> Tables:
        rows = stored.tolist()
        return cls(tuple(tuple(row[2:]) for row in rows), tuple(row[0] for row in rows), tuple(row[1] for row in rows))


def gaussian_tables() -> Tables:
    """Tables of zero-mean Gaussians integrated over unit intervals, one for each of the `SCALES`."""
    rows, offsets = [], []
    for index in range(SCALES):
        scale = SMALLEST_SCALE * math.exp(index * LOG_STEP)
        reach = max(1, math.ceil(6 * scale))
        edges = np.arange(-reach, reach + 2) - 0.5
        cumulative = np.array([0.5 * math.erfc(-edge / scale / math.sqrt(2)) for edge in edges])
        rows.append(np.append(np.diff(cumulative), 2 * cumulative[0]))
        offsets.append(-reach)
    return Tables.from_probabilities(rows, offsets)


def scale_of_index(index: Tensor) -> Tensor:
    """Standard deviation of a (fractional) index, differentiable; the training's view of the tables.

    An index below all tables still learns to rise: else a scale that once was too small would stay so.
    """
    risen: Tensor = imported("compressai.ops").LowerBound(0.0).to(index.device)(index)
    return SMALLEST_SCALE * torch.exp(risen.clamp_max(SCALES - 1) * LOG_STEP)


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits of each symbol (with uniform noise in training) under a zero-mean Gaussian over unit intervals."""
    size = residual.abs()
    upper, lower = ((half - size) / (scale * math.sqrt(2)) for half in (0.5, -0.5))
    mass = 0.5 * (torch.erf(upper) - torch.erf(lower))
    return -torch.log2(mass.clamp_min(1e-9))


class SymbolEncoder:
    """Collects symbols, each with the index of its table, and gives their bytes."""

    def __init__(self) -> None:
        self._encoder = imported("compressai.ans").BufferedRansEncoder()

    def add(self, symbols: Integers, indexes: Integers, tables: Tables) -> None:
        """Append symbols; arrays of one shape, coded in C order."""
        self._encoder.encode_with_indexes(
            symbols.ravel().tolist(), indexes.ravel().tolist(), tables.cdfs, tables.sizes, tables.offsets
        )

    def finish(self) -> bytes:
        data: bytes = self._encoder.flush()
        return data


class SymbolDecoder:
    """Gives back the symbols of an encoder's bytes, in the order they were added.

    Of bytes that no encoder wrote, it gives symbols or raises BitstreamError, and reads nothing else.
    """

    def __init__(self, data: bytes) -> None:
        from bench.bitstream import range_decoder as range_kernel

        self._kernel = range_kernel
        whole = data if len(data) % 4 == 0 else b""
        self._words = np.frombuffer(whole, "<u4").astype(np.uint32)
        state = range_kernel.begin(self._words)
        if state is None:
            raise BitstreamError(f"{len(data)} bytes of coded symbols start as no encoder's do")
        self._state = state

    def take(self, indexes: Integers, tables: Tables) -> Integers:
        """Symbols for the indexes, in their shape."""
        chosen = np.array(indexes, np.int32).ravel()
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(tables.sizes):
            raise ValueError(f"indexes from {chosen.min()} to {chosen.max()} of {len(tables.sizes)} tables")
        symbols = np.empty_like(chosen)
        wrong = self._kernel.decode(self._words, self._state, chosen, *tables.arrays, symbols)
        if wrong == self._kernel.ENDED:
            raise BitstreamError(f"damaged ({4 * len(self._words)} bytes of coded symbols end before the symbols do)")
        if wrong:
            raise BitstreamError("damaged (a coded symbol beyond 32 bits)")
        return symbols.reshape(indexes.shape)

    def end(self) -> None:
        """Check that the symbols taken are all there were; BitstreamError where the bytes are not theirs."""
        if not self._kernel.has_ended(self._words, self._state):
            raise BitstreamError("damaged (coded symbols do not end as an encoder ends them)")


class FactorizedPrior(nn.Module):
    """Distribution of each channel's symbols on its own: compressai's EntropyBottleneck, with tables of integers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bottleneck: Any = imported("compressai.entropy_models").EntropyBottleneck(channels)

    def bits(self, noisy: Tensor) -> Tensor:
        """Bits of each symbol; shape B x C x H x W, symbols with uniform noise."""
        channels = noisy.shape[1]
        by_channel = noisy.transpose(0, 1).reshape(channels, 1, -1)
        likelihood, _, _ = self.bottleneck._likelihood(by_channel)
        bits = -torch.log2(likelihood.clamp_min(1e-9))
        return bits.reshape(channels, noisy.shape[0], *noisy.shape[2:]).transpose(0, 1)

    @torch.no_grad()
    def tables(self, reach: int = 40) -> Tables:
        """Tables of what was learned: of each channel the symbols within ``reach`` that have any mass."""
        channels = self.bottleneck.channels
        symbols = torch.arange(-reach, reach + 1, dtype=torch.float32).expand(channels, 1, -1).contiguous()
        likelihood = self.bottleneck._likelihood(symbols)[0][:, 0].double().numpy()
        rows, offsets = [], []
        for mass in likelihood:
            kept = np.flatnonzero(mass > 2.0**-_PRECISION)
            low, high = (kept[0], kept[-1]) if kept.size else (reach, reach)
            row = mass[low : high + 1]
            rows.append(np.append(row, max(1 - row.sum(), 2.0**-_PRECISION)))
            offsets.append(int(low) - reach)
        return Tables.from_probabilities(rows, offsets)


class ExactNet(nn.Module):
    """A small convolutional network from integers to table indexes, with an evaluation that is exact.

    In training it is an ordinary network of 3x3 convolutions and ReLUs with an upsampling by pixel shuffle
    (``upscale``) before its last layer. ``exact`` evaluates it with weights and activations rounded to integers, in
    float64 sums that stay far below 2^53: no rounding happens, so that the order of the sums, the threads and the
    machine make no difference.
    """

    WEIGHT_BITS, ACTIVATION_BITS = 12, 8
    FRACTION_BITS = WEIGHT_BITS + ACTIVATION_BITS
    LARGEST_ACTIVATION = float(1 << 20)
    FASTER: ClassVar[Mapping[str, float]] = {"head": 16.0}
    """How many times the learning rate a part has: 23 indexes lie between a scale and a tenth of it."""

    def __init__(self, channels_in: int, hidden: int, channels_out: int, *, upscale: int = 1, layers: int = 2) -> None:
        super().__init__()
        widths = [channels_in, *[hidden] * layers]
        self.body = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.upscale = upscale
        self.head = nn.Conv2d(hidden, channels_out * upscale * upscale, 3, padding=1)

    def forward(self, symbols: Tensor) -> Tensor:
        """Fractional table indexes; B x channels_in x H x W to B x channels_out x (upscale H) x (upscale W)."""
        x = symbols
        for layer in self.body:
            x = functional.relu(layer(x))
        return functional.pixel_shuffle(self.head(x), self.upscale)

    @torch.no_grad()
    def exact(self, symbols: Tensor) -> Tensor:
        """Table indexes before rounding, in units of 2^-`FRACTION_BITS`: whole numbers in float64, exact.

        ``symbols`` hold integers, of any dtype. Outputs of several networks may be added before `indexes`.
        """
        x = symbols.double() * 2.0**self.ACTIVATION_BITS
        for layer in self.body:
            sums = self._sums(layer, x)
            x = torch.floor(sums * 2.0**-self.WEIGHT_BITS).clamp(0, self.LARGEST_ACTIVATION)
        return functional.pixel_shuffle(self._sums(self.head, x), self.upscale)

    def _sums(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        weight = torch.round(layer.weight.double() * 2.0**self.WEIGHT_BITS)
        assert layer.bias is not None
        bias = torch.round(layer.bias.double() * 2.0**self.FRACTION_BITS)
        return functional.conv2d(x, weight, bias, padding=1)


def indexes(exact: Tensor) -> Integers:
    """Table indexes 0 to `SCALES` - 1, int32, of what `ExactNet.exact` gave."""
    index = torch.floor(exact * 2.0**-ExactNet.FRACTION_BITS + 0.5).clamp(0, SCALES - 1)
    found: Integers = index.to(torch.int32).numpy()
    return found
