"""Colour conversion against the recommendations' equations and against zimg (FFmpeg's zscale filter)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from bench.video import colour
from bench.video.formats import Matrix, Siting, VideoFormat
from bench.video.frame import Frame, sample_dtype

RunFFmpeg = Callable[..., bytes]
Array = npt.NDArray[np.float64]

MATRICES: tuple[Matrix, ...] = ("bt709", "bt601", "bt2020")
ZSCALE_MATRIX = {"bt709": "709", "bt601": "170m", "bt2020": "2020_ncl"}
ZSCALE_LOCATION = {"left": "left", "centre": "center", "topleft": "topleft"}


def flat(fmt: VideoFormat, values: tuple[int, int, int]) -> Frame:
    """A frame of one colour."""
    planes = [np.full(shape, value) for shape, value in zip(fmt.plane_shapes, values, strict=True)]
    return Frame.from_planes(fmt, planes)


def noise(fmt: VideoFormat, seed: int = 0) -> Frame:
    samples = np.random.default_rng(seed).integers(0, fmt.peak, fmt.samples_per_frame, endpoint=True)
    return Frame(fmt, samples.astype(sample_dtype(fmt)))


def smooth(fmt: VideoFormat, seed: int = 0) -> Frame:
    """Slowly varying planes within the limited range, so that nothing is clipped much."""
    rng = np.random.default_rng(seed)
    planes = []
    for height, width in fmt.plane_shapes:
        y, x = np.mgrid[0:height, 0:width]
        phase = rng.uniform(0, 6, 4)
        wave = 0.5 + 0.1 * np.sin(x / 5 + phase[0]) + 0.1 * np.cos(y / 4 + phase[1]) + 0.05 * np.sin(x * y / 90)
        planes.append(np.round(wave * fmt.peak))
    return Frame.from_planes(fmt, planes)


def reference_rgb(frame: Frame) -> Array:
    """R, G, B in 0 to 1 of a 4:4:4 frame, by the equations of BT.709, BT.601 and BT.2020, one line each."""
    fmt = frame.format
    weight_r, weight_b = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}[fmt.matrix]
    y, u, v = (plane.astype(np.float64) for plane in frame.planes)
    unit = 2 ** (fmt.bit_depth - 8)
    if fmt.full_range:
        luma, cb, cr = y / fmt.peak, (u - 128 * unit) / fmt.peak, (v - 128 * unit) / fmt.peak
    else:
        luma, cb, cr = (y / unit - 16) / 219, (u / unit - 128) / 224, (v / unit - 128) / 224
    red = luma + 2 * (1 - weight_r) * cr
    blue = luma + 2 * (1 - weight_b) * cb
    green = (luma - weight_r * red - weight_b * blue) / (1 - weight_r - weight_b)
    return np.dstack([red, green, blue])


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_to_rgb_follows_the_equations(matrix: Matrix, full_range: bool, depth: int) -> None:
    frame = noise(VideoFormat(64, 48, chroma="444", bit_depth=depth, matrix=matrix, full_range=full_range))
    expected = np.clip(np.floor(reference_rgb(frame) * frame.format.peak + 0.5), 0, frame.format.peak)
    difference = np.abs(colour.to_rgb(frame) - expected)
    assert difference.max() <= 1  # single precision may round a tie the other way
    assert np.mean(difference > 0) < 0.002


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
def test_there_and_back_stays_within_a_level(matrix: Matrix, full_range: bool, depth: int) -> None:
    fmt = VideoFormat(64, 48, chroma="444", bit_depth=depth, matrix=matrix, full_range=full_range)
    rgb = noise(replace(fmt, chroma="rgb")).data.reshape(48, 64, 3)
    back = colour.to_rgb(replace(colour.from_rgb(rgb, fmt), rgb=None))
    assert np.abs(back.astype(int) - rgb).max() <= (1 if full_range else 2)


@pytest.mark.parametrize(
    ("matrix", "full_range", "yuv", "rgb"),
    [
        ("bt709", False, (235, 128, 128), (255, 255, 255)),
        ("bt709", False, (16, 128, 128), (0, 0, 0)),
        ("bt709", False, (126, 128, 128), (128, 128, 128)),
        ("bt709", True, (255, 128, 128), (255, 255, 255)),
        ("bt709", True, (0, 128, 128), (0, 0, 0)),
        ("bt709", False, (63, 102, 240), (255, 0, 0)),
        ("bt709", False, (173, 42, 26), (0, 255, 0)),
        ("bt709", False, (32, 240, 118), (0, 0, 255)),
        ("bt601", False, (81, 90, 240), (255, 0, 0)),
        ("bt601", False, (145, 54, 34), (0, 255, 0)),
        ("bt601", False, (41, 240, 110), (0, 0, 255)),
        ("bt601", True, (76, 85, 255), (255, 0, 0)),
    ],
)
def test_known_colours(matrix: Matrix, full_range: bool, yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    fmt = VideoFormat(8, 8, chroma="444", matrix=matrix, full_range=full_range)
    assert np.abs(colour.to_rgb(flat(fmt, yuv)).astype(int) - rgb).max() <= 2  # the table itself is rounded
    picture = np.broadcast_to(np.array(rgb, np.uint8), (8, 8, 3))
    planes = colour.from_rgb(np.ascontiguousarray(picture), fmt).planes
    assert [int(plane[0, 0]) for plane in planes] == list(yuv)


def test_white_and_black_are_exact() -> None:
    fmt = VideoFormat(8, 8, chroma="420")
    assert (colour.to_rgb(flat(fmt, (235, 128, 128))) == 255).all()
    assert (colour.to_rgb(flat(fmt, (16, 128, 128))) == 0).all()
    fmt = VideoFormat(8, 8, chroma="420", bit_depth=10)
    assert (colour.to_rgb(flat(fmt, (940, 512, 512))) == 1023).all()


@pytest.fixture(scope="module")
def zscale(run_ffmpeg: RunFFmpeg) -> Callable[[bytes, VideoFormat, VideoFormat, str], bytes]:
    """zimg's conversion of one frame between two formats, in floating point, rounded without dither."""
    from bench.video import ffmpeg

    if "zscale" not in ffmpeg.filters():
        pytest.skip("this FFmpeg has no zscale filter")

    def side(fmt: VideoFormat) -> tuple[str, str]:
        matrix = "gbr" if fmt.chroma == "rgb" else ZSCALE_MATRIX[fmt.matrix]
        return matrix, "full" if fmt.full_range or fmt.chroma == "rgb" else "limited"

    def convert(data: bytes, source: VideoFormat, target: VideoFormat, filtering: str) -> bytes:
        (matrix_in, range_in), (matrix, range_out) = side(source), side(target)
        yuv = source if source.chroma != "rgb" else target
        location = ZSCALE_LOCATION[yuv.siting]
        chain = (
            f"zscale=matrixin={matrix_in}:rangein={range_in}:matrix={matrix}:range={range_out}"
            f":chromalin={location}:chromal={location}:filter={filtering}:dither=none"
            f":primariesin=709:primaries=709:transferin=709:transfer=709"
        )
        return run_ffmpeg(
            "-f", "rawvideo", "-pix_fmt", source.pix_fmt, "-video_size", f"{source.width}x{source.height}",
            "-i", "pipe:0", "-vf", f"{chain},format={target.pix_fmt}", "-frames:v", "1", "-f", "rawvideo", "pipe:1",
            stdin=data,
        )  # fmt: skip

    return convert


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(
    ("chroma", "siting"),
    [("444", "left"), ("422", "left"), ("420", "left"), ("420", "centre"), ("420", "topleft")],
)
def test_to_rgb_agrees_with_zimg(
    zscale: Callable[..., bytes], matrix: Matrix, full_range: bool, depth: int, chroma: str, siting: Siting
) -> None:
    fmt = VideoFormat(
        64, 48, chroma=chroma, bit_depth=depth, matrix=matrix, full_range=full_range, siting=siting  # type: ignore[arg-type]
    )  # fmt: skip
    rgb_fmt = replace(fmt, chroma="rgb")
    for frame in (smooth(fmt), noise(fmt)):
        data = zscale(frame.data.tobytes(), fmt, rgb_fmt, "bilinear")
        green, blue, red = Frame(rgb_fmt, np.frombuffer(data, sample_dtype(rgb_fmt))).planes
        difference = np.abs(colour.to_rgb(frame).astype(int) - np.dstack([red, green, blue]))
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 0.02


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
def test_from_rgb_agrees_with_zimg(zscale: Callable[..., bytes], matrix: Matrix, full_range: bool, depth: int) -> None:
    fmt = VideoFormat(64, 48, chroma="444", bit_depth=depth, matrix=matrix, full_range=full_range)
    rgb_fmt = replace(fmt, chroma="rgb")
    stored = noise(rgb_fmt)
    data = zscale(stored.data.tobytes(), rgb_fmt, fmt, "bilinear")
    ours = colour.from_rgb(colour.to_rgb(stored), fmt)
    difference = np.abs(ours.data.astype(int) - np.frombuffer(data, sample_dtype(fmt)))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01


@pytest.mark.parametrize("siting", ["left", "centre", "topleft"])
@pytest.mark.parametrize("chroma", ["420", "422"])
@pytest.mark.parametrize("size", [(64, 48), (67, 45)])
def test_chroma_of_smooth_pictures_sits_where_it_is_said_to(chroma: str, siting: Siting, size: tuple[int, int]) -> None:
    width, height = size
    fmt = VideoFormat(width, height, chroma=chroma, siting=siting)  # type: ignore[arg-type]
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.dstack([40 + 2 * x, 60 + x + y, 200 - 2 * y]).astype(np.uint8)
    back = colour.to_rgb(replace(colour.from_rgb(ramp, fmt), rgb=None)).astype(int)
    inner = np.s_[4:-4, 4:-4]  # on a ramp every symmetric filter is exact, away from the border
    assert np.abs(back[inner] - ramp[inner]).max() <= 2


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_downsampled_chroma_is_the_average(chroma: str) -> None:
    fmt = VideoFormat(4, 2, chroma=chroma, siting="centre")  # type: ignore[arg-type]
    picture = np.random.default_rng(0).integers(60, 200, (2, 4, 3)).astype(np.uint8)
    full = colour.from_rgb(picture, replace(fmt, chroma="444")).planes[1].astype(float)
    small = colour.from_rgb(picture, fmt).planes[1]
    if chroma == "420":
        expected = full.reshape(1, 2, 2, 2).mean(axis=(1, 3))
    elif chroma == "422":
        expected = full.reshape(2, 2, 2).mean(axis=2)
    else:
        expected = full
    assert np.abs(small - expected).max() <= 1


def test_native_picture_is_given_back_untouched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    frame = colour.from_rgb(picture, VideoFormat(8, 6))
    assert colour.to_rgb(frame) is picture


def test_grey_repeats_its_luma() -> None:
    frame = noise(VideoFormat(8, 6, chroma="gray"))
    assert (colour.to_rgb(frame) == frame.planes[0][..., None]).all()


def test_planes_of_stored_rgb_are_in_the_order_g_b_r() -> None:
    fmt = VideoFormat(1, 1, chroma="rgb")
    assert colour.to_rgb(Frame(fmt, np.array([1, 2, 3], np.uint8))).tolist() == [[[3, 1, 2]]]


@pytest.mark.parametrize(
    ("fmt", "words"),
    [
        (VideoFormat(2, 2), ("bt709", "limited", "bilinear", "left", "8 bit")),
        (VideoFormat(2, 2, matrix="bt2020", full_range=True, bit_depth=10), ("bt2020", "full", "10 bit")),
        (VideoFormat(2, 2, chroma="rgb"), ("native",)),
        (VideoFormat(2, 2, chroma="gray"), ("luma repeated",)),
    ],
)
def test_description_says_matrix_range_filter_and_rounding(fmt: VideoFormat, words: tuple[str, ...]) -> None:
    assert all(word in colour.describe(fmt) for word in words)
