"""Writing a result set: every file under its final name is whole, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.bitstream.units import contents
from bench.core.files import hash_file, write_atomically
from bench.core.folders import MARKER, entries, kind_of, locked, mark, refusal
from bench.core.paths import readable
from bench.core.untrusted import is_there, parse_json, read_frames, read_text, regular
from bench.engine.store.liveness import beating, lives, read_signed, signature, tag, tagged_lives
from bench.engine.store.merge import merged, same_bitstream
from bench.errors import BitstreamError, StoreError
from bench.records.cell import BitstreamRecord, CellResult, NewerSchemaError, read_cell

if TYPE_CHECKING:
    import numpy.typing as npt

_MARKER = "marker.json"
"""In a working folder: which process works there on which cell."""

_RESULT_SET = "result set"
_SUBFOLDERS = ("cells", "bitstreams", "frames", "features", "work")
_MADE_LATER = ("sources", "set-aside")

_WORKING_FOLDER = re.compile(r"(?P<cell>.+)\.(?P<tag>[0-9a-f]{8}-(?P<pid>[0-9]+))\.[a-z0-9_]{8}")
"""Name of a working folder: the cell, the process that made it, and what makes it unlike any other."""


def safe_name(text: str) -> str:
    """A text as part of a file name: letters, digits, dots, @, + and - stay, the rest becomes _."""
    return re.sub(r"[^A-Za-z0-9.@+-]", "_", text).lstrip("-.")[:80] or "_"


def check_writable(root: Path) -> None:
    """Raise StoreError if a result folder could not be made or written there; makes nothing.

    A folder that holds anything else than a result set is refused, and so are links in a result set to other places:
    what is replaced and cleaned up there must be vcbench's own.
    """
    if entries(root) and kind_of(root) != _RESULT_SET and not _is_earlier_set(root):
        raise refusal(root, _RESULT_SET)
    for path in (root / name for name in (MARKER, *_SUBFOLDERS, *_MADE_LATER)):
        if path.is_symlink():
            raise StoreError(
                f"{path}: is a link, and vcbench writes into real files and folders of a result set alone; "
                "put the original there, or let the whole result folder be the link"
            )
    folder = root.absolute()
    if readable(str(folder)) != str(folder):
        raise StoreError(f"{readable(str(folder))}: is not UTF-8, which Parquet files need; choose a different --out")
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_writable(root, error) from None


def _is_earlier_set(root: Path) -> bool:
    """Whether a folder without a marker is a result set, as those are that were written before there were markers."""
    if all((root / name).is_dir() for name in _SUBFOLDERS):
        return True  # of a run that was ended before its first result
    for path in (root / "cells").glob("*.json"):
        with suppress(OSError, StoreError, ValueError, TypeError, KeyError, RecursionError):
            content = parse_json(read_text(path, root))
            if content["name"] == path.stem and content["schema_version"]:
                return True
    return False


def _not_writable(root: Path, error: OSError) -> StoreError:
    return StoreError(f"{root}: results cannot be written here ({error.strerror}); choose another --out")


class Store:
    """A result folder open for writing. ``problems`` says which damaged files were set aside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    @classmethod
    def create(cls, root: Path) -> Store:
        """Open or make a result folder; StoreError as of ``check_writable``."""
        check_writable(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            mark(root, _RESULT_SET)
            for name in _SUBFOLDERS:
                (root / name).mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=root / "work"):
                pass
        except OSError as error:
            raise _not_writable(root, error) from None
        return cls(root.resolve())

    def cell_path(self, name: str) -> Path:
        return self.root / "cells" / f"{name}.json"

    def frames_path(self, name: str) -> Path:
        return self.root / "frames" / f"{name}.parquet"

    def bitstream_path(self, record: BitstreamRecord) -> Path:
        return self.root / "bitstreams" / record.file

    def source_path(self, sha256: str, suffix: str) -> Path:
        """Where a copy of a clip lies, for workers that do not see its own path."""
        return self.root / "sources" / f"{sha256}{suffix}"

    def keep_source(self, path: Path, sha256: str) -> Path:
        """Copy a clip, a file or a folder of pictures, into the store; nothing is done for one that is there."""
        target = self.source_path(sha256, path.suffix)
        if target.exists():
            return target
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_name(f".{sha256[:16]}.{secrets.token_hex(8)}")
        try:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, temporary)
            temporary.rename(target)
        except OSError as error:
            if not target.exists():  # a second driver's copy may have come first
                full = is_disk_full(error)
                raise StoreError(
                    f"{path}: cannot be copied into {target.parent}: {error.strerror}"
                    + ("; free some room and give the same command again" if full else "")
                ) from None
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
        return target

    def read(self, name: str) -> CellResult | None:
        """Result of a cell, or None if it has none. A damaged file is set aside, never taken for missing silently.

        Raises NewerSchemaError rather than overwrite what a later vcbench wrote.
        """
        try:
            return self.look(name)
        except NewerSchemaError:
            raise
        except StoreError as error:
            self._set_aside(self.cell_path(name), str(error))
            return None

    def look(self, name: str) -> CellResult | None:
        """Result of a cell, or None if it has none, leaving the folder as it is; StoreError for a damaged file."""
        try:
            return read_cell(self.cell_path(name))
        except FileNotFoundError:
            return None

    def _set_aside(self, path: Path, problem: str) -> None:
        aside = self.root / "set-aside"
        aside.mkdir(exist_ok=True)
        names = (aside / f"{path.stem}.{number}{path.suffix}" for number in count(1))
        target = next(name for name in names if not name.exists())
        with suppress(FileNotFoundError):  # another run may have moved it just now
            path.replace(target)
            self.problems.append(f"{problem}; set aside as {target.relative_to(self.root)}")

    def write(
        self,
        result: CellResult,
        frames: Mapping[str, tuple[float | None, ...]] | None = None,
        *,
        seen: CellResult | None = None,
        wanted: Mapping[str, str] | None = None,
    ) -> CellResult:
        """Store a cell's result and per-frame values, merged with what is stored by now; what is stored is returned.

        Other runs may write the same cell at the same time: nothing that they measured is lost, see
        `bench.engine.store.merge`.
        Of another bitstream than the one stored, a result replaces it only where ``seen``, the result that its worker
        found when it began, is the one that is still there, or its file is damaged; otherwise it is dropped.
        ``wanted`` are the metrics that were to be measured, by name with their keys.
        """
        with locked(self.root):
            stored = self.read(result.name)
            if stored is not None and self._has_precedence(stored, result, seen):
                return stored
            whole = merged(stored, result, wanted or {})
            if whole != stored:
                if stored is not None and result.status == "ok" and not same_bitstream(stored, result):
                    self.frames_path(result.name).unlink(missing_ok=True)
                self.write_frames(result.name, frames or {})
                # not by json, which indents in Python: a third of what a cell costs the driver
                write_atomically(self.cell_path(result.name), f"{whole.model_dump_json(indent=1)}\n".encode())
            return whole

    def _has_precedence(self, stored: CellResult, result: CellResult, seen: CellResult | None) -> bool:
        """Whether a result of another bitstream, which came while this one was made, is to stay."""
        if stored.status != "ok" or result.status != "ok" or same_bitstream(stored, result):
            return False
        if seen is not None and same_bitstream(stored, seen):
            return False
        return stored.bitstream is not None and self.bitstream_is_whole(stored.bitstream)

    def keep_bitstream(self, name: str, path: Path) -> BitstreamRecord:
        """Move a finished bitstream into the store.

        Its digest is part of its file name, so that two runs at once whose encoders differ cannot mix files.
        """
        sha256 = hash_file(path)
        try:
            parts = {str(kind): count for kind, count in contents(path).items()}
        except BitstreamError:
            parts = {}  # its decoder says whether that matters
        record = BitstreamRecord(
            file=f"{name}.{sha256[:8]}{path.suffix}", bytes=path.stat().st_size, sha256=sha256, contents=parts
        )
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        path.replace(self.bitstream_path(record))
        return record

    def bitstream_is_whole(self, record: BitstreamRecord) -> bool:
        """Whether a stored bitstream is there and has the digest that was recorded."""
        path = self.bitstream_path(record)
        try:
            # the size first: it is known without reading the file
            return regular(path, self.root) == record.bytes and hash_file(path) == record.sha256
        except (FileNotFoundError, StoreError):
            return False

    def write_frames(self, name: str, columns: Mapping[str, tuple[float | None, ...]]) -> None:
        """Add per-frame values to a cell's Parquet file; columns of the same name are replaced."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not columns:
            return
        path = self.frames_path(name)
        length = len(next(iter(columns.values())))
        old = self._old_frames(path, length)
        table = {key: _column(values) for key, values in {**old, **columns}.items() if len(values) == length}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(table), sink)
        write_atomically(path, sink.getvalue().to_pybytes())

    def keep_features(self, features: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
        """Store arrays under the digest of their bytes, so that what many cells have in common is there once.

        Returns the file of each, in the folder ``features``.
        """
        import numpy as np

        folder = self.root / "features"
        folder.mkdir(exist_ok=True)
        names = {}
        for side, array in features.items():
            # written as it is read: an array may be a file larger than the memory
            temporary = folder / f".{os.getpid()}.{secrets.token_hex(8)}"
            try:
                with temporary.open("xb") as stream:
                    np.save(stream, array, allow_pickle=False)
                    stream.flush()
                    os.fsync(stream.fileno())
                names[side] = f"{hash_file(temporary)[:32]}.npy"
                temporary.replace(folder / names[side])
            finally:
                temporary.unlink(missing_ok=True)
        return names

    def features_are_whole(self, name: str) -> bool:
        """Whether a file of features is there and has the digest that it is named by."""
        path = self.root / "features" / name
        try:
            return is_there(path, self.root) and hash_file(path)[:32] == path.stem
        except StoreError:
            return False

    def _old_frames(self, path: Path, frames: int) -> dict[str, Any]:
        try:
            return read_frames(path, self.root, frames)
        except FileNotFoundError:
            return {}
        except StoreError as error:
            self._set_aside(path, str(error))
            return {}

    @contextmanager
    def working_folder(self, name: str) -> Iterator[Path]:
        """A folder for one attempt at a cell, removed at its end; its marker tells which process works on the cell."""
        content = json.dumps({"cell": name, "since": time.time(), **signature()})
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.{tag()}.", dir=self.root / "work"))
        marker = folder / _MARKER
        try:
            marker.write_text(content, encoding="utf-8")
            with beating(marker):
                yield folder
        finally:
            _remove(folder)

    def working(self) -> list[dict[str, Any]]:
        """Markers of the cells that living processes work on, on any machine: cell, host, pid, since."""
        return [content for path, content in self._markers() if lives(content, path)]

    def abandoned(self) -> list[str]:
        """Names of cells whose worker is gone; their working folders are removed.

        Removed is what a worker of vcbench made for certain: a folder of such a name that holds the marker of the same
        cell and process, or, of one that was killed before it left its marker, nothing at all.
        """
        names = []
        for folder in self._working_folders():
            made = _WORKING_FOLDER.fullmatch(folder.name)
            if made is None:
                continue
            try:
                content = read_signed(folder / _MARKER, texts=["cell"])
            except (OSError, ValueError):
                if not tagged_lives(made["tag"], folder):
                    _remove_empty(folder)
                continue
            if (content["cell"], content["pid"]) == (made["cell"], int(made["pid"])) and not lives(
                content, folder / _MARKER
            ):
                names.append(made["cell"])
                _remove(folder)
        return names

    def _working_folders(self) -> list[Path]:
        work = self.root / "work"
        if work.is_symlink() or not work.is_dir():
            return []
        return [folder for folder in work.iterdir() if folder.is_dir() and not folder.is_symlink()]

    def _markers(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for path in (folder / _MARKER for folder in self._working_folders()):
            try:
                yield path, read_signed(path, texts=["cell"])
            except (OSError, ValueError):
                continue  # it has ended just now, or is just being written


def _remove_empty(folder: Path) -> None:
    """Remove a working folder with nothing in it but, perhaps, a marker that nothing was written to yet."""
    marker = folder / _MARKER
    with suppress(OSError):
        if marker.is_file() and not marker.is_symlink() and marker.stat().st_size == 0:
            marker.unlink()
        folder.rmdir()


def _remove(folder: Path) -> None:
    """Remove a working folder, its marker last: of one that is killed meanwhile, it tells that nobody works there."""
    clear(folder)
    shutil.rmtree(folder, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove what lies in a working folder, but for its marker."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != _MARKER:
                entry.unlink(missing_ok=True)


def disk_full(root: Path) -> StoreError:
    """What to tell when there is no room for results."""
    return StoreError(
        f"{root}: the disk is full; free some room and give the same command again: what is finished is kept. "
        "A limit of file sizes (ulimit -f) ends a run like a full disk"
    )


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed for want of room."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _column(values: Sequence[float | None]) -> Any:
    """Values as Parquet stores them; NaN is how a frame without one was read.

    Arrow is given the memory itself: asked to convert values, it imports pandas to see whether they are pandas'.
    """
    import numpy as np
    import pyarrow as pa

    numbers = np.array(values, np.float64)
    there = ~np.isnan(numbers)
    bits = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(numbers), [bits, pa.py_buffer(numbers)])
