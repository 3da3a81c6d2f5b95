"""Fraudulent submissions to a leaderboard, made for real: none keeps a rank, and each is named (see SECURITY.md)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.engine.plan import cell_key
from bench.engine.verify.origin import stored_card, stored_clip_identity
from bench.metrics.distribution import FdSqueezenet
from bench.records.cell import CellResult
from bench.report.board.leaderboard import BoardOptions, Leaderboard, Row, build_leaderboard

pytestmark = pytest.mark.slow

METRICS = ("psnr_y", "fd_squeezenet")
RATES = (24, 30, 36, 42)
MANIFEST = """
name = "{name}"
title = "t"
licence = "l"
root = "."
[[sequences]]
name = "clip"
file = "{name}.y4m"
width = 64
height = 48
"""


@pytest.fixture(scope="module", autouse=True)
def _cheap_features() -> Iterator[None]:
    """fd_squeezenet on 16 means of luma in place of the network's features: what is tested is who computes them."""

    def features(self: FdSqueezenet, frame: Any) -> Any:
        blocks = frame.planes[0][:48, :64].astype(np.float32).reshape(4, 12, 4, 16)
        return blocks.mean(axis=(1, 3)).reshape(1, 16)

    with pytest.MonkeyPatch.context() as patch:
        network = type("Network", (), {"dimensions": 16, "min_side": 16, "description": "means", "name": "means"})
        patch.setattr(FdSqueezenet, "network", network)
        patch.setattr(FdSqueezenet, "check", classmethod(lambda _: None))
        patch.setattr(FdSqueezenet, "identity", classmethod(lambda _: {"name": "fd_squeezenet", "version": 0}))
        patch.setattr(FdSqueezenet, "_features", features)
        yield


@dataclass(frozen=True)
class Keeper:
    """The keeper's folder: a dataset, the anchor, records; and what a submitter has: honest results, and worse ones."""

    root: Path
    honest: Path
    better: Path

    @property
    def anchor(self) -> Path:
        return self.root / "anchor"

    @property
    def clip(self) -> Path:
        return self.root / "datasets" / "ours.y4m"

    def board(self, *submissions: Path) -> dict[str, Row]:
        """Rows by SUBMISSION/METRIC, with the records of this keeper."""
        found = self.leaderboard(*submissions)
        return {f"{row.submission}/{one.metric}": row for one in found.boards for row in one.rows}

    def leaderboard(self, *submissions: Path) -> Leaderboard:
        options = BoardOptions("x265", records=self.root / "records", paths=(self.root,))
        return build_leaderboard([self.anchor, *submissions], options)


@pytest.fixture(scope="module")
def keeper(
    tmp_path_factory: pytest.TempPathFactory, tiny_clip: Callable[..., Path], run_ffmpeg: Callable[..., bytes]
) -> Keeper:
    root = tmp_path_factory.mktemp("keeper")
    (root / "datasets").mkdir()
    (root / "records").mkdir()
    (root / "datasets" / "ours.toml").write_text(MANIFEST.format(name="ours"))
    clip = Path(shutil.copy(tiny_clip(64, 48, frames=9), root / "datasets" / "ours.y4m"))
    others = root.parent / "submitter"
    for codec, folder in (("x265", root / "anchor"), ("x264", others / "honest")):
        run(codec, folder, root)
    # the same codec by a stronger encoder: another preset under the card's name
    strong = root.parent / "strong" / "codecs"
    strong.mkdir(parents=True)
    text = (Path(__file__).parents[2] / "codecs" / "x264.toml").read_text()
    assert '"medium"' in text
    (strong / "x264.toml").write_text(text.replace('"medium"', '"placebo"'))
    run("x264", others / "better", root, strong.parent)
    assert clip.is_file()
    return Keeper(root, others / "honest", others / "better")


def run(codec: str, folder: Path, *paths: Path) -> None:
    results = bench.run(codec, datasets="ours", metrics=METRICS, rates=RATES, out=folder, paths=paths[::-1])
    assert {cell.status for cell in results.cells} == {"ok"}


def cells(folder: Path) -> list[Path]:
    """Result files from the lowest QP on."""
    return sorted((folder / "cells").iterdir(), key=lambda path: json.loads(path.read_text())["rate"]["value"])


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a result file, and give it the key and the name that it must have then: a forger knows how."""
    data = json.loads(path.read_text())
    edit(data)
    cell = CellResult.model_validate(data)
    card = stored_card(cell.codec)
    data["key"] = cell_key(card, cell.codec.tool, cell.rate.value, stored_clip_identity(cell.sequence))
    name = path.stem.rpartition("_")[0] + "_" + data["key"][:12]
    if name != path.stem:
        table = path.parents[1] / "frames" / f"{path.stem}.parquet"
        table.rename(table.with_stem(name))
    data["name"] = name
    path.unlink()
    path.with_stem(name).write_text(json.dumps(data))


def transplant(folder: Path, donor: Path, *fields: str) -> None:
    """Take bitstreams, and what was measured of them, from other results of the same rate points."""
    for part in ("bitstreams", "features"):
        shutil.copytree(donor / part, folder / part, dirs_exist_ok=True)
    for path, other in zip(cells(folder), cells(donor), strict=True):
        taken = json.loads(other.read_text())
        shutil.copy(donor / "frames" / f"{other.stem}.parquet", folder / "frames" / f"{path.stem}.parquet")
        change(path, lambda cell, taken=taken: cell.update({field: taken[field] for field in fields}))  # type: ignore[misc]


def store(folder: Path, path: Path, content: bytes) -> None:
    """Give a cell another bitstream, under its right digest."""
    digest = hashlib.sha256(content).hexdigest()
    name = f"{path.stem}.{digest[:8]}.h264"
    (folder / "bitstreams" / name).write_bytes(content)
    change(path, lambda cell: cell.update(bitstream={"file": name, "bytes": len(content), "sha256": digest}))


def hidden_point(folder: Path, keeper: Keeper) -> None:
    """The worst point is not measured any more, so that the curve runs past it."""
    change(cells(folder)[1], lambda cell: [cell["measurements"].pop(name) for name in METRICS])


def undefined_point(folder: Path, keeper: Keeper) -> None:
    for name in METRICS:
        change(
            cells(folder)[1],
            lambda cell, name=name: cell["measurements"][name].update(  # type: ignore[misc]
                status="undefined", value=None, reason="no frame has a value", pooled={}, features={}
            ),
        )


def stronger_encoder(folder: Path, keeper: Keeper) -> None:
    """Another preset under the name, the card and the tool of the honest one; every other number is true."""
    transplant(folder, keeper.better, "bitstream", "decoded", "measurements")


def another_standard(folder: Path, keeper: Keeper) -> None:
    """Streams of x265 under the name of x264; every other number is true."""
    transplant(folder, keeper.anchor, "bitstream", "decoded", "measurements")


def stream_that_names_the_source(folder: Path, keeper: Keeper) -> None:
    """A list for FFmpeg of a few bytes in place of a stream, which leads a careless decoder to the keeper's clip."""
    for path in cells(folder):
        store(folder, path, f"ffconcat version 1.0\nfile '{keeper.clip}'\n".encode())


def fewer_frames(folder: Path, keeper: Keeper) -> None:
    for path in cells(folder):
        change(path, lambda cell: [cell["sequence"].update(frames=8), cell["decoded"].update(frames=8)])


def easier_clip(folder: Path, keeper: Keeper) -> None:
    """A clip of their own under the name of the keeper's, which they send along with a manifest."""
    shutil.rmtree(folder)
    theirs = folder.with_name("theirs") / "datasets"
    theirs.mkdir(parents=True)
    (theirs / "ours.toml").write_text(MANIFEST.format(name="ours"))
    data = bytearray(keeper.clip.read_bytes())
    data[-2000:] = bytes([128]) * 2000
    (theirs / "ours.y4m").write_bytes(data)
    run("x264", folder, keeper.root, theirs.parent)
    shutil.move(theirs, folder)


def features_of_a_better_point(folder: Path, keeper: Keeper) -> None:
    best = json.loads(cells(folder)[0].read_text())["measurements"]["fd_squeezenet"]
    for path in cells(folder)[1:]:
        change(path, lambda cell: cell["measurements"]["fd_squeezenet"].update(features=best["features"]))


def borrowed_name(folder: Path, keeper: Keeper) -> None:
    """The results of x264 under the name of a codec that a reader thinks more of."""
    for path in cells(folder):
        change(path, lambda cell: [cell["codec"].update(name="vvenc"), cell["codec"]["card"].update(name="vvenc")])


def container_of_no_weight(folder: Path, keeper: Keeper) -> None:
    """A card that says that half of each file is a container, whose bytes are no part of the rate."""
    for path in cells(folder):

        def lighten(cell: dict[str, Any]) -> None:
            size = cell["bitstream"]["bytes"]
            cell["codec"]["card"]["container"] = "ivf"
            cell["bitstream"]["contents"] = {"container": size // 2, "pictures": size - size // 2}

        change(path, lighten)


def two_tries(folder: Path, keeper: Keeper) -> None:
    """Two results for one rate point, of which the better one may count; both are true."""
    other = cells(keeper.better)[1]
    for part in ("bitstreams", "features"):
        shutil.copytree(keeper.better / part, folder / part, dirs_exist_ok=True)
    shutil.copy(other, folder / "cells")
    shutil.copy(keeper.better / "frames" / f"{other.stem}.parquet", folder / "frames")


def changed_after(folder: Path, keeper: Keeper) -> None:
    """Done by the test once the record is written: the values are made better."""


def brings_its_record(folder: Path, keeper: Keeper) -> None:
    """The streams of the stronger encoder, with a record that says that all was coded again and is equal."""
    stronger_encoder(folder, keeper)
    from bench.engine.verify.cells import Check, CheckedCell
    from bench.engine.verify.records import write_record

    whats = ("bitstream", "rate", "frames", "source", *METRICS, "encode")
    made = bench.load(folder).cells
    checked = [CheckedCell(cell.name, tuple(Check(what, "equal") for what in whats)) for cell in made]
    forged = write_record(folder.parent / "forged", folder, made, checked, by="the keeper")
    (folder / "records").mkdir()
    shutil.move(forged, folder / "records")


FRAUDS: dict[str, tuple[Callable[[Path, Keeper], None], tuple[str, ...]]] = {
    # what is said, by verify, as a remark or as a refusal of the board
    "hidden point": (hidden_point, ("could not be checked by psnr_y in full",)),
    "undefined point": (undefined_point, ("stored as undefined (no frame has a value), now ok",)),
    "stronger encoder": (stronger_encoder, ("gives other bytes than the stored bitstream",)),
    "another standard": (another_standard, ("frames: different",)),
    "stream that names the source": (stream_that_names_the_source, ("frames: different",)),
    "fewer frames": (fewer_frames, ("the decoder returned 9 frames", "has 9 rows, the cell has 8 frames")),
    "easier clip": (easier_clip, ("source: unchecked", "the anchor frames 0 to 8")),
    "features of a better point": (features_of_a_better_point, ("features.decoded: differ by",)),
    "borrowed name": (borrowed_name, ("the card vvenc here differs from the result's",)),
    "container of no weight": (container_of_no_weight, ("the card x264 here differs from the result's",)),
    "two tries": (two_tries, ("come from 2 different cards or tool versions",)),
    "changed after": (changed_after, ("have no record, or changed after it was written",)),
    "brings its record": (brings_its_record, ("gives other bytes than the stored bitstream",)),
}


def checked(vcbench: Any, keeper: Keeper, folder: Path, *, encode: int = 1) -> Any:
    options = ("--metrics", "--encode", "--encode-cells", encode, "--path", keeper.root)
    return vcbench("verify", folder, *options, "--record", keeper.root / "records")


def test_an_honest_submission_is_verified_and_ranked(vcbench: Any, keeper: Keeper) -> None:
    outcome = checked(vcbench, keeper, keeper.honest, encode=4)
    assert outcome.code == 0, outcome.out
    found = keeper.board(keeper.honest)
    for metric in METRICS:
        row = found[f"honest/{metric}"]
        assert (row.rank is None, row.verified, row.points, row.encoded) == (False, 4, 4, 4)


@pytest.mark.parametrize("name", FRAUDS)
def test_no_fraud_keeps_a_rank(vcbench: Any, keeper: Keeper, tmp_path: Path, name: str) -> None:
    make, reasons = FRAUDS[name]
    folder = shutil.copytree(keeper.honest, tmp_path / "fraud")
    make(folder, keeper)
    outcome = checked(vcbench, keeper, folder)
    if name == "changed after":
        for path in cells(folder):
            change(path, lambda cell: cell["encode"].update(seconds=cell["encode"]["seconds"] / 100))
    board = keeper.leaderboard(folder)
    rows = [row for one in board.boards for row in one.rows if row.submission == "fraud"]
    affected = [row for row in rows if row.rank is not None]
    assert not affected
    told = "\n".join([outcome.out, *(row.remark or "" for row in rows), *(item.reason for item in board.refused)])
    for reason in reasons:
        assert reason in told


def test_no_fraud_moves_the_anchor(vcbench: Any, keeper: Keeper, tmp_path: Path) -> None:
    """Worse and more cells of the anchor's name, true ones, in a submission: they are an entry of their own."""
    checked(vcbench, keeper, keeper.honest)
    before = keeper.board(keeper.honest)["honest/psnr_y"]
    folder = shutil.copytree(keeper.anchor, tmp_path / "padded")
    for path in cells(folder):
        stored = folder / "bitstreams" / json.loads(path.read_text())["bitstream"]["file"]
        store(folder, path, stored.read_bytes() + b"\0" * 500)
    after = keeper.board(keeper.honest, folder)
    assert after["honest/psnr_y"].bd_rate_percent == before.bd_rate_percent
    assert after["anchor/psnr_y"].points == 4
    assert after["padded/psnr_y"].rank is None
