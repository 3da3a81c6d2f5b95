"""Runs one program and leaves nothing of it behind: ``python -I -S supervisor.py CHANNEL PROGRAM ARGUMENT...``.

CHANNEL is the number of a socket to the process that wants the program. The supervisor writes lines to it:
``started PID ITS_OWN_PID`` or ``failed ERRNO``, and ``ended STATUS WALL CPU PEAK`` when the program has ended: its exit
status (minus the number of a signal), seconds of wall and CPU time, descendants included that ended before, and peak
resident memory in bytes. When it reads anything there, or the other side closes it, which the kernel does for a process
that was killed, it ends the program and all of its descendants, and then itself. No descendant escapes it: one whose
parents have ended becomes its child (Linux), in whatever session it is.

It imports little, because it starts with each program, and nothing of vcbench.
"""

from __future__ import annotations

import os
import select
import sys
import time

# the modules ctypes and signal themselves would double the time of the start
from _ctypes import call_function, dlopen, dlsym
from _signal import SIG_DFL, SIGKILL, SIGPIPE, SIGSTOP, SIGXFSZ, signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and collections.abc would take longer to import than all else
    from collections.abc import Callable
    from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_TICK_MS = 1000
_TICK_WITHOUT_PIDFD_MS = 10
_GIVE_UP_S = 10.0
"""Seconds after which processes that cannot be killed, such as those of another user, are left."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        call_function(dlsym(dlopen(None, os.RTLD_NOW), "prctl"), (option, value, 0, 0, 0))  # type: ignore[arg-type]


class _Supervisor:
    """The program under supervision. ``status`` is None until it has ended.

    ``become`` turns a copy of this process into the program; an OSError says that it could not be started.
    """

    def __init__(self, channel: int, become: Callable[[int], object]) -> None:
        self.status: int | None = None
        self._channel = channel
        self._owner = os.getppid()
        self._cpu_s = 0.0
        self._peak = 0
        os.set_inheritable(channel, False)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        failure, say_failure = os.pipe()
        self._started = time.monotonic()
        self._program = os.fork()
        if not self._program:
            # before it runs what is not ours, which may stop its supervisor
            self._say(f"begun {os.getpid()} {os.getppid()}")
            _let_become(become, say_failure)
        os.close(say_failure)
        _let_go_of_all_but(channel, failure)
        self.failed = os.read(failure, 16)  # nothing, once the program has taken the place of our copy
        os.close(failure)
        self._say(f"failed {self.failed.decode()}" if self.failed else "started")

    def watch(self) -> None:
        """Wait for the program's end and say so, then for the word to end whatever is left; or for that word alone."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        tick = _TICK_MS
        try:
            poll.register(os.pidfd_open(self._program), select.POLLIN)
        except (AttributeError, OSError):  # an old kernel, or none that has it
            tick = _TICK_WITHOUT_PIDFD_MS
        while True:
            ready = [fd for fd, _ in poll.poll(tick)]
            now = time.monotonic()
            running = self.status is None
            self._reap()
            if running and self.status is not None:
                self._say_ended(now)
                poll = select.poll()
                poll.register(self._channel, select.POLLIN)
                tick = _TICK_MS
            if self._channel in ready or os.getppid() != self._owner:
                return

    def end(self) -> None:
        """Kill the program and all of its descendants."""
        running = self.status is None
        give_up = time.monotonic() + _GIVE_UP_S
        while self._reap() and time.monotonic() < give_up:
            _kill_descendants(self._program)
            time.sleep(0.002)
        if running:
            self._say_ended(time.monotonic())

    def _reap(self) -> bool:
        """Take note of children that have ended, which may be orphans of any depth; whether any are left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._cpu_s += usage.ru_utime + usage.ru_stime
            if pid == self._program:
                self.status = os.waitstatus_to_exitcode(status)
                self._peak = usage.ru_maxrss * (1024 if sys.platform == "linux" else 1)

    def _say_ended(self, now: float) -> None:
        status = -SIGKILL if self.status is None else self.status
        self._say(f"ended {status} {now - self._started!r} {self._cpu_s!r} {self._peak}")

    def _say(self, line: str) -> None:
        try:
            os.write(self._channel, f"{line}\n".encode())
        except OSError:  # nobody listens any more
            pass


def supervise(channel: int, become: Callable[[int], object]) -> NoReturn:
    """Have a copy of this process become a program, watch over it, and end.

    ``become`` is given the number of a pipe that it closes once the program has begun.
    """
    supervisor = _Supervisor(channel, become)
    if not supervisor.failed:
        supervisor.watch()
        supervisor.end()
    os._exit(0)


def _let_become(become: Callable[[int], object], say_failure: int) -> None:
    """Turn this copy of the supervisor into the program, in a session of its own."""
    try:
        supervisor = os.getppid()
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() == supervisor:
            become(say_failure)
    except OSError as error:
        os.write(say_failure, str(error.errno).encode())
    os._exit(127)


def _execute(argv: list[str]) -> None:
    for number in (SIGPIPE, SIGXFSZ):  # Python ignores them, and programs would inherit that
        signal(number, SIG_DFL)
    os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted


def _let_go_of_all_but(*kept: int) -> None:
    """Close the program's pipes here, or their other ends would not see that the program has closed them."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def family(pid: int) -> list[int]:
    """A process and its living descendants, parents first; the process alone where /proc cannot tell."""
    by_parent = None if os.path.exists("/proc/thread-self/children") else _by_parent()
    found = [pid]
    for member in found:
        found.extend(_children(member) if by_parent is None else by_parent.get(member, []))
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as listing:
                    found.extend(map(int, listing.read().split()))
            except OSError:  # it ended while its threads were being listed
                continue
    except OSError:
        pass
    return found


def _by_parent() -> dict[int, list[int]]:
    """Children of every process, for kernels built without lists of them: each is asked for its parent."""
    by_parent: dict[int, list[int]] = {}
    try:
        processes = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        processes = []
    for name in processes:
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                # the program's name, in brackets, may hold anything
                parent = stat.read().rpartition(")")[2].split()[1]
        except OSError:
            continue
        by_parent.setdefault(int(parent), []).append(int(name))
    return by_parent


def _kill_descendants(program: int) -> None:
    """Stop all first, since what is stopped starts no other, then kill all."""
    stopped: set[int] = set()
    while new := set(family(os.getpid())[1:]) - stopped:
        for pid in new:
            _signal(pid, SIGSTOP)
        stopped |= new
    for pid in stopped if os.path.isdir("/proc") else {-program}:  # all of its group, where none can be listed
        _signal(pid, SIGKILL)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:  # it has ended, or is another user's
        pass


if __name__ == "__main__":
    supervise(int(sys.argv[1]), lambda _: _execute(sys.argv[2:]))
