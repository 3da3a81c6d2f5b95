"""Slopes and jumps of made courses are what they were made with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bench.analysis.drift import courses, slope


class _Results:
    """Cells with values of frames."""

    def __init__(self, series: dict[tuple[str, str], list[float]]) -> None:
        self._series = series
        self.cells: list[Any] = [_Cell(codec, clip) for codec, clip in series]

    def frame_values(self, cell: Any, names: list[str]) -> dict[str, list[float]]:
        return {names[0]: self._series[cell.codec.name, cell.sequence.name]}


class _Named:
    def __init__(self, name: str) -> None:
        self.name, self.dataset, self.fps = name, "set", "10"


class _Cell:
    status = "ok"

    def __init__(self, codec: str, clip: str) -> None:
        self.codec, self.sequence = _Named(codec), _Named(clip)
        self.measurements = {"psnr_y": None, "niqe": None}


def test_a_line_has_its_slope_and_no_doubt() -> None:
    found = slope([30 - 0.2 * frame for frame in range(20)], 10)
    assert found is not None
    assert found.value == pytest.approx(-2)
    assert (found.interval.low, found.interval.high) == (pytest.approx(-2), pytest.approx(-2))
    assert slope([1.0, None, math.inf, 2.0, 3.0, 4.0], 10) is None


def test_the_interval_holds_the_slope_of_noise_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(200):
        found = slope([float(v) for v in 0.05 * np.arange(60) + rng.standard_normal(60)], 1)
        assert found is not None
        held.append((found.interval.low or 0) <= 0.05 <= (found.interval.high or 0))
    assert 0.85 < np.mean(held) <= 1


def test_pops_and_places_in_the_gop() -> None:
    """Each GOP of four begins 3 dB better and falls by 1 dB a frame."""
    series = {("mine", clip): [40.0 - index % 4 for index in range(16)] for clip in "abc"}
    (course,) = courses(_Results(series), "psnr_y", period=4)  # type: ignore[arg-type]
    assert course.by_position == pytest.approx((1.5, 0.5, -0.5, -1.5))
    assert (course.pop, course.step, course.cells) == (pytest.approx(3), pytest.approx(1), 3)
    assert course.interval.low is not None
    (turned,) = courses(_Results(series), "niqe", period=4)  # type: ignore[arg-type]
    assert (turned.pop, turned.slope) == (pytest.approx(-3), pytest.approx(-course.slope))
    (plain,) = courses(_Results(series), "psnr_y")  # type: ignore[arg-type]
    assert (plain.by_position, plain.pop) == ((), None)
