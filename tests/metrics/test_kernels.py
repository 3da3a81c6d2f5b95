import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

from bench.metrics.kernels import MS_SSIM_WEIGHTS, box_ssim, ms_ssim_levels, plane_sse, psnr, ssim_ms_ssim


def noisy(plane, deviation, bit_depth, rng):
    peak = (1 << bit_depth) - 1
    return np.clip(np.rint(plane + rng.normal(0, deviation, plane.shape)), 0, peak).astype(dtype_of(bit_depth))


def dtype_of(bit_depth):
    return np.uint8 if bit_depth <= 8 else np.uint16


def textured(height, width, bit_depth, rng):
    """Smooth structure and fine grain over the full range."""
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / 9) + np.cos(y / 5) + np.sin((x + 2 * y) / 31) + rng.normal(0, 0.2, (height, width))
    return noisy((waves + 3.5) / 7 * ((1 << bit_depth) - 1), 0, bit_depth, rng)


def blur(plane):
    offset = np.arange(-5, 6)
    window = np.exp(-(offset**2) / (2 * 1.5**2))
    window /= window.sum()
    return correlate1d(correlate1d(plane, window, axis=0), window, axis=1)[5:-5, 5:-5]


def terms_by_definition(x, y, peak):
    """Mean SSIM and mean contrast-structure, in float64 and in the order of the papers' equations."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    contrast_structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * contrast_structure).mean(), contrast_structure.mean()


def halve_by_definition(plane, odd):
    height, width = plane.shape
    if odd == "zeros":
        plane = np.pad(plane, ((height % 2, 0), (width % 2, 0)))
    else:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean(axis=(1, 3))


def by_definition(a, b, bit_depth, levels, odd="zeros"):
    x, y = a.astype(np.float64), b.astype(np.float64)
    terms = []
    for _ in range(levels):
        terms.append(terms_by_definition(x, y, 2**bit_depth - 1))
        x, y = halve_by_definition(x, odd), halve_by_definition(y, odd)
    factors = [cs for _, cs in terms[:-1]] + [terms[-1][0]]
    return terms[0][0], np.prod([max(f, 0) ** w for f, w in zip(factors, MS_SSIM_WEIGHTS[levels], strict=True)])


@pytest.mark.parametrize(("dtype", "limit"), [(np.uint8, 256), (np.uint16, 1024), (np.uint16, 65536)])
@pytest.mark.parametrize("shape", [(1, 1), (17, 33), (100, 101), (270, 480, 3), (1080, 1920)])
def test_squared_error_is_exact(dtype, limit, shape):
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, limit, shape, dtype=dtype) for _ in range(2))
    assert plane_sse(a, b) == int(((a.astype(np.int64) - b) ** 2).sum())


def test_squared_error_beyond_float64_is_exact():
    a = np.zeros((2160, 3840), np.uint16)
    b = np.full_like(a, 65535)
    b[0, 0] = 65534
    assert plane_sse(a, b) == (a.size - 1) * 65535**2 + 65534**2 > 2**53


def test_squared_error_of_rows_lying_apart():
    rng = np.random.default_rng(2)
    a, b = (rng.integers(0, 256, (40, 64), dtype=np.uint8)[::2, 3:50] for _ in range(2))
    assert plane_sse(a, b) == int(((a.astype(int) - b) ** 2).sum())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16)),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)),
    ],
)
def test_unlike_planes_are_refused(a, b):
    with pytest.raises(ValueError, match="planes must be of one shape"):
        plane_sse(a, b)


@pytest.mark.parametrize("peak", [255, 1023, 4095])
def test_psnr_of_an_error_of_one_everywhere(peak):
    assert psnr(100, 100, peak) == pytest.approx(20 * math.log10(peak))


def test_psnr_of_identical_planes_is_infinite():
    assert psnr(0, 100, 255) == math.inf


@pytest.mark.parametrize(("sse", "count"), [(-1, 10), (1, 0)])
def test_psnr_of_nonsense_is_refused(sse, count):
    with pytest.raises(ValueError, match="PSNR needs samples"):
        psnr(sse, count, 255)


@pytest.mark.parametrize(
    ("size", "levels"),
    [((1920, 1080), 5), ((176, 176), 5), ((2000, 175), 4), ((175, 2000), 4), ((88, 88), 4), ((87, 300), None)],
)
def test_scales_by_size(size, levels):
    assert ms_ssim_levels(*size) == levels


def test_four_weights_are_the_first_four_of_five_normalised():
    first_four = MS_SSIM_WEIGHTS[5][:4]
    assert MS_SSIM_WEIGHTS[4] == pytest.approx([w / sum(first_four) for w in first_four], abs=1e-4)


@pytest.mark.parametrize(("short", "levels"), [(160, 4), (161, 4), (175, 4), (176, 5), (177, 5)])
def test_between_160_and_177_the_rule_holds_on_either_side(short, levels):
    """pytorch_msssim would take five scales from 161 on; four of them are another number."""
    plane = np.zeros((short, 200), np.uint8)
    assert {ssim_ms_ssim(side, side, 8).levels for side in (plane, plane.T.copy())} == {levels}


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
@pytest.mark.parametrize("size", [(177, 183), (90, 131), (191, 1105)])
@pytest.mark.parametrize("deviation", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("odd", ["zeros", "edge"])
def test_agrees_with_the_definition(bit_depth, size, deviation, odd):
    rng = np.random.default_rng(3)
    a = textured(*size, bit_depth, rng)
    b = noisy(a, deviation * 2**bit_depth, bit_depth, rng)
    found = ssim_ms_ssim(a, b, bit_depth, odd=odd)
    assert (found.ssim, found.ms_ssim) == pytest.approx(by_definition(a, b, bit_depth, found.levels, odd), abs=1e-6)


CONTENTS = {
    "texture": textured,
    "white noise": lambda height, width, depth, rng: rng.integers(0, 1 << depth, (height, width)).astype(
        dtype_of(depth)
    ),
    "black": lambda height, width, depth, rng: np.zeros((height, width), dtype_of(depth)),
    "white": lambda height, width, depth, rng: np.full((height, width), (1 << depth) - 1, dtype_of(depth)),
    "stripes": lambda height, width, depth, rng: np.tile(
        np.array([0, (1 << depth) - 1], dtype_of(depth)), (height, width)
    )[:, :width],
}


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(88, 215),
    width=st.integers(88, 530),
    bit_depth=st.sampled_from([8, 10, 12, 16]),
    contents=st.tuples(st.sampled_from(sorted(CONTENTS)), st.sampled_from(sorted(CONTENTS))),
    share=st.floats(0, 1),
    odd=st.sampled_from(["zeros", "edge"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_definition_on_anything(height, width, bit_depth, contents, share, odd, seed):
    """Any two planes, and any mixture of them. What float32 loses grows with the squared error."""
    rng = np.random.default_rng(seed)
    a, other = (CONTENTS[name](height, width, bit_depth, rng) for name in contents)
    b = noisy((1 - share) * a + share * other, 0, bit_depth, rng)
    found = ssim_ms_ssim(a, b, bit_depth, odd=odd)
    ssim, ms_ssim = by_definition(a, b, bit_depth, found.levels, odd)
    tolerance = 1e-6 + 2e-5 * plane_sse(a, b) / a.size / (2**bit_depth - 1) ** 2
    assert found.ssim == pytest.approx(ssim, abs=tolerance)
    assert 0 <= found.ms_ssim <= 1
    if ms_ssim > 0.1:  # nearer to 0 its roots magnify any difference
        assert found.ms_ssim == pytest.approx(ms_ssim, abs=10 * tolerance)


def boxes_by_definition(a, b, bit_depth):
    """Each box on its own, with the sample variances and the constants of FFmpeg's filter."""
    peak = 2**bit_depth - 1
    values = []
    for top in range(0, a.shape[0] - a.shape[0] % 4 - 7, 4):
        for left in range(0, a.shape[1] - a.shape[1] % 4 - 7, 4):
            x, y = (plane[top : top + 8, left : left + 8].astype(np.float64).ravel() for plane in (a, b))
            c1, c2 = (0.01 * peak) ** 2 / 64, (0.03 * peak) ** 2
            covariance = np.cov(x, y, ddof=1)
            luminance = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
            values.append(luminance * (2 * covariance[0, 1] + c2) / (covariance[0, 0] + covariance[1, 1] + c2))
    return np.mean(values)


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
@pytest.mark.parametrize("size", [(8, 8), (11, 15), (53, 70)])
@pytest.mark.parametrize("deviation", [0, 0.02, 0.5])
def test_ssim_over_boxes_agrees_with_the_definition(bit_depth, size, deviation):
    rng = np.random.default_rng(15)
    a = textured(*size, bit_depth, rng)
    b = noisy(a, deviation * 2**bit_depth, bit_depth, rng)
    assert box_ssim(a, b, bit_depth) == pytest.approx(boxes_by_definition(a, b, bit_depth), abs=1e-6)


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_ssim_over_boxes_does_not_overflow(bit_depth):
    white = np.full((64, 64), 2**bit_depth - 1, dtype_of(bit_depth))
    assert box_ssim(white, white, bit_depth) == 1
    black = np.zeros_like(white)
    chequered = white.copy()
    chequered[::2, ::2] = chequered[1::2, 1::2] = 0
    assert box_ssim(black, white, bit_depth) == pytest.approx(1e-4 / 64, rel=1e-2)
    assert box_ssim(chequered, white - chequered, bit_depth) == pytest.approx(-1, abs=5e-3)


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (16, 16, 3)])
def test_ssim_over_boxes_refuses_what_has_no_box(shape):
    with pytest.raises(ValueError, match="at least 8 x 8"):
        box_ssim(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), 8)


@pytest.mark.parametrize("bit_depth", [8, 10, 16])
@pytest.mark.parametrize("level", [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("change", ["offset", "noise"])
def test_agrees_with_the_definition_on_flat_planes(bit_depth, level, change):
    """Where variances are the small difference of large numbers."""
    rng = np.random.default_rng(4)
    a = np.full((191, 240), round(level * (2**bit_depth - 1)), dtype_of(bit_depth))
    b = (
        a + np.array(2 ** (bit_depth - 7), a.dtype)
        if change == "offset"
        else noisy(a, 2**bit_depth / 200, bit_depth, rng)
    )
    found = ssim_ms_ssim(a, b, bit_depth)
    assert (found.ssim, found.ms_ssim) == pytest.approx(by_definition(a, b, bit_depth, 5), abs=1e-6)


def test_near_identity_no_digits_are_lost():
    a = textured(200, 300, 8, np.random.default_rng(5))
    b = a.copy()
    b[100, 150] ^= 1
    expected, _ = by_definition(a, b, 8, 5)
    assert 1 - ssim_ms_ssim(a, b, 8).ssim == pytest.approx(1 - expected, rel=1e-3)


def test_ssim_agrees_with_scikit_image():
    rng = np.random.default_rng(6)
    a = textured(120, 150, 8, rng)
    b = noisy(a, 12, 8, rng)
    _, full = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    assert ssim_ms_ssim(a, b, 8).ssim == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


def test_agrees_with_libvmaf(tmp_path):
    """libvmaf's float_ssim has the same definition at this size with a window rounded to six digits."""
    rng = np.random.default_rng(7)
    reference = textured(288, 352, 8, rng)
    distorted = noisy(reference, 9, 8, rng)
    header = b"YUV4MPEG2 W352 H288 F25:1 Ip A1:1 C420jpeg\nFRAME\n"
    for name, plane in (("a.y4m", reference), ("b.y4m", distorted)):
        (tmp_path / name).write_bytes(header + plane.tobytes() + b"\x80" * (plane.size // 2))
    graph = "libvmaf=feature=name=float_ssim:log_fmt=json:log_path=log.json"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "b.y4m", "-i", "a.y4m", "-lavfi", graph]
    subprocess.run([*command, "-f", "null", "-"], cwd=tmp_path, check=True)
    theirs = json.loads((tmp_path / "log.json").read_text())["frames"][0]["metrics"]["float_ssim"]
    assert ssim_ms_ssim(reference, distorted, 8).ssim == pytest.approx(theirs, abs=3e-4)


@pytest.mark.neural
@pytest.mark.parametrize("size", [(288, 352), (161, 175), (181, 333)])
@pytest.mark.parametrize("deviation", [0.5, 4, 40])
def test_agrees_with_pytorch_msssim(size, deviation):
    import pytorch_msssim
    import torch

    rng = np.random.default_rng(8)
    a = textured(*size, 8, rng)
    b = noisy(a, deviation, 8, rng)
    x, y = (torch.tensor(plane.astype(np.float64))[None, None] for plane in (a, b))
    found = ssim_ms_ssim(a, b, 8, levels=5)
    assert found.ssim == pytest.approx(pytorch_msssim.ssim(x, y).item(), abs=1e-5)
    assert found.ms_ssim == pytest.approx(pytorch_msssim.ms_ssim(x, y).item(), abs=1e-5)


def test_value_is_the_same_on_every_machine():
    y, x = np.mgrid[:191, :257]
    a = ((x * x * 7 + y * y * 3 + x * y) % 251).astype(np.uint8)
    b = ((a.astype(int) * 15 + (x * 13 + y * 29) % 37) // 16).astype(np.uint8)
    assert ssim_ms_ssim(a, b, 8).ssim == 0.9961515273533036


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_identical_planes_have_one(bit_depth):
    plane = textured(181, 200, bit_depth, np.random.default_rng(9))
    found = ssim_ms_ssim(plane, plane.copy(), bit_depth)
    assert (found.ssim, found.ms_ssim) == (1.0, 1.0)


def test_negative_structure_counts_as_nothing_in_ms_ssim():
    plane = textured(180, 200, 8, np.random.default_rng(10))
    found = ssim_ms_ssim(plane, 255 - plane, 8)
    assert found.ssim < 0
    assert found.ms_ssim == 0.0


def test_data_range_follows_the_bit_depth():
    rng = np.random.default_rng(11)
    a = textured(180, 200, 8, rng)
    b = noisy(a, 6, 8, rng)
    scaled = ssim_ms_ssim(a.astype(np.uint16) * 257, b.astype(np.uint16) * 257, 16)
    assert scaled.ssim == pytest.approx(ssim_ms_ssim(a, b, 8).ssim, abs=1e-6)


def test_layout_of_the_planes_does_not_matter():
    rng = np.random.default_rng(12)
    a = textured(180, 200, 8, rng)
    b = noisy(a, 6, 8, rng)
    padded = np.zeros((180, 256), np.uint8)
    padded[:, :200] = b
    read_only = np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape)
    assert ssim_ms_ssim(read_only, padded[:, :200], 8) == ssim_ms_ssim(a, b, 8)


def test_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(13)
    pairs = [(a, noisy(a, 9, 8, rng)) for a in (textured(180, 700, 8, rng) for _ in range(8))]
    alone = [ssim_ms_ssim(a, b, 8) for a, b in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: ssim_ms_ssim(*pair, 8), pairs)) == alone


@pytest.mark.parametrize(
    ("size", "levels", "has_ssim", "reason"),
    [
        ((87, 300), None, True, "short side of 88"),
        ((160, 300), 5, True, "too small for MS-SSIM with 5 levels"),
        ((10, 300), None, False, "smaller than the 11x11 window"),
    ],
)
def test_small_planes_say_why_a_value_is_missing(size, levels, has_ssim, reason):
    plane = textured(*size, 8, np.random.default_rng(14))
    found = ssim_ms_ssim(plane, plane, 8, levels=levels)
    assert (found.ssim is not None, found.ms_ssim, found.levels) == (has_ssim, None, None)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("shape", "bit_depth", "levels", "message"),
    [((90, 90, 3), 8, None, "H x W"), ((90, 90), 10, None, "10 bit"), ((90, 90), 8, 3, "4 levels")],
)
def test_wrong_arguments_are_refused(shape, bit_depth, levels, message):
    plane = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=message):
        ssim_ms_ssim(plane, plane, bit_depth, levels=levels)


def test_import_does_not_load_numba():
    code = "import sys, bench.metrics.kernels; sys.exit('numba' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
