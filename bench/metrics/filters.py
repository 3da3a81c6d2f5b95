"""How metrics that FFmpeg computes are fed frame by frame in the measuring pass; and one of them, XPSNR.

Both frames of a pair go through one pipe, source first; the graph takes them apart by frame index, so that no
timestamp can pair the wrong ones. Each filter has a process of its own: one that fails takes no other with it.
"""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench.core.process import Process, ProcessError
from bench.errors import MetricError, UnavailableError
from bench.metrics.base import FilterMetric, FramePair, Values
from bench.video import ffmpeg
from bench.video.formats import VideoFormat


class Xpsnr(FilterMetric):
    """XPSNR (Helmrich et al. 2020) in dB: block-wise perceptually weighted PSNR; below 0 for the worst pictures.

    The value is what FFmpeg's filter recommends to report, the minimum over the planes of the sequence's average;
    a frame's value is the minimum over its planes.
    """

    name, title = "xpsnr", "XPSNR"
    unit = "dB"
    cap = 99.9
    version = 2
    needs = "an FFmpeg with the xpsnr filter (the embedded one has it)"
    group = "xpsnr"
    headline = "ffmpeg_minimum"
    chromas = ("gray", "420", "422", "444")

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        require_chroma(self, fmt)
        self.block = _xpsnr_block(fmt.width, fmt.height)
        thin = _unweighted_edge(fmt, self.block) if self.block else None
        if thin is not None:
            raise MetricError(
                f"{self.name}: in a picture of {fmt.width}x{fmt.height} the last {thin} of FFmpeg's "
                f"{self.block}x{self.block} blocks is so thin that the filter finds no activity in it and counts its "
                "errors unweighted; crop the clip"
            )

    @classmethod
    def check(cls) -> None:
        require_filter("xpsnr", cls.name)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "ffmpeg": ffmpeg.version()}

    @classmethod
    def filter_graph(cls, wanted: list[Any], log: str, threads: int) -> str:
        return f"xpsnr=stats_file={log}"

    def read(self, log: str) -> tuple[Values, dict[str, float]]:
        numbers: list[int] = []
        frames: list[dict[str, float]] = []
        averages: dict[str, float] | None = None
        for line in filter(None, log.splitlines()):
            if match := _XPSNR_FRAME.fullmatch(line):
                numbers.append(int(match["number"]))
                frames.append(_xpsnr_planes(match["planes"]))
            elif match := _XPSNR_AVERAGE.fullmatch(line):
                averages = _xpsnr_planes(match["planes"])
            else:
                raise MetricError(f"xpsnr: a line of FFmpeg's log is not as expected: {line[:200]!r}")
        require_order(numbers, first=1)
        if averages is None or any(frame.keys() != averages.keys() for frame in frames):
            raise MetricError("xpsnr: FFmpeg's log is not whole: it has no average, or not one of every plane")
        for plane, value in averages.items():
            values = [frame[plane] for frame in frames]
            # FFmpeg's average of very small errors is infinite as soon as one frame has none
            if math.isinf(value) and not all(map(math.isinf, values)):
                averages[plane] = _root_average(values)
        extra = {f"ffmpeg_{plane}": value for plane, value in averages.items()}
        extra["ffmpeg_minimum"] = _least(averages)
        return [_least(frame) for frame in frames], extra

    def provenance(self) -> dict[str, Any]:
        small = {} if self.block else {"weights": "none: FFmpeg scores pictures this small by PSNR"}
        return {"ffmpeg": ffmpeg.version(), "value": "minimum over planes of FFmpeg's average", **small}


_NUMBER = r"-?(?:\d+\.\d+|inf|nan)"
_XPSNR_FRAME = re.compile(rf"n: *(?P<number>\d+)(?P<planes>(?:  XPSNR [yuv]: {_NUMBER})+)")
_XPSNR_AVERAGE = re.compile(
    rf"XPSNR average, \d+ frames(?P<planes>(?:  [yuv]: {_NUMBER})+)(?:  \(minimum: {_NUMBER}\))?"
)


def _xpsnr_planes(text: str) -> dict[str, float]:
    return {plane: float(value) for plane, value in re.findall(rf"([yuv]): ({_NUMBER})", text)}


def _least(planes: dict[str, float]) -> float:
    return math.nan if any(map(math.isnan, planes.values())) else min(planes.values())


def _root_average(values: list[float]) -> float:
    """FFmpeg's average of a plane: the dB of the mean root of the weighted errors."""
    return -20 * math.log10(sum(10 ** (-value / 20) for value in values) / len(values))


def _xpsnr_block(width: int, height: int) -> int:
    """Side of the filter's blocks of luma samples (vf_xpsnr.c); 0 where the picture is too small for any."""
    return 4 * int(32 * math.sqrt(width * height / (3840 * 2160)) + 0.5)


def _unweighted_edge(fmt: VideoFormat, block: int) -> str | None:
    """Row or column of blocks that the filter counts unweighted, and so far too much: ten times the rest at 8 bit.

    It looks for activity inside a border of one sample, of two above 2048x1152, and does not weight a block that has
    nothing inside. Up to 640x480 it takes the weight of neighbouring blocks where that is lower, which mends columns.
    """
    pixels = fmt.width * fmt.height
    border = 2 if pixels > 2048 * 1152 else 1

    def is_thin(length: int) -> bool:
        return length <= 2 * border if length <= block else 0 < length % block <= border

    if is_thin(fmt.height):
        return "row"
    return "column" if is_thin(fmt.width) and (pixels > 640 * 480 or fmt.width <= block) else None


def require_order(numbers: list[int], *, first: int) -> None:
    if numbers != list(range(first, first + len(numbers))):
        raise MetricError("the log of FFmpeg's filter does not number the frames one by one")


def require_filter(name: str, metric: str) -> None:
    if name not in ffmpeg.filters():
        raise UnavailableError(
            f"{metric}: {ffmpeg.executable()} has no {name} filter; "
            f"unset {ffmpeg.ENVIRONMENT} to use the static build of imageio-ffmpeg, which has it"
        )


def require_chroma(metric: FilterMetric, fmt: VideoFormat) -> None:
    if fmt.chroma not in metric.chromas:
        raise MetricError(f"{metric.name}: is not defined for {fmt.pix_fmt} (it takes {', '.join(metric.chromas)})")


Outcomes = dict[str, tuple[Values, dict[str, float]] | MetricError]


class FilterPass:
    """The FFmpeg processes, one for each filter, that compute the filter metrics of a cell while the frames go by."""

    def __init__(self, metrics: list[FilterMetric], fmt: VideoFormat, folder: Path, *, threads: int = 1) -> None:
        groups: dict[str, list[FilterMetric]] = {}
        for metric in metrics:
            groups.setdefault(metric.group, []).append(metric)
        with ExitStack() as stack:
            self._running = [
                stack.enter_context(_RunningFilter(group, fmt, folder, threads=threads)) for group in groups.values()
            ]
            self._opened = stack.pop_all()

    def push(self, pair: FramePair) -> None:
        """Feed one pair. A process that has ended is reported by ``finish``, so that other metrics go on."""
        for running in self._running:
            running.push(pair)

    def finish(self, frames: int) -> Outcomes:
        """Values by metric name, or why there are none: FFmpeg failed, lost a frame, or wrote something unknown."""
        outcomes: Outcomes = {}
        for running in self._running:
            outcomes |= running.finish(frames)
        return outcomes

    def close(self) -> None:
        """End what still runs."""
        self._opened.close()


class _RunningFilter:
    """One FFmpeg process at work for the metrics of a group."""

    def __init__(self, metrics: list[FilterMetric], fmt: VideoFormat, folder: Path, *, threads: int) -> None:
        self._metrics = metrics
        self._log = folder / f"{metrics[0].group}.log"
        made = metrics[0].filter_graph(metrics, self._log.name, threads)
        sides = "[r][d]" if metrics[0].group == "xpsnr" else "[d][r]"
        graph = (
            "[0:v]select=n=2:e=mod(n\\,2)+1[first][second];[first]settb=1/25,setpts=N[r];"
            f"[second]settb=1/25,setpts=N[d];{sides}{made}[out]"
        )
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS,
            # XPSNR weighs motion by the true frame rate; pairing goes by the number of the frame alone
            "-f", "rawvideo", "-pix_fmt", fmt.pix_fmt, "-video_size", f"{fmt.width}x{fmt.height}",
            "-framerate", str(fmt.fps), "-i", "pipe:0", "-filter_complex", graph, "-map", "[out]", "-f", "null", "-",
        ]  # fmt: skip
        self._process = Process(argv, cwd=folder, stdin="pipe")
        self._broken = False

    def push(self, pair: FramePair) -> None:
        if self._broken:
            return
        try:
            self._process.stdin.write(pair.reference.data.data)
            self._process.stdin.write(pair.distorted.data.data)
        except BrokenPipeError:
            self._broken = True

    def finish(self, frames: int) -> Outcomes:
        try:
            log = self._logged()
        except MetricError as error:
            return {metric.name: error for metric in self._metrics}
        return {metric.name: _outcome(metric, log, frames) for metric in self._metrics}

    def _logged(self) -> str:
        try:
            self._process.finish()
            return self._log.read_text(encoding="utf-8")
        except (ProcessError, OSError, UnicodeDecodeError) as error:
            raise MetricError(f"FFmpeg's filter failed: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.__exit__(None, None, None)


def _outcome(metric: FilterMetric, log: str, frames: int) -> tuple[Values, dict[str, float]] | MetricError:
    try:
        values, extra = metric.read(log)
    except MetricError as error:
        return error
    if len(values) != frames:
        return MetricError(f"{metric.name}: FFmpeg scored {len(values)} of {frames} frames")
    return values, extra
