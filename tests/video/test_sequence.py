"""Sequences: every kind of source gives the frames that FFmpeg gives, each once, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.errors import MediaError, TruncatedError, UsageError
from bench.video import scan
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence, open_sequence, sequence_from_json, sequence_to_json

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
RunFFmpeg = Callable[..., bytes]


def samples(sequence: Sequence) -> bytes:
    return b"".join(frame.data.tobytes() for frame in sequence.read())


def pieces(sequence: Sequence) -> list[bytes]:
    return [frame.data.tobytes() for frame in sequence.read()]


class TestRaw:
    @pytest.fixture
    def clip(self, tmp_path: Path) -> Path:
        path = tmp_path / "clip.yuv"
        path.write_bytes(b"".join(bytes([index]) * 24 for index in range(5)))
        return path

    def test_frames_and_ranges(self, clip: Path) -> None:
        whole = open_sequence(clip, size="4x4", pix_fmt="yuv420p", fps=30)
        assert pieces(whole) == [bytes([index]) * 24 for index in range(5)]
        part = open_sequence(clip, size="4x4", pix_fmt="yuv420p", fps=30, start=1, frames=3)
        assert pieces(part) == [bytes([index]) * 24 for index in (1, 2, 3)]

    @pytest.mark.parametrize("missing", ["size", "pix_fmt", "fps"])
    def test_what_is_missing_is_asked_for(self, clip: Path, missing: str) -> None:
        given = {"size": "4x4", "pix_fmt": "yuv420p", "fps": 30}
        with pytest.raises(UsageError, match="--size, --pix-fmt and --fps"):
            open_sequence(clip, **{**given, missing: None})  # type: ignore[arg-type]

    @pytest.mark.parametrize(("size", "pix_fmt"), [("4x6", "yuv420p"), ("4x4", "yuv420p10le"), ("352x288", "yuv420p")])
    def test_wrong_size_is_explained(self, clip: Path, size: str, pix_fmt: str) -> None:
        with pytest.raises(TruncatedError, match="not a whole number of") as caught:
            open_sequence(clip, size=size, pix_fmt=pix_fmt, fps=30)
        assert str(clip) in str(caught.value)
        assert "check the size and the pixel format" in str(caught.value)

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "clip.yuv").touch()
        with pytest.raises(TruncatedError, match="0 bytes"):
            open_sequence(tmp_path / "clip.yuv", size="4x4", pix_fmt="gray", fps=30)

    @pytest.mark.parametrize("pix_fmt", ["gray", "yuv422p", "yuv444p12le", "yuv420p10le"])
    def test_formats(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, pix_fmt: str) -> None:
        source = tiny_clip(67, 45, 3, pix_fmt)
        run_ffmpeg("-i", source, "-f", "rawvideo", tmp_path / "clip.raw")
        raw = open_sequence(tmp_path / "clip.raw", size="67x45", pix_fmt=pix_fmt, fps=25)
        assert samples(raw) == samples(open_sequence(source))

    def test_raw_rgb_is_converted_and_keeps_its_picture(self, tmp_path: Path) -> None:
        picture = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
        (tmp_path / "clip.rgb").write_bytes(picture.tobytes())
        sequence = open_sequence(tmp_path / "clip.rgb", size="4x4", pix_fmt="gbrp", fps=30)
        (frame,) = sequence.read()
        assert frame.format.chroma == "444"
        assert frame.rgb is not None
        green, blue, red = picture
        assert np.array_equal(frame.rgb, np.dstack([red, green, blue]))
        assert sequence.conversion is not None


class TestRanges:
    @pytest.mark.parametrize(("start", "frames"), [(0, 9), (0, 1), (3, 4), (8, 1), (5, None)])
    @pytest.mark.parametrize("kind", ["y4m", "mkv", "png"])
    def test_range_is_that_part_of_the_whole(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, kind: str, start: int, frames: int | None
    ) -> None:
        source = tiny_clip()
        path = source
        if kind == "mkv":
            path = tmp_path / "clip.mkv"
            run_ffmpeg("-i", source, "-c:v", "libx264", "-bf", "3", "-qp", "10", path)
        if kind == "png":
            path = tmp_path / "pictures"
            path.mkdir()
            run_ffmpeg("-i", source, "-pix_fmt", "rgb24", path / "%d.png")
        whole = pieces(open_sequence(path))
        part = open_sequence(path, start=start, frames=frames)
        assert len(whole) == 9
        assert pieces(part) == whole[start : start + (frames or 9)]
        assert part.frames == len(pieces(part))

    @pytest.mark.parametrize(("start", "frames"), [(9, None), (-1, None), (0, 10), (5, 5), (0, 0), (0, -1)])
    def test_frames_that_are_not_there(self, tiny_clip: TinyClip, start: int, frames: int | None) -> None:
        with pytest.raises(UsageError, match=r"has [49]"):
            open_sequence(tiny_clip(), start=start, frames=frames)


CONTAINERS = {
    "mkv": ("libx264", "yuv420p"),
    "mp4": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "mov": ("prores_ks", "yuv422p10le"),
    "avi": ("ffv1", "yuv444p"),
    "nut": ("ffv1", "yuv420p12le"),
}


class TestFFmpegFiles:
    @pytest.mark.parametrize("container", CONTAINERS)
    def test_containers(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, container: str) -> None:
        encoder, pix_fmt = CONTAINERS[container]
        path = tmp_path / f"clip.{container}"
        run_ffmpeg("-i", tiny_clip(66, 46, 9, pix_fmt, rate="30000/1001"), "-c:v", encoder, path)
        sequence = open_sequence(path)
        assert sequence.format.describe() == f"66x46 {pix_fmt} at 29.97 fps"
        assert sequence.frames == 9
        expected = run_ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-")
        assert samples(sequence) == expected

    @pytest.mark.parametrize(
        "pix_fmt",
        ["gray", "gray10le", "gray12le", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p12le", "yuv444p16le"],
    )
    def test_lossless_file_gives_the_samples_put_in(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, pix_fmt: str
    ) -> None:
        source = tiny_clip(67, 45, 4, pix_fmt)
        run_ffmpeg("-i", source, "-c:v", "ffv1", tmp_path / "clip.mkv")
        sequence = open_sequence(tmp_path / "clip.mkv")
        assert sequence.format.pix_fmt == pix_fmt
        assert samples(sequence) == samples(open_sequence(source))

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
    def test_full_range_samples_are_not_stretched(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, pix_fmt: str
    ) -> None:
        source = tiny_clip(64, 64, 4, pix_fmt, full_range=True)
        run_ffmpeg("-i", source, "-c:v", "libx264", "-qp", "0", tmp_path / "clip.mkv")
        sequence = open_sequence(tmp_path / "clip.mkv")
        assert sequence.format.full_range
        assert sequence.format.pix_fmt == pix_fmt
        if pix_fmt == "yuv420p10le":  # qp 0 is lossless at 8 bit alone
            mean = np.mean([np.mean(frame.data) for frame in sequence.read()])
            assert mean == pytest.approx(np.mean([np.mean(f.data) for f in open_sequence(source).read()]), abs=1)
        else:
            assert samples(sequence) == samples(open_sequence(source))

    def test_packed_rgb_keeps_its_pictures(self, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        pattern = ("-f", "lavfi", "-i", "testsrc2=size=34x22", "-frames:v", "3")
        run_ffmpeg(*pattern, "-pix_fmt", "bgr0", "-c:v", "ffv1", tmp_path / "clip.mkv")
        expected = run_ffmpeg("-i", tmp_path / "clip.mkv", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
        sequence = open_sequence(tmp_path / "clip.mkv")
        pictures = [frame.rgb for frame in sequence.read()]
        assert b"".join(picture.tobytes() for picture in pictures if picture is not None) == expected
        assert sequence.format.pix_fmt == "yuv444p"
        assert not sequence.format.full_range

    @pytest.mark.parametrize(
        "timing",
        ["setpts='if(lt(N,4),N,N*3)/TB/25'", "setpts='floor(N/2)/TB/25'", "setpts='N*N/TB/100'"],
        ids=["gap", "each time twice", "slower and slower"],
    )
    def test_every_coded_frame_counts_once_whatever_its_time(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, timing: str
    ) -> None:
        path = tmp_path / "clip.nut"
        passthrough = ("-fps_mode", "passthrough", "-enc_time_base", "1/100")
        run_ffmpeg("-i", tiny_clip(), "-vf", timing, *passthrough, "-c:v", "ffv1", path)
        sequence = open_sequence(path)
        assert sequence.frames == 9
        assert samples(sequence) == samples(open_sequence(tiny_clip()))

    def test_rotation_written_in_the_file_is_not_applied(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        run_ffmpeg("-i", tiny_clip(64, 48), "-c:v", "libx264", "-qp", "0", tmp_path / "plain.mp4")
        run_ffmpeg(
            "-display_rotation:v:0", "90", "-i", tmp_path / "plain.mp4", "-c", "copy", tmp_path / "turned.mp4"
        )  # fmt: skip
        turned = open_sequence(tmp_path / "turned.mp4")
        assert (turned.format.width, turned.format.height) == (64, 48)
        assert samples(turned) == samples(open_sequence(tiny_clip(64, 48)))

    @pytest.mark.parametrize(
        ("location", "siting"), [("left", "left"), ("center", "centre"), ("topleft", "topleft")]
    )  # fmt: skip
    @pytest.mark.parametrize(("space", "matrix"), [("bt709", "bt709"), ("smpte170m", "bt601"), ("bt2020nc", "bt2020")])
    def test_colour_facts_are_read(
        self,
        tiny_clip: TinyClip,
        run_ffmpeg: RunFFmpeg,
        tmp_path: Path,
        location: str,
        siting: str,
        space: str,
        matrix: str,
    ) -> None:
        tags = f"setparams=colorspace={space}:range=pc:chroma_location={location}"
        run_ffmpeg("-i", tiny_clip(frames=1), "-vf", tags, "-c:v", "libx264", tmp_path / "clip.mp4")
        fmt = open_sequence(tmp_path / "clip.mp4").format
        assert (fmt.matrix, fmt.full_range, fmt.siting) == (matrix, True, siting)

    def test_second_stream_and_sound_do_not_matter(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        run_ffmpeg(
            "-f", "lavfi", "-i", "sine=duration=3", "-i", tiny_clip(), "-i", tiny_clip(32, 32, 20),
            "-map", "0", "-map", "1", "-map", "2", "-c:v", "ffv1", tmp_path / "clip.mkv",
        )  # fmt: skip
        assert samples(open_sequence(tmp_path / "clip.mkv")) == samples(open_sequence(tiny_clip()))

    @pytest.mark.parametrize("content", [b"", b"a page of text, named like a film\n" * 50, b"\x00" * 4096])
    def test_file_that_is_no_video(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match=f"{path}: FFmpeg finds no video"):
            open_sequence(path)

    def test_playlist_does_not_reach_the_network(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.m3u8"
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(MediaError):
            open_sequence(path)

    def test_interlaced_video_is_refused(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        run_ffmpeg(
            "-i", tiny_clip(), "-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags", "+ildct", tmp_path / "c.mkv"
        )
        with pytest.raises(MediaError, match="interlaced"):
            open_sequence(tmp_path / "c.mkv")

    def test_change_of_size_in_mid_file_is_refused(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        for index, size in enumerate([(64, 64), (96, 80)]):
            run_ffmpeg("-i", tiny_clip(*size, 4), "-c:v", "libx264", tmp_path / f"{index}.h264")
        both = tmp_path / "both.h264"
        both.write_bytes((tmp_path / "0.h264").read_bytes() + (tmp_path / "1.h264").read_bytes())
        with pytest.raises(MediaError, match="96x80 from frame 4 on, and 64x64 before"):
            open_sequence(both)

    def test_damaged_file_is_refused(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        path = tmp_path / "clip.mkv"
        run_ffmpeg("-i", tiny_clip(), "-c:v", "ffv1", "-slicecrc", "1", "-level", "3", path)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = bytes(400)
        path.write_bytes(content)
        with pytest.raises(MediaError, match="to its end"):
            open_sequence(path)

    def test_file_that_shrank_after_it_was_opened(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        path = tmp_path / "clip.mkv"
        run_ffmpeg("-i", tiny_clip(), "-c:v", "ffv1", path)
        sequence = open_sequence(path)
        run_ffmpeg("-i", tiny_clip(frames=4), "-c:v", "ffv1", path)
        with pytest.raises(MediaError, match="counted 9 frames in it and now decodes 4"):
            list(sequence.read())

    def test_file_that_grew_after_it_was_opened(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        path = tmp_path / "clip.mkv"
        run_ffmpeg("-i", tiny_clip(frames=4), "-c:v", "ffv1", path)
        sequence = open_sequence(path)
        run_ffmpeg("-i", tiny_clip(352, 288, 40), "-vf", "scale=64:64", "-c:v", "ffv1", path)
        with pytest.raises(MediaError, match="counted 4 frames in it and now decodes more"):
            list(sequence.read())

    def test_name_that_looks_like_an_option_or_a_protocol(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        for name in ("-i.mkv", "concat:x.mkv", "a b;$(touch x).mkv", "%d.mkv", "é'\".mkv"):
            path = tmp_path / name
            run_ffmpeg("-i", tiny_clip(frames=2), "-c:v", "ffv1", "-f", "matroska", f"file:{path}")
            assert open_sequence(path).frames == 2
        assert not (tmp_path / "x").exists()


# GOPs that start anew in mid-clip, with frames coded out of order across the border
ENCODES = {
    "hevc": ("libx265", "-x265-params", "qp=12:keyint=8:min-keyint=8:scenecut=0:bframes=4:open-gop=1:log-level=error"),
    "h264": ("libx264", "-x264-params", "qp=12:keyint=8:bframes=3:open-gop=1"),
    "vvc": ("libvvenc", "-preset", "faster", "-qpa", "0", "-qp", "16", "-vvenc-params", "intraperiod=32"),
    "obu": ("libsvtav1", "-preset", "12", "-crf", "12", "-g", "16"),
}


class TestOneEncodeInThreeFiles:
    """The frames of a .mkv, an .mp4 and the elementary stream of one encode, every frame counted."""

    @pytest.mark.parametrize("rate", ["25", "60000/1001"])
    @pytest.mark.parametrize("stream", ENCODES)
    def test_frames_are_identical(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, stream: str, rate: str
    ) -> None:
        count = 70 if stream == "vvc" else 37
        source = tiny_clip(96, 64, count, rate=rate, noise=0)
        encoder, *options = ENCODES[stream]
        mkv, mp4, elementary = (tmp_path / f"clip.{suffix}" for suffix in ("mkv", "mp4", stream))
        run_ffmpeg("-i", source, "-c:v", encoder, *options, mkv)
        run_ffmpeg("-i", mkv, "-c", "copy", mp4)
        run_ffmpeg("-i", mkv, "-c", "copy", "-f", stream, elementary)
        opened = [open_sequence(path) for path in (mkv, mp4, elementary)]
        assert [sequence.frames for sequence in opened] == [count] * 3
        contents = [pieces(sequence) for sequence in opened]
        assert [len(content) for content in contents] == [count] * 3
        assert contents[0] == contents[1] == contents[2]
        assert nearest(opened[0], open_sequence(source)) == list(range(count))
        # a line of another thread between two parts of a frame's lines would leave that frame uncounted
        assert "dts to muxer" not in scan._decode_log(mp4, ())

    @pytest.mark.parametrize("stream", ["hevc", "vvc"])
    def test_stream_written_by_the_encoder_itself(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, stream: str
    ) -> None:
        source = tiny_clip(96, 64, 70, noise=0)
        encoder, *options = ENCODES[stream]
        run_ffmpeg("-i", source, "-c:v", encoder, *options, "-f", stream, tmp_path / "clip")
        sequence = open_sequence(tmp_path / "clip")
        assert sequence.frames == 70
        assert nearest(sequence, open_sequence(source)) == list(range(70))


def nearest(decoded: Sequence, source: Sequence) -> list[int]:
    """For every decoded frame, the frame of the source that it is most like."""
    references = np.array([frame.planes[0].ravel() for frame in source.read()], np.float32)
    scale = 4 if decoded.format.bit_depth == 10 else 1
    return [
        int(np.argmin(((references - frame.planes[0].ravel() / np.float32(scale)) ** 2).sum(axis=1)))
        for frame in decoded.read()
    ]


class TestPng:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        return folder

    @staticmethod
    def write(path: Path, picture: np.ndarray) -> None:  # type: ignore[type-arg]
        assert cv2.imwrite(str(path), picture)

    def test_pictures_stand_in_the_order_of_their_numbers(self, folder: Path) -> None:
        for number in (10, 2, 1, 100, 9):
            self.write(folder / f"frame{number}.png", np.full((4, 4, 3), number, np.uint8))
        values = [int(frame.rgb[0, 0, 0]) for frame in open_sequence(folder).read() if frame.rgb is not None]
        assert values == [1, 2, 9, 10, 100]

    @pytest.mark.parametrize("depth", [8, 16])
    def test_rgb(self, folder: Path, depth: int) -> None:
        dtype = np.uint8 if depth == 8 else np.uint16
        picture = np.random.default_rng(0).integers(0, 2**depth, (5, 7, 3)).astype(dtype)
        self.write(folder / "1.png", picture[..., ::-1])
        sequence = open_sequence(folder, fps="29.97")
        (frame,) = sequence.read()
        assert np.array_equal(frame.rgb, picture)  # type: ignore[arg-type]
        assert sequence.format.pix_fmt == ("yuv444p" if depth == 8 else "yuv444p16le")
        assert sequence.format.fps == Fraction(30000, 1001)
        assert "bt709 limited" in str(sequence.conversion)

    @pytest.mark.parametrize("depth", [8, 16])
    def test_grey(self, folder: Path, depth: int) -> None:
        dtype = np.uint8 if depth == 8 else np.uint16
        picture = np.random.default_rng(0).integers(0, 2**depth, (5, 7)).astype(dtype)
        self.write(folder / "1.png", picture)
        sequence = open_sequence(folder)
        (frame,) = sequence.read()
        assert sequence.format.chroma == "gray"
        assert sequence.conversion is None
        assert np.array_equal(frame.planes[0], picture)

    def test_chosen_sampling(self, folder: Path) -> None:
        self.write(folder / "1.png", np.zeros((4, 6, 3), np.uint8))
        assert open_sequence(folder, pix_fmt="yuv420p").format == VideoFormat(6, 4, fps=Fraction(25))
        with pytest.raises(UsageError, match="bit depth"):
            open_sequence(folder, pix_fmt="yuv420p10le")

    @pytest.mark.parametrize(
        ("second", "word"),
        [
            (np.zeros((4, 6, 3), np.uint8), "6x4 differs"),
            (np.zeros((4, 4, 3), np.uint16), "bit depth or channels"),
            (np.zeros((4, 4), np.uint8), "bit depth or channels"),
            (np.zeros((4, 4, 4), np.uint8), "alpha"),
        ],
        ids=["size", "depth", "grey", "alpha"],
    )
    def test_picture_that_differs_is_named(self, folder: Path, second: np.ndarray, word: str) -> None:  # type: ignore[type-arg]
        self.write(folder / "1.png", np.zeros((4, 4, 3), np.uint8))
        self.write(folder / "2.png", second)
        with pytest.raises(MediaError, match=word) as caught:
            list(open_sequence(folder).read())
        assert "2.png" in str(caught.value)

    def test_folder_without_pictures(self, folder: Path) -> None:
        with pytest.raises(MediaError, match=r"without \.png"):
            open_sequence(folder)

    @pytest.mark.parametrize("content", [b"", b"no picture"])
    def test_file_that_is_no_picture(self, folder: Path, content: bytes) -> None:
        (folder / "1.png").write_bytes(content)
        with pytest.raises(MediaError, match=r"1\.png: cannot be read"):
            open_sequence(folder)

    def test_header_of_a_huge_picture(self, folder: Path) -> None:
        self.write(folder / "1.png", np.zeros((4, 4, 3), np.uint8))
        content = bytearray((folder / "1.png").read_bytes())
        content[16:24] = (2**31 - 1).to_bytes(4) * 2
        (folder / "1.png").write_bytes(content)
        with pytest.raises(MediaError, match="claims 2147483647x2147483647 pixels"):
            open_sequence(folder)

    def test_renamed_picture_changes_the_identity(self, folder: Path) -> None:
        self.write(folder / "1.png", np.zeros((4, 4, 3), np.uint8))
        self.write(folder / "2.png", np.ones((4, 4, 3), np.uint8))
        before = open_sequence(folder).identity()
        (folder / "1.png").rename(folder / "3.png")
        assert open_sequence(folder).identity() != before


class TestSettings:
    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such file"):
            open_sequence(tmp_path / "nothing.y4m")

    def test_pix_fmt_must_be_the_files_own(self, tiny_clip: TinyClip) -> None:
        assert open_sequence(tiny_clip(), pix_fmt="yuv420p").conversion is None
        with pytest.raises(UsageError, match="is yuv420p, not yuv444p"):
            open_sequence(tiny_clip(), pix_fmt="yuv444p")

    def test_size_must_be_the_files_own(self, tiny_clip: TinyClip) -> None:
        assert open_sequence(tiny_clip(), size="64x64").frames == 9
        with pytest.raises(UsageError, match="never resizes"):
            open_sequence(tiny_clip(), size="32x32")

    def test_frame_rate_is_overridden(self, tiny_clip: TinyClip) -> None:
        assert open_sequence(tiny_clip(), fps="59.94").format.fps == Fraction(60000, 1001)

    @pytest.mark.parametrize("change", [{"start": 1}, {"frames": 8}, {"fps": 50}])
    def test_identity_says_what_the_frames_depend_on(self, tiny_clip: TinyClip, change: dict[str, int]) -> None:
        identity = open_sequence(tiny_clip()).identity()
        assert open_sequence(tiny_clip()).identity() == identity
        assert open_sequence(tiny_clip(), **change).identity() != identity  # type: ignore[arg-type]

    def test_name_is_no_part_of_the_identity(self, tiny_clip: TinyClip) -> None:
        assert open_sequence(tiny_clip(), name="other").identity() == open_sequence(tiny_clip()).identity()


@pytest.mark.parametrize("kind", ["y4m", "yuv", "mkv", "png"])
def test_described_sequence_is_read_again_the_same(
    tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, kind: str
) -> None:
    source = tiny_clip()
    path = {"y4m": source, "yuv": tmp_path / "c.yuv", "mkv": tmp_path / "c.mkv", "png": tmp_path / "c"}[kind]
    settings = {"size": "64x64", "pix_fmt": "yuv420p", "fps": 25} if kind == "yuv" else {}
    if kind == "png":
        path.mkdir()
        run_ffmpeg("-i", source, path / "%d.png")
    elif kind != "y4m":
        run_ffmpeg("-i", source, *(["-f", "rawvideo"] if kind == "yuv" else ["-c:v", "ffv1"]), path)
    sequence = open_sequence(path, start=2, frames=4, **settings)  # type: ignore[arg-type]
    again = sequence_from_json(json.loads(json.dumps(sequence_to_json(sequence))))
    assert again.identity() == sequence.identity()
    assert again.conversion == sequence.conversion
    assert pieces(again) == pieces(sequence)


RAW_CLIPS = {
    "CiscoVT2people_320x192_12fps.yuv": ("320x192", "yuv420p", 12, 9),
    "RTn23_80x44p15_f15.yuv": ("80x44", "yuv420p", 15, 15),
    "sparks_ref_480x270_10le.yuv": ("480x270", "yuv420p10le", 60, 5),
    "src01_hrc00_576x324_10le.yuv": ("576x324", "yuv420p10le", 24, 3),
}


class TestRealClips:
    @pytest.mark.parametrize("name", RAW_CLIPS)
    def test_raw_clips(self, shared_clips: Path, run_ffmpeg: RunFFmpeg, name: str) -> None:
        size, pix_fmt, fps, frames = RAW_CLIPS[name]
        path = shared_clips / "odd" / name
        sequence = open_sequence(path, size=size, pix_fmt=pix_fmt, fps=fps)
        assert sequence.frames == frames
        assert samples(sequence) == path.read_bytes()

    @pytest.mark.parametrize("name", ["cif/akiyo_352x288.y4m", "sd/park_joy_480x270.y4m", "sd/walk_720x480.mkv"])
    def test_files(self, shared_clips: Path, run_ffmpeg: RunFFmpeg, name: str) -> None:
        path = shared_clips / name
        sequence = open_sequence(path, start=3, frames=4)
        pix_fmt = sequence.source.format.pix_fmt
        expected = run_ffmpeg("-i", path, "-fps_mode", "passthrough", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-")
        size = sequence.source.format.frame_bytes
        read = b"".join(frame.data.tobytes() for frame in sequence.source.read(3, 4))
        assert read == expected[3 * size : 7 * size]
        assert sequence.source.frames == len(expected) // size
