"""Rate-quality curves out of the long table of measurements."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.analysis.hull import ladder_hull
from bench.analysis.quality import QualityAxis
from bench.errors import UnavailableError, UnknownNameError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.cell_set import CellSet

RateAxis = Literal["bpp", "kbps"]
RATE_AXES = ("bpp", "kbps")
COLUMNS = (
    *("codec", "rate", "dataset", "sequence", "frames", "width", "height", "fps", "bpp", "kbps", "rate_kind"),
    *("metric", "value", "status", "reason", "encode_s", "decode_s"),
)
OPTIONAL_COLUMNS = ("value_capped", "source", "scale")


class SequenceKey(NamedTuple):
    """A sequence of a dataset; the dataset is "" for a file given directly."""

    dataset: str
    sequence: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.sequence}" if self.dataset else self.sequence


class CurveKey(NamedTuple):
    """What one curve is of."""

    codec: str
    dataset: str
    sequence: str


class Source(NamedTuple):
    """The part of a sequence that was coded; curves of different sources are not comparable.

    content: digest of the file and first frame, where the table tells them.
    """

    frames: int
    width: int
    height: int
    fps: float
    content: str = ""

    def __str__(self) -> str:
        content = f" (source {self.content})" if self.content else ""
        return f"{self.frames} frames of {self.width}x{self.height} at {self.fps:g} fps{content}"


class DatasetSource(NamedTuple):
    """The frames of a dataset that a value was pooled over; curves over other frames are not comparable."""

    sequences: int
    frames: int
    content: str

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.sequences} sequences (source {self.content})"


class PublishedSource(NamedTuple):
    """What a curve was read from. A figure's frames and protocol are the paper's, so no other curve is of the same.

    frames, width, height: of the one sequence that it is of, 0 for a curve of a whole dataset.
    """

    content: str
    frames: int = 0
    width: int = 0
    height: int = 0

    def agrees(self, other: Source | PublishedSource | DatasetSource) -> bool:
        """Whether both are of as many frames of one size, so that curves of one sequence and metric may be compared."""
        if not self.frames or isinstance(other, DatasetSource):
            return False
        return (self.frames, self.width, self.height) == (other.frames, other.width, other.height)

    def __str__(self) -> str:
        coded = f" ({self.frames} frames of {self.width}x{self.height})" if self.frames else ""
        return f"what is published in {self.content}{coded}"


@dataclass(frozen=True)
class RDPoint:
    """One rate point as measured.

    rate: bpp or kbps. quality: in the unit of the curve's axis; infinite where a frame's PSNR is. capped: the same with
    the metric's cap on each frame, where the table has it; a delta takes it in place of an infinite quality. label: the
    rate point's name on the codec's card, with the size where that is a part of the source's. encode_s, decode_s: wall
    time of the whole sequence, None where it was not taken. scale: at which share of the source's size it was coded.
    """

    rate: float
    quality: float
    label: str
    encode_s: float | None = None
    decode_s: float | None = None
    capped: float | None = None
    scale: float = 1.0

    @property
    def delta_quality(self) -> float:
        """Quality that a Bjontegaard delta works with."""
        return self.capped if self.capped is not None and math.isinf(self.quality) else self.quality


@dataclass(frozen=True)
class ExcludedPoint:
    """A rate point without a value: its status in the table, and the reason given there."""

    label: str
    status: str
    reason: str


@dataclass(frozen=True)
class RDCurve:
    """The points of one codec on one sequence, by rising rate, and the points that have no value.

    sources: what was coded, one entry unless the table mixes frame counts, sizes or frame rates under one name.
    estimated: whether a rate is an estimate instead of the size of a bitstream. under: of a ladder, coded at several
    sizes, the points under the hull across them (`bench.analysis.hull.ladder_hull`), by rising rate; `points` are those
    on it.
    """

    codec: str
    dataset: str
    sequence: str
    metric: str
    rate_axis: RateAxis
    points: tuple[RDPoint, ...] = ()
    excluded: tuple[ExcludedPoint, ...] = ()
    sources: tuple[Source | DatasetSource | PublishedSource, ...] = ()
    estimated: bool = False
    under: tuple[RDPoint, ...] = ()

    @property
    def is_ladder(self) -> bool:
        """Whether points are of several sizes, and the curve is their hull."""
        return len({point.scale for point in (*self.points, *self.under)}) > 1

    @property
    def published(self) -> bool:
        """Whether the curve was read from a paper, and not measured."""
        return any(isinstance(source, PublishedSource) for source in self.sources)

    @property
    def published_for_dataset(self) -> bool:
        """Whether the curve was read from a paper that prints values of whole datasets."""
        return any(isinstance(source, PublishedSource) and not source.frames for source in self.sources)

    @property
    def rates(self) -> NDArray[np.float64]:
        """Rates in bpp or kbps, rising."""
        return np.array([point.rate for point in self.points], dtype=np.float64)

    @property
    def qualities(self) -> NDArray[np.float64]:
        """Qualities in the metric's unit, in the order of `rates`."""
        return np.array([point.quality for point in self.points], dtype=np.float64)

    @property
    def delta_qualities(self) -> NDArray[np.float64]:
        """Qualities that a Bjontegaard delta works with, in the order of `rates`."""
        return np.array([point.delta_quality for point in self.points], dtype=np.float64)

    @cached_property
    def log_times(self) -> tuple[float, float]:
        """Mean logarithm of the points' times of encoding, and of decoding; NaN where none was taken."""
        encode, decode = ([getattr(p, step) for p in self.points] for step in ("encode_s", "decode_s"))
        return _mean_log(encode), _mean_log(decode)

    @cached_property
    def delta_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rates and qualities that a Bjontegaard delta works with: the points, of a ladder the corners of its hull."""
        if not self.is_ladder:
            return self.rates, self.delta_qualities
        usable, others = _usable(_all(self))
        sign = 1 if _higher(self.metric) else -1
        rates, qualities, _ = _hull(usable, sign)
        return (
            np.append(rates, [point.rate for point in others]),
            np.append(sign * qualities, [point.delta_quality for point in others]),
        )

    @property
    def key(self) -> SequenceKey:
        """Dataset and sequence."""
        return SequenceKey(self.dataset, self.sequence)


@dataclass(frozen=True)
class PointTable:
    """The points of one codec over the sequences that have all of them: rows are sequences, columns rate points.

    rates, qualities: shape (sequences, labels). left_out: the other sequences, each with the reason. scales: of each
    label. Of a ladder, labels are its points on the hull of each sequence and under it alike.
    """

    labels: tuple[str, ...]
    sequences: tuple[SequenceKey, ...]
    rates: NDArray[np.float64]
    qualities: NDArray[np.float64]
    left_out: dict[SequenceKey, str]
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class MeanCurve:
    """A mean over sequences, which sequences it is of, and which were left out with the reason."""

    curve: RDCurve
    used: tuple[SequenceKey, ...]
    left_out: dict[SequenceKey, str]


_SIZE = ("frames", "width", "height")


def _whole(value: Any) -> int:
    """A number of a table, 0 where it has none."""
    return 0 if value is None or value != value else int(value)  # noqa: PLR0124 - NaN is what differs from itself


def curves(frame: pd.DataFrame, metric: str, *, rate_axis: RateAxis = "bpp") -> dict[CurveKey, RDCurve]:
    """Every curve of `metric` in a long table, keyed by (codec, dataset, sequence) and sorted by that key.

    `metric` is the name of a `QualityAxis`: a metric's, one with a pooling (vmaf@p5), or with a scale (ssim:linear).
    Curves of SSIM and MS-SSIM are in dB unless the name says otherwise.

    `frame` has one row per cell and metric and at least the columns `COLUMNS`. Optional are ``value_capped``, the value
    with the metric's cap on each frame, ``source``, which tells clips of one name and other content apart, and a column
    for each pooling (`ResultSet.to_pandas`). Rows whose status is not "ok", and rows without a value or a rate, become
    `excluded` points, and so do rows of failed cells, which have no metric; a curve that has no other rows is there
    without points.

    Raises UsageError for a missing column or another rate axis, UnknownNameError for a metric the table does not have.
    """
    axis = QualityAxis.parse(metric)
    if rate_axis not in RATE_AXES:
        raise UsageError(f"unknown rate axis {rate_axis!r}; there are: {', '.join(RATE_AXES)}")
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise UsageError(f"the table of measurements lacks the columns {', '.join(missing)}; load it with bench.load")
    known = {str(name) for name in frame["metric"].dropna().unique()}
    if axis.metric not in known:
        raise UnknownNameError("metric", axis.metric, known)
    columns = [*COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in frame.columns)]
    if axis.pooling is not None:
        if axis.pooling not in frame.columns:
            raise UsageError(
                f"{metric}: the table lacks the column {axis.pooling}; load it with to_pandas(poolings=...)"
            )
        columns.append(axis.pooling)
    failed = frame["metric"].isna() & (frame["status"] != "ok")
    table = frame.loc[(frame["metric"] == axis.metric) | failed, columns].astype(object)
    return _of_rows(table.where(table.notna(), None).itertuples(index=False), axis, rate_axis)


def curves_of(
    results: CellSet, metrics: Iterable[str], *, rate_axis: RateAxis = "bpp"
) -> Iterator[dict[CurveKey, RDCurve]]:
    """The `curves` of a result set by each of ``metrics``, from its cells: no table is made, nor pandas imported."""
    axes = [QualityAxis.parse(metric) for metric in metrics]
    if rate_axis not in RATE_AXES:
        raise UsageError(f"unknown rate axis {rate_axis!r}; there are: {', '.join(RATE_AXES)}")
    for axis in axes:
        if axis.metric not in results.metrics:
            raise UnknownNameError("metric", axis.metric, results.metrics)
    poolings = {axis.pooling for axis in axes if axis.pooling is not None}
    lacking = dict.fromkeys([*COLUMNS, *OPTIONAL_COLUMNS, *poolings])
    rows = [SimpleNamespace(**{**lacking, **row}) for row in results.rows(poolings, {axis.metric for axis in axes})]
    for axis in axes:
        own = (row for row in rows if row.metric == axis.metric or (row.metric is None and row.status != "ok"))
        yield _of_rows(own, axis, rate_axis)


def _of_rows(rows: Iterable[Any], axis: QualityAxis, rate_axis: RateAxis) -> dict[CurveKey, RDCurve]:
    """The curves of rows of one metric, whose attributes are the table's columns, None where there is nothing."""
    found: dict[CurveKey, list[Any]] = {}
    for row in rows:
        found.setdefault(CurveKey(row.codec, row.dataset or "", row.sequence), []).append(row)
    return {key: _curve(key, axis, rate_axis, found[key]) for key in sorted(found)}


def point_table(curves_of_codec: Iterable[RDCurve]) -> PointTable:
    """Align the curves of one codec by rate-point label.

    A sequence is in when it has each label that any of the curves has a value for, exactly once.
    """
    ordered = sorted(curves_of_codec, key=lambda curve: curve.key)
    scales = {point.label: point.scale for curve in ordered for point in _all(curve)}
    labels = tuple(scales)
    whole: list[RDCurve] = []
    left_out: dict[SequenceKey, str] = {}
    for curve in ordered:
        reason = _incomplete(curve, labels)
        if reason:
            left_out[curve.key] = reason
        else:
            whole.append(curve)
    rates = np.empty((len(whole), len(labels)))
    qualities = np.empty_like(rates)
    for row, curve in enumerate(whole):
        by_label = {point.label: point for point in _all(curve)}
        rates[row] = [by_label[label].rate for label in labels]
        qualities[row] = [by_label[label].delta_quality for label in labels]
    keys = tuple(curve.key for curve in whole)
    return PointTable(labels, keys, rates, qualities, left_out, tuple(scales.values()))


def mean_curve(curves_of_codec: Iterable[RDCurve]) -> MeanCurve:
    """The mean curve of one codec: per rate point, the mean of rate and the mean of quality over the sequences.

    Only sequences that have every rate point count, so that all points are means of the same material. Quality is
    averaged in the metric's unit (dB for PSNR); an infinite one counts by its capped value, or makes its point infinite
    where the table has none. Without a sequence that has all points the curve is empty.

    Raises UsageError when given no curve, or curves of more than one codec, metric or rate axis.
    """
    given = list(curves_of_codec)
    kinds = {(curve.codec, curve.metric, curve.rate_axis) for curve in given}
    if len(kinds) != 1:
        raise UsageError(f"a mean curve is of one codec, metric and rate axis; given {len(kinds)} combinations")
    ((codec, metric, rate_axis),) = kinds
    table = point_table(given)
    used = set(table.sequences)
    points: list[RDPoint] = []
    if used:
        means = zip(table.rates.mean(axis=0), table.qualities.mean(axis=0), table.labels, table.scales, strict=True)
        points = [RDPoint(float(r), float(q), label, scale=scale) for r, q, label, scale in means]
    on, under = on_hull(points, higher_is_better=_higher(metric))
    datasets = {key.dataset for key in used}
    curve = RDCurve(
        codec,
        datasets.pop() if len(datasets) == 1 else "",
        f"mean of {len(used)} sequences",
        metric,
        rate_axis,
        on,
        under=under,
        estimated=any(curve.estimated for curve in given if curve.key in used),
    )
    return MeanCurve(curve, table.sequences, table.left_out)


def _curve(key: CurveKey, axis: QualityAxis, rate_axis: RateAxis, rows: list[Any]) -> RDCurve:
    points: list[RDPoint] = []
    excluded: list[ExcludedPoint] = []
    sources: set[Source | PublishedSource] = set()
    estimated = False
    for row in rows:
        rate = getattr(row, rate_axis)
        scale = float(getattr(row, "scale", None) or 1)
        label = str(row.rate) if scale == 1 else f"{row.rate} at {scale:g}x"
        value = row.value if axis.pooling is None else getattr(row, axis.pooling)
        if row.status != "ok":
            excluded.append(ExcludedPoint(label, str(row.status), row.reason or "no reason given"))
        elif value is None or rate is None:
            excluded.append(
                ExcludedPoint(label, "ok", f"no {axis.pooling or 'value'}" if value is None else f"no {rate_axis}")
            )
        else:
            capped = getattr(row, "value_capped", None) if axis.pooling is None else None
            points.append(
                RDPoint(
                    float(rate),
                    axis.of(float(value)),
                    label,
                    _seconds(row.encode_s),
                    _seconds(row.decode_s),
                    None if capped is None else axis.of(float(capped)),
                    scale,
                )
            )
            content = str(getattr(row, "source", None) or "")
            if row.rate_kind == "published":
                sources.add(PublishedSource(content, *(_whole(getattr(row, name, None)) for name in _SIZE)))
            else:
                sources.add(Source(int(row.frames), int(row.width), int(row.height), float(row.fps or 0), content))
            estimated |= row.rate_kind == "estimate"
    on, under = on_hull(points, higher_is_better=_higher(axis.name))
    return RDCurve(*key, axis.name, rate_axis, on, tuple(excluded), tuple(sorted(sources)), estimated, under)


def on_hull(points: Sequence[RDPoint], *, higher_is_better: bool) -> tuple[tuple[RDPoint, ...], tuple[RDPoint, ...]]:
    """Points by rising rate: of a ladder those on its hull and those under it, of one size all and none.

    A point without a positive rate and a finite quality is under no curve and stays.
    """
    ordered = sorted(points, key=lambda point: point.rate)
    if len({point.scale for point in ordered}) < 2:
        return tuple(ordered), ()
    usable, others = _usable(ordered)
    *_, corners = _hull(usable, 1 if higher_is_better else -1)
    hull = {usable[index].label for index in corners.tolist() if index >= 0} | {point.label for point in others}
    return tuple(p for p in ordered if p.label in hull), tuple(p for p in ordered if p.label not in hull)


def _usable(points: Sequence[RDPoint]) -> tuple[list[RDPoint], list[RDPoint]]:
    """The points that a hull can be taken of, and the others."""
    usable = [p for p in points if 0 < p.rate < math.inf and math.isfinite(p.delta_quality)]
    return usable, [point for point in points if point not in usable]


def _hull(points: Sequence[RDPoint], sign: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    rates, qualities, scales = np.array([(p.rate, sign * p.delta_quality, p.scale) for p in points]).reshape(-1, 3).T
    return ladder_hull(rates, qualities, scales)


def _all(curve: RDCurve) -> tuple[RDPoint, ...]:
    return (*curve.points, *curve.under)


def _higher(metric: str) -> bool:
    """Which way a metric is better; one that is not installed counts as better the higher."""
    try:
        return QualityAxis.parse(metric).kind.direction == "higher"
    except (UnknownNameError, UnavailableError):
        return True


def _mean_log(times: Iterable[float | None]) -> float:
    taken = [seconds for seconds in times if seconds is not None]
    return float(np.log(taken).mean()) if taken else math.nan


def _seconds(value: Any) -> float | None:
    return float(value) if value is not None and 0 < value < math.inf else None


def _incomplete(curve: RDCurve, labels: tuple[str, ...]) -> str | None:
    counts = Counter(point.label for point in _all(curve))
    absent = [label for label in labels if label not in counts]
    if absent or not labels:
        return f"no value at rate {', '.join(absent)}" if absent else "no rate point has a value"
    repeated = [label for label, count in counts.items() if count > 1]
    return f"more than one value at rate {', '.join(repeated)}" if repeated else None
