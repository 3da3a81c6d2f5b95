"""Metrics of libvmaf, through FFmpeg: VMAF's models, CAMBI, and the others of AOM's common test conditions.

Metrics of a group share one FFmpeg process. The models of VMAF v1 have one of their own: they take longer, and end on
small pictures that the others take.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import FilterMetric, Metric, Values
from bench.metrics.filters import require_chroma, require_filter, require_order
from bench.video import ffmpeg
from bench.video.formats import VideoFormat

MIN_SIDE = 17
"""Smaller frames end libvmaf by a segmentation fault."""

CAMBI_MIN_SIDE = 216
"""The longer side that CAMBI takes at least."""


class LibvmafMetric(FilterMetric):
    """A metric of libvmaf. ``key`` is what its values are called in libvmaf's log, ``null`` what no number means there.

    libvmaf writes null for whatever is no finite number.
    """

    needs = "an FFmpeg with libvmaf (the embedded one has it)"
    group = "libvmaf"
    key: ClassVar[str]
    null: ClassVar[float | None] = None

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        require_chroma(self, fmt)
        if min(fmt.width, fmt.height) < MIN_SIDE:
            raise MetricError(f"{self.name}: libvmaf takes no side under {MIN_SIDE}, not {fmt.width}x{fmt.height}")

    @classmethod
    def check(cls) -> None:
        require_filter("libvmaf", cls.name)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "ffmpeg": ffmpeg.version()}

    def model_option(self) -> str | None:
        """The model as the filter's option has it, or None for a feature alone."""
        return None

    def feature_option(self) -> str | None:
        """The feature as the filter's option has it, or None for a model."""
        return None

    @classmethod
    def filter_graph(cls, wanted: list[LibvmafMetric], log: str, threads: int) -> str:
        models = "|".join(filter(None, (metric.model_option() for metric in wanted)))
        features = "|".join(filter(None, (metric.feature_option() for metric in wanted)))
        options = [f"model='{models}'"] if models else []
        options += [f"feature='{features}'"] if features else []
        return f"libvmaf={':'.join(options)}:n_threads={threads}:log_fmt=json:log_path={log}"

    def read(self, log: str) -> tuple[Values, dict[str, float]]:
        try:
            return [self._value(frame["metrics"]) for frame in _frames(log)], {}
        except (ValueError, KeyError, TypeError) as error:
            raise MetricError(f"libvmaf's log is not as expected ({type(error).__name__}: {error})") from None

    def _value(self, metrics: Mapping[str, Any]) -> float:
        value = metrics[self.key]
        return self.null if value is None and self.null is not None else float(value)

    def provenance(self) -> dict[str, Any]:
        return {"ffmpeg": ffmpeg.version()}


@lru_cache(maxsize=2)
def _frames(log: str) -> list[dict[str, Any]]:
    """Frames of a log, in order; KeyError, TypeError, ValueError or MetricError for one that is not as expected."""
    frames: list[dict[str, Any]] = json.loads(log)["frames"]
    require_order([frame["frameNum"] for frame in frames], first=0)
    if not frames:
        raise ValueError("no frames")
    return frames


class VmafModel(LibvmafMetric):
    """VMAF (Li et al. 2016), by a model that libvmaf comes with."""

    unit = "score"
    bounds = (0.0, 100.0)
    saturation = 99.5
    model: ClassVar[str]
    enhancement: ClassVar[str] = ""
    models: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    """Variants of the metric: title, model, and how its score is changed, by option."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.key = cls.name.replace(":", "_")

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        option = ":".join(options)
        if option not in cls.models:
            raise UnknownNameError(f"variant of {cls.name}", option, cls.models)
        title, model, enhancement = cls.models[option]
        name = f"{cls.name}:{option}"
        own = {"name": name, "title": title, "model": model, "enhancement": enhancement, "models": {}, "variants": {}}
        return type(f"{cls.__name__}[{option}]", (cls,), {**own, "__module__": cls.__module__, "__doc__": cls.__doc__})

    @classmethod
    def identity(cls) -> dict[str, Any]:
        changed = {"enhancement": cls.enhancement} if cls.enhancement else {}
        return {**super().identity(), "model": cls.model, **changed}

    def chosen_model(self) -> str:
        """Name of the model for frames of this format."""
        return self.model

    def model_option(self) -> str:
        return f"version={self.chosen_model()}\\:name={self.key}{self.enhancement}"

    def provenance(self) -> dict[str, Any]:
        return {"model": self.chosen_model(), **super().provenance()}


class Vmaf(VmafModel):
    """VMAF (Li et al. 2016) by libvmaf, model vmaf_v0.6.1, 0 to 100."""

    name, title = "vmaf", "VMAF v0.6.1"
    model = "vmaf_v0.6.1"
    models: ClassVar[Mapping[str, tuple[str, str, str]]] = {
        "phone": ("VMAF v0.6.1, phone", "vmaf_v0.6.1", "\\:enable_transform=true"),
        "4k": ("VMAF 4K v0.6.1", "vmaf_4k_v0.6.1", ""),
    }
    variants: ClassVar[Mapping[str, str]] = {
        "phone": "seen on a phone: the score of vmaf_v0.6.1 through the polynomial that comes with it",
        "4k": "model vmaf_4k_v0.6.1, for 2160p seen from 1.5 picture heights",
    }


class VmafNeg(VmafModel):
    """VMAF without enhancement gain, model vmaf_v0.6.1neg, 0 to 100."""

    name, title = "vmaf_neg", "VMAF NEG v0.6.1"
    model = "vmaf_v0.6.1neg"
    models: ClassVar[Mapping[str, tuple[str, str, str]]] = {"4k": ("VMAF NEG 4K v0.6.1", "vmaf_4k_v0.6.1neg", "")}
    variants: ClassVar[Mapping[str, str]] = {"4k": "model vmaf_4k_v0.6.1neg, for 2160p seen from 1.5 picture heights"}


Display = Literal["3h", "phone", "2160", "2160-3h"]


@dataclass(frozen=True)
class _Viewing:
    """A display of VMAF v1: what its models are called, its highest score, and how much SpEED shrinks pictures."""

    suffix: str
    meaning: str
    best: float = 100.0
    shrink: float = 1.0


VIEWINGS: Mapping[Display, _Viewing] = {
    "3h": _Viewing("3d0h", "1080p seen from 3 picture heights"),
    "phone": _Viewing("5d0h", "1080p on a phone, 5 picture heights", shrink=0.6),
    "2160": _Viewing("1d5h_2160", "2160p seen from 1.5 picture heights"),
    "2160-3h": _Viewing("3d0h_2160", "2160p seen from 3 picture heights, 0 to 110", best=110.0, shrink=0.5),
}

HIGH_FRAME_RATE = 45
"""From here on, in frames a second, the models for high frame rates are taken: they are made for 50 to 60."""

_SPEED_MIN_SIDE = 80
"""Shorter side that a chroma plane must have after shrinking: five coefficients at SpEED's fourth scale."""


class VmafV1(VmafModel):
    """VMAF v1 (June 2026) by libvmaf, models vmaf_v1.0.16; it sees banding and chroma, and gives no gain to sharpening.

    The model is that for 1080p seen from 3 picture heights, from 3840x2160 on that for 2160p from 1.5 picture heights,
    and from 45 frames a second on the one of these for high frame rates. CAMBI, inside it, receives the size and bit
    depth that were encoded.
    """

    name, title = "vmaf_v1", "VMAF v1"
    group = "vmaf_v1"
    model = "vmaf_v1.0.16 by size and frame rate"
    display: ClassVar[Display | None] = None
    fast: ClassVar[bool] = False
    variants: ClassVar[Mapping[str, str]] = {
        **{display: f"model for {viewing.meaning}" for display, viewing in VIEWINGS.items()},
        **{f"{display}:hfr": f"model for {v.meaning}, 50 to 60 frames per second" for display, v in VIEWINGS.items()},
    }

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        sides = self._viewing.shrink * min(fmt.plane_shapes[1])
        if max(fmt.width, fmt.height) < CAMBI_MIN_SIDE or sides < _SPEED_MIN_SIDE:
            raise MetricError(
                f"{self.name}: {fmt.width}x{fmt.height} is too small for {self.chosen_model()}: its features take a "
                f"longer side from {CAMBI_MIN_SIDE} and a chroma plane's shorter side from "
                f"{math.ceil(_SPEED_MIN_SIDE / self._viewing.shrink)}"
            )

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        option = ":".join(options)
        if option not in cls.variants:
            raise UnknownNameError(f"variant of {cls.name}", option, cls.variants)
        display, _, speed = option.partition(":")
        viewing, fast = VIEWINGS[display], speed == "hfr"  # type: ignore[index]
        own = {
            "name": f"{cls.name}:{option}",
            "title": f"VMAF v1 ({option.replace(':', ', ')})",
            "model": _v1_model(viewing, fast=fast),
            "display": display,
            "fast": fast,
            "bounds": (0.0, viewing.best),
            "saturation": viewing.best - 0.5,
            "variants": {},
        }
        doc = f"VMAF v1 (June 2026) by libvmaf, model {own['model']}: {cls.variants[option]}."
        return type(f"{cls.__name__}[{option}]", (cls,), {**own, "__module__": cls.__module__, "__doc__": doc})

    @property
    def _display(self) -> Display:
        large = self.format.width >= 3840 or self.format.height >= 2160
        return self.display or ("2160" if large else "3h")

    @property
    def _viewing(self) -> _Viewing:
        return VIEWINGS[self._display]

    def chosen_model(self) -> str:
        fast = self.fast if self.display else self.format.fps >= HIGH_FRAME_RATE
        return _v1_model(self._viewing, fast=fast)

    def model_option(self) -> str:
        return super().model_option() + _encode_options(self, "cambi.")

    def provenance(self) -> dict[str, Any]:
        found = {**super().provenance(), "encoded": _told(self)}
        if self.display is None:
            fps = float(self.format.fps)
            found["chosen_by"] = f"{self.format.width}x{self.format.height} at {fps:g} frames per second"
        return found


def _v1_model(viewing: _Viewing, *, fast: bool) -> str:
    return f"vmaf_v1.0.16_{'hfr_' if fast else ''}{viewing.suffix}"


def _encode_options(metric: FilterMetric, prefix: str) -> str:
    """Options of CAMBI for an encode that is smaller, or of fewer bits, than the frames measured."""
    if metric.encoded is None:
        return ""
    told = metric.encoded
    options = {"enc_bitdepth": told.bit_depth}
    if max(told.width, told.height) >= CAMBI_MIN_SIDE:
        options |= {"enc_width": told.width, "enc_height": told.height}
    return "".join(f"\\:{prefix}{name}={value}" for name, value in options.items())


def _told(metric: FilterMetric) -> str:
    """Size and depth that CAMBI takes as those of the encode."""
    encoded, size = metric.encoded or metric.format, metric.format
    if max(encoded.width, encoded.height) >= CAMBI_MIN_SIDE:
        return f"{encoded.width}x{encoded.height}, {encoded.bit_depth} bit"
    return f"{size.width}x{size.height}, {encoded.bit_depth} bit (smaller than CAMBI takes: the frames' size)"


class Cambi(LibvmafMetric):
    """Banding (CAMBI, Tandon et al. 2021) of the decoded frames alone, by libvmaf: 0 is none, 5 annoying, 24 the worst.

    It receives the size and bit depth that were encoded, where they are less than those of the frames.
    """

    name, title = "cambi", "CAMBI"
    direction = "lower"
    bounds = (0.0, 24.0)
    fidelity = False
    key = "cambi"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if max(fmt.width, fmt.height) < CAMBI_MIN_SIDE:
            raise MetricError(f"{self.name}: takes a longer side from {CAMBI_MIN_SIDE}, not {fmt.width}x{fmt.height}")

    def feature_option(self) -> str:
        return f"name=cambi{_encode_options(self, '')}"

    def _value(self, metrics: Mapping[str, Any]) -> float:
        """The one feature of that name, to which libvmaf adds the options it was given."""
        (value,) = (value for name, value in metrics.items() if name.startswith(self.key))
        return float(value)

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "encoded": _told(self)}


class PsnrHvs(LibvmafMetric):
    """PSNR-HVS-M of Y, Cb, Cr weighted 8:1:1 (Ponomarenko et al. 2007), by libvmaf's ``psnr_hvs``, in dB.

    Errors of 8x8 DCT blocks are weighted by the eye's contrast sensitivity and masked by the block's own contrast.
    """

    name, title = "psnr_hvs", "PSNR-HVS"
    unit = "dB"
    cap = 99.9
    key, null = "psnr_hvs", math.inf

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if fmt.bit_depth > 12:
            raise MetricError(f"{self.name}: libvmaf takes 8 to 12 bit, not {fmt.bit_depth}")

    def feature_option(self) -> str:
        return "name=psnr_hvs"


class Ciede2000(LibvmafMetric):
    """Colour difference CIEDE2000 as AOM reports it, by libvmaf: 45 - 20 log10 of the mean difference, in dB."""

    name, title = "ciede2000", "CIEDE2000"
    unit = "dB"
    cap = 99.9
    key, null = "ciede2000", math.inf

    def feature_option(self) -> str:
        return "name=ciede"


class SsimAom(LibvmafMetric):
    """SSIM of luma in dB, as AOM's common test conditions have it from version 7 on: libvmaf's ``float_ssim``.

    At full size, -10 log10(1 - SSIM) of each frame, at most the dB of half a squared error in the frame, rounded up.
    """

    name, title = "ssim:aom", "SSIM of luma, dB (AOM)"
    unit = "dB"
    bounds: ClassVar[tuple[float | None, float | None]] = (-3.02, None)
    key = "float_ssim"

    def feature_option(self) -> str:
        return "name=float_ssim\\:scale=1\\:enable_db=true\\:clip_db=true"


class MsSsimAom(LibvmafMetric):
    """MS-SSIM of luma in dB, as AOM's common test conditions have it: libvmaf's ``float_ms_ssim``.

    -10 log10(1 - MS-SSIM) of each frame, at most the dB of half a squared error in the frame, rounded up.
    """

    name, title = "ms_ssim:aom", "MS-SSIM of luma, dB (AOM)"
    unit = "dB"
    bounds: ClassVar[tuple[float | None, float | None]] = (-3.02, None)
    key = "float_ms_ssim"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < 176:
            raise MetricError(f"{self.name}: libvmaf takes sides from 176, not {fmt.width}x{fmt.height}")

    def feature_option(self) -> str:
        return "name=float_ms_ssim\\:enable_db=true\\:clip_db=true"
