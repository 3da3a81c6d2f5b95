"""Selection of trajectories: interpolation against scipy, greedy against brute force, budgets that hold."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from bench.errors import UnknownNameError, UsageError
from bench.neural.codecs.actdiff_vc.selection import FLOOR, METHODS, GrowingInterpolation, select, sketch
from bench.neural.codecs.actdiff_vc.tracks import dense_tracks
from bench.neural.codecs.actdiff_vc.trajectories import quantised
from bench.neural.codecs.actdiff_vc.trajectory_coding import encode_trajectories
from bench.video import colour
from bench.video.sequence import open_sequence

SIZE = (16, 20)


def field(frames: int = 3, *, seed: int = 0, hidden: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Tracks of every second pixel of a small frame: a zoom, a jump of a corner, noise; some points get hidden."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[1 : SIZE[0] : 2, 1 : SIZE[1] : 2]
    start = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    way = 0.3 * (start - start.mean(axis=0)) + 6 * ((start[:, :1] > 12) & (start[:, 1:] > 8))
    way = way + generator.normal(0, 0.5, way.shape)
    positions = start[:, None] + np.arange(frames, dtype=np.float32)[:, None] * way[:, None].astype(np.float32)
    visible = generator.random((len(start), frames)) >= hidden
    visible[:, 0] = True
    return positions, visible


def interpolated(points: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    if len(points) == 1:
        return np.broadcast_to(values, (len(at), values.shape[1]))
    return RBFInterpolator(points, values, kernel="linear", degree=0)(at)


def test_growing_interpolation_is_scipys() -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform(0, 300, (200, 2)).astype(np.float32)
    values = generator.normal(0, 5, (200, 2)).astype(np.float32)
    growing = GrowingInterpolation(points, values)
    centres = generator.permutation(200)[:90]
    for count, centre in enumerate(centres, 1):
        growing.add(centre)
        if count in (1, 2, 30, 90):
            expected = values - interpolated(points[centres[:count]], values[centres[:count]], points)
            assert growing.residual == pytest.approx(expected, abs=2e-3)


def test_a_centre_that_is_there_already_changes_nothing() -> None:
    points = np.array([[0, 0], [0, 0], [5, 5], [9, 1]], np.float32)
    values = np.array([[1, 0], [4, 0], [2, 2], [3, 1]], np.float32)
    growing = GrowingInterpolation(points, values)
    for centre in (2, 0):
        growing.add(centre)
    before = growing.residual.copy()
    growing.add(1)
    assert np.array_equal(growing.residual, before)


@pytest.mark.parametrize("hidden", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_greedy_is_brute_force(hidden: float, weighted: bool) -> None:
    """Each next point is the one whose motion is furthest from scipy's interpolation of those before it."""
    positions, visible = field(hidden=hidden)
    weights = np.random.default_rng(3).uniform(0.1, 1, SIZE).astype(np.float32) if weighted else None
    chosen = select(positions, visible, weights, size=SIZE, tracks=12)
    start, motion = positions[:, 0], positions - positions[:, :1]
    x, y = start.astype(int).T
    worth = weights[y, x] if weights is not None else np.ones(len(start))
    for count in range(len(chosen)):
        squares = np.zeros(len(start))
        for frame in (1, 2):
            known = [index for index in chosen[:count] if visible[index, frame]]
            told = interpolated(start[known], motion[known, frame], start) if known else 0
            squares += visible[:, frame] * ((motion[:, frame] - told) ** 2).sum(axis=1)
        scores = worth * np.sqrt(squares / 2)
        scores[chosen[:count]] = 0
        assert scores[chosen[count]] == pytest.approx(scores.max(), rel=1e-3)


def test_greedy_chooses_in_one_order_whatever_the_budget() -> None:
    positions, visible = field()
    many = select(positions, visible, size=SIZE, tracks=20)
    assert np.array_equal(select(positions, visible, size=SIZE, tracks=7), many[:7])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [0, 100, 400, 900])
def test_a_budget_in_bits_holds_and_is_used(method: str, budget: int) -> None:
    positions, visible = field(6, hidden=0.1)
    chosen = select(positions, visible, size=SIZE, bits=budget, method=method)
    sent = encode_trajectories(quantised(positions[chosen], visible[chosen], 1), *SIZE)
    assert 8 * len(sent) <= budget or not len(chosen)
    assert budget < 400 or 8 * len(sent) > budget * 0.6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tracks", [0, 1, 13, 1000])
def test_no_method_sends_more_than_asked_for_nor_one_twice(method: str, tracks: int) -> None:
    positions, visible = field()
    chosen = select(positions, visible, size=SIZE, tracks=tracks, method=method)
    assert len(chosen) == len(set(chosen.tolist())) <= tracks
    assert len(chosen) >= min(tracks, 12)


def test_what_does_not_move_is_not_sent() -> None:
    positions, visible = field()
    still = np.repeat(positions[:, :1], 3, axis=1)
    assert len(select(still, visible, size=SIZE)) == 0
    assert len(select(still + 0.3 * (np.arange(3)[:, None] > 0), visible, size=SIZE)) == 0
    moved = still.copy()
    moved[7, 1:] += 2
    assert select(moved.astype(np.float32), visible, size=SIZE)[0] == 7


def test_a_pan_is_one_track() -> None:
    positions, visible = field()
    panned = positions[:, :1] + np.array([[0, 0], [3, 1], [6, 2]], np.float32)
    assert len(select(panned, visible, size=SIZE)) == 1


def test_the_fastest_are_those_with_the_longest_way_in_sight() -> None:
    positions, visible = field()
    visible[:, 2] = np.arange(len(visible)) % 2 == 0
    way = [
        sum(np.linalg.norm(track[f] - track[f - 1]) for f in (1, 2) if seen[f])
        for track, seen in zip(positions, visible, strict=True)
    ]
    assert select(positions, visible, size=SIZE, tracks=5, method="flow").tolist() == np.argsort(way)[:-6:-1].tolist()


def test_a_grid_spreads_over_the_frame() -> None:
    positions, visible = field()
    start = positions[select(positions, visible, size=SIZE, tracks=20, method="grid"), 0]
    quarters = {(x > 10, y > 8) for x, y in start.tolist()}
    assert len(start) == 20
    assert len(quarters) == 4


def test_a_clip_of_one_frame_has_no_motion() -> None:
    positions, visible = field(1)
    assert len(select(positions, visible, size=SIZE)) == 0


def test_unknown_methods_and_negative_budgets_are_refused() -> None:
    positions, visible = field()
    with pytest.raises(UnknownNameError, match="greedy"):
        select(positions, visible, size=SIZE, method="gredy")
    with pytest.raises(UsageError, match="budget"):
        select(positions, visible, size=SIZE, tracks=-1)
    with pytest.raises(UsageError, match="budget"):
        select(positions, visible, size=SIZE, bits=-1)


def test_the_sketch_is_strong_at_an_edge_alone() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = 200
    found = sketch(picture)
    assert found.shape == (40, 60)
    assert found[:, 29:31].min() > 0.9
    assert found[:, :15] == pytest.approx(FLOOR, abs=0.01)
    assert sketch(np.full((40, 60, 3), 90, np.uint8)) == pytest.approx(FLOOR)


@pytest.mark.slow
def test_greedy_tells_more_of_real_motion_than_a_grid_does(shared_clips: Path) -> None:
    """Mean error of the motion that scipy interpolates from as many tracks, at the last frame."""
    clip = open_sequence(shared_clips / "train256" / "depthcrafter__13_butterfly_rgb_mp4_s0.mp4")
    frames = [colour.to_rgb(frame).astype(np.uint8) for frame in islice(clip.read(), 12)]
    positions, visible = dense_tracks(frames)
    size = frames[0].shape[:2]
    errors = {}
    for method in METHODS:
        chosen = select(positions, visible, size=size, tracks=300, method=method)
        known, seen = chosen[visible[chosen, -1]], np.flatnonzero(visible[:, -1])[::9]
        motion = positions[:, -1] - positions[:, 0]
        told = interpolated(positions[known, 0], motion[known], positions[seen, 0])
        errors[method] = float(np.linalg.norm(told - motion[seen], axis=1).mean())
    assert errors["greedy"] < 0.85 * errors["grid"]
    assert errors["grid"] < 0.5 * errors["flow"]
