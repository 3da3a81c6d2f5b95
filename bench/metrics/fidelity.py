"""PSNR, SSIM and MS-SSIM, each under the conventions that the field reports it in."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from bench.errors import MetricError
from bench.metrics import dcvc
from bench.metrics.base import FramePair, Metric, Values, pool
from bench.metrics.kernels import (
    OddSides,
    StructuralSimilarity,
    box_ssim,
    ms_ssim_levels,
    plane_sse,
    psnr,
    ssim_ms_ssim,
    warm_up,
)
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Samples

# DCVC's evaluation counts a lossless frame as this many dB; elsewhere it is used in BD-rate only.
PSNR_CAP = 99.9

Shape = tuple[int, int]
Picture = Literal["Y", "YUV", "all planes", "RGB", "DCVC's RGB"]
Conventions = Mapping[str, Mapping[str, Any]]


class Fidelity(Metric):
    """A metric that is reported under several conventions, chosen by name: "psnr_yuv:dcvc".

    ``conventions``: what of the class each of them changes; its ``title`` says what that means.
    """

    outside_python = True

    conventions: ClassVar[Conventions] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.variants = {name: changes["title"] for name, changes in cls.conventions.items()}

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        convention = ":".join(options)
        if convention not in cls.conventions:
            return super().variant(options)
        own = {"name": f"{cls.name}:{convention}", "conventions": {}, "__module__": cls.__module__}
        return type(f"{cls.__name__}[{convention}]", (cls,), {**cls.conventions[convention], **own})


class Psnr(Fidelity):
    """Peak signal-to-noise ratio, 10 log10(peak^2 / MSE) in dB, peak 255 / 1023 / 4095; identical frames give infinity.

    A frame's value is the mean over its parts (planes) with ``weights``, each counted as ``ceiling`` at most; or, where
    they are ``joint``, the dB of their mean MSE. The headline is the mean of the frames' dB; ``from_mean_mse`` is the
    dB of the mean MSE, as FFmpeg's summary prints. With ``aom`` the peak is 255, 1020 or 4080, and a part counts as the
    dB of half a squared error at most, rounded up; ``apsnr`` is the mean of the parts' dB of all frames' errors.
    """

    unit = "dB"
    bounds = (0.0, None)
    cap = PSNR_CAP
    weights: ClassVar[tuple[int, ...]] = (1,)
    ceiling: ClassVar[float] = math.inf
    joint: ClassVar[bool] = False
    aom: ClassVar[bool] = False

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._peak = 255 << (fmt.bit_depth - 8) if self.aom else fmt.peak
        self._totals: list[tuple[int, int]] = []

    @abstractmethod
    def errors(self, pair: FramePair) -> list[tuple[int, int]]:
        """Squared error and number of samples of each part."""

    def update(self, pair: FramePair) -> float:
        errors, weights = self.errors(pair), self.weights
        if self.aom:
            self._totals = _added(self._totals, errors)
            return self._weighted(errors)
        if self.joint:
            errors, weights = [(sum(error for error, _ in errors), sum(count for _, count in errors))], (1,)
        return _mean((min(psnr(*error, self._peak), self.ceiling) for error in errors), weights)

    def _weighted(self, errors: list[tuple[int, int]]) -> float:
        """AOM's: each part's dB, never more than that of half a squared error, rounded up to whole dB."""
        dbs = [min(psnr(*error, self._peak), math.ceil(psnr(0.5, error[1], self._peak))) for error in errors]
        return _mean(dbs, self.weights)

    def provenance(self) -> dict[str, Any]:
        if self.aom:
            return {"peak": self._peak, "ceiling": "dB of half a squared error, rounded up"}
        return {"peak": self._peak, **({"ceiling": self.ceiling} if math.isfinite(self.ceiling) else {})}

    def pool(self, values: Values) -> dict[str, float]:
        known = [value for value in values if value is not None]
        pooled = pool(values)
        if self.aom:
            return {**pooled, **({"apsnr": self._weighted(self._totals)} if self._totals else {})}
        if not self.joint:
            pooled["mean_capped"] = sum(min(value, PSNR_CAP) for value in known) / len(known)
        # neither a mean of dB nor a capped value is the dB of an error
        if self.joint or (len(self.weights) == 1 and math.isinf(self.ceiling)):
            mean_mse = sum(10 ** (-value / 10) for value in known) / len(known)
            pooled["from_mean_mse"] = math.inf if mean_mse == 0 else -10 * math.log10(mean_mse)
        return pooled


_BY_DCVC = {"ceiling": PSNR_CAP}
_BY_FFMPEG = {"headline": "from_mean_mse", "joint": True}
_BY_AOM = {"aom": True}
_AOM_AVERAGE = {"aom": True, "headline": "apsnr"}
_AOM_WEIGHTS: Mapping[str, tuple[int, int, int]] = {"420": (14, 1, 1), "422": (8, 1, 1), "444": (4, 1, 1)}


class PlanePsnr(Psnr):
    """PSNR of one plane."""

    plane: ClassVar[int]

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        _require_planes(self.name, fmt, "YUV" if self.plane else "Y")

    def errors(self, pair: FramePair) -> list[tuple[int, int]]:
        return [(pair.squared_errors[self.plane], math.prod(self.format.plane_shapes[self.plane]))]


def _plane_conventions(plane: str) -> dict[str, dict[str, Any]]:
    return {
        "dcvc": {"title": f"PSNR of {plane}, a lossless frame counted as 99.9 dB", **_BY_DCVC},
        "ffmpeg": {"title": f"PSNR of {plane}, dB of the mean MSE", **_BY_FFMPEG},
        "aom": {"title": f"PSNR of {plane} (AOM)", **_BY_AOM},
        "apsnr": {"title": f"APSNR of {plane} (AOM)", **_AOM_AVERAGE},
    }


class PsnrY(PlanePsnr):
    name, title, plane = "psnr_y", "PSNR of luma", 0
    conventions = _plane_conventions("luma")


class PsnrU(PlanePsnr):
    name, title, plane = "psnr_u", "PSNR of Cb", 1
    conventions = _plane_conventions("Cb")


class PsnrV(PlanePsnr):
    name, title, plane = "psnr_v", "PSNR of Cr", 2
    conventions = _plane_conventions("Cr")


class PsnrYuv(Psnr):
    """(6 Y + U + V) / 8 of the planes' PSNR per frame, the convention of JVET and of the DCVC family.

    FFmpeg's, its "average", takes all samples of all planes together instead, whatever planes there are.
    """

    name, title = "psnr_yuv", "PSNR of Y, Cb, Cr weighted 6:1:1"
    weights = (6, 1, 1)
    conventions: ClassVar[Conventions] = {
        "dcvc": {"title": "PSNR of Y, Cb, Cr weighted 6:1:1, a lossless plane counted as 99.9 dB", **_BY_DCVC},
        "ffmpeg": {"title": 'PSNR of all planes, dB of the mean MSE (FFmpeg\'s "average")', **_BY_FFMPEG},
        "aom": {"title": "PSNR of Y, Cb, Cr weighted 14:1:1 (AOM)", **_BY_AOM},
        "apsnr": {"title": "APSNR of Y, Cb, Cr weighted 14:1:1 (AOM)", **_AOM_AVERAGE},
    }

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if not self.joint:
            _require_planes(self.name, fmt, "YUV")
        if self.aom:
            self.weights = _AOM_WEIGHTS[fmt.chroma]  # type: ignore[misc]

    def errors(self, pair: FramePair) -> list[tuple[int, int]]:
        return list(zip(pair.squared_errors, map(math.prod, self.format.plane_shapes), strict=True))

    def provenance(self) -> dict[str, Any]:
        if self.joint:
            weights = "planes by their samples, of the MSE"
        else:
            weights = f"{':'.join(map(str, self.weights))} of the planes' dB, per frame"
        return {**super().provenance(), "weights": weights}


class PsnrRgb(Psnr):
    """PSNR over the three channels of RGB; natively RGB sequences are compared with their original pictures."""

    name, title = "psnr_rgb", "PSNR of RGB"
    picture: ClassVar[Picture] = "RGB"
    conventions: ClassVar[Conventions] = {
        "dcvc": {"title": "PSNR of RGB by DCVC's conversion, full range", "picture": "DCVC's RGB", **_BY_DCVC}
    }

    def errors(self, pair: FramePair) -> list[tuple[int, int]]:
        reference, distorted = _rgb(pair, self.picture)
        return [(plane_sse(reference, distorted), reference.size)]

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), **_conversion(self.format, self.picture)}


class Similarity(Fidelity):
    """A structural similarity: the mean over the planes of ``picture``, with ``weights`` (None: by their samples)."""

    curve_scale = "db"
    picture: ClassVar[Picture] = "Y"
    weights: ClassVar[tuple[int, ...] | None] = (1,)
    window: ClassVar[str] = "11x11 Gaussian, sigma 1.5, valid area"
    window_side: ClassVar[int] = 11

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if self.picture in {"Y", "YUV"}:
            _require_planes(self.name, fmt, self.picture)
        self.shapes = _shapes(fmt, self.picture)
        height, width = self.shapes[-1]
        if min(height, width) < self.window_side:
            of = "" if (height, width) == (fmt.height, fmt.width) else f"a chroma plane of {fmt.width}x{fmt.height}, "
            window = f"{self.window_side}x{self.window_side} window"
            raise MetricError(f"{self.name}: {of}{width}x{height} is smaller than its {window}")

    @classmethod
    def prepare(cls) -> None:
        if cls.picture != "all planes":
            warm_up()

    @abstractmethod
    def similarities(self, pair: FramePair) -> Iterable[float | None]:
        """Value of each plane."""

    def update(self, pair: FramePair) -> float | None:
        values = [value for value in self.similarities(pair) if value is not None]
        return _mean(values, self.weights or tuple(map(math.prod, self.shapes)))

    def provenance(self) -> dict[str, Any]:
        weights = ":".join(map(str, self.weights)) if self.weights else "by samples"
        several = {"weights": f"{weights} of the planes' values, per frame"} if len(self.shapes) > 1 else {}
        return {"window": self.window, "plane": self.picture, **several, **_conversion(self.format, self.picture)}


class Ssim(Similarity):
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, valid area, K 0.01, 0.03."""

    name, title = "ssim", "SSIM of luma"
    bounds = (-1.0, 1.0)
    conventions: ClassVar[Conventions] = {
        "rgb": {"title": "SSIM of RGB, mean of the channels", "picture": "RGB", "weights": (1, 1, 1)},
        "ffmpeg": {
            "title": 'SSIM over 8x8 boxes of all planes, by samples (FFmpeg\'s "All")',
            "picture": "all planes",
            "weights": None,
            "window": "8x8 box, every 4 samples",
            "window_side": 8,
        },
    }

    def similarities(self, pair: FramePair) -> Iterable[float | None]:
        if self.picture == "all planes":
            depth = self.format.bit_depth
            return (box_ssim(*planes, depth) for planes in _planes(pair, self.picture))
        return (structure.ssim for structure in _structures(pair, self.picture, "zeros"))


class MsSsim(Similarity):
    """Multi-scale structural similarity (Wang et al. 2003), five scales by 2x2 averaging, four on small planes.

    Frames are never resized: under the smallest size it is undefined.
    """

    name, title = "ms_ssim", "MS-SSIM of luma"
    bounds = (0.0, 1.0)
    odd: ClassVar[OddSides] = "zeros"
    conventions: ClassVar[Conventions] = {
        "rgb": {"title": "MS-SSIM of RGB, mean of the channels", "picture": "RGB", "weights": (1, 1, 1)},
        "dcvc": {
            "title": "MS-SSIM of Y, Cb, Cr weighted 6:1:1",
            "picture": "YUV",
            "weights": (6, 1, 1),
            "odd": "edge",
        },
        "rgb:dcvc": {
            "title": "MS-SSIM of RGB by DCVC's conversion, mean of the channels",
            "picture": "DCVC's RGB",
            "weights": (1, 1, 1),
            "odd": "edge",
        },
    }

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._levels = [ms_ssim_levels(width, height) for height, width in self.shapes]
        for (height, width), levels in zip(self.shapes, self._levels, strict=True):
            if levels is None:
                of = "" if (height, width) == (fmt.height, fmt.width) else " (chroma)"
                raise MetricError(
                    f"{self.name}: {width}x{height}{of} is too small for its scales; frames are never resized"
                )

    def similarities(self, pair: FramePair) -> Iterable[float | None]:
        return (structure.ms_ssim for structure in _structures(pair, self.picture, self.odd))

    def provenance(self) -> dict[str, Any]:
        alike = len(set(self._levels)) == 1
        return {"scales": self._levels[0] if alike else self._levels, "odd_sides": self.odd, **super().provenance()}


def _added(totals: list[tuple[int, int]], errors: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Squared errors and numbers of samples of each part, those of one more frame added."""
    if not totals:
        return errors
    return [(a + more, n + count) for (a, n), (more, count) in zip(totals, errors, strict=True)]


def _mean(values: Iterable[float], weights: tuple[int, ...]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _require_planes(name: str, fmt: VideoFormat, picture: Literal["Y", "YUV"]) -> None:
    """Raise MetricError where a format lacks these planes."""
    if fmt.chroma == "rgb":
        raise MetricError(f"{name}: an RGB sequence has no luma; there are psnr_rgb, ssim:rgb, ms_ssim:rgb")
    if fmt.chroma == "gray" and picture == "YUV":
        raise MetricError(f"{name}: a grey sequence has no chroma; there are psnr_y, ssim, ms_ssim")


def _shapes(fmt: VideoFormat, picture: Picture) -> tuple[Shape, ...]:
    if picture == "Y":
        return fmt.plane_shapes[:1]
    return fmt.plane_shapes if picture in {"YUV", "all planes"} else ((fmt.height, fmt.width),) * 3


def _planes(pair: FramePair, picture: Picture) -> list[tuple[Samples, Samples]]:
    """The planes of both frames that a picture consists of."""
    if "RGB" in picture:
        reference, distorted = _rgb(pair, picture)
        return [(reference[..., channel], distorted[..., channel]) for channel in range(3)]
    planes = list(zip(pair.reference.planes, pair.distorted.planes, strict=True))
    return planes[:1] if picture == "Y" else planes


def _rgb(pair: FramePair, picture: Picture) -> tuple[Samples, Samples]:
    return pair.rgb if picture == "RGB" else dcvc.rgb_pair(pair)


def _conversion(fmt: VideoFormat, picture: Picture) -> dict[str, str]:
    if "RGB" not in picture:
        return {}
    return {"conversion": (colour if picture == "RGB" else dcvc).describe(fmt)}


def _structures(pair: FramePair, picture: Picture, odd: OddSides) -> list[StructuralSimilarity]:
    """SSIM and MS-SSIM of each plane, from one pass over them for all metrics."""

    def measure() -> list[StructuralSimilarity]:
        depth = pair.reference.format.bit_depth
        return [ssim_ms_ssim(*planes, depth, odd=odd) for planes in _planes(pair, picture)]

    return pair.derived(("structures", picture, odd), measure)
