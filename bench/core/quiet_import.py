"""Imports of libraries that warn, or take long, while they are imported, about what is not their users' business."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_POINT_CLOUDS = "torch_geometric"

# diffusers imports it where it is installed, and it warns every process of a missing kernel that no codec here uses
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def imported(module: str) -> Any:
    """The module of compressai by its full name; the deprecated calls that its own imports make are not told.

    Its point clouds are left out, which no codec here needs: what they rest on takes longer to import than all else.
    """
    with warnings.catch_warnings(), _without_point_clouds():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        return importlib.import_module(module)


class _Nothing:
    """Whatever a class definition may do with a name: be a base class, a decorator, or what makes one."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, decorated: Any) -> Any:
        return decorated


class _Hollow(ModuleType):
    """A module, and package, in which every name is a `_Nothing`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _HollowFinder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] == _POINT_CLOUDS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def _without_point_clouds() -> Iterator[None]:
    """While it lasts, hollow modules stand for torch_geometric; afterwards it can be imported as ever."""
    if _POINT_CLOUDS in sys.modules or "compressai" in sys.modules:
        yield
        return
    finder = _HollowFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == _POINT_CLOUDS]:
            del sys.modules[name]
