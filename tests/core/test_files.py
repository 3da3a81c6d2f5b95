"""Digests that notice every change, and files that are whole at every moment."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core import files as digests
from bench.core.files import canonical_json, digest_of, file_digest, files_digest, write_atomically

LONG_AGO = (10**18, 10**18)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VCBENCH_CACHE", str(folder))
    return folder


def entries(cache: Path) -> list[Path]:
    return list((cache / "digests").glob("*.json"))


def age(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the module under test stand an hour after the file's last change."""
    later = path.stat().st_ctime_ns + 3_600_000_000_000
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)


def test_digest_is_sha256_of_the_bytes(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100_000)
    assert file_digest(path) == sha256(b"content" * 100_000)


def test_digest_of_a_settled_file_is_remembered(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    age(path, monkeypatch)
    file_digest(path)
    (entry,) = entries(cache)
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "sha256": "remembered"}))
    assert file_digest(path) == "remembered"


def test_changed_content_with_restored_time_is_noticed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=LONG_AGO)
    age(path, monkeypatch)
    assert file_digest(path) == sha256(b"one")
    assert entries(cache)
    path.write_bytes(b"two")
    os.utime(path, ns=LONG_AGO)
    assert file_digest(path) == sha256(b"two")


def test_changes_within_one_tick_of_the_file_systems_clock_are_noticed(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "file"
    for number in range(200):
        content = f"{number:04}".encode()
        path.write_bytes(content)
        assert file_digest(path) == sha256(content)


def test_replaced_file_is_noticed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    for file in (path, other):
        os.utime(file, ns=LONG_AGO)
    age(other, monkeypatch)
    file_digest(path)
    other.replace(path)
    assert file_digest(path) == sha256(b"two")


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"{}", b'{"identity": 3}', b"\xff\xfe"])
def test_damaged_cache_entry_is_replaced(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    age(path, monkeypatch)
    file_digest(path)
    (entry,) = entries(cache)
    entry.write_bytes(content)
    assert file_digest(path) == sha256(b"content")
    assert json.loads(entry.read_text())["sha256"] == sha256(b"content")


def test_cache_folder_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_bytes(b"")
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "a file" / "cache"))
    path = tmp_path / "file"
    path.write_bytes(b"content")
    age(path, monkeypatch)
    assert file_digest(path) == sha256(b"content")


def test_digest_of_several_files_depends_on_names_order_and_contents(tmp_path: Path, cache: Path) -> None:
    def digest(*files: tuple[str, bytes]) -> str:
        for name, content in files:
            (tmp_path / name).write_bytes(content)
        return files_digest([tmp_path / name for name, _ in files])

    variants = [
        digest(("a", b"1"), ("b", b"2")),
        digest(("b", b"2"), ("a", b"1")),
        digest(("a", b"2"), ("b", b"1")),
        digest(("a", b"1"), ("c", b"2")),
        digest(("a", b"1")),
    ]
    assert len(set(variants)) == len(variants)
    assert digest(("a", b"1"), ("b", b"2")) == variants[0]


def test_canonical_json_is_one_text_for_one_value() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1}) != digest_of({"a": 2, "b": 1.5})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_is_no_json(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json([value])


def test_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(tmp_path / "file", b"content")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "file")]
    assert modes[0] == modes[1]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text")  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_file_is_whole_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {digit: digit.encode() * 3_000_000 for digit in "01"}
    code = (
        "import sys; from pathlib import Path; from bench.core.files import write_atomically\n"
        "print('ready', flush=True)\n"
        "for turn in range(10**6): write_atomically(Path(sys.argv[1]), str(turn % 2).encode() * 3_000_000)"
    )
    write_atomically(path, contents["0"])
    for turn in range(6):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            seen = 0
            while seen <= turn * 5:  # another moment each time
                assert path.read_bytes() in contents.values()
                seen += 1
            writer.send_signal(signal.SIGKILL)
        assert path.read_bytes() in contents.values()
