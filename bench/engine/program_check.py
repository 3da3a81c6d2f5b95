"""Whether the programs that write a cell's bits are still those of its key, however long a run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.adapters.base import ExternalCodec
from bench.core.files import Stamp, digest_of
from bench.engine.plan import Cell
from bench.errors import EncodeError


@dataclass(frozen=True)
class _Look:
    """A codec's identity, and its files at that moment."""

    files: tuple[Path, ...]
    stamp: Stamp
    identity: dict[str, str]

    def holds(self) -> bool:
        try:
            return self.stamp.settled and Stamp.of(self.files).files == self.stamp.files
        except OSError:
            return False


_looks: dict[str, _Look] = {}


def check_programs(cell: Cell, codec: ExternalCodec, since: Stamp | None = None) -> Stamp:
    """The stamp of a codec's programs and files, which are those that the cell's key was made of.

    Raises EncodeError where they are not, or were replaced or written to ``since`` an earlier stamp. Their bytes, and
    what they load, are looked at again only where the file system says that something changed.
    """
    name = cell.codec.card.name
    key = digest_of([cell.codec.card.identity(), str(cell.codec.folder), cell.tool])
    look = _looks.get(key)
    if look is None or not look.holds():
        files = tuple(path for paths in codec.made_of().values() for path in paths)
        try:
            look = _Look(files, Stamp.of(files), codec.identity_now())
        except FileNotFoundError as error:
            raise EncodeError("tool_changed", f"{name}: {error.filename} is gone; put it back") from None
        changed = [part for part, value in look.identity.items() if cell.tool.get(part) != value]
        if changed:
            raise EncodeError(
                "tool_changed",
                f"{name}: {', '.join(changed)} is not what it was when the run was planned, since a program or a file "
                "was replaced; give the same command again, which measures the new one",
            )
        _looks[key] = look
    if since is not None and look.stamp.files != since.files:
        raise EncodeError(
            "tool_changed",
            f"{name}: a program or a file of it was replaced or written to while the cell was worked on; "
            "give the same command again",
        )
    return look.stamp
