"""Codecs that cheat or attack: each is run for real, in the sandbox and out of it."""

from __future__ import annotations

import ctypes
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from card_texts import command_card

import bench
from bench.adapters.base import RatePoint
from bench.cards import Catalog, load_card
from bench.conformance import check_codec
from bench.core import sandbox
from bench.engine.cell import external
from bench.engine.plan import CodecEntry
from bench.errors import DecodeError, EncodeError, TimeLimitError, UsageError
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow

METHODS = ("bubblewrap", "namespaces", "landlock")

TOOL = '''#!{python} -IS
"""A codec whose bitstream is one byte: tool.py encode|decode WAY IN OUT finds the frames by another way."""
import glob, os, socket, sys, time
if sys.argv[1] == "-V":
    sys.exit()
direction, way, source, target = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
def leave(path):
    with open(path, "wb") as file:
        file.write(open(source, "rb").read())
def hand_over(path):
    with open(target, "wb") as file:
        file.write(open(path, "rb").read())
LEFT = {{
    "beside": lambda: os.path.join(os.path.dirname(os.path.abspath(target)), "left"),
    "above": lambda: os.path.join(os.path.dirname(os.path.abspath(target)), "..", "left"),
    "temporary": lambda: "{temporary}/left",
    "card": lambda: os.path.join(here, "left"),
}}
if direction == "encode":
    if way in LEFT:
        leave(LEFT[way]())
    with open(target, "wb") as file:
        file.write(open(source, "rb").read() if way == "honest" else b"1")
    sys.exit()
if way == "honest":
    hand_over(source)
elif way == "descriptors":
    pid = os.getppid()
    while pid > 0:  # all ancestors
        for path in glob.glob(f"/proc/{{pid}}/fd/*"):
            try:
                with open(path, "rb") as file:
                    if os.readlink(path) == "{clip}":
                        sys.exit(hand_over(path))
            except OSError:
                pass
        with open(f"/proc/{{pid}}/stat") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    sys.exit("no descriptor")
elif way == "path":
    hand_over("{clip}")
elif way == "beside":
    hand_over(os.path.join(os.path.dirname(os.path.abspath(source)), "..", "encode", "left"))
elif way in LEFT:
    found = glob.glob(os.path.dirname(os.path.abspath(source)) + "/../left") if way == "above" else [LEFT[way]()]
    hand_over(found[0])
elif way == "network":
    with socket.create_connection(("127.0.0.1", {port}), 2) as line, open(target, "wb") as file:
        while data := line.recv(1 << 16):
            file.write(data)
elif way == "memory":
    held = bytearray(64 << 30)
elif way == "hangs":
    time.sleep(600)
elif way == "environment":
    print(os.environ.get("SECRET_TOKEN", "nothing"), file=sys.stderr)
    sys.exit(9)
elif way == "writes":
    for path in ("{clip}", os.path.join(here, "tool.py"), "{temporary}/written"):
        try:
            with open(path, "ab") as file:
                file.write(b"written")
        except OSError:
            pass
    sys.exit(9)
'''


def card_text(name: str, way: str) -> str:
    return command_card(
        name, "CHEAT", ["encode", way, "{input}", "{bitstream}"], ["decode", way, "{bitstream}", "{output}"],
        version=["-V"], settings={"frames_in": "y4m", "frames_out": "y4m"},
    )  # fmt: skip


def of(method: str, monkeypatch: pytest.MonkeyPatch) -> sandbox.Sandbox:
    """The sandbox of that name, from now on the one that is chosen."""
    monkeypatch.setenv(sandbox.ENVIRONMENT, method)
    found = sandbox.chosen()
    assert found is not None and found.method == method
    return found


@pytest.fixture(params=METHODS)
def confined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> sandbox.Sandbox:
    """Each sandbox that this machine offers."""
    if (problem := sandbox.problem(request.param)) is not None:
        pytest.skip(f"{request.param}: {problem}")
    return of(request.param, monkeypatch)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[int, list[int]]]:
    """A port of this machine that hands over the clip, and the connections that it had."""
    served: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    served.append(1)
                    line.sendall((tmp_path / "clip.y4m").read_bytes())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], served
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def cheat(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_clip: Callable[..., Path],
    listener: tuple[int, list[int]],
) -> Iterator[Callable[[str], Path]]:
    """The card of a codec that cheats in a way; the clip is ``clip.y4m`` beside the folder of the cards."""
    clip = Path(shutil.copy(tiny_clip(64, 48, frames=3), tmp_path / "clip.y4m"))
    with tempfile.TemporaryDirectory(prefix="vcbench-test-", dir="/tmp") as temporary:
        folder = tmp_path / "codecs"
        folder.mkdir()
        tool = tmp_path / "program" / "tool.py"
        tool.parent.mkdir()
        tool.write_text(TOOL.format(python=sys.executable, clip=clip, port=listener[0], temporary=temporary))
        tool.chmod(0o755)
        monkeypatch.setenv("CHEAT", str(tool))

        def make(way: str) -> Path:
            path = folder / f"cheat-{way}.toml"
            path.write_text(card_text(path.stem, way))
            return path

        yield make


def entry_of(card: Path, found: sandbox.Sandbox | None) -> CodecEntry:
    return CodecEntry(load_card(card), card.parent, trust=True, sandbox=found)


def round_trip(entry: CodecEntry, clip: Path, folder: Path, *, limit: float = 60) -> int:
    """Encode and decode, each in a folder of its own, the source open meanwhile; the number of frames."""
    from bench.adapters.base import copy_alone

    codec = external(entry, limit)
    source = open_sequence(clip)
    (folder / "encode").mkdir(parents=True)
    stream = folder / "encode" / "bitstream.bin"
    codec.encode(source, RatePoint("index", 0), stream)
    alone = copy_alone(stream, folder / "decode")
    with clip.open("rb"), codec.open_decoder(alone, codec.transform(source.format).coded) as decoder:
        return sum(1 for _ in decoder.frames())


def test_an_honest_codec_works(confined: sandbox.Sandbox, cheat: Any, tmp_path: Path) -> None:
    assert round_trip(entry_of(cheat("honest"), confined), tmp_path / "clip.y4m", tmp_path / "work") == 3


WAYS = ("descriptors", "path", "beside", "above", "temporary", "card", "network")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_round_the_bitstream_is_closed(
    cheat: Any, tmp_path: Path, way: str, listener: tuple[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each sandbox that this machine offers."""
    clip = tmp_path / "clip.y4m"
    assert round_trip(entry_of(cheat(way), None), clip, tmp_path / "open") == 3, "out of the sandbox it cheats"
    before = len(listener[1])
    offered = [method for method in METHODS if sandbox.problem(method) is None]
    for method in offered:
        with pytest.raises((DecodeError, EncodeError)):
            round_trip(entry_of(cheat(way), of(method, monkeypatch)), clip, tmp_path / method)
            pytest.fail(f"{method} lets it cheat")
        assert len(listener[1]) == before, method
    if not offered:
        pytest.skip("this machine has no sandbox")


@pytest.mark.parametrize("to", ["absolute", "relative"])
def test_what_lies_behind_a_linked_folder_is_seen(confined: sandbox.Sandbox, tmp_path: Path, to: str) -> None:
    """As an environment in a home that is itself a link."""
    real, link, folder = (tmp_path / name for name in ("real", "link", "folder"))
    for made in (real, folder):
        made.mkdir()
    (real / "file").write_text("seen")
    link.symlink_to(real if to == "absolute" else real.name)
    argv = confined.command(["/bin/cat", str(link / "file")], folder=folder, read=[link / "file"])
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "seen"


def test_memory_time_environment_and_files(
    confined: sandbox.Sandbox, cheat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "the secret")
    clip = tmp_path / "clip.y4m"
    with pytest.raises(DecodeError, match="MemoryError"):
        round_trip(entry_of(cheat("memory"), confined), clip, tmp_path / "memory")
    with pytest.raises(TimeLimitError):
        round_trip(entry_of(cheat("hangs"), confined), clip, tmp_path / "time", limit=1)
    with pytest.raises(DecodeError, match="said:\nnothing"):
        round_trip(entry_of(cheat("environment"), confined), clip, tmp_path / "environment")
    before = files_of(tmp_path)
    with pytest.raises(DecodeError):
        round_trip(entry_of(cheat("writes"), confined), clip, tmp_path / "writes")
    after = files_of(tmp_path)
    assert {path: content for path, content in after.items() if path in before} == before
    assert {path.relative_to(tmp_path).parts[0] for path in set(after) - set(before)} == {"writes"}


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml"}


PYTHON = """
import os
from collections.abc import Iterator
from pathlib import Path
from bench.adapters.base import Codec, EncodeInfo
from bench.video.sequence import open_sequence
try:
    Path("{trace}").write_text("executed outside")
except OSError:
    pass
class Mine(Codec):
    def tool(self):
        return {{"mine": "1"}}
    def encode(self, source, rate, bitstream):
        bitstream.write_bytes(source.path.read_bytes())
        return EncodeInfo(notes={{"told": "something"}})
    def decode(self, bitstream):
        copy = bitstream.with_name("copy.y4m")
        copy.write_bytes(bitstream.read_bytes())
        yield from open_sequence(copy).read()
"""


def python_card(tmp_path: Path) -> Path:
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "mine.py").write_text(PYTHON.format(trace=tmp_path / "trace"))
    card = folder / "mine.toml"
    text = card_text("mine", "").partition("[settings]")[0]
    card.write_text(text.replace('"command"', '"mine.py:Mine"'))
    return card


def test_a_python_file_is_not_executed_out_of_the_sandbox(
    confined: sandbox.Sandbox, tmp_path: Path, tiny_clip: Callable[..., Path]
) -> None:
    sys.modules.pop("vcbench_user_mine", None)
    entry = entry_of(python_card(tmp_path), confined)
    codec = entry.build()
    codec.check()
    assert codec.tool() == {"mine": "1"}
    assert "vcbench_user_mine" not in sys.modules
    clip = Path(shutil.copy(tiny_clip(64, 48, frames=3), tmp_path / "clip.y4m"))
    assert round_trip(entry, clip, tmp_path / "work") == 3
    assert not (tmp_path / "trace").exists()
    without = entry_of(entry.folder / "mine.toml", None).build()
    assert without.identity()["code_sha256"] == codec.identity()["code_sha256"]
    assert (tmp_path / "trace").read_text() == "executed outside"  # without a sandbox it is


def test_what_comes_with_vcbench_works(
    confined: sandbox.Sandbox, tmp_path: Path, tiny_clip: Callable[..., Path]
) -> None:
    ours = Catalog().files("codecs")["x264"].parent
    clip = tiny_clip(64, 48, frames=3)
    for name in ("x264", "vp9", "svt-av1"):
        entry = CodecEntry(load_card(ours / f"{name}.toml"), ours, sandbox=confined)
        codec = external(entry, 60)
        source = open_sequence(clip)
        folder = tmp_path / name
        folder.mkdir()
        stream = folder / f"bitstream.{entry.card.extension}"
        codec.encode(source, RatePoint(entry.card.rates.parameter, entry.card.rates.values[-1]), stream)
        from bench.adapters.base import copy_alone

        alone = copy_alone(stream, folder / "decode")
        with codec.open_decoder(alone, codec.transform(source.format).coded) as decoder:
            assert sum(1 for _ in decoder.frames()) == 3


@pytest.mark.parametrize("way", ["descriptors", "beside", "above"])
def test_a_run_catches_them_without_a_sandbox(cheat: Any, tmp_path: Path, way: str, vcbench: Any) -> None:
    card = cheat(way)
    done = vcbench("run", "--codecs", card, "--trust", "--input", tmp_path / "clip.y4m", "--metrics", "psnr_y",
                   "--jobs", 1, "--out", tmp_path / "out")  # fmt: skip
    (cell,) = bench.load(tmp_path / "out").cells
    assert done.code == 6 and cell.status == "failed", done.err
    honest = vcbench("run", "--codecs", cheat("honest"), "--trust", "--input", tmp_path / "clip.y4m", "--metrics",
                     "psnr_y", "--jobs", 1, "--out", tmp_path / "honest")  # fmt: skip
    assert honest.code == 0


@pytest.mark.parametrize("way", ["path", "card", "network"])
def test_the_conformance_kit_says_so(cheat: Any, way: str) -> None:
    if sandbox.chosen() is None:
        pytest.skip("this machine has no sandbox")
    checks = {check.name: check for check in check_codec(entry_of(cheat(way), None), time_limit=60)}
    failed = [check for check in checks.values() if check.outcome == "failed"]
    assert failed, "it cheats"
    assert checks["alone"].outcome == "failed" or checks["decode"].outcome == "failed"


def test_verify_is_in_the_sandbox(
    confined: sandbox.Sandbox, cheat: Any, tmp_path: Path, vcbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that was measured with a decoder that knows the source's path does not pass."""
    card = cheat("path")
    arguments = ["--trust", "--path", card.parent]
    done = vcbench("run", "--codecs", card.stem, *arguments, "--input", tmp_path / "clip.y4m", "--metrics", "psnr_y",
                   "--jobs", 1, "--out", tmp_path / "out")  # fmt: skip
    assert done.code == 0
    found = vcbench("verify", tmp_path / "out", *arguments, "--json")
    assert found.code == 6 and found.json["outcomes"]["different"] == 1
    assert found.json["sandbox"] == confined.method
    without = vcbench("verify", tmp_path / "out", *arguments, "--json", "--no-sandbox")
    assert without.code == 0 and without.json["sandbox"] is None


def test_where_there_is_none(vcbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sandbox.ENVIRONMENT, "off")
    assert sandbox.chosen() is None
    (row,) = [row for row in vcbench("doctor", "--json").json["machine"] if row["name"] == "sandbox"]
    assert "can read your files, use the network" in row["detail"]
    monkeypatch.setenv(sandbox.ENVIRONMENT, "jail")
    with pytest.raises(UsageError, match="use auto, bubblewrap, namespaces, landlock or off"):
        sandbox.chosen()


def test_a_sandbox_that_cannot_be_made_starts_nothing(confined: sandbox.Sandbox, tmp_path: Path) -> None:
    import subprocess

    argv = confined.command(["/bin/sh", "-c", f"touch {tmp_path}/made"], folder=tmp_path / "gone")
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode != 0 and not (tmp_path / "made").exists()


def test_a_process_is_unreadable_for_as_long_as_it_says() -> None:
    """A process that may not be dumped gives its files and memory to no other one of its user."""
    libc = ctypes.CDLL(None)
    with sandbox.unreadable():
        assert libc.prctl(3, 0, 0, 0, 0) == 0
    assert libc.prctl(3, 0, 0, 0, 0) == 1
