"""Folders that vcbench writes into: whose they are, what may be removed there, and one writer at a time.

A folder that vcbench made holds ``vcbench.json``, which says what the folder is and, of reports, which files vcbench
wrote there, with their digests. Nothing else in such a folder is ever removed or replaced.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from bench.core.files import hash_file, write_atomically
from bench.core.untrusted import parse_json, read_text
from bench.errors import StoreError

MARKER = "vcbench.json"
"""The file that tells what a folder is that vcbench made."""

_KIND = "vcbench"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EARLIER = {
    "report": ("data/index.js", b'vcbench.put("index",'),
    "paper": ("paper.tex", rb"\documentclass[10pt,twocolumn]{article}"),
    "leaderboard": ("leaderboard.json", b'{\n "anchor"'),
}
"""How a file begins by which a folder is known that a vcbench wrote before there were markers."""
_PARTIAL = re.compile(r"\.vcbench-[0-9a-f]{16}")
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}

_LOG = logging.getLogger(__name__)


def kind_of(folder: Path) -> str | None:
    """What vcbench made a folder for, such as "result set"; None for any other folder."""
    kind = _marker(folder).get(_KIND)
    return kind if isinstance(kind, str) else None


def entries(folder: Path) -> list[str]:
    """Names in a folder, in order, without hidden ones and what a new file system begins with; none where it is not."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name != "lost+found")


def refusal(folder: Path, what: str) -> StoreError:
    """Why a folder with other files in it is not taken."""
    names = entries(folder)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    kind = kind_of(folder)
    state = f"holds a {kind}" if kind else f"holds files that are not a {what} of vcbench ({shown})"
    return StoreError(f"{folder}: {state}; name a new folder, such as {folder / what.replace(' ', '-')}")


def mark(folder: Path, kind: str) -> None:
    """Record what a folder is, unless it is recorded already."""
    with suppress(FileExistsError), (folder / MARKER).open("x", encoding="utf-8") as stream:
        stream.write(f"{json.dumps({_KIND: kind})}\n")


def exclusive(folder: Path) -> AbstractContextManager[int]:
    """Hold the folder's advisory lock (flock), which ends with the process whatever happens to it; its descriptor.

    Where the file system has no such locks, NFS among them, nothing is held.
    """
    return _held(folder, os.O_RDONLY)


def locked(folder: Path) -> AbstractContextManager[int]:
    """Hold a result folder's lock as ``exclusive`` does, on NFS too, which locks files alone that can be written."""
    return _held(folder / MARKER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)


@contextmanager
def _held(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield descriptor
    finally:
        os.close(descriptor)


class Rewriting:
    """A folder that is being written anew: ``path`` takes the new files, which ``rewritten`` puts into their places."""

    def __init__(self, out: Path, path: Path, written: Mapping[str, list[str]]) -> None:
        self.path = path
        self._out = out
        self._written = written

    def reuse(self, name: str) -> bool:
        """Take over a file of the earlier report, by its path in the folder; False where vcbench wrote none there."""
        earlier, target = self._out / name, self.path / name
        if not _is_ours(self._out, name, self._written):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(earlier, target)
        except OSError:
            shutil.copyfile(earlier, target)
        return True


@contextmanager
def rewritten(out: Path, kind: str) -> Iterator[Rewriting]:
    """Write all of a folder's files anew: they come into their places when the block ends, and not if it fails.

    Of what was there, vcbench removes only files that it wrote itself and that have not changed since. A file in the
    way of a new one that is not such is kept under another name; a warning names both. Raises StoreError for a folder
    that is neither new, nor empty, nor of this ``kind``; OSError where it cannot be written.
    """
    check_rewritable(out, kind)
    new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out):
        written = _written(out)
        for path in out.iterdir():  # of calls that were killed
            if _PARTIAL.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and kind_of(path) == kind:
                shutil.rmtree(path, ignore_errors=True)
        folder = Rewriting(out, out / f".vcbench-{secrets.token_hex(8)}", written)
        folder.path.mkdir()
        mark(folder.path, kind)
        try:
            yield folder
            _publish(folder.path, out, kind, written)
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)
            if new:
                with suppress(OSError):  # nothing came of it
                    out.rmdir()


def check_rewritable(out: Path, kind: str) -> None:
    """Raise StoreError unless ``rewritten`` would take the folder; makes nothing."""
    if entries(out) and kind_of(out) != kind and not _is_earlier(out, kind):
        raise refusal(out, kind)


def _is_earlier(out: Path, kind: str) -> bool:
    if kind not in _EARLIER:
        return False
    name, beginning = _EARLIER[kind]
    try:
        with (out / name).open("rb") as stream:
            return not (out / MARKER).exists() and stream.read(len(beginning)) == beginning
    except OSError:
        return False


def _publish(made: Path, out: Path, kind: str, written: Mapping[str, list[str]]) -> None:
    files = (path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    names = sorted(name for name in files if name != MARKER)
    digests = {name: [hash_file(made / name)] for name in names}
    for name in names:
        _check_no_link(out, name)
    if _is_earlier(out, kind):
        there = [name for name in names if (out / name).is_file()]
        written = {name: [hash_file(out / name)] for name in there}
        _LOG.warning("%s: replaced files of a %s that an earlier vcbench wrote: %s", out, kind, ", ".join(there))
    # whenever this is cut short, old files and new ones are known
    both = {name: sorted({*written.get(name, []), *digests.get(name, [])}) for name in {*written, *digests}}
    _leave_word(made, out, kind, both)
    for name in names:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target) and not _is_ours(out, name, both):
            kept = _set_aside(target)
            _LOG.warning("%s: is not as vcbench wrote it; it is kept as %s", target, kept.name)
        (made / name).replace(target)
    for name in sorted(set(written) - set(names)):
        if _is_ours(out, name, written):
            (out / name).unlink()
            with suppress(OSError):  # there is more in it
                (out / name).parent.rmdir()
    _leave_word(made, out, kind, digests)


def _leave_word(made: Path, out: Path, kind: str, files: Mapping[str, list[str]]) -> None:
    content = json.dumps({_KIND: kind, "files": files}, indent=1, sort_keys=True)
    word = made / f"new-{MARKER}"  # where it goes with the rest if this is cut short
    write_atomically(word, f"{content}\n".encode())
    word.replace(out / MARKER)


def _marker(folder: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(folder / MARKER, folder))
    except (OSError, StoreError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _written(out: Path) -> dict[str, list[str]]:
    """Files that vcbench wrote, by their paths in the folder, with the digests they may have."""
    files = _marker(out).get("files")
    return {
        name: [digest for digest in digests if isinstance(digest, str) and _DIGEST.fullmatch(digest)]
        for name, digests in (files.items() if isinstance(files, dict) else ())
        if isinstance(digests, list) and _is_below(name)
    }


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return "\0" not in name and not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _is_ours(out: Path, name: str, written: Mapping[str, list[str]]) -> bool:
    """Whether a file is one that vcbench wrote, as it was written, and reached through no link."""
    path = out / name
    if any(step.is_symlink() for step in (path, *path.parents) if step != out and step.is_relative_to(out)):
        return False
    return name in written and path.is_file() and hash_file(path) in written[name]


def _check_no_link(out: Path, name: str) -> None:
    for step in (out / name).parents:
        if step != out and step.is_relative_to(out) and step.is_symlink():
            raise StoreError(f"{step}: is a link; nothing is written through it: remove it, or name another folder")


def put(made: Path, target: Path) -> None:
    """Move a file to its place; one that is there is kept under another name, and a warning names both.

    OSError where it cannot be moved.
    """
    if os.path.lexists(target):
        kept = _set_aside(target)
        _LOG.warning("%s: is replaced; what was there is kept as %s", target, kept.name)
    made.replace(target)


def _set_aside(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.{number}") for number in count(1))
    target = next(name for name in names if not os.path.lexists(name))
    path.rename(target)
    return target
