"""Cells of one sequence measured in one pass: the same values, one reading of the source, faults that stay apart."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from card_texts import command_card

from bench.engine.measure import DecodedVideo, measure, measure_together
from bench.engine.options import ExecutionOptions
from bench.engine.run import RunOptions, plan, run, unfinished
from bench.engine.store.folder import Store
from bench.errors import MetricError, MismatchError, UnavailableError
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.records.cell import CellResult
from bench.registry import metric_class
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

pytestmark = pytest.mark.slow

FORMAT = VideoFormat(64, 48)
SAME = CodingTransform(FORMAT, FORMAT)


def noise(frames: int, seed: int) -> list[Frame]:
    generator = np.random.default_rng(seed)
    return [Frame(FORMAT, generator.integers(0, 256, FORMAT.samples_per_frame).astype(np.uint8)) for _ in range(frames)]


class _CountsDerivations(Metric):
    """Derives something from the source frame and notes how often that was worked out."""

    name, title = "derives", "derives"
    made: ClassVar[list[int]] = []

    def update(self, pair: FramePair) -> float:
        def make() -> int:
            self.made.append(pair.index)
            return pair.index

        return float(pair.reference.derived("test", make))


class _Previous(Metric):
    """Says what it sees of the frames before."""

    name, title = "previous", "previous"

    def update(self, pair: FramePair) -> float | None:
        if pair.previous is None:
            return None
        assert pair.previous.previous is None
        return float(pair.previous.index)


class _Whole(DeferredMetric):
    """A value of the whole video, and one frame's features."""

    name, title, headline = "whole", "whole", "video"

    def push(self, pair: FramePair) -> None:
        self.last = pair.index

    def finish(self) -> tuple[Values, dict[str, float]]:
        if self.last < 2:
            raise MetricError("whole: needs 3 frames")
        return [], {"video": float(self.last)}

    def features(self) -> dict[str, np.ndarray]:
        return {"decoded": np.full((1, 2), self.last, np.float32)}


class _LosesAValue(_Whole):
    name, headline = "loses", "mean"

    def finish(self) -> tuple[Values, dict[str, float]]:
        return [1.0], {}


class _NotHere(Metric):
    name, title = "nothere", "not here"

    @classmethod
    def check(cls) -> None:
        raise UnavailableError("nothere: run: make it")

    def update(self, pair: FramePair) -> float:
        raise AssertionError("was asked though it cannot run")


def test_measured_together_is_measured_alone(tmp_path: Path) -> None:
    source, first, second = noise(4, 0), noise(4, 1), noise(4, 2)
    kinds = [metric_class(name) for name in ("psnr_yuv", "ssim", "ewarp", "vmaf")]
    folders = [tmp_path / str(number) for number in range(2)]
    for folder in folders:
        folder.mkdir()
    videos = [
        DecodedVideo(iter(frames), kinds, SAME, folder) for frames, folder in zip((first, second), folders, strict=True)
    ]
    together = measure_together(iter(source), videos)
    alone = [measure(iter(source), iter(frames), kinds, SAME, tmp_path) for frames in (first, second)]
    assert together == alone
    assert together[0] != together[1]


def test_what_is_derived_from_a_source_frame_is_worked_out_once(tmp_path: Path) -> None:
    _CountsDerivations.made.clear()
    videos = [DecodedVideo(iter(noise(5, seed)), [_CountsDerivations], SAME, tmp_path) for seed in range(3)]
    outcomes = measure_together(iter(noise(5, 9)), videos)
    assert _CountsDerivations.made == [0, 1, 2, 3, 4]
    assert all(outcome[0].frames == (0, 1, 2, 3, 4) for outcome in outcomes if isinstance(outcome, list))


def test_few_frames_are_kept_alive(tmp_path: Path) -> None:
    import gc
    import weakref

    alive: list[weakref.ref[Frame]] = []
    most = 0

    def frames(seed: int) -> Iterator[Frame]:
        nonlocal most
        for frame in noise(12, seed):
            kept = Frame(FORMAT, frame.data)
            alive.append(weakref.ref(kept))
            yield kept
            del kept
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))

    videos = [DecodedVideo(frames(seed), [_Previous], SAME, tmp_path) for seed in range(2)]
    gc.collect()
    gc.freeze()  # what other tests keep in this process would be searched again for each frame
    outcomes = measure_together(frames(9), videos)
    assert [outcome[0].frames for outcome in outcomes if isinstance(outcome, list)] == [(None, *range(11))] * 2
    assert most <= 3 * 3  # of each of the three: the one being read, the one measured last and the one before it


def test_one_video_that_goes_wrong_disturbs_no_other(tmp_path: Path) -> None:
    def breaks() -> Iterator[Frame]:
        yield from noise(2, 1)
        raise OSError("on purpose")

    wrong_size = [Frame(VideoFormat(32, 48), np.zeros(32 * 48 * 3 // 2, np.uint8))]
    versions = [breaks(), iter(noise(3, 1)), iter(noise(5, 1)), iter(noise(6, 1)), iter(wrong_size)]
    videos = [DecodedVideo(frames, [metric_class("psnr_y")], SAME, tmp_path) for frames in versions]
    broken, short, good, long, misfit = measure_together(iter(noise(5, 0)), videos)
    assert isinstance(broken, OSError)
    assert isinstance(short, MismatchError)
    assert "returned 3 frames, the source has 5" in str(short)
    assert isinstance(long, MismatchError)
    assert "returned 6 frames, the source has 5" in str(long)
    assert isinstance(misfit, MismatchError)
    assert misfit.reason == "frame_size"
    assert isinstance(good, list)
    assert len(good[0].frames) == 5


def test_a_value_of_a_whole_video_has_no_values_of_frames(tmp_path: Path) -> None:
    kinds = [_Whole, _LosesAValue, _NotHere]
    whole, loses, nothere = measure(iter(noise(4, 0)), iter(noise(4, 1)), kinds, SAME, tmp_path)
    assert (whole.status, whole.value, whole.frames, whole.provenance) == ("ok", 3.0, (), {"pooling": "video"})
    assert whole.features["decoded"].tolist() == [[3.0, 3.0]]
    assert (loses.status, loses.reason) == ("failed", "ValueError: 1 values for 4 frames")
    assert (nothere.status, nothere.reason) == ("unavailable", "nothere: run: make it")


def test_a_video_too_short_for_a_metric_says_so(tmp_path: Path) -> None:
    (short,) = measure(iter(noise(2, 0)), iter(noise(2, 1)), [_Whole], SAME, tmp_path)
    assert (short.status, short.value, short.reason) == ("undefined", None, "whole: needs 3 frames")
    assert short.features["decoded"].shape == (1, 2)  # they may count among those of other videos


def values(results: list[CellResult]) -> dict[str, dict[str, float | None]]:
    return {result.name: {name: found.value for name, found in result.measurements.items()} for result in results}


@pytest.fixture
def options(tiny_clip: Callable[..., Path]) -> RunOptions:
    return RunOptions(
        codecs=("x264", "x265"),
        inputs=(tiny_clip(frames=3), tiny_clip(96, 64, 3)),
        rates=(22, 30, 38),
        metrics=("psnr_y", "ewarp"),
    )


def test_a_run_in_groups_gives_what_a_run_of_single_cells_gives(tmp_path: Path, options: RunOptions) -> None:
    single, grouped = replace(plan(options), together=1), replace(plan(options), together=4)
    assert {len(group) for group in single.groups(single.cells, 1)} == {1}
    expected = run(single, Store.create(tmp_path / "single"))
    assert [result.status for result in expected] == ["ok"] * 12
    for jobs in (1, 2):
        assert {len(group) for group in grouped.groups(grouped.cells, jobs)} == {4, 2}
        store = Store.create(tmp_path / str(jobs))
        assert values(run(grouped, store, ExecutionOptions(jobs=jobs, backend="threading"))) == values(expected), jobs
        assert not unfinished(grouped, store)
        assert not list((store.root / "work").iterdir())


def test_groups_hold_one_sequence_and_leave_no_job_idle(options: RunOptions) -> None:
    planned = replace(plan(options), together=4)
    for jobs, size in ((1, 4), (2, 4), (4, 3), (12, 1), (100, 1)):
        groups = planned.groups(planned.cells, jobs)
        assert max(map(len, groups)) == size
        assert all(len({cell.sequence.path for cell in group}) == 1 for group in groups)
        assert sorted(cell.name for group in groups for cell in group) == sorted(cell.name for cell in planned.cells)


TOOL = """#!/bin/sh
# encode RATE IN OUT | decode - IN OUT; rate 1 cannot be encoded, what rate 2 wrote cannot be decoded
[ "$1" = -V ] && exit 0
[ "$1 $2" = "encode 1" ] && { echo "no such rate" >&2; exit 3; }
[ "$1 $2" = "encode 2" ] && { echo broken > "$4"; exit 0; }
[ "$1" = decode ] && [ "$(head -c 6 "$3")" = broken ] && { echo "cannot read this" >&2; exit 5; }
cp "$3" "$4"
"""


def test_a_cell_that_fails_leaves_the_others_of_its_group(
    tmp_path: Path, tiny_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("TEST_TOOL", str(tool))
    (tmp_path / "codecs").mkdir()
    card = command_card(
        "breaks", "TEST_TOOL", ["encode", "{rate}", "{input}", "{bitstream}"],
        ["decode", "-", "{bitstream}", "{output}"], version=["-V"], rates=[0, 1, 2, 3],
    )  # fmt: skip
    (tmp_path / "codecs" / "breaks.toml").write_text(card)
    chosen = RunOptions(codecs=("breaks",), inputs=(tiny_clip(),), metrics=("psnr_y",), paths=(tmp_path,), trust=True)
    planned = replace(plan(chosen), together=4)
    store = Store.create(tmp_path / "out")
    by_rate = {result.rate.value: result for result in run(planned, store)}
    assert {rate: result.status for rate, result in by_rate.items()} == {0: "ok", 1: "failed", 2: "failed", 3: "ok"}
    assert "no such rate" in (by_rate[1].message or "")
    assert "cannot read this" in (by_rate[2].message or "")
    assert [cell.rate.value for cell in unfinished(planned, store)] == [1, 2]


def test_a_source_that_cannot_be_read_fails_every_cell_of_the_group(
    tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    clip = tmp_path / "clip.y4m"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", "4", "-pix_fmt", "yuv420p", clip)
    planned = replace(
        plan(RunOptions(codecs=("x264",), inputs=(clip,), rates=(22, 30), metrics=("psnr_y",))), together=4
    )
    store = Store.create(tmp_path / "out")
    run(planned, store)
    for file in (tmp_path / "out" / "cells").iterdir():
        data = json.loads(file.read_text())
        data["measurements"] = {}
        file.write_text(json.dumps(data))
    clip.write_bytes(clip.read_bytes()[:-100])
    failed = run(planned, store)
    assert [(result.status, result.reason) for result in failed] == [("failed", "source")] * 2


def test_features_are_stored_once_for_all_cells(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    common = np.arange(6, dtype=np.float32).reshape(3, 2)
    first = store.keep_features({"reference": common, "decoded": common + 1})
    second = store.keep_features({"reference": common.copy(), "decoded": common + 2})
    assert first["reference"] == second["reference"]
    assert len(list((tmp_path / "features").iterdir())) == 3
    assert np.array_equal(np.load(tmp_path / "features" / second["decoded"], allow_pickle=False), common + 2)
    assert store.keep_features({}) == {}


def test_a_metric_that_still_cannot_run_is_no_reason_to_decode_again(tmp_path: Path, options: RunOptions) -> None:
    planned = plan(options)
    store = Store.create(tmp_path / "out")
    run(planned, store)
    some = planned.cells[0].name
    wanted = replace(planned, metrics={**planned.metrics, "lpips_alex": "f" * 64})
    assert len(unfinished(wanted, store)) == 12
    data = json.loads(store.cell_path(some).read_text())
    data["measurements"]["lpips_alex"] = {"key": "f" * 64, "status": "unavailable", "reason": "no weights"}
    store.cell_path(some).write_text(json.dumps(data))
    still = replace(wanted, unavailable={"lpips_alex": "no weights"})
    assert len(unfinished(wanted, store)) == 12
    assert some not in [cell.name for cell in unfinished(still, store)]


def test_signals_pass_through_a_group(tmp_path: Path, options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a pass ends the run, not one video of it."""

    def interrupt(self: Metric, pair: FramePair) -> float:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(metric_class("psnr_y"), "update", interrupt)
    planned = replace(plan(options), together=4)
    store = Store.create(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run(planned, store)
    assert not list((tmp_path / "out" / "cells").iterdir())
    (word,) = (tmp_path / "out" / "work").iterdir()
    assert word.name.startswith("run-"), "of what is in work/ only the word of the run that was ended may stay"
