"""A network of another library, held to three rules while it loads: no connection, nothing unpickled, all files known.

Python's audit events see what the library does, whatever it calls; they are acted on in the sealing thread alone.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_active = threading.local()
_CONNECTIONS = {"socket.connect", "socket.getaddrinfo"}
_PICKLES = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}


@dataclass
class Seal:
    """What was opened for reading or writing, and what was refused and why."""

    network: bool
    opened: set[Path] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def _refuse(self, what: str, error: type[Exception]) -> None:
        self.refused.append(what)
        raise error(f"{what} is not allowed here")

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str | bytes):
            self.opened.add(Path(os.fsdecode(args[0])).absolute())
        elif event == "pickle.find_class":
            self._refuse(f"a pickle that executes {args[0]}.{args[1]}", pickle.UnpicklingError)
        elif event in _CONNECTIONS and not self.network and not _is_local(args):
            # an OSError, so that libraries fall back to what they have cached
            self._refuse("a connection", ConnectionRefusedError)


@contextmanager
def sealed(*, network: bool = False) -> Iterator[Seal]:
    """Refuse pickles, and connections unless ``network``, in this thread; the seal says what was opened and refused.

    torch.load reads tensors alone, whatever the caller asks of it. A refusal is an exception where it happens, which
    a library may catch and turn into another: look at ``refused``.
    """
    _listen()
    seal = Seal(network)
    outer, _active.seal = getattr(_active, "seal", None), seal
    saved = {name: os.environ.get(name) for name in _PICKLES}
    _set_environment(_PICKLES)
    try:
        yield seal
    finally:
        _set_environment(saved)
        _active.seal = outer


@cache
def _listen() -> None:
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    seal = getattr(_active, "seal", None)
    if seal is not None:
        seal.audit(event, args)


def _is_local(args: tuple[Any, ...]) -> bool:
    """Whether a connection is to a Unix socket, whose address is a path."""
    return len(args) == 2 and isinstance(args[1], str | bytes)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
