"""Libraries that come with an extra: whether they are installed, in which version, without importing them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from bench.errors import UnavailableError

NEURAL = "neural"
"""The extra with torch and what our own codecs take."""
PERCEPTUAL = "perceptual"
"""The extra with the metrics on deep features, and NEURAL."""


def require(*modules: str, extra: str) -> None:
    """Raise UnavailableError, naming the extra to install, unless the modules are installed; imports none of them."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"{', '.join(missing)} not installed: {how_to_install(extra)}"
            + (" (compressai has no wheels beyond Python 3.12)" if "compressai" in missing else "")
        )


def how_to_install(*extras: str) -> str:
    """The command that adds extras to an installation."""
    return f"pip install 'vcbench[{','.join(extras)}]'"


def versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each library, "none" for one that is not installed."""
    return {name: _version(name) or "none" for name in names}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
