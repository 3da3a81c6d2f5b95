"""Result files and result sets: rows, tables, per-frame values, and files that are not what they should be."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import bench
from bench.errors import StoreError, UsageError
from bench.records.cell import CellResult, MeasurementRecord, NewerSchemaError, parse_cell, read_cell

CONTRACT = [
    "codec", "rate", "dataset", "sequence", "frames", "width", "height", "fps", "bytes", "bpp", "kbps", "rate_kind",
    "metric", "value", "status", "reason", "encode_s", "decode_s",
]  # fmt: skip


def cell(**changes: Any) -> dict[str, Any]:
    """A result file's content, hand-made: 10 frames of 64x48 at 30000/1001 in 1500 bytes."""
    cost = {"seconds": 0.5, "cpu_s": 0.4, "peak_rss_bytes": 1000, "timing": "shared"}
    data: dict[str, Any] = {
        "name": "c_1_s_0",
        "key": "0" * 64,
        "status": "ok",
        "codec": {"name": "c", "title": "C", "kind": "classical", "rate_kind": "estimate", "card": {}, "tool": {}},
        "rate": {"parameter": "qp", "value": 1},
        "sequence": {
            "name": "s", "dataset": "d", "file": "s.y4m", "sha256": "0" * 64, "start": 0, "frames": 10, "width": 64,
            "height": 48, "fps": "30000/1001", "pix_fmt": "yuv420p", "matrix": "bt709", "full_range": False,
            "siting": "left", "conversion": None,
        },
        "bitstream": {"file": "c.bin", "bytes": 1500, "sha256": "0" * 64},
        "encode": cost,
        "decode": {**cost, "seconds": 0.25, "timing": "alone"},
        "measurements": {
            "psnr_y": {"key": "d" * 64, "status": "ok", "value": "Infinity", "pooled": {"mean_capped": 99.9},
                       "provenance": {"pooling": "mean"}},
            "vmaf": {"key": "d" * 64, "status": "undefined", "reason": "too small"},
        },
    }  # fmt: skip
    return {**data, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A result set with one hand-made cell."""
    (tmp_path / "cells").mkdir()
    write(tmp_path, cell())
    return tmp_path


def write(folder: Path, data: dict[str, Any] | str | bytes, name: str = "c_1_s_0") -> Path:
    path = folder / "cells" / f"{name}.json"
    content = json.dumps(data) if isinstance(data, dict) else data
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_columns_begin_with_the_contracts_in_its_order(folder: Path) -> None:
    assert list(bench.load(folder).to_pandas().columns)[: len(CONTRACT)] == CONTRACT


def test_a_row_for_each_metric(folder: Path) -> None:
    table = bench.load(folder).to_pandas()
    assert list(table["metric"]) == ["psnr_y", "vmaf"]
    first, second = table.to_dict("records")
    assert first["bytes"] == 1500
    assert first["bpp"] == pytest.approx(8 * 1500 / (10 * 64 * 48))
    assert first["kbps"] == pytest.approx(8 * 1500 / (10 * 1001 / 30000) / 1000)
    assert first["fps"] == pytest.approx(29.97002997)
    assert (first["encode_s"], first["decode_s"], first["timing"]) == (0.5, 0.25, "alone")
    assert (first["rate_kind"], first["parameter"], first["pooling"]) == ("estimate", "qp", "mean")
    assert first["value"] == math.inf
    assert first["value_capped"] == 99.9
    assert (second["status"], second["reason"]) == ("undefined", "too small")
    assert math.isnan(second["value"])


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_cell_without_measurements_has_one_row_with_the_reason(folder: Path, status: str) -> None:
    changes = {"bitstream": None, "encode": None, "decode": None, "measurements": {}}
    write(folder, cell(status=status, reason="timeout", message="ran past 3 s", **changes))
    (row,) = bench.load(folder).to_pandas().to_dict("records")
    assert (row["status"], row["reason"]) == (status, "timeout: ran past 3 s")
    assert (row["codec"], row["rate"], row["sequence"]) == ("c", 1, "s")
    assert row["metric"] is None
    assert row["bytes"] is None and row["bpp"] is None and row["kbps"] is None


def test_a_table_without_cells_still_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    table = bench.load(tmp_path).to_pandas()
    assert len(table) == 0
    assert list(table.columns)[: len(CONTRACT)] == CONTRACT


def test_infinite_values_are_strings_in_the_file_and_numbers_in_memory() -> None:
    loaded = CellResult.model_validate(cell())
    text = loaded.model_dump_json()
    assert json.loads(text, parse_constant=pytest.fail)["measurements"]["psnr_y"]["value"] == "Infinity"
    assert parse_cell(text, "here") == loaded
    assert loaded.measurements["psnr_y"].value == math.inf


def test_a_result_cannot_hold_what_is_not_a_number() -> None:
    with pytest.raises(ValidationError, match="is not a number"):
        MeasurementRecord(key="d" * 64, status="ok", value=math.nan)
    with pytest.raises(ValidationError, match="is not a number"):
        MeasurementRecord(key="d" * 64, status="ok", value=1.0, pooled={"mean": math.nan})


NAN = json.dumps(cell()).replace('"Infinity"', "NaN")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "is not strict JSON", id="empty"),
        pytest.param(json.dumps(cell())[:400], "is not strict JSON", id="cut"),
        pytest.param(b"\xff\xfe\x00\x01", "not UTF-8 at byte 0", id="binary"),
        pytest.param("[" * 100_000, "is not strict JSON", id="nested"),
        pytest.param("[]", "is not a result file", id="list"),
        pytest.param("{}", "is not a result file", id="no keys"),
        pytest.param(NAN, "NaN is not JSON", id="NaN"),
        pytest.param(NAN.replace("NaN", '"NaN"'), "measurements.psnr_y.value: is not a number", id="NaN as text"),
        pytest.param(cell(speed=1), "speed: ", id="unknown key"),
        pytest.param(cell(bitstream={"file": "../../x", "bytes": 1, "sha256": "0"}), "bitstream.file", id="traversal"),
        pytest.param(cell(name="other"), "holds the cell other", id="renamed"),
        pytest.param(cell(schema_version=2, unheard_of=[]), "schema version 2, this vcbench reads up to 1", id="newer"),
        pytest.param(cell(schema_version=0), "schema_version", id="version 0"),
        pytest.param(cell(schema_version="1"), "schema_version", id="version as text"),
    ],
)
def test_a_file_that_is_wrong_is_left_out_and_named(folder: Path, content: Any, says: str) -> None:
    path = write(folder, content, "wrong" if not isinstance(content, dict) else "c_1_s_0")
    write(folder, cell(name="c_1_s_1"), "c_1_s_1")
    results = bench.load(folder)
    assert "c_1_s_1" in {found.name for found in results.cells}
    (problem,) = results.problems
    assert str(path) in problem
    assert says in problem
    with pytest.raises(StoreError):
        read_cell(path)


def test_a_newer_file_has_an_error_of_its_own(folder: Path) -> None:
    path = write(folder, cell(schema_version=2))
    with pytest.raises(NewerSchemaError, match="update vcbench"):
        read_cell(path)


def test_a_file_that_cannot_be_opened_is_named(folder: Path) -> None:
    (folder / "cells" / "folder.json").mkdir()
    results = bench.load(folder)
    assert len(results.cells) == 1
    assert results.problems == [f"{folder / 'cells' / 'folder.json'}: is a folder, where a file is expected; remove it"]


def test_a_folder_that_is_no_result_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no folder cells/"):
        bench.load(tmp_path)
    with pytest.raises(StoreError, match="no folder cells/"):
        bench.load(tmp_path / "gone")


def test_one_clip_under_two_names_keeps_both_cells(folder: Path) -> None:
    twin = cell(name="c_1_t_0", sequence={**cell()["sequence"], "name": "t"})
    write(folder, twin, "c_1_t_0")
    assert {found.sequence.name for found in bench.load(folder).cells} == {"s", "t"}


def test_a_cell_of_several_folders_is_taken_from_the_first(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "cells").mkdir()
    write(other, cell(bitstream={"file": "c.bin", "bytes": 3000, "sha256": "0" * 64}))
    write(other, cell(name="c_2_s_1", key="1" * 64), "c_2_s_1")
    results = bench.load(folder, other)
    assert [(found.name, found.bitstream.bytes) for found in results.cells] == [("c_1_s_0", 1500), ("c_2_s_1", 1500)]
    assert bench.load(other, folder).cells[0].bitstream.bytes == 3000


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_clip) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "measured"
    bench.run("x264", inputs=tiny_clip(), metrics=["psnr_y", "ewarp"], rates=[30, 40], frames=5, out=folder)
    return folder


def test_frames_gives_a_row_for_each_frame(measured: Path) -> None:
    results = bench.load(measured)
    frames = results.frames("psnr_y")
    assert list(frames.columns) == ["codec", "rate", "dataset", "sequence", "frame", "value"]
    assert len(frames) == 2 * 5
    means = frames.groupby("rate")["value"].mean()
    for found in results.cells:
        assert means[found.rate.value] == pytest.approx(found.measurements["psnr_y"].value)


def test_a_frame_without_a_value_is_not_a_zero(measured: Path) -> None:
    frames = bench.load(measured).frames("ewarp")
    assert frames["value"].isna().groupby(frames["frame"]).all().tolist() == [True, False, False, False, False]


def test_frames_of_a_metric_that_was_not_measured_names_those_that_were(measured: Path) -> None:
    with pytest.raises(UsageError, match="'vmaf' here; measured are: ewarp, psnr_y"):
        bench.load(measured).frames("vmaf")


def test_a_moved_result_set_is_whole(measured: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(measured, tmp_path / "with space")
    here, there = bench.load(measured), bench.load(moved)
    assert there.to_pandas().equals(here.to_pandas())
    assert there.frames("psnr_y").equals(here.frames("psnr_y"))


def test_damaged_per_frame_values_are_named(measured: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(measured, tmp_path / "copy"))
    path = next((copy / "frames").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match=path.name):
        bench.load(copy).frames("psnr_y")
