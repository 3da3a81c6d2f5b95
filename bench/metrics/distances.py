"""Distances between two sets of feature vectors: Fréchet's, and the kernel distance (squared MMD)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020
"""Subset protocol of the kernel distance: number, size and seed as torch-fidelity has them (size of Binkowski 2018)."""


def frechet(a: Features, b: Features) -> float:
    """Squared Fréchet distance between the Gaussians fitted to two sets, from 0 up.

    Shapes N x D and M x D, any real type, two rows or more; computed in float64. Dowson and Landau 1982;
    Heusel et al. 2017, equation 6, with covariances divided by N - 1. Exact for fewer rows than dimensions too: with
    C = AᵀA and C' = BᵀB, the trace of the square root of CC' is the sum of the singular values of ABᵀ, so no root is
    taken of a rounding error.
    """
    mean_a, factor_a = _gaussian(a)
    mean_b, factor_b = _gaussian(b)
    covariances = np.sum(factor_a**2) + np.sum(factor_b**2)
    common = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    return max(0.0, float(np.sum((mean_a - mean_b) ** 2) + covariances - 2 * common))


def _gaussian(rows: Features) -> tuple[Matrix, Matrix]:
    """Mean, and a matrix F of at most D rows with FᵀF the covariance; rows are read D at a time."""
    count, dimensions = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    factor: Matrix = np.empty((0, dimensions))
    for start in range(0, count, dimensions):
        centred = rows[start : start + dimensions] - mean
        factor = np.asarray(np.linalg.qr(np.vstack([factor, centred]), mode="r"))
    return mean, factor / np.sqrt(count - 1)


@dataclass(frozen=True)
class KernelDistance:
    """Mean kernel distance over subsets, its standard deviation over them, and what they were."""

    value: float
    deviation: float
    subsets: int
    subset_size: int


def kernel(a: Features, b: Features, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE) -> KernelDistance:
    """Squared maximum mean discrepancy under the kernel (x·y / D + 1)³, unbiased for independent samples.

    Shapes N x D and M x D, two rows or more; computed in float64. Binkowski et al. 2018, section 4 (the unbiased
    estimate of Gretton et al. 2012, equation 3), its mean over ``subsets`` random ones of ``subset_size`` rows. Sets no
    larger than that are one subset, whole: every subset would be. It can be negative, and is for equal sets.
    """
    size = min(len(a), len(b), subset_size)
    if len(a) == len(b) == size:
        return KernelDistance(squared_mmd(a, b), 0.0, 1, size)
    generator = np.random.RandomState(SEED)  # its stream is frozen, that of newer generators is not
    values = [
        squared_mmd(*(rows[generator.choice(len(rows), size, replace=False)] for rows in (a, b)))
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets, size)


def squared_mmd(a: Features, b: Features) -> float:
    """Unbiased estimate of the squared MMD of two sets under the kernel (x·y / D + 1)³; see `kernel`."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    within = sum((np.sum(k) - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (_cubic(x, x), _cubic(y, y)))
    return float(within - 2 * _cubic(x, y).mean())


def _cubic(x: Matrix, y: Matrix) -> Matrix:
    similarity: Matrix = x @ y.T / x.shape[1] + 1
    return similarity * similarity * similarity  # a power takes ten times as long
