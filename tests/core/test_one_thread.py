"""Values have the same bits with any number of threads that torch, BLAS and the filters are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.core.one_thread import one_thread
from bench.engine.measure import measure
from bench.metrics import distances
from bench.networks.device import device
from bench.registry import metric_class
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import open_sequence

torch = pytest.importorskip("torch")
threadpoolctl = pytest.importorskip("threadpoolctl")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_torch_and_blas_have_one_thread_inside_and_what_they_had_afterwards() -> None:
    torch.set_num_threads(3)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with one_thread():
            with one_thread():
                pass
            assert (torch.get_num_threads(), blas_threads()) == (1, {1})
            torch.set_num_threads(2)  # as one that is imported only now would have
            device()
            assert torch.get_num_threads() == 1
        assert (torch.get_num_threads(), blas_threads()) == (3, before)
    device()
    assert torch.get_num_threads() == 3


def test_blocks_side_by_side_are_lifted_with_the_last() -> None:
    torch.set_num_threads(2)
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 2


NETWORKS = ["fd_squeezenet", "kd_squeezenet", "niqe", "ewarp", "tof", "psnr_y", "ssim", "ms_ssim", "xpsnr", "vmaf"]


@pytest.mark.slow
def test_every_value_and_feature_is_the_same_with_one_thread_and_with_two(
    tmp_path: Path, tiny_clip: Callable[..., Path], shared_weights: Path
) -> None:
    """More threads than processors part sums as well, so that this holds nothing on a small machine that it hides."""
    clip = open_sequence(tiny_clip(256, 192, frames=8))
    same = CodingTransform(clip.format, clip.format)

    def noisy() -> Iterator[Frame]:
        generator = np.random.default_rng(1)
        for frame in clip.read():
            noise = (generator.integers(-6, 7, plane.shape) for plane in frame.planes)
            changed = [np.clip(plane.astype(int) + more, 0, 255).astype(np.uint8)
                       for plane, more in zip(frame.planes, noise, strict=True)]  # fmt: skip
            yield Frame.from_planes(frame.format, changed)

    kinds = [metric_class(name) for name in NETWORKS]
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            found.append(measure(clip.read(), noisy(), kinds, same, tmp_path, threads=threads))
    for one, *others in zip(*found, strict=True):
        assert one.status == "ok", one.reason
        for other in others:
            assert (other.value, other.pooled) == (one.value, one.pooled), one.metric
            assert all(np.array_equal(other.features[side], one.features[side]) for side in one.features), one.metric


def test_a_distance_over_a_dataset_is_the_same_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(300)
    features = generator.standard_normal((300, 512)).astype(np.float32)
    part = {"reference": features, "decoded": features + generator.standard_normal((300, 512)).astype(np.float32) / 10}
    kind = metric_class("fd_squeezenet")
    seen = []
    true = distances.frechet

    def watched(*given: np.ndarray) -> float:
        seen.append(blas_threads())
        return true(*given)

    monkeypatch.setattr(distances, "frechet", watched)
    values = set()
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            values.add(kind.pooled([part])["dataset"])
    assert len(values) == 1
    assert seen == [{1}, {1}]
