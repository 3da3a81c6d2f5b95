"""Whether a process that left a file in a shared folder still lives, on this machine or another."""

from __future__ import annotations

import math
import os
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from bench.core.untrusted import parse_json, read_text
from bench.errors import StoreError

BEAT_S = 10.0
"""Seconds between two signs of life of a process, which are new times of its file."""

LOST_AFTER_S = 120.0
"""Seconds without a sign of life after which a process of another machine counts as gone."""

_CLOCK_SLACK_S = 5.0


@cache
def host() -> str:
    """Name of this machine since it was started: two with one name, or one started again, are told apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot[:8]}"


def signature() -> dict[str, Any]:
    """This process, as strict JSON for its file."""
    return {"host": host(), "pid": os.getpid(), "process_started": _started(os.getpid())}


def tag() -> str:
    """This process in a file name, for a file that its process may be killed before signing."""
    return f"{_host_tag()}-{os.getpid()}"


def tagged_lives(text: str, path: Path) -> bool:
    """Whether the process lives that named a file with its ``tag``; of another machine's, the file's times tell."""
    of_host, _, pid = text.partition("-")
    if of_host == _host_tag() and pid.isdecimal():
        return _started(int(pid)) is not None
    return silence(path) < LOST_AFTER_S


def read_signed(path: Path, *, numbers: Iterable[str] = (), texts: Iterable[str] = ()) -> dict[str, Any]:
    """What a process left in its file, as far as it can be used: signed, with these finite numbers and printable texts.

    OSError where the file is gone, ValueError where it is being written or no such process wrote it.
    """
    try:
        content = parse_json(read_text(path, path.parent))
        pid = int(content["pid"])
        words = {"host": str(content.get("host", host())), **{name: str(content[name]) for name in texts}}
        times = {name for name in ("process_started", "since") if name in content}
        found = {name: float(content[name]) for name in (*times, *numbers)}
    except (StoreError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not (0 < pid < 1 << 31 and all(map(math.isfinite, found.values()))):
        raise ValueError(f"{path}: has numbers that no process has")
    if not all(text.isprintable() for text in words.values()):
        raise ValueError(f"{path}: has names that cannot be shown")
    return {**content, **words, **found, "pid": pid}


def lives(content: Mapping[str, Any], path: Path) -> bool:
    """Whether the process lives that signed a file.

    On this machine the system knows; of another, the file's times tell, by the clock of the file system.
    """
    if content.get("host", host()) == host():
        started = _started(int(content["pid"]))
        # a clock that is being set moves the times of processes a little
        return started is not None and abs(content.get("process_started", started) - started) < _CLOCK_SLACK_S
    return silence(path) < LOST_AFTER_S


def silence(path: Path) -> float:
    """Seconds since the last sign of life in a file or folder; infinite where it is gone."""
    try:
        return _now(path.parent) - path.stat().st_mtime
    except OSError:
        return float("inf")


@contextmanager
def beating(path: Path) -> Iterator[None]:
    """Give signs of life by a file's times until the block ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, daemon=True, name="beat").start()
    try:
        yield
    finally:
        ended.set()


def _host_tag() -> str:
    return f"{zlib.crc32(host().encode()):08x}"


def _started(pid: int) -> float | None:
    """When a process was started; None for one that is gone."""
    if Path("/proc/self/stat").is_file():  # psutil takes longer to import than a small encode to start
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if state in {b"Z", b"X"} else int(fields[18]) / os.sysconf("SC_CLK_TCK") + _booted()
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


@cache
def _booted() -> float:
    stat = Path("/proc/stat").read_text(encoding="ascii")
    return next(float(line.split()[1]) for line in stat.splitlines() if line.startswith("btime"))


def _now(folder: Path) -> float:
    """Time by the clock that stamps a folder's files; this machine's where nothing can be written there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()
