"""The command line, called in this process or started as a program."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as strict JSON."""

        def refuse(name: str) -> float:
            raise ValueError(f"{name} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


Vcbench = Callable[..., Outcome]
"""Calls a command with arguments of any type."""


def in_process(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Call a command here: a fresh interpreter takes longer than most commands do."""
    from bench.cli import _run

    capsys.readouterr()
    code = _run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def argv(*arguments: object) -> list[str]:
    """Arguments that start a command as a program: to be killed, on a terminal, or beside another one."""
    return [sys.executable, "-m", "bench.cli", *map(str, arguments)]


def program(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """A command that has run as a program; ``settings`` are those of `subprocess.run`."""
    captured = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.run(argv(*arguments), text=True, check=False, **captured)


def on_a_terminal(columns: int, *arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code of a command whose outputs are a terminal of that width, and what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    given = {**os.environ, "TERM": "xterm-256color", **environment}
    given.pop("COLUMNS", None)
    running = subprocess.Popen(argv(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=given)
    os.close(theirs)
    written = bytearray()
    try:
        while part := os.read(ours, 1 << 16):
            written += part
    except OSError:  # a terminal that nobody writes to any more has no end of file
        pass
    os.close(ours)
    return running.wait(), written.decode()
