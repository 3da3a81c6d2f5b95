"""Trajectories of ActDiff-VC: they come back as they were, cost little, and damage is told."""

from __future__ import annotations

import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bitstream.container import varint
from bench.errors import BitstreamError
from bench.neural.codecs.actdiff_vc.tracks import dense_tracks
from bench.neural.codecs.actdiff_vc.trajectories import Trajectories, quantised
from bench.neural.codecs.actdiff_vc.trajectory_coding import MOST_TRACKS, bits, decode_trajectories, encode_trajectories
from bench.video import colour
from bench.video.sequence import open_sequence

HEIGHT, WIDTH = 48, 64


def walks(tracks: int, frames: int, *, per_pixel: int = 1, seed: int = 0, jump: int = 2, hidden: float = 0.2):
    """Random walks; points vanish and come back."""
    generator = np.random.default_rng(seed)
    steps = generator.integers(-jump, jump + 1, (tracks, frames, 2))
    size = (WIDTH * per_pixel, HEIGHT * per_pixel)
    steps[:, 0] = generator.integers(0, size, (tracks, 2))
    visible = generator.random((tracks, frames)) >= hidden
    visible[:, 0] = True
    return Trajectories(np.cumsum(steps, axis=1).astype(np.int32), visible, per_pixel)


def same(first: Trajectories, second: Trajectories) -> bool:
    return (
        np.array_equal(first.positions, second.positions)
        and np.array_equal(first.visible, second.visible)
        and first.per_pixel == second.per_pixel
    )


@settings(max_examples=60, deadline=None)
@given(
    tracks=st.integers(0, 20),
    frames=st.integers(1, 12),
    per_pixel=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32 - 1),
    jump=st.sampled_from([0, 1, 5, 300, 10_000]),
    hidden=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_trajectories_come_back(tracks: int, frames: int, per_pixel: int, seed: int, jump: int, hidden: float) -> None:
    given_ = walks(tracks, frames, per_pixel=per_pixel, seed=seed, jump=jump, hidden=hidden)
    data = encode_trajectories(given_, HEIGHT, WIDTH)
    assert same(decode_trajectories(data, HEIGHT, WIDTH), given_.canonical())


def test_the_canonical_form_is_sorted_and_stands_still_while_hidden() -> None:
    walked = walks(30, 9, seed=4)
    found = walked.canonical()
    order = sorted(range(30), key=lambda track: tuple(walked.positions[track, 0, ::-1]))
    for row, track in enumerate(order):
        last = walked.positions[track, 0]
        for frame in range(9):
            if walked.visible[track, frame]:
                last = walked.positions[track, frame]
            assert np.array_equal(found.positions[row, frame], last)
    assert same(found, found.canonical())


def test_the_order_of_tracks_costs_nothing() -> None:
    walked = walks(40, 6)
    shuffled = np.random.default_rng(1).permutation(40)
    other = Trajectories(walked.positions[shuffled], walked.visible[shuffled], 1)
    assert encode_trajectories(other, HEIGHT, WIDTH) == encode_trajectories(walked, HEIGHT, WIDTH)


def test_positions_are_rounded_to_their_precision() -> None:
    positions = np.array([[[3.2, 4.8], [3.74, 5.25]]], np.float32)
    visible = np.ones((1, 2), bool)
    assert quantised(positions, visible, 1).positions.tolist() == [[[3, 5], [4, 5]]]
    assert quantised(positions, visible, 2).positions.tolist() == [[[6, 10], [7, 11]]]
    assert quantised(positions, visible, 2).pixels().tolist() == [[[3.0, 5.0], [3.5, 5.5]]]


def test_points_that_all_move_alike_cost_little_more_than_their_starts() -> None:
    """One track tells the motion of the others; 40 starts of the 3072 places take log2(3072 choose 40) bits."""
    frames = 30
    starts = np.random.default_rng(0).choice(HEIGHT * WIDTH, 40, replace=False)
    start = np.stack([starts % WIDTH, starts // WIDTH], axis=-1)
    way = np.cumsum(np.random.default_rng(1).integers(-3, 4, (frames, 2)), axis=0)
    way -= way[0]
    moving = Trajectories((start[:, None] + way).astype(np.int32), np.ones((40, frames), bool), 1)
    of_starts = sum(np.log2((3072 - index) / (index + 1)) for index in range(40))
    assert 8 * len(encode_trajectories(moving, HEIGHT, WIDTH)) < 1.2 * of_starts + 30 * 2 * 6 + 40 * 29 * 2 * 0.2


def test_random_residuals_cost_about_their_entropy() -> None:
    """Steps drawn anew for each point and frame cannot be told from anything."""
    walked = walks(60, 40, jump=2, hidden=0.0)
    entropy = 60 * 39 * 2 * np.log2(5)
    assert entropy < 8 * len(encode_trajectories(walked, HEIGHT, WIDTH)) < 1.25 * entropy


def test_the_stream_stays_what_it_is() -> None:
    """Streams of an earlier release are read: a change of these bytes is a change of the format."""
    track, frame = np.meshgrid(np.arange(5), np.arange(6), indexing="ij")
    positions = np.stack([9 * track + frame * track % 5, 7 * track + frame**2 // 4], axis=-1).astype(np.int32)
    visible = (track * frame) % 7 != 6
    assert encode_trajectories(Trajectories(positions, visible, 1), HEIGHT, WIDTH).hex() == (
        "050601010000a82ce416b17c9b9cf7967294eff482961f25ddefd160"
    )


@pytest.mark.parametrize("cut", [0, 1, 5, 6, -3, -20])
def test_a_cut_stream_is_refused(cut: int) -> None:
    data = encode_trajectories(walks(40, 12), HEIGHT, WIDTH)
    with pytest.raises(BitstreamError, match="trajectories: damaged"):
        decode_trajectories(data[:cut], HEIGHT, WIDTH)


def test_bytes_that_follow_are_refused() -> None:
    data = encode_trajectories(walks(40, 12), HEIGHT, WIDTH)
    with pytest.raises(BitstreamError, match="damaged"):
        decode_trajectories(data + bytes(8), HEIGHT, WIDTH)


def test_damage_is_told_or_gives_trajectories_of_the_right_shape() -> None:
    """Checksums are the container's; without them nothing worse than wrong positions may come of damage."""
    data = encode_trajectories(walks(20, 8), HEIGHT, WIDTH)
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[generator.integers(0, len(data))] ^= 1 << generator.integers(0, 8)
        try:
            found = decode_trajectories(bytes(damaged), HEIGHT, WIDTH)
        except BitstreamError:
            refused += 1
        else:
            assert found.visible[:, 0].all()
    assert refused > 50


def test_a_claim_of_many_tracks_asks_for_no_memory() -> None:
    with pytest.raises(BitstreamError, match="tracks of"):
        decode_trajectories(bytes([255, 255, 255, 255, 127, 49, 1, 1, 0, 0, 0]), HEIGHT, WIDTH)


def test_a_claim_of_tracks_that_would_take_hours_is_refused_at_once() -> None:
    """All of them start at one point, which costs a stream next to nothing; each is near all before it."""
    claim = b"".join(map(varint, (MOST_TRACKS + 1, 2, 1, 1, 0, 0))) + b"\xff" * 2000
    with pytest.raises(BitstreamError, match=f"{MOST_TRACKS + 1} tracks of 2 frames"):
        decode_trajectories(claim, 64, 64)
    with pytest.raises(ValueError, match="are more than can be coded"):
        many = np.zeros((MOST_TRACKS + 1, 1, 2), np.int32), np.ones((MOST_TRACKS + 1, 1), bool)
        encode_trajectories(Trajectories(*many, 1), 8, 8)


def test_what_cannot_be_coded_is_refused() -> None:
    outside = Trajectories(np.full((1, 2, 2), WIDTH, np.int32), np.ones((1, 2), bool), 1)
    with pytest.raises(ValueError, match="starts outside"):
        encode_trajectories(outside, HEIGHT, WIDTH)
    far = Trajectories(np.array([[[0, 0], [1 << 20, 0]]], np.int32), np.ones((1, 2), bool), 1)
    with pytest.raises(ValueError, match="beyond its frame"):
        encode_trajectories(far, HEIGHT, WIDTH)


def test_trajectories_hold_to_their_shapes() -> None:
    positions = np.zeros((2, 3, 2), np.int32)
    with pytest.raises(ValueError, match="do not fit"):
        Trajectories(positions, np.ones((2, 4), bool), 1)
    with pytest.raises(ValueError, match="visible there"):
        Trajectories(positions, np.zeros((2, 3), bool), 1)
    with pytest.raises(ValueError, match="units per pixel"):
        Trajectories(positions, np.ones((2, 3), bool), 3)


def test_real_tracks_take_a_fraction_of_what_zlib_takes(shared_clips: Path) -> None:
    clip = open_sequence(shared_clips / "train256" / "TokenFlow__woman-running_mp4_s0.mp4")
    frames = [colour.to_rgb(frame).astype(np.uint8) for frame in islice(clip.read(), 49)]
    positions, visible = dense_tracks(frames)
    chosen = np.random.default_rng(0).choice(len(positions), 300, replace=False)
    tracks = quantised(positions[chosen], visible[chosen], 1)
    data = encode_trajectories(tracks, *frames[0].shape[:2])
    assert same(decode_trajectories(data, *frames[0].shape[:2]), tracks)
    stored = tracks.positions.astype("<i2").tobytes() + np.packbits(tracks.visible).tobytes()
    assert 3.5 * len(data) < len(zlib.compress(stored, 9))
    assert 0.6 < bits(tracks).sum() / (8 * len(data)) < 1.7
