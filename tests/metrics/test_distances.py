"""Fréchet and kernel distances against closed forms and three libraries on identical features."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from bench.metrics.distances import SEED, frechet, kernel, squared_mmd


def features(count: int, dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sets that overlap, with scales an order of magnitude apart."""
    generator = np.random.default_rng(seed)
    first = generator.normal(size=(count, dimensions)) * np.linspace(0.1, 3, dimensions) + 1
    return first, 0.9 * first + generator.normal(size=(count, dimensions)) * 0.3


def gaussian_samples(mean: np.ndarray, deviations: np.ndarray, count: int = 60) -> np.ndarray:
    """Samples whose own mean and covariance are exactly these."""
    raw = np.random.default_rng(1).normal(size=(count, len(mean)))
    white, _ = np.linalg.qr(raw - raw.mean(axis=0))
    return white * np.sqrt(count - 1) * deviations + mean


@pytest.fixture(scope="module")
def identity():
    """A feature network that passes on what it is given."""
    import torch

    class Identity(torch.nn.Module):
        num_features = 64

        def forward(self, given):
            return given

    return Identity()


def test_frechet_distance_of_gaussians_is_the_closed_form():
    """Covariances that commute: |m - m'|² + sum of (s - s')²."""
    deviations, others = np.array([1.0, 2.0, 0.0, 3.0]), np.array([2.0, 2.0, 1.0, 0.5])
    mean, other = np.zeros(4), np.array([1.0, 0.0, 2.0, 0.0])
    found = frechet(gaussian_samples(mean, deviations), gaussian_samples(other, others))
    assert found == pytest.approx(5 + 1 + 0 + 1 + 6.25, rel=1e-12)


def test_frechet_distance_of_two_samples_in_many_dimensions_is_the_closed_form():
    """Covariances of rank one, u uᵀ and v vᵀ: |m - m'|² + |u|² + |v|² - 2 |u·v|."""
    first, second = np.random.default_rng(2).normal(size=(2, 2, 500))
    u, v = ((pair[0] - pair[1]) / np.sqrt(2) for pair in (first, second))
    offset = first.mean(axis=0) - second.mean(axis=0)
    expected = offset @ offset + u @ u + v @ v - 2 * abs(u @ v)
    assert frechet(first, second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "tolerance"), [(300, 1e-9), (1000, 1e-9), (20, 1e-6)])
@pytest.mark.slow
def test_frechet_distance_is_that_of_the_libraries(identity, count, tolerance):
    """With fewer samples than dimensions the libraries take roots of rounding errors: seen 6e-7."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torchmetrics.image.fid import FrechetInceptionDistance

    sets = features(count, 64)
    tensors = [torch.from_numpy(rows) for rows in sets]
    theirs = FrechetInceptionDistance(feature=identity).set_dtype(torch.float64)
    for tensor, real in zip(tensors, (True, False), strict=True):
        theirs.update(tensor, real=real)
    assert frechet(*sets) == pytest.approx(float(theirs.compute()), rel=tolerance)
    statistics = [fid_features_to_statistics(tensor) for tensor in tensors]
    fidelity = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert frechet(*sets) == pytest.approx(fidelity, rel=tolerance)


@pytest.mark.parametrize(("count", "dimensions"), [(9, 512), (512, 512), (700, 64)])
def test_a_set_has_no_distance_to_itself(count, dimensions):
    first, second = features(count, dimensions)
    scale = np.var(first, axis=0).sum()
    assert 0 <= frechet(first, first) < 1e-12 * scale
    assert frechet(first, second) == pytest.approx(frechet(second, first), rel=1e-10)
    assert frechet(first, second) > 1e-3 * scale


def test_frechet_distance_takes_sets_of_different_sizes_and_single_precision():
    first, second = (rows.astype(np.float32) for rows in features(200, 16))
    doubled = np.concatenate([second, second])
    spread = np.cov(first.astype(float).T), np.cov(doubled.astype(float).T)
    roots = np.sqrt(np.linalg.eigvals(spread[0] @ spread[1]).real).sum()
    offset = first.mean(axis=0, dtype=float) - doubled.mean(axis=0, dtype=float)
    expected = offset @ offset + np.trace(spread[0]) + np.trace(spread[1]) - 2 * roots
    assert frechet(first, doubled) == pytest.approx(expected, rel=1e-9)


@pytest.mark.neural
def test_kernel_distance_of_small_sets_is_that_of_the_libraries_on_all_of_them(identity):
    import piq
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.image.kid import KernelInceptionDistance

        theirs = KernelInceptionDistance(feature=identity, subsets=2, subset_size=150)
    sets = features(150, 64)
    tensors = [torch.from_numpy(rows) for rows in sets]
    for tensor, real in zip(tensors, (True, False), strict=True):
        theirs.update(tensor, real=real)
    found = kernel(*sets)
    assert (found.subsets, found.subset_size, found.deviation) == (1, 150, 0)
    assert found.value == pytest.approx(float(theirs.compute()[0]), rel=1e-9)
    assert found.value == pytest.approx(float(piq.KID()(*tensors)), rel=1e-9)


@pytest.mark.neural
def test_kernel_distance_of_large_sets_is_that_of_torch_fidelity_on_the_same_subsets():
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    sets = features(300, 16)
    theirs = kid_features_to_metric(
        *(torch.from_numpy(rows) for rows in sets),
        kid_subsets=10,
        kid_subset_size=100,
        rng_seed=SEED,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1.0,
        verbose=False,
    )
    found = kernel(*sets, subsets=10, subset_size=100)
    assert (found.subsets, found.subset_size) == (10, 100)
    assert found.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert found.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)


def test_squared_mmd_by_hand():
    first, second = np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([[0.0, 0.0], [2.0, 0.0]])
    within = (2 / 2 + 1) ** 3 + (0 / 2 + 1) ** 3
    across = (1 + (2 / 2 + 1) ** 3 + 1 + 1) / 4
    assert squared_mmd(first, second) == pytest.approx(within - 2 * across, rel=1e-14)


def test_kernel_distance_of_equal_sets_is_negative():
    rows, _ = features(50, 8)
    assert kernel(rows, rows).value < 0


@pytest.mark.slow
def test_the_subset_protocol_is_that_of_the_published_definition():
    rows = np.random.default_rng(0).normal(size=(1001, 2))
    found = kernel(rows, rows + 1)
    assert (found.subsets, found.subset_size) == (100, 1000)
    assert 0 < found.deviation < 0.01 * found.value
