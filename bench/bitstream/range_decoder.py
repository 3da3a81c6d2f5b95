"""The compiled loop that decodes symbols of compressai's range coder without ever leaving their bytes.

compressai's own decoder follows its stream wherever the bytes lead, beyond their end too: it is told no length. Here
each word is looked for before it is read, a state that no encoder has is refused, and so is an escape of more digits
than a symbol has. Of what an encoder wrote, the symbols are the same. Importing this module compiles the loop, or loads
it from numba's on-disk cache: import it late.

The coder is asymmetric numeral systems (Duda 2013) with a state of 63 bits that is renewed by words of 32 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from bench.core.compiled import cached, inlined

Integers = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

VALUE, AT = range(2)
"""Of a coder's state: its number, and the place of the next word."""

LEAST = 1 << 31
"""What an encoder starts with and a decoder ends with; the number is never below it."""

PRECISION = 16
"""Bits of probabilities."""

DIGIT, MOST_DIGITS = 4, 8
"""Bits of a digit of an escaped symbol, and how many digits its 32 bits have at most."""

ENDED, NO_SYMBOL = 1, 2
"""What is wrong: the words end before the symbols, or no encoder escapes a symbol so."""


@inlined
def _renew(number: int, words: Words, state: Longs) -> int:
    """The state's number after bits were taken from it; -1 where it needs a word and there is none."""
    if number < LEAST:
        if state[AT] >= len(words):
            return -1
        number = (number << 32) | int(words[state[AT]])
        state[AT] += 1
    state[VALUE] = number
    return number


@inlined
def _digit(words: Words, state: Longs) -> int:
    """The next digit of an escape; -1 where the words end."""
    number = int(state[VALUE])
    if _renew(number >> DIGIT, words, state) < 0:
        return -1
    return number & ((1 << DIGIT) - 1)


@inlined
def _escaped(words: Words, state: Longs) -> int:
    """The number of an escape, from 0 up: how many digits it has, and those from the lowest on; or -`ENDED` ..."""
    count = _digit(words, state)
    if count < 0:
        return -ENDED
    if count > MOST_DIGITS:
        return -NO_SYMBOL
    found = 0
    for place in range(count):
        digit = _digit(words, state)
        if digit < 0:
            return -ENDED
        found |= digit << (DIGIT * place)
    return found


@cached(
    types.int64(
        types.uint32[::1], types.int64[::1], types.int32[::1], types.int32[:, ::1], types.int32[::1], types.int32[::1],
        types.int32[::1],
    )
)  # fmt: skip
def decode(
    words: Words, state: Longs, indexes: Integers, cdfs: Integers, sizes: Integers, offsets: Integers, symbols: Integers
) -> int:
    """Fill in a symbol for each index of a table; returns 0, or what is wrong (`ENDED` or `NO_SYMBOL`).

    The first ``sizes[i]`` of row ``i`` of ``cdfs`` rise from 0 to 2^`PRECISION`, and indexes are of rows: both are not
    checked here. ``state`` is as `begin` made it.
    """
    for place in range(len(indexes)):
        table = indexes[place]
        number = int(state[VALUE])
        share = number & ((1 << PRECISION) - 1)
        low, high = 0, int(sizes[table]) - 1
        while high - low > 1:
            middle = (low + high) >> 1
            if cdfs[table, middle] > share:
                high = middle
            else:
                low = middle
        start = int(cdfs[table, low])
        width = int(cdfs[table, low + 1]) - start
        if _renew(width * (number >> PRECISION) + share - start, words, state) < 0:
            return ENDED
        symbol = low
        last = int(sizes[table]) - 2
        if symbol == last:
            beyond = _escaped(words, state)
            if beyond < 0:
                return -beyond
            symbol = -(beyond >> 1) - 1 if beyond & 1 else last + (beyond >> 1)
        symbol += int(offsets[table])
        if not -(1 << 31) <= symbol < 1 << 31:
            return NO_SYMBOL
        symbols[place] = symbol
    return 0


def begin(words: Words) -> Longs | None:
    """State of a decoder of words; None where no encoder's bytes start so."""
    if len(words) < 2:
        return None
    number = int(words[0]) | int(words[1]) << 32
    return np.array([number, 2], np.int64) if LEAST <= number < LEAST << 32 else None


def has_ended(words: Words, state: Longs) -> bool:
    """Whether all words are read and what is left is what the encoder started with."""
    return int(state[AT]) == len(words) and int(state[VALUE]) == LEAST
