"""SpEED-QA and ST-RRED against their definitions written out block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.conformance.material import clip
from bench.conformance.metric import NOISE
from bench.engine.measure import measure
from bench.errors import MetricError
from bench.metrics.base import Measurement
from bench.metrics.entropic import EntropicDifference, SpeedQa, StRred
from bench.metrics.niqe import halved
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

FORMAT = VideoFormat(208, 176)


def entropies(plane: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and local variance of each block of a band."""
    height, width = (length // side * side for length in plane.shape)
    size = side * side
    positions = [(y, x) for y in range(height - side + 1) for x in range(width - side + 1)]
    covariance = np.cov(np.array([plane[y : y + side, x : x + side].ravel() for y, x in positions]).T, bias=True)
    inverse, eigenvalues = np.linalg.inv(covariance), np.linalg.eigvalsh(covariance)
    entropy, variance = (np.zeros((height // side, width // side)) for _ in range(2))
    for y, x in np.ndindex(entropy.shape):
        block = plane[side * y : side * (y + 1), side * x : side * (x + 1)].ravel()
        variance[y, x] = block @ inverse @ block / size
        entropy[y, x] = sum(np.log2(variance[y, x] * value + 0.1) + np.log(2 * np.pi * np.e) for value in eigenvalues)
    return entropy, variance


def speed_band(plane: np.ndarray) -> np.ndarray:
    for _ in range(4):
        plane = halved(plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2])
    return plane - cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)


def strred_band(plane: np.ndarray) -> np.ndarray:
    """By the pyramid of pyrtools, a port of the authors' matlabPyrTools; their ``dframe{4}``."""
    from pyrtools.pyramids import SteerablePyramidSpace

    return SteerablePyramidSpace(plane, height=4, order=5, edge_type="reflect1").pyr_coeffs[3, 3]


def measured(metric: type[EntropicDifference], source: list[Frame], decoded: list[Frame], folder: Path) -> Measurement:
    fmt = source[0].format
    (found,) = measure(iter(source), iter(decoded), [metric], CodingTransform(fmt, fmt), folder)
    return found


@pytest.mark.parametrize(
    ("metric", "band", "side"),
    [
        (SpeedQa, speed_band, 5),
        pytest.param(StRred, strred_band, 3, marks=pytest.mark.slow),  # importing pyrtools takes a second
    ],
)
def test_it_is_the_definition(
    metric: type[EntropicDifference], band: Callable[[np.ndarray], np.ndarray], side: int, tmp_path: Path
) -> None:
    fmt = VideoFormat(320, 288)  # more blocks than entries of a covariance have directions
    source, decoded = list(clip(fmt, 3)), list(clip(fmt, 3, NOISE[1]))
    still, moved = [], []
    for t in range(2):
        spatial, temporal = [], []
        for frames in (source, decoded):
            before, after = (band(frames[index].planes[0].astype(float)) for index in (t, t + 1))
            entropy, variance = entropies(before, side)
            spatial.append(entropy * np.log2(1 + variance))
            change, own = entropies(after - before, side)
            temporal.append(change * np.log2(1 + variance) * np.log2(1 + own))
        still.append(np.abs(spatial[0] - spatial[1]).mean())
        moved.append(np.abs(temporal[0] - temporal[1]).mean())
    found = measured(metric, source, decoded, tmp_path)
    assert found.pooled["spatial"] == pytest.approx(np.mean(still), rel=1e-6)
    assert found.pooled["temporal"] == pytest.approx(np.mean(moved), rel=1e-6)
    assert found.value == pytest.approx(np.mean(still) * np.mean(moved), rel=1e-6)
    assert found.frames[0] is None
    assert measured(metric, source, source, tmp_path).value == 0


def test_flat_frames_and_small_ones(tmp_path: Path) -> None:
    flat = [Frame.from_planes(FORMAT, [np.full(shape, 90) for shape in FORMAT.plane_shapes])] * 2
    assert (measured(SpeedQa, flat, list(clip(FORMAT, 2)), tmp_path).value or 0) > 0
    with pytest.raises(MetricError, match="sides from 160"):
        SpeedQa(VideoFormat(352, 144))
    with pytest.raises(MetricError, match="sides from 48"):
        StRred(VideoFormat(352, 40))
