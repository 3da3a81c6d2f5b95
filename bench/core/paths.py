"""Paths of this machine, told from addresses: what is read and written lies in file systems."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import UsageError

# two letters at least, and one slash where a Path has already swallowed the other
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local_path(given: str | Path) -> Path:
    """The path that was given; UsageError for an address such as s3://bucket/folder or https://host/clip.y4m."""
    if not _ADDRESS.match(str(given)):
        return Path(given)
    scheme, _, rest = str(given).partition(":")
    rest = rest.lstrip("/")
    if scheme.lower() == "file":
        raise UsageError(f"{scheme}:///{rest} is an address; give the path itself, /{rest}")
    raise UsageError(
        f"{scheme}://{rest} is an address, and vcbench reads and writes files: download what is to be read, and let "
        "results go to a folder of a file system, whose renames replace a file at once as no object store's do "
        "(docs/how-to/scale-out.md)"
    )


def readable(text: str) -> str:
    """A name or message as text: bytes of file names that are no UTF-8, which no JSON file can hold, as \\xe9."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
