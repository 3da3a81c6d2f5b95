"""What a metric is: its name, direction and range, its value on one frame pair, its pooling over frames."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from bench.core.late import Late
from bench.errors import UnknownNameError
from bench.video.colour import rgb_of
from bench.video.formats import Transfer, VideoFormat
from bench.video.frame import Frame, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")

Direction = Literal["higher", "lower"]
Values = list[float | None]
T = TypeVar("T")


class FramePair:
    """A source frame and the decoded frame of the same index, with what several metrics need worked out once.

    ``previous`` is the pair before it (None for the first frame); that one's own ``previous`` is None again, so that
    no chain of frames is kept alive. What belongs to both frames is kept by ``derived``, what belongs to one of them
    by ``Frame.derived``: cells measured together share their source frames, and with them what was derived from those.
    """

    def __init__(self, index: int, reference: Frame, distorted: Frame, previous: FramePair | None = None) -> None:
        self.index = index
        self.reference = reference
        self.distorted = distorted
        self.previous = previous
        self._derived: dict[Hashable, Any] = {}
        if previous is not None:
            previous.previous = None

    @cached_property
    def squared_errors(self) -> tuple[int, ...]:
        """Exact sum of squared errors of each plane."""
        from bench.metrics.kernels import plane_sse

        return tuple(plane_sse(a, b) for a, b in zip(self.reference.planes, self.distorted.planes, strict=True))

    @property
    def rgb(self) -> tuple[Samples, Samples]:
        """Both frames as RGB pictures (height, width, 3) at the format's bit depth."""
        return rgb_of(self.reference), rgb_of(self.distorted)

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` works out from this pair, once for all who ask by ``key``; kept as long as the pair."""
        if key not in self._derived:
            self._derived[key] = make()
        found: T = self._derived[key]
        return found


class Metric(ABC):
    """One named quality measure. A fresh instance is made for each cell.

    ``direction``: whether more is better. ``bounds``: the range values lie in. ``saturation``: at or beyond it a
    value tells codecs apart no longer, so BD-rate flags it. ``cap``: what an infinite value counts as in BD-rate,
    and only there. ``curve_scale``: the scale of curves and BD-rate, "db" for a similarity (-10 log10(1 - value)).
    ``version`` rises when the definition changes, so that stored values are measured again.
    ``variants``: what can stand behind the name after a colon ("ewarp:spynet"), each with what it changes.
    ``shares_reference``: much of its work is on source frames alone, so that the cells of a sequence are better
    measured together. ``fidelity``: it is about closeness to the source, so that the source itself has the best value;
    not so for a metric without reference, or one of consistency alone, which a blurred video can win. ``no_value``: the
    reason where no frame has one. ``transfer``: how it takes samples to become light. ``outside_python``: its work is
    done by other programs, or by kernels that let other threads run meanwhile, so that threads of one process measure
    side by side.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    saturation: ClassVar[float | None] = None
    cap: ClassVar[float | None] = None
    curve_scale: ClassVar[Literal["linear", "db"]] = "linear"
    needs: ClassVar[str] = "nothing beyond the base installation"
    headline: ClassVar[str] = "mean"
    version: ClassVar[int] = 1
    variants: ClassVar[Mapping[str, str]] = {}
    shares_reference: ClassVar[bool] = False
    no_value: ClassVar[str] = "no frame has a value"
    outside_python: ClassVar[bool] = False
    fidelity: ClassVar[bool] = True
    transfer: ClassVar[Transfer] = "sdr"

    def __init__(self, fmt: VideoFormat) -> None:
        """Prepare for frames of a format; raises MetricError with the reason where it has no value for them."""
        self.format = fmt

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        """Class of the metric with options, those of ``variants``; its name has them in one order only.

        Raises UnknownNameError for an option there is not.
        """
        raise UnknownNameError(f"variant of {cls.name}", ":".join(options), cls.variants)

    @classmethod
    def check(cls) -> None:
        """Raise UnavailableError, saying what to do, if the metric cannot run on this machine."""

    @classmethod
    def prepare(cls) -> None:
        """Load what takes long once a process; a cell's first encoder works meanwhile. Safe beside other threads."""

    @classmethod
    def identity(cls) -> dict[str, Any]:
        """What values depend on beside the frames, for the measurement's key."""
        return {"name": cls.name, "version": cls.version}

    @abstractmethod
    def update(self, pair: FramePair) -> float | None:
        """Value of one frame pair; None where the definition gives none (the first frame of a temporal metric)."""

    def provenance(self) -> dict[str, Any]:
        """What the name cannot say: conventions, networks, colour conversion."""
        return {}

    def pool(self, values: Values) -> dict[str, float]:
        """Pooled values; ``headline`` names the one that is the measurement's value."""
        return pool(values)


class DeferredMetric(Metric):
    """A metric whose values are known later than their frame: of batches, of neighbours, of a whole video.

    It may hold a bounded number of pairs, never all of them.
    """

    @abstractmethod
    def push(self, pair: FramePair) -> None:
        """Take the next pair."""

    @abstractmethod
    def finish(self) -> tuple[Values, Mapping[str, float]]:
        """One value a frame (or none at all), and further pooled values.

        Raises MetricError where the video as a whole has no value (too few frames).
        """

    def features(self) -> Mapping[str, npt.NDArray[Any]]:
        """What must be stored so that several cells can be pooled into one value; asked for after ``finish``, also
        where that found no value for the cell alone."""
        return {}

    def update(self, pair: FramePair) -> float | None:
        raise TypeError(f"{self.name} has its values at the end, not frame by frame")


@dataclass(frozen=True)
class EncodedAs:
    """Size in luma samples and bit depth of the frames that an encoder was given."""

    width: int
    height: int
    bit_depth: int


class FilterMetric(Metric):
    """A metric that FFmpeg computes; it is fed by the measuring pass and read when the pass has ended.

    Metrics with the same ``group`` come from one filter instance.
    """

    outside_python = True

    group: ClassVar[str]
    chromas: ClassVar[tuple[str, ...]] = ("420", "422", "444")
    encoded: EncodedAs | None = None
    """What was encoded where that is less than the frames that are measured; set by the pass."""

    @classmethod
    @abstractmethod
    def filter_graph(cls, wanted: list[Any], log: str, threads: int) -> str:
        """Filter taking [distorted][reference] that writes the values of some metrics of its group to ``log``."""

    @abstractmethod
    def read(self, log: str) -> tuple[Values, dict[str, float]]:
        """Per-frame values and further pooled values, from the log's text; MetricError for one that is not whole."""

    def update(self, pair: FramePair) -> float | None:
        raise TypeError(f"{self.name} is measured by FFmpeg, not frame by frame")


def definition(metric: type[Metric]) -> str:
    """What the docstrings of a metric's class and of those it builds on say of its values, up to the common base.

    One that begins with an article ("A metric of libvmaf.") says what kind of class it is, which is for programmers.
    """
    texts = []
    for base in metric.__mro__:
        if base in {Metric, DeferredMetric, FilterMetric}:
            break
        if base.__doc__ and not base.__doc__.startswith(("A ", "An ")):
            texts.append(" ".join(base.__doc__.split("\n\n")[0].split()).replace("``", ""))
    return " ".join(dict.fromkeys(texts)) or "no definition given"


@dataclass(frozen=True)
class Measurement:
    """A metric's outcome on one cell.

    ``status`` is "ok", "undefined" (the metric has no value here), "unavailable" (something it needs is missing) or
    "failed"; ``reason`` says why whenever it is not "ok". ``frames`` has one value a frame, None where there is none;
    it is empty for a metric of whole videos. ``features``: see DeferredMetric.
    """

    metric: str
    status: Literal["ok", "undefined", "unavailable", "failed"]
    value: float | None = None
    reason: str | None = None
    pooled: Mapping[str, float] = field(default_factory=dict)
    frames: tuple[float | None, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def conclude(metric: Metric, values: Values, extra: Mapping[str, float] | None = None) -> Measurement:
    """Measurement of the values of all frames; a NaN anywhere makes it undefined and says at which frame."""
    nans = [index for index, value in enumerate(values) if value is not None and math.isnan(value)]
    provenance = metric.provenance()
    if nans:
        reason = f"{len(nans)} of {len(values)} frames are not a number, the first is frame {nans[0]}"
        kept = tuple(None if value is None or math.isnan(value) else value for value in values)
        return Measurement(metric.name, "undefined", None, reason, {}, kept, provenance)
    framewise = metric.pool(values) if any(value is not None for value in values) else {}
    pooled = {key: value for key, value in {**framewise, **(extra or {})}.items() if not math.isnan(value)}
    if metric.headline not in pooled:
        reason = f"its pooled value ({metric.headline}) is not a number" if pooled else metric.no_value
        return Measurement(metric.name, "undefined", None, reason, pooled, tuple(values), provenance)
    return Measurement(
        metric.name,
        "ok",
        pooled[metric.headline],
        None,
        pooled,
        tuple(values),
        {**provenance, "pooling": metric.headline},
    )


def pool(values: Values) -> dict[str, float]:
    """Arithmetic and harmonic mean, extremes, percentiles (linear) and standard deviation over frames with a value.

    The harmonic mean is left out where a value is not positive. Infinite values stay infinite.
    """
    known: npt.NDArray[np.float64] = np.array([value for value in values if value is not None], dtype=np.float64)
    pooled = {"mean": float(known.mean()), "minimum": float(known.min()), "maximum": float(known.max())}
    if known.min() > 0:
        reciprocal = float(np.mean(1 / known))
        pooled["harmonic_mean"] = 1 / reciprocal if reciprocal else math.inf
    ordered = np.sort(known)
    for percent in (1, 5, 10, 50, 95):
        pooled[f"p{percent}"] = percentile(ordered, percent)
    if np.isfinite(known).all():
        pooled["standard_deviation"] = float(known.std())
    return pooled


def percentile(ordered: Sequence[float] | npt.NDArray[np.float64], percent: float) -> float:
    """Linear percentile that keeps infinities instead of turning them into NaN."""
    position = (len(ordered) - 1) * percent / 100
    below, above = float(ordered[math.floor(position)]), float(ordered[math.ceil(position)])
    return below if below == above else below + (above - below) * (position - math.floor(position))
