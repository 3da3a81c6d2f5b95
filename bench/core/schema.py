"""What the files that people write are read by: names, digests, models that refuse unknown keys, TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bench.errors import VcbenchError

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
ConfiguredName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}(@[A-Za-z0-9._-]{1,80})?$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Number = int | Annotated[float, Field(allow_inf_nan=False)]


def _inside(path: str) -> str:
    parts = path.replace("\\", "/").split("/")
    if not path or ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise ValueError(f"{path!r} must lie below its folder: no absolute path, no '..'")
    return path


InnerPath = Annotated[str, AfterValidator(_inside)]


def _file_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name.encode(errors="surrogatepass")) > 255:
        raise ValueError(f"{name[:80]!r} must be the name of a file, not a path")
    return name


FileName = Annotated[str, AfterValidator(_file_name)]
MetricName = Annotated[str, StringConstraints(pattern=r"^\w[\w .:+-]{0,119}$")]


class Model(BaseModel):
    """Base of everything read from a card: unknown keys are errors, values never change."""

    # built when the first card is read: to build each part by itself takes as long again
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def explain(error: ValidationError) -> str:
    """A validation error as lines of "key: what is wrong"."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
        message = problem["msg"].removeprefix("Value error, ")
        remedy = {"extra_forbidden": "remove it or correct its name", "missing": "add it"}.get(problem["type"])
        lines.append(f"{key}: {message}" + (f"; {remedy}" if remedy else ""))
    return "\n  ".join(lines)


def read_toml(path: Path, error: Callable[[str], VcbenchError]) -> dict[str, Any]:
    """The content of a TOML file; ``error`` makes the exception to raise from a message."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except (ValueError, RecursionError) as problem:
        raise error(f"{path}: is not TOML: {problem}") from None
