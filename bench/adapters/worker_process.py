"""A worker: a program in an interpreter of its own that encodes and decodes as it is asked over a socket.

Requests and replies are JSON, one per line; docs/reference/worker-protocol.md has them. The socket is neither standard
input nor output, so that nothing that research code prints can break the protocol.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Timer
from types import TracebackType
from typing import Any, Self

from bench.core.environment import inherited
from bench.core.process import Supervised
from bench.core.strict_json import plain_text

PROTOCOL = 1
CHANNEL = "VCBENCH_WORKER_FD"
"""Environment variable with the number of the worker's end of the socket."""

LONGEST_REPLY = 1 << 24
"""Bytes."""

HELLO_S = 300.0
"""Seconds that a worker has to say what it runs; it may import large libraries before."""

GOODBYE_S = 30.0
"""Seconds that a worker has to end after its last reply."""

_REASONS = {"unavailable": "worker_unavailable", "memory": "oom", "failed": "worker_failed"}


class WorkerError(Exception):
    """A worker did not do what it was asked; ``reason`` is the short cause that is stored with a failed cell."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WorkerProcess:
    """A running worker. Use as a context manager: leaving it ends the process.

    What it prints goes to our standard error. Raises WorkerError if it cannot be started.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        self._name = " ".join(argv)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._program = Supervised(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    pass_fds=[theirs.fileno()],
                    env={**inherited(), CHANNEL: str(theirs.fileno())},
                )
            except OSError as error:
                ours.close()
                raise WorkerError("not_started", f"{argv[0]}: cannot be started: {error}") from None
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._timed_out = False
        self._replies = ours.makefile("rb")

    def hello(self, settings: dict[str, Any]) -> dict[str, str]:
        """Names and versions of what the worker runs.

        Raises WorkerError if it speaks another protocol, or is silent for HELLO_S seconds.
        """
        with self._limited(HELLO_S):
            reply = self.ask("hello", {"protocol": PROTOCOL, "settings": settings})
        if reply.get("protocol") != PROTOCOL:
            raise WorkerError(
                "protocol",
                f"{self._name}: speaks version {reply.get('protocol')!r} of the protocol, this vcbench {PROTOCOL}",
            )
        return {plain_text(name): plain_text(version) for name, version in reply.get("versions", {}).items()}

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        """End the worker unless the block ends in time."""

        def end() -> None:
            self._timed_out = True
            self._program.end()

        timer = Timer(seconds, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def ask(self, request: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply. Raises WorkerError with the worker's reason, or with ours."""
        with suppress(OSError):  # one that has hung up may have said why: its last words are read all the same
            self._socket.sendall(json.dumps({"request": request, **fields}).encode() + b"\n")
        return self._checked(self._read(request), request)

    def _read(self, request: str) -> dict[str, Any]:
        try:
            line = self._replies.readline(LONGEST_REPLY)
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            if len(line) == LONGEST_REPLY:
                raise self._unspeakable(request, f"more than {LONGEST_REPLY} bytes")
            raise self._lost(request)
        try:
            reply = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            shown = line[:80].decode("utf-8", "replace").strip()
            raise self._unspeakable(request, f"what is not JSON ({error}): {shown}") from None
        if not isinstance(reply, dict):
            raise self._unspeakable(request, f"a JSON {type(reply).__name__} instead of an object")
        for table in ("versions", "notes"):
            if not isinstance(reply.get(table, {}), dict):
                raise self._unspeakable(request, f"{table} that are not an object: {reply[table]!r}")
        return reply

    def _checked(self, reply: dict[str, Any], request: str) -> dict[str, Any]:
        if reply.get("ok") is True:
            return reply
        reason = _REASONS.get(str(reply.get("error")))
        if reply.get("ok") is not False or reason is None:
            raise self._unspeakable(request, f"not ok and not an error of the protocol: {reply}")
        raise WorkerError(reason, f"{self._name}: {request}: {reply.get('message')}")

    def _unspeakable(self, request: str, what: str) -> WorkerError:
        return WorkerError("protocol", f"{self._name}: replies to {request} with {what}")

    def _lost(self, request: str) -> WorkerError:
        """What became of a worker that hung up."""
        if self._timed_out:
            return WorkerError("timeout", f"{self._name}: did not reply to {request} in {HELLO_S:g} s and was ended")
        try:
            status, _ = self._program.wait(GOODBYE_S)
        except TimeoutError:
            return WorkerError("worker_lost", f"{self._name}: hung up before it replied to {request}")
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return WorkerError("worker_lost", f"{self._name}: {how} before it replied to {request}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replies.close()
        self._socket.close()
        try:
            if error is None:
                with suppress(TimeoutError):
                    self._program.wait(GOODBYE_S)
        finally:
            self._program.close()


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
