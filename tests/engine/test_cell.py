"""A cell's metrics get ready beside its first encoder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import pytest

from bench.engine import cell
from bench.engine.options import ExecutionOptions
from bench.engine.run import RunOptions, plan, run
from bench.engine.store.folder import Store
from bench.metrics.fidelity import MsSsim, PsnrY, Ssim


class _Prepared:
    """Stands for the class of each metric and notes what was prepared."""

    names: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self._name = name

    def prepare(self) -> None:
        self.names.append(self._name)
        raise RuntimeError("of no import here: the metric itself says so where it is measured")


def test_metrics_get_ready_once_a_process_beside_the_encoder_but_not_beside_a_timed_one(
    tmp_path: Path, tiny_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = cell._begin_to_prepare.__wrapped__
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(cell, "_begin_to_prepare", begun.append)
    planned = plan(RunOptions(codecs="x264", inputs=tiny_clip(frames=2), metrics=("psnr_y", "ssim"), rates=(30,)))
    for timing in (True, False):
        run(planned, Store.create(tmp_path / str(timing)), ExecutionOptions(jobs=1, timing=timing))
    assert begun == [("psnr_y", "ssim")]

    monkeypatch.setattr(cell, "metric_class", _Prepared)
    begin(("a", "b"))
    for thread in threading.enumerate():
        if thread.name == "metrics get ready":
            thread.join()
    assert _Prepared.names == ["a", "b"]  # one that cannot keeps none of the others from it


def test_ssim_loads_its_compiled_loop_and_nothing_else_has_one_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("bench.metrics.fidelity.warm_up", lambda: loaded.append("loop"))
    for metric in (PsnrY, Ssim.variant(("ffmpeg",))):
        metric.prepare()
    assert not loaded
    for metric in (Ssim, MsSsim):
        metric.prepare()
    assert len(loaded) == 2
