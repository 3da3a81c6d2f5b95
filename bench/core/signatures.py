"""Functions whose settings are the fields of an options object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def takes(options: type) -> Callable[[_Function], _Function]:
    """Show the fields of ``options`` as keywords of a function in place of its ``**settings``: for help and completion.

    Fields that the function has a parameter of its own for stay that one.
    """

    def shown(function: _Function) -> _Function:
        own = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
        known = {one.name for one in own}
        more = [
            one.replace(kind=one.KEYWORD_ONLY)
            for one in inspect.signature(options).parameters.values()
            if one.name not in known
        ]
        function.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        return function

    return shown
