"""Lossless coding of sparse trajectories: what a segment's tracks take in a bitstream.

Tracks go in the order of their starts, whose gaps on the coarsest lattice that holds them are coded. Each is predicted,
frame by frame, from its own motion and from that of the nearest tracks before it; what is left over, runs of
visibility and gaps go through a binary arithmetic coder with adaptive counts. compressai's coder, which codes with
tables known beforehand, cannot learn from a segment's few thousand symbols as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.bitstream.container import PayloadReader, varint
from bench.errors import BitstreamError
from bench.neural.codecs.actdiff_vc.trajectories import PRECISIONS, Trajectories

LONGEST, MOST, MOST_TRACKS = 1 << 12, 1 << 24, 1 << 15
"""Frames, positions of all tracks, and tracks; counts beyond are damage. Each track is compared with all before it that
start in its row: of tracks without limit, a forged stream of some kilobytes would make billions."""

START_BITS, BITS_PER_DOUBLING = 10.0, 2.0

_NAME = "trajectories"


def encode_trajectories(t: Trajectories, height: int, width: int) -> bytes:
    """Bytes of trajectories on a frame of ``height`` x ``width`` pixels.

    What comes back is their `canonical` form. ValueError for a track that starts outside the frame or goes far
    beyond it.
    """
    t = t.canonical()
    _check(t, height, width)
    lattice = _Lattice.of(t, height, width)
    numbers = (t.tracks, t.frames, t.per_pixel, lattice.step, lattice.left, lattice.top)
    return b"".join(map(varint, numbers)) + _encoded(t, lattice)


def decode_trajectories(data: bytes, height: int, width: int) -> Trajectories:
    """Trajectories of `encode_trajectories`, in their canonical form. BitstreamError for damage that shows."""
    from bench.neural.codecs.actdiff_vc import trajectory_kernel as kernel

    reader = PayloadReader(data, _NAME)
    tracks, frames, per_pixel, step, left, top = (reader.varint() for _ in range(6))
    rest = reader.rest()
    lattice = _Lattice(step, left, top, height * per_pixel, width * per_pixel)
    countable = 1 <= frames <= LONGEST and tracks <= MOST_TRACKS and tracks * frames <= MOST
    if not countable or per_pixel not in PRECISIONS or not lattice.exists():
        raise BitstreamError(
            f"{_NAME}: damaged ({tracks} tracks of {frames} frames, {per_pixel} units per pixel, "
            f"starts {step} apart from {left}, {top})"
        )
    positions = np.zeros((tracks, frames, 2), np.int32)
    visible = np.zeros((tracks, frames), np.uint8)
    state, counters = kernel.begin(np.frombuffer(rest, np.uint8), True)
    bad = kernel.walk(
        positions, visible, lattice.places, state, counters, np.frombuffer(rest, np.uint8).copy(), lattice.array()
    )
    if bad:
        raise BitstreamError(f"{_NAME}: damaged (track {bad} starts outside the frame or leaves it by far)")
    if not state[kernel.AT] - 4 <= len(rest) <= state[kernel.AT]:
        raise BitstreamError(f"{_NAME}: damaged ({len(rest)} bytes, its tracks take {state[kernel.AT] - 4} or more)")
    return Trajectories(positions, visible.astype(bool), per_pixel)


def bits(t: Trajectories) -> npt.NDArray[np.float64]:
    """About how many bits each track takes among some hundred others; float64 tracks.

    ``t`` needs not be canonical. Cheap, from second differences alone, with constants fitted to what the coder takes
    on real clips. A stream's size is known from `encode_trajectories` alone.
    """
    velocity = np.diff(t.positions, axis=1)
    steady = np.abs(np.diff(velocity, axis=1, prepend=velocity[:, :1])).astype(np.float64)
    doublings = (t.visible[:, 1:, None] * np.log2(1 + steady)).sum((1, 2))
    found: npt.NDArray[np.float64] = START_BITS + BITS_PER_DOUBLING * doublings
    return found


@dataclass(frozen=True)
class _Lattice:
    """The coarsest lattice that holds all starts: ``step`` units apart, from ``left``, ``top``, on a frame in units."""

    step: int
    left: int
    top: int
    height: int
    width: int

    @classmethod
    def of(cls, t: Trajectories, height: int, width: int) -> _Lattice:
        starts = t.positions[:, 0].astype(np.int64)
        size = height * t.per_pixel, width * t.per_pixel
        if not t.tracks:
            return cls(1, 0, 0, *size)
        low = starts.min(axis=0)
        step = int(np.gcd.reduce(starts - low, axis=None)) or 1
        return cls(step, int(low[0]) % step, int(low[1]) % step, *size)

    @property
    def columns(self) -> int:
        return len(range(self.left, self.width, self.step))

    @property
    def places(self) -> int:
        """Points of the lattice in the frame."""
        return self.columns * len(range(self.top, self.height, self.step))

    def exists(self) -> bool:
        """Whether a decoder can work with it."""
        return self.step > 0 and self.left < self.width and self.top < self.height

    def array(self) -> npt.NDArray[np.int64]:
        """As the compiled walk takes it."""
        return np.array([self.step, self.columns, self.left, self.top], np.int64)


def _check(t: Trajectories, height: int, width: int) -> None:
    from bench.neural.codecs.actdiff_vc.trajectory_kernel import LARGEST

    starts = t.positions[:, 0]
    if t.tracks and (starts.min() < 0 or (starts >= (width * t.per_pixel, height * t.per_pixel)).any()):
        raise ValueError(f"a track starts outside its frame of {width}x{height}")
    if t.tracks and np.abs(t.positions.astype(np.int64)).max() >= LARGEST:
        raise ValueError(f"a track goes {LARGEST} units or more beyond its frame")
    if t.frames > LONGEST or t.tracks > MOST_TRACKS or t.visible.size > MOST:
        raise ValueError(f"{t.tracks} tracks of {t.frames} frames are more than can be coded")


def _encoded(t: Trajectories, lattice: _Lattice) -> bytes:
    from bench.neural.codecs.actdiff_vc import trajectory_kernel as kernel

    data = np.zeros(1024 + 16 * t.positions.size, np.uint8)
    state, counters = kernel.begin(data, False)
    positions = np.ascontiguousarray(t.positions, np.int32)
    kernel.walk(positions, t.visible.astype(np.uint8), lattice.places, state, counters, data, lattice.array())
    return kernel.finish(state, data)
