"""Metrics of temporal consistency as the engine runs them, against closed forms and the published definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.engine.measure import measure
from bench.errors import MetricError, UnknownNameError, UsageError
from bench.metrics.base import FramePair, Measurement
from bench.metrics.flicker import BLOCK, LEAST, flicker_frame, static_region
from bench.metrics.temporal import endpoint_distance, published_crop
from bench.registry import metric_class
from bench.video import colour
from bench.video.flow import dis_flow, ewarp_frame, farneback_flow, warp_reference
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import open_sequence

FORMATS = [
    VideoFormat(96, 80),
    VideoFormat(97, 83, chroma="444"),
    VideoFormat(96, 80, chroma="422", bit_depth=10),
    VideoFormat(99, 81, chroma="gray", bit_depth=12),
    VideoFormat(96, 80, chroma="rgb"),
]
Frames = list[Frame]


def texture(fmt: VideoFormat, dx: int = 0, dy: int = 0, *, noise: float = 0, seed: int = 0) -> Frame:
    """A view of a fixed texture, moved by whole pixels, at the format's depth; chroma repeats it coarsely."""
    rng = np.random.default_rng(7)
    plane = sum(cv2.GaussianBlur(rng.normal(0, 1, (200, 240)), (0, 0), sigma) * sigma for sigma in (1.5, 4))
    plane = 30 + 195 * (plane - np.min(plane)) / np.ptp(plane)
    plane = plane[40 + dy : 40 + dy + fmt.height, 40 + dx : 40 + dx + fmt.width]
    plane = plane + np.random.default_rng(seed).normal(0, 1, plane.shape) * noise
    scaled = np.rint(np.clip(plane, 0, 255) / 255 * fmt.peak)
    planes = [cv2.resize(scaled, shape[::-1], interpolation=cv2.INTER_AREA) for shape in fmt.plane_shapes]
    return Frame.from_planes(fmt, [np.rint(part) for part in planes])


def moving(fmt: VideoFormat, count: int, *, noise: float = 0) -> Frames:
    return [texture(fmt, 2 * index, index, noise=noise, seed=index) for index in range(count)]


def run(name: str, source: Iterable[Frame], decoded: Iterable[Frame], folder: Path) -> Measurement:
    source = list(source)
    transform = CodingTransform(source[0].format, source[0].format)
    return measure(iter(source), iter(decoded), [metric_class(name)], transform, folder)[0]


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.pix_fmt)
@pytest.mark.parametrize("name", ["ewarp", "ewarp:output", "tof", "tof:farneback", "flicker"])
def test_every_format_is_measured(name: str, fmt: VideoFormat, tmp_path: Path) -> None:
    source = [texture(fmt, index // 2, noise=1, seed=index) for index in range(7)]
    decoded = [texture(fmt, index // 2, noise=9, seed=index + 50) for index in range(7)]
    found = run(name, source, decoded, tmp_path)
    assert found.status == "ok", found.reason
    assert found.frames[0] is None
    assert found.value is not None
    assert found.value > 0


@pytest.mark.parametrize("name", ["ewarp", "tof", "flicker"])
def test_one_frame_has_no_value_but_a_reason(name: str, tmp_path: Path) -> None:
    frame = texture(FORMATS[0])
    found = run(name, [frame], [frame], tmp_path)
    assert found.status == "undefined"
    assert found.reason is not None
    assert found.reason.startswith("no frame has a value: it needs frames with a predecessor")


@pytest.mark.parametrize("name", ["tof", "tof:farneback", "flicker"])
def test_the_source_itself_has_zero(name: str, tmp_path: Path) -> None:
    source = [texture(FORMATS[0], index // 3, noise=1, seed=index) for index in range(6)]
    assert run(name, source, [Frame(frame.format, frame.data) for frame in source], tmp_path).value == 0.0


@pytest.mark.parametrize(
    ("name", "size"), [("ewarp", (31, 64)), ("tof", (64, 31)), ("tof:farneback", (47, 64)), ("flicker", (7, 64))]
)
def test_frames_too_small_are_undefined(name: str, size: tuple[int, int]) -> None:
    with pytest.raises(MetricError, match=r"too small|no block"):
        metric_class(name)(VideoFormat(*size, chroma="gray"))


def test_options_have_one_order_and_each_is_checked() -> None:
    assert metric_class("ewarp:output:spynet") is metric_class("ewarp:spynet:output")
    assert metric_class("ewarp:output:spynet").name == "ewarp:spynet:output"
    assert metric_class("ewarp:spynet").identity() != metric_class("ewarp").identity()
    with pytest.raises(UnknownNameError, match="spynet"):
        metric_class("ewarp:spinet")
    for name in ("ewarp:spynet:raft", "ewarp:output:output"):
        with pytest.raises(UsageError, match="once"):
            metric_class(name)


def test_ewarp_is_that_of_its_parts(tmp_path: Path) -> None:
    fmt = FORMATS[0]
    source, decoded = moving(fmt, 3), moving(fmt, 3, noise=5)
    found = run("ewarp", source, decoded, tmp_path)
    references = [warp_reference(a.planes[0], b.planes[0]) for a, b in pairwise(source)]

    def errors(frames: Frames) -> list[float | None]:
        pictures = [colour.to_rgb(frame) for frame in frames]
        return [ewarp_frame(*pictures[i : i + 2], references[i], peak=255) for i in range(2)]

    assert found.frames == (None, *errors(decoded))
    assert found.pooled["source_mean"] == pytest.approx(np.mean(errors(source)), rel=1e-12)
    assert found.pooled["source_mean"] < found.pooled["mean"] / 3


def test_ewarp_along_the_output_follows_the_decoded_motion(tmp_path: Path) -> None:
    """A decoded video that moves against its source is wrong along the source's motion, and smooth along its own."""
    fmt = FORMATS[0]
    source, decoded = moving(fmt, 4), [texture(fmt, -2 * index) for index in range(4)]
    along_source, along_output = (run(name, source, decoded, tmp_path) for name in ("ewarp", "ewarp:output"))
    assert along_source.value is not None
    assert along_output.value is not None
    assert along_output.value < 0.1 * along_source.value
    assert along_output.pooled["source_mean"] == along_source.pooled["source_mean"]
    assert along_output.provenance["flow_from"] == "decoded video"


def test_what_depends_on_the_source_alone_is_kept_with_it() -> None:
    """A second decoded version along the same source frames computes nothing of the source again."""
    fmt = FORMATS[0]
    source = moving(fmt, 2)
    for name in ("ewarp", "tof", "flicker"):
        for noise in (3, 6):
            metric = metric_class(name)(fmt)
            before = FramePair(0, source[0], texture(fmt, noise=noise))
            metric.update(FramePair(1, source[1], texture(fmt, 2, 1, noise=noise), before))
            kept = set(source[1]._derived)
            if noise == 3:
                first, values = kept, {key: id(source[1]._derived[key]) for key in kept}
        assert kept == first
        assert values == {key: id(source[1]._derived[key]) for key in kept}


@pytest.mark.parametrize("shift", [(3, 0), (-2, 4)])
def test_tof_of_a_wrong_translation_is_its_length(shift: tuple[int, int], tmp_path: Path) -> None:
    """The source stands still, the decoded video moves: the difference of flows is the motion, but for the border."""
    fmt = VideoFormat(160, 128)
    source = [texture(fmt), texture(fmt)]
    decoded = [texture(fmt), texture(fmt, *shift)]
    found = run("tof", source, decoded, tmp_path)
    assert found.value == pytest.approx(math.hypot(*shift), rel=0.1)


def test_tof_is_the_mean_endpoint_distance_of_the_flows_forward(tmp_path: Path) -> None:
    fmt = FORMATS[0]
    source, decoded = moving(fmt, 2), moving(fmt, 2, noise=8)
    flows = [dis_flow(frames[0].planes[0], frames[1].planes[0]).astype(float) for frames in (decoded, source)]
    expected = np.hypot(*(flows[0] - flows[1]).transpose(2, 0, 1)).mean()
    assert run("tof", source, decoded, tmp_path).value == pytest.approx(expected, rel=1e-6)


def test_endpoint_distance_is_euclidean() -> None:
    a, b = np.zeros((2, 4, 5, 2), np.float32)
    a[..., 0], b[..., 1] = 3, 4
    assert endpoint_distance(a, b) == 5.0


@pytest.mark.parametrize("side", [48, 63, 64, 79, 80, 100, 288, 352, 1080])
def test_the_published_crop_is_that_of_a_step_by_step_search(side: int) -> None:
    """Rounded down to a multiple of 32, then reduced by 32 until 16 pixels or more are cut."""
    kept = side - side % 32
    while kept > side - 16:
        kept -= 32
    crop = published_crop(side)
    assert (crop.start, crop.stop) == ((side - kept) // 2, (side - kept) // 2 + kept)


def test_published_tof_is_that_of_farneback_on_grey_without_the_ends(tmp_path: Path) -> None:
    fmt = VideoFormat(128, 96, chroma="444")
    source, decoded = moving(fmt, 7), moving(fmt, 7, noise=8)
    greys = [
        [cv2.cvtColor(np.ascontiguousarray(colour.to_rgb(f)[..., ::-1]), cv2.COLOR_BGR2GRAY) for f in frames]
        for frames in (source, decoded)
    ]
    expected: list[Any] = [None] * 7
    for index in range(3, 5):
        flows = [farneback_flow(grey[index - 1], grey[index])[16:80, 16:112].astype(float) for grey in greys]
        expected[index] = pytest.approx(np.sqrt(((flows[0] - flows[1]) ** 2).sum(axis=2)).mean(), rel=1e-6)
    assert list(run("tof:farneback", source, decoded, tmp_path).frames) == expected


def test_published_tof_of_five_frames_is_undefined(tmp_path: Path) -> None:
    source = moving(FORMATS[0], 5)
    found = run("tof:farneback", source, source, tmp_path)
    assert (found.status, found.reason) == ("undefined", "tof:farneback: needs 6 frames, there are 5")


def grey_planes(*levels: float, height: int = 64, width: int = 80, bit_depth: int = 8) -> list[np.ndarray]:
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return [np.full((height, width), level * 2 ** (bit_depth - 8)).astype(dtype) for level in levels]


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize(("own", "step", "expected"), [(0, 5, 5), (1, 5, 4), (2, 2, 0), (1, 0, 0)])
def test_flicker_is_the_change_beyond_the_sources(bit_depth: int, own: int, step: int, expected: int) -> None:
    before, after = grey_planes(100, 100 + own, bit_depth=bit_depth)
    source = static_region(before, after, bit_depth=bit_depth)
    assert source.share == 1.0
    decoded = grey_planes(90, 90 - step, bit_depth=bit_depth)
    assert flicker_frame(*decoded, source, bit_depth=bit_depth) == expected


def test_flicker_is_averaged_over_the_static_blocks_alone() -> None:
    """The right half of the source moves: what happens there is no flicker. A part of the left half flickers by 8."""
    before, after = grey_planes(100, 100)
    after[:, 40:] = 140
    decoded_before, decoded_after = grey_planes(100, 100)
    decoded_after[:, 40:] = 20
    decoded_after[:16, :32] = 108
    source = static_region(before, after)
    assert source.static[:, :4].all()
    assert not source.static[:, 5:].any()
    edge = source.static[:, 4].mean()
    expected = 8 * (2 * 4) / (8 * 4 + edge * 8)
    assert flicker_frame(decoded_before, decoded_after, source) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("deviation", "least"), [(1.0, 0.999), (3.0, 0.5)])
def test_camera_noise_is_no_motion_and_grain_made_anew_is_no_flicker(deviation: float, least: float) -> None:
    rng = np.random.default_rng(0)
    noisy = [np.rint(rng.normal(100, deviation, (240, 320))).astype(np.uint8) for _ in range(4)]
    source = static_region(noisy[0], noisy[1])
    assert source.share > least
    found = flicker_frame(noisy[2], noisy[3], source)
    assert found is not None
    assert found < 0.1 * deviation


def test_too_little_that_is_static_has_no_value(tmp_path: Path) -> None:
    before, after = grey_planes(100, 150, height=80, width=80)
    after[:BLOCK, :BLOCK] = before[:BLOCK, :BLOCK]
    source = static_region(before, after)
    assert source.share < LEAST
    assert flicker_frame(before, after, source) is None
    fmt = VideoFormat(80, 80, chroma="gray")
    frames = [Frame.from_planes(fmt, [plane]) for plane in (before, after)]
    assert run("flicker", frames, frames, tmp_path).status == "undefined"


def test_intra_frames_flicker_and_predicted_ones_do_not(
    shared_clips: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    clip = shared_clips / "cif" / "akiyo_352x288.y4m"
    source = list(open_sequence(clip).read())
    values = []
    for interval in (250, 5, 1):
        coded = tmp_path / f"{interval}.mkv"
        options = f"keyint={interval}:scenecut=0"
        run_ffmpeg("-i", clip, "-c:v", "libx264", "-crf", "32", "-x264-params", options, coded)
        values.append(run("flicker", source, open_sequence(coded).read(), tmp_path).value)
    predicted, periodic, intra = values
    assert predicted < 0.1 < 0.2 < periodic < intra / 2
