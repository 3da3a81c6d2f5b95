"""The commands that read: compare, measure, ls, validate, fetch, doctor, report."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import program

import bench
from bench.cards import Catalog
from bench.registry import metric_names

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(tmp_path: Path, measured: Path) -> Path:
    """A copy of the result set, to be damaged."""
    return Path(shutil.copytree(measured, tmp_path / "copied"))


def test_compare_prints_the_contracts_object(vcbench, measured: Path) -> None:
    done = vcbench("compare", measured, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y", "--json")
    assert done.code == 0
    overall = done.json["bd_rate"]
    assert {"value", "status", "reason", "overlap", "method", "ci_low", "ci_high"} <= set(overall)
    assert (overall["status"], overall["method"], overall["sequences_total"]) == ("ok", "pchip", 3)
    assert overall["ci_low"] < overall["value"] < overall["ci_high"]
    table = bench.load(measured).to_pandas().query("metric == 'psnr_y'")
    values = []
    for item in done.json["per_sequence"]:
        curves = [
            table[(table["codec"] == codec) & (table["sequence"] == item["sequence"])] for codec in ("x265", "x264")
        ]
        expected = bench.bd_rate(curves[0]["bpp"], curves[0]["value"], curves[1]["bpp"], curves[1]["value"])
        assert item["bd_rate"]["value"] == pytest.approx(expected.value)
        assert item["bd_rate"]["overlap"] == pytest.approx(expected.overlap)
        values.append(expected.value)
    assert overall["value"] == pytest.approx(sum(values) / 3)


def test_compare_prints_a_list_unless_one_comparison_is_named(vcbench, measured: Path) -> None:
    named = vcbench("compare", measured, "--anchor", "x265", "--test", "x264", "--metric", "ssim", "--json").json
    assert (named["anchor"], named["test"], named["metric"]) == ("x265", "x264", "ssim")
    every = vcbench("compare", measured, "--anchor", "x265", "--json").json
    assert [(item["test"], item["metric"]) for item in every] == [("x264", "psnr_y"), ("x264", "ssim")]
    both = vcbench("compare", measured, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y,ssim", "--json").json
    assert [item["metric"] for item in both] == ["psnr_y", "ssim"]
    assert both[1] == named


def test_compare_in_words(vcbench, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # a worker of xdist has it set to its own
    said = vcbench("compare", measured, "--anchor", "x265").out
    assert said.startswith("BD-rate against x265 (preset medium) in % (pchip, mean over sequences); negative: fewer")
    header, values, intervals = said.splitlines()[1:4]
    assert header.split() == ["codec", "psnr_y", "ssim", "(dB)", "encode", "decode"]
    objects = vcbench("compare", measured, "--anchor", "x265", "--json").json
    assert values.split()[0] == "x264"
    for item in objects:
        assert f"{item['bd_rate']['value']:+.2f}" in values
        assert f"3/3 [{item['bd_rate']['ci_low']:+.1f}, {item['bd_rate']['ci_high']:+.1f}]" in intervals
    assert values.split()[-1].endswith("x*") and "*: times measured while other cells ran" in said
    assert "in 75.0% of cases at most" in said


def test_compare_names_a_lead_that_rests_on_metrics_that_can_be_fooled(
    vcbench, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = vcbench("compare", measured, "--anchor", "x265", "--metric", "psnr_y", "--json").json
    test, anchor = ("x264", "x265") if item["bd_rate"]["value"] < 0 else ("x265", "x264")
    asked = ("compare", measured, "--anchor", anchor, "--metric", "psnr_y")
    assert "rests on" not in vcbench(*asked).out
    monkeypatch.setattr("bench.analysis.fooled.FOOLED", {"psnr_y": ("blur",)})
    said = vcbench("compare", measured, "--anchor", anchor, "--metric", "psnr_y").out
    lead = f"the lead of {test} (preset medium) over {anchor} (preset medium) rests on psnr_y (fooled by blur) alone"
    interval = vcbench("compare", measured, "--anchor", anchor, "--metric", "psnr_y", "--json").json[0]["bd_rate"]
    assert (lead in said) == (interval["ci_high"] is None or interval["ci_high"] < 0)


def test_compare_prints_each_sequence_with_what_is_doubtful_about_it(vcbench, measured: Path) -> None:
    arguments = ["compare", measured, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y"]
    said = vcbench(*arguments, "--per-sequence").out
    (item,) = [vcbench(*arguments, "--json").json]
    assert "BD-rate of x264 against x265, psnr_y\n" in said
    assert "all (3/3)" in said and "pchip, per-sequence convention" in said
    for one in item["per_sequence"]:
        rate = one["bd_rate"]
        line = next(line for line in said.splitlines() if line.split()[:1] == [one["sequence"]])
        low, high = rate["compared"]
        assert f"{rate['value']:+.2f}" in line and f"{low:.4g} to {high:.4g} dB" in line
        assert f"{rate['spread'][0]:+.2f} to {rate['spread'][1]:+.2f}" in line
    assert "encode time" in said and "decode time" in said


def test_flags_are_marks_with_a_legend_and_a_remedy(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    bench.run(["x264", "x265"], inputs=clips[0], rates=[22, 27, 32], metrics=["psnr_y"], out=tmp_path / "set")
    said = vcbench("compare", tmp_path / "set", "--anchor", "x265").out
    assert "a curve of three points" in said
    assert "More rate points (vcbench run --rates) make safer curves" in said
    shown = vcbench("compare", tmp_path / "set", "--anchor", "x265", "--json").json
    assert "three_points" in shown[0]["bd_rate"]["flags"]
    refused = vcbench("compare", tmp_path / "set", "--anchor", "x265", "--min-overlap", "100%", "--json").json
    assert (refused[0]["bd_rate"]["value"], refused[0]["per_sequence"][0]["bd_rate"]["cause"]) == (
        None,
        "little_overlap",
    )


def test_compare_takes_poolings_and_scales_by_name(vcbench, measured: Path) -> None:
    arguments = ["compare", measured, "--anchor", "x265", "--test", "x264", "--json", "--metric"]
    lows = vcbench(*arguments, "psnr_y@p5").json
    frame = bench.load(measured).to_pandas(poolings=["p5"])
    expected = bench.compare(frame, "x265", "x264", "psnr_y@p5")
    assert lows["bd_rate"]["value"] == pytest.approx(expected.bd_rate.value)
    mean, linear = (vcbench(*arguments, name).json for name in ("ssim", "ssim:linear"))
    assert abs(mean["bd_metric"]["value"]) > 10 * abs(linear["bd_metric"]["value"])
    assert "unknown pooling of psnr_y 'p6'" in vcbench(*arguments, "psnr_y@p6").err


def test_two_cards_of_one_name_are_told_apart(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    """An edited card gave one curve of both versions."""
    folder = tmp_path / "mine" / "codecs"
    folder.mkdir(parents=True)
    text = Catalog().files("codecs")["x265"].read_text()
    for preset, rates in (("medium", [22, 37]), ("ultrafast", [22, 27, 32, 37])):
        (folder / "x265.toml").write_text(text.replace("medium", preset))
        bench.run("x265", inputs=clips[0], rates=rates, metrics=["psnr_y"], out=tmp_path / "set", paths=folder.parent)
    results = bench.load(tmp_path / "set")
    assert results.codecs == ["x265 #1", "x265 #2"]
    assert "preset" in results.notes[0] or "medium" in results.notes[0]
    done = vcbench("compare", tmp_path / "set", "--anchor", "x265")
    assert done.code == 4
    assert "x265 stands for 2 different cards" in done.err and "'x265 #1', 'x265 #2'" in done.err
    assert vcbench("compare", tmp_path / "set", "--anchor", "x265 #2").code == 0


def test_compare_passes_its_settings_on(vcbench, measured: Path) -> None:
    arguments = ["compare", measured, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y", "--json"]
    overall = vcbench(*arguments, "--method", "akima", "--convention", "mean-curve", "--rate", "kbps", "--hull").json[
        "bd_rate"
    ]
    assert overall["convention"] == "mean-curve"
    assert overall["method"].startswith("akima") and "hull" in overall["method"]


def test_two_result_sets_are_told_apart_by_their_folders(vcbench, measured: Path, copied: Path) -> None:
    done = vcbench("compare", measured, copied, "--anchor", "x265", "--metric", "psnr_y", "--json")
    assert (done.json["anchor"], done.json["test"]) == ("measured:x265", "copied:x265")
    assert done.json["bd_rate"]["value"] == pytest.approx(0, abs=1e-9)
    pairs = vcbench("compare", measured, copied, "--metric", "psnr_y", "--json").json
    assert [pair["test"] for pair in pairs] == ["copied:x264", "copied:x265"]
    crossed = vcbench(
        "compare", measured, copied, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y", "--json"
    ).json
    alone = vcbench("compare", measured, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y", "--json").json
    assert crossed["bd_rate"]["value"] == pytest.approx(alone["bd_rate"]["value"])


def test_two_folders_of_one_name_are_told_apart_by_their_paths(vcbench, tmp_path: Path, measured: Path) -> None:
    twin = Path(shutil.copytree(measured, tmp_path / "measured"))
    done = vcbench("compare", measured, twin, "--anchor", "x265", "--metric", "psnr_y", "--json")
    assert (done.json["anchor"], done.json["test"]) == (f"{measured}:x265", f"{twin}:x265")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs --anchor"),
        (["--anchor", "x266"], "did you mean x265, x264?"),
        (["--anchor", "x265", "--test", "vvenc"], "unknown codec in"),
        (["--anchor", "x265", "--metric", "vmaf"], "unknown metric 'vmaf'; there are: psnr_y, ssim"),
        (["--anchor", "x265", "--metric", "psnr"], "unknown metric 'psnr'"),
        (["--anchor", "x265", "--dataset", "uvg"], "unknown dataset of these results 'uvg'; there are: input"),
        (["SAME", "--anchor", "x265"], "is given twice"),
        (["SAME", "SAME"], "one result folder or two"),
    ],
)
def test_compare_refuses(vcbench, measured: Path, arguments: list[str], says: str) -> None:
    done = vcbench("compare", measured, *[measured if argument == "SAME" else argument for argument in arguments])
    assert done.code == 4
    assert says in done.err


def test_a_folder_that_is_no_result_set_is_named(vcbench, tmp_path: Path) -> None:
    for command in (["compare", tmp_path, "--anchor", "x265"], ["report", tmp_path]):
        done = vcbench(*command)
        assert done.code == 4
        assert f"{tmp_path}: is not a result set" in done.err


@pytest.mark.slow
def test_what_cannot_be_read_is_told_by_every_reader(vcbench, copied: Path) -> None:
    torn = next((copied / "cells").glob("x264_27_*.json"))
    torn.write_text('{"schema_version": 1, "value": NaN}')
    compared = vcbench("compare", copied, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y", "--json")
    assert str(torn) in compared.err
    assert any(str(torn) in warning for warning in compared.json["warnings"])
    reported = vcbench("report", copied, "--pictures", 0, "--json")
    assert [str(torn) in problem for problem in reported.json["problems"]] == [True]
    assert str(torn) in vcbench("report", copied, "--pictures", 0).err
    (listed,) = vcbench("ls", "results", copied, "--json").json
    assert (listed["available"], listed["ok"]) == (False, 23)
    assert str(torn) in listed["reason"]
    assert f"1 file cannot be read; vcbench validate {copied}" in vcbench("ls", "results", copied).out
    validated = vcbench("validate", copied)
    assert validated.code == 4
    assert str(torn) in validated.out


def test_an_undefined_comparison_says_why_once_a_sequence(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    bench.run(["x264", "x265"], inputs=clips[0], rates=[22, 37], metrics=["psnr_y"], out=tmp_path / "set")
    arguments = ["compare", tmp_path / "set", "--anchor", "x265", "--test", "x264", "--metric", "psnr_y"]
    overall = vcbench(*arguments, "--json").json["bd_rate"]
    assert (overall["value"], overall["status"]) == (None, "undefined")
    assert "2 points" in overall["reason"]
    assert vcbench(*arguments).out.count("2 points") == 1


def test_measure_counts_frames_and_keeps_infinity_in_strict_json(vcbench, clips: list[Path]) -> None:
    done = vcbench("measure", clips[0], clips[0], "--metrics", "psnr_y,ssim,ms_ssim", "--json")
    assert done.code == 0
    (row,) = done.json
    assert (row["file"], row["status"], row["frames"]) == (str(clips[0]), "ok", 9)
    assert row["measurements"]["psnr_y"]["value"] == "Infinity"
    assert row["measurements"]["psnr_y"]["pooled"]["mean_capped"] == pytest.approx(99.9)
    assert row["measurements"]["ssim"]["value"] == pytest.approx(1)
    assert row["measurements"]["ms_ssim"]["status"] == "undefined"
    said = vcbench("measure", clips[0], clips[0], "--metrics", "psnr_y,ssim,ms_ssim").out
    assert "inf" in said and "1.0000" in said and "undefined" in said


def test_measure_gives_the_values_of_the_run(vcbench, measured: Path, clips: list[Path]) -> None:
    for cell in bench.load(measured).cells[:4]:
        source = next(clip for clip in clips if clip.stem == cell.sequence.name)
        stream = measured / "bitstreams" / cell.bitstream.file
        (row,) = vcbench("measure", source, stream, "--metrics", "psnr_y,ssim", "--json").json
        for name, stored in cell.measurements.items():
            assert row["measurements"][name]["value"] == stored.value


def test_a_file_that_does_not_fit_is_named_and_the_others_are_measured(vcbench, clips: list[Path]) -> None:
    done = vcbench("measure", clips[0], clips[1], clips[0], "--metrics", "psnr_y", "--json")
    assert done.code == 6
    bad, good = done.json
    assert bad["status"] == "failed"
    assert str(clips[1]) in bad["reason"] and "80x96, expected 96x80" in bad["reason"]
    assert good["status"] == "ok"
    assert "failed" in vcbench("measure", clips[0], clips[1], "--metrics", "psnr_y").out


def test_ls_codecs_keeps_its_contract(vcbench) -> None:
    rows = {row["name"]: row for row in vcbench("ls", "codecs", "--json").json}
    assert {"x264", "x265", "x265-ldp-fast", "vvenc", "svt-av1", "libaom", "vp9"} <= set(rows)
    for row in rows.values():
        assert {"name", "adapter", "available", "reason", "rate_points"} <= set(row)
        assert (row["reason"] is None) == row["available"]
    assert rows["x264"]["available"]
    assert (rows["x264"]["adapter"], rows["x264"]["rate_points"]) == ("ffmpeg", [27, 31, 35, 39])
    assert rows["x264"]["rate_points_by_bit_depth"] == {"10": [39, 43, 47, 51]}


def test_ls_codecs_shows_what_a_named_codec_is_made_of(vcbench, tmp_path: Path) -> None:
    (row,) = vcbench("ls", "codecs", "x265@low-delay", "--json").json
    assert (row["name"], row["available"]) == ("x265@low-delay", True)
    files = {file["role"]: file for file in row["identity"]["files"]}
    assert files["ffmpeg"]["sha256"] == row["identity"]["tool"]["ffmpeg_sha256"]
    assert Path(files["ffmpeg"]["path"]).is_file()
    (tmp_path / "codecs").mkdir()
    (tmp_path / "codecs" / "mine.py").write_text("import helper\n")
    card = Catalog().find("codecs", "x264").read_text().replace('name = "x264"', 'name = "mine"')
    (tmp_path / "codecs" / "mine.toml").write_text(card.replace('"ffmpeg"', '"mine.py:Mine"'))
    assert "give --trust if you trust that file" in vcbench("ls", "codecs", "mine", "--path", tmp_path).out
    assert "ls datasets takes no names" in vcbench("ls", "datasets", "uvg").err


def test_a_card_is_read_in_a_folder_with_an_at_in_its_name(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    """Every command cut the path there, and took the rest for a configuration."""
    folder = tmp_path / "dir@lab"
    folder.mkdir()
    text = Catalog().files("codecs")["x264"].read_text().replace('name = "x264"', 'name = "mine"')
    (folder / "mine.toml").write_text(f"{text}\n[configurations.fast]\nsettings = {{}}\n")
    broken = tmp_path / "broken.y4m"
    broken.write_bytes(b"YUV4MPEG2 no more")
    for named, name in ((f"{folder}/mine.toml", "mine"), (f"{folder}/mine.toml@fast", "mine@fast")):
        planned = vcbench("run", "--codecs", named, "--input", clips[0], "--metrics", "psnr_y", "--dry-run", "--json")
        assert {cell["codec"] for cell in planned.json["cells"]} == {name}
        (row,) = vcbench("ls", "codecs", named, "--json").json
        assert (row["name"], row["available"]) == (name, True)
        assert row["identity"]["card"]["sha256"]
        assert f"{named}: needs no weights" in vcbench("fetch", "weights", named).err
        assert f"{broken}: " in vcbench("validate", "--run", named, "--input", broken).err


def test_a_codec_that_is_not_here_has_the_reason(vcbench, tmp_path: Path) -> None:
    (tmp_path / "codecs").mkdir()
    card = Catalog().find("codecs", "x264").read_text()
    (tmp_path / "codecs" / "other.toml").write_text(
        card.replace('name = "x264"', 'name = "other"').replace('"libx264"', '"libnowhere"')
    )
    (tmp_path / "codecs" / "wrong.toml").write_text('name = "wrong"\nadapter = "ffmpeg"\n')
    rows = {row["name"]: row for row in vcbench("ls", "codecs", "--path", tmp_path, "--json").json}
    assert not rows["other"]["available"] and "libnowhere" in rows["other"]["reason"]
    assert not rows["wrong"]["available"] and "wrong.toml" in rows["wrong"]["reason"]
    assert rows["x265"]["available"]
    told = vcbench("doctor", "--path", tmp_path).out
    assert "--  other: " in told and "libnowhere" in told


def test_long_reasons_are_short_in_the_table_and_whole_in_json(vcbench) -> None:
    table = vcbench("ls", "datasets").out
    assert "no: 0 of 30 here; vcbench fetch mcl-jcv" in table
    assert max(map(len, table.splitlines())) < 200
    rows = {row["name"]: row for row in vcbench("ls", "datasets", "--json").json}
    assert "https://" in rows["mcl-jcv"]["reason"]
    assert rows["quickstart"]["available"]


def test_ls_metrics_and_results(vcbench, measured: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [row["name"] for row in vcbench("ls", "metrics", "--json").json] == metric_names()
    (row,) = vcbench("ls", "results", measured, "--json").json
    assert (row["cells"], row["ok"], row["failed"], row["codecs"]) == (24, 24, 0, ["x264", "x265"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "notes.txt").write_text("no result set")
    shutil.copytree(measured, tmp_path / "results" / "mine")
    assert [row["folder"] for row in vcbench("ls", "results", "--json").json] == ["results/mine"]
    assert vcbench("ls", "codecs", tmp_path).code == 4


def test_validate_names_the_file_the_key_and_the_remedy(vcbench, tmp_path: Path) -> None:
    assert vcbench("validate").code == 0
    card = tmp_path / "mine.toml"
    card.write_text(Catalog().find("codecs", "x264").read_text().replace('"x264"', '"mine"', 1) + "\nspeed = 3\n")
    done = vcbench("validate", card, "--json")
    assert done.code == 4
    (row,) = done.json
    assert (row["kind"], row["valid"]) == ("codecs", False)
    assert str(card) in row["problems"][0] and "speed" in row["problems"][0] and "remove it" in row["problems"][0]


@pytest.mark.parametrize("kind", ["codecs", "datasets", "results"])
def test_schemas_are_printed(vcbench, kind: str) -> None:
    schema = vcbench("validate", "--schema", kind).json
    assert schema["type"] == "object"
    assert schema["properties"]


@pytest.mark.parametrize("target", ["gone.toml", "gone"])
def test_validate_refuses_what_is_not_there(vcbench, target: str) -> None:
    done = vcbench("validate", target)
    assert done.code == 4
    assert target in done.err


def test_validate_finds_changed_and_missing_files(vcbench, copied: Path) -> None:
    changed, missing, values = (cell for cell in bench.load(copied).cells[:3])
    (copied / "bitstreams" / changed.bitstream.file).write_bytes(b"cut")
    (copied / "bitstreams" / missing.bitstream.file).unlink()
    (copied / "frames" / f"{values.name}.parquet").unlink()
    done = vcbench("validate", copied, "--json")
    assert done.code == 4
    (row,) = done.json
    assert [
        cell.name in problem for cell, problem in zip((changed, missing, values), row["problems"], strict=True)
    ] == [True] * 3


def test_fetch_says_what_to_do_by_hand(vcbench) -> None:
    done = vcbench("fetch", "hevc-b")
    assert done.code == 4
    assert "cannot be fetched" in done.err and "BasketballDrive_1920x1080_50.yuv" in done.err


def test_fetch_makes_the_embedded_dataset(vcbench, tmp_path: Path) -> None:
    (row,) = vcbench("fetch", "quickstart", "--sequences", "cat", "--to", tmp_path, "--json").json
    assert row["sequence"] == "cat"
    assert Path(row["path"]).is_file() and Path(row["path"]).is_relative_to(tmp_path)


def test_doctor_fails_without_ffmpeg_and_says_what_to_do(vcbench) -> None:
    assert vcbench("doctor").code == 0
    # which FFmpeg it is, is looked up once in a process
    done = program("doctor", "--json", env={**os.environ, "VCBENCH_FFMPEG": "/nowhere/ffmpeg"})
    assert done.returncode == 4, done.stderr
    told = json.loads(done.stdout)
    (row,) = (row for row in told["machine"] if row["name"] == "ffmpeg")
    assert not row["available"]
    assert "/nowhere/ffmpeg" in row["reason"]
    assert {row["adapter"] for row in told["codecs"] if row["available"]} <= {"neural"}


@pytest.mark.slow
def test_report_writes_where_it_is_told(vcbench, measured: Path, tmp_path: Path) -> None:
    given = ["--anchor", "x264", "--metrics", "ssim", "--title", "T", "--pictures", 0]
    done = vcbench("report", measured, "-o", tmp_path / "page", *given)
    assert done.code == 0
    assert done.out == f"report: {tmp_path / 'page' / 'index.html'}\n"
    assert "<title>T" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    wrong = vcbench("report", measured, "-o", tmp_path / "other", "--anchor", "x266")
    assert wrong.code == 4
    assert "did you mean" in wrong.err


@pytest.mark.slow
def test_results_with_infinite_values_survive_every_reader(vcbench, tmp_path: Path, run_ffmpeg) -> None:
    """Grey frames are coded without loss, the picture after them is not."""
    clip = tmp_path / "half.y4m"
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=gray:size=96x80:rate=25", "-f", "lavfi", "-i", "testsrc2=size=96x80:rate=25",
        "-filter_complex", "[0]trim=end_frame=2,format=yuv420p[a];[1]trim=end_frame=3,format=yuv420p[b];[a][b]concat",
        "-frames:v", 5, clip,
    )  # fmt: skip
    folder = tmp_path / "set"
    arguments = ["run", "--codecs", "x264,x265", "--input", clip, "--metrics", "psnr_y,psnr_yuv", "--jobs", 1]
    arguments += ["--rates", "22,27,32,37"]
    ran = vcbench(*arguments, "--out", folder, "--report", "--json")
    assert ran.code == 0, ran.err
    results = bench.load(folder)
    assert results.problems == []
    table = results.to_pandas()
    assert set(table["value"]) == {float("inf")}
    assert table["value_capped"].between(30, 99.9).all()
    for cell in (folder / "cells").glob("*.json"):
        stored = json.loads(cell.read_text(), parse_constant=pytest.fail)
        assert stored["measurements"]["psnr_y"]["value"] == "Infinity"
    frames = results.frames("psnr_y")
    assert (frames["value"] == float("inf")).groupby(frames["frame"]).all().tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]
    compared = vcbench("compare", folder, "--anchor", "x265", "--test", "x264", "--metric", "psnr_y", "--json")
    assert compared.json["bd_rate"]["status"] == "ok"
    assert any("lossless" in warning for warning in compared.json["warnings"])


@pytest.mark.parametrize("kind", ["codecs", "datasets", "metrics", "sets", "published"])
def test_lists_fit_100_columns_and_name_everything(vcbench, kind: str) -> None:
    lines = vcbench("ls", kind).out.splitlines()
    assert 60 < max(map(len, lines)) <= 100
    first = {line.split()[0].rstrip(":") for line in lines if line.strip()}
    assert {row["name"] for row in vcbench("ls", kind, "--json").json} <= first


def test_a_metric_that_is_named_shows_its_definition_and_variants(vcbench) -> None:
    out = vcbench("ls", "metrics", "psnr_y", "lpips_alex").out
    assert "10 log10(peak^2 / MSE)" in out and "measured by default" in out
    assert "  psnr_y:apsnr: APSNR of luma (AOM)\n" in out
    assert max(map(len, out.splitlines())) <= 100
    refused = vcbench("ls", "metrics", "psnr_q")
    assert (refused.code, "did you mean psnr_y" in refused.err) == (4, True)


def test_codecs_are_listed_by_kind(vcbench) -> None:
    done = vcbench("ls", "codecs")
    assert [line for line in done.out.splitlines() if line.startswith("classical, ")]
    assert {row["kind"] for row in vcbench("ls", "codecs", "--kind", "diffusion", "--json").json} == {"diffusion"}
    refused = vcbench("ls", "metrics", "--kind", "diffusion")
    assert (refused.code, "--kind is for ls codecs" in refused.err) == (4, True)


def test_a_codec_that_is_named_shows_its_card_whole(vcbench) -> None:
    out = vcbench("ls", "codecs", "x264@low-delay").out
    card = Catalog().find("codecs", "x264").read_text(encoding="utf-8")
    assert all(line in out for line in card.splitlines())


def test_a_path_that_is_not_there_has_a_remedy(vcbench, measured: Path, clips: list[Path]) -> None:
    near = vcbench("status", measured.with_name("measurde"))
    assert near.code == 4
    assert f"{measured.with_name('measurde')}: there is no such folder; did you mean measured?" in near.err
    deep = vcbench("report", measured.parent / "gone" / "set")
    assert f"there is no such folder; {measured.parent} has no 'gone' in it" in deep.err
    file = vcbench("compare", clips[0], "--anchor", "x265")
    assert "is a file, and a folder is needed here; name its folder" in file.err
    listed = vcbench("measure", clips[0], clips[0].with_name("zzz"), "--json")
    assert listed.json["error"]["type"] == "UsageError"
    assert f"there is no such file or folder; {clips[0].parent.resolve()} has " in listed.err


def test_a_metric_without_weights_fails_a_measure_only_where_that_is_asked_for(
    vcbench, clips: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-cache"))
    arguments = ["measure", clips[0], clips[0], "--metrics", "ssim,lpips_alex"]
    done = vcbench(*arguments, "--json")
    assert (done.code, done.json[0]["status"]) == (0, "ok")
    assert done.json[0]["measurements"]["lpips_alex"]["status"] == "unavailable"
    assert vcbench(*arguments, "--strict").code == 6
