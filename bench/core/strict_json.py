"""What codecs and metrics from elsewhere say, as strict JSON that can always be stored and read again."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

MOST_LEVELS = 16
MOST_VALUES = 10_000
MOST_CHARACTERS = 100_000
"""Bounds of a remark, far beyond what people read; a result file is read up to 16 MiB."""


def plain_text(value: object) -> str:
    """A value as text: what UTF-8 cannot hold is replaced by U+FFFD, and a very long text is cut, which it says."""
    text = _LONE_SURROGATE.sub("\ufffd", str(value))
    cut = len(text) - MOST_CHARACTERS
    return text if cut <= 0 else f"{text[:MOST_CHARACTERS]} ({cut} more characters were left out)"


def plain(value: Any) -> Any:
    """A value as strict JSON: objects with text keys, lists, texts, numbers of 64 bits, true, false and null.

    Whatever else there is becomes text. Levels and values beyond the bounds are left out, which a text in their place
    says.
    """
    return _Plain().of(value, 0)


class _Plain:
    """One value on its way, with how much of it there was so far."""

    def __init__(self) -> None:
        self._values = 0
        self._characters = 0

    def of(self, value: Any, level: int) -> Any:
        self._values += 1
        if self._values > MOST_VALUES or self._characters > MOST_CHARACTERS:
            return "(left out: there was too much of it)"
        if value is None or isinstance(value, bool):
            return value
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()  # numpy's and torch's numbers
        if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            return int(value)
        if isinstance(value, float) and math.isfinite(value):
            return float(value)
        if isinstance(value, Mapping | list | tuple):
            if level == MOST_LEVELS:
                return f"(left out: more than {MOST_LEVELS} levels)"
            if isinstance(value, Mapping):
                return {self._text(key): self.of(item, level + 1) for key, item in self._some(value.items())}
            return [self.of(item, level + 1) for item in self._some(value)]
        return self._text(value)

    def _some(self, items: Any) -> Any:
        for item in items:
            yield item
            if self._values > MOST_VALUES:
                return

    def _text(self, value: object) -> str:
        text = plain_text(value)
        self._characters += len(text)
        return text
