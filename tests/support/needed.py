"""Libraries that not every installation has."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needed(*libraries: str) -> None:
    """Skip the test, or the whole file, where one of these is not installed.

    Unlike `pytest.importorskip` it imports nothing: our code knows what of a library takes long and is not needed, and
    every worker collects every file.
    """
    for library in libraries:
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed", allow_module_level=True)
