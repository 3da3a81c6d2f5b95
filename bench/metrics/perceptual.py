"""Perceptual distances from the source on networks' features: LPIPS and DISTS."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from bench.core.require import PERCEPTUAL, require
from bench.errors import MetricError
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.networks import lpips_weights
from bench.networks.device import device
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.weights import files as weights

T = TypeVar("T")


class FeatureDistance(DeferredMetric):
    """A distance of frames that is computed batch by batch, from features of the source that are worked out once."""

    direction = "lower"
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    shares_reference = True
    network: ClassVar[str]
    smallest: ClassVar[int]

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < self.smallest:
            raise MetricError(
                f"{self.name}: {fmt.width}x{fmt.height} is too small for {self.network} (sides from {self.smallest})"
            )
        self._pending: list[tuple[Frame, Frame]] = []
        self._values: Values = []
        self._kept: list[Any] = []

    def push(self, pair: FramePair) -> None:
        from bench.networks.backbone import batch_size

        self._pending.append((pair.reference, pair.distorted))
        if len(self._pending) >= batch_size(self.format.width, self.format.height):
            self._measure()

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        if self._pending:
            self._measure()
        return self._values, {}

    def _measure(self) -> None:
        references, distorted = zip(*self._pending, strict=True)
        self._pending = []
        self._values += self.distances(references, distorted)

    @abstractmethod
    def distances(self, references: Sequence[Frame], distorted: Sequence[Frame]) -> list[float]:
        """Distance of each decoded frame from its source frame."""

    def newest(self, frames: Sequence[Frame], make: Callable[[], T]) -> T:
        """What is made of a batch of source frames, for all who ask until one of them asks for the next batch.

        At 1080p the maps of VGG16 take a gigabyte; kept as long as the frames there would be three of them.
        """
        kept: list[T] = frames[-1].derived((self.name, len(frames)), list)
        if not kept:
            self._kept.clear()
            kept.append(make())
        self._kept = kept
        return kept[0]

    def provenance(self) -> dict[str, Any]:
        return {"network": self.network, "device": device().type, "conversion": colour.describe(self.format)}


class LpipsAlex(FeatureDistance):
    """LPIPS (Zhang et al. 2018), version 0.1, on AlexNet: differences of unit-length features, weighted."""

    name, title = "lpips_alex", "LPIPS (AlexNet)"
    needs = "pip install 'vcbench[perceptual]' and vcbench fetch weights alexnet"
    network, smallest = "AlexNet", 31
    net: ClassVar[str] = "alex"

    @classmethod
    def check(cls) -> None:
        lpips_weights.check(cls.net)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "weights": lpips_weights.identity(cls.net)}

    def distances(self, references: Sequence[Frame], distorted: Sequence[Frame]) -> list[float]:
        from bench.networks.lpips import LpipsNetwork

        network = LpipsNetwork.get(self.net)
        return network.distances(network.features_of(references), distorted)

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "heads": f"lpips {lpips_weights.HEADS}"}


class LpipsVgg(LpipsAlex):
    """LPIPS (Zhang et al. 2018), version 0.1, on VGG16: differences of unit-length features, weighted."""

    name, title = "lpips_vgg", "LPIPS (VGG16)"
    needs = "pip install 'vcbench[perceptual]' and vcbench fetch weights vgg16"
    network, smallest = "VGG16", 16
    net = "vgg"

    def distances(self, references: Sequence[Frame], distorted: Sequence[Frame]) -> list[float]:
        from bench.networks.lpips import LpipsNetwork

        network = LpipsNetwork.get(self.net)
        return network.distances(self.newest(references, lambda: network.extract(references)), distorted)


class Dists(FeatureDistance):
    """DISTS (Ding et al. 2020) on VGG16: differences of the features' means (structure) and correlations (texture)."""

    name, title = "dists", "DISTS"
    bounds = (0.0, 2.0)
    needs = "pip install 'vcbench[perceptual]' and vcbench fetch weights vgg16 dists"
    network, smallest = "VGG16", 17
    variants: ClassVar[Mapping[str, str]] = {"256": "frames shrunk to a short side of 256 first, as piq does"}
    shrink: ClassVar[bool] = False

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        return Dists256 if options == ("256",) else super().variant(options)

    @classmethod
    def check(cls) -> None:
        require("torch", extra=PERCEPTUAL)
        weights.available("vgg16")
        weights.available("dists")

    @classmethod
    def identity(cls) -> dict[str, Any]:
        digests = {name: weights.sha256(name) for name in ("vgg16", "dists")}
        return {**super().identity(), "weights": digests}

    def distances(self, references: Sequence[Frame], distorted: Sequence[Frame]) -> list[float]:
        from bench.networks.dists import DistsNetwork

        network = DistsNetwork.get()
        kept = self.newest(references, lambda: network.extract(references, shrink=self.shrink))
        return network.distances(kept, distorted, shrink=self.shrink)

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "scale": "short side 256, bilinear" if self.shrink else "original size"}


class Dists256(Dists):
    """DISTS (Ding et al. 2020) of frames shrunk bilinearly to a short side of 256, as piq computes it."""

    name, title = "dists:256", "DISTS at a short side of 256"
    variants: ClassVar[Mapping[str, str]] = {}
    shrink = True
