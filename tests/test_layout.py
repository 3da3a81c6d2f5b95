"""The layout holds: data folders are no packages, nothing imports what comes later or itself, imports stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bench"

# Data flows one way: a part imports itself, and parts of an earlier stage.
STAGES = (
    {"errors", "_version"},
    {"core"},
    {"video"},
    {"bitstream", "cards"},
    {"datasets", "records", "protocols"},
    {"weights"},
    {"networks"},
    {"metrics"},
    {"neural"},
    {"adapters"},
    {"registry"},
    {"analysis"},
    {"results"},
    {"engine"},
    {"report", "conformance"},
    {"api"},
    {"cli"},
)
STAGE = {part: number for number, parts in enumerate(STAGES) for part in parts}


def modules() -> dict[str, Path]:
    """File of every module below bench/ by its dotted name."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] != "_data"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, paths, strict=True))


MODULES = modules()


def part_of(module: str) -> str:
    """The part of the package that a module belongs to."""
    return module.split(".")[1]


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules and names below bench that a module imports, wherever it does so, for types alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("bench."))
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "bench.(relative)"
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.module.partition(".")[0] == "bench":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(module: str) -> set[str]:
    """Modules below bench that a module imports, and those whose names it imports."""
    names = imported(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} - {module}


@pytest.mark.parametrize("folder", ["codecs", "datasets", "results", "reports"])
def test_data_folders_are_no_packages(folder: str) -> None:
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_part_has_a_stage() -> None:
    assert {part_of(module) for module in MODULES if module != "bench"} == set(STAGE)


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return {module: imports_of(module) for module in MODULES if module != "bench"}


def test_nothing_upstream_imports_downstream(imports: dict[str, set[str]]) -> None:
    for module, others in imports.items():
        assert "bench" not in others, f"{module} imports the package, which imports everything"
        part = part_of(module)
        assert [other for other in others if part_of(other) != part and STAGE[part_of(other)] >= STAGE[part]] == [], (
            module
        )


def test_no_module_imports_itself_by_others(imports: dict[str, set[str]]) -> None:
    assert list(circles(imports)) == []


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Ways along a graph that end where they began."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> Iterator[list[str]]:
        if node in way:
            yield way[way.index(node) :]
        elif node not in done:
            for other in sorted(graph.get(node, ())):
                yield from walk(other, [*way, node])
            done.add(node)

    for node in graph:
        yield from walk(node, [])


def test_the_guard_sees_an_import_in_the_wrong_direction() -> None:
    tree = ast.parse(
        "from bench import engine\ndef f():\n    import bench.report.page\n    from bench.cli.run import x\n"
        "    from . import y"
    )
    assert set(imported(tree)) == {"bench.engine", "bench.report.page", "bench.cli.run.x", "bench.(relative)"}
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == [["b", "c"]]
    assert list(circles({"a": {"b", "c"}, "b": {"c"}})) == []


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {"numpy", "pandas", "torch", "scipy", "numba", "matplotlib", "cv2", "pyarrow", "skimage", "loky", "plotly"}


@pytest.mark.parametrize(
    "code", ["import bench", "import bench.cli", "import bench.cards; bench.cards.Catalog().files('codecs')"]
)
def test_importing_is_light(code: str) -> None:
    assert not loaded_by(code) & HEAVY


def test_reading_a_card_needs_no_numpy() -> None:
    assert not loaded_by("from bench.cards import Catalog; Catalog().card('x264')") & HEAVY
