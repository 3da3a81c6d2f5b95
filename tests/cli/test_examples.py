"""The examples of the documents work: their commands parse, their rules are read, their cards validate."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.analysis.gate.rules import parse_rules
from bench.analysis.gate.settings import load_settings
from bench.cards import load_card
from bench.cli import vcbench as group
from bench.errors import UsageError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def commands(text: str) -> list[list[str]]:
    """The calls of vcbench in a workflow or a hook, as lists of words."""
    flat = re.sub(r"\n\s+", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    found = re.findall(
        r"vcbench ((?:run|gate|verify|report|validate|fetch) .+?)(?= &&| \|\| | > |'$| - |\n|$)",
        flat,
        flags=re.MULTILINE,
    )
    return [shlex.split(part) for part in found]


@pytest.mark.parametrize(("name", "count"), [("gate.yml", 3), ("pre-commit.yml", 2), ("leaderboard.yml", 7)])
def test_the_commands_of_workflows_parse(name: str, count: int) -> None:
    calls = commands((EXAMPLES / name).read_text(encoding="utf-8"))
    assert len(calls) == count
    for command, *words in calls:
        try:
            context = group.commands[command].make_context(command, words)
        except UsageError as error:
            assert "there is no such" in str(error)
        else:
            parse_rules(context.params.get("fail", ()))


def test_only_the_job_that_decodes_nothing_may_write() -> None:
    """What decodes streams of strangers has no token that could change the board."""
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((EXAMPLES / "leaderboard.yml").read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        steps = [step.get("run", "") for step in job["steps"]]
        assert ("permissions" in job) == (not any("vcbench verify" in step for step in steps)) == (name == "publish")
        assert not any("${{" in step for step in steps)  # no text of a pull request is part of a script
        for step in job["steps"]:
            if name != "publish" and "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", ["gate.yml", "history.yml", "pre-commit.yml", "leaderboard.yml"])
def test_workflows_are_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    assert {"jobs", "repos"} & set(content)


def test_the_rules_of_the_configuration_are_read() -> None:
    settings = load_settings(EXAMPLES / "gate.toml")
    assert len(parse_rules(settings.fail)) == 4
    assert settings.inconclusive == "pass"


def test_the_rules_of_the_guide_are_read() -> None:
    text = (EXAMPLES.parent / "how-to" / "gate.md").read_text(encoding="utf-8")
    column = [line.split("|")[1] for line in text.splitlines() if re.match(r"\| `[a-z_]+[^`]*[<>]", line)]
    rules = [rule for cell in column for rule in re.findall(r"`([^`]+)`", cell)]
    assert len(rules) >= 11
    for rule in rules:
        parse_rules([rule])


@pytest.mark.parametrize("path", sorted((EXAMPLES / "codecs").glob("*.toml")), ids=lambda path: path.stem)
def test_the_cards_validate_and_take_fractions(path: Path) -> None:
    assert load_card(path).rates.check(23.45) == 23.45
