"""Run an external program: a process group of its own, a time limit, its cost, and the end of what it said."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

STDERR_TAIL = 4000
_PIPE_BYTES = 1 << 20
_MEMORY_POLL_S = 0.05
_FAMILY_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1

_LISTS_CHILDREN = Path("/proc/thread-self/children").exists()
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with(parent: int) -> None:
    """A worker that is killed must not leave an encoder running."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before we asked to be told
            os._exit(1)


@dataclass(frozen=True)
class Usage:
    """Cost of one process: seconds of wall and CPU time (children included), peak resident memory in bytes."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int

    def to_dict(self) -> dict[str, float | int]:
        return asdict(self)


class ProcessError(Exception):
    """A program ended with an error; the caller turns it into an error that names the cell.

    ``returncode`` is the exit status, or minus the number of the signal that ended it.
    """

    def __init__(
        self, argv: Sequence[str], returncode: int, stderr: str, *, timed_out: bool, limit: float | None
    ) -> None:
        self.argv = list(argv)
        self.returncode = returncode
        self.stderr = stderr
        self.timed_out = timed_out
        if timed_out:
            how = f"ran past its time limit of {limit:g} s and was ended with its process group"
        elif returncode < 0:
            how = f"was ended by signal {_signal_name(-returncode)}"
        else:
            how = f"exited with status {returncode}"
        super().__init__(f"{shlex.join(self.argv)}\n  {how}" + (f"; it said:\n{stderr}" if stderr else ""))


class Process:
    """A running program. Use as a context manager: leaving it early ends it and everything it started.

    ``stdin`` and ``stdout`` are binary pipes where asked for. ``finish`` waits and returns the Usage, or raises
    ProcessError. Raises OSError if the program cannot be started. It must be started by a thread that outlives it:
    on Linux it is ended with that thread, so that a killed worker leaves no encoder running.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        stdin: Literal["pipe", "null"] = "null",
        stdout: Literal["pipe", "null"] = "null",
        time_limit: float | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.argv = list(argv)
        self.time_limit = time_limit
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._timed_out = False
        self._usage: Usage | None = None
        self._peak_rss = 0
        self._inherited_rss = _high_water_mark(os.getpid())
        self._started = time.perf_counter()
        self._held_s = 0.0
        self._held_since: float | None = None
        target = {"pipe": subprocess.PIPE, "null": subprocess.DEVNULL}
        try:
            self._popen = subprocess.Popen(
                self.argv,
                cwd=cwd,
                stdin=target[stdin],
                stdout=target[stdout],
                stderr=self._stderr,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
                preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509 - two system calls, safe after fork
            )
        except BaseException:
            self._stderr.close()
            raise
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                _widen(pipe.fileno())
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def stdin(self) -> BinaryIO:
        assert self._popen.stdin is not None
        return self._popen.stdin  # type: ignore[return-value]

    @property
    def stdout(self) -> BinaryIO:
        assert self._popen.stdout is not None
        return self._popen.stdout  # type: ignore[return-value]

    @property
    def peak_rss_so_far(self) -> int:
        """Peak resident memory in bytes seen up to now, children included."""
        return self._peak_rss

    def _watch(self) -> None:
        pause = 0.001
        next_family = self._started + _FAMILY_POLL_S / 10
        while not self._ended.wait(pause):
            now = time.perf_counter()
            self._peak_rss = max(self._peak_rss, _high_water_mark(self._popen.pid))
            if now >= next_family:
                # programs that start others are few, and looking for them can mean reading all of /proc
                self._peak_rss = max(self._peak_rss, _peak_memory(self._popen.pid))
                cost = time.perf_counter() - now
                next_family = now + max(_FAMILY_POLL_S, 200 * cost)
            if self.time_limit is not None and self._counted(now) > self.time_limit:
                self._timed_out = True
                self._kill()
                return
            pause = min(2 * pause, _MEMORY_POLL_S)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While whoever reads the program's output is busy with it: that time does not count towards the limit."""
        self._held_since = time.perf_counter()
        try:
            yield
        finally:
            self._held_s += time.perf_counter() - self._held_since
            self._held_since = None

    def _counted(self, now: float) -> float:
        """Seconds that count towards the time limit."""
        since = self._held_since
        return now - self._started - self._held_s - (now - since if since is not None else 0.0)

    def _kill(self) -> None:
        # a descendant that opened a session of its own is in another group, and may hold our pipe open
        descendants = [] if self._popen.returncode is not None else list(_family(self._popen.pid))[1:]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        for pid in descendants:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def finish(self) -> Usage:
        """Close the pipes, wait for the end; raises ProcessError unless the program exited with 0."""
        if self._usage is None:
            if self._popen.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._popen.stdin.close()
            if self._popen.stdout is not None:
                self._popen.stdout.close()  # first, or a program whose output is not wanted would wait for a reader
            _, status, rusage = os.wait4(self._popen.pid, 0)
            wall = time.perf_counter() - self._started
            self._popen.returncode = os.waitstatus_to_exitcode(status)
            self._ended.set()
            self._watcher.join()
            self._kill()  # what it forked and left behind
            self._usage = Usage(wall, rusage.ru_utime + rusage.ru_stime, self._peak(rusage.ru_maxrss * 1024))
        if self._timed_out or self._popen.returncode != 0:
            raise ProcessError(
                self.argv,
                self._popen.returncode,
                self.stderr_tail(),
                timed_out=self._timed_out,
                limit=self.time_limit,
            )
        return self._usage

    def _peak(self, reported: int) -> int:
        # the kernel's own figure counts this process's pages before exec: only above those does it speak of the program
        believed = reported > self._inherited_rss or not self._peak_rss
        return max(self._peak_rss, reported) if believed else self._peak_rss

    def stderr_text(self, limit: int | None = None) -> str:
        """What the program wrote to its standard error, or the last ``limit`` bytes of it."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(0 if limit is None else max(0, size - limit))
        return self._stderr.read().decode("utf-8", "replace").strip()

    def stderr_tail(self) -> str:
        """The last few thousand characters the program wrote to its standard error."""
        return self.stderr_text(STDERR_TAIL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._usage is None:
            self._kill()
            with contextlib.suppress(ProcessError):
                self.finish()
        self._stderr.close()


def _widen(fd: int) -> None:
    """Ask for a pipe that holds a good part of a frame; fewer switches between the two processes."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _family(pid: int) -> Iterator[int]:
    """A process and its living descendants; the process alone where /proc cannot tell."""
    children = _listed_children if _LISTS_CHILDREN else _scanned_children()
    pending = [pid]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(children(current))


def _listed_children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended while its threads were being listed
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in listing.read_text(encoding="ascii").split())
    return found


def _scanned_children() -> Callable[[int], list[int]]:
    """For kernels built without lists of children: every process is asked for its parent."""
    by_parent: defaultdict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the program's name, in brackets, may hold anything
            parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            by_parent[int(parent)].append(int(stat.parent.name))
    return lambda pid: by_parent[pid]


def _high_water_mark(pid: int) -> int:
    """Peak resident memory in bytes of one process; 0 where /proc cannot tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    mark = status.find("VmHWM:")
    return int(status[mark + 6 : status.index("kB", mark)]) * 1024 if mark >= 0 else 0


def _peak_memory(pid: int) -> int:
    """Peak resident memory in bytes of a process and its living descendants, summed."""
    return sum(map(_high_water_mark, _family(pid)))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return str(number)


def cpu_count() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(argv: Sequence[str], *, time_limit: float | None = 60) -> tuple[bytes, str, int]:
    """Run a short program: (standard output, standard error, exit status).

    Raises OSError if it cannot be started, ProcessError if it runs past the limit (seconds).
    """
    with Process(argv, stdout="pipe", time_limit=time_limit) as program:
        out = program.stdout.read()
        try:
            program.finish()
            status = 0
        except ProcessError as error:
            if error.timed_out:
                raise
            status = error.returncode
        return out, program.stderr_text(), status
