"""One pass over source and decoded frames that feeds every metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.errors import MetricError, MismatchError, UnavailableError
from bench.metrics.base import DeferredMetric, FilterMetric, FramePair, Measurement, Metric, Values, conclude
from bench.metrics.filters import FilterPass
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame


class MetricPass:
    """The metrics of one cell at work: ``push`` every pair in order, then ``finish``.

    A metric that cannot run, or fails at some frame, has a status and a reason; the others go on.
    """

    def __init__(self, metrics: Iterable[type[Metric]], fmt: VideoFormat, folder: Path, *, threads: int = 1) -> None:
        self._running: dict[str, Metric] = {}
        self._values: dict[str, Values] = {}
        self._ended: dict[str, Measurement] = {}
        self._names: list[str] = []
        self._frames = 0
        for kind in metrics:
            self._names.append(kind.name)
            try:
                kind.check()
                self._running[kind.name] = kind(fmt)
                self._values[kind.name] = []
            except (UnavailableError, MetricError) as error:
                self._ended[kind.name] = Measurement(kind.name, _status(error), reason=str(error))
        self._filtered = [metric for metric in self._running.values() if isinstance(metric, FilterMetric)]
        self._unfiltered = [metric for metric in self._running.values() if not isinstance(metric, FilterMetric)]
        self._filter_pass = FilterPass(self._filtered, fmt, folder, threads=threads) if self._filtered else None

    def push(self, pair: FramePair) -> None:
        """Measure one pair."""
        if self._filter_pass is not None:
            self._filter_pass.push(pair)
        for metric in list(self._unfiltered):
            try:
                if isinstance(metric, DeferredMetric):
                    metric.push(pair)
                else:
                    self._values[metric.name].append(metric.update(pair))
            except Exception as error:  # a plug-in's metric may raise anything; the others must go on
                self._fail(metric, error, f"frame {pair.index}: ")
                self._unfiltered.remove(metric)
        self._frames += 1

    def _fail(self, metric: Metric, error: Exception, where: str = "") -> None:
        known = isinstance(error, MetricError | UnavailableError)
        reason = str(error) if known else f"{where}{type(error).__name__}: {error}"
        self._ended[metric.name] = Measurement(metric.name, _status(error), reason=reason)

    def finish(self) -> list[Measurement]:
        """Measurements in the order the metrics were asked for."""
        extras: dict[str, Mapping[str, float]] = {}
        if self._filter_pass is not None:
            try:
                for name, (values, extra) in self._filter_pass.finish(self._frames).items():
                    self._values[name], extras[name] = values, extra
            except MetricError as error:
                for filtered in self._filtered:
                    self._ended[filtered.name] = Measurement(filtered.name, "failed", reason=str(error))
        for name, metric in self._running.items():
            if name not in self._ended:
                try:
                    self._conclude(metric, extras.get(name))
                except Exception as error:  # as above
                    self._fail(metric, error)
        return [self._ended[name] for name in self._names]

    def _conclude(self, metric: Metric, extra: Mapping[str, float] | None) -> None:
        values = self._values[metric.name]
        if isinstance(metric, DeferredMetric):
            values, extra = metric.finish()
            if len(values) not in {0, self._frames}:
                raise ValueError(f"{len(values)} values for {self._frames} frames")
        measured = conclude(metric, values, extra)
        if isinstance(metric, DeferredMetric):
            measured = replace(measured, features=dict(metric.features()))
        self._ended[metric.name] = measured

    def close(self) -> None:
        """End what still runs."""
        if self._filter_pass is not None:
            self._filter_pass.close()


def _status(error: Exception) -> Literal["undefined", "unavailable", "failed"]:
    if isinstance(error, UnavailableError):
        return "unavailable"
    return "undefined" if isinstance(error, MetricError) else "failed"


def paired(source: Iterator[Frame], decoded: Iterator[Frame], transform: CodingTransform) -> Iterator[FramePair]:
    """Pairs of equal index, decoded frames brought back to the source's format.

    Raises MismatchError when a decoded frame has another size or format, or when there are fewer or more of them.
    """
    index = 0
    pair: FramePair | None = None
    for reference in source:
        got = next(decoded, None)
        if got is None:
            expected = index + 1 + sum(1 for _ in source)
            raise MismatchError("frame_count", f"the decoder returned {index} frames, the source has {expected}")
        check_format(got.format, transform.coded)
        pair = FramePair(index, reference, transform.inverse(got), pair)
        yield pair
        index += 1
    further = sum(1 for _ in decoded)
    if further:
        raise MismatchError("frame_count", f"the decoder returned {index + further} frames, the source has {index}")


def check_format(got: VideoFormat, expected: VideoFormat) -> None:
    """Raise MismatchError unless size, chroma and bit depth are equal."""
    if (got.width, got.height) != (expected.width, expected.height):
        raise MismatchError(
            "frame_size", f"decoded frames are {got.width}x{got.height}, expected {expected.width}x{expected.height}"
        )
    if (got.chroma, got.bit_depth) != (expected.chroma, expected.bit_depth):
        raise MismatchError("frame_format", f"decoded frames are {got.pix_fmt}, expected {expected.pix_fmt}")


def measure(
    source: Iterator[Frame],
    decoded: Iterator[Frame],
    metrics: Iterable[type[Metric]],
    transform: CodingTransform,
    folder: Path,
    *,
    threads: int = 1,
) -> list[Measurement]:
    """Measure decoded frames against the source, every metric in one pass; memory is flat in the number of frames.

    ``folder`` takes small working files. Raises MismatchError if the two do not fit frame by frame.
    """
    running = MetricPass(metrics, transform.source, folder, threads=threads)
    try:
        for pair in paired(source, decoded, transform):
            running.push(pair)
        return running.finish()
    finally:
        running.close()
