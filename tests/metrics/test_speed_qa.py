"""SpEED-QA against its definition written out block by block."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.conformance.material import clip
from bench.conformance.metric import NOISE
from bench.engine.measure import measure
from bench.errors import MetricError
from bench.metrics.niqe import halved
from bench.metrics.speed_qa import SpeedQa
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

FORMAT = VideoFormat(208, 176)


def entropies(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and local variance of each block of 5 x 5, of a plane less its local mean."""
    height, width = (side // 5 * 5 for side in plane.shape)
    windows = [plane[y : y + 5, x : x + 5].ravel() for y in range(height - 4) for x in range(width - 4)]
    covariance = np.cov(np.array(windows).T, bias=True)
    inverse, eigenvalues = np.linalg.inv(covariance), np.linalg.eigvalsh(covariance)
    entropy, variance = np.zeros((height // 5, width // 5)), np.zeros((height // 5, width // 5))
    for y, x in np.ndindex(entropy.shape):
        block = plane[5 * y : 5 * y + 5, 5 * x : 5 * x + 5].ravel()
        variance[y, x] = block @ inverse @ block / 25
        entropy[y, x] = sum(np.log2(variance[y, x] * value + 0.1) + np.log(2 * np.pi * np.e) for value in eigenvalues)
    return entropy, variance


def shrunk(frame: Frame) -> np.ndarray:
    plane = frame.planes[0].astype(float)
    for _ in range(4):
        plane = halved(plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2])
    return plane


def less_mean(plane: np.ndarray) -> np.ndarray:
    return plane - cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)


def test_it_is_the_definition(tmp_path: Path) -> None:
    fmt = VideoFormat(320, 288)  # more blocks than entries of a covariance have directions
    source, decoded = list(clip(fmt, 3)), list(clip(fmt, 3, NOISE[1]))
    still, moved = [], []
    for t in range(2):
        spatial, temporal = [], []
        for side in (source, decoded):
            entropy, variance = entropies(less_mean(shrunk(side[t])))
            spatial.append(entropy * np.log2(1 + variance))
            change, own = entropies(less_mean(shrunk(side[t + 1]) - shrunk(side[t])))
            temporal.append(change * np.log2(1 + variance) * np.log2(1 + own))
        still.append(np.abs(spatial[0] - spatial[1]).mean())
        moved.append(np.abs(temporal[0] - temporal[1]).mean())
    (found,) = measure(iter(source), iter(decoded), [SpeedQa], CodingTransform(fmt, fmt), tmp_path)
    assert found.pooled["spatial"] == pytest.approx(np.mean(still), rel=1e-6)
    assert found.pooled["temporal"] == pytest.approx(np.mean(moved), rel=1e-6)
    assert found.value == pytest.approx(np.mean(still) * np.mean(moved), rel=1e-6)
    assert found.frames[0] is None
    (same,) = measure(iter(source), iter(source), [SpeedQa], CodingTransform(fmt, fmt), tmp_path)
    assert same.value == 0


def test_flat_frames_and_small_ones(tmp_path: Path) -> None:
    flat = [Frame.from_planes(FORMAT, [np.full(shape, 90) for shape in FORMAT.plane_shapes])] * 2
    (found,) = measure(iter(flat), iter(clip(FORMAT, 2)), [SpeedQa], CodingTransform(FORMAT, FORMAT), tmp_path)
    assert (found.value or 0) > 0
    with pytest.raises(MetricError, match="sides from 160"):
        SpeedQa(VideoFormat(352, 144))
