"""HDR metrics: transfer functions at published points, PU21 as the package cvvdp has it, weights level by level."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.engine.measure import measure
from bench.metrics.base import FramePair
from bench.metrics.hdr import hlg_light, pq_light, pq_signal, pu21
from bench.registry import metric_class
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

PQ10 = VideoFormat(32, 24, bit_depth=10, matrix="bt2020")


def frames(fmt: VideoFormat = PQ10, noise: float = 6.0) -> tuple[Frame, Frame]:
    rng = np.random.default_rng(5)
    planes = [rng.integers(80, 900, shape) for shape in fmt.plane_shapes]
    noisy = [np.clip(plane + np.rint(noise * rng.standard_normal(plane.shape)), 64, 940) for plane in planes]
    return Frame.from_planes(fmt, planes), Frame.from_planes(fmt, noisy)


def value(name: str, a: Frame, b: Frame) -> float:
    found = metric_class(name)(a.format).update(FramePair(0, a, b))
    assert found is not None
    return found


def test_transfer_functions_at_published_points() -> None:
    """ST 2084 and BT.2100: full scale, 100 cd/m2 at 0.508, HLG white and its knee."""
    assert pq_light(np.array([0.0, 0.508078, 1.0])) == pytest.approx([0, 100, 10000], rel=1e-4)
    assert pq_signal(pq_light(np.linspace(0, 1, 9))) == pytest.approx(np.linspace(0, 1, 9), abs=1e-6)
    grey = np.repeat(np.array([0.5, 1.0])[:, None, None], 3, axis=2)
    assert hlg_light(grey)[:, 0, 1] == pytest.approx([1000 * (1 / 12) ** 1.2, 1000], rel=1e-4)
    assert pu21(np.array([100.0])) == pytest.approx([256], abs=0.5)


def test_pu21_is_the_package_cvvdps() -> None:
    pytest.importorskip("pycvvdp")
    import json
    from importlib.util import find_spec

    spec = find_spec("pycvvdp")
    assert spec is not None
    source = (Path(str(spec.origin)).parent / "utils.py").read_text()
    line = next(line for line in source.splitlines() if "0.353487901" in line)
    p = json.loads(line.split("=")[1])
    light = np.geomspace(0.005, 10000, 50)
    expected = p[6] * (((p[0] + p[1] * light ** p[3]) / (1 + p[2] * light ** p[3])) ** p[4] - p[5])
    assert pu21(light) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_weighted_psnr_level_by_level(depth: int) -> None:
    fmt = replace(PQ10, bit_depth=depth)
    rng = np.random.default_rng(1)
    a, b = (Frame.from_planes(fmt, [rng.integers(0, fmt.peak + 1, s) for s in fmt.plane_shapes]) for _ in range(2))
    for plane, name in enumerate(("wpsnr_y", "wpsnr_u", "wpsnr_v")):
        total = 0.0
        height, width = fmt.plane_shapes[plane]
        for y, x in np.ndindex(height, width):
            step = 2 if plane else 1
            luma = float(a.planes[0][y * step, x * step]) * 2.0 ** (10 - depth)
            weight = 2 ** (min(6.0, max(-3.0, 0.015 * luma - 1.5 - 6)) / 3)
            total += weight * (float(a.planes[plane][y, x]) - float(b.planes[plane][y, x])) ** 2
        expected = 10 * math.log10((255 * 2 ** (depth - 8)) ** 2 * height * width / total)
        assert value(name, a, b) == pytest.approx(expected, abs=1e-9)


def test_colour_differences_in_light() -> None:
    """One step of PQ grey: I alone differs, so that DeltaE ITP is 720 times it; DeltaE100 is that of L alone."""
    from skimage.color import deltaE_ciede2000

    fmt = replace(PQ10, chroma="444", full_range=True)
    low, high = (
        Frame.from_planes(fmt, [np.full((24, 32), luma), *[np.full((24, 32), 512)] * 2]) for luma in (520, 530)
    )
    assert value("deltae_itp", low, high) == pytest.approx(720 * 10 / 1023, rel=1e-3)
    luminance = pq_light(np.array([520, 530]) / 1023)
    lightness = 116 * np.cbrt(luminance / 100) - 16
    expected = deltaE_ciede2000(*(np.array([value, 0.0, 0.0]) for value in lightness))
    assert value("deltae100", low, high) == pytest.approx(10 * math.log10(10000 / expected), abs=0.02)


def test_all_fall_with_noise_and_are_best_for_the_source(tmp_path: Path) -> None:
    names = ["pu_psnr", "pu_ssim", "wpsnr_y", "deltae100", "deltae_itp", "pu_psnr:hlg"]
    kinds = [metric_class(name) for name in names]
    found = []
    for noise in (0.0, 4.0, 16.0):
        a, b = frames(noise=noise)
        measured = measure(iter([a]), iter([b]), kinds, CodingTransform(PQ10, PQ10), tmp_path)
        found.append([item.value for item in measured])
    for kind, values in zip(kinds, zip(*found, strict=True), strict=True):
        best, light, heavy = (v if kind.direction == "higher" else -(v or 0.0) for v in values)
        assert best > light > heavy, kind.name
    assert found[0][:2] == [math.inf, 1.0]
