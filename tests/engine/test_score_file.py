"""Files as encoders leave them: other depths, other sizes, film grain, tags that disagree, a frame lost."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli.measure import command
from bench.engine.score import Score, score_file
from bench.errors import MismatchError
from bench.video import ffmpeg
from bench.video.sequence import open_sequence

TinyClip = Callable[..., Path]
RunFFmpeg = Callable[..., bytes]


def value(found: Score, name: str = "psnr_y") -> float:
    measured = next(item for item in found.measurements if item.metric == name)
    assert measured.value is not None
    return measured.value


def luma(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    return np.stack([frame.planes[0].astype(float) for frame in open_sequence(path).read()])


def psnr(a: np.ndarray, b: np.ndarray, peak: int = 255) -> float:  # type: ignore[type-arg]
    return float((10 * np.log10(peak**2 / ((a - b) ** 2).mean(axis=(1, 2)))).mean())


class TestColour:
    @pytest.fixture
    def clips(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> Callable[..., Path]:
        def make(name: str, tags: str) -> Path:
            path = tmp_path / name
            full = tiny_clip(full_range="range=pc" in tags)
            run_ffmpeg("-i", full, "-vf", f"setparams={tags}", "-c:v", "libx264", "-qp", "0", path)
            return path

        return make

    @pytest.mark.parametrize(
        ("one", "other", "said"),
        [
            ("range=tv", "range=pc", "the file is in full range, the reference in limited range"),
            ("range=pc", "range=tv", "the file is in limited range, the reference in full range"),
            (
                "range=tv:colorspace=bt709",
                "range=tv:colorspace=smpte170m",
                "matrix bt601, the reference in matrix bt709",
            ),
        ],
    )
    def test_two_files_that_state_different_things(
        self, clips: Callable[..., Path], one: str, other: str, said: str
    ) -> None:
        with pytest.raises(MismatchError, match=said):
            score_file(clips("a.mkv", one), clips("b.mkv", other), ["psnr_y"])

    def test_what_one_states_is_taken_for_both(self, clips: Callable[..., Path]) -> None:
        plain, tagged = clips("a.mkv", "range=tv:colorspace=unknown"), clips("b.mkv", "range=tv:colorspace=smpte170m")
        found = score_file(plain, tagged, ["psnr_rgb"])
        assert "the file states matrix bt601, the reference nothing; it is taken for both" in found.notes
        assert "bt601" in found.measurements[0].provenance["conversion"]

    def test_real_pair(self, shared_cases: Path) -> None:
        with pytest.raises(MismatchError, match="as both say"):
            score_file(shared_cases / "src.y4m", shared_cases / "fullx.mp4", ["psnr_y"])
        assert value(score_file(shared_cases / "full.mkv", shared_cases / "fullx.mp4", ["psnr_y"])) == pytest.approx(
            38.28818, abs=1e-4
        )


class TestDepth:
    def test_deeper_encode_is_rounded(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        ten = tmp_path / "ten.mkv"
        run_ffmpeg("-i", tiny_clip(), "-pix_fmt", "yuv420p10le", "-c:v", "libx264", "-qp", "30", ten)
        found = score_file(tiny_clip(), ten, ["psnr_y"])
        assert value(found) == pytest.approx(psnr(luma(tiny_clip()), np.minimum((luma(ten) + 2) // 4, 255)), abs=1e-9)
        assert found.notes == ("its 10-bit samples are rounded to 8 bit",)

    @pytest.mark.parametrize("full", [False, True])
    def test_shallower_encode_is_brought_up(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, full: bool
    ) -> None:
        source = tiny_clip(64, 64, 5, "yuv420p10le", full_range=full)
        eight_bit = tiny_clip(64, 64, 5, full_range=full, noise=20)
        run_ffmpeg("-i", eight_bit, "-c:v", "libx264", "-qp", "0", tmp_path / "eight.mkv")
        found = score_file(source, tmp_path / "eight.mkv", ["psnr_y"])
        eight = luma(tmp_path / "eight.mkv")
        expected = np.floor(eight * 1023 / 255 + 0.5) if full else eight * 4
        assert value(found) == pytest.approx(psnr(luma(source), expected, 1023), abs=1e-9)
        assert f"8-bit samples are {'scaled' if full else 'shifted'} to 10 bit" in found.notes[0]


class TestSize:
    @pytest.mark.parametrize(("scaler", "flags"), [("lanczos", "lanczos"), ("bicubic", "bicubic")])
    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
    def test_is_scaled_to_the_sources_as_ffmpeg_does(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, scaler: str, flags: str, pix_fmt: str
    ) -> None:
        source = tiny_clip(64, 48, 5, pix_fmt, noise=0)
        small, large = tmp_path / "small.mkv", tmp_path / "large.mkv"
        run_ffmpeg("-i", source, "-vf", "scale=32:24", "-c:v", "libx264", "-qp", "20", small)
        more = ":param0=5" if scaler == "lanczos" else ""
        exact = f"flags={flags}+accurate_rnd+full_chroma_int{more}:sws_dither=none"
        run_ffmpeg("-i", small, "-vf", f"scale=64:48:{exact}", "-c:v", "ffv1", large)
        found = score_file(source, small, ["psnr_y", "psnr_u"], scaler=scaler)
        direct = score_file(source, large, ["psnr_y", "psnr_u"])
        assert [item.frames for item in found.measurements] == [item.frames for item in direct.measurements]
        assert found.notes[0].startswith(f"32x24 is scaled to 64x48 by scale=64:48:flags={flags}")

    def test_without_a_scaler_is_refused_with_the_remedy(self, tiny_clip: TinyClip) -> None:
        with pytest.raises(MismatchError, match="64x48, expected 64x64; give --scaler lanczos"):
            score_file(tiny_clip(), tiny_clip(64, 48), ["psnr_y"])

    def test_larger_and_deeper_at_once(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        run_ffmpeg("-i", tiny_clip(128, 128, noise=0), "-pix_fmt", "yuv420p10le", "-c:v", "ffv1", tmp_path / "l.mkv")
        found = score_file(tiny_clip(noise=0), tmp_path / "l.mkv", ["psnr_y"], scaler="lanczos")
        assert len(found.notes) == 2 and value(found) > 10

    def test_raw_reference(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        run_ffmpeg("-i", tiny_clip(noise=0), "-f", "rawvideo", tmp_path / "c.yuv")
        run_ffmpeg("-i", tiny_clip(noise=0), "-vf", "scale=32:32", "-pix_fmt", "yuv420p10le", "-c:v", "ffv1",
                   tmp_path / "s.mkv")  # fmt: skip
        raw = {"size": "64x64", "pix_fmt": "yuv420p", "fps": 25}
        found = score_file(tmp_path / "c.yuv", tmp_path / "s.mkv", ["psnr_y"], input_format=raw, scaler="lanczos")
        assert value(found) > 15


class TestGrey:
    def test_luma_of_a_neutral_stream_is_compared(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        source = tiny_clip(64, 64, 5, "gray")
        run_ffmpeg("-i", source, "-pix_fmt", "gray", "-c:v", "libx264", "-qp", "20", tmp_path / "g.mkv")
        found = score_file(source, tmp_path / "g.mkv", ["psnr_y"])
        assert value(found) == pytest.approx(psnr(luma(source), luma(tmp_path / "g.mkv")), abs=1e-9)

    def test_a_stream_with_colour_is_refused(self, tiny_clip: TinyClip) -> None:
        with pytest.raises(MismatchError, match="with colour, expected grey"):
            score_file(tiny_clip(64, 64, 5, "gray"), tiny_clip(64, 64, 5), ["psnr_y"])


class TestFilmGrain:
    def test_on_and_off(self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
        source, grainy = tiny_clip(64, 64, 5), tmp_path / "g.ivf"
        options = ("-preset", "10", "-crf", "20", "-svtav1-params", "film-grain=40:film-grain-denoise=1")
        run_ffmpeg("-i", source, "-c:v", "libsvtav1", *options, grainy)
        on, off = (score_file(source, grainy, ["psnr_y"], film_grain=grain) for grain in (True, False))
        for found, arguments in ((on, ()), (off, ("-export_side_data", "film_grain"))):
            raw = run_ffmpeg(*arguments, "-i", grainy, "-pix_fmt", "yuv420p", "-f", "rawvideo", "-")
            frames = np.frombuffer(raw, np.uint8).reshape(5, 64 * 96)[:, : 64 * 64].reshape(5, 64, 64).astype(float)
            assert value(found) == pytest.approx(psnr(luma(source), frames), abs=1e-9)
        assert value(off) > value(on)
        assert "film grain, which is synthesised" in on.notes[0]
        assert "film grain, which is left out" in off.notes[0]


class TestShift:
    @pytest.mark.parametrize(("lost", "said"), [("start", "1 frame later"), ("repeat", "1 frame earlier")])
    def test_is_hinted_at(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path, lost: str, said: str
    ) -> None:
        whole = tiny_clip(64, 64, 13, noise=0)
        content = whole.read_bytes().split(b"FRAME\n")
        head, frames = content[0], content[1:]
        shifted = {"start": [*frames[1:], frames[-1]], "repeat": [frames[0], *frames[:-1]]}[lost]
        (tmp_path / "s.y4m").write_bytes(b"FRAME\n".join([head, *shifted]))
        run_ffmpeg("-i", tmp_path / "s.y4m", "-c:v", "libx264", "-qp", "20", tmp_path / "s.mkv")
        (note,) = score_file(whole, tmp_path / "s.mkv", ["psnr_y"]).notes
        assert f"of the reference {said}" in note
        assert float(re.findall(r"([\d.]+) dB better", note)[0]) > 6

    def test_is_not_for_a_clip_in_step_or_a_still_one(
        self, tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
    ) -> None:
        run_ffmpeg("-i", tiny_clip(noise=0), "-c:v", "libx264", "-qp", "45", tmp_path / "c.mkv")
        assert score_file(tiny_clip(noise=0), tmp_path / "c.mkv", ["psnr_y"]).notes == ()
        content = tiny_clip().read_bytes().split(b"FRAME\n")
        (tmp_path / "still.y4m").write_bytes(b"FRAME\n".join([content[0], *content[1:2] * 9]))
        assert score_file(tmp_path / "still.y4m", tmp_path / "still.y4m", ["psnr_y"]).notes == ()


def test_command_prints_units_lows_notes_and_writes_every_frame(
    tiny_clip: TinyClip, run_ffmpeg: RunFFmpeg, tmp_path: Path
) -> None:
    run_ffmpeg("-i", tiny_clip(), "-pix_fmt", "yuv420p10le", "-c:v", "libx264", "-qp", "30", tmp_path / "ten.mkv")
    arguments = [str(tiny_clip()), str(tmp_path / "ten.mkv"), str(tiny_clip(64, 48)), "--metrics", "psnr_y,lpips_none"]
    arguments[-1] = "psnr_y,ssim"
    done = CliRunner().invoke(command, [*arguments, "--json", "--frames-csv", str(tmp_path / "f.csv")],
                              standalone_mode=False)  # fmt: skip
    assert done.return_value == 6
    row, other = json.loads(done.stdout)
    assert row["notes"] == ["its 10-bit samples are rounded to 8 bit"]
    assert other["status"] == "failed" and "--scaler" in other["reason"]
    measured = row["measurements"]["psnr_y"]
    assert (measured["unit"], measured["low_1"]) == ("dB", pytest.approx(measured["pooled"]["p1"]))
    assert measured["low_1"] <= measured["low_5"] <= measured["value"]
    with (tmp_path / "f.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(item["frame"]) for item in rows] == list(range(9))
    assert np.mean([float(item["psnr_y"]) for item in rows]) == pytest.approx(measured["value"])
    plain = CliRunner().invoke(command, arguments[:2] + arguments[3:], standalone_mode=False)
    assert re.search(r"metric +value +unit +5% low +1% low", plain.output)
    assert "note: " in plain.output


def test_scalers_are_those_of_the_option() -> None:
    from bench.video.scale import SCALERS

    (option,) = (item for item in command.params if item.name == "scaler")
    assert list(option.type.choices) == list(SCALERS)  # type: ignore[attr-defined]
    for name in SCALERS:
        argv = [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=32x32", "-frames:v", "1",
                "-vf", f"scale=64:64:{SCALERS[name]}:sws_dither=none", "-f", "null", "-"]  # fmt: skip
        assert subprocess.run(argv, check=False, capture_output=True).returncode == 0
