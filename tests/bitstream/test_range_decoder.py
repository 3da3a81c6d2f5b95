"""The decoder of coded symbols: compressai's symbols of compressai's bytes; of any other bytes an error at most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai")

from bench.bitstream import range_decoder as kernel  # noqa: E402
from bench.bitstream.entropy import SCALES, SymbolDecoder, SymbolEncoder, Tables, gaussian_tables  # noqa: E402
from bench.core.quiet_import import imported  # noqa: E402
from bench.errors import BitstreamError  # noqa: E402

GAUSSIAN = gaussian_tables()
STEEP = Tables(((0, 65534, 65535, 65536), (0, 1, 2, 65536)), (4, 4), (0, -1))
"""Symbols that cost next to nothing, and escapes that do."""


def coded(symbols: np.ndarray, chosen: np.ndarray, tables: Tables = GAUSSIAN) -> bytes:
    encoder = SymbolEncoder()
    encoder.add(symbols, chosen, tables)
    return encoder.finish()


def drawn(count: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Symbols, most of them escaped where ``spread`` is large, and their tables."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, SCALES, count).astype(np.int32)
    return np.round(generator.standard_cauchy(count) * spread).clip(-(1 << 26), 1 << 26).astype(np.int32), chosen


def taken(data: bytes, chosen: np.ndarray, tables: Tables = GAUSSIAN) -> np.ndarray:
    decoder = SymbolDecoder(data)
    symbols = decoder.take(chosen, tables)
    decoder.end()
    return symbols


@pytest.mark.parametrize("spread", [0.2, 4, 300, 1e6])
def test_symbols_are_those_of_compressais_decoder(spread: float) -> None:
    symbols, chosen = drawn(5000, spread)
    data = coded(symbols, chosen)
    theirs = imported("compressai.ans").RansDecoder()
    theirs.set_stream(data)
    expected = theirs.decode_stream(chosen.tolist(), GAUSSIAN.cdfs, GAUSSIAN.sizes, GAUSSIAN.offsets)
    assert taken(data, chosen).tolist() == expected == symbols.tolist()


def test_symbols_that_cost_next_to_nothing_come_back() -> None:
    symbols = np.zeros(60_000, np.int32)
    symbols[7::9000] = 1
    chosen = np.zeros_like(symbols)
    data = coded(symbols, chosen, STEEP)
    assert len(data) < 40
    assert np.array_equal(taken(data, chosen, STEEP), symbols)


def test_symbols_are_taken_in_parts_of_any_shape() -> None:
    symbols, chosen = drawn(600, 30)
    decoder = SymbolDecoder(coded(symbols, chosen))
    first = decoder.take(chosen[:200].reshape(2, 10, 10), GAUSSIAN)
    rest = decoder.take(np.broadcast_to(chosen[200:], (1, 400)), GAUSSIAN)
    decoder.end()
    assert np.array_equal(np.concatenate([first.ravel(), rest.ravel()]), symbols)


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "one byte": lambda data: b"\x01",
    "one word": lambda data: data[:4],
    "two words": lambda data: data[:8],
    "cut by a word": lambda data: data[:-4],
    "cut by a byte": lambda data: data[:-1],
    "cut by half": lambda data: data[: len(data) // 8 * 4],
    "one word more": lambda data: data + bytes(4),
    "doubled": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
    "escapes without end": lambda data: data[:8] + b"\xff" * (len(data) - 8),
    "the lowest state": lambda data: (1 << 31).to_bytes(8, "little"),
    "a state below": lambda data: ((1 << 31) - 1).to_bytes(8, "little") + data[8:],
    "a state beyond": lambda data: (1 << 63).to_bytes(8, "little") + data[8:],
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    "a bit amid": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :],
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("spread", [0.2, 300])
def test_forged_bytes_are_refused(name: str, spread: float) -> None:
    symbols, chosen = drawn(3000, spread)
    data = coded(symbols, chosen)
    forged = FORGERIES[name](data)
    assert forged != data
    with pytest.raises(BitstreamError, match="coded symbol"):
        taken(forged, chosen)


@settings(max_examples=60, deadline=None, database=None)
@given(st.binary(max_size=64).map(lambda tail: bytes(4) + b"\x01\0\0\0" + tail), st.integers(1, 40), st.booleans())
def test_the_loop_reads_and_writes_within_its_arrays(data: bytes, count: int, steep: bool) -> None:
    """Uncompiled, an index beyond an array is an IndexError: there is none, and both loops do the same."""
    tables = STEEP if steep else GAUSSIAN
    chosen = (np.arange(count) % len(tables.sizes)).astype(np.int32)
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.uint32)
    outcomes = []
    for loop in (kernel.decode, interpreted):
        state, symbols = kernel.begin(words), np.zeros(count, np.int32)
        assert state is not None
        wrong = loop(words, state, chosen, *tables.arrays, symbols)
        assert wrong in {0, kernel.ENDED, kernel.NO_SYMBOL}
        assert 2 <= state[kernel.AT] <= len(words)
        outcomes.append((wrong, state.tolist(), symbols.tolist()))
    assert outcomes[0] == outcomes[1]


def interpreted(*arguments: object) -> int:
    """The loop as Python runs it, and so the parts of it."""
    parts = {name: getattr(kernel, name) for name in ("_renew", "_digit", "_escaped")}
    try:
        for name, part in parts.items():
            setattr(kernel, name, part.py_func)
        return kernel.decode.py_func(*arguments)
    finally:
        for name, part in parts.items():
            setattr(kernel, name, part)


def test_an_escape_of_more_digits_than_a_symbol_has_is_refused() -> None:
    """compressai's decoder reads as many as are told: 15 for each digit that is a 15."""
    symbols, chosen = drawn(400, 1e6)
    data = bytearray(coded(symbols, chosen))
    refused = 0
    for place in range(8, len(data)):
        forged = bytes(data[:place]) + b"\xff" * 8 + bytes(data[place + 8 :])
        with pytest.raises(BitstreamError) as error:
            taken(forged, chosen)
        refused += "beyond 32 bits" in str(error.value)
    assert refused > 50


@pytest.mark.parametrize(
    ("cdfs", "sizes", "offsets", "what"),
    [
        (((0, 9, 65536),), (4,), (0,), "table 0 of 4 entries"),
        (((0, 9, 65536, 0), (0, 9, 9, 65536)), (3, 4), (0, 0), "table 1 of 4 entries"),
        (((1, 9, 65536),), (3,), (0,), "table 0 of 3"),
        (((0, 9, 65535),), (3,), (0,), "table 0 of 3"),
        (((0, 65536),), (2,), (0,), "table 0 of 2"),
        (((0, 9, 65536),), (-1,), (0,), "table 0 of -1"),
        (((0, 9, 65536),), (3, 3), (0,), "differ in number"),
    ],
)
def test_tables_that_lead_out_of_their_rows_are_refused(cdfs, sizes, offsets, what: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=what):
        Tables(cdfs, sizes, offsets)


def test_an_index_of_no_table_is_refused() -> None:
    decoder = SymbolDecoder(coded(*drawn(40, 3)))
    for index in (-1, SCALES):
        with pytest.raises(ValueError, match="of 64 tables"):
            decoder.take(np.array([index], np.int32), GAUSSIAN)
