"""Reading files of a folder that anybody may have made: a result set, a submission.

Only regular files that lie in the folder are opened, links included, and none beyond the size that it may have: no pipe
holds a reader up, no device or sparse file fills the memory, and no link shows a file of somebody else.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.errors import StoreError

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_JSON = 16 << 20
"""Bytes of a JSON file."""

MOST_DIMENSIONS = 4096
"""Features of a sample; the networks of today's metrics have up to 2048."""

_MOST_HOLES = 64 << 20
"""Bytes that a file may have beyond those that are stored. Nothing that vcbench writes is sparse; a file system that
compresses saves less on it."""

_MOST_DIGITS = 20
_MOST_COLUMNS = 4096
_MOST_ROWS = 1 << 24
_FOOTER_BYTES = 1 << 16
_FLOAT_BYTES = 8
_KINDS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISDIR: "a folder",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def regular(path: Path, root: Path, most: int | None = None) -> int:
    """Size in bytes of a regular file that lies in the folder ``root``, links followed.

    Raises FileNotFoundError where there is none, StoreError for anything else: another kind of file, a link that leads
    out of the folder, a file of more than ``most`` bytes or one that is mostly holes.
    """
    found = path.stat()
    kind = next((name for is_kind, name in _KINDS.items() if is_kind(found.st_mode)), None)
    if kind is not None or not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path}: is {kind or 'no regular file'}, where a file is expected; remove it")
    real, folder = _without_links(path, root)
    if not real.startswith(f"{folder.rstrip('/')}/"):
        raise StoreError(f"{path}: is a link to {real}, outside {root}; put the file itself there")
    if most is not None and found.st_size > most:
        raise StoreError(f"{path}: has {found.st_size} bytes, up to {most} are read; it is not a file of vcbench")
    if found.st_size - 512 * found.st_blocks > _MOST_HOLES:
        raise StoreError(
            f"{path}: is a sparse file: of its {found.st_size} bytes {512 * found.st_blocks} are stored; "
            "it is not a file of vcbench"
        )
    return found.st_size


def _without_links(path: Path, root: Path) -> tuple[str, str]:
    """Both paths with no link in them; as they are where the one begins with the other and no link follows."""
    name, folder = str(path), str(root)
    below = name.removeprefix(f"{folder}/") if name.startswith(f"{folder}/") else ""
    parts = below.split("/")
    if below and ".." not in parts:
        steps = [folder]
        for part in parts:
            steps.append(f"{steps[-1]}/{part}")
        if not any(map(os.path.islink, steps[1:])):
            return name, folder
    return os.path.realpath(path), os.path.realpath(root)


def is_there(path: Path, root: Path) -> bool:
    """Whether there is anything under a path; StoreError unless it is a regular file in the folder ``root``."""
    try:
        regular(path, root)
    except FileNotFoundError:
        return False
    return True


def opened(path: Path, root: Path, most: int | None = None) -> BinaryIO:
    """A regular file of the folder ``root``, open for reading. Raises as `regular`, and OSError."""
    regular(path, root, most)
    # what was replaced since is looked at again: opening a pipe would wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"{path}: is not a regular file; remove it")
    return os.fdopen(descriptor, "rb")


def read_text(path: Path, root: Path, most: int = MOST_JSON) -> str:
    """The text of a file of the folder ``root``, of ``most`` bytes or fewer. Raises as `opened`."""
    with opened(path, root, most) as stream:
        size = min(os.fstat(stream.fileno()).st_size, most)
        data = stream.read(size + 1)  # a buffer for the most that it may have takes longer than the file
        if len(data) > size:
            data += stream.read(most + 1 - len(data))
    if len(data) > most:
        raise StoreError(f"{path}: has more than {most} bytes; it is not a file of vcbench")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: is not strict JSON: not UTF-8 at byte {error.start}") from None


def parse_json(text: str) -> Any:
    """The value of strict JSON: no NaN, no number that 64 bits do not hold. Raises ValueError or RecursionError."""
    return json.loads(text, parse_constant=_refused, parse_int=_integer, parse_float=_float)


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS or not -(1 << 63) <= int(digits) < 1 << 64:
        raise ValueError(f"a number of {len(digits)} digits is beyond 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:40]} is beyond the range of numbers")
    return value


def read_frames(path: Path, root: Path, frames: int, names: list[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Columns of a file of per-frame values: float64 arrays of up to ``frames`` values, NaN where a frame has none.

    Of ``names``, those that there are; all where None. The file must be of the kind that vcbench writes, one flat table
    of float64, as is or compressed by Snappy, which packs 64 bytes into 3 at best: what it says of itself is held
    against its size before a value is read. Raises StoreError, FileNotFoundError where there is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    regular(path, root)
    try:
        with opened(path, root) as stream, pq.ParquetFile(stream) as file:
            problem = _parquet_problem(file.metadata, regular(path, root), frames)
            if problem is not None:
                raise StoreError(f"{path}: {problem}; delete it and measure again")
            columns = [name for name in file.schema_arrow.names if names is None or name in names]
            table = file.read(columns=columns, use_threads=False)
            return {name: table.column(name).to_numpy() for name in columns}
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise StoreError(f"{path}: per-frame values cannot be read: {error}; delete it and measure again") from None


def _parquet_problem(metadata: Any, size: int, frames: int) -> str | None:
    """What in a Parquet file's account of itself is not as vcbench writes it; None where all is."""
    rows, columns = metadata.num_rows, metadata.num_columns
    if not 0 <= rows <= min(frames, _MOST_ROWS):
        return f"has {rows} rows, the cell has {frames} frames"
    if columns > _MOST_COLUMNS:
        return f"has {columns} columns, up to {_MOST_COLUMNS} are read"
    most = columns * (2 * _FLOAT_BYTES * rows + _FOOTER_BYTES) + _FOOTER_BYTES
    if size > most:
        return f"has {size} bytes, {columns} columns of {rows} values take up to {most}"
    schema = metadata.schema
    for number in range(columns):
        column = schema.column(number)
        if column.physical_type != "DOUBLE" or column.max_repetition_level or column.max_definition_level > 1:
            return f"column {column.path[:80]!r} is not a plain column of float64"
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if len(groups) > max(rows, 1) or any(not 0 <= group.num_rows <= rows for group in groups):
        return f"has {len(groups)} groups of rows for {rows} rows"
    for group in groups:
        for number in range(columns):
            chunk = group.column(number)
            if chunk.compression not in ("SNAPPY", "UNCOMPRESSED") or not 0 <= chunk.num_values <= rows:
                return f"column {chunk.path_in_schema[:80]!r} is packed otherwise than vcbench does"
    return None


def read_features(path: Path, root: Path) -> npt.NDArray[Any]:
    """A file of features, samples x dimensions, float32 or float64, read from the file as it is looked at.

    Raises StoreError for anything else: another kind of array, a header that does not fit the file's size, more than
    MOST_DIMENSIONS dimensions, values that are no finite numbers. FileNotFoundError where there is none.
    """
    import numpy as np
    from numpy.lib import format as npy

    size = regular(path, root)
    try:
        with opened(path, root) as stream:
            version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
            if version != (1, 0):
                raise ValueError(f"is of version {version}")
            shape, by_columns, kind = npy.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
            offset = stream.tell()
            if kind not in (np.dtype("<f4"), np.dtype("<f8")) or len(shape) != 2 or by_columns:
                raise ValueError(f"holds {kind} of the shape {shape}, not samples x dimensions in float32 or float64")
            samples, dimensions = shape
            if not (samples >= 0 and 1 <= dimensions <= MOST_DIMENSIONS):
                raise ValueError(f"holds {samples} samples of {dimensions} dimensions")
            if size != offset + samples * dimensions * kind.itemsize:
                raise ValueError(f"has {size} bytes, its header says {offset + samples * dimensions * kind.itemsize}")
            if not samples:
                return np.empty(shape, kind)
            rows = np.memmap(stream, kind, "r", offset, shape)
        step = max(1, (1 << 20) // dimensions)
        # beyond this, squares and their sums leave what floats can hold
        if not all((np.abs(rows[at : at + step]) < 1e30).all() for at in range(0, samples, step)):
            raise ValueError("holds values that are not features: not finite, or beyond 1e30")
    except (ValueError, TypeError, OSError, EOFError, OverflowError, MemoryError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        remedy = "delete the cell's result file to measure it again"
        raise StoreError(f"{path}: cannot be read: {error}; {remedy}") from None
    return rows
