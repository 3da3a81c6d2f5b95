"""The compiled loop of trajectory coding: one walk over the tracks that both encodes and decodes.

Encoder and decoder take the same steps: at each one a bit is written, or read, under a probability that both have
learned from the bits before it. All arithmetic is on integers, so that no machine falls out of step. Importing this
module compiles the loop, or loads it from numba's on-disk cache: import it late.

The arithmetic coder keeps an interval of 32 bits whose leading bytes go out as soon as they are certain (Witten, Neal
and Cleary 1987); counters are adaptive frequencies whose step shrinks with what they have seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from bench.core.compiled import cached, inlined

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Flags = npt.NDArray[np.uint8]

LOW, HIGH, VALUE, AT, DECODING = range(5)
"""Of a coder's state: both ends of the interval, what is read of the stream, place in it, whether it decodes."""

FULL = (1 << 32) - 1
SLOWEST = 240
"""Steps of a counter never fall below one part in so many."""

FINE = 16
"""Parts of a unit in which positions are predicted."""

EXPERTS = 4
HISTORY = 5
"""Frames that an expert looks back, to see through the rounding of positions."""
NEIGHBOURS = 3

MAGNITUDES, PHASES, UNARY, MANTISSA = 8, 4, 8, 30
"""Contexts: how wrong predictions were of late, how far they are from a whole unit, and the bits of a number."""

VISIBLE = 0
ZERO = VISIBLE + 24
SIGN = ZERO + MAGNITUDES * PHASES
MORE = SIGN + MAGNITUDES * PHASES
REST = MORE + MAGNITUDES * UNARY
START = REST + 2 * MANTISSA
CONTEXTS = START + 2 * MANTISSA

LARGEST = 1 << 18
"""Positions stay below it; one beyond is damage."""


@inlined
def _bit(bit: int, context: int, state: Ints, counters: Ints, data: Flags) -> int:
    """Write a bit, or read one, under the counter of a context, which learns it."""
    low, high = state[LOW], state[HIGH]
    chance, pace = counters[context, 0], counters[context, 1]
    middle = low + (((high - low) * chance) >> 16)
    if state[DECODING]:
        bit = 1 if state[VALUE] <= middle else 0
    if bit:
        high = middle
        chance += (65536 - chance) * 2 // pace
    else:
        low = middle + 1
        chance -= chance * 2 // pace
    counters[context, 0] = min(max(chance, 64), 65536 - 64)
    counters[context, 1] = min(pace + 2, 2 * SLOWEST)
    while (low ^ high) >> 24 == 0:
        if state[DECODING]:
            following = np.int64(data[state[AT]]) if state[AT] < len(data) else 0
            state[VALUE] = ((state[VALUE] << 8) & FULL) | following
        else:
            data[state[AT]] = high >> 24
        state[AT] += 1
        low = (low << 8) & FULL
        high = ((high << 8) & FULL) | 255
    state[LOW], state[HIGH] = low, high
    return bit


@inlined
def _number(value: int, context: int, state: Ints, counters: Ints, data: Flags) -> int:
    """A number from 0 up in 2 `MANTISSA` contexts: its length in unary, its highest bits below the first learned."""
    length = 0
    while length < MANTISSA - 1:
        if not _bit(1 if (value + 1) >> (length + 1) else 0, context + length, state, counters, data):
            break
        length += 1
    found = 1
    for place in range(length - 1, -1, -1):
        found = found * 2 + _bit(((value + 1) >> place) & 1, context + MANTISSA + place, state, counters, data)
    return found - 1


@inlined
def _residual(value: int, magnitude: int, fraction: int, state: Ints, counters: Ints, data: Flags) -> int:
    """What rounding a prediction left, in the contexts of its fraction and of how wrong those before it were."""
    side = 1 if fraction >= 0 else -1
    context = magnitude * PHASES + min(abs(fraction) * PHASES * 2 // FINE, PHASES - 1)
    if not _bit(1 if value != 0 else 0, ZERO + context, state, counters, data):
        return 0
    if not _bit(1 if value * side > 0 else 0, SIGN + context, state, counters, data):
        side = -side
    size = 1
    while size < UNARY:
        more = _bit(1 if abs(value) > size else 0, MORE + magnitude * UNARY + size, state, counters, data)
        if not more:
            return side * size
        size += 1
    return side * (size + _number(abs(value) - size, REST, state, counters, data))


@inlined
def _nearest(track: int, starts: Positions, near: Ints) -> int:
    """The tracks before one that start nearest to it, nearest first, into ``near``; returns how many."""
    found = 0
    distances = np.empty(NEIGHBOURS, np.int64)
    for other in range(track - 1, -1, -1):
        down = np.int64(starts[track, 1] - starts[other, 1])
        if found == NEIGHBOURS and down * down > distances[found - 1]:
            break
        across = np.int64(starts[track, 0] - starts[other, 0])
        distance = across * across + down * down
        if found < NEIGHBOURS:
            found += 1
        elif distance >= distances[found - 1]:
            continue
        place = found - 1
        while place > 0 and distances[place - 1] > distance:
            distances[place], near[place] = distances[place - 1], near[place - 1]
            place -= 1
        distances[place], near[place] = distance, other
    return found


@inlined
def _visibility_context(track: int, frame: int, near: Ints, found: int, visible: Flags, age: int) -> int:
    """Whether the point was visible in the frame before, and how its neighbours fare now."""
    stayed, went = 0, 0
    for place in range(found):
        other = near[place]
        if visible[other, frame - 1] and visible[other, frame]:
            stayed += 1
        if visible[other, frame - 1] and not visible[other, frame]:
            went += 1
    context = min(stayed, 1) + 2 * min(went, 2)
    return VISIBLE + context * 2 + int(visible[track, frame - 1]) + (0 if age > 2 else 12)


@inlined
def _predict(
    track: int,
    frame: int,
    age: int,
    axis: int,
    positions: Positions,
    visible: Flags,
    near: Ints,
    found: int,
    experts: Ints,
) -> None:
    """Displacement since the frame before, in 1/`FINE` unit, by each expert.

    They are: the last velocity, the mean velocity of the frames behind, the neighbours' displacement, and where the
    neighbours are now if the point is to them as it was on average.
    """
    here = int(positions[track, frame - 1, axis])
    back = min(age, HISTORY)
    experts[0] = (here - positions[track, frame - 2, axis]) * FINE if age else 0
    experts[1] = (here - positions[track, frame - 1 - back, axis]) * FINE // back if age else 0
    moved, placed, count = np.int64(0), np.int64(0), 0
    for place in range(found):
        other = near[place]
        if not (visible[other, frame] and visible[other, frame - 1]):
            continue
        now = int(positions[other, frame, axis])
        moved += (now - positions[other, frame - 1, axis]) * FINE
        sums, frames = np.int64(0), 0
        for past in range(frame - 1, max(-1, frame - 2 - back), -1):
            if not visible[other, past]:
                break
            sums += positions[track, past, axis] - positions[other, past, axis]
            frames += 1
        placed += (now - here) * FINE + sums * FINE // frames
        count += 1
    experts[2] = moved // count if count else experts[1]
    experts[3] = placed // count if count else experts[1]


@cached(
    types.int64(
        types.int32[:, :, ::1], types.uint8[:, ::1], types.int64, types.int64[::1], types.int64[:, ::1],
        types.uint8[::1], types.int64[::1],
    )
)  # fmt: skip
def walk(
    positions: Positions, visible: Flags, places: int, state: Ints, counters: Ints, data: Flags, lattice: Ints
) -> int:
    """Code all tracks, in order; returns 0, or 1 + the track whose numbers cannot be.

    ``positions``: tracks x frames x 2, canonical; ``visible``: tracks x frames. ``lattice``: step, columns and offsets
    (x, y) of the points where tracks start, ``places`` their number. ``state`` and ``counters`` as `begin` made them;
    when decoding, positions and visibility are filled in, else ``data``.
    """
    tracks, frames = visible.shape
    near, experts = np.zeros(NEIGHBOURS, np.int64), np.zeros(EXPERTS, np.int64)
    errors = np.full((2, EXPERTS), FINE // 2, np.int64)
    typical = np.full((2, EXPERTS), FINE // 2, np.int64)
    starts = positions[:, 0]
    step, columns, left, top = lattice[0], lattice[1], lattice[2], lattice[3]
    before = np.int64(0)
    for track in range(tracks):
        here = (starts[track, 1] - top) // step * columns + (starts[track, 0] - left) // step
        here = before + _number(here - before, START, state, counters, data)
        if here >= places:
            return track + 1
        starts[track, 0], starts[track, 1] = here % columns * step + left, here // columns * step + top
        visible[track, 0] = 1
        before = here
        found = _nearest(track, starts, near)
        errors[:] = typical
        doubt = np.full(2, FINE // 2, np.int64)
        age = 0
        for frame in range(1, frames):
            context = _visibility_context(track, frame, near, found, visible, age)
            seen = _bit(int(visible[track, frame]), context, state, counters, data)
            visible[track, frame] = seen
            if not seen:
                age = -1
                positions[track, frame, 0] = positions[track, frame - 1, 0]
                positions[track, frame, 1] = positions[track, frame - 1, 1]
                continue
            for axis in range(2):
                _predict(track, frame, max(age, 0), axis, positions, visible, near, found, experts)
                weight, total = np.int64(0), np.int64(0)
                for expert in range(EXPERTS):
                    share = (1 << 24) // ((errors[axis, expert] + 3) * (errors[axis, expert] + 3))
                    weight += share
                    total += share * experts[expert]
                guess = int(total // weight)
                whole = (guess + FINE // 2) // FINE
                size = 0
                while size < MAGNITUDES - 1 and doubt[axis] > (2 << size):
                    size += 1
                was = int(positions[track, frame - 1, axis])
                off = int(positions[track, frame, axis]) - was - whole
                off = _residual(off, size, guess - whole * FINE, state, counters, data)
                now = was + whole + off
                if abs(now) >= LARGEST:
                    return track + 1
                positions[track, frame, axis] = now
                moved = (now - was) * FINE
                for expert in range(EXPERTS):
                    wrong = min(abs(moved - experts[expert]), 64 * FINE)
                    errors[axis, expert] += (wrong * 4 - errors[axis, expert]) // 4
                    typical[axis, expert] += (wrong * 4 - typical[axis, expert]) // 64
                doubt[axis] += (min(abs(moved - guess), 64 * FINE) * 4 - doubt[axis]) // 4
            age += 1
    return 0


def begin(data: Flags, decoding: bool) -> tuple[Ints, Ints]:
    """State and counters of a coder that writes into ``data``, or reads it."""
    state = np.array([0, FULL, 0, 0, int(decoding)], np.int64)
    counters = np.tile(np.array([1 << 15, 3], np.int64), (CONTEXTS, 1))
    if decoding:
        head = np.zeros(4, np.uint8)
        head[: min(4, len(data))] = data[:4]
        state[VALUE] = int.from_bytes(head.tobytes(), "big")
        state[AT] = 4
    return state, counters


def finish(state: Ints, data: Flags) -> bytes:
    """The bytes of an encoder: with zeros after them, no other stream's interval holds them."""
    low, high = int(state[LOW]), int(state[HIGH])
    for count in range(5):
        # the shortest end that stays inside the interval whatever zeros a decoder reads after it
        unit = 1 << (32 - 8 * count)
        end = -(-low // unit) * unit
        if end <= high:
            return data[: state[AT]].tobytes() + (end >> (32 - 8 * count)).to_bytes(count, "big")
    raise AssertionError("an interval of 32 bits holds a number of 4 bytes")
