"""YUV4MPEG2, with FFmpeg's own writer and reader as the reference."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.errors import HeaderError, MediaError, TruncatedError, UsageError, VcbenchError
from bench.video import y4m
from bench.video.formats import Siting, VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import open_sequence

TinyClip = Callable[..., Path]
RunFFmpeg = Callable[..., bytes]

PIX_FMTS = [
    *(f"yuv{chroma}p{depth}" for chroma in ("420", "422", "444") for depth in ("", "10le", "12le", "14le", "16le")),
    *(f"gray{depth}" for depth in ("", "10le", "12le", "16le")),
]  # fmt: skip
# y4m of 14 bit is written by FFmpeg for 4:2:0, 4:2:2 and 4:4:4 alone

HEADER = b"YUV4MPEG2 W4 H2 F30:1 Ip A1:1 C420jpeg\n"
FRAME = b"FRAME\n" + bytes(range(12))


def header_of(text: bytes) -> y4m.Y4mHeader:
    return y4m.read_header(io.BytesIO(text), "clip.y4m")


def frames_of(content: bytes) -> list[Frame]:
    stream = io.BytesIO(content)
    return list(y4m.read_frames(stream, y4m.read_header(stream, "clip.y4m"), "clip.y4m"))


@pytest.mark.parametrize("size", [(64, 48), (67, 45), (1, 1)])
@pytest.mark.parametrize("pix_fmt", PIX_FMTS)
def test_reads_what_ffmpeg_writes(
    tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, pix_fmt: str, size: tuple[int, int]
) -> None:
    path = tiny_clip(*size, 3, pix_fmt, rate="30000/1001")
    raw = run_ffmpeg("-i", path, "-f", "rawvideo", "-")
    sequence = open_sequence(path)
    assert sequence.format.pix_fmt == pix_fmt
    assert (sequence.format.width, sequence.format.height) == size
    assert sequence.format.fps == Fraction(30000, 1001)
    assert not sequence.format.full_range
    assert sequence.frames == 3
    assert b"".join(frame.data.tobytes() for frame in sequence.read()) == raw


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "gray", "yuv422p12le"])
@pytest.mark.parametrize("full_range", [False, True])
def test_ffmpeg_reads_what_we_write(run_ffmpeg: RunFFmpeg, tmp_path: Path, pix_fmt: str, full_range: bool) -> None:
    fmt = VideoFormat(7, 5, fps=Fraction(24000, 1001), full_range=full_range).with_pix_fmt(pix_fmt)
    samples = np.random.default_rng(0).integers(0, fmt.peak, fmt.samples_per_frame)
    frame = Frame.from_planes(fmt, [samples])
    path = tmp_path / "clip.y4m"
    path.write_bytes(y4m.header_line(fmt) + b"FRAME\n" + frame.data.tobytes())
    assert run_ffmpeg("-i", path, "-f", "rawvideo", "-") == frame.data.tobytes()
    with path.open("rb") as stream:
        assert y4m.read_header(stream, "clip").format == fmt


@pytest.mark.parametrize(
    ("location", "siting"), [("left", "left"), ("center", "centre"), ("topleft", "topleft"), ("unspecified", "centre")]
)
def test_chroma_siting_of_ffmpegs_tags(run_ffmpeg: RunFFmpeg, tmp_path: Path, location: str, siting: str) -> None:
    path = tmp_path / "clip.y4m"
    chain = f"format=yuv420p,setparams=chroma_location={location}"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=16x16", "-frames:v", "1", "-vf", chain, path)
    assert open_sequence(path).format.siting == siting


@pytest.mark.parametrize("siting", ["left", "centre", "topleft"])
def test_siting_is_written(siting: Siting) -> None:
    fmt = VideoFormat(4, 2, siting=siting)
    assert header_of(y4m.header_line(fmt)).format == fmt


def test_full_range_is_read(tiny_clip: TinyClip) -> None:
    assert open_sequence(tiny_clip(full_range=True)).format.full_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"YUV4MPEG2 W4 H2\n", VideoFormat(4, 2, fps=Fraction(25), siting="centre")),
        (b"YUV4MPEG2 H2 W4 C420mpeg2\n", VideoFormat(4, 2, fps=Fraction(25))),
        (b"YUV4MPEG2 W4 H2 F0:0 C444\n", VideoFormat(4, 2, chroma="444", fps=Fraction(25))),
        (b"YUV4MPEG2 W4 H2 F50 C422\n", VideoFormat(4, 2, chroma="422", fps=Fraction(50))),
        (b"YUV4MPEG2 W4 H2 F25:2 I? XANY=1 XCOLORRANGE=FULL Cmono10\n",
         VideoFormat(4, 2, chroma="gray", bit_depth=10, fps=Fraction(25, 2), full_range=True)),
    ],
)  # fmt: skip
def test_headers(header: bytes, expected: VideoFormat) -> None:
    assert header_of(header) == y4m.Y4mHeader(expected, len(header), b"XCOLORRANGE" in header)


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"", "not a y4m file"),
        (b"RIFF....AVI \n", "not a y4m file"),
        (b"YUV4MPEG2\n", "not a y4m file"),
        (b"YUV4MPEG2 W4\n", "no H tag"),
        (b"YUV4MPEG2 H4\n", "no W tag"),
        (b"YUV4MPEG2 W-4 H2\n", "W-4"),
        (b"YUV4MPEG2 W0 H2\n", "0x2"),
        (b"YUV4MPEG2 Wfour H2\n", "Wfour"),
        (b"YUV4MPEG2 W1_0 H2\n", "W1_0"),
        (b"YUV4MPEG2 W99999999999 H2\n", "W99999999999"),
        (b"YUV4MPEG2 W65536 H65536\n", "65536x65536"),
        (b"YUV4MPEG2 W4 H2 F0:1\n", "frame rate"),
        (b"YUV4MPEG2 W4 H2 F1:0\n", "divides by zero"),
        (b"YUV4MPEG2 W4 H2 F-25:-1\n", "F-25:-1"),
        (b"YUV4MPEG2 W4 H2 C411\n", "C411"),
        (b"YUV4MPEG2 W4 H2 C444alpha\n", "C444alpha"),
        (b"YUV4MPEG2 W4 H2 C420p9\n", "C420p9"),
        (b"YUV4MPEG2 W4 H2 It\n", "deinterlace"),
        (b"YUV4MPEG2 W4 H2 " + b"X" * 5000, "no end of line"),
    ],
)
def test_bad_headers_name_the_file_and_the_byte(header: bytes, word: str) -> None:
    with pytest.raises(HeaderError, match=r"clip.y4m.*byte 0|byte 0.*clip.y4m") as caught:
        header_of(header)
    assert word in str(caught.value)


def test_header_cut_short() -> None:
    with pytest.raises(TruncatedError, match="byte 20"):
        header_of(HEADER[:20])


def test_frame_parameters_of_any_length(tmp_path: Path) -> None:
    picture = FRAME[6:]
    content = HEADER + b"".join(b"FRAME" + b" Xy" * length + b"\n" + picture for length in (0, 3, 1))
    assert [frame.data.tobytes() for frame in frames_of(content)] == [picture] * 3
    path = tmp_path / "clip.y4m"
    for lengths in ((0, 3, 1), (1, 1), (2, 0, 0, 0), (6, 0)):
        frames = [bytes([index] * 12) for index in range(len(lengths))]
        path.write_bytes(
            HEADER + b"".join(b"FRAME" + b" Xy" * n + b"\n" + f for n, f in zip(lengths, frames, strict=True))
        )
        assert open_sequence(path).frames == len(frames)
        for start in range(len(frames)):
            assert [f.data.tobytes() for f in open_sequence(path, start=start).read()] == frames[start:]


@pytest.mark.parametrize("kept", [1, 5, 6, 17])
def test_cut_in_a_frame_names_the_byte(tmp_path: Path, kept: int) -> None:
    content = HEADER + FRAME + FRAME[:kept]
    size = len(content)
    with pytest.raises(TruncatedError, match=f"byte {size}"):
        frames_of(content)
    path = tmp_path / "clip.y4m"
    path.write_bytes(content)
    with pytest.raises(TruncatedError, match=f"{path}: byte {size}"):
        open_sequence(path)


def test_damage_between_frames_names_the_byte(tmp_path: Path) -> None:
    content = HEADER + FRAME + b"FRAMX\n" + FRAME[6:]
    with pytest.raises(HeaderError, match=f"byte {len(HEADER + FRAME)}"):
        frames_of(content)
    path = tmp_path / "clip.y4m"
    path.write_bytes(content)
    with pytest.raises(HeaderError, match=f"byte {len(HEADER + FRAME)}"):
        list(open_sequence(path).read())


def test_header_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.y4m"
    path.write_bytes(HEADER)
    with pytest.raises(TruncatedError, match="holds none"):
        open_sequence(path)


@pytest.mark.parametrize(
    "content",
    [
        b"YUV4MPEG2 W16384 H16384 C444p16\nFRAME\n" + bytes(100),
        b"YUV4MPEG2 W4 H2\nFRAME" + b" " * (64 << 20),
        b"YUV4MPEG2 " + b"W" * (64 << 20),
    ],
    ids=["huge frame", "endless frame header", "endless header"],
)
def test_hostile_header_costs_no_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.y4m"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(MediaError):
            open_sequence(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_rgb_has_no_header() -> None:
    with pytest.raises(UsageError, match="RGB"):
        y4m.header_line(VideoFormat(4, 2, chroma="rgb"))


_TAGS = st.sampled_from([b"W", b"H", b"C", b"F", b"I", b"A", b"X", b"XCOLORRANGE=", b"W2", b"H2", b"C420p10", b"F1:0"])
_HEADERS = st.lists(st.tuples(_TAGS, st.binary(max_size=6)), max_size=6).map(
    lambda tags: b"YUV4MPEG2 " + b" ".join(tag + value for tag, value in tags) + b"\n"
)


@settings(max_examples=400)
@given(st.one_of(st.binary(max_size=80), st.builds(lambda a, b: a + b, _HEADERS, st.binary(max_size=60))))
@example(HEADER + FRAME[:-1])
@example(b"YUV4MPEG2 W16384 H16384 C444p16\nFRAME\nx")
@example("YUV4MPEG2 W٣ H2\n".encode())
def test_any_bytes_are_frames_or_a_typed_error(content: bytes) -> None:
    try:
        frames = frames_of(content)
    except VcbenchError as error:
        assert len(str(error)) < 500
    else:
        assert sum(frame.data.nbytes for frame in frames) < len(content)
