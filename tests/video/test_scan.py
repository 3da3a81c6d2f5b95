"""Files whose video is not what it seems: each is read for what it is, or refused with the reason."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.engine.score import score
from bench.errors import HeaderError, MediaError, NoVideoError
from bench.video import y4m
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.scan import _complaints, _Listing, scan
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
RunFFmpeg = Callable[..., bytes]


def pieces(sequence: Sequence) -> list[bytes]:
    return [frame.data.tobytes() for frame in sequence.read()]


class TestMidStreamChanges:
    """What a file says of itself is held from its first frame to its last."""

    @staticmethod
    def joined(run_ffmpeg: RunFFmpeg, folder: Path, parts: list[list[str]], suffix: str = "h264") -> Path:
        """Elementary streams of 4 frames each, one after the other."""
        contents = []
        for index, arguments in enumerate(parts):
            part = folder / f"{index}.{suffix}"
            pattern = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", "4")
            run_ffmpeg(*pattern, *arguments, "-f", suffix, part)
            contents.append(part.read_bytes())
        path = folder / f"joined.{suffix}"
        path.write_bytes(b"".join(contents))
        return path

    H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "0")

    @pytest.mark.parametrize(
        ("second", "change"),
        [
            (["-vf", "transpose"], "48x64 from frame 4 on, and 64x48 before"),
            (["-vf", "crop=64:32"], "64x32 from frame 4 on, and 64x48 before"),
            (["-pix_fmt", "yuv444p"], "yuv444p from frame 4 on, and yuv420p before"),
            (
                ["-vf", "setparams=range=pc", "-color_range", "pc"],
                "full range from frame 4 on, and limited range before",
            ),
            (["-colorspace", "bt2020nc"], "matrix bt2020 from frame 4 on, and matrix bt709 before"),
            (["-flags", "+ildct", "-x264-params", "tff=1"], "interlaced from frame 4 on, and progressive before"),
        ],
        ids=["shape", "size", "sampling", "range", "matrix", "fields"],
    )
    def test_are_refused_with_their_frame(
        self, run_ffmpeg: RunFFmpeg, tmp_path: Path, second: list[str], change: str
    ) -> None:
        path = self.joined(run_ffmpeg, tmp_path, [[*self.H264], [*self.H264, *second]])
        with pytest.raises(MediaError, match=re.escape(change)):
            open_sequence(path)

    def test_what_is_stated_later_and_means_the_same_is_no_change(self, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        stated = ["-colorspace", "bt709", "-color_range", "tv"]
        path = self.joined(run_ffmpeg, tmp_path, [[*self.H264], [*self.H264, *stated]])
        assert open_sequence(path).frames == 8

    def test_two_shapes_of_equal_byte_size(self, shared_cases: Path) -> None:
        with pytest.raises(MediaError, match="144x176 from frame 5 on, and 176x144 before"):
            open_sequence(shared_cases / "rot.h264")

    def test_interlaced_frame_in_y4m(self, tiny_clip: TinyClip, tmp_path: Path) -> None:
        content = tiny_clip(frames=3).read_bytes().split(b"FRAME\n")
        (tmp_path / "c.y4m").write_bytes(content[0] + b"FRAME\n" + content[1] + b"FRAME Itii\n" + content[2])
        with pytest.raises(HeaderError, match="interlaced"):
            open_sequence(tmp_path / "c.y4m")


class TestOtherStreams:
    """Only the video counts."""

    def test_damage_in_the_sound_is_none_of_ours(self, shared_cases: Path) -> None:
        (found,) = score(shared_cases / "s21.y4m", shared_cases / "avc.mp4", ["psnr_y"])
        assert found.value == pytest.approx(36.98456, abs=1e-4)

    @pytest.fixture
    def film(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> Path:
        path = tmp_path / "film.mkv"
        run_ffmpeg(
            "-f", "lavfi", "-i", "anoisesrc=duration=2:seed=1", "-i", tiny_clip(64, 64, 50), "-map", "1", "-map", "0",
            "-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-c:a", "aac", "-b:a", "128k", path,
        )  # fmt: skip
        return path

    @staticmethod
    def damage(path: Path, run_ffmpeg: RunFFmpeg, stream: str) -> None:
        """Zero the middle of a packet of a stream."""
        packets = run_ffmpeg("-i", path, "-map", f"0:{stream}", "-c", "copy", "-f", "data", "-")
        content = bytearray(path.read_bytes())
        middle = len(packets) // 2
        while (at := content.find(packets[middle : middle + 24])) < 0:
            middle += 7
        content[at : at + 24] = bytes(24)
        path.write_bytes(content)

    def test_only_damage_in_the_video_is_refused(self, run_ffmpeg: RunFFmpeg, film: Path) -> None:
        whole = pieces(open_sequence(film))
        self.damage(film, run_ffmpeg, "a:0")
        assert pieces(open_sequence(film)) == whole
        self.damage(film, run_ffmpeg, "v:0")
        with pytest.raises(MediaError, match=r"to its end: .*ffv1"):
            open_sequence(film)

    @pytest.mark.parametrize("suffix", ["mp3", "flac", "m4a"])
    def test_cover_art_is_no_video(self, run_ffmpeg: RunFFmpeg, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"song.{suffix}"
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1", tmp_path / "cover.png")
        run_ffmpeg(
            "-f", "lavfi", "-i", "sine=duration=1", "-i", tmp_path / "cover.png", "-map", "0", "-map", "1",
            "-c:v", "copy", "-disposition:v:0", "attached_pic", path,
        )  # fmt: skip
        with pytest.raises(NoVideoError, match="only cover art"):
            open_sequence(path)

    def test_video_behind_cover_art(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32", "-frames:v", "1", tmp_path / "cover.png")
        run_ffmpeg(
            "-i", tmp_path / "cover.png", "-i", tiny_clip(), "-map", "0", "-map", "1", "-c:v:0", "copy",
            "-c:v:1", "libx264", "-qp", "0", "-disposition:v:0", "attached_pic", "-disposition:v:1", "default",
            tmp_path / "clip.mp4",
        )  # fmt: skip
        assert pieces(open_sequence(tmp_path / "clip.mp4")) == pieces(open_sequence(tiny_clip()))

    def test_sound_alone(self, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "song.ogg")
        with pytest.raises(NoVideoError, match="no video in this file, only other streams"):
            open_sequence(tmp_path / "song.ogg")

    def test_edit_list_hides_no_coded_frame(self, shared_cases: Path) -> None:
        clip = open_sequence(shared_cases / "es.mp4")
        assert clip.frames == len(pieces(clip)) == 10
        assert "edit list shows 0.25 s" in clip.remarks[0]

    def test_edit_list_of_ones_own(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        run_ffmpeg(
            "-i", tiny_clip(frames=20), "-c:v", "libx264", "-bf", "2", "-g", "20", "-qp", "0", tmp_path / "w.mp4"
        )
        run_ffmpeg("-ss", "0.4", "-i", tmp_path / "w.mp4", "-c", "copy", tmp_path / "cut.mp4")
        assert pieces(open_sequence(tmp_path / "cut.mp4")) == pieces(open_sequence(tmp_path / "w.mp4"))


class TestFrameRate:
    def test_varying_rate_is_the_mean_and_is_said(self, shared_cases: Path) -> None:
        clip = open_sequence(shared_cases / "vfr.mkv")
        assert float(clip.format.fps) == pytest.approx(15, rel=1e-3)
        assert "frame rate varies: frames last 33 to 100 ms" in clip.remarks[0]

    def test_part_of_it_has_its_own_mean(self, shared_cases: Path) -> None:
        path = shared_cases / "vfr.mkv"
        assert float(open_sequence(path, frames=5).format.fps) == pytest.approx(30, rel=0.01)
        assert float(open_sequence(path, start=5).format.fps) == pytest.approx(10, rel=0.01)
        assert open_sequence(path, fps=30).format.fps == 30

    @pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "60", "120"])
    @pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
    def test_constant_rate_is_kept(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, rate: str, suffix: str
    ) -> None:
        run_ffmpeg("-i", tiny_clip(rate=rate), "-c:v", "libx264", "-bf", "2", tmp_path / f"c.{suffix}")
        clip = open_sequence(tmp_path / f"c.{suffix}")
        assert (clip.format.fps, clip.remarks) == (Fraction(rate), ())

    def test_soft_telecine(self, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        """Progressive film frames, shown for 3 and 2 fields in turn by flags of MPEG-2."""
        path = tmp_path / "film.m2v"
        pattern = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30000/1001", "-frames:v", "24")
        run_ffmpeg(*pattern, "-pix_fmt", "yuv420p", "-c:v", "mpeg2video", "-bf", "0", path)
        stream = bytearray(path.read_bytes())
        extensions = [match.start() + 4 for match in re.finditer(b"\x00\x00\x01\xb5", bytes(stream))]
        for at in (at for at in extensions if stream[at] >> 4 == 1):
            stream[at + 1] &= ~0x08  # not a progressive sequence
        for number, at in enumerate(at for at in extensions if stream[at] >> 4 == 8):
            top, repeat = [(1, 1), (0, 0), (0, 1), (1, 0)][number % 4]
            stream[at + 3] = stream[at + 3] & ~0x82 | top << 7 | repeat << 1
        path.write_bytes(stream)
        clip = open_sequence(path)
        assert clip.frames == 24
        assert float(clip.format.fps) == pytest.approx(24000 / 1001, rel=1e-3)
        assert "frame rate varies" in clip.remarks[0]


class TestMatrices:
    """Matrices are read from the stream, and RGB metrics go by them or are undefined."""

    def test_ycgco(self, shared_cases: Path) -> None:
        paths = (shared_cases / f"ycgco_{side}_YCgCol.mkv" for side in ("ref", "dist"))
        (found,) = score(*paths, ["psnr_rgb"])
        assert found.value == pytest.approx(26.365, abs=1e-3)
        assert "ycgco limited range" in found.provenance["conversion"]

    @pytest.fixture
    def tagged(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> Callable[[str], list[Path]]:
        def make(space: str) -> list[Path]:
            paths = []
            for index, noise in enumerate((0, 12)):
                path = tmp_path / f"{index}.mkv"
                tag = f"setparams=colorspace={space}:range=tv"
                run_ffmpeg("-i", tiny_clip(64, 64, 2, "yuv444p", noise=noise), "-vf", tag, "-c:v", "ffv1", path)
                paths.append(path)
            return paths

        return make

    @pytest.mark.parametrize("space", ["smpte240m", "fcc", "bt470bg", "bt2020nc", "ycgco"])
    def test_linear_ones_are_converted_as_the_standard_says(
        self, tagged: Callable[[str], list[Path]], space: str
    ) -> None:
        red, blue = {"smpte240m": (0.212, 0.087), "fcc": (0.3, 0.11), "bt470bg": (0.299, 0.114)}.get(
            space, (0.2627, 0.0593)
        )

        def rgb(path: Path) -> np.ndarray:  # type: ignore[type-arg]
            pictures = []
            for frame in open_sequence(path).read():
                y, u, v = (plane.astype(float) for plane in frame.planes)
                y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
                if space == "ycgco":
                    channels = [y - u + v, y + u, y - u - v]
                else:
                    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
                    channels = [r, (y - red * r - blue * b) / (1 - red - blue), b]
                pictures.append(np.clip(np.floor(255 * np.stack(channels) + 0.5), 0, 255))
            return np.stack(pictures)

        paths = tagged(space)
        error = ((rgb(paths[0]) - rgb(paths[1])) ** 2).mean(axis=(1, 2, 3))
        (found,) = score(*paths, ["psnr_rgb"])
        assert found.value == pytest.approx((10 * np.log10(255**2 / error)).mean(), abs=1e-3)

    @pytest.mark.parametrize("space", ["ictcp", "bt2020c", "chroma-derived-nc", "smpte2085"])
    def test_others_leave_rgb_metrics_undefined(self, tagged: Callable[[str], list[Path]], space: str) -> None:
        names = ["psnr_rgb", "ssim:rgb", "psnr_rgb:dcvc", "psnr_y"]
        found = {item.metric: item for item in score(*tagged(space), names)}
        assert {name: item.status for name, item in found.items()} == {
            "psnr_rgb": "undefined", "ssim:rgb": "undefined", "psnr_rgb:dcvc": "undefined", "psnr_y": "ok",
        }  # fmt: skip
        assert f"the matrix is {space}" in str(found["psnr_rgb"].reason)


class TestPeak:
    @pytest.mark.parametrize("kind", ["y4m", "yuv"])
    def test_samples_above_it_are_refused(self, tmp_path: Path, kind: str) -> None:
        fmt = VideoFormat(16, 16, bit_depth=10)
        frames = [Frame(fmt, np.full(fmt.samples_per_frame, value, "<u2")) for value in (1023, 1000 << 6)]
        path = tmp_path / f"c.{kind}"
        head = y4m.header_line(fmt) if kind == "y4m" else b""
        path.write_bytes(head + b"".join((b"FRAME\n" if head else b"") + frame.data.tobytes() for frame in frames))
        settings = {} if head else {"size": "16x16", "pix_fmt": "yuv420p10le", "fps": 30}
        clip = open_sequence(path, frames=1, **settings)  # type: ignore[arg-type]
        assert len(pieces(clip)) == 1
        with pytest.raises(MediaError, match=r"frame 1: a sample is 64000, above 1023.*shift them right by 6"):
            pieces(open_sequence(path, **settings))  # type: ignore[arg-type]


class TestNames:
    def test_that_are_no_utf8(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        folder.mkdir()
        for name in (b"c\xe9.y4m", b"c\xe9.mkv", b"c\xe9.png"):
            path = folder / os.fsdecode(name)
            run_ffmpeg("-i", tiny_clip(frames=1), "-c:v", "ffv1", tmp_path / f"plain{path.suffix}") if name.endswith(
                b"mkv"
            ) else run_ffmpeg("-i", tiny_clip(frames=1), tmp_path / f"plain{path.suffix}")
            shutil.move(tmp_path / f"plain{path.suffix}", path)
            clip = open_sequence(path)
            assert (clip.name, len(pieces(clip))) == ("c\\xe9", 1)
            assert len(clip.identity()["sha256"]) == 64
        for other in (b"c\xe9.y4m", b"c\xe9.mkv"):
            (folder / os.fsdecode(other)).unlink()
        assert len(pieces(open_sequence(folder))) == 1

    @pytest.mark.parametrize("name", ["x%d.png", "x%03d.jpg", "x*.png", "x?.png", "x[12].png", "x{1,2}.png"])
    def test_that_look_like_a_pattern(self, tmp_path: Path, name: str) -> None:
        for number in (1, 2):
            for other in (f"x{number}.png", f"x00{number}.jpg"):
                assert cv2.imwrite(str(tmp_path / other), np.full((16, 16, 3), 10 * number, np.uint8))
        kept = tmp_path / f"kept{Path(name).suffix}"
        assert cv2.imwrite(str(kept), np.full((16, 16, 3), 200, np.uint8))
        kept.rename(tmp_path / name)
        clip = open_sequence(tmp_path / name)
        (frame,) = clip.read()
        assert frame.planes[0].mean() > 150

    @pytest.mark.parametrize("name", ["%d.m3u8", "list.ffconcat", "x.sdp"])
    def test_playlists_are_refused(self, tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
        shutil.copy(tiny_clip(frames=2), tmp_path / "c.y4m")
        (tmp_path / name).write_text(
            {
                ".m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nc.y4m\n#EXT-X-ENDLIST\n",
                ".ffconcat": "ffconcat version 1.0\nfile c.y4m\n",
                ".sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            }[Path(name).suffix]
        )
        with pytest.raises(MediaError, match="is a playlist or a pattern"):
            open_sequence(tmp_path / name)


class TestPictureNumbers:
    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (("001", "002", "004"), "004 follows 002"),
            (("f1_v2", "f3_v2", "f4_v2", "f7_v2"), "3 follows 1, and 1 further gap"),
            (("001", "002", "003"), None),
            (("10", "20", "30"), None),
            (("a", "b"), None),
            (("1_2", "2_1"), None),
        ],
    )
    def test_gaps_are_said(self, tmp_path: Path, names: tuple[str, ...], said: str | None) -> None:
        for name in names:
            assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
        clip = open_sequence(tmp_path)
        assert clip.frames == len(names)
        assert (said is None and clip.remarks == ()) or (said is not None and said in clip.remarks[0])


class TestY4mWithoutC:
    @pytest.mark.parametrize(("tag", "pix_fmt"), [("444", "yuv444p"), ("422", "yuv422p"), ("420P10", "yuv420p10le")])
    def test_xyscss_counts(self, tmp_path: Path, tag: str, pix_fmt: str) -> None:
        size = VideoFormat(16, 16).with_pix_fmt(pix_fmt).frame_bytes
        (tmp_path / "c.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F30:1 XYSCSS=%s\nFRAME\n" % tag.encode() + bytes(size))
        assert open_sequence(tmp_path / "c.y4m").format.pix_fmt == pix_fmt

    def test_c_counts_before_it(self, tmp_path: Path) -> None:
        (tmp_path / "c.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F30:1 C420jpeg XYSCSS=411\nFRAME\n" + bytes(384))
        assert open_sequence(tmp_path / "c.y4m").format.pix_fmt == "yuv420p"

    def test_411_is_refused_by_name(self, shared_cases: Path) -> None:
        with pytest.raises(HeaderError, match="colour space XYSCSS=411 is not supported"):
            open_sequence(shared_cases / "t411.y4m")


class TestRawUnderAnotherName:
    @pytest.mark.parametrize("suffix", ["bin", "i420", "yuv420p", "dat"])
    @pytest.mark.parametrize("noise", [0, 12])
    def test_is_read_as_described(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, suffix: str, noise: int
    ) -> None:
        source = tiny_clip(noise=noise)
        run_ffmpeg("-i", source, "-f", "rawvideo", tmp_path / f"c.{suffix}")
        clip = open_sequence(tmp_path / f"c.{suffix}", size="64x64", pix_fmt="yuv420p", fps=25)
        assert pieces(clip) == pieces(open_sequence(source))

    def test_without_a_description_says_what_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "c.bin").write_bytes(bytes(range(256)) * 24)
        with pytest.raises(NoVideoError, match="raw video needs --size, --pix-fmt and --fps"):
            open_sequence(tmp_path / "c.bin", size="64x64")


def test_a_complaint_within_a_line_of_the_filter_is_heard() -> None:
    """The filter writes a line in parts, and the decoder's threads write when they like."""
    before = "[info] Stream mapping:\n"
    whole = "[Parsed_showinfo_0 @ 0x7f] [info] n:   2 pts:     80 pts_time:0.08 i:P iskey:0 type:I \n"
    said = "[ffv1 @ 0x55] [error] slice CRC mismatch 4F4BFACF!at 0.120000 seconds\n"
    listing = _Listing("matroska", 0, None)
    assert _complaints(before + whole, listing) == []
    for at in (len("[Parsed_showinfo_0 @ 0x7f] [info] "), len(whole) - 9):
        (found,) = _complaints(before + whole[:at] + said + whole[at:], listing)
        assert "slice CRC mismatch" in found


def test_scan_says_what_the_file_is(tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
    run_ffmpeg("-i", tiny_clip(full_range=True), "-c:v", "libx264", "-qp", "0", tmp_path / "c.mp4")
    found = scan(tmp_path / "c.mp4")
    assert (found.frames, found.format.full_range, found.durations, found.film_grain) == (9, True, None, False)


def test_decode_that_ends_early_gives_ffmpegs_reason(
    tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
) -> None:
    path = tmp_path / "c.mkv"
    run_ffmpeg("-i", tiny_clip(), "-c:v", "ffv1", path)
    clip = open_sequence(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MediaError, match=r"FFmpeg says:\n.*\S"):
        pieces(clip)
