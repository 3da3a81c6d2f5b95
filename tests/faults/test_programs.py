"""Encoders, decoders and plug-ins that fail, hang, crash, lie or take all memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import argv

import bench
from bench.engine.store.folder import Store

pytestmark = pytest.mark.slow


def test_fault_04_encoder_fails(trial) -> None:
    done, cells = trial.run("encode-fails", "decode-fails", "encode-crashes", "good")
    assert done.code == 6
    assert {mode: cell.status for mode, cell in cells.items()} == {
        "encode-fails": "failed", "decode-fails": "failed", "encode-crashes": "failed", "good": "ok",
    }  # fmt: skip
    for mode in ("encode-fails", "decode-fails"):
        told = cells[mode].message
        assert f"tool.py {mode.partition('-')[0]} {mode} " in told  # the argument list
        assert "exited with status 7" in told and told.endswith("this is why")
        assert "this is why" in done.err
    assert "ended by signal SIGSEGV" in cells["encode-crashes"].message


def test_fault_05_encoder_hangs_and_forks(trial) -> None:
    started = time.perf_counter()
    done, cells = trial.run("encode-hangs", "decode-hangs", more=("--time-limit", 1))
    assert done.code == 6
    assert {cell.reason for cell in cells.values()} == {"timeout"}
    assert "time limit of 1 s" in cells["encode-hangs"].message
    assert time.perf_counter() - started < 60
    left = subprocess.run(["pgrep", "-f", f"sleep {os.environ['NAP']}"], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_fault_06_no_bits_are_no_rate(trial) -> None:
    done, cells = trial.run("encode-writes-nothing", "encode-writes-empty", "decode-writes-nothing")
    assert done.code == 6
    assert {mode: cell.reason for mode, cell in cells.items()} == {
        "encode-writes-nothing": "no_bitstream", "encode-writes-empty": "no_bitstream",
        "decode-writes-nothing": "no_output",
    }  # fmt: skip
    table = bench.load(trial.out).to_pandas()
    assert table[["bytes", "bpp", "kbps", "value"]].isna().all(axis=None)
    assert table["reason"].notna().all()
    assert list((trial.out / "bitstreams").glob("*writes-[ne]*")) == [
        path for path in (trial.out / "bitstreams").iterdir() if "decode-writes-nothing" in path.name
    ]


def test_fault_07_truncated_bitstream_is_never_reused(trial) -> None:
    """The run is killed while half of the bitstream is written, and what is written later is cut by hand."""
    slow = trial.folder / "slow"
    slow.touch()
    arguments = trial.arguments("encode-stops-halfway")
    driver = subprocess.Popen(
        argv(*arguments),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not [path for path in trial.out.glob("work/*/encode/bitstream.bin") if path.stat().st_size]:
        assert time.monotonic() < deadline and driver.poll() is None
        time.sleep(0.02)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not list(trial.out.glob("bitstreams/*")) and not list(trial.out.glob("cells/*"))
    slow.unlink()
    done, cells = trial.run("encode-stops-halfway")
    assert done.code == 0
    record = cells["encode-stops-halfway"].bitstream
    stored = Store(trial.out).bitstream_path(record)
    whole = stored.read_bytes()
    assert len(whole) == record.bytes > 5 * 64 * 48 * 3 // 2
    stored.write_bytes(whole[:-1])
    done, cells = trial.run("encode-stops-halfway", metrics="psnr_y,ssim")
    assert done.code == 0
    assert cells["encode-stops-halfway"].bitstream == record
    assert stored.read_bytes() == whole


def test_fault_08_decoder_returns_another_number_of_frames(trial) -> None:
    done, cells = trial.run("loses-a-frame", "adds-a-frame", "cuts-a-frame")
    assert done.code == 6
    assert {mode: cell.reason for mode, cell in cells.items()} == {
        "loses-a-frame": "frame_count", "adds-a-frame": "frame_count", "cuts-a-frame": "damaged_output",
    }  # fmt: skip
    assert "returned 4 frames, the source has 5" in cells["loses-a-frame"].message
    assert "returned 6 frames, the source has 5" in cells["adds-a-frame"].message
    assert not any(cell.measurements for cell in cells.values())


def test_fault_09_decoder_returns_another_size_or_format(trial) -> None:
    done, cells = trial.run("other-size", "other-format")
    assert done.code == 6
    assert (cells["other-size"].reason, cells["other-format"].reason) == ("frame_size", "frame_format")
    assert "decoded frames are 96x32, expected 64x48" in cells["other-size"].message
    assert "decoded frames are gray, expected yuv420p" in cells["other-format"].message
    assert not any(cell.measurements for cell in cells.values())


def test_fault_12_ten_bit_stays_ten_bit(
    trial, tiny_clip: Callable[..., Path], run_ffmpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    clip = tiny_clip(64, 48, frames=3, pix_fmt="yuv420p10le")
    done, cells = trial.run("eight-bit", clip=clip)
    assert done.code == 6
    assert "decoded frames are yuv420p, expected yuv420p10le" in cells["eight-bit"].message
    out = tmp_path / "x265"
    (cell,) = bench.run("x265", inputs=clip, rates=[40], metrics=["psnr_y"], out=out).cells
    raw = [
        run_ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-")
        for path in (clip, out / "bitstreams" / cell.bitstream.file)
    ]
    source, decoded = (np.frombuffer(data, "<u2").reshape(3, -1)[:, : 64 * 48].astype(float) for data in raw)
    expected = 10 * np.log10(1023**2 / ((source - decoded) ** 2).mean(axis=1))
    assert cell.measurements["psnr_y"].value == pytest.approx(expected.mean(), abs=1e-6)


GREEDY = """
import resource
from bench.adapters.base import Codec

class Greedy(Codec):
    def encode(self, source, rate, bitstream):
        resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
        bytearray(1 << 34)

    def decode(self, bitstream):
        raise AssertionError
"""

GREEDY_METRIC = """
from bench.metrics.base import Metric

class Greedy(Metric):
    name = "greedy"
    title = "takes more memory than any machine has"

    def update(self, pair):
        bytearray(1 << 60)
"""


def test_fault_15_out_of_memory(trial, plug_ins: Callable[..., None]) -> None:
    """The memory of a process of a codec in Python, and of the measuring process; a GPU's raises the same way."""
    trial.card("good")
    card = (trial.folder / "codecs" / "test-good.toml").read_text().partition("[settings]")[0]
    card = card.replace('"test-good"', '"greedy"').replace('"command"', '"greedy.py:Greedy"')
    (trial.folder / "codecs" / "greedy.toml").write_text(card)
    (trial.folder / "codecs" / "greedy.py").write_text(GREEDY)
    plug_ins("greedy_metric", GREEDY_METRIC, metrics="greedy = greedy_metric:Greedy")
    done, cells = trial.run("good", before=("greedy",), metrics="greedy,psnr_y")
    assert done.code == 6
    assert (cells["greedy"].status, cells["greedy"].reason) == ("failed", "oom")
    assert "MemoryError" in cells["greedy"].message
    greedy = cells["good"].measurements["greedy"]
    assert (greedy.status, greedy.value) == ("failed", None)
    assert greedy.reason.startswith("memory ran out: frame 0: MemoryError")
    assert cells["good"].measurements["psnr_y"].status == "ok"


def test_fault_32_plug_in_raises_on_import(vcbench, trial, plug_ins: Callable[..., None]) -> None:
    plug_ins("raising", "raise RuntimeError('no such chip')\n", adapters="raising = raising:Codec")
    trial.card("good")
    path = trial.folder / "codecs" / "test-good.toml"
    path.with_name("chip.toml").write_text(
        path.read_text().replace("test-good", "chip").replace('"command"', '"raising"').partition("[settings]")[0]
    )
    rows = {row["name"]: row for row in vcbench("ls", "codecs", "--path", trial.folder, "--json").json}
    assert not rows["chip"]["available"]
    assert "plug-in adapter 'raising' cannot be imported: RuntimeError('no such chip')" in rows["chip"]["reason"]
    assert rows["x264"]["available"]
    refused = vcbench("run", "--codecs", "chip", "--path", trial.folder, "--input", trial.clip, "--out", trial.out)
    assert refused.code == 4 and "no such chip" in refused.err
