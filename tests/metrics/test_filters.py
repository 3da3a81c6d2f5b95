"""Metrics that FFmpeg computes: what their logs may hold, and that one that fails takes no other with it."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.engine.measure import measure
from bench.errors import MetricError
from bench.metrics.base import Measurement, Metric
from bench.metrics.filters import Xpsnr
from bench.metrics.libvmaf import Vmaf
from bench.registry import metric_class
from bench.video import ffmpeg, y4m
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

RunFFmpeg = Callable[..., bytes]


def flat(fmt: VideoFormat, *planes: int) -> Frame:
    shapes = fmt.plane_shapes
    return Frame.from_planes(fmt, [np.full(shape, value) for shape, value in zip(shapes, planes, strict=True)])


def measured(
    references: list[Frame], distorted: list[Frame], metrics: list[type[Metric]], folder: Path
) -> dict[str, Measurement]:
    fmt = references[0].format
    found = measure(iter(references), iter(distorted), metrics, CodingTransform(fmt, fmt), folder)
    return {item.metric: item for item in found}


def direct_xpsnr(references: list[Frame], distorted: list[Frame], folder: Path) -> float:
    """The filter's summary, of two files that it reads itself."""
    for name, frames in (("a", references), ("b", distorted)):
        samples = b"".join(b"FRAME\n" + frame.data.tobytes() for frame in frames)
        (folder / f"{name}.y4m").write_bytes(y4m.header_line(frames[0].format) + samples)
    done = subprocess.run(
        [ffmpeg.executable(), "-hide_banner", "-i", "a.y4m", "-i", "b.y4m", "-lavfi", "xpsnr", "-f", "null", "-"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    minimum = re.search(r"minimum: (\S+)\)", done.stderr)
    assert minimum is not None
    return float(minimum[1])


FLAT = VideoFormat(176, 144)
BLACK_WHITE = ((16, 128, 128), (235, 128, 128))
GREEN_MAGENTA = ((145, 54, 34), (106, 202, 222))


@pytest.mark.parametrize(("colours", "expected"), [(BLACK_WHITE, -14.5112), (GREEN_MAGENTA, -12.8)])
def test_xpsnr_below_zero(
    tmp_path: Path, colours: tuple[tuple[int, int, int], tuple[int, int, int]], expected: float
) -> None:
    references, distorted = ([flat(FLAT, *colour)] * 6 for colour in colours)
    found = measured(references, distorted, [metric_class("psnr_y"), metric_class("xpsnr")], tmp_path)
    assert found["xpsnr"].value == pytest.approx(direct_xpsnr(references, distorted, tmp_path), abs=1e-4)
    assert found["xpsnr"].value == pytest.approx(expected, abs=0.05)
    assert found["psnr_y"].status == "ok"


class TestUnweightedBlocks:
    """Of the same samples at 8 and 10 bit, the filter gives one value, but where a block has no activity."""

    @staticmethod
    def clip(width: int, height: int, depth: int) -> tuple[list[Frame], list[Frame]]:
        rng = np.random.default_rng(3)
        fmt = VideoFormat(width, height, bit_depth=depth)
        samples = [rng.integers(40, 200, fmt.samples_per_frame) for _ in range(1)]
        noise = [rng.integers(-9, 10, fmt.samples_per_frame) for _ in range(1)]
        dtype = np.uint8 if depth == 8 else np.uint16
        references = [Frame(fmt, (data << (depth - 8)).astype(dtype)) for data in samples]
        distorted = [
            Frame(fmt, ((data + more) << (depth - 8)).astype(dtype)) for data, more in zip(samples, noise, strict=True)
        ]
        return references, distorted

    @pytest.mark.parametrize(
        ("width", "height", "thin"),
        [
            (176, 145, True),
            (177, 144, False),
            (649, 480, True),
            (648, 481, True),
            (176, 144, False),
            (176, 146, False),
            (178, 151, False),
            (2080, 1158, True),
        ],
    )
    def test_are_found_where_the_filters_values_differ(
        self, tmp_path: Path, width: int, height: int, thin: bool
    ) -> None:
        by_depth = [direct_xpsnr(*self.clip(width, height, depth), tmp_path) for depth in (8, 12)]
        assert (abs(by_depth[0] - by_depth[1]) > 0.5) == thin
        references, distorted = self.clip(width, height, 8)
        (found,) = measured(references, distorted, [Xpsnr], tmp_path).values()
        assert found.status == ("undefined" if thin else "ok")
        assert not thin or "counts its errors unweighted" in str(found.reason)

    def test_common_sizes_have_none(self) -> None:
        for size in [(352, 288), (416, 240), (832, 480), (1280, 720), (1920, 1080), (2560, 1600), (3840, 2160)]:
            Xpsnr(VideoFormat(*size))


class TestXpsnrLog:
    FRAME = "n:    1  XPSNR y: 35.2000  XPSNR u: 40.0000  XPSNR v: inf\n"
    AVERAGE = "\nXPSNR average, 1 frames  y: 35.2000  u: 40.0000  v: inf  (minimum: 35.2000)\n"

    def test_is_read(self) -> None:
        frames, extra = Xpsnr(FLAT).read(self.FRAME + self.AVERAGE)
        assert frames == [35.2]
        assert extra == {"ffmpeg_y": 35.2, "ffmpeg_u": 40.0, "ffmpeg_v": math.inf, "ffmpeg_minimum": 35.2}

    def test_of_a_grey_clip(self) -> None:
        assert Xpsnr(FLAT).read("n:    1  XPSNR y: -1.5000\n\nXPSNR average, 1 frames  y: -1.5000\n")[0] == [-1.5]

    def test_a_plane_that_is_no_number_makes_the_frame_none(self) -> None:
        frames, _ = Xpsnr(FLAT).read(self.FRAME.replace("40.0000", "-nan") + self.AVERAGE)
        assert math.isnan(frames[0])  # type: ignore[arg-type]

    def test_one_bad_frame_among_many_perfect_ones_is_not_perfect(self) -> None:
        lines = ["n:    1  XPSNR y: 30.0000"] + [f"n: {n:4}  XPSNR y: inf" for n in range(2, 1001)]
        _, extra = Xpsnr(FLAT).read("\n".join(lines) + "\n\nXPSNR average, 1000 frames  y: inf\n")
        assert extra["ffmpeg_minimum"] == pytest.approx(30 + 20 * math.log10(1000))

    @pytest.mark.parametrize(
        "log",
        [
            "",
            FRAME,
            FRAME + FRAME + AVERAGE,
            FRAME.replace("n:    1", "n:    2") + AVERAGE,
            FRAME.replace("35.2000", "3.52e+01") + AVERAGE,
            FRAME.replace("XPSNR u: 40.0000  ", "") + AVERAGE,
            FRAME.replace("XPSNR u: 40.0000", "XPSNR u:") + AVERAGE,
            FRAME + AVERAGE.replace("u: 40.0000  ", ""),
            FRAME + AVERAGE + "something new\n",
        ],
    )
    def test_what_is_not_known_whole_is_refused(self, log: str) -> None:
        with pytest.raises(MetricError):
            Xpsnr(FLAT).read(log)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "{}",
        '{"frames": [{"frameNum": 0}]}',
        '{"frames": [{"frameNum": 1, "metrics": {"vmaf": 90.0}}]}',
        '{"frames": [{"frameNum": 0, "metrics": {"vmaf": null}}]}',
        '{"frames": [{"frameNum": 0, "metrics": {"vmaf": 90.0}}, {"frameNum": 1, "metrics": {}}]}',
        '{"frames": [{"frameNum": 0, "metrics": {"vmaf": nan}}]}',
    ],
)
def test_vmaf_log_that_is_not_known_whole_is_refused(log: str) -> None:
    with pytest.raises(MetricError):
        Vmaf(FLAT).read(log)
    whole = {"frames": [{"frameNum": 0, "metrics": {"vmaf": 90.0, "motion": 1.0}}]}
    assert Vmaf(FLAT).read(json.dumps(whole)) == ([90.0], {})


class _NoSuchFilter(Xpsnr):
    name, title, group = "no_such_filter", "a filter that this FFmpeg lacks", "no_such_filter"

    @classmethod
    def filter_graph(cls, wanted: list[Metric], log: str, threads: int) -> str:
        return "no_such_filter"


class _StrangeLog(Xpsnr):
    name, title, group = "strange_log", "a filter whose log says something new", "strange_log"

    def read(self, log: str) -> tuple[list[float | None], dict[str, float]]:
        return super().read(log + "something new\n")


def test_a_filter_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    references, distorted = ([flat(FLAT, *colour)] * 3 for colour in BLACK_WHITE)
    kinds = [_NoSuchFilter, Vmaf, _StrangeLog, Xpsnr, metric_class("psnr_y")]
    found = measured(references, distorted, kinds, tmp_path)
    assert {name: item.status for name, item in found.items()} == {
        "no_such_filter": "failed", "vmaf": "ok", "strange_log": "failed", "xpsnr": "ok", "psnr_y": "ok",
    }  # fmt: skip
    assert "No such filter" in str(found["no_such_filter"].reason)
    assert "something new" in str(found["strange_log"].reason)
