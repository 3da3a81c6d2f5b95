"""Paths of this machine, told from addresses: what is read and written lies in file systems."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from bench.errors import UsageError

_LISTED = 8
"""Names that a message lists."""

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
        f"{scheme}://{rest} is an address, and vcbench reads and writes files: download the input first, and write "
        "results to a folder of a file system, where a rename replaces a file at once, as object stores cannot do "
        "(docs/how-to/scale-out.md)"
    )


def existing_path(path: Path, *, folder: bool = False) -> Path:
    """The path, which is there, and a folder where one is asked for; else UsageError with what may have been meant."""
    if path.is_dir() or (path.exists() and not folder):
        return path
    if path.exists():
        raise UsageError(f"{path}: is a file, and a folder is needed here; name its folder, {path.parent}")
    what = "folder" if folder else "file or folder"
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if parent != path.parent:
        raise UsageError(
            f"{path}: there is no such {what}; {parent} has no {path.relative_to(parent).parts[0]!r} in it"
        )
    try:
        beside = sorted(one.name for one in parent.iterdir() if one.is_dir() or not folder)
    except OSError:
        beside = []
    near = get_close_matches(path.name, beside, n=3, cutoff=0.6)
    if near:
        raise UsageError(f"{path}: there is no such {what}; did you mean {', '.join(near)}?")
    listed = ", ".join(beside[:_LISTED]) + (f" and {len(beside) - _LISTED} more" if len(beside) > _LISTED else "")
    raise UsageError(f"{path}: there is no such {what}; {parent.resolve()} has {listed or 'nothing in it'}")


def readable(text: str) -> str:
    """A name or message as text: bytes of file names that are no UTF-8, which no JSON file can hold, as \\xe9."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
