"""Warm processes: one that has imported and loaded what a codec needs, from which its encodes and decodes are forked.

The start of an interpreter with the networks in it takes longer than many an encode. A warm process does that once in
each worker. It is told of no source and of no bitstream: a request passes through it unread to the process that is
forked, so that a decode is still a process of its own, alone with its file, with the limits and the supervision that
`bench.core.process` gives every program.

`process_of` gives a worker's; `bench.engine.codec_program` is what runs in them.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

from bench.adapters.base import Codec
from bench.adapters.sandbox_view import environment
from bench.core.environment import inherited
from bench.core.files import canonical_json
from bench.core.process import Begun, Supervised, Usage, raise_if_stopped
from bench.core.sandbox import passed
from bench.core.supervisor import supervise

MOST = 4
"""Warm processes that a worker keeps; of more codecs, those go that were used least lately."""

_READY_S = 600.0
"""Seconds that imports and loading may take on a machine that is busy."""

_IDLE_S = 300.0
"""Seconds after which a warm process that nobody asks ends."""

_LOOK_S = 0.1

_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
"""What keeps libraries from starting threads on import, which a fork would lack."""

_lock = threading.Lock()
_processes: OrderedDict[str, WarmProcess] = OrderedDict()
_retired: list[WarmProcess] = []


class LostError(OSError):
    """A warm process has ended."""


class WarmProcess:
    """A worker's side of a warm process; it is started at once, and waited for by the first who wants a fork."""

    def __init__(self, about: Mapping[str, Any], program: str) -> None:
        self._about = about
        self._module = program
        self._starting = threading.Lock()
        self._program: Supervised | None = None
        self._socket: socket.socket | None = None
        self.start_s = 0.0
        """Seconds of CPU time that it took to import and to load."""
        self.usable = True
        """Whether forks can be had, as far as is known."""

    def ready(self) -> bool:
        """Start it where it was not, and wait for it; whether forks can be had. Raises StoppedError."""
        while not self._starting.acquire(timeout=_LOOK_S):
            raise_if_stopped()
        try:
            if self._program is None and self.usable:
                self.usable = self._start()
            return self.usable
        finally:
            self._starting.release()

    def _start(self) -> bool:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-P", "-m", self._module, "serve", str(theirs.fileno()), json.dumps(self._about)]
            null = subprocess.DEVNULL
            self._program = Supervised(
                argv, pass_fds=[theirs.fileno()], cwd=tempfile.gettempdir(), stdin=null, stdout=null, stderr=null,
                env={**inherited(), **{name: os.environ.get(name, "1") for name in _ONE_THREAD}},
            )  # fmt: skip
        until = time.monotonic() + _READY_S
        while not select.select([self._socket], [], [], _LOOK_S)[0]:
            raise_if_stopped()
            if time.monotonic() > until:
                return False
        try:
            said = self._socket.recv(1 << 16)
        except OSError:
            said = b""
        if said:
            self.start_s = float(said)
        return bool(said)

    def fork(self, argv: Sequence[str], **settings: Any) -> Supervised:
        """A fork that does what the words of a command line behind the module's name say.

        ``settings`` are those that `bench.core.process.Process` gives. Raises LostError where the warm process has
        ended.
        """
        assert self._socket is not None
        return _Forked(self._socket, self.start_s, argv, **settings)

    def retire(self) -> None:
        """Have it end once what was forked from it has."""
        self.usable = False
        if self._socket is not None:
            self._socket.close()

    def close(self) -> None:
        """End it, and with it what was forked from it."""
        self.retire()
        if self._program is not None:
            self._program.close()


class _Forked(Supervised):
    """A fork of a warm process, below a supervisor that is one too."""

    def __init__(self, warm: socket.socket, start_s: float, argv: Sequence[str], **settings: Any) -> None:
        self._warm = warm
        self._start_s = start_s
        super().__init__(argv, **settings)

    def _begin(
        self, argv: Sequence[str], theirs: socket.socket, pass_fds: Sequence[int], settings: dict[str, Any]
    ) -> Begun:
        request, say = os.pipe()
        stdin, give = _ends(settings["stdin"], writing=True)
        stdout, take = _ends(settings["stdout"], writing=False)
        fds = [theirs.fileno(), request, stdin, stdout, settings["stderr"].fileno()]
        begun = _Begun(give, take)
        try:
            socket.send_fds(self._warm, [b"f"], fds)
            folder = str(settings["cwd"] or Path.cwd())
            os.write(say, json.dumps([*argv, folder, os.environ.get("TMPDIR")]).encode())
        except OSError as error:
            begun.close()
            raise LostError(error.errno, "the warm process has ended") from None
        finally:
            for fd in (request, say, stdin, stdout):
                os.close(fd)
        return begun

    def wait(self, seconds: float | None = None) -> tuple[int, Usage]:
        status, usage = super().wait(seconds)
        return status, replace(usage, start_s=self._start_s)

    def own_rss(self) -> int:
        # nothing is executed in it, so that the kernel's figure is its own from the start
        return 0

    def close(self) -> None:
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
            self._channel.settimeout(_READY_S)
            try:
                while self._channel.recv(256):
                    pass
            except TimeoutError:
                self.kill()
        self._channel.close()


class _Begun:
    """The pipes of a fork, as subprocess.Popen has them."""

    def __init__(self, stdin: int | None, stdout: int | None) -> None:
        self.stdin: IO[bytes] | None = None if stdin is None else os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] | None = None if stdout is None else os.fdopen(stdout, "rb")

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def close(self) -> None:
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                pipe.close()


def _ends(wanted: int, *, writing: bool) -> tuple[int, int | None]:
    """The fork's end of a stream, and ours where it is a pipe."""
    if wanted == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    reading_end, writing_end = os.pipe()
    return (reading_end, writing_end) if writing else (writing_end, reading_end)


def process_of(codec: Codec, about: Mapping[str, Any], program: str) -> WarmProcess | None:
    """This worker's warm process of a codec, started if need be; None for a codec that is not `prepare`d, or cannot.

    ``about``: what `bench.adapters.child.about_card` says of its card; ``program``: the module that `serve`s.
    """
    if type(codec).prepare is Codec.prepare or sys.platform != "linux":
        return None
    # the same card means another process once a file of it, or what the environment says, is another
    key = canonical_json([dict(about), codec.identity_now(), passed(), environment()])
    with _lock:
        process = _processes.setdefault(key, WarmProcess(about, program))
        _processes.move_to_end(key)
        for _ in range(len(_processes) - MOST):
            surplus = _processes.popitem(last=False)[1]
            surplus.retire()
            _retired.append(surplus)
    return process if process.ready() else None


def forget(process: WarmProcess) -> None:
    """Start another in place of a process that has ended."""
    with _lock:
        for key in [key for key, kept in _processes.items() if kept is process]:
            del _processes[key]
    process.close()


def end_all() -> None:
    """End the warm processes of this worker, and what was forked from them."""
    with _lock:
        ended = [*_processes.values(), *_retired]
        _processes.clear()
        _retired.clear()
    for process in ended:
        process.close()


def serve(asked: socket.socket, codec: Codec, work: Callable[[Sequence[str]], object]) -> None:
    """Prepare a codec, say how long that took, and fork a process for each request that comes.

    Returns when nobody asks any more; in a fork, when its ``work``, which is given the words of its request, is done.
    """
    codec.prepare()
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return  # a fork has one thread, and would wait for the others
    gc.collect()
    gc.freeze()  # or the first collection in a fork would copy all pages
    asked.send(str(time.process_time()).encode())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whatever ends is reaped
    while select.select([asked], [], [], _IDLE_S)[0]:
        word, fds, _, _ = socket.recv_fds(asked, 1, 5)
        if not word:
            break
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked.close()
            channel, *streams = fds
            supervise(channel, partial(_become, streams, work))
        for fd in fds:
            os.close(fd)
    with suppress(ChildProcessError):
        os.wait()  # for all, since none is there to be waited for


def _become(streams: Sequence[int], work: Callable[[Sequence[str]], object], begun: int) -> NoReturn:
    """In a fork: take its streams, read its request and work. Never returns."""
    request, *standard = streams
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
    with os.fdopen(request) as stream:
        *words, folder, temporary = json.load(stream)
    os.chdir(folder)
    _use_for_temporary_files(temporary)
    os.closerange(3, begun)
    os.closerange(begun, os.sysconf("SC_OPEN_MAX"))
    if "numpy" in sys.modules:  # or what a codec leaves to chance would be the same each time, and nobody would see it
        sys.modules["numpy"].random.seed()
    try:
        work(words)
    except Exception:  # as an interpreter tells it: an OSError from here would mean that the fork did not begin
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def _use_for_temporary_files(folder: str | None) -> None:
    """What was prepared may stand for many calls, each with a folder of its own for temporary files, or none."""
    if folder is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
