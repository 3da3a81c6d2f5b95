"""One pass over the source and its decoded versions that feeds every metric."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from bench.core.one_thread import one_thread
from bench.errors import MetricError, MismatchError, UnavailableError, is_out_of_memory
from bench.metrics.base import DeferredMetric, EncodedAs, FilterMetric, FramePair, Measurement, Metric, Values, conclude
from bench.metrics.filters import FilterPass
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_REUSED = 1 << 29
_KEPT_FREE = 1 << 28


class MetricPass:
    """The metrics of one cell at work: ``push`` every pair in order, then ``finish``.

    A metric that cannot run, or fails at some frame, has a status and a reason; the others go on.
    """

    def __init__(
        self,
        metrics: Iterable[type[Metric]],
        fmt: VideoFormat,
        folder: Path,
        *,
        threads: int = 1,
        encoded: EncodedAs | None = None,
    ) -> None:
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
        filtered = [metric for metric in self._running.values() if isinstance(metric, FilterMetric)]
        for metric in filtered:
            metric.encoded = encoded
        self._unfiltered = [metric for metric in self._running.values() if not isinstance(metric, FilterMetric)]
        self._filter_pass = FilterPass(filtered, fmt, folder, threads=threads) if filtered else None

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
        if is_out_of_memory(error):
            reason = f"memory ran out: {reason}; give fewer --jobs, or another VCBENCH_DEVICE to this metric alone"
        self._ended[metric.name] = Measurement(metric.name, _status(error), reason=reason)

    def finish(self) -> list[Measurement]:
        """Measurements in the order the metrics were asked for."""
        extras: dict[str, Mapping[str, float]] = {}
        if self._filter_pass is not None:
            for name, outcome in self._filter_pass.finish(self._frames).items():
                if isinstance(outcome, MetricError):
                    self._ended[name] = Measurement(name, "failed", reason=str(outcome))
                else:
                    self._values[name], extras[name] = outcome
        for name, metric in self._running.items():
            if name not in self._ended:
                try:
                    self._conclude(metric, extras.get(name))
                except Exception as error:  # as above
                    self._fail(metric, error)
        return [self._ended[name] for name in self._names]

    def _conclude(self, metric: Metric, extra: Mapping[str, float] | None) -> None:
        values = self._values[metric.name]
        if not isinstance(metric, DeferredMetric):
            self._ended[metric.name] = conclude(metric, values, extra)
            return
        try:
            values, extra = metric.finish()
            if len(values) not in {0, self._frames}:
                raise ValueError(f"{len(values)} values for {self._frames} frames")
            measured = conclude(metric, values, extra)
        except MetricError as error:
            # too few frames for a value of their own may still count in one of several videos
            measured = Measurement(metric.name, "undefined", reason=str(error), provenance=metric.provenance())
        self._ended[metric.name] = replace(measured, features=dict(metric.features()))

    def close(self) -> None:
        """End what still runs."""
        if self._filter_pass is not None:
            self._filter_pass.close()


def _status(error: Exception) -> Literal["undefined", "unavailable", "failed"]:
    if isinstance(error, UnavailableError):
        return "unavailable"
    return "undefined" if isinstance(error, MetricError) else "failed"


def check_format(got: VideoFormat, expected: VideoFormat) -> None:
    """Raise MismatchError unless size, chroma and bit depth are equal."""
    if (got.width, got.height) != (expected.width, expected.height):
        raise MismatchError(
            "frame_size", f"decoded frames are {got.width}x{got.height}, expected {expected.width}x{expected.height}"
        )
    if (got.chroma, got.bit_depth) != (expected.chroma, expected.bit_depth):
        raise MismatchError("frame_format", f"decoded frames are {got.pix_fmt}, expected {expected.pix_fmt}")


@dataclass(frozen=True)
class DecodedVideo:
    """A decoded video to be measured, and how.

    ``transform`` brings its frames back to the source's format; ``folder`` takes small working files. ``encoded``: what
    the encoder was given, where that was smaller, or of fewer bits, than the frames are now.
    """

    frames: Iterator[Frame]
    metrics: Iterable[type[Metric]]
    transform: CodingTransform
    folder: Path
    encoded: EncodedAs | None = None


class _Lane:
    """One decoded video beside the source. What goes wrong with it becomes its ``error`` and disturbs no other."""

    def __init__(self, video: DecodedVideo, threads: int) -> None:
        self.error: Exception | None = None
        self._video = video
        self._pair: FramePair | None = None
        self._decoded = 0
        self._metrics: MetricPass | None = None
        with self._guarded():
            self._metrics = MetricPass(
                video.metrics, video.transform.source, video.folder, threads=threads, encoded=video.encoded
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = error

    def push(self, index: int, reference: Frame) -> None:
        """Measure the decoded frame that belongs to a source frame."""
        if self.error is not None or self._decoded < index:
            return
        with self._guarded():
            got = next(self._video.frames, None)
            if got is not None:
                check_format(got.format, self._video.transform.coded)
                self._pair = FramePair(index, reference, self._video.transform.inverse(got), self._pair)
                self._metrics.push(self._pair)  # type: ignore[union-attr]
                self._decoded += 1

    def finish(self, frames: int) -> list[Measurement] | Exception:
        """Measurements, or the error; MismatchError unless there were as many frames as the source has."""
        self._pair = None
        measurements: list[Measurement] = []
        if self.error is None:
            with self._guarded():
                self._decoded += sum(1 for _ in self._video.frames)
                if self._decoded != frames:
                    lost = f"the decoder returned {self._decoded} frames, the source has {frames}"
                    raise MismatchError("frame_count", lost)
                measurements = self._metrics.finish()  # type: ignore[union-attr]
        return measurements if self.error is None else self.error

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()


def measure_together(
    source: Iterator[Frame], videos: Sequence[DecodedVideo], *, threads: int = 1
) -> list[list[Measurement] | Exception]:
    """Measure several decoded versions of one source in one pass over it; memory is flat in the number of frames.

    They share each source frame, and with it what metrics derive from it. A video that goes wrong has its exception in
    place of its measurements; the others go on. Raises what reading the source raises.
    """
    keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        lanes = []
        for video in videos:
            lane = _Lane(video, threads)
            stack.callback(lane.close)
            lanes.append(lane)
        frames = 0
        for reference in source:
            if all(lane.error is not None for lane in lanes):
                break
            for lane in lanes:
                lane.push(frames, reference)
            frames += 1
        return [lane.finish(frames) for lane in lanes]


def measure(
    source: Iterator[Frame],
    decoded: Iterator[Frame],
    metrics: Iterable[type[Metric]],
    transform: CodingTransform,
    folder: Path,
    *,
    threads: int = 1,
    encoded: EncodedAs | None = None,
) -> list[Measurement]:
    """Measure one decoded video; raises what goes wrong, MismatchError if the two do not fit frame by frame."""
    video = DecodedVideo(decoded, metrics, transform, folder, encoded)
    (outcome,) = measure_together(source, [video], threads=threads)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@cache
def keep_freed_memory() -> None:
    """Have large arrays reuse what earlier ones freed, up to 256 MiB of it; without effect but on glibc.

    Each frame is freed when the next has come. Left alone, glibc returns every plane of some megabytes to the kernel,
    which clears as many pages again for the next: half of the time of a 1080p fidelity pass.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
