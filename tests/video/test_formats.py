"""Formats: what texts mean, what planes are made of, what is refused."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError, VcbenchError
from bench.video.formats import BIT_DEPTHS, VideoFormat, parse_fps, parse_pix_fmt, parse_size


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("29.97", Fraction(30000, 1001)),
        (29.97, Fraction(30000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        (Fraction(2997, 100), Fraction(30000, 1001)),
        ("24", Fraction(24)),
        (30, Fraction(30)),
        (30.0, Fraction(30)),
        ("12.5", Fraction(25, 2)),
        ("14.985", Fraction(15000, 1001)),
        ("25", Fraction(25)),
        ("7.5", Fraction(15, 2)),
    ],
)
def test_frame_rates(text: str | float | Fraction, fps: Fraction) -> None:
    assert parse_fps(text) == fps


@pytest.mark.parametrize("text", ["", "abc", "0", "-25", "30/0", "nan", "inf", "1e999999999", "30:1", "٣٠", "9" * 5000])
def test_frame_rates_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="frame rate"):
        parse_fps(text)


@pytest.mark.parametrize("fps", [Fraction(0), Fraction(-1), Fraction(10**400)])
def test_formats_of_no_frame_rate(fps: Fraction) -> None:
    with pytest.raises(UsageError, match="frame rate"):
        VideoFormat(64, 64, fps=fps)


@pytest.mark.parametrize("chroma", ["gray", "420", "422", "444", "rgb"])
@pytest.mark.parametrize("depth", BIT_DEPTHS)
def test_pix_fmt_and_back(chroma: str, depth: int) -> None:
    fmt = VideoFormat(64, 64, chroma=chroma, bit_depth=depth)  # type: ignore[arg-type]
    assert parse_pix_fmt(fmt.pix_fmt) == (chroma, depth, False)
    assert VideoFormat(64, 64).with_pix_fmt(fmt.pix_fmt) == fmt


def test_full_range_by_name() -> None:
    assert parse_pix_fmt("yuvj422p") == ("422", 8, True)
    assert VideoFormat(64, 64).with_pix_fmt("yuvj420p").full_range
    assert VideoFormat(64, 64, full_range=True).with_pix_fmt("yuv420p").full_range


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nv12",
        "yuv411p",
        "yuva420p",
        "yuv420p9le",
        "yuv420p10be",
        "yuv420ple",
        "yuv420p²",
        "yuvj420p10le",
        "x" * 999,
    ],
)
def test_pix_fmts_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="pixel format") as caught:
        parse_pix_fmt(name)
    assert "yuv420p" in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_fps, parse_pix_fmt, parse_size):
        with suppress(VcbenchError):
            parse(text)


@pytest.mark.parametrize(("text", "size"), [("352x288", (352, 288)), ("1920X1080", (1920, 1080))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "352", "352x", "x288", "352x288x2", "-352x288", "352 x 288", "³x2", "1" * 5000 + "x2"]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        parse_size(text)


@pytest.mark.parametrize("size", [(0, 64), (64, 0), (-2, 64), (65537, 1), (65536, 65536)])
def test_frame_sizes_beyond_reason(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="frame size"):
        VideoFormat(*size)


@pytest.mark.parametrize(
    ("pix_fmt", "size", "shapes", "frame_bytes"),
    [
        ("gray", (5, 3), ((3, 5),), 15),
        ("yuv420p", (5, 3), ((3, 5), (2, 3), (2, 3)), 27),
        ("yuv422p", (5, 3), ((3, 5), (3, 3), (3, 3)), 33),
        ("yuv444p", (5, 3), ((3, 5),) * 3, 45),
        ("gbrp", (5, 3), ((3, 5),) * 3, 45),
        ("yuv420p10le", (4, 2), ((2, 4), (1, 2), (1, 2)), 24),
    ],
)
def test_planes(pix_fmt: str, size: tuple[int, int], shapes: tuple[tuple[int, int], ...], frame_bytes: int) -> None:
    fmt = VideoFormat(*size).with_pix_fmt(pix_fmt)
    assert fmt.plane_shapes == shapes
    assert fmt.frame_bytes == frame_bytes


@pytest.mark.parametrize(("depth", "peak"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_peak(depth: int, peak: int) -> None:
    assert VideoFormat(2, 2, bit_depth=depth).peak == peak


def test_unknown_chroma_and_depth_are_refused() -> None:
    with pytest.raises(UsageError, match="chroma"):
        VideoFormat(2, 2, chroma="411")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bit depth 9"):
        VideoFormat(2, 2, bit_depth=9)
