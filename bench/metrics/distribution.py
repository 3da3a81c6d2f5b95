"""Distances between the decoded frames as a set and the source frames as a set, in the features of a network."""

from __future__ import annotations

import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.one_thread import one_thread
from bench.core.require import PERCEPTUAL, require
from bench.errors import MetricError, UnknownNameError
from bench.metrics import distances
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.weights import files as weights

Rows = npt.NDArray[np.float32]

SIDES = ("reference", "decoded")


@dataclass(frozen=True)
class FeatureNetwork:
    """A network of ``feature_networks`` in words, so that no heavy library is needed to speak of it."""

    name: str
    weights: str
    modules: tuple[str, ...]
    dimensions: int
    min_side: int
    description: str


_INCEPTION = "Inception v3 of 2015-12-05 (torch-fidelity's), last pooling, 2048 features; pictures resized to 299x299 "

INCEPTION = FeatureNetwork(
    "inception",
    "inception-fid",
    ("torch", "torchvision", "torch_fidelity"),
    2048,
    2,
    _INCEPTION + "as in TensorFlow 1: bilinear, without antialiasing",
)
INCEPTION_ANTIALIAS = FeatureNetwork(
    "inception:antialias",
    "inception-fid",
    ("torch", "torchvision", "torch_fidelity"),
    2048,
    2,
    _INCEPTION + "bilinear with antialiasing, as torchmetrics does from 1.8 on",
)
SQUEEZENET = FeatureNetwork(
    "squeezenet",
    "squeezenet",
    ("torch", "torchvision"),
    512,
    32,
    "SqueezeNet 1.0, fire9 averaged over the picture, 512 features; no resizing",
)


class FeatureRows:
    """Features in the order they came, in a nameless temporary file: memory does not grow with the video."""

    def __init__(self, dimensions: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="vcbench-features-")  # noqa: SIM115 - it lives as long as this
        weakref.finalize(self, self._file.close)
        self._dimensions = dimensions
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: Rows) -> None:
        self._file.write(np.ascontiguousarray(rows, np.float32).data)
        self._count += len(rows)

    def array(self) -> Rows:
        """All rows, float32 N x D, read from the file as they are looked at."""
        shape = (self._count, self._dimensions)
        if not self._count:
            return np.empty(shape, np.float32)
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=shape)


class DistributionMetric(DeferredMetric):
    """A distance between two sets of features: one video's own ("video"), or all videos' of a dataset ("dataset").

    ``min_samples``: of fewer, values say more about their number than about the codec. Seen on x265 from QP 22 to 47
    beside values of 21 frames: 8 frames are within 15 % (Fréchet) and 21 % (kernel), 2 frames within 29 % and 97 %.
    """

    direction = "lower"
    headline = "video"
    shares_reference = True
    network: ClassVar[FeatureNetwork]
    patch: ClassVar[int | None] = None
    sample: ClassVar[str] = "frames"
    min_samples: ClassVar[int] = 8

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        least = self.patch or self.network.min_side
        if min(fmt.width, fmt.height) < least:
            raise MetricError(f"{self.name}: {fmt.width}x{fmt.height} is too small (sides from {least})")
        self._rows = {side: FeatureRows(self.network.dimensions) for side in SIDES}

    @classmethod
    def check(cls) -> None:
        require(*cls.network.modules, extra=PERCEPTUAL)
        weights.available(cls.network.weights)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "weights": weights.sha256(cls.network.weights)}

    @classmethod
    @abstractmethod
    def distance(cls, reference: Rows, decoded: Rows) -> tuple[float, dict[str, float]]:
        """Distance of two sets N x D, and what else is to be known of it."""

    @classmethod
    def pooled(cls, parts: Sequence[Mapping[str, npt.NDArray[Any]]]) -> dict[str, float]:
        """Distance over the videos of a dataset: "dataset", the value, and what else is to be known of it.

        ``parts``: the ``features()`` of each cell of one (codec, rate point, dataset), N x D under "reference" and
        "decoded". All samples are one set, so that a long video weighs more. Raises MetricError for too few.
        """
        return cls._of("dataset", *(np.concatenate([part[side] for part in parts]) for side in SIDES))

    @classmethod
    def _of(cls, pooling: str, reference: Rows, decoded: Rows) -> dict[str, float]:
        count = min(len(reference), len(decoded))
        if count < cls.min_samples:
            raise MetricError(
                f"{cls.name}: the {pooling} has too few {cls.sample} ({count}); it takes {cls.min_samples} or more"
            )
        with one_thread():
            value, more = cls.distance(reference, decoded)
        return {pooling: value, "samples": float(count), **more}

    def push(self, pair: FramePair) -> None:
        for side, frame in zip(SIDES, (pair.reference, pair.distorted), strict=True):
            self._rows[side].append(self._features(frame))

    def _features(self, frame: Frame) -> Rows:
        """Features of a frame, shared by the metrics on the same network and by the cells of the same source."""

        def make() -> Rows:
            from bench.networks.features import extract, pictures

            return extract(self.network.name, pictures(frame, self.patch))

        return frame.derived(("features", self.network.name, self.patch), make)

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        return [], self._of("video", *self.features().values())

    def features(self) -> Mapping[str, Rows]:
        return {side: rows.array() for side, rows in self._rows.items()}

    def provenance(self) -> dict[str, Any]:
        return {
            "network": self.network.description,
            "samples": self._samples(),
            "conversion": colour.describe(self.format),
        }

    def _samples(self) -> str:
        count, dimensions = len(self._rows["decoded"]), self.network.dimensions
        told = f"{count} {self.sample}, {dimensions} features"
        return told if count > dimensions else f"{told}: comparable only with values on the same {self.sample}"


class FrechetMetric(DistributionMetric):
    """Squared Fréchet distance between the Gaussians fitted to the two sets."""

    bounds = (0.0, None)

    @classmethod
    def distance(cls, reference: Rows, decoded: Rows) -> tuple[float, dict[str, float]]:
        return distances.frechet(reference, decoded), {}


class KernelMetric(DistributionMetric):
    """Squared maximum mean discrepancy of the two sets under a cubic kernel, unbiased, over subsets of them."""

    fidelity = False  # an unbiased estimate need not be least for the source, nor rise with every strength of a blur

    @classmethod
    def distance(cls, reference: Rows, decoded: Rows) -> tuple[float, dict[str, float]]:
        found = distances.kernel(reference, decoded)
        more = {"subsets": float(found.subsets), "subset_size": float(found.subset_size)}
        if found.subsets > 1:
            more["subset_deviation"] = found.deviation
        return found.value, more


class _OnInception(DistributionMetric):
    network = INCEPTION
    needs = "vcbench[perceptual] and the weights inception-fid"
    variants: ClassVar = {"antialias": "pictures are resized with antialiasing, as torchmetrics does from 1.8 on"}

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        if options != ("antialias",):
            raise UnknownNameError(f"variant of {cls.name}", ":".join(options), cls.variants)
        changes = {"name": f"{cls.name}:antialias", "network": INCEPTION_ANTIALIAS, "__doc__": cls.__doc__}
        return type(f"{cls.__name__}Antialias", (cls,), changes)


class Fid(FrechetMetric, _OnInception):
    """Fréchet inception distance (Heusel et al. 2017) between the decoded and the source frames."""

    name, title = "fid", "FID"


class Fid256(FrechetMetric, _OnInception):
    """FID/256 (Mentzer et al. 2020): Fréchet inception distance between patches of 256x256, in two shifted grids."""

    name, title = "fid_256", "FID/256"
    patch, sample = 256, "patches"


class Kid(KernelMetric, _OnInception):
    """Kernel inception distance (Binkowski et al. 2018) between the decoded and the source frames."""

    name, title = "kid", "KID"


class Kid256(KernelMetric, _OnInception):
    """Kernel inception distance between patches of 256x256, in two shifted grids."""

    name, title = "kid_256", "KID/256"
    patch, sample = 256, "patches"


class _OnSqueezeNet(DistributionMetric):
    network = SQUEEZENET
    needs = "vcbench[perceptual] and the weights squeezenet"


class FdSqueezenet(FrechetMetric, _OnSqueezeNet):
    """Fréchet distance between the decoded and the source frames in the features of SqueezeNet; it is no FID."""

    name, title = "fd_squeezenet", "Fréchet distance, SqueezeNet"


class FdSqueezenet256(FrechetMetric, _OnSqueezeNet):
    """Fréchet distance between patches of 256x256 in the features of SqueezeNet; it is no FID/256."""

    name, title = "fd_squeezenet_256", "Fréchet distance of patches, SqueezeNet"
    patch, sample = 256, "patches"


class KdSqueezenet(KernelMetric, _OnSqueezeNet):
    """Kernel distance between the decoded and the source frames in the features of SqueezeNet; it is no KID."""

    name, title = "kd_squeezenet", "Kernel distance, SqueezeNet"


class KdSqueezenet256(KernelMetric, _OnSqueezeNet):
    """Kernel distance between patches of 256x256 in the features of SqueezeNet."""

    name, title = "kd_squeezenet_256", "Kernel distance of patches, SqueezeNet"
    patch, sample = 256, "patches"
