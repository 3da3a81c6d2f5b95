"""The networks of metrics are read from their files once a process, however many cells it measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.metrics.base import FramePair
from bench.networks import features, flow
from bench.registry import metric_class
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.weights import files

FORMAT = VideoFormat(64, 64)


def measure(name: str) -> None:
    """One cell of two frames."""
    metric = metric_class(name)(FORMAT)
    generator = np.random.default_rng(1)
    pair = None
    for index in range(2):
        reference, distorted = (
            Frame(FORMAT, generator.integers(0, 256, FORMAT.samples_per_frame).astype(np.uint8)) for _ in range(2)
        )
        pair = FramePair(index, reference, distorted, pair)
        getattr(metric, "push", metric.update)(pair)


@pytest.mark.parametrize(
    ("name", "file"), [("fd_squeezenet", "squeezenet1_0"), ("ewarp:spynet", "spynet"), ("tof:spynet", "spynet")]
)
def test_a_second_cell_does_not_read_the_weights_again(
    shared_weights: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    read: list[str] = []
    real = files.read_tensors

    def counted(path: Path) -> dict[str, torch.Tensor]:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(files, "read_tensors", counted)
    features._built.cache_clear()
    flow._network.cache_clear()
    measure(name)
    assert len(read) == 1
    assert read[0].startswith(file)
    measure(name)
    assert len(read) == 1
