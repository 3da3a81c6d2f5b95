"""ColorVideoVDP, by the package cvvdp, fed frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.require import how_to_install, require
from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.networks.device import device, rgb_tensor
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

if TYPE_CHECKING:
    import torch

MIN_SIDE = 3
"""Smaller pictures have no pyramid."""

DISPLAYS = {
    "standard_4k": "30 inch 4K monitor, 200 cd/m2, seen from 0.75 m",
    "standard_fhd": "24 inch full HD monitor, 200 cd/m2, seen from 0.6 m",
    "standard_phone": "phone, 500 cd/m2",
    "standard_hdr_pq": "30 inch 4K HDR monitor, 1500 cd/m2: samples are PQ, BT.2020",
    "standard_hdr_hlg": "30 inch 4K HDR monitor, 1500 cd/m2: samples are HLG, BT.2020",
}
"""Displays of the package's own list, each with what it is."""


class Cvvdp(DeferredMetric):
    """ColorVideoVDP (Mantiuk et al. 2024) in JOD, 10 for no visible difference, on the display standard_4k.

    A model of colour, contrast and temporal vision: one JOD lower is preferred by a quarter of observers only. Frames
    are shown pixel by pixel; the value is that of the whole video, those of frames leave pooling over time out.
    """

    name, title = "cvvdp", "ColorVideoVDP (standard_4k)"
    unit = "JOD"
    bounds: ClassVar[tuple[float | None, float | None]] = (None, 10.0)
    needs = how_to_install("cvvdp")
    headline = "video"
    display: ClassVar[str] = "standard_4k"
    variants: ClassVar[Mapping[str, str]] = {name: what for name, what in DISPLAYS.items() if name != "standard_4k"}

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < MIN_SIDE:
            raise MetricError(f"{self.name}: takes sides from {MIN_SIDE}, not {fmt.width}x{fmt.height}")
        self._run: Any = None

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        display = ":".join(options)
        if display not in cls.variants:
            raise UnknownNameError(f"display of {cls.name}", display, cls.variants)
        own = {
            "name": f"{cls.name}:{display}",
            "title": f"ColorVideoVDP ({display})",
            "display": display,
            "transfer": {"standard_hdr_pq": "pq", "standard_hdr_hlg": "hlg"}.get(display, "sdr"),
            "variants": {},
            "__module__": cls.__module__,
            "__doc__": (cls.__doc__ or "").replace("standard_4k", display),
        }
        return type(f"Cvvdp[{display}]", (cls,), own)

    @classmethod
    def check(cls) -> None:
        require("pycvvdp", "torch", "torchvision", "pyexr", extra="cvvdp")

    @classmethod
    def identity(cls) -> dict[str, Any]:
        cls.check()
        return {**super().identity(), "cvvdp": version("cvvdp"), "display": cls.display}

    def push(self, pair: FramePair) -> None:
        if self._run is None:
            self._run = _Run(self.display, self.format)
        self._run.push(pair)

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        values, video = self._run.finish()
        return values, {self.headline: video}

    def provenance(self) -> dict[str, Any]:
        return {
            "display": f"{self.display}: {DISPLAYS[self.display]}",
            "cvvdp": version("cvvdp"),
            "device": device().type,
            "conversion": colour.describe(self.format),
        }


class _Run:
    """The package's own steps for a video, taken one frame at a time; it would have the whole video at hand."""

    _COLOURS = "DKLd65"
    _MANY = 1 << 30

    def __init__(self, display: str, fmt: VideoFormat) -> None:
        from pycvvdp.cvvdp_metric import cvvdp_frame_buffers
        from pycvvdp.lpyr_dec import weber_contrast_pyr

        self._metric = metric = _metric(display)
        self._buffers = cvvdp_frame_buffers()
        self._size = fmt.height, fmt.width
        self._pyramid = weber_contrast_pyr(
            fmt.width, fmt.height, metric.pix_per_deg, metric.device, contrast=metric.contrast
        )
        self._filters, _ = metric.get_temporal_filters(float(fmt.fps))
        self._errors: list[torch.Tensor] = []
        self._sides: tuple[torch.Tensor, torch.Tensor] | None = None
        self._first: tuple[torch.Tensor, torch.Tensor] | None = None
        self._display = display

    # what the package asks a source of video for

    def get_video_size(self) -> tuple[int, int, int]:
        return *self._size, self._MANY

    def get_batch_size(self) -> int:
        return 1

    def get_test_frame(self, frame: int, device: Any, colorspace: str) -> torch.Tensor:
        assert self._sides is not None
        return self._sides[0]

    def get_reference_frame(self, frame: int, device: Any, colorspace: str) -> torch.Tensor:
        assert self._sides is not None
        return self._sides[1]

    def push(self, pair: FramePair) -> None:
        import torch

        with torch.inference_mode():
            reference = pair.reference.derived(("cvvdp", self._display), lambda: self._shown(pair.reference))
            self._sides = self._shown(pair.distorted), reference
            self._first = self._first or self._sides
            self._set()
            channels = self._metric.read_block_of_frames(self, 4, self._buffers, 1, self._COLOURS, len(self._errors), 1)
            errors, _ = self._metric.process_block_of_frames(channels, self.get_video_size(), 2, self._pyramid, False)
            self._errors.append(errors)
            if len(self._errors) > 1:
                self._first = None

    def finish(self) -> tuple[Values, float]:
        import torch

        metric = self._metric
        with torch.inference_mode():
            self._set()
            if self._first is not None:  # a picture has no transient channel
                channels = torch.zeros((1, 6, 1, *self._size), device=metric.device)
                channels[:, 0::2], channels[:, 1::2] = self._first
                errors, _ = metric.process_block_of_frames(channels, (*self._size, 1), 1, self._pyramid, True)
                video = float(metric.do_pooling_and_jods(errors))
                return [video], video
            errors = torch.cat(self._errors, dim=2)
            video = float(metric.do_pooling_and_jods(errors))
            # a frame as if the whole video were like it: the mean over equal frames is the frame
            values = [float(metric.do_pooling_and_jods(frame.repeat(1, 1, 2, 1))) for frame in self._errors]
            return list(values), video

    def _set(self) -> None:
        """The package keeps these of one video; several are measured side by side here."""
        self._metric.lpyr = self._pyramid
        self._metric.F = self._filters
        self._metric.filter_len = self._filters[0].numel()

    def _shown(self, frame: Frame) -> torch.Tensor:
        """Light that the display gives off for a frame, 1 x 3 x 1 x H x W in the metric's colour space."""
        shown: torch.Tensor = self._metric.display_photometry.source_2_target_colorspace(
            rgb_tensor(frame).to(self._metric.device).unsqueeze(2), self._COLOURS
        )
        return shown


@cache
def _metric(display: str) -> Any:
    import sys
    import warnings

    path = list(sys.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its syntax
        from pycvvdp import cvvdp
    sys.path[:] = path  # it adds its own folder, whose modules are called utils and interp

    return cvvdp(display_name=display, quiet=True, device=device())
