"""Clips and programs that are replaced while a cell is worked on: nothing is stored under a key that is not theirs."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from card_texts import command_card

import bench
from bench.core.files import Stamp
from bench.errors import MediaError
from bench.records.cell import CellResult
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow

# it does what the variable of its direction says: "A B" has the file B put in the place of A
SCRIPT = """#!{python}
import os, sys
direction, source, target = sys.argv[1:]
data = open(source, "rb").read()
for change in filter(None, os.environ[direction.upper()].split(";")):
    what, *names = change.split()
    if what == "move":
        os.replace(*names)
    elif what == "over":
        open(names[1], "wb").write(open(names[0], "rb").read())
    elif what == "append":
        open(names[0], "ab").write(b"# more")
open(target, "wb").write(data)
"""


@pytest.fixture
def files(tmp_path: Path, tiny_clip: Callable[..., Path]) -> Path:
    """A folder with clip.y4m, its copy same.y4m, another clip other.y4m, and the program tool.py with a copy."""
    (tmp_path / "codecs").mkdir()
    card = command_card("swaps", "SWAPS", ["encode", "{input}", "{bitstream}"], ["decode", "{bitstream}", "{output}"])
    (tmp_path / "codecs" / "swaps.toml").write_text(card)
    for name, noise in (("clip", 4), ("same", 4), ("other", 40)):
        (tmp_path / f"{name}.y4m").write_bytes(tiny_clip(noise=noise, frames=3).read_bytes())
    for name in ("tool.py", "same.py", "other.py"):
        program = SCRIPT.format(python=sys.executable) + ("# another" if name == "other.py" else "")
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(stat.S_IRWXU)
    return tmp_path


@pytest.fixture
def run(files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CellResult]:
    """Run the codec with what it is to do to the files; the one cell's result."""
    monkeypatch.setenv("SWAPS", str(files / "tool.py"))
    monkeypatch.chdir(files)

    def call(encode: str = "", decode: str = "", clip: str = "clip.y4m") -> CellResult:
        for direction, changes in (("ENCODE", encode), ("DECODE", decode)):
            absolute = [" ".join([word, *(str(files / name) for name in names)]) for word, *names in
                        (change.split() for change in changes.split(";") if change)]  # fmt: skip
            monkeypatch.setenv(direction, ";".join(absolute))
        settings = {"metrics": ["psnr_y"], "out": files / "out", "paths": files, "trust": True}
        results = bench.run("swaps", inputs=files / clip, **settings)
        (cell,) = (cell for cell in results.cells if cell.sequence.file == clip)
        return cell

    return call


def test_a_codec_that_changes_nothing_has_a_value(run: Callable[..., CellResult]) -> None:
    assert run().measurements["psnr_y"].value == float("inf")


@pytest.mark.parametrize(
    ("encode", "decode"),
    [
        ("move other.y4m clip.y4m", ""),
        ("over other.y4m clip.y4m", ""),
        ("append clip.y4m", ""),
        ("", "move other.y4m clip.y4m"),
        ("move clip.y4m kept.y4m;move other.y4m clip.y4m", "move kept.y4m clip.y4m"),
        ("over other.y4m clip.y4m", "over same.y4m clip.y4m"),
    ],
    ids=["encode", "in-place", "longer", "decode", "moved-back", "written-back"],
)
def test_fault_20_clip_replaced_meanwhile(
    run: Callable[..., CellResult], files: Path, encode: str, decode: str
) -> None:
    found = run(encode, decode)
    assert (found.status, found.reason) == ("failed", "source")
    assert str(files / "clip.y4m") in str(found.message)
    assert "give the command again" in str(found.message)
    assert list((files / "out" / "work").iterdir()) == []
    assert run(clip="same.y4m").status == "ok"


@pytest.mark.parametrize(
    ("encode", "decode"),
    [
        ("move other.py tool.py", ""),
        ("over other.py tool.py", ""),
        ("", "move other.py tool.py"),
        ("move tool.py kept.py;move same.py tool.py", "move kept.py tool.py"),
    ],
    ids=["encode", "in-place", "decode", "moved-back"],
)
def test_fault_20_program_replaced_meanwhile(
    run: Callable[..., CellResult], files: Path, encode: str, decode: str
) -> None:
    found = run(encode, decode)
    assert (found.status, found.reason) == ("failed", "tool_changed")
    assert "give the same command again" in str(found.message)


def test_no_bitstream_is_kept_of_what_was_replaced_before_it_was_written(
    run: Callable[..., CellResult], files: Path
) -> None:
    run("move other.y4m clip.y4m")
    assert list((files / "out" / "bitstreams").iterdir()) == []


def test_a_clip_that_is_replaced_between_plan_and_cell_is_not_measured(files: Path) -> None:
    source = open_sequence(files / "clip.y4m").source
    source.digest()
    source.check()
    (files / "other.y4m").replace(files / "clip.y4m")
    with pytest.raises(MediaError, match="differs from when the run was planned"):
        source.check()
    (files / "clip.y4m").unlink()
    with pytest.raises(MediaError, match=r"clip\.y4m: is gone since the run was planned"):
        source.check()


def test_a_copy_of_the_same_bytes_is_the_same_clip_for_the_next_cell(files: Path) -> None:
    source = open_sequence(files / "clip.y4m").source
    source.digest()
    (files / "same.y4m").replace(files / "clip.y4m")
    begun = source.check()
    assert source.check(begun) == begun or not begun.settled
    (files / "other.y4m").replace(files / "clip.y4m")
    with pytest.raises(MediaError, match="replaced or written to while it was read"):
        source.check(begun)


def test_a_link_that_is_turned_and_turned_back_shows(files: Path) -> None:
    link = files / "link.y4m"
    link.symlink_to("clip.y4m")
    source = open_sequence(link).source
    source.digest()
    begun = source.check()
    for target in ("other.y4m", "clip.y4m"):
        link.unlink()
        link.symlink_to(target)
    with pytest.raises(MediaError, match="replaced or written to"):
        source.check(begun)


def test_every_picture_of_a_folder_is_looked_at(tmp_path: Path, run_ffmpeg: Callable[..., bytes]) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=32x32", "-frames:v", "3", tmp_path / "%d.png")
    source = open_sequence(tmp_path, fps=25).source
    source.digest()
    begun = source.check()
    (tmp_path / "3.png").replace(tmp_path / "2.png")
    with pytest.raises(MediaError, match=r"3\.png: is gone"):
        source.check(begun)


def test_a_stamp_of_a_file_written_just_now_is_not_settled(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert not Stamp.of([path]).settled
