"""The table of docs/explanation/reliability.md names a test for every fault, and every test of a fault."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS.parent / "docs" / "explanation" / "reliability.md"


def promised() -> dict[int, list[tuple[str, Path]]]:
    """Tests, each with its file, by the number of the row."""
    rows = re.findall(r"^\| (\d+) \|.*\| (\[test_.*) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    links = {int(number): re.findall(r"\[(\w+)\]\((.*?)\)", cell) for number, cell in rows}
    return {
        number: [(name, (TABLE.parent / file).resolve()) for name, file in found] for number, found in links.items()
    }


def written() -> set[tuple[str, Path]]:
    """Tests of faults below tests/."""
    return {
        (node.name, path)
        for path in TESTS.rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_fault_")
    }


def test_every_row_has_a_test_named_after_it() -> None:
    assert list(promised()) == list(range(1, 33))
    for number, tests in promised().items():
        assert tests
        assert all(name.startswith(f"test_fault_{number:02d}_") for name, _ in tests)


def test_the_table_and_the_tests_are_one() -> None:
    assert {test for tests in promised().values() for test in tests} == written()
