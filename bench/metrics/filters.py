"""Metrics that FFmpeg computes, VMAF and XPSNR, fed frame by frame in the measuring pass.

Both frames of a pair go through one pipe, source first; the graph takes them apart by frame index, so that no
timestamp can pair the wrong ones.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

from bench import ffmpeg
from bench.errors import MetricError, UnavailableError
from bench.metrics.base import FilterMetric, FramePair, Values
from bench.process import Process, ProcessError
from bench.video.formats import VideoFormat

VMAF_MIN_SIDE = 17
"""Smaller frames end libvmaf by a segmentation fault, and with it every filter of the pass."""


class Vmaf(FilterMetric):
    """VMAF (Li et al. 2016) by libvmaf, model vmaf_v0.6.1, 0 to 100."""

    name, title = "vmaf", "VMAF v0.6.1"
    unit = "score"
    bounds = (0.0, 100.0)
    saturation = 99.5
    needs = "an FFmpeg with libvmaf (the embedded one has it)"
    group = "vmaf"
    model: ClassVar[str] = "vmaf_v0.6.1"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        _require_chroma(self, fmt)
        if min(fmt.width, fmt.height) < VMAF_MIN_SIDE:
            raise MetricError(f"{self.name}: libvmaf takes no side under {VMAF_MIN_SIDE}, not {fmt.width}x{fmt.height}")

    @classmethod
    def check(cls) -> None:
        _require_filter("libvmaf", cls.name)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "model": cls.model, "ffmpeg": ffmpeg.version()}

    @classmethod
    def filter_graph(cls, wanted: list[str], log: str, threads: int) -> str:
        models = "|".join(f"version={VMAF_MODELS[name]}\\:name={name}" for name in wanted)
        return f"libvmaf=model='{models}':n_threads={threads}:log_fmt=json:log_path={log}"

    @classmethod
    def parse(cls, log: str) -> dict[str, tuple[Values, dict[str, float]]]:
        frames = json.loads(log)["frames"]
        names = [name for name in VMAF_MODELS if frames and name in frames[0]["metrics"]]
        return {name: ([frame["metrics"][name] for frame in frames], {}) for name in names}

    def provenance(self) -> dict[str, Any]:
        return {"model": self.model, "ffmpeg": ffmpeg.version()}


class VmafNeg(Vmaf):
    """VMAF without enhancement gain, model vmaf_v0.6.1neg, 0 to 100."""

    name, title = "vmaf_neg", "VMAF NEG v0.6.1"
    model = "vmaf_v0.6.1neg"


VMAF_MODELS = {metric.name: metric.model for metric in (Vmaf, VmafNeg)}


class Xpsnr(FilterMetric):
    """XPSNR (Helmrich et al. 2020) in dB: block-wise perceptually weighted PSNR.

    The value is what FFmpeg's filter recommends to report, the minimum over the planes of the sequence's average;
    a frame's value is the minimum over its planes.
    """

    name, title = "xpsnr", "XPSNR"
    unit = "dB"
    bounds = (0.0, None)
    cap = 99.9
    needs = "an FFmpeg with the xpsnr filter (the embedded one has it)"
    group = "xpsnr"
    headline = "ffmpeg_minimum"
    chromas = ("gray", "420", "422", "444")

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        _require_chroma(self, fmt)

    @classmethod
    def check(cls) -> None:
        _require_filter("xpsnr", cls.name)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "ffmpeg": ffmpeg.version()}

    @classmethod
    def filter_graph(cls, wanted: list[str], log: str, threads: int) -> str:
        return f"xpsnr=stats_file={log}"

    @classmethod
    def parse(cls, log: str) -> dict[str, tuple[Values, dict[str, float]]]:
        frames: Values = []
        extra: dict[str, float] = {}
        for line in log.splitlines():
            planes = {plane: float(value) for plane, value in re.findall(r"\b([yuv]): *(inf|nan|[\d.]+)", line)}
            if line.startswith("n:"):
                frames.append(min(planes.values()))
            elif "average" in line:
                extra = {f"ffmpeg_{plane}": value for plane, value in planes.items()}
                extra["ffmpeg_minimum"] = min(planes.values())
        return {"xpsnr": (frames, extra)}

    def provenance(self) -> dict[str, Any]:
        return {"ffmpeg": ffmpeg.version(), "value": "minimum over planes of FFmpeg's average"}


def _require_filter(name: str, metric: str) -> None:
    if name not in ffmpeg.filters():
        raise UnavailableError(
            f"{metric}: {ffmpeg.executable()} has no {name} filter; "
            f"unset {ffmpeg.ENVIRONMENT} to use the static build of imageio-ffmpeg, which has it"
        )


def _require_chroma(metric: FilterMetric, fmt: VideoFormat) -> None:
    if fmt.chroma not in metric.chromas:
        raise MetricError(f"{metric.name}: is not defined for {fmt.pix_fmt} (it takes {', '.join(metric.chromas)})")


class FilterPass:
    """One FFmpeg process that computes every filter metric of a cell while the frames go by."""

    def __init__(self, metrics: list[FilterMetric], fmt: VideoFormat, folder: Path, *, threads: int = 1) -> None:
        self._metrics = metrics
        self._folder = folder
        self._groups: dict[str, list[FilterMetric]] = {}
        for metric in metrics:
            self._groups.setdefault(metric.group, []).append(metric)
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS,
            # XPSNR weighs motion by the true frame rate; pairing goes by the number of the frame alone
            "-f", "rawvideo", "-pix_fmt", fmt.pix_fmt, "-video_size", f"{fmt.width}x{fmt.height}",
            "-framerate", str(fmt.fps), "-i", "pipe:0", "-filter_complex", self._graph(threads),
            "-map", "[out]", "-f", "null", "-",
        ]  # fmt: skip
        self._process = Process(argv, cwd=folder, stdin="pipe")
        self._broken = False

    def _graph(self, threads: int) -> str:
        count = len(self._groups)
        parts = ["[0:v]select=n=2:e=mod(n\\,2)+1[r][d]"]
        parts.append(f"[r]settb=1/25,setpts=N,split={count}" + "".join(f"[r{index}]" for index in range(count)))
        parts.append(f"[d]settb=1/25,setpts=N,split={count}" + "".join(f"[d{index}]" for index in range(count)))
        for index, (group, metrics) in enumerate(self._groups.items()):
            made = metrics[0].filter_graph([metric.name for metric in metrics], f"{group}.log", threads)
            first, second = (f"[r{index}]", f"[d{index}]") if group == "xpsnr" else (f"[d{index}]", f"[r{index}]")
            parts.append(f"{first}{second}{made}" + (",nullsink" if index else "[out]"))
        return ";".join(parts)

    def push(self, pair: FramePair) -> None:
        """Feed one pair. A process that has ended is reported by ``finish``, so that other metrics go on."""
        if self._broken:
            return
        try:
            self._process.stdin.write(pair.reference.data.data)
            self._process.stdin.write(pair.distorted.data.data)
        except BrokenPipeError:
            self._broken = True

    def finish(self, frames: int) -> dict[str, tuple[Values, dict[str, float]]]:
        """Values by metric name; raises MetricError if FFmpeg failed or did not see every frame."""
        try:
            self._process.finish()
        except ProcessError as error:
            raise MetricError(f"FFmpeg's metric filters failed: {error}") from None
        results: dict[str, tuple[Values, dict[str, float]]] = {}
        for group, metrics in self._groups.items():
            log = (self._folder / f"{group}.log").read_text(encoding="utf-8")
            results |= metrics[0].parse(log)
            for metric in metrics:
                seen = len(results[metric.name][0]) if metric.name in results else 0
                if seen != frames:
                    raise MetricError(f"{metric.name}: FFmpeg scored {seen} of {frames} frames")
        return results

    def close(self) -> None:
        """End the process if it still runs."""
        self._process.__exit__(None, None, None)
