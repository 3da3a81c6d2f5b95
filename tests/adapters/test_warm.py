"""Warm processes: what is forked from them is a process of its own, which knows nothing of any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.adapters import warm
from bench.adapters.base import Codec, EncodeInfo, RatePoint, copy_alone
from bench.adapters.child import ChildCodec
from bench.cards import load_card
from bench.core.sandbox import Sandbox
from bench.errors import DecodeError, EncodeError, TimeLimitError
from bench.registry import build
from bench.video.frame import Frame
from bench.video.sequence import Sequence, open_sequence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="warm processes are Linux's"),
]

TinyClip = Callable[..., Path]
Make = Callable[..., ChildCodec]

CARD = """
name = "prepared"
title = "Prepared once"
adapter = "prepared.py:{codec}"
licence = "Apache-2.0"
gop = "all intra"
extension = "bin"
[rates]
parameter = "level"
values = [1]
minimum = 0
maximum = 9
"""

SOURCE = '''
import os
import random
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench.adapters.base import Codec, EncodeInfo
from bench.errors import EncodeError
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

SEEN = []
MASK = 1


class Prepared(Codec):
    """Grey frames; the bitstream is what a decoder is to look for, masked."""

    prepared_in = None

    def prepare(self):
        self.prepared_in = os.getpid()

    def encode(self, source, rate, bitstream):
        seen = list(SEEN)
        SEEN.append(str(source.path))
        if rate.value == 9:
            time.sleep(600)
        if rate.value == 8:
            raise EncodeError("too_calm", "nothing moves")
        if rate.value == 7:
            raise FileNotFoundError("no such thing")
        bitstream.write_bytes(bytes(byte ^ MASK for byte in source.path.name.encode()))
        return EncodeInfo(notes={
            "pid": os.getpid(), "prepared_in": self.prepared_in, "seen": seen, "folder": str(Path.cwd()),
            "chance": [float(np.random.random()), random.random()], "temporary": tempfile.gettempdir(),
        })

    def decode(self, bitstream):
        masked = bitstream.read_bytes()
        found = any(masked in (part ^ MASK).tobytes() for part in memory())
        yield Frame(VideoFormat(64, 64, fps=25), np.full(64 * 64 * 3 // 2, 255 if found else 0, "u1"))


class Hasty(Prepared):
    def prepare(self):
        super().prepare()
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class Threaded(Prepared):
    def prepare(self):
        super().prepare()
        import torch
        torch.set_num_threads(1)
        self.layer = torch.nn.Conv2d(16, 16, 3)

    def encode(self, source, rate, bitstream):
        import torch
        torch.set_num_threads(2)
        self.layer(torch.zeros(1, 16, 256, 256)).sum().backward()
        return super().encode(source, rate, bitstream)


def memory():
    """All that this process can write to."""
    own = Path("/proc") / str(os.getpid())  # a path in one piece would count as a file that the codec is made of
    with open(own / "maps") as maps, open(own / "mem", "rb", 0) as mem:
        for line in maps.read().splitlines():
            bounds, mode, _, _, inode, *_ = line.split()
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            if mode.startswith("rw") and inode == "0":
                mem.seek(start)
                try:
                    yield np.frombuffer(mem.read(end - start), "u1")
                except OSError:
                    pass
'''


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Make]:
    folder = tmp_path / "codecs"
    folder.mkdir()
    (folder / "prepared.py").write_text(SOURCE)

    def make(name: str = "Prepared") -> ChildCodec:
        path = folder / "prepared.toml"
        path.write_text(CARD.format(codec=name))
        codec = build(load_card(path), folder=folder, trust=True)
        assert isinstance(codec, Codec)
        return ChildCodec(codec, folder, trust=True)

    yield make
    warm.end_all()


@pytest.fixture
def sequence(tiny_clip: TinyClip) -> Sequence:
    return open_sequence(tiny_clip(64, 64), frames=1)


def encoded(codec: ChildCodec, sequence: Sequence, folder: Path, level: int = 1) -> EncodeInfo:
    folder.mkdir()
    return codec.encode(sequence, RatePoint("level", level), folder / "bitstream.bin")


def decoded(codec: ChildCodec, sequence: Sequence, folder: Path) -> list[Frame]:
    alone = copy_alone(folder / "bitstream.bin", folder / "decode")
    with codec.open_decoder(alone, codec.transform(sequence.format).coded) as decoder:
        return list(decoder.frames())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_encodes_and_decodes_are_forks_that_know_nothing_of_each_other(
    prepared: Make, sequence: Sequence, tmp_path: Path
) -> None:
    codec = prepared()
    first, second = (encoded(codec, sequence, tmp_path / name) for name in "ab")
    notes: list[dict[str, Any]] = [first.notes, second.notes]
    assert len({first.notes["pid"], second.notes["pid"], first.notes["prepared_in"], os.getpid()}) == 4
    assert first.notes["prepared_in"] == second.notes["prepared_in"]
    assert [note["seen"] for note in notes] == [[], []]
    assert [Path(note["folder"]).name for note in notes] == ["a", "b"]
    # what a codec leaves to chance differs, or nobody would see that it does
    assert all(a != b for a, b in zip(first.notes["chance"], second.notes["chance"], strict=True))
    assert first.usage is not None
    assert first.usage.start_s is not None and first.usage.start_s > first.usage.cpu_s > 0
    assert first.usage.peak_rss_bytes > 10 << 20
    (frame,) = decoded(codec, sequence, tmp_path / "b")
    assert not frame.data.any()  # the source's name is nowhere in the decoder's memory


def test_no_start_counts_as_the_time_of_a_decode(
    prepared: Make, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing OpenCV, as measuring does, changes variables of this process, and is no reason to start another."""
    codec = prepared()
    info = encoded(codec, sequence, tmp_path / "a")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/packages/cv2/../../lib64:")
    decoder = codec.open_decoder(tmp_path / "a" / "bitstream.bin", codec.transform(sequence.format).coded)
    with decoder:
        assert len(list(decoder.frames())) == 1
    assert info.usage is not None and decoder.usage is not None
    assert decoder.usage.start_s == info.usage.start_s
    warm.end_all()
    with codec.open_decoder(tmp_path / "a" / "bitstream.bin", codec.transform(sequence.format).coded):
        (started,) = warm._processes.values()
        assert started.start_s > 0  # it is there before the clock of the first frame runs


def test_the_decoder_would_find_the_name_of_a_source(sequence: Sequence, tmp_path: Path) -> None:
    """The control of the test above: a process that knows the name finds it in its memory."""
    (tmp_path / "prepared.py").write_text(SOURCE)
    looked = "import sys, prepared; print(any(sys.argv[1].encode() in part.tobytes() for part in prepared.memory()))"
    argv = [sys.executable, "-c", looked, sequence.path.name]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "True\n"


def test_temporary_files_go_where_they_go_at_the_time_of_the_call(
    prepared: Make, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = prepared()
    for name in ("a", "b"):
        folder = tmp_path / f"temporary {name}"
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        assert encoded(codec, sequence, tmp_path / name).notes["temporary"] == str(folder)
    monkeypatch.delenv("TMPDIR")
    assert "temporary" not in encoded(codec, sequence, tmp_path / "c").notes["temporary"]


def test_failures_are_told_as_by_an_interpreter(prepared: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = prepared()
    with pytest.raises(EncodeError, match="EncodeError: nothing moves") as refused:
        encoded(codec, sequence, tmp_path / "a", 8)
    assert refused.value.reason == "too_calm"
    with pytest.raises(EncodeError, match=r"(?s)Traceback.*FileNotFoundError: no such thing"):
        encoded(codec, sequence, tmp_path / "b", 7)


def test_a_time_limit_ends_the_fork_alone(prepared: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = prepared()
    before = encoded(codec, sequence, tmp_path / "a").notes
    codec.time_limit = 0.5
    with pytest.raises(TimeLimitError):
        encoded(codec, sequence, tmp_path / "b", 9)
    codec.time_limit = None
    assert encoded(codec, sequence, tmp_path / "c").notes["prepared_in"] == before["prepared_in"]


def test_another_takes_the_place_of_one_that_was_killed(prepared: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = prepared()
    killed = encoded(codec, sequence, tmp_path / "a").notes["prepared_in"]
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: gone(killed))
    assert encoded(codec, sequence, tmp_path / "b").notes["prepared_in"] is None  # an interpreter of its own
    assert encoded(codec, sequence, tmp_path / "c").notes["prepared_in"] not in (None, killed)


def test_a_codec_that_starts_threads_has_interpreters_of_its_own(
    prepared: Make, sequence: Sequence, tmp_path: Path
) -> None:
    info = encoded(prepared("Hasty"), sequence, tmp_path / "a")
    assert info.notes["prepared_in"] is None
    assert info.usage is not None and info.usage.start_s is None


def test_a_sandboxed_codec_has_interpreters_of_its_own(prepared: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = prepared()
    codec.sandbox = Sandbox("namespaces", 1 << 40)
    with pytest.raises((EncodeError, DecodeError)):  # the machine may have no such sandbox; the program is not there
        codec.confined = lambda *_, **__: ["/no/such/program"]  # type: ignore[method-assign]
        encoded(codec, sequence, tmp_path / "a")
    assert not warm._processes


def test_forks_may_use_threads_of_torch(prepared: Make, sequence: Sequence, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    codec = prepared("Threaded")
    codec.time_limit = 300
    info = encoded(codec, sequence, tmp_path / "a")
    assert info.notes["prepared_in"] not in (None, info.notes["pid"])
    assert info.macs == 254**2 * 16 * 16 * 9  # counted wherever torch is


def test_those_used_least_lately_end_once_their_forks_have(
    prepared: Make, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "MOST", 1)
    first = encoded(prepared(), sequence, tmp_path / "a").notes["prepared_in"]
    monkeypatch.setenv("VCBENCH_TEST", "another environment, another process")
    second = encoded(prepared(), sequence, tmp_path / "b").notes["prepared_in"]
    assert first != second
    assert wait_until(lambda: gone(first))
    assert not gone(second)
    warm.end_all()
    assert gone(second)


_WORKER = """
import sys
from pathlib import Path
from bench.adapters.base import RatePoint
from bench.adapters.child import ChildCodec
from bench.cards import load_card
from bench.registry import build
from bench.video.sequence import open_sequence

card, clip, folder = map(Path, sys.argv[1:])
codec = ChildCodec(build(load_card(card), folder=card.parent, trust=True), card.parent, trust=True)
codec.encode(open_sequence(clip, frames=1), RatePoint("level", 1), folder / "bitstream.bin")
print("ready", flush=True)
codec.encode(open_sequence(clip, frames=1), RatePoint("level", 9), folder / "bitstream.bin")
"""


def test_nothing_is_left_of_a_worker_that_was_killed(prepared: Make, sequence: Sequence, tmp_path: Path) -> None:
    prepared()
    argv = [sys.executable, "-c", _WORKER, str(tmp_path / "codecs" / "prepared.toml"), str(sequence.path)]
    with subprocess.Popen([*argv, str(tmp_path)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        # supervisor, warm process, the fork's supervisor, the fork
        assert wait_until(lambda: len(psutil.Process(worker.pid).children(recursive=True)) >= 4)
        family = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
    assert wait_until(lambda: all(gone(member.pid) for member in family))
