"""The command line starts without what it does not need yet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TinyClip = Callable[..., Path]
HEAVY = {
    "av", "cv2", "loky", "matplotlib", "numba", "pandas", "plotly", "pooch", "pyarrow", "rich", "scipy", "skimage",
    "torch",
}  # fmt: skip
CHECK = """
import json, sys
from bench.cli import _run
status = _run(sys.argv[1:])
print()
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", CHECK, *arguments], capture_output=True, text=True, check=True)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    return set(modules)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("compare", "--help")])
def test_help_imports_neither_numpy_nor_pydantic(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & (HEAVY | {"numpy", "pydantic"})


@pytest.mark.parametrize("arguments", [("ls", "codecs"), ("ls", "codecs", "--json"), ("ls", "metrics")])
def test_listing_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & HEAVY


def test_a_run_is_planned_without_numpy(tiny_clip: TinyClip) -> None:
    """The default metrics' classes are found and described; frames are NumPy's, and come when an encoder is at work."""
    given = ("run", "--codecs", "x264,svt-av1", "--input", str(tiny_clip()), "--dry-run")
    assert not loaded_by(*given) & (HEAVY | {"numpy"})


def test_importing_bench_imports_nothing_heavy() -> None:
    code = "import bench, json, sys; dir(bench); print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in json.loads(done.stdout)} & (HEAVY | {"numpy", "pydantic", "click"})
