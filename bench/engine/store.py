"""Writing a result set: every file under its final name is whole, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.digests import hash_file, write_atomically
from bench.errors import StoreError
from bench.results import BitstreamRecord, CellResult, NewerSchemaError, parse_cell

_SUBFOLDERS = ("cells", "bitstreams", "frames", "work")


def safe_name(text: str) -> str:
    """A text as part of a file name: letters, digits, dots, @, + and - stay, the rest becomes _."""
    return re.sub(r"[^A-Za-z0-9.@+-]", "_", text).lstrip("-.")[:80] or "_"


class Store:
    """A result folder open for writing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path) -> Store:
        """Open or make a result folder; StoreError before any work if it cannot be written."""
        try:
            for name in _SUBFOLDERS:
                (root / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root / "work"):
                pass
        except OSError as error:
            raise StoreError(
                f"{root}: results cannot be written here ({error.strerror}); choose another --out"
            ) from None
        return cls(root.resolve())

    def cell_path(self, name: str) -> Path:
        return self.root / "cells" / f"{name}.json"

    def frames_path(self, name: str) -> Path:
        return self.root / "frames" / f"{name}.parquet"

    def bitstream_path(self, record: BitstreamRecord) -> Path:
        return self.root / "bitstreams" / record.file

    def read(self, name: str) -> CellResult | None:
        """Result of a cell, or None if it has none. A damaged file is set aside, never taken for missing silently.

        Raises NewerSchemaError rather than overwrite what a later vcbench wrote.
        """
        path = self.cell_path(name)
        try:
            return parse_cell(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            return None
        except NewerSchemaError:
            raise
        except (StoreError, UnicodeDecodeError):
            aside = self.root / "set-aside"
            aside.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another run may have moved it just now
                path.replace(aside / f"{path.name}.{os.getpid()}")
            return None

    def write(self, result: CellResult) -> None:
        """Write or replace a cell's result file."""
        text = json.dumps(json.loads(result.model_dump_json()), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.cell_path(result.name), f"{text}\n".encode())

    def keep_bitstream(self, name: str, path: Path) -> BitstreamRecord:
        """Move a finished bitstream into the store.

        Its digest is part of its file name, so that two runs at once whose encoders differ cannot mix files.
        """
        sha256 = hash_file(path)
        record = BitstreamRecord(file=f"{name}.{sha256[:8]}{path.suffix}", bytes=path.stat().st_size, sha256=sha256)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        path.replace(self.bitstream_path(record))
        return record

    def bitstream_is_whole(self, record: BitstreamRecord) -> bool:
        """Whether a stored bitstream is there and has the digest that was recorded."""
        path = self.bitstream_path(record)
        return path.is_file() and path.stat().st_size == record.bytes and hash_file(path) == record.sha256

    def write_frames(self, name: str, columns: Mapping[str, tuple[float | None, ...]]) -> None:
        """Add per-frame values to a cell's Parquet file; columns of the same name are replaced."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not columns:
            return
        path = self.frames_path(name)
        table = {key: pa.array(values, pa.float64()) for key, values in columns.items()}
        if path.is_file():
            old = pq.read_table(path)
            table = {**{key: old.column(key) for key in old.column_names if key not in table}, **table}
            length = len(next(iter(columns.values())))
            table = {key: column for key, column in table.items() if len(column) == length}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(table), sink)
        write_atomically(path, sink.getvalue().to_pybytes())

    @contextmanager
    def working_folder(self, name: str) -> Iterator[Path]:
        """A folder for one attempt at a cell, removed at its end; its marker tells which process works on the cell."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.{os.getpid()}.", dir=self.root / "work"))
        try:
            (folder / "marker.json").write_text(json.dumps({"cell": name, "pid": os.getpid()}), encoding="utf-8")
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def abandoned(self) -> list[str]:
        """Names of cells whose worker is gone; their working folders are removed."""
        names = []
        for marker in (self.root / "work").glob("*/marker.json"):
            try:
                content = json.loads(marker.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if not _is_alive(int(content["pid"])):
                names.append(str(content["cell"]))
                shutil.rmtree(marker.parent, ignore_errors=True)
        return names


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed for want of room."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
