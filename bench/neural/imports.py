"""Imports of libraries that warn, while they are imported, about what is not their users' business."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def imported(module: str) -> Any:
    """The module of compressai by its full name; the deprecated calls that its own imports make are not told."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        return importlib.import_module(module)
