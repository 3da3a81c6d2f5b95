"""Training clips: what is held out, what is decoded, and which cuts a step sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import MediaError, UsageError
from bench.neural.training.clips import RandomCrops, as_array, find_clips, is_held_out, training_clips
from bench.video import colour
from bench.video.sequence import open_sequence


def numbered(frames: int = 9, height: int = 20, width: int = 30) -> np.ndarray:
    """Each sample tells its frame (red), row (green) and column (blue)."""
    grid = np.broadcast_arrays(
        np.arange(frames)[:, None, None], np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    )
    return np.stack(grid, -1).astype(np.uint8)


def test_a_tenth_of_the_names_is_held_out() -> None:
    share = np.mean([is_held_out(f"video{number}") for number in range(4000)])
    assert share == pytest.approx(0.1, abs=0.02)


def test_clips_cut_from_one_video_stay_together() -> None:
    for number in range(50):
        assert len({is_held_out(f"video{number}_mp4_s{piece}") for piece in range(4)}) == 1


def test_what_is_held_out_never_changes() -> None:
    """Published weights were trained without these."""
    assert is_held_out("Ask-Anything__yoga_mp4_s1")
    assert not is_held_out("RAVE__truck_mp4_s0")


def test_cuts_are_frames_in_a_row_of_one_place() -> None:
    crops = RandomCrops([numbered()], size=8, frames=3, seed=5)
    cuts = crops.at(0, 40).astype(int)
    assert cuts.shape == (40, 3, 8, 8, 3)
    steps = np.unique(np.diff(cuts[..., 0], axis=1))
    assert set(steps.tolist()) <= {-2, -1, 1, 2}
    assert len(steps) == 4
    assert (np.diff(cuts[..., 1], axis=2) == 1).all()
    assert set(np.unique(np.diff(cuts[..., 2], axis=3)).tolist()) == {-1, 1}
    assert (np.ptp(cuts[..., 1:], axis=1) == 0).all()


def test_cuts_reach_every_border() -> None:
    cuts = np.concatenate([RandomCrops([numbered()], size=8, frames=2).at(step, 64) for step in range(8)])
    assert (cuts.min((0, 1, 2, 3)) == 0).all()
    assert cuts.max((0, 1, 2, 3)).tolist() == [8, 19, 29]


def test_cuts_depend_on_seed_and_step_alone() -> None:
    first, again = (RandomCrops([numbered()], 8, 2, seed=1) for _ in range(2))
    for step in (3, 0):
        first.at(step, 4)
    assert np.array_equal(first.at(7, 4), again.at(7, 4))
    assert not np.array_equal(first.at(7, 4), first.at(8, 4))
    assert not np.array_equal(first.at(7, 4), RandomCrops([numbered()], 8, 2, seed=2).at(7, 4))


def test_a_clip_as_large_and_long_as_a_cut_is_whole() -> None:
    clip = numbered(3, 8, 8)
    cut = RandomCrops([clip], 8, 3).at(0, 1)[0]
    assert sorted(map(tuple, cut.reshape(-1, 3).tolist())) == sorted(map(tuple, clip.reshape(-1, 3).tolist()))


def test_pictures_are_those_of_the_reader_in_8_bit(tiny_clip: Callable[..., Path]) -> None:
    path = tiny_clip(33, 17, 3, "yuv420p10le")
    found = as_array(path)
    expected = [colour.to_rgb(frame) // 4 for frame in open_sequence(path).read()]
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack(expected))
    assert np.array_equal(as_array(path), found)


def test_clips_too_small_or_short_are_left_out(tmp_path: Path, tiny_clip: Callable[..., Path]) -> None:
    for number, (width, height, frames) in enumerate([(64, 48, 4), (64, 40, 4), (64, 48, 3)]):
        (tmp_path / f"clip{number}.y4m").symlink_to(tiny_clip(width, height, frames))
    assert not any(is_held_out(f"clip{number}") for number in range(3))
    train, held_out = training_clips(tmp_path, size=48, frames=4)
    assert [clip.shape for clip in train] == [(4, 48, 64, 3)]
    assert held_out == []
    with pytest.raises(UsageError, match=r"no clip to train on has 4 frames of 50x50; add longer or larger"):
        training_clips(tmp_path, size=50, frames=4)


def test_folders_without_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=f"{folder}: holds no video to train on"):
            find_clips(folder)


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(MediaError, match=r"broken.mp4"):
        training_clips(tmp_path, size=8, frames=1)


def test_a_video_without_frames_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F25:1 C420\n")
    with pytest.raises(MediaError, match=r"empty.y4m"):
        training_clips(tmp_path, size=8, frames=1)
