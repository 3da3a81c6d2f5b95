"""The documents name every command, option, column, field and metric there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bench.cli import vcbench as group
from bench.errors import UsageError
from bench.registry import BUILTIN_METRICS, DEFAULT_METRICS, metric_class

DOCS = Path(__file__).parents[2] / "docs"


def sections(document: str) -> dict[str, str]:
    """Text of each second-level section of a document by its title."""
    parts = re.split(r"^## ", (DOCS / document).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def test_the_document_has_a_section_for_each_command() -> None:
    documented = [
        title.removeprefix("vcbench ") for title in sections("reference/cli.md") if title.startswith("vcbench ")
    ]
    assert sorted(documented) == sorted(group.commands)


def test_the_json_of_each_command_is_documented() -> None:
    texts = sections("reference/cli.md")
    for name in group.commands:
        text = texts[f"vcbench {name}"]
        assert f"<!-- generated: command {name} -->" in text
        assert re.search(r"JSON(:| is)", text.partition("<!-- end -->")[2]), name


def test_the_examples_are_accepted_by_the_parser() -> None:
    """Every example line of the document and of the help parses, whether or not its files are here."""
    lines = re.findall(r"^vcbench .+$", (DOCS / "reference" / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for command in group.commands.values():
        lines += re.findall(r"^ +(?:\w+=\S+ )?(vcbench .+)$", command.help or "", flags=re.MULTILINE)
    assert len(lines) > 20
    for line in lines:
        _, name, *words = line.partition(" > ")[0].split()
        try:
            group.commands[name].make_context(name, words, resilient_parsing=False)
        except UsageError as error:
            assert "there is no such" in str(error), line


def test_the_exit_codes_are_those_of_the_help() -> None:
    text = sections("reference/cli.md")["Exit codes"]
    assert [int(code) for code in re.findall(r"^\| (\d) \|", text, flags=re.MULTILINE)] == list(range(7))


def fields(model: type[BaseModel]) -> set[str]:
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= fields(part)
    return found


def test_every_field_of_a_result_file_and_every_column_is_documented() -> None:
    from bench.records.cell import CellResult
    from bench.records.cell_set import TABLE_COLUMNS

    text = (DOCS / "reference" / "results.md").read_text(encoding="utf-8")
    named = {part for code in re.findall(r"`([^`\n]+)`", text) for part in re.split(r"[.\s,]+", code)}
    assert fields(CellResult) - named == set()
    assert set(TABLE_COLUMNS) - named == set()


@pytest.mark.neural
@pytest.mark.parametrize("name", sorted(BUILTIN_METRICS))
def test_every_metric_is_documented_with_its_direction_and_provenance(name: str) -> None:
    from bench.errors import MetricError
    from bench.video.formats import VideoFormat

    text = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    kind: Any = metric_class(name)
    assert kind.direction in row
    assert not kind.unit or kind.unit in row
    assert (" yes " in row) == (name in DEFAULT_METRICS)
    try:
        provenance = kind(VideoFormat(352, 288)).provenance()
    except MetricError:  # pragma: no cover - no metric refuses CIF
        provenance = {}
    assert [field for field in provenance if f"`{field}`" not in text] == []
    for pooled in kind(VideoFormat(352, 288)).pool([0.5, 0.25]):
        assert f"`{pooled}`" in text


def test_every_set_of_metrics_is_documented_and_known() -> None:
    from bench.metrics.sets import SETS

    text = sections("reference/metrics.md")["Sets"]
    for name, found in SETS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert re.findall(r"`([^`]+)`", row.split("|")[2]) == list(found.metrics)
        assert [metric_class(metric).name for metric in found.metrics] == list(found.metrics)
        assert name not in BUILTIN_METRICS


def test_the_table_of_tricks_is_the_one_that_reports_go_by() -> None:
    from bench.analysis.fooled import FOOLED
    from bench.conformance.tricks import TRICKS

    text = sections("reference/metrics.md")["Controls"]
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(TRICKS) + 1 and "`" in cells[0]:
            bold = {trick for trick, cell in zip(TRICKS, cells[1:], strict=True) if cell.startswith("**")}
            found[cells[0].strip("`")] = found.get(cells[0].strip("`"), set()) | bold
    assert {metric: tricks for metric, tricks in found.items() if tricks} == {m: set(t) for m, t in FOOLED.items()}
    assert set(re.findall(r"^\| `(\w+)` \| [A-Za-z]", text, flags=re.MULTILINE)) == set(TRICKS)
