"""PSNR, SSIM and MS-SSIM."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from bench.errors import MetricError
from bench.metrics.base import FramePair, Metric, Values, pool
from bench.metrics.kernels import plane_sse, psnr
from bench.video import colour
from bench.video.formats import VideoFormat

# DCVC's evaluation counts a lossless frame as this many dB; used in BD-rate only.
PSNR_CAP = 99.9


class Psnr(Metric):
    """Peak signal-to-noise ratio, 10 log10(peak^2 / MSE) in dB, peak 255 / 1023 / 4095; identical frames give infinity.

    The value is the mean of the frames' dB; ``from_mean_mse`` is the dB of the mean MSE, as FFmpeg's summary prints.
    """

    unit = "dB"
    bounds = (0.0, None)
    cap = PSNR_CAP

    def provenance(self) -> dict[str, Any]:
        return {"peak": self.format.peak}

    def pool(self, values: Values) -> dict[str, float]:
        known = [value for value in values if value is not None]
        mean_mse = sum(10 ** (-value / 10) for value in known) / len(known)
        capped = [min(value, PSNR_CAP) for value in known]
        return {
            **pool(values),
            "from_mean_mse": math.inf if mean_mse == 0 else -10 * math.log10(mean_mse),
            "mean_capped": sum(capped) / len(capped),
        }


class PlanePsnr(Psnr):
    """PSNR of one plane."""

    plane: ClassVar[int]

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if self.plane and fmt.chroma == "gray":
            raise MetricError(f"{self.name}: a grey sequence has no chroma")

    def update(self, pair: FramePair) -> float:
        height, width = self.format.plane_shapes[self.plane]
        return psnr(pair.squared_errors[self.plane], height * width, self.format.peak)


class PsnrY(PlanePsnr):
    name, title, plane = "psnr_y", "PSNR of luma", 0


class PsnrU(PlanePsnr):
    name, title, plane = "psnr_u", "PSNR of Cb", 1


class PsnrV(PlanePsnr):
    name, title, plane = "psnr_v", "PSNR of Cr", 2


class PsnrYuv(Psnr):
    """(6 Y + U + V) / 8 of the planes' PSNR per frame, the convention of JVET and of the DCVC family."""

    name, title = "psnr_yuv", "PSNR of Y, Cb, Cr weighted 6:1:1"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if fmt.chroma == "gray":
            raise MetricError("psnr_yuv: a grey sequence has no chroma; use psnr_y")

    def update(self, pair: FramePair) -> float:
        luma, blue, red = (
            psnr(sse, height * width, self.format.peak)
            for sse, (height, width) in zip(pair.squared_errors, self.format.plane_shapes, strict=True)
        )
        return (6 * luma + blue + red) / 8

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "weights": "6:1:1 of the planes' dB, per frame"}


class PsnrRgb(Psnr):
    """PSNR over the three channels of RGB; natively RGB sequences are compared with their original pictures."""

    name, title = "psnr_rgb", "PSNR of RGB"

    def update(self, pair: FramePair) -> float:
        reference, distorted = pair.rgb
        return psnr(plane_sse(reference, distorted), reference.size, self.format.peak)

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "conversion": colour.describe(self.format)}


class Ssim(Metric):
    """Structural similarity of luma (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, valid area, K 0.01, 0.03."""

    name, title = "ssim", "SSIM of luma"
    bounds = (-1.0, 1.0)

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < 11:
            raise MetricError(f"ssim: {fmt.width}x{fmt.height} is smaller than its 11x11 window")

    def update(self, pair: FramePair) -> float | None:
        return pair.luma_structure.ssim

    def provenance(self) -> dict[str, Any]:
        return {"window": "11x11 Gaussian, sigma 1.5, valid area", "plane": "Y"}


class MsSsim(Metric):
    """Multi-scale structural similarity of luma (Wang et al. 2003), five scales by 2x2 averaging, four on small frames.

    Frames are never resized: under the smallest size it is undefined.
    """

    name, title = "ms_ssim", "MS-SSIM of luma"
    bounds = (0.0, 1.0)

    def __init__(self, fmt: VideoFormat) -> None:
        from bench.metrics.kernels import ms_ssim_levels

        super().__init__(fmt)
        self._levels = ms_ssim_levels(fmt.width, fmt.height)
        if self._levels is None:
            raise MetricError(
                f"ms_ssim: {fmt.width}x{fmt.height} is too small for its scales; frames are never resized"
            )

    def update(self, pair: FramePair) -> float | None:
        return pair.luma_structure.ms_ssim

    def provenance(self) -> dict[str, Any]:
        return {"scales": self._levels, "window": "11x11 Gaussian, sigma 1.5, valid area", "plane": "Y"}
