"""Imports of compressai and diffusers without what they drag in: torch's compiler, transformers, point clouds.

Both libraries import all that they could be used with, which takes several times as long as torch itself. Here hollow
modules stand for what no codec of ours needs while a library is imported; afterwards it can be imported as ever.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_LEFT_OUT = {
    "compressai": ("compressai.datasets", "scipy.stats", "torch._dynamo", "torch_geometric", "torchvision"),
    "diffusers": (
        "bitsandbytes", "gguf", "scipy.integrate", "scipy.stats", "torch._dynamo",
        "torch.nn.attention.flex_attention", "torchao", "torchvision", "transformers",
    ),
}  # fmt: skip
"""What a library imports and our codecs do not use, with all below it."""

_HIDDEN = {"compressai": (), "diffusers": ("peft",)}
"""What a library would import in every call where it is installed; networks with adapters use it by themselves."""

_LATE = {
    "compressai": (),
    "diffusers": ("diffusers.models.autoencoders", "diffusers.models.transformers", "diffusers.models.unets"),
}
"""Packages whose own code only imports all of their modules."""

_lock = threading.RLock()
_begun: set[str] = set()
"""Libraries whose first module was imported here."""

# diffusers imports it where it is installed, and it warns every process of a missing kernel that no codec here uses
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def imported(module: str) -> Any:
    """The module of compressai or diffusers by its full name; deprecated calls of its own imports are not reported.

    The rest of the library can be imported as ever afterwards. Names that its modules took from what was left out stay
    hollow: of diffusers those of its pipelines and of hooks for other libraries' layers. To it peft is not installed
    then: adapters are peft's to add. A library that somebody else has imported whole is imported from as it is.
    """
    if not isinstance(sys.modules.get(module, _Hollow("")), _Hollow):
        return importlib.import_module(module)  # at hand in no time: a coder asks for it with every picture
    library = module.partition(".")[0]
    with warnings.catch_warnings(), _lock:
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        if library in sys.modules and library not in _begun:
            return importlib.import_module(module)
        _begun.add(library)
        return _quietly(library, module)


def _quietly(library: str, module: str) -> Any:
    with _hidden(_HIDDEN[library]), _without(_LEFT_OUT[library]):
        for package in _LATE[library]:
            _import_late(package)
        return importlib.import_module(module)


class _LatePackage(ModuleType):
    """A package whose modules can be imported; its own code runs when a name is wanted that is none of them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _import_late(package: str) -> None:
    if package in sys.modules:
        return
    parent, _, name = package.rpartition(".")
    above = importlib.import_module(parent)
    spec = find_spec(package)
    assert spec is not None
    module = module_from_spec(spec)
    module.__class__ = _LatePackage
    sys.modules[package] = module
    setattr(above, name, module)


class _Nothing:
    """Whatever the code of a module may do with a name: a base class, a decorator, or what makes one."""

    def __new__(cls, *arguments: Any, **_: object) -> Any:
        if cls is _Nothing and arguments and callable(arguments[0]):
            return arguments[0]
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, decorated: Any) -> Any:
        return decorated


class _Hollow(ModuleType):
    """A module, and package, in which every name is a `_Nothing`; whoever keeps it finds the real one's afterwards."""

    over = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name) if self.over else _Nothing


class _HollowFinder(MetaPathFinder, Loader):
    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if _is_below(fullname, self.names) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _is_below(module: str, names: Collection[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


@contextmanager
def _hidden(names: Collection[str]) -> Iterator[None]:
    """While it lasts, those of these libraries that were not imported yet seem not to be installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def _without(names: Collection[str]) -> Iterator[None]:
    """While it lasts, hollow modules stand for those of these names that are not there yet, and for all below them."""
    finder = _HollowFinder([name for name in names if name not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for module in [module for module, found in sys.modules.items() if isinstance(found, _Hollow)]:
            hollow = sys.modules.pop(module)
            hollow.over = True  # type: ignore[attr-defined]
            parent, _, name = module.rpartition(".")
            if parent in sys.modules and vars(sys.modules[parent]).get(name) is hollow:
                delattr(sys.modules[parent], name)
