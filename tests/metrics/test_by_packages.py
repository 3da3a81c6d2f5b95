"""Metrics that packages compute: their values are the package's own, called by hand."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from bench.conformance.material import clip
from bench.conformance.metric import NOISE
from bench.engine.measure import measure
from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import Measurement
from bench.metrics.by_cvvdp import DISPLAYS
from bench.metrics.by_piq import MEASURES
from bench.registry import metric_class
from bench.video.colour import rgb_of
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

pytestmark = pytest.mark.slow  # what they import takes seconds

SMALL = VideoFormat(164, 162, fps=Fraction(24))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def frames(fmt: VideoFormat = SMALL, count: int = 2) -> tuple[list[Frame], list[Frame]]:
    return list(clip(fmt, count)), list(clip(fmt, count, NOISE[1]))


def measured(name: str, sides: tuple[list[Frame], list[Frame]], folder: Path) -> Measurement:
    fmt = sides[0][0].format
    (found,) = measure(iter(sides[0]), iter(sides[1]), [metric_class(name)], CodingTransform(fmt, fmt), folder)
    assert found.status == "ok", found.reason
    return found


def tensor(frame: Frame) -> Any:
    return torch.from_numpy(rgb_of(frame).astype(np.float32) / frame.format.peak).permute(2, 0, 1).unsqueeze(0)


def test_ssimulacra2_is_the_packages(tmp_path: Path) -> None:
    from ssimulacra2 import compute_ssimulacra2

    sides = frames(VideoFormat(75, 41))
    expected = []
    for pair in zip(*sides, strict=True):
        for name, frame in zip("ab", pair, strict=True):
            cv2.imwrite(str(tmp_path / f"{name}.png"), rgb_of(frame)[..., ::-1])
        expected.append(compute_ssimulacra2(str(tmp_path / "a.png"), str(tmp_path / "b.png")))
    assert measured("ssimulacra2", sides, tmp_path).frames == pytest.approx(expected, abs=1e-9)
    assert measured("ssimulacra2", (sides[0], sides[0]), tmp_path).value == 100


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_stlpips_is_the_packages(tmp_path: Path, net: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stlpips_pytorch import stlpips

        model = stlpips.LPIPS(net=net, variant="shift_tolerant", verbose=False)
    sides = frames(VideoFormat(64, 64), 1 if net == "vgg" else 2)
    with torch.inference_mode():
        expected = [float(model(tensor(a), tensor(b), normalize=True)) for a, b in zip(*sides, strict=True)]
    name = "stlpips" if net == "alex" else "stlpips:vgg"
    assert measured(name, sides, tmp_path).frames == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_piqs_measures_are_its_own(tmp_path: Path, name: str) -> None:
    import piq

    sides = frames()
    function = getattr(piq, MEASURES[name].function)
    expected = [float(function(tensor(b), tensor(a), data_range=1.0)) for a, b in zip(*sides, strict=True)]
    found = measured(f"piq:{name}", sides, tmp_path)
    assert found.frames == pytest.approx(expected, abs=1e-7)
    same = measured(f"piq:{name}", (sides[0], sides[0]), tmp_path).value or 0.0
    better = same - (found.value or 0.0)
    assert better > 0 if MEASURES[name].direction == "higher" else better < 0


def test_piqs_measures_of_what_is_too_small_have_a_reason() -> None:
    for name, measure_of in MEASURES.items():
        smallest = measure_of.smallest
        metric_class(f"piq:{name}")(VideoFormat(smallest, smallest, "444"))
        if smallest > 1:
            with pytest.raises(MetricError, match=f"piq:{name}"):
                metric_class(f"piq:{name}")(VideoFormat(smallest - 1, 200, "444"))


@pytest.mark.parametrize("count", [1, 5])
def test_cvvdp_is_the_packages(tmp_path: Path, count: int) -> None:
    """Frame by frame as by the whole video at once; of one frame, its metric of pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pycvvdp import cvvdp

    sides = frames(VideoFormat(72, 64, fps=Fraction(24)), count)
    reference, test = (torch.stack([tensor(frame)[0] for frame in side], dim=1).unsqueeze(0) for side in sides)
    metric = cvvdp(display_name="standard_fhd", quiet=True, device=torch.device("cpu"))
    with torch.inference_mode():
        expected, _ = metric.predict(test, reference, dim_order="BCFHW", frames_per_second=24 if count > 1 else 0)
    found = measured("cvvdp:standard_fhd", sides, tmp_path)
    assert found.value == pytest.approx(float(expected), abs=1e-5)
    assert len(found.frames) == count
    assert measured("cvvdp:standard_fhd", (sides[0], sides[0]), tmp_path).value == 10


def test_displays_of_cvvdp_are_its_own() -> None:
    import json
    from importlib.util import find_spec

    spec = find_spec("pycvvdp")
    assert spec is not None
    assert spec.origin is not None
    known = json.loads((Path(spec.origin).parent / "vvdp_data" / "display_models.json").read_text())
    assert set(DISPLAYS) <= set(known)
    with pytest.raises(UnknownNameError):
        metric_class("cvvdp:television")
    with pytest.raises(MetricError, match="sides from 3"):
        metric_class("cvvdp")(VideoFormat(1, 1, "444"))
