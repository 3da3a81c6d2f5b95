"""Facts about this run that a reader of its numbers may need."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench._version import __version__
from bench.core.process import cpu_count, memory_bytes

_LIBRARIES = ("numpy", "opencv-python-headless", "numba", "scipy", "pyarrow", "torch")


class Facts:
    """What `collect` tells, looked for in a thread: the programs that it asks answer while a run is planned."""

    def __init__(self, command: list[str] | None = None) -> None:
        self._command = command
        self._told: dict[str, Any] = {}
        self._thread = threading.Thread(target=lambda: self._told.update(collect(command)), daemon=True, name="facts")
        self._thread.start()

    def told(self) -> dict[str, Any]:
        self._thread.join()
        return self._told or collect(self._command)


def collect(command: list[str] | None = None) -> dict[str, Any]:
    """The run (command line, time, revision of the folder it was given in) and the machine it is given on."""
    return {
        **machine(),
        "working_revision": git_revision(Path.cwd()),
        "command": command if command is not None else sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def machine() -> dict[str, Any]:
    """This machine: versions, processor, memory, GPU."""
    return {
        "vcbench": __version__,
        "vcbench_revision": own_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpus": cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpu": gpu_model(),
        "libraries": {name: found for name in _LIBRARIES if (found := _installed(name))},
    }


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Name of the processor, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def gpu_model() -> str | None:
    """Names of the NVIDIA GPUs by the kernel driver, None where there are none."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        text = path.read_text(encoding="utf-8", errors="replace")
        names += [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Model")]
    return ", ".join(names) or None


def gpu_count() -> int:
    """NVIDIA GPUs of this machine, by the kernel driver's files."""
    listed = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return listed or len(list(Path("/dev").glob("nvidia[0-9]*")))


def own_revision() -> str | None:
    """Revision of the checkout that this vcbench is part of, as `git_revision`; None for an installed one.

    One that is installed below somebody's repository, such as in a .venv there, is not of that repository's commit.
    """
    return code_revision(Path(__file__))


def code_revision(file: Path) -> str | None:
    """Revision of the checkout whose commits hold a file, as `git_revision`; None where git does not keep the file."""
    kept = _git(file.parent, "ls-files", "--error-unmatch", "--", file.name)
    return git_revision(file.parent) if kept else None


def git_revision(folder: Path) -> str | None:
    """Revision of the checkout a folder is in, with "-dirty" for uncommitted changes; None outside of one."""
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=12")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says on standard output; None where that is nothing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git of the user's PATH
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
