"""Entropy coding: symbols come back, cost what theory says, and tables are chosen exactly."""

from __future__ import annotations

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai")

from bench.bitstream.entropy import (  # noqa: E402
    LARGEST_SCALE,
    SCALES,
    SMALLEST_SCALE,
    ExactNet,
    FactorizedPrior,
    SymbolDecoder,
    SymbolEncoder,
    Tables,
    gaussian_bits,
    gaussian_tables,
    indexes,
    scale_of_index,
)

GAUSSIAN = gaussian_tables()


def coded(symbols: np.ndarray, chosen: np.ndarray, tables: Tables) -> bytes:
    encoder = SymbolEncoder()
    encoder.add(symbols, chosen, tables)
    return encoder.finish()


def gaussian_symbols(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, SCALES, shape).astype(np.int32)
    scales = scale_of_index(torch.from_numpy(chosen).double()).numpy()
    return np.round(generator.normal(0, scales)).astype(np.int32), chosen


def test_gaussian_symbols_come_back_and_cost_what_their_distribution_says() -> None:
    symbols, chosen = gaussian_symbols((32, 18, 22))
    data = coded(symbols, chosen, GAUSSIAN)
    assert np.array_equal(SymbolDecoder(data).take(chosen, GAUSSIAN), symbols)
    scale = scale_of_index(torch.from_numpy(chosen).double())
    ideal = float(gaussian_bits(torch.from_numpy(symbols).double(), scale).sum())
    assert ideal < 8 * len(data) < 1.005 * ideal + 64


def test_the_entropy_of_a_gaussian_is_that_of_the_textbook() -> None:
    """For a wide Gaussian the mean cost is 0.5 log2(2 pi e s^2) bits."""
    scale = 20.0
    values = torch.round(torch.randn(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scale)
    cost = float(gaussian_bits(values, torch.tensor(scale, dtype=torch.float64)).mean())
    assert cost == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * scale**2), abs=0.01)


def test_scales_span_the_tables() -> None:
    ends = scale_of_index(torch.tensor([0.0, SCALES - 1.0, -5.0, 99.0]))
    assert ends.tolist() == pytest.approx([SMALLEST_SCALE, LARGEST_SCALE, SMALLEST_SCALE, LARGEST_SCALE])


def test_symbols_beyond_a_table_are_escaped_not_lost() -> None:
    symbols = np.array([100_000, -100_000, 3, 0], np.int32)
    chosen = np.zeros(4, np.int32)
    assert SymbolDecoder(coded(symbols, chosen, GAUSSIAN)).take(chosen, GAUSSIAN).tolist() == symbols.tolist()


def test_two_kinds_of_symbols_share_a_stream() -> None:
    torch.manual_seed(0)
    factorized = FactorizedPrior(8).tables()
    hyper = np.random.default_rng(3).integers(-3, 4, (8, 5, 6)).astype(np.int32)
    channels = np.broadcast_to(np.arange(8, dtype=np.int32)[:, None, None], hyper.shape)
    symbols, chosen = gaussian_symbols((4, 20, 24))
    encoder = SymbolEncoder()
    encoder.add(hyper, channels, factorized)
    encoder.add(symbols, chosen, GAUSSIAN)
    decoder = SymbolDecoder(encoder.finish())
    assert np.array_equal(decoder.take(channels, factorized), hyper)
    assert np.array_equal(decoder.take(chosen, GAUSSIAN), symbols)


def test_tables_survive_being_stored() -> None:
    assert Tables.from_tensor(GAUSSIAN.to_tensor()) == GAUSSIAN


def test_the_factorized_tables_follow_what_was_learned() -> None:
    torch.manual_seed(0)
    prior = FactorizedPrior(2)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)
    spread = torch.tensor([0.5, 4.0])[None, :, None, None]
    for _ in range(300):
        noise = torch.rand(4, 2, 16, 16, generator=generator) - 0.5
        symbols = torch.round(torch.randn(4, 2, 16, 16, generator=generator) * spread)
        optimizer.zero_grad()
        prior.bits(symbols + noise).mean().backward()
        optimizer.step()
    symbols = torch.round(torch.randn(2, 40, 40, generator=generator) * spread[0]).int().numpy()
    channels = np.broadcast_to(np.arange(2, dtype=np.int32)[:, None, None], symbols.shape)
    tables = prior.tables()
    data = coded(symbols, channels, tables)
    assert np.array_equal(SymbolDecoder(data).take(channels, tables), symbols)
    counts = [np.unique(plane, return_counts=True)[1] / plane.size for plane in symbols]
    entropy = sum(-(share * np.log2(share)).sum() * 1600 for share in counts)
    assert entropy < 8 * len(data) < 1.1 * entropy + 64


def exact_net() -> ExactNet:
    torch.manual_seed(5)
    net = ExactNet(6, 24, 12, upscale=4)
    torch.nn.init.constant_(net.head.bias, 25.0)
    torch.nn.init.normal_(net.head.weight, std=0.3)
    return net


def test_the_exact_evaluation_is_the_network_but_for_rounding() -> None:
    net = exact_net()
    symbols = torch.randint(-6, 7, (1, 6, 9, 11), generator=torch.Generator().manual_seed(0))
    exact = indexes(net.exact(symbols))
    trained = net(symbols.float()).detach().numpy().clip(0, SCALES - 1)
    assert exact.shape == (1, 12, 36, 44)
    assert np.abs(exact - trained).max() < 0.55  # half a step of rounding, and little else
    assert exact.std() > 2


def test_the_exact_evaluation_does_not_depend_on_the_order_of_sums() -> None:
    """Permuted channels and another number of threads: other sums, the same integers."""
    net, symbols = exact_net(), torch.randint(-6, 7, (1, 6, 40, 40), generator=torch.Generator().manual_seed(2))
    expected = indexes(net.exact(symbols))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    permuted = exact_net()
    permuted.body[0].weight.data = net.body[0].weight.data[:, order]
    assert np.array_equal(indexes(permuted.exact(symbols[:, order])), expected)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert np.array_equal(indexes(net.exact(symbols)), expected)
    finally:
        torch.set_num_threads(threads)
    left, right = indexes(net.exact(symbols[..., :24])), indexes(net.exact(symbols[..., 8:]))
    tiles = np.concatenate([left[..., :64], right[..., 32:]], axis=-1)
    assert np.array_equal(tiles, expected)


def test_the_exact_evaluation_against_integers_of_python() -> None:
    """The same arithmetic in numpy's int64, written apart."""
    net, symbols = exact_net(), torch.randint(-6, 7, (1, 6, 5, 4), generator=torch.Generator().manual_seed(4))

    def convolve(layer: torch.nn.Conv2d, x: np.ndarray) -> np.ndarray:
        weight = np.rint(layer.weight.detach().double().numpy() * 4096).astype(np.int64)
        bias = np.rint(layer.bias.detach().double().numpy() * 4096 * 256).astype(np.int64)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("cyxij,ocij->oyx", windows, weight) + bias[:, None, None]

    x = symbols[0].numpy().astype(np.int64) * 256
    for layer in net.body:
        x = np.clip(convolve(layer, x) >> 12, 0, 1 << 20)
    index = np.clip((convolve(net.head, x) + (1 << 19)) >> 20, 0, SCALES - 1)
    shuffled = index.reshape(12, 4, 4, 5, 4).transpose(0, 3, 1, 4, 2).reshape(12, 20, 16)
    assert np.array_equal(indexes(net.exact(symbols))[0], shuffled)
