"""Result folders that fill, cannot be written, are damaged, or belong to something else by now."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.engine.run import RunOptions, plan
from bench.engine.store.folder import Store


def names(folder: Path) -> set[str]:
    """Files under final names: all but those of attempts."""
    return {path.name for kind in ("cells", "bitstreams", "frames") for path in (folder / kind).iterdir()}


@pytest.mark.parametrize("left", [0, 24 << 10], ids=["encoder", "result"])
def test_fault_16_disk_full(trial, mounted: Callable[..., Path], left: int) -> None:
    """A real file system fills: while the encoder writes, or once the bitstream stands and the values come."""
    disk = mounted("size=200k")
    arguments = trial.arguments("good", "cuts-a-frame", out=disk)
    ballast = disk / "ballast"
    size = trial.clip.stat().st_size
    for folder in ("cells", "bitstreams", "frames", "features", "work"):
        (disk / folder).mkdir()
    free = shutil.disk_usage(disk).free
    # the frames that the encoder reads lie on the same disk
    ballast.write_bytes(bytes(free - size - left - (size // 2 if not left else 8192)))
    done = trial.call(*arguments)
    assert done.code == 4, done.err
    assert f"{disk}: the disk is full; free some room and give the same command again" in done.err
    assert not list((disk / "cells").iterdir()) and not list((disk / "work").glob("*/"))
    ballast.unlink()
    mounted("size=4m")
    again = trial.call(*arguments)
    assert again.code == 6  # one of the two codecs is broken
    cells = trial.cells(disk)
    assert {mode: cell.status for mode, cell in cells.items()} == {"good": "ok", "cuts-a-frame": "failed"}
    assert Store(disk).bitstream_is_whole(cells["good"].bitstream)


def test_fault_16_disk_full_leaves_the_old_file(mounted: Callable[..., Path], measured: Path) -> None:
    disk = mounted("size=64k")
    store = Store.create(disk)
    (cell, *_) = bench.load(measured).cells
    store.write(cell)
    before = store.cell_path(cell.name).read_bytes()
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(OSError, match="No space left") as full:
        store.write(cell.model_copy(update={"message": "x" * 9000}))
    assert full.value.errno == errno.ENOSPC
    assert store.cell_path(cell.name).read_bytes() == before
    assert [path.name for path in (disk / "cells").iterdir()] == [f"{cell.name}.json"]


def test_fault_17_read_only_folder(trial, mounted: Callable[..., Path], tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = mounted("ro")
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o555)
    for out in (folder, folder / "below"):
        done = trial.call(*trial.arguments("encode-hangs", out=out))  # had any work begun, it would not end
        assert done.code == 4
        assert f"{out}: results cannot be written here" in done.err and "choose another --out" in done.err
    assert not list(folder.iterdir())


def test_fault_19_corrupt_or_newer_result_file(
    vcbench, measured: Path, tmp_path: Path, tiny_clip: Callable[..., Path]
) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "set"))
    torn, newer = sorted((folder / "cells").iterdir())[:2]
    whole = json.loads(torn.read_text())
    torn.write_bytes(torn.read_bytes()[:300])
    arguments = ["run", "--codecs", "x264", "--input", tiny_clip(64, 48, frames=3), "--metrics", "psnr_y",
                 "--jobs", 1, "--out", folder, "--json"]  # fmt: skip
    assert vcbench("report", folder, "--out", tmp_path / "report", "--pictures", 0).err.startswith(f"left out: {torn}")
    done = vcbench(*arguments)
    assert done.code == 0
    (told,) = done.json["set_aside"]
    assert str(torn) in told and "is not strict JSON" in told
    assert len(list((folder / "set-aside").iterdir())) == 1
    again = json.loads(torn.read_text())
    assert (again["bitstream"], again["measurements"]) == (whole["bitstream"], whole["measurements"])

    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema_version": 99}))
    kept = newer.read_bytes()
    refused = vcbench(*arguments)
    assert refused.code == 4
    assert str(newer) in refused.err and "update vcbench" in refused.err
    assert newer.read_bytes() == kept


def test_fault_20_whatever_changes_the_bits_changes_the_key(trial, tmp_path: Path) -> None:
    clip = Path(shutil.copy(trial.clip, tmp_path / "clip.y4m"))
    name = trial.card("good")

    def key() -> str:
        options = RunOptions((name,), inputs=(clip,), metrics=("psnr_y",), paths=(tmp_path,), trust=True)
        (cell,) = plan(options).cells
        return cell.key

    def append(path: Path, content: bytes) -> None:
        path.write_bytes(path.read_bytes() + content)

    card = tmp_path / "codecs" / f"{name}.toml"
    keys = [key(), key()]
    append(tmp_path / "tool.py", b"# rebuilt\n")
    keys.append(key())
    card.write_text(card.read_text().replace('"encode", "good"', '"encode", "better"'))
    keys.append(key())
    card.write_text(
        card.read_text().replace("rates =", f'weights = [{{ file = "w", sha256 = "{"0" * 64}" }}]\nrates =')
    )
    keys.append(key())
    card.write_text(card.read_text().replace("0" * 64, "1" * 64))
    keys.append(key())
    data = bytearray(clip.read_bytes())
    data[-1] ^= 1
    clip.write_bytes(data)
    keys.append(key())
    card.write_text(card.read_text().replace('title = "', 'title = "renamed '))
    keys.append(key())
    assert keys[0] == keys[1] and keys[-1] == keys[-2]
    assert len(set(keys)) == 6


def test_fault_30_gate_with_something_missing(vcbench, measured: Path, tmp_path: Path) -> None:
    def gate(baseline: Path, candidate: Path, rule: str = "bd_rate(psnr_y)>0.5%") -> Any:
        return vcbench("gate", "--baseline", baseline, "--candidate", candidate, "--fail", rule)

    empty = tmp_path / "empty"
    (empty / "cells").mkdir(parents=True)
    assert gate(measured, Path(shutil.copytree(measured, tmp_path / "same"))).code == 0
    assert gate(measured, empty).code == 1
    assert gate(empty, measured).code == 1
    assert gate(measured, tmp_path / "same", "bd_rate(vmaf)>0.5%").code == 1
    part = Path(shutil.copytree(measured, tmp_path / "part"))
    next((part / "cells").iterdir()).unlink()
    lost = gate(measured, part)
    assert lost.code == 1 and "the candidate does not have it" in lost.out
    assert gate(measured, tmp_path / "nowhere").code == 4


def test_two_runs_of_one_key_give_the_same_bitstream_and_values(
    measured: Path, tmp_path: Path, tiny_clip: Callable[..., Path]
) -> None:
    again = bench.run("x264", inputs=tiny_clip(64, 48, frames=3), metrics=["psnr_y"], out=tmp_path / "again")
    first = {cell.key: cell for cell in bench.load(measured).cells}
    assert set(first) == {cell.key for cell in again.cells}
    for cell in again.cells:
        assert cell.bitstream == first[cell.key].bitstream
        assert cell.decoded == first[cell.key].decoded
        assert cell.measurements == first[cell.key].measurements
