"""Tricks do what they say, and a metric is fooled exactly where it rewards what is no nearer to the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cards import Catalog
from bench.conformance.controls import controls, judged
from bench.conformance.material import clip
from bench.conformance.tricks import TRICKS
from bench.engine.plan import codec_entries
from bench.errors import UsageError
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import open_sequence

FORMAT = VideoFormat(64, 48, bit_depth=10)


def played(trick: str, frames: list[Frame]) -> list[Frame]:
    found = list(TRICKS[trick].play(iter(frames)))
    assert [frame.format for frame in found] == [frame.format for frame in frames]
    assert all(int(frame.data.max()) <= FORMAT.peak for frame in found)
    return found


def test_spatial_tricks() -> None:
    source = list(clip(FORMAT, 2))
    luma = source[0].planes[0].astype(float)
    blurred, sharp, shifted = (played(trick, source)[0].planes for trick in ("blur", "sharpen", "shift"))
    assert blurred[0].std() < luma.std() < sharp[0].std()
    assert (sharp[1] == source[0].planes[1]).all()
    assert (shifted[0][:, 1:] == luma[:, :-1]).all()
    assert (shifted[2][:, 1:] == source[0].planes[2][:, :-1]).all()
    # what sharpening adds is a share of what blurring takes away
    free = (sharp[0] > 0) & (sharp[0] < FORMAT.peak)
    assert (sharp[0] - luma)[free] == pytest.approx((0.6 * (luma - blurred[0]))[free], abs=1.0)


def test_grain_is_the_same_in_every_frame_and_a_freeze_holds() -> None:
    source = list(clip(FORMAT, 6))
    grainy, frozen = played("grain", source), played("freeze", source)
    noise = [b.planes[0].astype(int) - a.planes[0] for a, b in zip(source, grainy, strict=True)]
    assert all((noise[0] == other).mean() > 0.99 for other in noise)
    assert np.std(noise[0]) == pytest.approx(12, rel=0.1)
    assert [next(i for i, one in enumerate(source) if one is frame) for frame in frozen] == [0, 0, 0, 0, 4, 4]


def values(decoded: float, worse: float, **tricks: float) -> dict[str, float]:
    return {"decoded": decoded, "worse": worse, **tricks}


def test_who_is_fooled() -> None:
    """niqe rewards grain, which takes luma away from the source; nobody is fooled by a filter that brings it nearer."""
    found = {
        name: {
            "psnr_y": values(35, 32, grain=34, filter=35.5 if name != "d" else 34.9, blur=33),
            "niqe": values(6, 7, grain=5, filter=5.5, blur=6.01),
            "vmaf": values(80, 70, grain=80.1 if name == "a" else 79, filter=81, blur=60),
            "ewarp": values(3, 2, grain=4, filter=2, blur=2.5),
        }
        for name in "abcd"
    }
    result = judged(found)
    assert result.helped == ("filter",)
    niqe, vmaf, ewarp = (result.effects[name] for name in ("niqe", "vmaf", "ewarp"))
    assert (niqe["grain"].fooled, niqe["grain"].steps, niqe["grain"].better) == (True, pytest.approx(1.0), 4)
    assert not niqe["filter"].fooled
    assert niqe["blur"].change == pytest.approx(-0.01)
    assert not vmaf["grain"].fooled
    # ewarp finds the lower rate better: no rate step to count in, and blur fools it
    assert (ewarp["blur"].steps, ewarp["blur"].fooled) == (None, True)


def test_clips_are_coded_tricked_and_measured(tiny_clip: Callable[..., Path], tmp_path: Path) -> None:
    (entry,) = codec_entries(Catalog(()), ["x264"])
    source = open_sequence(tiny_clip())
    told: list[str] = []
    names = ["ssim", "ms_ssim", "vmaf"]
    found = controls(entry, (26, 38), [source], names, tricks=("grain", "freeze"), progress=told.append)
    assert list(found.effects) == ["psnr_y", "ssim", "vmaf"]
    assert "too small" in found.left_out["ms_ssim"]
    assert found.effects["ssim"]["grain"].change < 0
    assert found.effects["psnr_y"]["freeze"].clips == 1
    assert len(told) == 1
    with pytest.raises(UsageError, match="no clip"):
        controls(entry, (26, 38), [], ["ssim"])
