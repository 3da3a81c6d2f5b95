"""Libraries that codecs in Python need: whether they are installed, in which version, without importing them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from bench.errors import UnavailableError


def require(names: Iterable[str]) -> None:
    """Raise UnavailableError, saying what to install, where a library is missing."""
    missing = [name for name in names if _version(name) is None]
    if missing:
        raise UnavailableError(
            f"{', '.join(missing)} not installed: pip install {' '.join(missing)}"
            + (" (it has wheels up to Python 3.12)" if "compressai" in missing else "")
        )


def versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each library, "none" for one that is not installed."""
    return {name: _version(name) or "none" for name in names}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
