"""What stands on the quality axis of a curve: a metric, how its frames are pooled, and the scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.errors import UnavailableError, UnknownNameError, UsageError
from bench.registry import metric_class

if TYPE_CHECKING:
    from bench.metrics.base import Metric

Scale = Literal["linear", "db"]
SCALES: tuple[Scale, ...] = ("linear", "db")

POOLINGS: Mapping[str, str] = {
    **{"mean": "mean", "min": "minimum", "max": "maximum", "median": "p50", "harmonic": "harmonic_mean"},
    **{f"p{percent}": f"p{percent}" for percent in (1, 5, 10, 50, 95)},
}
"""How the values of frames may be pooled (`vmaf@p5`), and what a result file calls the outcome."""

DB_CAP = 99.9
"""What an infinite similarity in dB counts as in a delta: the same as an infinite PSNR."""


@dataclass(frozen=True)
class QualityAxis:
    """One quality axis, by `name`: METRIC, METRIC@POOLING or METRIC:SCALE, such as vmaf@p5 and ssim:db.

    pooling: how frames are pooled, a key of a measurement's pooled values; None: as the metric defines. scale: "db" is
    -10 log10(1 - value), in which similarities near 1 are told apart, as in the AOM CTC.
    """

    name: str
    metric: str
    pooling: str | None = None
    scale: Scale = "linear"

    @classmethod
    def parse(cls, name: str) -> QualityAxis:
        """Axis of a name. Without a scale it is the metric's own for curves: dB for SSIM and MS-SSIM, else linear.

        Raises UnknownNameError for an unknown pooling, UsageError for a scale that the metric does not have.
        """
        metric, at, pooling = name.partition("@")
        scale: Scale | None = None
        for one in SCALES:
            if pooling.endswith(f":{one}"):
                pooling, scale = pooling.removesuffix(f":{one}"), one
            elif metric.endswith(f":{one}"):
                metric, scale = metric.removesuffix(f":{one}"), one
        if at and pooling not in POOLINGS:
            raise UnknownNameError(f"pooling of {metric}", pooling, POOLINGS)
        kind = _class_of(metric)
        if scale == "db" and not (kind and kind.direction == "higher" and kind.bounds[1] == 1):
            raise UsageError(f"{name}: {metric} has no scale in dB; metrics whose best value is 1 have, such as ssim")
        if scale is None:
            scale = kind.curve_scale if kind else "linear"
        return cls(name, metric, POOLINGS[pooling] if at else None, scale)

    @property
    def kind(self) -> type[Metric]:
        """The metric's class. Raises UnknownNameError or UnavailableError where there is none."""
        return metric_class(self.metric)

    @property
    def unit(self) -> str:
        """Unit of the axis."""
        return "dB" if self.scale == "db" else self.kind.unit

    @property
    def cap(self) -> float | None:
        """What an infinite value counts as in a delta."""
        return DB_CAP if self.scale == "db" else self.kind.cap

    @property
    def saturation(self) -> float | None:
        """Where the metric no longer tells codecs apart, on this axis."""
        limit = self.kind.saturation
        return limit if limit is None else self.of(limit)

    def of(self, value: float) -> float:
        """A value of the metric on this axis."""
        if self.scale == "linear":
            return value
        return math.inf if value >= 1 else -10 * math.log10(1 - value)


def _class_of(metric: str) -> type[Metric] | None:
    """The metric's class; None where it is not installed, as of published values, whose scale is linear."""
    try:
        return metric_class(metric)
    except (UnknownNameError, UnavailableError, UsageError):
        return None
