"""Linear maps that networks start from: principal components, least squares, convolutions that are a matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def components(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first principal directions (count x dimensions) of samples (N x dimensions), and their standard deviations.

    No mean is taken off: the grey level is a component as any other.
    """
    covariance = samples.double().T @ samples.double() / len(samples)
    variance, vectors = torch.linalg.eigh(covariance)
    order = torch.argsort(variance, descending=True)[:count]
    return vectors[:, order].T.float(), variance[order].clamp_min(1e-8).sqrt().float()


@torch.no_grad()
def become(conv: nn.Conv2d, matrix: Tensor) -> None:
    """Make a convolution the linear map ``matrix`` (out x in) of each place; rows and columns beyond it stay."""
    out, into = matrix.shape
    middle = conv.kernel_size[0] // 2
    conv.weight[:out] = 0
    conv.weight[:out, :into, middle, middle] = matrix
    if conv.bias is not None:
        conv.bias[:out] = 0


def flat(features: Tensor) -> Tensor:
    """Features B x channels x H x W as samples, N x channels."""
    return features.transpose(0, 1).flatten(1).T


def fit(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The linear map (out x in) that takes inputs (N x in) to outputs (N x out) with the least squared error."""
    solution = torch.linalg.lstsq(inputs.double(), outputs.double(), driver="gelsd").solution
    return solution.T.float()
