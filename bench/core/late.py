"""Modules that are imported when they are first used, so that what only plans, lists or waits starts without them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """A module in waiting: what is asked of it is imported then and kept, so that later uses cost nothing more.

    For names at the top of a file that many functions there use; what one function alone uses is imported in it. Unlike
    ``importlib.util.LazyLoader``, which in Python before 3.12.3 shows another thread a module that is half there, it
    leaves the import itself, with its lock, to Python.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(import_module(self.__name__), attribute)
        setattr(self, attribute, found)
        return found

    def __reduce__(self) -> tuple[type[Late], tuple[str]]:
        return Late, (self.__name__,)
