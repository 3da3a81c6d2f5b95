"""Data as scripts: what a page can load from the file system, where it may not fetch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.report.escape import printable

# In a script these end lines that JSON does not end; in HTML "<" begins a tag.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}

_AS_THEY_ARE = {int, bool, type(None)}
_NUMBERS = {float, type(None)}


def to_json(value: Any) -> str:
    """Strict JSON that is harmless in a script, in HTML and in a spreadsheet's import.

    Infinite numbers are the strings "Infinity" and "-Infinity", NaN is null; what cannot be printed is U+FFFD.
    """
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign, escape in _ESCAPED.items():
        text = text.replace(sign, escape)
    return text


def write_script(folder: Path, name: str, value: Any) -> int:
    """Write ``<name>.js``, which hands `value` to the page under that name; its size in bytes is returned."""
    content = f"vcbench.put({to_json(name)},{to_json(value)});\n".encode()
    (folder / f"{name}.js").write_bytes(content)
    return len(content)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        # columns of numbers, the bulk of a long table, need no look at each
        if kinds <= _AS_THEY_ARE or (kinds <= _NUMBERS and all(map(math.isfinite, filter(None, value)))):
            return value
        return [_plain(item) for item in value]
    return value


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)
