"""Loops compiled by numba, kept in its cache. Importing this module imports numba: import it late."""

from __future__ import annotations

from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = {"nogil": True, "error_model": "numpy"}


def inlined(function: Function) -> Function:
    """Decorator: a part of a compiled function."""
    compiled: Function = njit(**_OPTIONS)(function)
    return compiled


def cached(signature: Any) -> Callable[[Function], Function]:
    """Decorator: compile for one signature, or load that from numba's cache where there is one to be had.

    One signature, so that two processes which compile at once write the same file.
    """

    def compile_function(function: Function) -> Function:
        try:
            compiled: Function = njit(signature, cache=True, **_OPTIONS)(function)
        # RuntimeError is numba's "no folder to cache in", the others are a full disk or a damaged file: seconds lost.
        except (RuntimeError, OSError, EOFError, UnpicklingError):
            compiled = njit(signature, **_OPTIONS)(function)
        return compiled

    return compile_function
