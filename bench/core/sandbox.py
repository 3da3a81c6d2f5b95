"""A sandbox for programs of strangers: no network, a private view of files, bounded memory.

A program sees its own files and the system's, which it cannot change, the folder that it works in, and an empty /tmp;
no other process, no other device. It is made by bubblewrap where that is installed, by Linux namespaces or by Landlock
and seccomp where not. `VCBENCH_SANDBOX` names one of them, or "off".
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from bench.core.environment import inherited
from bench.errors import UnavailableError, UsageError

ENVIRONMENT = "VCBENCH_SANDBOX"
Method = Literal["bubblewrap", "namespaces", "landlock"]

DEFAULT_TIME_S = 3600.0
"""Seconds that a program in the sandbox may take where nothing else is said."""

_UNBOUNDED = "memory is limited for each process, the number of processes is not"
UNPROTECTED = {
    "bubblewrap": _UNBOUNDED,
    "namespaces": _UNBOUNDED,
    "landlock": f"programs see names and command lines of other processes; {_UNBOUNDED}",
}
"""What is not protected, by method."""

_LAUNCHER = Path(__file__).with_name("confine.py")
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
    "/sys/devices/system/cpu",
)  # fmt: skip
_PASSED = frozenset(
    ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "PYTHONHASHSEED", "PYTHONPATH", "PYTHONWARNINGS",
     "PYTHONUTF8", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
     "HF_HUB_CACHE", "TORCH_HOME", "VIRTUAL_ENV")
)  # fmt: skip
_PASSED_PREFIXES = ("LC_", "VCBENCH_", "OMP_", "MKL_", "OPENBLAS_", "NUMBA_", "TORCH_", "CUBLAS_", "PYTORCH_")
_GPU = ("/dev/dri", "/dev/kfd")
_FILE_BYTES = 1 << 36
_TEMPORARY_BYTES = 1 << 32
_PROBE_S = 20
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


@dataclass(frozen=True)
class Sandbox:
    """How programs are confined. ``memory`` is in bytes, for each process; ``gpu``: whether GPUs may be used."""

    method: Method
    memory: int
    gpu: bool = False

    def command(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        read: Iterable[Path] = (),
        write: Iterable[Path] = (),
        environment: dict[str, str] | None = None,
    ) -> list[str]:
        """Command line that runs ``argv`` in ``folder``, which it may write to.

        ``read`` are files and folders that it sees beside the system's, ``write`` those that it may change. Variables
        that may hold secrets are left out; ``environment`` adds some.
        """
        home = str(folder.absolute()) if self.method == "landlock" else "/tmp"  # noqa: S108 - its own, and empty
        system = [Path(path) for path in _SYSTEM]
        spec: dict[str, Any] = {
            "method": self.method,
            "memory": self.memory,
            "file": _FILE_BYTES,
            "temporary": min(_TEMPORARY_BYTES, self.memory),
            "folder": str(folder.absolute()),
            "read": _outermost([*(path for path in system if not path.is_symlink()), *read]),
            "write": _outermost([folder, *write]),
            # Python looks for its packages by listing the folder that they lie in
            "listed": [str(_LAUNCHER.parents[2])],
            "links": {str(path): str(path.readlink()) for path in system if path.is_symlink()},
            "devices": _gpu_devices() if self.gpu else [],
            "environment": {**passed(), **(environment or {}), "HOME": home, "TMPDIR": home, "USER": "vcbench"},
        }
        if self.gpu:
            spec["read"] = _outermost([*map(Path, spec["read"]), Path("/sys")])
        started = [*_bubblewrap(spec), *argv] if self.method == "bubblewrap" else list(argv)
        if self.method != "namespaces":
            spec["read"] = spec["read"] if self.method == "landlock" else []
        return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(spec), *started]


def _bubblewrap(spec: dict[str, Any]) -> list[str]:
    program = shutil.which("bwrap")
    if program is None:
        raise UnavailableError("bwrap is not on PATH; install bubblewrap")
    argv = [program, "--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    for link, target in spec["links"].items():
        argv += ["--symlink", target, link]
    argv += ["--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]  # noqa: S108 - a file system of its own
    for path in spec["devices"]:
        argv += ["--dev-bind-try", path, path]
    for path in spec["read"]:
        argv += ["--ro-bind-try", path, path]
    for path in spec["write"]:
        argv += ["--bind", path, path]
    return [*argv, "--remount-ro", "/", "--chdir", spec["folder"], "--"]


def _outermost(paths: Iterable[Path]) -> list[str]:
    """Paths that exist, those inside others left out, outer ones first."""
    kept: list[str] = []
    for path in sorted({os.path.normpath(path.absolute()) for path in paths if path.exists()}):
        if not any(path == outer or path.startswith(f"{outer.rstrip('/')}/") for outer in kept):
            kept.append(path)
    return kept


def passed() -> dict[str, str]:
    """The variables of this environment that programs in a sandbox get: what a codec may depend on, and no secrets."""
    return {
        name: value
        for name, value in inherited().items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }  # fmt: skip


def _gpu_devices() -> list[str]:
    return [*map(str, sorted(Path("/dev").glob("nvidia*"))), *(path for path in _GPU if Path(path).exists())]


def chosen() -> Sandbox | None:
    """The sandbox that this machine offers; None where it has none, or where VCBENCH_SANDBOX is "off".

    Raises UnavailableError where VCBENCH_SANDBOX names one that cannot be made here.
    """
    wanted = os.environ.get(ENVIRONMENT, "")
    if wanted == "off":
        return None
    if wanted not in ("", "auto", *get_args(Method)):
        raise UsageError(f"{ENVIRONMENT}={wanted} is not a sandbox; use auto, {', '.join(get_args(Method))} or off")
    for method in get_args(Method):
        if wanted in ("", "auto", method) and problem(method) is None:
            return Sandbox(method, _memory())
    if wanted in get_args(Method):
        raise UnavailableError(f"{ENVIRONMENT}={wanted} cannot be made here: {problem(wanted)}")
    return None


def required() -> Sandbox:
    """The sandbox that this machine offers; UnavailableError, with the reasons, where it has none."""
    found = chosen()
    if found is None:
        raise UnavailableError(f"sandbox: {describe()}")
    return found


@cache
def problem(method: Method) -> str | None:
    """Why a sandbox cannot be made on this machine, found by making one; None where it can."""
    if sys.platform != "linux":
        return "it needs Linux"
    with tempfile.TemporaryDirectory() as name:
        try:
            argv = Sandbox(method, _memory()).command(["/bin/sh", "-c", "echo made"], folder=Path(name))
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_PROBE_S)
        except (UnavailableError, OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if done.returncode == 0 and done.stdout == "made\n":
        return None
    return (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]


def describe() -> str:
    """Which sandbox is in force and what it leaves unprotected; what to do where there is none."""
    found = chosen()
    if found is not None:
        return f"{found.method}: no network, a private view of files; {UNPROTECTED[found.method]}"
    if os.environ.get(ENVIRONMENT) == "off":
        return f"off by {ENVIRONMENT}: {NOTHING}"
    reasons = "; ".join(f"{method}: {problem(method)}" for method in get_args(Method))
    return f"none ({reasons}): {NOTHING}. Install bubblewrap, or verify in a container without network and secrets"


NOTHING = (
    "decoders and encoders of verify, reports and cards can read your files, use the network and see other processes"
)


@contextmanager
def unreadable() -> Iterator[None]:
    """While it lasts, other processes of this user cannot open this process's files or read its memory.

    Those of root can, and other systems than Linux do not have it.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    before = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_DUMPABLE, before, 0, 0, 0)


def _memory() -> int:
    """Three quarters of the machine's memory, in bytes."""
    return max(1 << 31, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4)
