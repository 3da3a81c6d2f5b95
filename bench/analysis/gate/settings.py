"""The gate's settings in a TOML file: the table ``[tool.vcbench.gate]`` of a pyproject.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from bench.core.schema import Model, explain, read_toml
from bench.errors import UsageError

FILE = "pyproject.toml"
TABLE = ("tool", "vcbench", "gate")


class GateSettings(Model):
    """Defaults of ``vcbench gate``; the command line replaces what it gives. Folders are relative to the file's."""

    fail: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    inconclusive: Literal["pass", "fail"] = "pass"
    min_overlap: Annotated[float, Field(ge=0, le=1)] = 0.0


def load_settings(path: Path | None) -> GateSettings:
    """Settings of a file, which must have the table; without one, of ./pyproject.toml if it is there and has it.

    Raises UsageError naming the file, the key and the remedy.
    """
    named, path = path is not None, path or Path(FILE)
    if not named and not path.is_file():
        return GateSettings()
    table = read_toml(path, UsageError)
    where = f"[{'.'.join(TABLE)}]"
    for depth, name in enumerate(TABLE, 1):
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {'.'.join(TABLE[: depth - 1])}: is not a table; write {where}")
        if name not in table:
            if named:
                raise UsageError(f"{path}: has no table {where}; add it, or leave --config out")
            return GateSettings()
        table = table[name]
    try:
        settings = GateSettings.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{path}: {where}\n  {explain(error)}") from None
    baseline = tuple(str(path.parent / folder) for folder in settings.baseline)
    return settings.model_copy(update={"baseline": baseline})
