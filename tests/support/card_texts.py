"""Texts of cards of codecs made up for a test."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any


def toml(value: Any) -> str:
    """A value in TOML, tables inline."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
        case dict():
            return "{" + ", ".join(f"{_key(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name, re.ASCII) else toml(name)


def document(content: dict[str, Any]) -> str:
    """A TOML file, a line for each key."""
    return "".join(f"{_key(str(key))} = {toml(value)}\n" for key, value in content.items())


def command_card(
    name: str,
    env: str,
    encode: Sequence[str],
    decode: Sequence[str],
    *,
    rates: Sequence[int] = (0,),
    version: Sequence[str] = (),
    names: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Card of the adapter ``command`` whose encoder and decoder are the program that the variable ``env`` names.

    ``encode`` and ``decode`` are its arguments, ``version`` those that the encoder is asked for its version with,
    ``names`` what the program is called where the variable is not set. ``settings`` and ``changes`` are added to the
    card's, or take the place of them.
    """
    program = {"env": env, **({"names": names} if names else {})}
    versions = {"version_arguments": version} if version else {}
    top = {
        "name": name,
        "title": f"{name}, a codec of the tests",
        "adapter": "command",
        "licence": "none",
        "gop": "all intra",
        "extension": "bin",
        "rates": {"parameter": "index", "values": rates, "minimum": 0, "maximum": 9},
        **changes,
    }
    below = {
        "get": "It is part of the test.",
        **(settings or {}),
        "encoder": {**program, "arguments": encode, **versions},
        "decoder": {**program, "arguments": decode},
    }
    return f"{document(top)}[settings]\n{document(below)}"
