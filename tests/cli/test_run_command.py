"""vcbench run: its options, what it refuses, what it writes and what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from card_texts import command_card

import bench
from bench.cards import Catalog
from bench.engine.plan import CodecEntry
from bench.engine.run import resolve_metrics
from bench.metrics.sets import SETS
from bench.registry import DEFAULT_METRICS


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planned(vcbench, *arguments: object) -> list[str]:
    """Sequences of a dry run with x264 at one rate."""
    done = vcbench("run", "--rates", 30, "--dry-run", "--json", *arguments)
    assert done.code == 0, done.err
    return sorted(cell["sequence"] for cell in done.json["cells"])


@pytest.fixture
def named(tmp_path: Path, clips: list[Path]) -> list[Path]:
    """The same clip under names a shell user meets."""
    names = ("a", "with space (1)", "täglich", "x;echo $HOME")
    return [Path(shutil.copy(clips[0], tmp_path / f"{name}.y4m")) for name in names]


def test_input_takes_every_word_up_to_the_next_option(vcbench, named: list[Path]) -> None:
    names = sorted(path.stem for path in named)
    assert planned(vcbench, "--input", *named, "--codecs", "x264") == names
    assert planned(vcbench, "--codecs", "x264", "--input", *named) == names
    assert planned(vcbench, f"--input={named[0]}", *named[1:], "--codecs", "x264") == names
    assert planned(vcbench, "--input", *named[:2], "--codecs", "x264", "--input", *named[2:]) == names


def test_a_clip_given_twice_is_one_clip(vcbench, named: list[Path]) -> None:
    assert planned(vcbench, "--codecs", "x264", "--input", named[0], named[1], named[0]) == ["a", "with space (1)"]


def test_names_with_spaces_are_encoded_and_measured(vcbench, tmp_path: Path, named: list[Path]) -> None:
    done = vcbench("run", "--codecs", "x264", "--input", *named, "--rates", 40, "--frames", 2, "--metrics", "psnr_y",
                   "--jobs", 1, "--out", tmp_path / "out", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["cells"] == {"ok": 4, "failed": 0, "skipped": 0}
    assert {cell.sequence.name for cell in bench.load(tmp_path / "out").cells} == {path.stem for path in named}


def test_a_dry_run_writes_nothing(vcbench, tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = vcbench("run", "--codecs", "x264,x265", "--input", *clips, "--dry-run")
    assert done.code == 0
    assert "24 cells for results/input" in done.out
    assert done.out.count("to do") == 24
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_measured_and_what_is_damaged(
    vcbench, tmp_path: Path, clips: list[Path], measured: Path
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(measured, folder)
    victim = next((folder / "cells").glob("x265_39_*.json"))
    victim.write_text(victim.read_text()[:300])
    before = tree(folder)
    arguments = ["run", "--codecs", "x265", "--input", *clips, "--metrics", "ssim", "--out", folder, "--dry-run"]
    cells = {cell["cell"]: cell for cell in vcbench(*arguments, "--json").json["cells"]}
    assert sum(cell["measured"] for cell in cells.values()) == 11
    assert not cells[victim.stem]["measured"]
    assert str(victim) in cells[victim.stem]["problem"]
    assert not any(cell["measured"] for cell in vcbench(*arguments, "--timing", "--json").json["cells"])
    assert tree(folder) == before


def test_vmaf_neg_stands_beside_vmaf_where_a_codec_draws_detail() -> None:
    """Unless metrics are named: then those are measured, and the report says what is missing."""

    def metrics(names: list[str], *codecs: str) -> list[str]:
        entries = [CodecEntry(*Catalog(()).codec(name)) for name in codecs]
        return [name for name in resolve_metrics(names, entries) if name.startswith("vmaf")]

    assert metrics([], "x265") == ["vmaf"]
    for codec in ("svt-av1-sr@tuned", "vvenc-sr", "diff-sit-small", "s2vc"):
        assert metrics([], "x265", codec) == ["vmaf", "vmaf_neg"]
    assert metrics(["+xpsnr"], "svt-av1-sr") == ["vmaf", "vmaf_neg"]
    assert metrics(["vmaf"], "svt-av1-sr") == ["vmaf"]


def test_plus_adds_to_the_default_metrics(vcbench, clips: list[Path]) -> None:
    def metrics(text: str) -> list[str]:
        return vcbench("run", "--codecs", "x264", "--input", clips[0], "--metrics", text, "--dry-run", "--json").json[
            "metrics"
        ]

    assert metrics("+xpsnr") == [*DEFAULT_METRICS, "xpsnr"]
    assert metrics("+xpsnr,+psnr_y") == [*DEFAULT_METRICS, "xpsnr"]
    assert metrics("ssim,psnr_y,ssim") == ["ssim", "psnr_y"]
    assert metrics("ssim,+xpsnr") == ["ssim", "xpsnr"]
    assert metrics("basic") == list(DEFAULT_METRICS)
    assert metrics("dcvc,psnr_y:dcvc,ssim") == [*SETS["dcvc"].metrics, "ssim"]
    assert metrics("ssim,+jvet") == ["ssim", *SETS["jvet"].metrics]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--codecs", "x264"], "no video is named; give --input FILE"),
        (["--codecs", ","], "no codec is named; give --codecs"),
        (["--codecs", "x264@low", "--input", "CLIP"], "did you mean veryslow, low-delay?"),
        (["--codecs", "no.toml", "--input", "CLIP"], "no.toml: no such file"),
        (["--codecs", "x264", "--input", "gone.y4m"], "gone.y4m"),
        (["--codecs", "x264", "--datasets", "quick"], "did you mean quickstart?"),
        (["--codecs", "x264", "--datasets", "hevc-b"], "hevc-b"),
        (["--codecs", "x264", "--datasets", "quickstart", "--sequences", "cats"], "did you mean cat"),
        (["--codecs", "x264", "--input", "CLIP", "--sequences", "cat"], "--sequences selects sequences of --datasets"),
        (
            ["--codecs", "x264", "--datasets", "quickstart", "--start", "3", "--size", "8x8"],
            "--size, --start: only for",
        ),
        (["--codecs", "x264", "--input", "CLIP", "--metrics", "psnr"], "unknown metric 'psnr'"),
        (["--codecs", "x264", "--input", "CLIP", "--rates", "22,high"], "not a list of numbers such as 22,27,32,37"),
        (["--codecs", "x264", "--input", "CLIP", "--scales", "half"], "not a list of numbers such as 1,0.75,0.5"),
        (["--codecs", "x264", "--input", "CLIP", "--rates", "99"], "qp 99 is outside 1 to 51"),
        (["--codecs", "x264", "--input", "CLIP", "--size", "64x64"], "never resizes"),
        (["--codecs", "x264", "--input", "CLIP", "--pix-fmt", "yuv444p"], "is yuv420p, not yuv444p"),
        (["--codecs", "x264", "--input", "CLIP", "--path", "gone"], "gone"),
    ],
)
def test_what_cannot_run_is_refused_before_any_work(
    vcbench, tmp_path: Path, clips: list[Path], arguments: list[str], says: str
) -> None:
    given = [str(clips[0]) if argument == "CLIP" else argument for argument in arguments]
    done = vcbench("run", *given, "--out", tmp_path / "out")
    assert done.code == 4
    assert says in done.err
    assert not (tmp_path / "out").exists()


def test_raw_video_needs_its_format(vcbench, tmp_path: Path) -> None:
    raw = tmp_path / "clip.yuv"
    raw.write_bytes(bytes(64 * 48 * 3 // 2 * 2))
    done = vcbench("run", "--codecs", "x264", "--input", raw)
    assert done.code == 4
    assert "--size, --pix-fmt and --fps, such as 352x288, yuv420p and 30" in done.err
    format_ = ["--size", "64x48", "--pix-fmt", "yuv420p", "--fps", "30"]
    assert planned(vcbench, "--codecs", "x264", "--input", raw, *format_) == ["clip"]
    wrong = vcbench("run", "--codecs", "x264", "--input", raw, "--size", "64x50", *format_[2:])
    assert wrong.code == 4
    assert str(raw) in wrong.err and "is not a whole number of 64x50" in wrong.err


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(vcbench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    clip = tmp_path / "broken.y4m"
    clip.write_text("not even looked at")
    done = vcbench("run", "--codecs", "x264", "--input", clip, "--out", tmp_path / "file" / "out")
    assert done.code == 4
    assert f"{tmp_path / 'file' / 'out'}: results cannot be written here" in done.err
    assert "choose another --out" in done.err


def test_a_plan_without_cells_is_nothing_to_do(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    done = vcbench("run", "--codecs", "x264", "--input", clips[0], "--rates", ",", "--out", tmp_path / "out", "--json")
    assert done.code == 5
    assert "nothing to do" in done.err
    assert done.json["cells"] == {"ok": 0, "failed": 0, "skipped": 0}


def test_a_failed_cell_exits_with_6_and_json_tells_why(
    vcbench, tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setenv("BROKEN", sys.executable)
    (tmp_path / "codecs").mkdir()
    (tmp_path / "codecs" / "broken.toml").write_text(
        command_card("broken", "BROKEN", ["-c", "import sys; sys.exit('no bits today')"],
                     ["-c", "pass", "{bitstream}", "{output}"])
    )  # fmt: skip
    arguments = ["run", "--codecs", "broken,x264", "--rates", 3, "--input", clips[0], "--metrics", "psnr_y",
                 "--jobs", 1, "--path", tmp_path, "--trust", "--out", tmp_path / "out"]  # fmt: skip
    told = vcbench(*arguments)
    assert told.code == 6
    assert "no bits today" in told.err
    assert told.out.splitlines()[0] == f"2 cells in {tmp_path / 'out'}: 1 ok, 1 failed"
    done = vcbench(*arguments, "--json")
    assert done.code == 6
    assert done.json["cells"] == {"ok": 1, "failed": 1, "skipped": 0}
    (failed,) = done.json["failed"]
    assert failed["reason"] == "exit_status"
    assert "no bits today" in failed["message"]
    assert failed["cell"].startswith("broken_3_")


def test_finished_cells_are_not_run_again(vcbench, measured: Path, clips: list[Path]) -> None:
    before = tree(measured)
    done = vcbench("run", "--codecs", "x264,x265", "--input", *clips, "--metrics", "psnr_y", "--out", measured)
    assert done.code == 0
    assert done.err == "24 cells, 24 measured already\n"
    assert tree(measured) == before


def test_a_damaged_result_is_set_aside_told_of_and_measured_again(
    vcbench, tmp_path: Path, clips: list[Path], measured: Path
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(measured, folder)
    victim = next((folder / "cells").glob("x264_39_*.json"))
    whole, torn = json.loads(victim.read_text()), victim.read_text()[:500]
    victim.write_text(torn)
    arguments = ["run", "--codecs", "x264", "--input", *clips, "--metrics", "psnr_y", "--jobs", 1, "--out", folder]
    done = vcbench(*arguments, "--json")
    assert done.code == 0
    (problem,) = done.json["set_aside"]
    assert str(victim) in problem and "set-aside/" in problem
    (aside,) = (folder / "set-aside").iterdir()
    assert aside.read_text() == torn
    again = json.loads(victim.read_text())
    assert again["bitstream"] == whole["bitstream"]
    assert again["measurements"]["psnr_y"] == whole["measurements"]["psnr_y"]
    assert vcbench(*arguments, "--json").json["set_aside"] == []


def test_a_result_of_a_later_vcbench_is_never_overwritten(
    vcbench, tmp_path: Path, clips: list[Path], measured: Path
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(measured, folder)
    newer = next((folder / "cells").glob("x264_39_*.json"))
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema_version": 2, "unheard_of": 1}))
    before = tree(folder)
    done = vcbench("run", "--codecs", "x264", "--input", *clips, "--metrics", "psnr_y", "--out", folder)
    assert done.code == 4
    assert str(newer) in done.err and "update vcbench" in done.err
    assert tree(folder) == before


def test_the_report_at_the_end_is_named(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    arguments = ["run", "--codecs", "x264", "--input", clips[0], "--metrics", "psnr_y", "--jobs", 1, "--report"]
    done = vcbench(*arguments, "--out", tmp_path / "out")
    page = tmp_path / "out" / "report" / "index.html"
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"report: {page}"
    assert page.read_text(encoding="utf-8").startswith("<!")
    assert vcbench(*arguments, "--out", tmp_path / "out", "--json").json["report"] == str(page)


@pytest.mark.slow
def test_a_metric_that_cannot_run_is_named_before_and_after(
    vcbench, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-cache"))
    arguments = ("run", "--codecs", "x264", "--rates", 30, "--input", clips[0], "--out", tmp_path / "out", "--metrics")
    done = vcbench(*arguments, "psnr_y,lpips_alex")
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if line.startswith("unavailable: lpips_alex: ")]
    assert len(lines) == 2 and "vcbench fetch weights" in lines[0]
    assert lines[0] in vcbench(*arguments, "psnr_y,lpips_alex", "--dry-run").err.splitlines()
    assert vcbench(*arguments, "psnr_y,lpips_alex", "--strict").code == 6
    again = vcbench(*arguments, "psnr_y,lpips_alex", "--json")
    assert again.json["failed_measurements"][0]["status"] == "unavailable"
    assert vcbench(*arguments, "psnr_y").code == 0
