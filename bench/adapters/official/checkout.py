"""Codecs from a research repository: the user's checkout of it, its weights, and the interpreter it runs in.

Each is named by the card or by an environment variable; what is missing is said together with how to get it.
"""

from __future__ import annotations

import json
import os
import tempfile
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from bench.adapters.base import Settings
from bench.adapters.sandbox_view import interpreter_view
from bench.adapters.worker import SERVER, WorkerCodec, interpreter, whole_path
from bench.core import process
from bench.core.files import files_digest
from bench.errors import UnavailableError

DEVICE = "VCBENCH_DEVICE"

_VERSIONS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class CheckoutSettings(Settings):
    """Where a research repository is; without these the adapter's environment variables say it."""

    checkout: str | None = Field(default=None, description="folder of the checkout; takes --trust, as a program does")
    interpreter: str | None = Field(default=None, description="Python of its environment; takes --trust likewise")


class CheckoutCodec(WorkerCodec):
    """Base of the adapters to research repositories; subclasses name theirs."""

    settings_model = CheckoutSettings
    settings: CheckoutSettings

    variable: ClassVar[str]
    """Environment variable that names the checkout; with _PYTHON behind it, the interpreter."""

    repository: ClassVar[str]
    """Where to clone it from, and which folder of it is meant."""

    entry: ClassVar[str]
    """A file by which the checkout is known to be the right one."""

    sources: ClassVar[tuple[str, ...]]
    """Patterns of the files whose digest stands for the code's version."""

    packages: ClassVar[tuple[str, ...]]
    """Distributions that the interpreter must have, and whose versions key a result."""

    requirements: ClassVar[str]
    """How the interpreter comes to have them."""

    worker_file: ClassVar[str]
    """Name of the file with the worker's three functions, beside the one that serves it."""

    @property
    def checkout(self) -> Path:
        """Folder of the checkout; UnavailableError saying what to do."""
        named = self._named(self.settings.checkout, self.variable)
        if named is None:
            raise UnavailableError(f"set {self.variable} to a checkout: {self.repository}")
        folder = whole_path(self.variable, named)
        if not (folder / self.entry).is_file():
            raise UnavailableError(
                f"{self.variable}: {folder} holds no {self.entry}; name the right folder: {self.repository}"
            )
        return folder

    @property
    def interpreter(self) -> str:
        """Python of the codec's environment; UnavailableError saying what to do."""
        if self.settings.interpreter is not None:
            self.require_trust(f"would run {self.settings.interpreter}")
            return self.settings.interpreter
        return interpreter(f"{self.variable}_PYTHON", self.requirements)

    @property
    def worker(self) -> Path:
        """Our file with the worker's three functions."""
        return SERVER.with_name(self.worker_file)

    def seen(self) -> tuple[Path, ...]:
        return (*interpreter_view(self.interpreter), SERVER.parent, self.checkout)

    def command(self) -> tuple[str, ...]:
        return (self.interpreter, str(SERVER), str(self.worker))

    def check(self) -> None:
        """Raise UnavailableError with everything that is missing, and how to get it."""
        problems: dict[str, None] = {}
        for step in (self._check_packages, self.model_files, self.check_built):
            try:
                step()
            except UnavailableError as error:
                problems[str(error)] = None
        if problems:
            raise UnavailableError("; ".join(problems))

    def check_built(self) -> None:
        """Raise UnavailableError if something in the checkout is to be built or fetched first."""
        _ = self.checkout

    def _check_packages(self) -> None:
        missing = [name for name in self.packages if name not in self._installed]
        if missing:
            raise UnavailableError(f"{', '.join(missing)} not installed for {self.interpreter}: {self.requirements}")

    def tool(self) -> dict[str, str]:
        files = sorted({path for pattern in self.sources for path in self.checkout.glob(pattern)})
        return {
            "code_sha256": files_digest([*files, self.worker]),
            **self._installed,
            **super().tool(),
            "device": os.environ.get(DEVICE) or "auto",
        }

    def worker_settings(self) -> dict[str, Any]:
        """The card's own settings, the checkout, the device, and the weight files by name."""
        files = {name: str(path) for name, path in self.model_files().items()}
        own = self.settings.model_dump(exclude={"checkout", "interpreter"})
        return {**own, "checkout": str(self.checkout), "device": os.environ.get(DEVICE) or "auto", "files": files}

    @abstractmethod
    def model_files(self) -> dict[str, Path]:
        """Its weight files, which the checkout holds where its authors say, or variables name."""

    def weights(self, variable: str | None, inner: str, get: str) -> Path:
        """A weight file: named by a variable, or at its place in the checkout; UnavailableError saying what to do."""
        named = os.environ.get(variable) if variable else None
        path = whole_path(str(variable), named) if named else self.checkout / inner
        if path.is_file():
            return path
        if named:
            raise UnavailableError(f"{variable}={named} is not a file; correct it or unset it")
        raise UnavailableError(f"{path}: no such file; {get}" + (f", or set {variable} to it" if variable else ""))

    def _named(self, setting: str | None, variable: str) -> str | None:
        if setting is not None:
            self.require_trust(f"would run code below {setting}")
            return setting
        return os.environ.get(variable) or None

    @cached_property
    def _installed(self) -> dict[str, str]:
        """Versions of Python and of the packages that the interpreter has; nothing is imported there."""
        argv = [self.interpreter, "-c", _VERSIONS, *self.packages]
        try:
            with tempfile.TemporaryDirectory() as folder:
                out, err, status = process.run(self.confined(argv, Path(folder)))
            found: dict[str, str] = json.loads(out)
        except (OSError, process.ProcessError, ValueError) as error:
            raise UnavailableError(f"{self.interpreter}: does not run as a Python interpreter: {error}") from None
        if status:
            raise UnavailableError(f"{self.interpreter}: does not run as a Python interpreter: {err}")
        return found
