"""Which backend suits a plan: threads where all work is done outside Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engine.options import RunOptions
from bench.engine.plan import Plan
from bench.engine.run import plan
from bench.registry import DEFAULT_METRICS


@pytest.mark.parametrize(
    ("metrics", "backend"),
    [
        (DEFAULT_METRICS, "threading"),
        (("psnr_rgb", "ssim", "xpsnr", "vmaf_neg", "cambi"), "threading"),
        (("psnr_y", "ewarp"), "loky"),
        (("niqe",), "loky"),
    ],
)
def test_threads_are_for_what_is_done_outside_python(metrics: tuple[str, ...], backend: str) -> None:
    planned = Plan((), dict.fromkeys(metrics, "key"))
    assert planned.backend("auto") == backend
    assert planned.backend("ray") == "ray"


def test_strangers_decoders_are_kept_apart(tiny_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(RunOptions(codecs=("x264",), inputs=(tiny_clip(),), metrics=("psnr_y",), rates=(30,)))
    assert planned.backend("auto") == "threading"
    monkeypatch.setattr(type(planned.cells[0].codec), "is_foreign", True)
    assert planned.backend("auto") == "loky"
