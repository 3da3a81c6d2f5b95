"""The public names of the package, and the main job as a call."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

import bench
from bench.errors import StoreError, UnknownNameError, UsageError


def test_all_is_sorted_and_everything_in_it_is_there() -> None:
    assert bench.__all__ == sorted(bench.__all__)
    assert set(bench.__all__) <= set(dir(bench))
    for name in bench.__all__:
        assert getattr(bench, name) is not None


def test_public_callables_are_documented() -> None:
    for name in bench.__all__:
        found = getattr(bench, name)
        if callable(found):
            assert inspect.getdoc(found), name


def test_an_attribute_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'encode'"):
        bench.encode  # noqa: B018


def test_run_has_every_setting_of_the_command_line() -> None:
    from bench.cli.run import command

    # to_pandas, engine.plan and bench.report do these; strict is about the exit code alone
    of_the_shell = {"json_output", "dry_run", "report", "strict", "quiet", "verbose"}
    options = {str(parameter.name) for parameter in command.params} - of_the_shell
    parameters = set(inspect.signature(bench.run).parameters)
    assert options <= parameters
    assert parameters - options == {"progress"}


def test_options_are_settings_read_once(tmp_path: Path, tiny_clip, monkeypatch: pytest.MonkeyPatch) -> None:
    options = bench.RunOptions(
        "x264", inputs=str(tiny_clip()), metrics="psnr_y", rates=[40], frames=2, copy_inputs=True
    )
    assert (options.codecs, options.inputs, options.rates) == (("x264",), (tiny_clip(),), (40,))
    asked = []
    monkeypatch.setattr("bench.engine.run.run", lambda planned, **how: asked.append(how["options"]) or [])
    settings = {field.name: getattr(options, field.name) for field in fields(options)}
    for given, more in ((options, {}), (settings.pop("codecs"), settings)):
        bench.run(given, out=tmp_path / "out", **more)
    assert asked == [options, options]


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(UsageError, match="--size, --fps: only for clips given by --input"):
        bench.RunOptions("x264", datasets="quickstart", size="64x64", fps=25)
    with pytest.raises(UsageError, match="--sequences selects sequences"):
        bench.RunOptions("x264", inputs="clip.y4m", sequences="akiyo")
    with pytest.raises(UsageError, match="unknown BD method"):
        bench.CompareOptions(method="spline")
    with pytest.raises(UsageError, match="min_overlap is 75"):
        bench.CompareOptions(min_overlap=75)
    with pytest.raises(TypeError, match="codec_"):
        bench.run("x264", inputs="clip.y4m", codec_=1, out="out")


def test_run_measures_and_loads(tmp_path: Path, tiny_clip) -> None:
    seen = []
    results = bench.run(
        "x264",
        inputs=tiny_clip(),
        metrics="psnr_y",
        rates=[30, 40],
        frames=4,
        out=tmp_path / "out",
        progress=seen.append,
    )
    assert [(item.done, item.total) for item in seen] == [(0, 2), (1, 2), (2, 2)]
    assert seen[0].result is None
    assert seen[2].result in results.cells
    assert sorted(cell.rate.value for cell in results.cells) == [30, 40]
    assert {cell.sequence.frames for cell in results.cells} == {4}
    assert results.problems == []
    assert results.metrics == ["psnr_y"]
    table = results.to_pandas().sort_values("rate")
    assert table["bpp"].is_monotonic_decreasing and table["value"].is_monotonic_decreasing


def test_run_reads_raw_video_and_starts_where_it_is_told(tmp_path: Path, tiny_clip, run_ffmpeg) -> None:
    clip = tiny_clip()
    raw = tmp_path / "clip.yuv"
    run_ffmpeg("-i", clip, "-f", "rawvideo", raw)
    shared = {"metrics": ["psnr_y"], "rates": [30], "start": 3, "frames": 4}
    of_raw = bench.run(["x264"], inputs=[raw], size="64x64", pix_fmt="yuv420p", fps=25, out=tmp_path / "raw", **shared)
    of_y4m = bench.run(["x264"], inputs=[clip], out=tmp_path / "y4m", **shared)
    (a,), (b,) = of_raw.cells, of_y4m.cells
    assert a.bitstream.sha256 == b.bitstream.sha256
    assert a.measurements["psnr_y"].value == b.measurements["psnr_y"].value
    assert (a.sequence.start, a.sequence.frames) == (3, 4)


def test_run_refuses_before_any_work(tmp_path: Path, tiny_clip) -> None:
    with pytest.raises(UnknownNameError, match="did you mean x264"):
        bench.run("x2644", inputs=tiny_clip(), out=tmp_path / "out")
    with pytest.raises(UsageError, match="no video is named"):
        bench.run("x264", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="results cannot be written here"):
        bench.run("x264", inputs=tiny_clip(), out=tmp_path / "file")


def test_a_damaged_file_is_set_aside_and_named(tmp_path: Path, tiny_clip) -> None:
    settings = {"inputs": tiny_clip(), "metrics": "psnr_y", "rates": [30], "frames": 2, "out": tmp_path / "out"}
    first = bench.run("x264", **settings)
    path = tmp_path / "out" / "cells" / f"{first.cells[0].name}.json"
    path.write_bytes(path.read_bytes()[:100])
    second = bench.run("x264", **settings)
    assert second.cells[0].bitstream == first.cells[0].bitstream
    assert len(second.problems) == 1
    assert str(path) in second.problems[0] and "set aside as set-aside/" in second.problems[0]
    assert bench.run("x264", **settings).problems == []


def test_bd_rate_of_equal_curves_at_half_the_rate() -> None:
    rates, quality = [1.0, 0.6, 0.3, 0.1], [42.0, 39.0, 36.0, 33.0]
    result = bench.bd_rate(rates, quality, [rate / 2 for rate in rates], quality)
    assert result.value == pytest.approx(-50)
    assert (result.status, result.reason, result.method) == ("ok", None, "pchip")
    assert result.overlap == pytest.approx(1)
    falling = bench.bd_rate(rates, [1, 2, 3, 4], [rate / 2 for rate in rates], [1, 2, 3, 4], higher_is_better=False)
    assert falling.value == pytest.approx(-50)
    undefined = bench.bd_rate(rates[:2], quality[:2], rates[:2], quality[:2])
    assert (undefined.value, undefined.status) == (None, "undefined")
    assert undefined.reason


@pytest.mark.slow
def test_compare_takes_the_table_of_a_result_set(tmp_path: Path, tiny_clip) -> None:
    clips = [tiny_clip(noise=noise) for noise in (4, 8, 12)]
    table = bench.run(["x264", "x265"], inputs=clips, metrics="psnr_y", out=tmp_path / "out").to_pandas()
    result = bench.compare(table, "x265", "x264", "psnr_y", higher_is_better=True)
    assert (result.anchor, result.test, result.metric) == ("x265", "x264", "psnr_y")
    assert len(result.per_sequence) == 3
    assert result.bd_rate.sequences_total == 3


def test_score_takes_texts_and_paths(tiny_clip) -> None:
    clip = tiny_clip()
    (measured,) = bench.score(str(clip), clip, "psnr_y")
    assert (measured.metric, measured.status, measured.value) == ("psnr_y", "ok", float("inf"))
