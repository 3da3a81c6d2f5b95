"""Folders that are written anew: what was there is kept unless vcbench wrote it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.folders import rewritten
from bench.errors import StoreError


def write(out: Path, **files: str) -> None:
    with rewritten(out, "report") as folder:
        for name, content in files.items():
            path = folder.path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


def content_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "vcbench.json"
    }


def test_files_of_an_earlier_call_are_replaced_and_removed_and_others_kept(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report"
    write(out, index="1", data__a="a", data__b="b", old__only="x")
    (out / "data" / "mine.js").write_text("mine")
    write(out, index="2", data__a="a")
    assert content_of(out) == {"index": "2", "data/a": "a", "data/mine.js": "mine"}
    assert not (out / "old").exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("mine")
    with pytest.raises(StoreError, match=r"not a report of vcbench \(index\); name a new folder, such as .*/report"):
        write(tmp_path, index="2")
    assert content_of(tmp_path) == {"index": "mine"}


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path, index="1")
    with pytest.raises(StoreError, match="holds a report; name a new folder"), rewritten(tmp_path, "paper"):
        pytest.fail("was taken")
    assert content_of(tmp_path) == {"index": "1"}


def test_a_file_that_was_changed_since_is_kept_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, index="1", stale="s")
    (tmp_path / "index").write_text("my words")
    (tmp_path / "index.1").write_text("taken")
    (tmp_path / "stale").write_text("my words too")
    write(tmp_path, index="2")
    assert content_of(tmp_path) == {"index": "2", "index.1": "taken", "index.2": "my words", "stale": "my words too"}
    assert f"{tmp_path / 'index'}: is not as vcbench wrote it; it is kept as index.2" in caplog.text


def test_what_goes_wrong_leaves_the_earlier_files(tmp_path: Path) -> None:
    write(tmp_path, index="1")
    with pytest.raises(ZeroDivisionError), rewritten(tmp_path, "report") as folder:
        (folder.path / "index").write_text("2")
        raise ZeroDivisionError
    assert content_of(tmp_path) == {"index": "1"}
    with pytest.raises(ZeroDivisionError), rewritten(tmp_path / "new", "report"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_a_call_that_is_killed_leaves_a_folder_that_is_taken_again(tmp_path: Path, at: int) -> None:
    """Killed at the first rename, and at each after it: what it wrote is still known as vcbench's."""
    program = f"""
import os, signal, sys
from pathlib import Path
from bench.core.folders import rewritten
renames = []
def die(event, arguments):
    if event == "os.rename":
        renames.append(arguments)
        if len(renames) == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
with rewritten(Path({str(tmp_path)!r}), "report") as folder:
    for name in ("a", "b"):
        (folder.path / name).write_text("2")
    sys.addaudithook(die)
"""
    write(tmp_path, a="1", b="1", c="1")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    write(tmp_path, a="3", b="3")
    assert content_of(tmp_path) == {"a": "3", "b": "3"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "name", ["../victim/file", "/{victim}/file", "link/file", "linked", "a/../../victim/file", "..", "", "a\0b"]
)
def test_no_marker_of_a_stranger_has_files_removed_elsewhere(tmp_path: Path, name: str) -> None:
    """Its list of files is data: a path that leads out, by dots or by a link, is nobody's here."""
    from bench.core.files import hash_file

    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.mkdir()
    (victim / "file").write_text("precious")
    write(out, index="1")
    (out / "link").symlink_to(victim)
    (out / "linked").symlink_to(victim / "file")
    digest = hash_file(victim / "file")
    files = {name.format(victim=victim): [digest], "index": [digest, 7, {}], "other": digest}
    (out / "vcbench.json").write_text(json.dumps({"vcbench": "report", "files": files}))
    write(out, fresh="2")
    assert (victim / "file").read_text() == "precious"
    assert os.path.lexists(out / "linked")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.mkdir()
    (victim / "a.js").write_text("precious")
    write(out, index="1")
    (out / "data").symlink_to(victim)
    with pytest.raises(StoreError, match="data: is a link"):
        write(out, data__a="2")
    assert content_of(victim) == {"a.js": "precious"}
    assert content_of(out)["index"] == "1"


def test_a_file_in_the_place_of_a_link_leaves_what_the_link_names(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    out = tmp_path / "out"
    write(out, index="1")
    (out / "index").unlink()
    (out / "index").symlink_to(tmp_path / "mine")
    write(out, index="2")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (out / "index.1").is_symlink()
    assert (out / "index").read_text() == "2"


def test_a_file_of_the_earlier_call_is_used_again_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, kept="1", changed="1")
    (tmp_path / "changed").write_text("2")
    (tmp_path / "mine").write_text("3")
    with rewritten(tmp_path, "report") as folder:
        assert [folder.reuse(name) for name in ("kept", "changed", "mine", "none")] == [True, False, False, False]
    assert content_of(tmp_path) == {"kept": "1", "changed": "2", "mine": "3"}


def test_a_site_of_a_vcbench_without_markers_is_replaced_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in (("data/index.js", 'vcbench.put("index",{});'), ("index.html", "1"), ("notes", "mine")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with rewritten(tmp_path, "report") as folder:
        (folder.path / "index.html").write_text("2")
    assert content_of(tmp_path)["index.html"] == "2"
    assert content_of(tmp_path)["notes"] == "mine"
    assert "replaced files of a report that an earlier vcbench wrote: index.html" in caplog.text
