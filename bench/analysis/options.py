"""What decides a comparison beside the measurements: the settings of the user, and what is known of the metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.analysis.bd import CurveSettings, check_min_overlap, method_label
from bench.analysis.curves import RateAxis
from bench.analysis.quality import QualityAxis
from bench.errors import UnavailableError, UnknownNameError, UsageError

Convention = Literal["per-sequence", "mean-curve", "dataset"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """How codecs are compared.

    rate_axis: "bpp" or "kbps". convention: the one reported (`bench.analysis.compare.compare_codecs`); None: "dataset"
    where there are values of whole datasets, else "per-sequence". method, hull, min_overlap: as of `bd_rate`.
    mix_published: compare published curves with measured ones, or with another paper's, although protocols differ.
    resamples, confidence, seed: of the bootstrap over sequences.

    Raises UsageError for a method or a convention that there is not, and for a `min_overlap` that is no share.
    """

    rate_axis: RateAxis = "bpp"
    convention: Convention | None = None
    method: str = "pchip"
    hull: bool = False
    min_overlap: float = 0.0
    mix_published: bool = False
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        method_label(self.method, hull=self.hull)
        check_min_overlap(self.min_overlap)

    @property
    def label(self) -> str:
        """The method in words."""
        return method_label(self.method, hull=self.hull)


USUAL = CompareOptions()


@dataclass(frozen=True)
class DeltaAxis:
    """The quality that deltas are taken along; cap and saturation: as of `bd_rate`."""

    metric: str
    higher_is_better: bool
    cap: float | None = None
    saturation: float | None = None

    @classmethod
    def of(cls, metric: str, given: Mapping[str, Any] | None = None) -> DeltaAxis:
        """The axis of a metric's name, with what is known of the metric but for what is given.

        Raises UsageError for a metric that is not installed, unless its direction is given.
        """
        given = given or {}
        axis = QualityAxis.parse(metric)
        try:
            kind = axis.kind
        except (UnknownNameError, UnavailableError) as error:
            if "higher_is_better" in given:
                return cls(metric, **given)
            raise UsageError(f"{error}; name its direction by higher_is_better=True or False") from None
        higher = kind.direction == "higher"
        if given.get("higher_is_better", higher) != higher:
            return cls(metric, **given)  # a table of something else by the metric's name
        own = {"higher_is_better": higher, "cap": axis.cap, "saturation": axis.saturation}
        return cls(metric, **{**own, **given})

    def curve_settings(self, options: CompareOptions) -> CurveSettings:
        """How points become a curve."""
        return CurveSettings(options.method, self.cap, self.saturation, options.hull, self.higher_is_better)
