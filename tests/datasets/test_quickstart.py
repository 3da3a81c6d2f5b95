"""The embedded dataset: pinned bytes, promised motion, and agreement with floating-point references."""

import ast
import hashlib
import math
import os
import subprocess
from dataclasses import replace
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from bench.datasets import quickstart
from bench.datasets.manifest import load_manifest
from bench.errors import UnavailableError, UnknownNameError

pytestmark = pytest.mark.slow

MANIFEST = load_manifest(Path(__file__).parents[2] / "datasets" / "quickstart.toml")
NAMES = sorted(quickstart.SEQUENCES)
SHAPES = (288, 352), (144, 176), (144, 176)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Each sequence in its file, written once, whichever worker of xdist needs it first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "quickstart"
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"{name}.y4m" for name in NAMES}
    return {name: path if path.exists() else quickstart.write_y4m(name, path) for name, path in paths.items()}


@pytest.fixture(scope="session")
def frames_of(written):
    """Planes of a sequence's frames: those in its file, or as they are without film grain."""

    @cache
    def planes(name, *, grain=True):
        clip = quickstart.SEQUENCES[name]
        if clip.grain and not grain:
            return list(quickstart._planes(replace(clip, grain=0)))
        luma, chroma = (np.prod(SHAPES[plane]) for plane in (0, 1))
        _, *frames = written[name].read_bytes().split(b"FRAME\n")
        parts = [np.split(np.frombuffer(frame, np.uint8), [luma, luma + chroma]) for frame in frames]
        assert len(parts) == clip.frames
        return [[part.reshape(shape) for part, shape in zip(frame, SHAPES, strict=True)] for frame in parts]

    return planes


def psnr(a, b):
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def luma_of(rgb):
    """BT.709 limited-range luma in floating point (ITU-R BT.709-6, 3.2 and 3.5)."""
    return 16 + 219 / 255 * (rgb @ np.array([0.2126, 0.7152, 0.0722]))


def window(name, left, top, step):
    """The photograph's window in floating point: SciPy's bilinear sampling at twice the density, OpenCV's area filter.

    Before release 5, OpenCV's own sampling rounds positions to 1/32 pixel.
    """
    photo = quickstart.photograph(name).astype(float)
    x = left + step * (np.arange(2 * quickstart.WIDTH) + 0.5) / 2 - 0.5
    y = top + step * (np.arange(2 * quickstart.HEIGHT) + 0.5) / 2 - 0.5
    places = np.meshgrid(y, x, indexing="ij")
    dense = np.dstack(
        [map_coordinates(channel, places, order=1, mode="nearest") for channel in np.moveaxis(photo, 2, 0)]
    )
    return cv2.resize(dense, (quickstart.WIDTH, quickstart.HEIGHT), interpolation=cv2.INTER_AREA)


def test_the_manifest_lists_every_sequence_with_its_rate_and_length():
    listed = {entry.name: (entry.fps, entry.frames) for entry in MANIFEST.sequences}
    assert listed == {name: (str(clip.fps), clip.frames) for name, clip in quickstart.SEQUENCES.items()}
    assert all(clip.frames >= 50 for clip in quickstart.SEQUENCES.values())


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_the_pinned_ones(name, written):
    assert hashlib.sha256(written[name].read_bytes()).hexdigest() == MANIFEST.entry(name).sha256


def test_a_second_generation_from_scratch_is_identical(written):
    """Of what is worked out anew, which is the same for all frames, ten frames show as much as all."""
    for cached in (quickstart.photograph, quickstart._packed, quickstart._disparity, quickstart._cup):
        cached.cache_clear()
    for name in ("motorcycle", "cups", "cat"):
        again = [b"".join(plane.tobytes() for plane in planes) for planes in islice(quickstart.generate(name), 10)]
        assert again == written[name].read_bytes().split(b"FRAME\n", 11)[1:11]


def test_every_sequence_differs_from_every_other(frames_of, written):
    means = {name: frames_of(name)[10][0].mean(axis=0) for name in NAMES}
    assert all(np.abs(means[a] - means[b]).max() > 10 for a in NAMES for b in NAMES if a < b)


def test_ffmpeg_decodes_the_same_planes(written):
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(written["cat"]), "-f", "rawvideo", "-"]
    raw = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout
    expected = b"".join(plane.tobytes() for planes in quickstart.generate("cat") for plane in planes)
    assert raw == expected


@pytest.mark.parametrize("name", NAMES)
def test_planes_are_limited_range_420(frames_of, name):
    for luma, cb, cr in frames_of(name):
        assert [plane.dtype for plane in (luma, cb, cr)] == [np.uint8] * 3
        assert luma.shape == (288, 352)
        assert cb.shape == cr.shape == (144, 176)
        assert luma.min() >= 16
        assert luma.max() <= 235
        assert min(cb.min(), cr.min()) >= 16
        assert max(cb.max(), cr.max()) <= 240


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_is_frozen_even_without_grain(frames_of, name):
    lumas = [planes[0].astype(int) for planes in frames_of(name, grain=False)]
    changes = [np.abs(b - a).mean() for a, b in pairwise(lumas)]
    # The smooth zoom starts and ends at rest: its slowest step still changes one pixel in five.
    assert min(changes) > 0.2


def test_the_pan_is_a_shift_by_six_and_three_pixels_every_four_frames(frames_of):
    lumas = [planes[0] for planes in frames_of("astronaut", grain=False)]
    for before, after in zip(lumas[:-4], lumas[4:], strict=True):
        assert np.array_equal(after[:-3, :-6], before[3:, 6:])


def test_phase_correlation_finds_the_pan_under_grain(frames_of):
    lumas = [planes[0].astype(np.float64) for planes in frames_of("astronaut")]
    hann = cv2.createHanningWindow((352, 288), cv2.CV_64F)
    shift, _ = cv2.phaseCorrelate(lumas[20], lumas[28], hann)
    assert shift == pytest.approx((-12, -6), abs=0.1)


def test_the_zoom_matches_floating_point_sampling():
    clip = replace(quickstart.SEQUENCES["coffee"], grain=0)
    luma = next(quickstart._planes(clip))[0]
    step = 88000 / 65536
    reference = luma_of(window("coffee.png", 300 - step * 176, 200 - step * 144, step))
    # Positions are rounded to 1/16 pixel: up to 1/32 of the steepest edge, 4 grey levels of 219 at two taps.
    assert np.abs(luma - reference).max() < 5
    assert psnr(luma, reference) > 48


def test_the_rotation_is_one_degree_a_frame(frames_of):
    lumas = [planes[0] for planes in frames_of("tissue")]
    turn = cv2.getRotationMatrix2D((175.5, 143.5), 10, 1)
    turned = cv2.warpAffine(lumas[0], turn, (352, 288), flags=cv2.INTER_CUBIC)
    middle = (slice(60, 228), slice(80, 272))
    match = [psnr(lumas[t][middle], turned[middle]) for t in (9, 10, 11)]
    assert match[1] > 30
    assert match[1] > max(match[0], match[2]) + 3


def test_the_camera_goes_from_the_left_view_to_the_right_one(frames_of):
    lumas = [planes[0] for planes in frames_of("motorcycle", grain=False)]
    step, left, top = 111411 / 65536, 88, 4
    assert psnr(lumas[0], luma_of(window("motorcycle_left.png", left, top, step))) > 45
    # The right view is predicted from the left one, so it cannot be exact; the left one is no substitute.
    right = luma_of(window("motorcycle_right.png", left - 45, top, step))
    assert psnr(lumas[-1], right) > 26
    assert psnr(lumas[0], right) < 18


@pytest.mark.parametrize(("top", "left"), [(175, 150), (20, 265)], ids=["engine", "boxes on the shelf"])
def test_things_move_by_their_disparity(frames_of, top, left):
    with np.load(quickstart.bundled_file("motorcycle_disp.npz")) as stored:
        known = stored["arr_0"][4 + top * 17 // 10 :, 88 + left * 17 // 10 :][:51, :51]
    disparity = np.median(known[np.isfinite(known)])
    lumas = [planes[0] for planes in frames_of("motorcycle", grain=False)]
    patch = lumas[20][top : top + 30, left : left + 30]
    strip = lumas[50][top : top + 30, left - 20 : left + 50]
    *_, (x, _) = cv2.minMaxLoc(cv2.matchTemplate(strip, patch, cv2.TM_CCOEFF_NORMED))
    assert x - 20 == pytest.approx((45 - disparity) * 30 / 59 / 1.7, abs=1.5)


def test_the_large_cup_hides_the_small_one(frames_of):
    lumas = [planes[0].astype(int) for planes in frames_of("cups", grain=False)]
    clip = quickstart.SEQUENCES["cups"]
    wall = quickstart._packed("brick.png", (256, 196, 160))
    t = 35
    canvas = quickstart._sampled(wall, (20 + t) * 65536, 90 * 65536 + t * 16384, 65536)
    alone = quickstart._over(canvas, quickstart._cup(), -16 * 200 + 120 * t, 16 * 110 - 10 * t, 2 * 65536)
    alone = quickstart._to_yuv(alone)[0].astype(int)
    box = (slice(140, 200), slice(140, 210))
    assert clip.frames > t
    assert np.abs(lumas[t][box] - alone[box]).max() <= 1


def test_the_montage_has_one_cut_and_ends_in_black(frames_of):
    lumas = [planes[0].astype(int) for planes in frames_of("montage")]
    changes = [np.abs(b - a).mean() for a, b in pairwise(lumas)]
    assert int(np.argmax(changes)) == 37
    assert sorted(changes)[-1] > 2 * sorted(changes)[-2]
    ends = [luma.mean() for luma in lumas[-10:]]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] < 30


def test_grain_is_zero_mean_fresh_in_every_frame_and_strongest_in_mid_tones():
    flat = np.full((288, 352), 128, np.uint8)
    grain = [quickstart._with_grain(flat, frame, 3).astype(float) - 128 for frame in range(2)]
    assert abs(grain[0].mean()) < 0.05
    assert grain[0].std() == pytest.approx(3.87, rel=0.05)
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.02
    dark = quickstart._with_grain(np.full_like(flat, 30), 0, 3).std()
    assert dark / grain[0].std() == pytest.approx(116 / 191, rel=0.05)


def test_colours_follow_bt709_in_floating_point():
    rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).repeat(2, 0).repeat(2, 1)
    luma, cb, cr = quickstart._to_yuv(quickstart._pack(rgb) * 1024)
    y = luma_of(rgb)
    assert np.abs(luma - y).max() <= 0.51
    full = rgb @ np.array([0.2126, 0.7152, 0.0722])
    for plane, channel, scale in ((cb, 2, 1.8556), (cr, 0, 1.5748)):
        expected = 128 + 224 / 255 * (rgb[..., channel] - full) / scale
        assert np.abs(plane - expected[::2, ::2]).max() <= 0.51


def test_the_integer_sine_is_within_half_a_unit():
    for turn in range(1440):
        assert abs(quickstart._sine(turn, 1440) - 65536 * math.sin(2 * math.pi * turn / 1440)) < 0.51


def test_the_module_has_no_floating_point():
    floating = {"mean", "average", "median", "true_divide", "divide", "sin", "cos", "exp", "sqrt", "random", "float"}
    for node in ast.walk(ast.parse(Path(quickstart.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            assert ast.unparse(node).startswith("Path("), "the only use of / joins paths"
        elif isinstance(node, ast.Constant):
            assert not isinstance(node.value, float)
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            assert name.rstrip("0123456789") not in floating


def test_arrays_stay_integer_at_every_step(monkeypatch):
    seen = set()
    for name in ("_sampled", "_rotated", "_mix", "_over", "_between_views", "_along_rows", "_box2", "_grown", "_hash"):
        original = getattr(quickstart, name)

        def watched(*args, original=original, **kwargs):
            result = original(*args, **kwargs)
            seen.update({argument.dtype for argument in args if isinstance(argument, np.ndarray)}, {result.dtype})
            return result

        monkeypatch.setattr(quickstart, name, watched)
    for clip in quickstart.SEQUENCES.values():
        list(quickstart._planes(replace(clip, render=lambda frames, clip=clip: clip.render(2))))
    assert seen
    assert all(dtype.kind in "iu" for dtype in seen)


def test_a_changed_photograph_is_refused():
    with pytest.raises(UnavailableError, match=r"coffee\.png: scikit-image .* another picture .* pip install"):
        quickstart._check_pixels("coffee.png", np.zeros((400, 600, 3), np.uint8))


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean motorcycle"):
        quickstart.generate("motorcyle")


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def failing(frames):
        yield np.zeros((288, 352), np.int64)
        raise UnavailableError("no photograph")

    broken = replace(quickstart.SEQUENCES["cat"], render=failing)
    monkeypatch.setitem(quickstart.SEQUENCES, "cat", broken)
    with pytest.raises(UnavailableError, match="no photograph"):
        quickstart.write_y4m("cat", tmp_path / "cat.y4m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["astronaut", "grass"])
def test_rate_and_quality_fall_together_under_x265(frames_of, name, written, tmp_path):
    points = []
    for qp in (22, 37):
        stream = tmp_path / f"{qp}.hevc"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
        settings = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", f"qp={qp}:log-level=none"]
        subprocess.run(
            [*ffmpeg, "-i", str(written[name]), *settings, str(stream)], check=True, stdin=subprocess.DEVNULL
        )
        decode = [*ffmpeg, "-i", str(stream), "-f", "rawvideo", "-fps_mode", "passthrough", "-"]
        raw = subprocess.run(decode, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout
        lumas = np.frombuffer(raw, np.uint8).reshape(-1, 352 * 288 * 3 // 2)[:, : 352 * 288]
        source = np.stack([planes[0].ravel() for planes in frames_of(name)])
        points.append((8 * stream.stat().st_size / source.size, psnr(lumas, source)))
    (rate, quality), (low_rate, low_quality) = points
    assert 0.01 < low_rate < rate < 1.5
    assert 28 < low_quality < quality - 4 < 46
