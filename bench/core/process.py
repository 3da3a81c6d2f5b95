"""Run an external program: nothing of it is left behind, a time limit, its cost, and the end of what it said."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Literal, Protocol, Self
from weakref import WeakSet

from bench.core import supervisor
from bench.core.energy import EnergyMeter
from bench.core.environment import inherited
from bench.core.supervisor import family

STDERR_TAIL = 4000
_PIPE_BYTES = 1 << 20
_MEMORY_POLL_S = 0.05
_FAMILY_POLL_S = 0.5
_ENOUGH_S = 15.0
"""Seconds in which a supervisor ends whatever can be ended."""


_SUPERVISOR = str(supervisor.__file__)
_COMPILED = str(supervisor.__spec__.cached)
"""Where importing it leaves it compiled, or else it would be compiled anew for each program."""


@dataclass(frozen=True)
class Usage:
    """Cost of one process: seconds of wall and CPU time (children included), peak resident memory in bytes.

    ``start_s``: of a fork, seconds of CPU time that the start of the process took that it was forked from, and which
    are not among its own; None for a program. ``energy_j``: joules that the machine's processors took meanwhile, for
    whatever ran on them; None where the machine does not tell (`bench.core.energy`).
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    start_s: float | None = None
    energy_j: float | None = None

    def to_dict(self) -> dict[str, float | None]:
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
            how = f"ran past its time limit of {limit:g} s and was ended with all that it had started"
        elif returncode < 0:
            how = f"was ended by signal {_signal_name(-returncode)}"
        else:
            how = f"exited with status {returncode}"
        super().__init__(f"{shlex.join(self.argv)}\n  {how}" + (f"; it said:\n{stderr}" if stderr else ""))


class StoppedError(BaseException):
    """The thread was told to stop by ``stop_programs``; no fault of a program, and no outcome of a cell."""


_running: WeakSet[Process] = WeakSet()
_stopped: WeakSet[threading.Thread] = WeakSet()
_changing = threading.Lock()


def raise_if_stopped() -> None:
    """Raise StoppedError in a thread that was told to stop."""
    if threading.current_thread() in _stopped:
        raise StoppedError


def stop_programs(threads: Iterable[threading.Thread]) -> None:
    """End the programs that these threads run. What waits for one, or would start another, raises StoppedError."""
    with _changing:
        _stopped.update(threads)
        running = list(_running)
    for process in running:
        process.stop()


class Begun(Protocol):
    """A supervisor that was started, as subprocess.Popen has it."""

    @property
    def stdin(self) -> IO[bytes] | None: ...

    @property
    def stdout(self) -> IO[bytes] | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Supervised:
    """A program that leaves nothing behind, whatever it starts and whoever is killed (bench/core/supervisor.py).

    ``settings`` are those of subprocess.Popen. ``pid`` is the program's. Raises OSError if it cannot be started. When
    this process ends, in whatever way, or ``close`` is called, the program ends with all of its descendants.
    """

    def __init__(self, argv: Sequence[str], *, pass_fds: Sequence[int] = (), **settings: Any) -> None:
        self._channel, theirs = socket.socketpair()
        self._heard = b""
        self._end: tuple[int, Usage] | None = None
        self._supervisor_pid = 0
        try:
            with theirs:
                self._supervisor = self._begin(argv, theirs, pass_fds, settings)
        except BaseException:
            self._channel.close()
            raise
        try:
            word, *numbers = self._line(None) or [b"failed", b"0"]
            if word == b"begun":
                self.pid, self._supervisor_pid = map(int, numbers)
                with contextlib.suppress(TimeoutError):  # the program runs, and has stopped its supervisor
                    word, *numbers = self._line(_ENOUGH_S) or [b"failed", b"0"]
        except BaseException:
            self.close()
            raise
        if word == b"failed":
            self.close()
            for pipe in (self.stdin, self.stdout):
                if pipe is not None:
                    pipe.close()
            number = int(numbers[0])
            if not number:
                raise OSError(f"{argv[0]}: its supervisor was ended while it started")
            raise OSError(number, os.strerror(number), argv[0])

    def _begin(
        self, argv: Sequence[str], theirs: socket.socket, pass_fds: Sequence[int], settings: dict[str, Any]
    ) -> Begun:
        """Start the supervisor, which has the other end of the channel."""
        file = _COMPILED if os.access(_COMPILED, os.R_OK) else _SUPERVISOR
        return subprocess.Popen(
            [sys.executable, "-I", "-S", file, str(theirs.fileno()), *argv],
            pass_fds=[theirs.fileno(), *pass_fds],
            start_new_session=True,
            **settings,
        )

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._supervisor.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._supervisor.stdout

    def family(self) -> list[int]:
        """The program and its living descendants."""
        return family(self._supervisor_pid)[1:]

    def own_rss(self) -> int:
        """Peak resident memory in bytes of what the program was started from."""
        return _high_water_mark(self._supervisor_pid)

    def end(self) -> None:
        """Have the program ended, with all of its descendants; ``wait`` tells how it ended."""
        with contextlib.suppress(OSError):
            self._channel.send(b"e")

    def wait(self, seconds: float | None = None) -> tuple[int, Usage]:
        """Exit status of the program itself (minus the number of a signal) and its cost, once it has ended.

        Raises TimeoutError after so many seconds.
        """
        if self._end is None:
            words = self._line(seconds)
            if words == [b"started"]:  # late, by a supervisor that was stopped for a while
                words = self._line(seconds)
            if words and words[0] == b"ended":
                self._end = int(words[1]), Usage(float(words[2]), float(words[3]), int(words[4]))
            else:  # the supervisor was ended from outside, and the program with it
                self._end = self._supervisor.wait() or -signal.SIGKILL, Usage(0.0, 0.0, 0)
        return self._end

    def _line(self, seconds: float | None) -> list[bytes]:
        """Words of the supervisor's next line; none where it has ended."""
        self._channel.settimeout(seconds)
        while b"\n" not in self._heard:
            try:
                part = self._channel.recv(256)
            except ConnectionError:
                return []
            if not part:
                return []
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line.split()

    def close(self) -> None:
        """End the program and its descendants; returns when they have ended."""
        self._channel.close()
        try:
            self._supervisor.wait(_ENOUGH_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._supervisor.wait()

    def kill(self) -> None:
        """End all without the help of the supervisor, which a program may have stopped."""
        for pid in reversed(family(self._supervisor_pid)) if self._supervisor_pid else ():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


class Process:
    """A running program. Use as a context manager: leaving it ends it and everything it started.

    ``stdin`` and ``stdout`` are binary pipes where asked for. ``begin`` starts it, as `Supervised` does. ``finish``
    waits and returns the Usage, or raises ProcessError. Raises OSError if the program cannot be started.
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
        begin: Callable[..., Supervised] = Supervised,
    ) -> None:
        self._thread = threading.current_thread()
        self._raise_if_stopped()
        self.argv = list(argv)
        self.time_limit = time_limit
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._timed_out = False
        self._usage: Usage | None = None
        self._status = 0
        self._peak_rss = 0
        self._held_s = 0.0
        self._held_since: float | None = None
        target = {"pipe": subprocess.PIPE, "null": subprocess.DEVNULL}
        self._energy = EnergyMeter()
        try:
            self._program = begin(
                self.argv,
                cwd=cwd,
                stdin=target[stdin],
                stdout=target[stdout],
                stderr=self._stderr,
                env={**inherited(), **(env or {})},
            )
        except BaseException:
            self._stderr.close()
            raise
        self._started = time.perf_counter()
        self._inherited_rss = self._program.own_rss()
        for pipe in (self._program.stdin, self._program.stdout):
            if pipe is not None:
                _widen(pipe.fileno())
        with _changing:
            _running.add(self)
        self.stop()  # where that came while it was started
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the program if the thread that runs it was told to stop."""
        if self._thread in _stopped:
            self._program.end()

    def _raise_if_stopped(self) -> None:
        if self._thread in _stopped:
            raise StoppedError

    @property
    def pid(self) -> int:
        """The program's process number."""
        return self._program.pid

    @property
    def stdin(self) -> BinaryIO:
        assert self._program.stdin is not None
        return self._program.stdin  # type: ignore[return-value]

    @property
    def stdout(self) -> BinaryIO:
        assert self._program.stdout is not None
        return self._program.stdout  # type: ignore[return-value]

    @property
    def peak_rss_so_far(self) -> int:
        """Peak resident memory in bytes seen up to now, children included."""
        return self._peak_rss

    def _watch(self) -> None:
        pause = 0.001
        next_family = self._started + _FAMILY_POLL_S / 10
        while not self._ended.wait(pause):
            now = time.perf_counter()
            self._peak_rss = max(self._peak_rss, _high_water_mark(self.pid))
            if now >= next_family:
                self._energy.sample()
                # programs that start others are few, and looking for them can mean reading all of /proc
                self._peak_rss = max(self._peak_rss, sum(map(_high_water_mark, self._program.family())))
                cost = time.perf_counter() - now
                next_family = now + max(_FAMILY_POLL_S, 200 * cost)
            if self.time_limit is not None and self._counted(now) > self.time_limit:
                self._timed_out = True
                self._program.end()
                if not self._ended.wait(_ENOUGH_S):
                    self._program.kill()
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

    def finish(self) -> Usage:
        """Close the pipes, wait for the end; raises ProcessError unless the program exited with 0."""
        if self._usage is None:
            if self._program.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._program.stdin.close()
            if self._program.stdout is not None:
                self._program.stdout.close()  # first, or a program whose output is not wanted would wait for a reader
            self._status, usage = self._program.wait()
            self._ended.set()
            self._watcher.join()
            self._energy.sample()
            self._program.close()  # with what it forked and left behind
            self._usage = replace(usage, peak_rss_bytes=self._peak(usage.peak_rss_bytes), energy_j=self._energy.joules)
        self._raise_if_stopped()
        if self._timed_out or self._status != 0:
            raise ProcessError(
                self.argv,
                self._status,
                self.stderr_tail(),
                timed_out=self._timed_out,
                limit=self.time_limit,
            )
        return self._usage

    def _peak(self, reported: int) -> int:
        # the kernel's own figure counts pages before exec: only above those does it speak of the program
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
            self._program.end()
            with contextlib.suppress(ProcessError, StoppedError):
                self.finish()
        self._stderr.close()


def _widen(fd: int) -> None:
    """Ask for a pipe that holds a good part of a frame; fewer switches between the two processes."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _high_water_mark(pid: int) -> int:
    """Peak resident memory in bytes of one process; 0 where /proc cannot tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    mark = status.find("VmHWM:")
    return int(status[mark + 6 : status.index("kB", mark)]) * 1024 if mark >= 0 else 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return str(number)


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
