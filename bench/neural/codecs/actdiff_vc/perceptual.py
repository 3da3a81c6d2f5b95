"""How far a splatted keyframe looks from the frame it stands for, where it covers it.

Two measures, 0 for the same and about 1 for pictures that have nothing in common: "squeezenet", unweighted LPIPS of
SqueezeNet's features, and "structural", which needs no weights. Their values differ; which one an encoder used belongs
to what it reports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.core.require import PERCEPTUAL, require
from bench.errors import UnavailableError, UnknownNameError
from bench.neural.codecs.actdiff_vc.splat import Splat
from bench.neural.codecs.actdiff_vc.tracks import Picture
from bench.weights import files as weights

if TYPE_CHECKING:
    import torch

    from bench.neural.networks.perceptual_loss import DeepFeatures

Weights = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

SHORT_SIDE = 64, 192
"""Pixels; frames are compared at a size whose short side lies between."""

SSIM_SIGMA, SSIM_WINDOW = 1.5, 11


class Measure(ABC):
    """One way to compare. ``name`` tells which."""

    name: str
    reduction = 1

    def distance(self, frame: Picture, splatted: Splat) -> float:
        """Distance of a frame (RGB uint8 H x W x 3) from a splatted keyframe, over the pixels that this one covers.

        0 for the same; 1 where nothing is covered.
        """
        if not splatted.covered.any():
            return 1.0
        # in the holes both are the same, so that no edge of the mask is taken for a difference
        filled = np.where(splatted.covered[..., None], splatted.picture, frame)
        size = self._size(*frame.shape[:2])
        covered = splatted.covered.astype(np.float32)
        return self._compare(_resized(frame, size), _resized(filled, size), _resized(covered, size))

    def _size(self, height: int, width: int) -> tuple[int, int]:
        short = min(height, width)
        scale = float(np.clip(short, *SHORT_SIDE)) / short / self.reduction
        return max(1, round(height * scale)), max(1, round(width * scale))

    @abstractmethod
    def _compare(self, first: Picture, second: Picture, covered: Weights) -> float:
        """Mean difference of two pictures where they are covered (H x W, 0 to 1)."""


class SqueezeNetDistance(Measure):
    """Squared distance of SqueezeNet's unit features, mean over five depths and the places that are covered.

    Source: Zhang et al. 2018 (LPIPS), without learned weights of channels. UnavailableError without the network's.
    """

    name = "squeezenet"

    def __init__(self) -> None:
        require("torch", "torchvision", extra=PERCEPTUAL)
        weights.path("squeezenet")
        self._network = _network(weights.sha256("squeezenet"))

    def _compare(self, first: Picture, second: Picture, covered: Weights) -> float:
        import torch
        from torch.nn import functional

        from bench.neural.networks.perceptual_loss import unit

        mask = torch.from_numpy(covered)[None, None]
        found = []
        with torch.inference_mode():
            for a, b in zip(self._network(_tensor(first)), self._network(_tensor(second)), strict=True):
                difference = (unit(a) - unit(b)).square().sum(1)[0]
                share = functional.adaptive_avg_pool2d(mask, difference.shape)[0, 0]
                found.append(float((difference * share).sum() / share.sum()))
        return sum(found) / len(found)


class StructuralDistance(Measure):
    """1 - SSIM of luma at half the size, where a misplacement by a fraction of a pixel counts less.

    Source: Wang et al. 2004, Gaussian window of sigma 1.5; mean over the places that are covered.
    """

    name = "structural"
    reduction = 2

    def _compare(self, first: Picture, second: Picture, covered: Weights) -> float:
        import cv2

        a, b = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64) for picture in (first, second))
        mean_a, mean_b = _local_mean(a), _local_mean(b)
        variances = _local_mean(a * a) - mean_a**2 + _local_mean(b * b) - mean_b**2
        covariance = _local_mean(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        similarity = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        similarity *= (2 * covariance + c2) / (variances + c2)
        return float(((1 - similarity) * covered).sum() / covered.sum())


MEASURES: dict[str, type[Measure]] = {kind.name: kind for kind in (SqueezeNetDistance, StructuralDistance)}


def measure_named(name: str | None = None) -> Measure:
    """The measure of a name; without one "squeezenet" where it can run, else "structural".

    Raises UnknownNameError, and UnavailableError where the one that is named cannot run here.
    """
    if name is not None:
        if name not in MEASURES:
            raise UnknownNameError("perceptual measure", name, MEASURES)
        return MEASURES[name]()
    try:
        return SqueezeNetDistance()
    except UnavailableError:
        return StructuralDistance()


@cache
def _network(digest: str) -> DeepFeatures:
    """By digest: other weights of the same name are another network."""
    from bench.neural.networks.perceptual_loss import DeepFeatures

    return DeepFeatures(weights.load("squeezenet"))


def _tensor(picture: Picture) -> torch.Tensor:
    import torch

    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


def _local_mean(values: Values) -> Values:
    import cv2

    window = (SSIM_WINDOW, SSIM_WINDOW)
    smooth: Values = cv2.GaussianBlur(values, window, SSIM_SIGMA, borderType=cv2.BORDER_REFLECT)
    return smooth


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    import cv2

    height, width = size
    if values.shape[:2] == size:
        return values
    resized: npt.NDArray[Any] = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return resized
