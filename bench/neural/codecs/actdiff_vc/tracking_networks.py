"""CoTracker and AllTracker, from a user's own checkout: networks that follow points through occlusions.

Neither is part of vcbench. An environment variable names a folder that holds the checkout and its file of weights;
nothing is downloaded. The code in that folder is executed.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.require import NEURAL, require
from bench.errors import UnavailableError, UnknownNameError
from bench.networks.device import device
from bench.neural.codecs.actdiff_vc.tracks import Dis, Grid, Mask, Picture, Points, Tracker

if TYPE_CHECKING:
    import torch

POINTS_AT_ONCE = 10_000
"""CoTracker follows as many together: what fits into the memory of common GPUs."""


class NetworkTracker(Tracker):
    """A network that takes a whole segment at once."""

    environment: str
    project: str
    code: str
    weight_files: tuple[str, ...]

    def follow(self, frames: Iterable[Picture], grid: Grid) -> Iterator[tuple[Points, Mask]]:
        import torch

        folder, file = self._found()
        video = torch.from_numpy(np.stack(list(frames))).permute(0, 3, 1, 2)[None].float().to(device())
        with torch.inference_mode(), _importable(folder):
            network = self._load(torch.load(file, map_location="cpu", weights_only=True))
            places, seen = self._track(network.eval().to(device()), video, grid)
        start = grid.points()
        for index, (positions, visible) in enumerate(zip(places.cpu().numpy(), seen.cpu().numpy(), strict=True)):
            if index == 0:
                yield start, np.ones(len(start), bool)
                continue
            inside = ((positions >= 0) & (positions <= (grid.width - 1, grid.height - 1))).all(axis=1)
            yield positions.astype(np.float32), visible & inside

    def check(self) -> None:
        self._found()

    def _found(self) -> tuple[Path, Path]:
        """The checkout, and the file of weights in it; UnavailableError, saying what to do, where either is not."""
        require("torch", extra=NEURAL)
        folder = Path(os.environ.get(self.environment) or ".")
        if not os.environ.get(self.environment) or not (folder / self.code).is_file():
            raise UnavailableError(
                f"{self.name}: name the folder of a checkout of {self.project}, with {self.code} in it, "
                f"by {self.environment}"
            )
        for name in self.weight_files:
            if (folder / name).is_file():
                return folder, folder / name
        raise UnavailableError(
            f"{self.name}: {folder} has no weights; put {self.weight_files[0]}, which {self.project} publishes, there"
        )

    @abstractmethod
    def _load(self, stored: dict[str, Any]) -> Any:
        """The network, of what its file of weights holds."""

    @abstractmethod
    def _track(self, network: Any, video: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (frames x points x 2) and visibility (frames x points); video 1 x frames x 3 x H x W, 0 to 255."""


class CoTracker(NetworkTracker):
    """CoTracker3, offline (Karaev et al. 2024)."""

    name = "cotracker"
    environment = "VCBENCH_COTRACKER"
    project = "facebookresearch/co-tracker"
    code = "hubconf.py"
    weight_files = ("scaled_offline.pth", "checkpoints/scaled_offline.pth")

    def _load(self, stored: dict[str, Any]) -> Any:
        predictor = import_module("hubconf").cotracker3_offline(pretrained=False)
        predictor.model.load_state_dict(stored)
        return predictor

    def _track(self, network: Any, video: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        points = torch.from_numpy(grid.points()).to(video.device)
        queries = torch.cat([torch.zeros_like(points[:, :1]), points], dim=1)[None]
        parts = [network(video, queries=some) for some in queries.split(POINTS_AT_ONCE, dim=1)]
        places, seen = (torch.cat(found, dim=2)[0] for found in zip(*parts, strict=True))
        return places, seen.bool()


class AllTracker(NetworkTracker):
    """AllTracker (Harley et al. 2025): a flow from the first frame to each of the others."""

    name = "alltracker"
    environment = "VCBENCH_ALLTRACKER"
    project = "aharley/alltracker"
    code = "nets/alltracker.py"
    weight_files = ("alltracker.pth", "checkpoints/alltracker.pth")
    window, stride, iterations, confident = 16, 8, 4, 0.1

    def _load(self, stored: dict[str, Any]) -> Any:
        network = import_module("nets.alltracker").Net(self.window)
        network.load_state_dict(stored["model"])
        return network

    def _track(self, network: Any, video: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
        import torch
        from torch.nn import functional

        below, right = (-side % self.stride for side in (grid.height, grid.width))
        padded = functional.pad(video[0], (0, right, 0, below), mode="replicate")[None]
        flows, certainty, *_ = network.forward_sliding(padded, iters=self.iterations, sw=None, is_training=False)
        points = torch.from_numpy(grid.points()).to(flows.device)
        x, y = points.long().unbind(1)
        places = flows[0][:, :, y, x].transpose(1, 2) + points
        return places, certainty[0][:, 1, y, x] > self.confident


NETWORKS: dict[str, type[NetworkTracker]] = {kind.name: kind for kind in (CoTracker, AllTracker)}


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules of a folder can be imported, and are forgotten after: their names are as common as ``utils``."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def tracker_named(name: str) -> Tracker:
    """The tracker of a name, "dis", "cotracker" or "alltracker"; UnknownNameError for others."""
    if name == Dis.name:
        return Dis()
    if name not in NETWORKS:
        raise UnknownNameError("tracker", name, [Dis.name, *NETWORKS])
    return NETWORKS[name]()
