"""The main job end to end with real encoders, and what happens when workers and drivers are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import misbehaving
import pandas as pd
import pytest
from card_texts import command_card
from command_line import Vcbench, argv

import bench
from bench.engine.options import ExecutionOptions
from bench.engine.pools.backends import InlinePool
from bench.engine.pools.workers import end_workers
from bench.engine.run import RunOptions, plan, run, unfinished
from bench.engine.store.folder import Store
from bench.errors import UsageError
from bench.records.cell import CellResult

pytestmark = pytest.mark.slow


def make_clip(path: Path, *, frames: int = 5, size: str = "64x48", rate: str = "25") -> Path:
    from bench.video import ffmpeg

    path.parent.mkdir(exist_ok=True)
    subprocess.run(
        [*ffmpeg.base_command(), "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}", "-frames:v", str(frames),
         "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )  # fmt: skip
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clips" / "clip.y4m")


@pytest.fixture
def codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a card of the misbehaving codec in a mode; gives the folder for --path and the codec's name."""
    misbehaving.install(tmp_path, monkeypatch)
    end_workers()  # or those of an earlier test, which have its environment, would be used again

    def make(mode: str) -> str:
        return misbehaving.card(tmp_path, mode)

    return make


def run_one(tmp_path: Path, clip: Path, *codecs: str, jobs: int = 1, **settings: object) -> list[CellResult]:
    options = RunOptions(codecs=codecs, inputs=(clip,), metrics=("psnr_y",), paths=(tmp_path,), trust=True)
    return run(plan(options), Store.create(tmp_path / "out"), ExecutionOptions(jobs=jobs, **settings))


def test_a_good_codec_is_measured(tmp_path: Path, clip: Path, codec) -> None:
    (result,) = run_one(tmp_path, clip, codec("good"))
    assert (result.status, result.reason) == ("ok", None)
    assert result.measurements["psnr_y"].value == float("inf")
    assert result.bitstream.bytes == 5 * 64 * 48 * 3 // 2
    assert result.bpp == pytest.approx(12)
    assert result.encode.seconds > 0
    assert result.decode.peak_rss_bytes > 1e6


def test_fault_02_workers_are_killed(tmp_path: Path, clip: Path, codec) -> None:
    """By one encoder once, by another again and again; a third one's cell comes to no harm."""
    names = [codec(mode) for mode in ("encode-kills-worker", "encode-always-kills-worker", "good")]
    once, always, good = run_one(tmp_path, clip, *names, jobs=2, backend="loky")
    assert (tmp_path / "once").exists()
    assert (once.status, good.status) == ("ok", "ok")
    assert (always.status, always.reason) == ("failed", "worker_lost")


ODD_CODEC = """
from bench.adapters.base import Codec

class Odd(Codec):
    def transform(self, source):
        raise ZeroDivisionError("a fault of the plug-in")
    def encode(self, source, rate, bitstream):
        raise AssertionError
    def decode(self, bitstream):
        raise AssertionError
"""


def test_a_fault_in_a_plug_in_is_a_failed_cell_with_its_trace(tmp_path: Path, clip: Path, codec) -> None:
    good = codec("good")
    card = command_card("odd", "-", [], []).partition("[settings]")[0].replace('"command"', '"odd.py:Odd"')
    (tmp_path / "codecs" / "odd.toml").write_text(card)
    (tmp_path / "codecs" / "odd.py").write_text(ODD_CODEC)
    options = RunOptions(codecs=("odd", good), inputs=(clip,), metrics=("psnr_y",), paths=(tmp_path,), trust=True)
    bad, fine = run(plan(options), Store.create(tmp_path / "out"))
    assert (bad.status, bad.reason) == ("failed", "internal")
    assert "ZeroDivisionError: a fault of the plug-in" in bad.message
    assert fine.status == "ok"


def test_failed_cells_give_exit_code_6_and_are_tried_again_next_time(
    vcbench: Vcbench, tmp_path: Path, clip: Path, codec
) -> None:
    name = codec("encode-fails")
    arguments = (
        "run",
        "--codecs",
        name,
        "--input",
        clip,
        "--path",
        tmp_path,
        "--trust",
        "--out",
        tmp_path / "out",
        "--metrics",
        "psnr_y",
        "--jobs",
        1,
    )
    first = vcbench(*arguments)
    assert first.code == 6, first.err
    assert "this is why" in first.err
    card = tmp_path / "codecs" / f"{name}.toml"
    card.write_text(card.read_text().replace('"encode-fails"', '"good"'))
    assert vcbench(*arguments).code == 0


def test_real_encoders_give_files_whose_size_is_the_rate(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m", frames=9, size="96x80")
    codecs = ["x264", "x265", "svt-av1", "vvenc", "libaom", "vp9"]
    results = bench.run(codecs, inputs=[clip], metrics=["psnr_y", "vmaf"], rates=[30, 40], out=tmp_path / "out", jobs=2)
    table = results.to_pandas()
    assert len(table) == 6 * 2 * 2
    assert set(table["status"]) == {"ok"}
    for cell in results.cells:
        size = (tmp_path / "out" / "bitstreams" / cell.bitstream.file).stat().st_size
        assert size == cell.bitstream.bytes
        # VP9 has no elementary stream: 32 bytes of IVF's header and 12 per frame stand beside the rate
        coded = size - (32 + 9 * 12 if cell.codec.name == "vp9" else 0)
        assert cell.bpp == pytest.approx(8 * coded / (9 * 96 * 80))
        assert cell.kbps == pytest.approx(8 * coded * 25 / 9 / 1000)
    by_rate = table[table["metric"] == "psnr_y"].pivot_table(index="codec", columns="rate", values=["bpp", "value"])
    assert (by_rate["bpp"][30] > by_rate["bpp"][40]).all()
    assert (by_rate["value"][30] > by_rate["value"][40]).all()


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m")
    options = RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y",))
    store = Store.create(tmp_path / "out")
    run(plan(options), store)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
    assert unfinished(plan(options), store) == []
    run(plan(options), store)
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")} == before


def test_clips_are_copied_into_the_store_by_every_way_to_run(tmp_path: Path, clip: Path) -> None:
    planned = plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y",), rates=(51,)))
    for name, pool in (("none", None), ("given", InlinePool(1))):
        store = Store.create(tmp_path / name)
        run(planned, store, ExecutionOptions(copy_inputs=True), pool=pool)
        assert store.source_path(planned.cells[0].sequence.source.digest(), clip.suffix).is_file()


def test_a_metric_added_later_measures_the_stored_bitstream(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m")
    store = Store.create(tmp_path / "out")
    first = run(plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y",), rates=(30,))), store)
    second = run(plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("ssim",), rates=(30,))), store)
    assert first[0].bitstream == second[0].bitstream
    assert first[0].encode == second[0].encode
    assert set(second[0].measurements) == {"psnr_y", "ssim"}
    frames = pd.read_parquet(store.frames_path(second[0].name))
    assert list(frames.columns) == ["psnr_y", "ssim"]
    assert len(frames) == 5


def test_a_bitstream_that_was_damaged_is_encoded_again(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m")
    store = Store.create(tmp_path / "out")
    (first,) = run(plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y",), rates=(30,))), store)
    store.bitstream_path(first.bitstream).write_bytes(b"cut")
    (second,) = run(plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y", "ssim"), rates=(30,))), store)
    assert second.bitstream == first.bitstream
    assert store.bitstream_is_whole(second.bitstream)


def test_timing_mode_measures_encode_and_decode_alone(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m")
    store = Store.create(tmp_path / "out")
    planned = plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y",), rates=(30,)))
    (shared,) = run(planned, store, ExecutionOptions(jobs=2))
    (alone,) = run(planned, store, ExecutionOptions(timing=True))
    assert (shared.encode.timing, shared.decode.timing) == ("shared", "shared")
    assert (alone.encode.timing, alone.decode.timing) == ("alone", "alone")
    assert run(planned, store, ExecutionOptions(jobs=2)) == [alone]


def test_the_key_changes_with_the_card_the_rate_the_frames_and_the_bytes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m")

    def keys(codec: str = "x264", rates: tuple[float, ...] = (30,), frames: int | None = None) -> set[str]:
        options = RunOptions(codecs=(codec,), inputs=(clip,), metrics=("psnr_y",), rates=rates, frames=frames)
        return {cell.key for cell in plan(options).cells}

    base = keys()
    assert keys() == base
    assert keys("x264@low-delay") != base
    assert keys(rates=(31,)) != base
    assert keys(frames=4) != base
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    assert keys() != base


def test_frames_cuts_clips_and_leaves_shorter_ones_whole(tmp_path: Path) -> None:
    clips = (make_clip(tmp_path / "long.y4m", frames=6), make_clip(tmp_path / "short.y4m", frames=3))
    cells = plan(RunOptions(codecs=("x264",), inputs=clips, metrics=("psnr_y",), rates=(30,), frames=4)).cells
    assert {cell.sequence.name: cell.sequence.frames for cell in cells} == {"long": 4, "short": 3}


def test_two_clips_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    clips = (make_clip(tmp_path / "a" / "clip.y4m"), make_clip(tmp_path / "b" / "clip.y4m", rate="24"))
    cells = plan(RunOptions(codecs=("x264",), inputs=clips, metrics=("psnr_y",), rates=(30,))).cells
    assert {cell.sequence.name for cell in cells} == {"a_clip", "b_clip"}


def test_a_sequence_a_codec_cannot_take_is_skipped_with_the_reason(
    vcbench: Vcbench, tiny_clip: Callable[..., Path], tmp_path: Path
) -> None:
    clip = tiny_clip(96, 80, 2, "yuv444p")
    done = vcbench(
        "run", "--codecs", "svt-av1,x264", "--rates", "30", "--input", clip, "--out", tmp_path / "out", "--json"
    )
    assert done.code == 0, done.err
    summary = done.json
    assert summary["cells"] == {"ok": 1, "failed": 0, "skipped": 1}
    assert summary["skipped"][0]["reason"] == "chroma"
    assert "svt-av1 takes chroma 420, the sequence is yuv444p" in summary["skipped"][0]["message"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"codecs": ()}, "no codec is named"),
        ({"inputs": ()}, "no video is named"),
        ({"metrics": ("psnr_z",)}, "did you mean"),
        ({"codecs": ("x256",)}, "did you mean"),
        ({"codecs": ("x265@fast",)}, "configuration of x265"),
        ({"rates": (99,)}, "qp 99 is outside 1 to 51"),
        ({"rates": (27.5,)}, "qp 27.5 is not a whole number"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_encode(tmp_path: Path, settings: dict, says: str) -> None:
    clip = make_clip(tmp_path / "clip.y4m")
    with pytest.raises(UsageError, match=says):
        plan(RunOptions(**{"codecs": ("x265",), "inputs": (clip,), **settings}))


def comparable(folder: Path) -> list[dict]:
    """Everything of a result set that must not depend on when and how it was run."""
    cells = sorted(bench.load(folder).cells, key=lambda cell: cell.name)
    return [
        {
            "name": cell.name,
            "status": cell.status,
            "bitstream": cell.bitstream,
            "values": {name: (item.value, item.pooled) for name, item in cell.measurements.items()},
            "frames": pd.read_parquet(folder / "frames" / f"{cell.name}.parquet").to_dict("list"),
        }
        for cell in cells
    ]


def test_fault_01_kill_9_in_mid_run(vcbench: Vcbench, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m", frames=15, size="96x80")
    out = tmp_path / "killed"
    arguments = [
        "run",
        "--codecs",
        "x264,x265",
        "--input",
        str(clip),
        "--metrics",
        "psnr_y,vmaf",
        "--jobs",
        "2",
        "--out",
    ]
    driver = subprocess.Popen(
        argv(*arguments, out),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list((out / "cells").glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    finished = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert 2 <= len(finished) < 8
    again = vcbench(*arguments, out)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert list((out / "work").iterdir()) == []
    quiet = vcbench(*arguments, tmp_path / "quiet")
    assert quiet.code == 0, quiet.err
    assert comparable(out) == comparable(tmp_path / "quiet")


def ended_within(seconds: float, command: str) -> bool:
    """Whether no process with ``command`` in its command line is left after so many seconds."""
    deadline = time.monotonic() + seconds
    while subprocess.run(["pgrep", "-f", command], stdout=subprocess.DEVNULL, check=False).returncode == 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_fault_03_ctrl_c(tmp_path: Path, clip: Path, codec) -> None:
    name = codec("encode-hangs")
    driver = subprocess.Popen(
        argv("run", "--codecs", name, "--input", clip, "--path", tmp_path, "--trust", "--out", tmp_path / "out",
             "--metrics", "psnr_y", "--jobs", 2, "--rates", "0,1,2"),
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list((tmp_path / "out").glob("work/*/marker.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(driver.pid, signal.SIGINT)
    _, said = driver.communicate(timeout=30)
    assert driver.returncode == 2, said
    assert "interrupted" in said
    # an encoder that was being started as its worker ended is ended by the kernel, a moment later
    assert ended_within(30, str(tmp_path / "tool.py"))


def test_fault_18_two_runs_on_one_store(vcbench: Vcbench, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.y4m", frames=9, size="96x80")
    arguments = ["run", "--codecs", "x264,x265", "--rates", "30,40", "--input", clip, "--metrics", "psnr_y",
                 "--jobs", "2", "--out"]  # fmt: skip
    drivers = [
        subprocess.Popen(argv(*arguments, tmp_path / "both"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                         text=True)
        for _ in range(2)
    ]  # fmt: skip
    for driver in drivers:
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == 0, said
    assert vcbench(*arguments, tmp_path / "alone").code == 0
    assert comparable(tmp_path / "both") == comparable(tmp_path / "alone")


def drivers(*calls: tuple[object, ...]) -> list[int]:
    """Exit codes of commands that run at the same time."""
    begun = [
        subprocess.Popen(argv(*call), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for call in calls
    ]  # fmt: skip
    said = [driver.communicate(timeout=240)[1] for driver in begun]
    assert all("Traceback" not in text for text in said), said
    return [driver.returncode for driver in begun]


def metrics_of(folder: Path) -> dict[str, set[str]]:
    """Metrics that have a value, by cell, and that have a column of per-frame values."""
    results = bench.load(folder)
    found = {
        cell.name: {name for name, item in cell.measurements.items() if item.value is not None}
        for cell in results.cells
    }
    for name in {metric for metrics in found.values() for metric in metrics}:
        assert len(results.frames(name)["value"]) > 0
    return found


def test_fault_18_two_runs_with_different_metrics(tmp_path: Path, clip: Path, codec) -> None:
    """Both read that nothing is measured before either writes: their encoders wait for each other.

    Values of two bitstreams cannot stand together: where the encoder never gives the same bits, the run whose bitstream
    is not kept measures the other's.
    """
    names = ",".join(codec(mode) for mode in ("encode-meets", "encode-meets-and-differs"))
    common = ("run", "--codecs", names, "--input", clip, "--path", tmp_path, "--trust", "-j", 1, "--out")
    calls = [(*common, tmp_path / "out", "--metrics", metric) for metric in ("psnr_y", "ssim")]
    assert drivers(*calls) == [0, 0]
    assert list(metrics_of(tmp_path / "out").values()) == [{"psnr_y", "ssim"}] * 2


@pytest.mark.parametrize("mode", ["good", "encode-differs"])
def test_times_alone_cost_no_values(tmp_path: Path, clip: Path, codec, mode: str) -> None:
    """The cell is encoded again, and what it had is measured again where its bitstream is another."""
    name = codec(mode)
    settings = {"inputs": clip, "out": tmp_path / "out", "paths": tmp_path, "trust": True}
    (before,) = bench.run(name, metrics=["psnr_y", "ssim"], **settings).cells
    (after,) = bench.run(name, metrics=["psnr_y"], timing=True, **settings).cells
    assert after.encode.timing == "alone"
    assert (after.bitstream.sha256 == before.bitstream.sha256) == (mode == "good")
    assert list(metrics_of(tmp_path / "out").values()) == [{"psnr_y", "ssim"}]


def test_a_cell_that_fails_later_keeps_its_values(vcbench: Vcbench, tmp_path: Path, clip: Path, codec) -> None:
    name = codec("decode-fails-if-told")
    settings = {"inputs": clip, "out": tmp_path / "out", "paths": tmp_path, "trust": True}
    (before,) = bench.run(name, metrics=["psnr_y"], **settings).cells
    (tmp_path / "once").touch()
    (after,) = bench.run(name, metrics=["psnr_y", "ssim"], **settings).cells
    assert (after.status, after.measurements["psnr_y"]) == ("ok", before.measurements["psnr_y"])
    assert after.measurements["ssim"].status == "failed"
    assert "this is why" in after.measurements["ssim"].reason
    arguments = ("run", "--codecs", name, "--input", clip, "--path", tmp_path, "--trust", "--metrics", "psnr_y")
    timed = vcbench(*arguments, "--out", tmp_path / "out", "--timing")
    assert timed.code == 6
    assert "decode" in timed.err
    assert list(metrics_of(tmp_path / "out").values()) == [{"psnr_y"}]
    (tmp_path / "once").unlink()
    (again,) = bench.run(name, metrics=["psnr_y", "ssim"], **settings).cells
    assert again.measurements["ssim"].status == "ok"


def test_a_run_looks_at_its_end_whether_its_values_are_still_there(tmp_path: Path, clip: Path, codec) -> None:
    """Another program puts an older result in place, once and again and again; deletes one; the run is not fooled."""
    name = codec("good")
    options = RunOptions(codecs=(name,), inputs=(clip,), metrics=("psnr_y",), paths=(tmp_path,), trust=True)
    planned, store = plan(options), Store.create(tmp_path / "out")
    path = store.cell_path(planned.cells[0].name)
    seen = []

    def meddle(progress: Any) -> None:
        if progress.result is not None:
            seen.append(progress.done)
            if len(seen) <= times:
                path.unlink()

    times = 1
    (found,) = run(planned, store, progress=meddle)
    assert (found.status, len(seen), path.is_file()) == ("ok", 2, True)
    path.unlink()
    times, seen = 99, []
    (found,) = run(planned, store, progress=meddle)
    assert (found.status, found.reason, len(seen)) == ("failed", "overwritten", 3)


@pytest.mark.parametrize("codec_name", ["x264", "x265", "svt-av1"])
def test_plain_ffmpeg_filters_agree_on_the_stored_bitstream(tmp_path: Path, codec_name: str) -> None:
    """No setting of the filters is needed: the bitstream states no colour matrix that its source does not."""
    from bench.video import ffmpeg

    clip = make_clip(tmp_path / "clip.y4m", frames=9, size="192x176")
    (cell,) = bench.run(codec_name, inputs=clip, metrics=["psnr_y", "vmaf"], rates=[30], out=tmp_path / "out").cells
    done = subprocess.run(
        [ffmpeg.executable(), "-hide_banner", "-nostdin", "-f", cell.codec.card["settings"]["demuxer"], "-i",
         str(tmp_path / "out" / "bitstreams" / cell.bitstream.file), "-i", str(clip), "-lavfi",
         "[0]settb=1/25,setpts=N,split[a][c];[1]settb=1/25,setpts=N,split[b][d];"
         "[a][b]psnr,nullsink;[c][d]libvmaf=log_fmt=json:log_path=vmaf.json[out]", "-map", "[out]", "-f", "null", "-"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    psnr_y = re.search(r"PSNR y:([\d.]+)", done.stderr)
    assert psnr_y is not None
    assert cell.measurements["psnr_y"].pooled["from_mean_mse"] == pytest.approx(float(psnr_y[1]), abs=0.01)
    vmaf = json.loads((tmp_path / "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"]
    assert cell.measurements["vmaf"].value == pytest.approx(vmaf, abs=0.01)
