"""Metrics of HDR video: PSNR and SSIM of PU21-encoded luminance, JVET's weighted PSNR, and colour differences in light.

These metrics take samples as PQ (or, by name, HLG) of BT.2020, whatever a clip says of itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import FramePair, Metric
from bench.video import colour
from bench.video.colour import rgb_of
from bench.video.formats import Transfer, VideoFormat
from bench.video.frame import Frame, Samples

Array = npt.NDArray[np.float64]

HLG_PEAK = 1000.0
"""Light in cd/m2 of an HLG display's white, whose system gamma is 1.2 then (BT.2100)."""

_TO_XYZ = np.array([[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_LMS = np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) / 4096
_TO_ITP = np.array([[2048, 2048, 0], [6610, -13613, 7003], [17933, -17390, -543]]) / 4096
# of PU21 "banding and glare", Mantiuk and Azimi 2021
_PU21 = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def pq_light(signal: Array) -> Array:
    """Light in cd/m2 of PQ samples, 0 to 1 (SMPTE ST 2084)."""
    root = np.clip(signal, 0, 1) ** (1 / _M2)
    light: Array = 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light


def pq_signal(light: Array) -> Array:
    """PQ samples, 0 to 1, of light in cd/m2."""
    power = (np.clip(light, 0, 10000) / 10000) ** _M1
    signal: Array = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def hlg_light(signal: Array) -> Array:
    """Light in cd/m2 of HLG samples H x W x 3, 0 to 1, on a display of `HLG_PEAK` (BT.2100, gamma 1.2)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    light: Array = HLG_PEAK * np.maximum(luminance, 1e-9)[..., None] ** 0.2 * scene
    return light


def pu21(luminance: Array) -> Array:
    """PU21 encoding of luminance in cd/m2 (0.005 to 10000): steps of one size are about equally visible; 100 is 256."""
    p1, p2, p3, p4, p5, p6, p7 = _PU21
    power = np.clip(luminance, 0.005, 10000) ** p4
    encoded: Array = p7 * (((p1 + p2 * power) / (1 + p3 * power)) ** p5 - p6)
    return encoded


class HdrMetric(Metric):
    """A metric on light that samples of BT.2020 stand for."""

    unit = "dB"
    cap: ClassVar[float | None] = 99.9
    shares_reference = True
    transfer: ClassVar[Transfer] = "pq"
    variants: ClassVar[Mapping[str, str]] = {"hlg": f"samples are HLG, on a display of {HLG_PEAK:g} cd/m2"}

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        if options != ("hlg",) or "hlg" not in cls.variants:
            raise UnknownNameError(f"variant of {cls.name}", ":".join(options), cls.variants)
        own = {"name": f"{cls.name}:hlg", "title": f"{cls.title}, HLG", "transfer": "hlg", "variants": {}}
        return type(f"{cls.__name__}Hlg", (cls,), {**own, "__module__": cls.__module__, "__doc__": cls.__doc__})

    def light(self, frame: Frame) -> Array:
        """Linear RGB of BT.2020 in cd/m2, H x W x 3."""
        to_light = pq_light if self.transfer == "pq" else hlg_light
        return frame.derived(("light", self.transfer), lambda: to_light(rgb_of(frame) / frame.format.peak))

    def provenance(self) -> dict[str, Any]:
        taken = "PQ" if self.transfer == "pq" else f"HLG, white {HLG_PEAK:g} cd/m2"
        return {"samples": f"taken as {taken}, BT.2020", "conversion": colour.describe(self.format)}

    def luminance(self, frame: Frame) -> Array:
        """PU21-encoded luminance, H x W."""
        return frame.derived(("pu21", self.transfer), lambda: pu21(self.light(frame) @ _TO_XYZ[1]))


def _peak() -> float:
    return float(pu21(np.array(100.0)))


class PuPsnr(HdrMetric):
    """PSNR of PU21-encoded luminance (Mantiuk and Azimi 2021); the peak is 100 cd/m2, the white of an SDR display."""

    name, title = "pu_psnr", "PU21-PSNR"

    def update(self, pair: FramePair) -> float:
        error = float(np.mean((self.luminance(pair.reference) - self.luminance(pair.distorted)) ** 2))
        return math.inf if error == 0 else 10 * math.log10(_peak() ** 2 / error)


class PuSsim(HdrMetric):
    """SSIM (Wang et al. 2004) of PU21-encoded luminance (Mantiuk and Azimi 2021); the range is 100 cd/m2."""

    name, title = "pu_ssim", "PU21-SSIM"
    unit = ""
    bounds = (-1.0, 1.0)
    cap = None
    curve_scale = "db"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < 11:
            raise MetricError(f"{self.name}: {fmt.width}x{fmt.height} is smaller than its 11x11 window")

    def update(self, pair: FramePair) -> float:
        from skimage.metrics import structural_similarity

        _, values = structural_similarity(
            self.luminance(pair.reference), self.luminance(pair.distorted), data_range=_peak(), gaussian_weights=True,
            sigma=1.5, use_sample_covariance=False, full=True,
        )  # fmt: skip
        return float(values[5:-5, 5:-5].mean())


class DeltaE100(HdrMetric):
    """DeltaE100 of JVET's HDR test conditions: 10 log10(10000 / mean CIEDE2000), CIELAB with 100 cd/m2 as white."""

    name, title = "deltae100", "DeltaE100"

    def update(self, pair: FramePair) -> float:
        from skimage.color import deltaE_ciede2000

        difference = float(deltaE_ciede2000(self._lab(pair.reference), self._lab(pair.distorted)).mean())
        return math.inf if difference == 0 else 10 * math.log10(10000 / difference)

    def _lab(self, frame: Frame) -> Array:
        def make() -> Array:
            relative = self.light(frame) @ _TO_XYZ.T / (100 * _WHITE)
            root = np.where(relative >= 0.008856, np.cbrt(relative), 7.78704 * relative + 0.137931)
            x, y, z = np.moveaxis(root, -1, 0)
            return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)

        return frame.derived(("lab", self.transfer), make)


class DeltaItp(HdrMetric):
    """Colour difference DeltaE ITP (ITU-R BT.2124), mean over the frame: 1 is just noticeable at best adaptation."""

    name, title = "deltae_itp", "DeltaE ITP"
    direction = "lower"
    unit = ""
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    cap = None

    def update(self, pair: FramePair) -> float:
        difference = self._itp(pair.reference) - self._itp(pair.distorted)
        return float(720 * np.sqrt((difference**2).sum(axis=-1)).mean())

    def _itp(self, frame: Frame) -> Array:
        def make() -> Array:
            ictcp: Array = pq_signal(self.light(frame) @ _TO_LMS.T) @ _TO_ITP.T
            scaled: Array = ictcp * np.array([1.0, 0.5, 1.0])
            return scaled

        return frame.derived(("itp", self.transfer), make)


class WeightedPsnr(Metric):
    """wPSNR of JVET's HDR test conditions (JVET-H1002): errors weighted by the source's PQ luma, the peak 255, 1020 ...

    A sample weighs 2^(y / 3), y = 0.015 luma at 10 bit - 7.5, between -3 and 6: half for dark ones, 4 for bright ones.
    """

    unit = "dB"
    cap = 99.9
    shares_reference = True
    transfer: ClassVar[Transfer] = "pq"
    plane: ClassVar[int]

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if fmt.chroma == "rgb" or (fmt.chroma == "gray" and self.plane):
            raise MetricError(f"{self.name}: {fmt.pix_fmt} has no such plane")
        levels = np.arange(fmt.peak + 1) * 2.0 ** (10 - fmt.bit_depth)
        self._weights = 2 ** (np.clip(0.015 * levels - 7.5, -3, 6) / 3)

    def update(self, pair: FramePair) -> float:
        weights = pair.reference.derived(("wpsnr", self.plane > 0), lambda: self._weights[self._luma(pair.reference)])
        a, b = (frame.planes[self.plane].astype(np.int64) for frame in (pair.reference, pair.distorted))
        error = float((weights * (a - b) ** 2).mean())
        peak = 255 << (self.format.bit_depth - 8)
        return math.inf if error == 0 else 10 * math.log10(peak * peak / error)

    def _luma(self, frame: Frame) -> Samples:
        """Luma at the place of each sample of the plane, the top left one of those it covers."""
        luma = frame.planes[0]
        height, width = self.format.plane_shapes[self.plane]
        rows, columns = -(-luma.shape[0] // height), -(-luma.shape[1] // width)
        return luma[::rows, ::columns]

    def provenance(self) -> dict[str, Any]:
        return {"peak": 255 << (self.format.bit_depth - 8), "samples": "taken as PQ"}


class WpsnrY(WeightedPsnr):
    name, title, plane = "wpsnr_y", "wPSNR of luma", 0


class WpsnrU(WeightedPsnr):
    name, title, plane = "wpsnr_u", "wPSNR of Cb", 1


class WpsnrV(WeightedPsnr):
    name, title, plane = "wpsnr_v", "wPSNR of Cr", 2
