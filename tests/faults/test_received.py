"""Result sets that others made: what their files may say, name and be, and that one bad set stops no board."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.lib import format as npy

import bench
from bench.core.untrusted import parse_json, read_features, read_frames
from bench.engine.verify.origin import source_clip
from bench.errors import MediaError, StoreError, UnavailableError
from bench.records.cell import read_cell
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow

MEMORY = 600 << 20
"""Bytes of address space that reading a hostile set may take beyond what the process has: no bomb fits in."""


@pytest.fixture
def submission(measured: Path, tmp_path: Path) -> Path:
    """A copy of a result set, to be tampered with."""
    return Path(shutil.copytree(measured, tmp_path / "submission"))


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    for path in (folder / "cells").glob("*.json"):
        cell = json.loads(path.read_text())
        edit(cell)
        path.write_text(json.dumps(cell))


def playlist_of(kind: str, private: Path, folder: Path) -> Path:
    """A file that names a video elsewhere."""
    texts = {
        "clip.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:0.12,\n{private}\n#EXT-X-ENDLIST\n",
        "clip.txt": f"ffconcat version 1.0\nfile {os.path.relpath(private, folder)}\n",
        "clip.mp4": f"ffconcat version 1.0\nfile {os.path.relpath(private, folder)}\n",
    }
    path = folder / kind
    path.write_text(texts[kind])
    return path


def test_no_path_of_a_result_file_is_opened(
    vcbench, submission: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    """A video of whoever builds the report is on the command line that a stranger's result file states."""
    private = tmp_path / "private.y4m"
    run_ffmpeg("-f", "lavfi", "-i", "smptebars=size=64x48:rate=25", "-frames:v", "3", "-pix_fmt", "yuv420p", private)
    clip = open_sequence(private)

    def point(cell: dict[str, Any]) -> None:
        identity = {key: value for key, value in clip.identity().items() if key != "size"}
        cell["sequence"].update(identity, file=private.name)
        cell["provenance"]["command"] = ["vcbench", "run", "--input", str(private)]

    change(submission, point)
    out = tmp_path / "report"
    assert vcbench("report", submission, "--out", out).code == 0
    source = clip.source.digest()[:16]
    names = [path.name for path in (out / "pictures").iterdir()]
    assert names and not [name for name in names if name.startswith(source)]
    # the keeper's own folders are searched, by digest
    assert vcbench("report", submission, "--out", out, "--clips", tmp_path).code == 0
    assert [path.name for path in (out / "pictures").iterdir() if path.name.startswith(source)]


@pytest.mark.parametrize("kind", ["clip.m3u8", "clip.txt", "clip.mp4"])
def test_a_playlist_is_no_source(
    vcbench, submission: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes], kind: str
) -> None:
    private = tmp_path / "private.ts"
    run_ffmpeg("-f", "lavfi", "-i", "smptebars=size=64x48:rate=25", "-frames:v", "3", "-c:v", "libx264", private)
    playlist = playlist_of(kind, private, submission)
    with pytest.raises(MediaError, match="is a playlist"):
        open_sequence(playlist)
    done = vcbench("run", "--codecs", "x264", "--input", playlist, "--out", tmp_path / "out")
    assert done.code == 4 and f"{playlist}: is a playlist" in done.err
    digest = hashlib.sha256(playlist.read_bytes()).hexdigest()
    change(submission, lambda cell: cell["sequence"].update(sha256=digest, file=kind))
    (cell, *_) = bench.load(submission).cells
    with pytest.raises(UnavailableError, match="is not here"):
        source_clip(cell.sequence, bench.cards.Catalog(), [playlist])


@pytest.mark.parametrize("dataset", ["../d.toml", "d.toml", "/etc/d.toml", "a/b"])
def test_a_dataset_is_a_name(
    submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_clip: Callable[..., Path], dataset: str
) -> None:
    """A manifest in the working directory is no dataset of a result file that names it as a path."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_clip(64, 48, frames=3), tmp_path / "clip.y4m")
    (tmp_path / "d.toml").write_text(
        'name = "d"\ntitle = "t"\nlicence = "l"\nroot = "."\n[[sequences]]\nname = "clip"\nfile = "clip.y4m"\n'
        "width = 64\nheight = 48\n"
    )
    change(submission, lambda cell: cell["sequence"].update(dataset=dataset, name="clip"))
    loaded = bench.load(submission)
    if loaded.cells:
        with pytest.raises(UnavailableError, match="is not here"):
            source_clip(loaded.cells[0].sequence, bench.cards.Catalog(), [])
    else:
        assert all("sequence.dataset" in problem for problem in loaded.problems)


DIGEST = "../../victim/own"

WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "bitstream.sha256": lambda cell: cell["bitstream"].update(sha256=DIGEST),
    "bitstream.file": lambda cell: cell["bitstream"].update(file=".."),
    "sequence.sha256": lambda cell: cell["sequence"].update(sha256=DIGEST),
    "sequence.file": lambda cell: cell["sequence"].update(file="../../etc/passwd"),
    "sequence.name": lambda cell: cell["sequence"].update(name=DIGEST),
    "sequence.dataset": lambda cell: cell["sequence"].update(dataset=DIGEST),
    "sequence.matrix": lambda cell: cell["sequence"].update(matrix="nobody's"),
    "sequence.siting": lambda cell: cell["sequence"].update(siting="elsewhere"),
    "sequence": lambda cell: cell["sequence"].update(pix_fmt="rgb48"),
    "decoded.sha256": lambda cell: cell["decoded"].update(sha256=DIGEST),
    "codec.name": lambda cell: cell["codec"].update(name=DIGEST),
    "codec.kind": lambda cell: cell["codec"].update(kind=DIGEST),
    "rate.parameter": lambda cell: cell["rate"].update(parameter=DIGEST),
    "key": lambda cell: cell.update(key=DIGEST),
    "name": lambda cell: cell.update(name=DIGEST),
    "measurements.psnr_y.key": lambda cell: cell["measurements"]["psnr_y"].update(key=DIGEST),
    "measurements.psnr_y.features.reference": lambda cell: cell["measurements"]["psnr_y"].update(
        features={"reference": "../x.npy"}
    ),
    "measurements.../../x.[key]": lambda cell: cell["measurements"].update({"../../x": cell["measurements"]["psnr_y"]}),
    "encode.seconds": lambda cell: cell["encode"].update(seconds=-1),
    "decode.peak_rss_bytes": lambda cell: cell["decode"].update(peak_rss_bytes=-1),
    "estimated_bits": lambda cell: cell.update(estimated_bits=-1),
}


@pytest.mark.parametrize("field", WRONG)
def test_every_field_has_its_type(vcbench, submission: Path, tmp_path: Path, field: str) -> None:
    change(submission, WRONG[field])
    loaded = bench.load(submission)
    assert not loaded.cells
    assert all(f"\n  {field}: " in problem for problem in loaded.problems), loaded.problems[0]
    before = sorted(path for path in tmp_path.rglob("*"))
    assert vcbench("report", submission, "--out", tmp_path / "reports" / "site").code == 4
    assert sorted(path for path in tmp_path.rglob("*") if "reports" not in path.parts) == before


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 30)


def as_link_out(path: Path) -> None:
    secret = path.parents[2] / f"secret-{path.name}"
    secret.write_bytes(b"{}")
    path.symlink_to(secret)


def as_folder(path: Path) -> None:
    path.mkdir()


def as_loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS = {"pipe": as_pipe, "device": as_device, "sparse": as_sparse, "link": as_link_out, "folder": as_folder}
PLACES = ("cells", "bitstreams", "frames", "published.json")


@pytest.fixture
def bounded() -> Any:
    """No room for what a bomb would take."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def put(folder: Path, place: str, make: Callable[[Path], None]) -> Path:
    """Something else in the place of a file of a result set."""
    path = folder / place if "." in place else next(iter(sorted((folder / place).iterdir())))
    path.unlink(missing_ok=True)
    make(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_one_file_stops_nothing(
    vcbench, measured: Path, submission: Path, tmp_path: Path, bounded: None, kind: str, place: str
) -> None:
    path = put(submission, place, KINDS[kind])
    done = vcbench("report", measured, submission, "--leaderboard", "--anchor", "x264", "--out", tmp_path / "board")
    assert done.code == 6, done.err
    assert "left out: submission, the whole submission: " in done.err
    assert str(path.relative_to(submission)) in done.err.replace(f"{path.stem}.parquet", path.name)
    assert "secret" not in (tmp_path / "board" / "leaderboard.json").read_text() or kind == "link"
    board = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert [row["entry"] for part in board["boards"] for row in part["rows"]] == ["x264"]
    assert vcbench("validate", submission).code == 4
    # those that decode do it for every bitstream only where one of these is what is wrong
    few, none = ((), ()) if place == "bitstreams" else (("--sample", 1), ("--pictures", 0))
    for command in (
        ["verify", submission, *few],
        ["report", submission, "--out", tmp_path / "site", *none],
        ["status", submission],
    ):
        assert vcbench(*command).code in {0, 4, 6}


@pytest.mark.parametrize(
    "text",
    ["9" * 400, "-" + "9" * 400, "9" * 5000, "1e999", "-1e400", "[" * 100_000, '{"a":' * 100_000, "NaN", "", "[]", "1"],
    ids=lambda text: text[:3] or "empty",
)
def test_numbers_and_nesting_have_bounds(submission: Path, text: str) -> None:
    (path, *_) = sorted((submission / "cells").iterdir())
    whole = json.loads(path.read_text())
    for data in (text, json.dumps({**whole, "provenance": {"x": "PUT"}}).replace('"PUT"', text or '"')):
        path.write_text(data)
        with pytest.raises(StoreError, match=path.name):
            if data == text or text not in {"[]", "1"}:
                read_cell(path)
            else:
                raise StoreError(path.name)
    assert len(bench.load(submission).cells) == 3 + (text in {"[]", "1"})


def test_the_numbers_that_64_bits_hold_are_read() -> None:
    assert parse_json(f"[{(1 << 64) - 1}, {-(1 << 63)}, 1e308, -0.5]") == [(1 << 64) - 1, -(1 << 63), 1e308, -0.5]
    with pytest.raises(ValueError, match="beyond 64 bits"):
        parse_json(str(1 << 64))


def parquet(path: Path, table: pa.Table, **settings: Any) -> None:
    path.unlink(missing_ok=True)
    pq.write_table(table, path, **settings)


BOMBS: dict[str, Callable[[Path], None]] = {
    # one value three million times is a few hundred bytes in a dictionary's runs
    "rows": lambda path: parquet(path, pa.table({"psnr_y": np.full(3_000_000, 1.0)})),
    "zstd": lambda path: parquet(
        path, pa.table({"psnr_y": np.zeros(3)}), compression="zstd", use_dictionary=False
    ),
    "gzip": lambda path: parquet(path, pa.table({"psnr_y": np.zeros(3)}), compression="gzip"),
    "text": lambda path: parquet(path, pa.table({"psnr_y": ["x" * 10_000_000] * 3})),
    "lists": lambda path: parquet(path, pa.table({"psnr_y": [[1.0] * 100_000] * 3})),
    "columns": lambda path: parquet(path, pa.table({f"c{number}": [1.0] for number in range(5000)})),
    "integers": lambda path: parquet(path, pa.table({"psnr_y": [1, 2, 3]})),
    "garbage": lambda path: path.write_bytes(b"PAR1" + os.urandom(500) + b"PAR1") and None,
    "empty": lambda path: path.write_bytes(b"") and None,
    "text file": lambda path: path.write_text("frame,value\n1,2\n") and None,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_per_frame_values_are_of_the_kind_that_vcbench_writes(
    vcbench, submission: Path, bounded: None, bomb: str
) -> None:
    path = sorted((submission / "frames").iterdir())[0]
    BOMBS[bomb](path)
    with pytest.raises(StoreError, match=path.name):
        read_frames(path, submission, 3)
    done = vcbench("validate", submission)
    assert done.code == 4 and path.name in done.out
    assert vcbench("report", submission, "--out", submission.with_name("site"), "--pictures", 0).code in {0, 4}


def test_per_frame_values_come_back_as_they_were_written(tmp_path: Path) -> None:
    from bench.engine.store.folder import Store

    store = Store.create(tmp_path / "set")
    store.write_frames("c", {"a": (1.0, None, 3.0)})
    store.write_frames("c", {"b": (0.5, 0.25, float("inf"))})
    found = read_frames(store.frames_path("c"), store.root, 3)
    assert np.array_equal(found["a"], [1.0, np.nan, 3.0], equal_nan=True)
    assert found["b"].tolist() == [0.5, 0.25, float("inf")]
    assert pq.read_table(store.frames_path("c")).to_pydict()["a"] == [1.0, None, 3.0]


def array(value: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    return stream.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f4", data: int = 16) -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})  # type: ignore[no-untyped-call]
    return stream.getvalue() + bytes(data)


class Executed:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/executed-by-a-features-file",)


ARRAYS = {
    "pickle": array(np.array([Executed()], dtype=object)),
    "npz": archive(),
    "whole numbers": array(np.zeros((3, 4), np.int64)),
    "complex": array(np.zeros((3, 4), np.complex64)),
    "records": array(np.zeros(3, [("a", "<f4")])),
    "one dimension": array(np.zeros(12, np.float32)),
    "none": array(np.float32(1)),
    "three": array(np.zeros((3, 2, 2), np.float32)),
    "by columns": array(np.asfortranarray(np.zeros((3, 4), np.float32))),
    "big endian": array(np.zeros((3, 4), ">f4")),
    "not a number": array(np.full((3, 4), np.nan, np.float32)),
    "infinite": array(np.full((3, 4), np.inf, np.float32)),
    "beyond": array(np.full((3, 4), 1e300)),
    "more than there is": header((1 << 40, 512)),
    "less than there is": header((1, 2)),
    "negative": header((-1, 4)),
    "wide": header((1, 1 << 20), data=4 << 20),
    "overflow": header((1 << 62, 1 << 62)),
    "version 2": array(np.zeros((3, 4), np.float32)).replace(b"NUMPY\x01", b"NUMPY\x02", 1),
    "text": b"1 2 3\n",
    "empty": b"",
    "cut": array(np.zeros((3, 4), np.float32))[:-3],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_features_are_samples_by_dimensions(tmp_path: Path, bounded: None, kind: str) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(ARRAYS[kind])
    with pytest.raises(StoreError, match=r"features\.npy"):
        read_features(path, tmp_path)
    assert not Path("/tmp/executed-by-a-features-file").exists()


def test_features_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "features.npy", rows)
    assert np.array_equal(read_features(tmp_path / "features.npy", tmp_path), rows)
