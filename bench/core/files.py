"""Files: SHA-256 and other facts, remembered for files that have not changed since; whole writes; the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from bench.errors import UsageError


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, strict (a NaN or an infinity is a ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    # a path in it need not be UTF-8
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogateescape")).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, never a part."""
    # not tempfile's: its files are closed to everyone else, which results on a shared file system must not be
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def home() -> Path:
    """The user's home; a folder of theirs among the temporary files where they have none, as in some containers.

    Raises UsageError where somebody else has made that one.
    """
    try:
        return Path.home()
    except RuntimeError:  # HOME is not set, and the system does not know the user
        own = Path(tempfile.gettempdir()) / f"vcbench-{os.getuid()}"
        with suppress(FileExistsError):
            own.mkdir(mode=0o700)
        found = own.lstat()
        if not S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise UsageError(
                f"{own}: is not yours alone, and you have no home; set HOME, or VCBENCH_CACHE to a folder of your own"
            ) from None
        return own


def cache_folder() -> Path:
    """Folder for what can be made again: VCBENCH_CACHE, or the user's cache folder."""
    named = os.environ.get("VCBENCH_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "vcbench" if base else home() / ".cache" / "vcbench"


# The coarsest time stamps of file systems in use: a file changed twice within this may show one time.
_TICK_NS = 2_000_000_000


def _identity(path: Path) -> list[int]:
    """What the file system changes whenever a file's content can have changed."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _has_settled(identity: list[int]) -> bool:
    _, modified, changed, *_ = identity
    return abs(time.time_ns() - max(modified, changed)) > _TICK_NS


@dataclass(frozen=True)
class Stamp:
    """What the file system says of files at a moment; ``settled`` where a later change cannot fail to show."""

    files: tuple[tuple[int, ...], ...]
    settled: bool

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Stamp:
        """The stamp of files as they are now, and of the links that name them; OSError where one is gone."""
        now = time.time_ns()
        found = [(path.stat(), path.lstat()) for path in paths]
        files = tuple((one.st_size, one.st_mtime_ns, one.st_ctime_ns, link.st_ctime_ns) for one, link in found)
        return cls(files, all(abs(now - max(times)) > _TICK_NS for _, *times in files))


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; read again only when its size, times or inode differ from last time."""
    return remembered(path, "digests", "sha256", hash_file)


def remembered(path: Path, folder: str, name: str, make: Callable[[Path], str]) -> str:
    """What ``make`` says of a file, asked again only when its size, times or inode differ from last time.

    It is kept by ``name`` in that folder of the cache. What it raises is raised, and nothing kept.
    """
    path = path.resolve()
    identity = _identity(path)
    entry = cache_folder() / folder / f"{digest_of(str(path))}.json"
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        if known["identity"] == identity:
            return str(known[name])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    made = make(path)
    if _identity(path) == identity and _has_settled(identity):
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(entry, canonical_json({"identity": identity, name: made}).encode())
        except OSError:
            pass  # a cache folder that cannot be written only costs time
    return made


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 (hex) over the names and contents of several files, in the order given."""
    return digest_of([[path.name, file_digest(path)] for path in paths])
