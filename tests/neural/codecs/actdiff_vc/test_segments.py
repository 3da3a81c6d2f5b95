"""Segments of ActDiff-VC: tracks follow known motion, splatting moves pixels, keyframes come where they must."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from needed import needed
from skimage.metrics import structural_similarity

from bench.errors import UnavailableError, UnknownNameError, UsageError
from bench.neural.codecs.actdiff_vc.perceptual import Measure, StructuralDistance, measure_named
from bench.neural.codecs.actdiff_vc.segments import segments
from bench.neural.codecs.actdiff_vc.splat import Splat, splat
from bench.neural.codecs.actdiff_vc.tracking_networks import tracker_named
from bench.neural.codecs.actdiff_vc.tracks import Dis, Grid, dense_tracks
from bench.video import colour
from bench.video.sequence import open_sequence

HEIGHT, WIDTH = 64, 96
STRUCTURAL = StructuralDistance()


def texture(seed: int, width: int = 4 * WIDTH) -> np.ndarray:
    """RGB of smooth noise, HEIGHT x width."""
    import cv2

    noise = np.random.default_rng(seed).normal(0, 1, (HEIGHT, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).round().astype(np.uint8)


def pan(frames: int, step: int = 2, seed: int = 0) -> list[np.ndarray]:
    """A view that moves right over a texture: what is seen moves left by ``step`` pixels per frame."""
    whole = texture(seed)
    return [np.ascontiguousarray(whole[:, step * index : step * index + WIDTH]) for index in range(frames)]


def cut_into(frames: list[np.ndarray], **limits: object) -> list[tuple[int, int, str]]:
    found = segments(frames, measure=STRUCTURAL, **limits)  # type: ignore[arg-type]
    return [(segment.first, segment.length, segment.why) for segment in found]


class Never(Measure):
    """Everything looks alike to it, or nothing does."""

    name = "never"

    def __init__(self, value: float) -> None:
        self.value = value

    def distance(self, frame: np.ndarray, splatted: Splat) -> float:
        return self.value

    def _compare(self, first: np.ndarray, second: np.ndarray, covered: np.ndarray) -> float:
        raise AssertionError("distance is what is asked for")


def test_tracks_follow_a_known_motion_until_it_leaves_the_frame() -> None:
    positions, visible = dense_tracks(pan(9))
    expected = positions[:, :1] - np.array([[2 * frame, 0] for frame in range(9)], np.float32)
    inner = (positions[:, 0, 0] > 24) & (positions[:, 0, 0] < WIDTH - 8)
    assert visible[inner].mean() > 0.97
    assert np.abs(positions - expected)[inner & visible.all(axis=1)].mean() < 0.15
    gone = expected[:, :, 0] < -1
    assert not visible[gone].any()


def test_what_gets_covered_is_lost_for_good() -> None:
    """A square slides over a ground of its own texture that stands still."""
    ground, square = texture(1)[:, :WIDTH], texture(2)[:32, :32]
    frames = []
    for index in range(7):
        frame = ground.copy()
        frame[16:48, 4 + 5 * index : 36 + 5 * index] = square
        frames.append(frame)
    positions, visible = dense_tracks(frames)
    x, y = positions[:, 0].T
    covered = (x >= 40) & (x < 62) & (y >= 20) & (y < 44)
    beside = (y < 8) | (y > 56)
    assert visible[covered, -1].mean() < 0.25
    assert visible[beside].mean() > 0.85
    assert not (visible[:, 1:] & ~visible[:, :-1]).any()


@pytest.mark.parametrize("size", [(8, 8), (17, 40), (33, 31)])
def test_frames_too_small_for_flow_are_tracked(size: tuple[int, int]) -> None:
    frame = texture(3)[: size[0], : size[1]]
    positions, visible = dense_tracks([frame, frame])
    assert visible.all()
    assert np.abs(positions[:, 1] - positions[:, 0]).max() < 0.2


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7])
def test_values_of_a_grid_are_linear_between_its_points(step: int) -> None:
    grid = Grid(HEIGHT, WIDTH, step)
    points = grid.points()
    assert len(points) == grid.rows * grid.columns
    found = grid.at_pixels(points)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = (x >= points[:, 0].min()) & (x <= points[:, 0].max()) & (y >= points[:, 1].min())
    inside &= y <= points[:, 1].max()
    assert found[inside] == pytest.approx(np.stack([x, y], axis=-1)[inside].astype(np.float32), abs=1e-3)


@pytest.mark.parametrize("size", [(288, 352), (1080, 1920), (64, 64), (44, 80), (3, 500)])
def test_the_points_of_a_grid_are_bounded(size: tuple[int, int]) -> None:
    grid = Grid.of(*size)
    assert 0 < grid.rows * grid.columns <= 31_000


def test_splatting_by_whole_pixels_moves_the_picture() -> None:
    frame = pan(1)[0]
    grid = Grid(HEIGHT, WIDTH, 2)
    points = grid.points()
    found = splat(frame, grid, points + np.float32([5, -3]), np.ones(len(points), bool))
    assert np.array_equal(found.picture[:-3, 5:], frame[3:, :-5])
    assert not found.covered[:, :5].any()
    assert found.coverage == pytest.approx((WIDTH - 5) * (HEIGHT - 3) / (WIDTH * HEIGHT))


def test_points_that_are_lost_leave_holes() -> None:
    frame = pan(1)[0]
    grid = Grid(HEIGHT, WIDTH, 2)
    points = grid.points()
    found = splat(frame, grid, points, points[:, 0] < WIDTH / 2)
    assert found.coverage == pytest.approx(0.5, abs=0.02)
    assert not found.picture[~found.covered].any()


def test_a_picture_enlarged_twice_has_no_holes() -> None:
    frame = pan(1)[0]
    grid = Grid(HEIGHT, WIDTH, 2)
    points = grid.points()
    assert splat(frame, grid, points * 2, np.ones(len(points), bool)).coverage > 0.98


def test_the_structural_distance_is_skimages() -> None:
    import cv2

    first, second = (texture(seed, 200)[:, :160] for seed in (1, 2))
    mixed = (0.6 * first + 0.4 * second).round().astype(np.uint8)
    found = STRUCTURAL.distance(first, Splat(mixed, np.ones(first.shape[:2], bool)))
    halves = [
        cv2.cvtColor(cv2.resize(picture, (80, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for picture in (first, mixed)
    ]
    maps = structural_similarity(
        *halves, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )[1]
    assert found == pytest.approx(1 - maps.mean(), abs=0.01)


@pytest.mark.parametrize("name", ["structural", "squeezenet"])
def test_distances_are_of_what_is_covered(name: str, shared_weights: Path) -> None:
    needed("torchvision")
    measure = measure_named(name)
    frame, other = texture(1)[:, :WIDTH], texture(2)[:, :WIDTH]
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[:, : WIDTH // 2] = True
    half = np.where(covered[..., None], frame, other)
    assert measure.distance(frame, Splat(half, covered)) == pytest.approx(0, abs=1e-6)
    assert measure.distance(frame, Splat(half, ~covered)) > 0.4
    assert measure.distance(frame, Splat(half, np.zeros_like(covered))) == 1


def test_the_measure_without_weights_is_the_structural_one() -> None:
    assert measure_named().name == "structural"
    with pytest.raises(UnavailableError, match="squeezenet"):
        measure_named("squeezenet")
    with pytest.raises(UnknownNameError, match="structural"):
        measure_named("structure")


def test_the_deep_measure_is_taken_where_its_weights_are(shared_weights: Path) -> None:
    needed("torchvision")
    assert measure_named().name == "squeezenet"


def test_a_still_clip_is_cut_at_the_longest_length_alone() -> None:
    frame = pan(1)[0]
    assert cut_into([frame] * 25, longest=10) == [(0, 10, "longest"), (9, 10, "longest"), (18, 7, "end")]
    assert cut_into([frame] * 19, longest=10) == [(0, 10, "longest"), (9, 10, "end")]


def test_a_clip_of_one_frame_is_a_segment_and_one_of_none_is_none() -> None:
    (found,) = segments(pan(1), measure=STRUCTURAL)
    assert (found.first, found.length, found.why) == (0, 1, "end")
    assert found.visible.all()
    assert np.array_equal(found.start, found.end)
    assert not list(segments([], measure=STRUCTURAL))


def test_a_pan_ends_where_its_coverage_says() -> None:
    """4 pixels per frame of 96: below 0.7 from the frame on where 32 are new, and two more of patience."""
    found = cut_into(pan(30, 4), perceptual=1.0)
    lengths = [length for _, length, why in found if why == "coverage"]
    assert len(lengths) == len(found) - 1
    assert all(abs(length - 1 - (8 + 2)) <= 1 for length in lengths)


def test_patience_lets_frames_fail() -> None:
    eager, patient = (cut_into(pan(30, 4), perceptual=1.0, patience=patience)[0][1] for patience in (1, 5))
    assert patient == eager + 4


def test_what_looks_away_ends_segments_too() -> None:
    frames = pan(12, 0)
    found = segments(frames, measure=Never(0.31))
    assert [(part.first, part.length, part.why) for part in found] == [
        (0, 4, "perceptual"), (3, 4, "perceptual"), (6, 4, "perceptual"), (9, 3, "end"),
    ]  # fmt: skip
    assert [part.length for part in segments(frames, measure=Never(0.29))] == [12]


def test_a_cut_lies_between_two_keyframes() -> None:
    frames = [*pan(7, 1, seed=1), *pan(6, 1, seed=2)]
    assert cut_into(frames) == [(0, 7, "scene cut"), (6, 2, "scene cut"), (7, 6, "end")]


def test_keyframes_are_the_ends_of_segments() -> None:
    frames = pan(30, 4)
    found = list(segments(frames, measure=STRUCTURAL))
    assert len(found) > 2
    for segment in found:
        assert np.array_equal(segment.start, frames[segment.first])
        assert np.array_equal(segment.end, frames[segment.first + segment.length - 1])
        assert segment.positions.shape == (*segment.visible.shape, 2)
        assert segment.visible.shape[1] == segment.length
    ends = [segment.first + segment.length - 1 for segment in found]
    assert ends[:-1] == [segment.first for segment in found[1:]]
    assert ends[-1] == 29


def test_fixed_segments_heed_nothing_else() -> None:
    frames = [*pan(7, 9, seed=1), *pan(6, 9, seed=2)]
    assert cut_into(frames, fixed=5) == [(0, 5, "longest"), (4, 5, "longest"), (8, 5, "end")]


def test_frames_are_read_as_they_are_needed() -> None:
    read = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal read
        for frame in [pan(1)[0]] * 40:
            read += 1
            yield frame

    next(segments(frames(), longest=6, measure=STRUCTURAL))
    assert read <= 7


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"longest": 1}, "both keyframes"), ({"patience": 0}, "patience"), ({"coverage": 1.5}, "coverage"),
     ({"perceptual": -0.1}, "perceptual"), ({"fixed": 1}, "both keyframes")],
)  # fmt: skip
def test_limits_that_none_can_keep_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(segments(pan(2), measure=STRUCTURAL, **limits))  # type: ignore[arg-type]


def test_trackers_go_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert isinstance(tracker_named("dis"), Dis)
    with pytest.raises(UnknownNameError, match="cotracker"):
        tracker_named("cotraker")
    for name in ("cotracker", "alltracker"):
        with pytest.raises(UnavailableError, match=f"VCBENCH_{name.upper()}"):
            tracker_named(name).check()
    (tmp_path / "hubconf.py").touch()
    monkeypatch.setenv("VCBENCH_COTRACKER", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"scaled_offline\.pth"):
        list(tracker_named("cotracker").follow(pan(2), Grid.of(HEIGHT, WIDTH)))


COTRACKER = """
import torch

class Predictor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Linear(1, 2, bias=False)

    def forward(self, video, queries):
        assert video.shape[2] == 3 and 1 < video.max() <= 255 and not queries[..., 0].any()
        time = torch.arange(video.shape[1])[None, :, None, None]
        places = queries[:, None, :, 1:] + time * self.model.weight[:, 0]
        return places, places[..., 0] > -100

def cotracker3_offline(*, pretrained=True):
    assert not pretrained
    return Predictor()
"""

ALLTRACKER = """
import torch

class Net(torch.nn.Module):
    def __init__(self, seqlen):
        super().__init__()
        self.speed = torch.nn.Parameter(torch.zeros(2))

    def forward_sliding(self, images, iters, sw, is_training):
        batch, frames, _, height, width = images.shape
        assert height % 8 == width % 8 == 0
        flow = torch.arange(frames)[None, :, None, None, None] * self.speed[:, None, None]
        return flow.expand(batch, frames, 2, height, width), torch.ones(batch, frames, 2, height, width), None, None
"""


@pytest.mark.parametrize("name", ["cotracker", "alltracker"])
def test_a_users_tracker_runs_from_its_checkout(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in with the published interfaces: what it says moves the points, on the grid and inside the frame."""
    torch = pytest.importorskip("torch")
    speed = torch.tensor([-2.0, 0.5])
    if name == "cotracker":
        (tmp_path / "hubconf.py").write_text(COTRACKER)
        torch.save({"weight": speed[:, None]}, tmp_path / "scaled_offline.pth")
    else:
        (tmp_path / "nets").mkdir()
        (tmp_path / "nets" / "alltracker.py").write_text(ALLTRACKER)
        torch.save({"model": {"speed": speed}}, tmp_path / "alltracker.pth")
    monkeypatch.setenv(f"VCBENCH_{name.upper()}", str(tmp_path))
    frames = [frame[:60] for frame in pan(4)]
    positions, visible = dense_tracks(frames, tracker=tracker_named(name))
    expected = Grid.of(60, WIDTH).points()[:, None] + np.arange(4)[:, None] * np.float32([-2, 0.5])
    assert positions == pytest.approx(expected)
    inside = (expected >= 0).all(axis=2) & (expected <= (WIDTH - 1, 59)).all(axis=2)
    assert np.array_equal(visible, inside)


def test_a_real_clip_and_its_cut(shared_clips: Path) -> None:
    def pictures(name: str, count: int) -> list[np.ndarray]:
        clip = open_sequence(shared_clips / "cif" / f"{name}_352x288.y4m")
        return [colour.to_rgb(frame).astype(np.uint8) for frame in islice(clip.read(), count)]

    assert cut_into([*pictures("akiyo", 6), *pictures("news", 5)]) == [
        (0, 6, "scene cut"), (5, 2, "scene cut"), (6, 5, "end"),
    ]  # fmt: skip
