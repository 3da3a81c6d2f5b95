"""Frames a second of optical flow and of the warping error: `python benchmarks/flow.py`.

A frame of `ewarp` is the whole metric on one cell: both frames made anew, RGB conversion, the flows in both directions,
mask, warping, and the source's own error beside the decoded one. Medians of wall time, so run it on an idle machine;
OpenCV has one thread, and the metric a second one for the second flow.
Accuracy stands beside speed: the endpoint error on pictures moved by known fields, and the PSNR of frames warped along
the flow, over the clips that are given.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bench.metrics.base import FramePair
from bench.registry import metric_class
from bench.video.flow import Preset, dis_flow, warp
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import open_sequence

SIZES = {"352x288": (352, 288), "1920x1080": (1920, 1080)}
PRESETS: tuple[Preset, ...] = ("ultrafast", "fast", "half", "medium")
Plane = npt.NDArray[np.uint8]


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="clips to warp, y4m or anything FFmpeg reads")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each, of which the median is printed")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for name, (width, height) in SIZES.items():
        print_speed(name, VideoFormat(width, height), arguments.repeats if width < 1000 else arguments.repeats // 4)
    print_endpoint_errors()
    for clip in arguments.clips:
        print_warped(clip)


def print_speed(title: str, fmt: VideoFormat, repeats: int) -> None:
    """One flow by each preset, and the whole metric."""
    print(f"\n{title}: ms and frames/s")
    previous, current = (frame.planes[0] for frame in moving_frames(fmt))
    for preset in PRESETS:
        print_row(f"DIS {preset}, one flow", median_ms(partial(dis_flow, current, previous, preset), repeats))
    for name in ("ewarp", "tof", "flicker"):
        print_row(f"{name}, one cell", median_ms(one_more_frame(name, fmt), repeats))


def one_more_frame(name: str, fmt: VideoFormat) -> Callable[[], object]:
    """Call that gives a metric its next pair; of the pair before, what a running pass has of it is there already."""
    metric = metric_class(name)(fmt)
    first, second = moving_frames(fmt)

    def fresh(frame: Frame) -> Frame:
        return Frame(fmt, frame.data)

    before = FramePair(0, fresh(first), fresh(first))
    metric.update(FramePair(1, fresh(second), fresh(second), before))  # the frames before have their RGB from here on

    def update() -> object:
        return metric.update(FramePair(1, fresh(second), fresh(second), before))

    return update


def print_endpoint_errors() -> None:
    """Mean distance from the true flow, over noise-free and noisy pictures, away from the border."""
    fields = dict(known_fields(288, 352))
    print(f"\nendpoint error in pixels, 352x288: {', '.join(fields)}; mean")
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (352, 416)), (0, 0), 1.5)
    picture = np.rint(255 * (texture - texture.min()) / np.ptp(texture)).astype(np.float32)
    y, x = np.mgrid[:288, :352].astype(np.float32)
    for preset in PRESETS:
        errors = []
        for field in fields.values():
            current = cv2.remap(picture, x + 32 + field[..., 0], y + 32 + field[..., 1], cv2.INTER_CUBIC)
            previous = picture[32:320, 32:384]
            flow = dis_flow(current.round().clip(0, 255).astype(np.uint8), previous.astype(np.uint8), preset)
            errors.append(float(np.hypot(*(flow - field)[20:-20, 20:-20].transpose(2, 0, 1)).mean()))
        print(f"  {preset:12}" + "".join(f"{error:8.3f}" for error in errors) + f"{statistics.mean(errors):9.3f}")


def known_fields(height: int, width: int) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Flows that are known by construction: a shift, a turn, a zoom, a smooth deformation."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    down, across = y - height / 2, x - width / 2
    yield "shift", np.dstack([np.full_like(x, 3.3), np.full_like(x, -1.6)])
    yield "turn of 2 degrees", np.float32(np.deg2rad(2)) * np.dstack([-down, across])
    yield "zoom of 3 %", np.float32(0.03) * np.dstack([across, down])
    yield "deformation", 3 * np.dstack([np.sin(y / 20), np.cos(x / 25)])


def print_warped(clip: Path) -> None:
    """PSNR of luma frames predicted by warping the frame before, mean over a clip."""
    frames = [frame.planes[0] for frame in open_sequence(clip, frames=21).read()]
    found = []
    for preset in PRESETS:
        decibels = [
            psnr(warp(before, dis_flow(after, before, preset)), after)
            for before, after in pairwise(frames)
            if not np.array_equal(before, after)
        ]
        found.append(f"{preset} {statistics.mean(decibels):.2f}")
    print(f"{clip.stem}: warped, dB: {', '.join(found)}")


def psnr(a: npt.NDArray[np.float32], b: Plane) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b.astype(np.float32)) ** 2, dtype=np.float64)))


def moving_frames(fmt: VideoFormat) -> tuple[Frame, Frame]:
    """Two 4:2:0 views of one texture, a few pixels apart."""
    noise = np.random.default_rng(1).normal(0, 1, (fmt.height + 8, fmt.width + 8)).astype(np.float32)
    texture = np.sum([cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1, 3, 9)], axis=0)
    plane = cv2.normalize(texture, None, 16, 235, cv2.NORM_MINMAX).round().astype(np.uint8)
    views = plane[: fmt.height, : fmt.width], plane[3 : fmt.height + 3, 5 : fmt.width + 5]
    first, second = (Frame.from_planes(fmt, [view, view[::2, ::2], view[1::2, 1::2]]) for view in views)
    return first, second


def print_row(title: str, milliseconds: float) -> None:
    print(f"  {title:24}{milliseconds:9.2f}{1000 / milliseconds:9.1f}")


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, in milliseconds, after one that is not counted."""
    call()
    times = []
    for _ in range(max(3, repeats)):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
