"""The layout holds: data folders are no packages, nothing upstream imports downstream, imports stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bench"

# Data flows one way. A part imports itself, and parts of an earlier stage.
STAGES = (
    {"errors"},
    {"core"},
    {"video"},
    {"bitstream", "cards"},
    {"datasets", "records"},
    {"weights"},
    {"networks"},
    {"metrics"},
    {"neural"},
    {"adapters"},
    {"registry"},
    {"results"},
    {"engine", "analysis"},
    {"report", "conformance"},
    {"api"},
    {"cli"},
)
STAGE = {part: number for number, parts in enumerate(STAGES) for part in parts}

# Inside a function, where what comes later is asked for something it alone knows.
EXCEPTIONS = {
    ("cards", "registry"),  # the schema of a card shows the settings of each adapter
    ("cards", "datasets"),  # the schema of a manifest
    ("results", "analysis"),  # a result set's values of whole datasets
    ("adapters", "registry"),  # the fresh interpreter of a codec in Python builds it from its card
    ("weights", "registry"),  # which weights a metric or a codec needs
    ("weights", "metrics"),
}


def modules() -> Iterator[tuple[str, Path]]:
    """(part of the package, file) of every module below bench/."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inner = path.relative_to(PACKAGE)
        if inner.parts[0] not in {"__init__.py", "_data"}:
            yield inner.parts[0].removesuffix(".py"), path


def imported_parts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names = [f"bench.{alias.name}" for alias in node.names] if node.module == "bench" else [node.module]
        for name in names:
            if name.startswith("bench."):
                yield name.split(".")[1]


@pytest.mark.parametrize("folder", ["codecs", "datasets", "results", "reports"])
def test_data_folders_are_no_packages(folder: str) -> None:
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_part_has_a_stage() -> None:
    assert {part for part, _ in modules()} <= set(STAGE)


@pytest.mark.parametrize("path", [path for _, path in modules()], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_upstream_imports_downstream(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imported_parts(ast.parse(path.read_text(encoding="utf-8"))):
        if other in STAGE and other != part and (part, other) not in EXCEPTIONS:
            assert STAGE[other] < STAGE[part], f"{part} imports {other}"


def test_the_guard_sees_an_import_in_the_wrong_direction() -> None:
    tree = ast.parse(
        "from bench import engine\ndef f():\n    import bench.report.html\n    from bench.cli.run import x"
    )
    assert set(imported_parts(tree)) == {"engine", "report", "cli"}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {"numpy", "pandas", "torch", "scipy", "numba", "matplotlib", "cv2", "pyarrow", "skimage", "joblib", "plotly"}


@pytest.mark.parametrize(
    "code", ["import bench", "import bench.cli", "import bench.cards; bench.cards.Catalog().files('codecs')"]
)
def test_importing_is_light(code: str) -> None:
    assert not loaded_by(code) & HEAVY


def test_reading_a_card_needs_no_numpy() -> None:
    assert not loaded_by("from bench.cards import Catalog; Catalog().card('x264')") & HEAVY
