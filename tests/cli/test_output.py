"""What every command has in common: help with an example, strict JSON, exit codes, plain and drawn output."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_line import on_a_terminal, program

from bench.cli import vcbench as group
from bench.cli.options import CommaList

pytestmark = pytest.mark.slow

COMMANDS = sorted(group.commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_says_what_every_option_is_for(name: str) -> None:
    shown = CliRunner().invoke(group, [name, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert f"  vcbench {name}" in shown.output or f" vcbench {name} " in shown.output
    options = [item for item in group.commands[name].params if isinstance(item, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert "json_output" in {option.name for option in options}


LISTS = [
    (name, option.opts[0])
    for name in COMMANDS
    for option in group.commands[name].params
    if isinstance(option.type, CommaList)
]


def test_a_list_that_is_given_twice_is_refused(vcbench) -> None:
    """The second would take the place of the first: a gate would look at half of what it was to guard."""
    assert len(LISTS) >= 12
    assert {("run", "--codecs"), ("gate", "--codecs"), ("compare", "--metric"), ("run", "--rates")} <= {*LISTS}
    for name, option in LISTS:
        refused = vcbench(name, option, "x265", f"{option}=x264")
        assert refused.code == 4
        assert f"{option} is given 2 times; give one list, such as {option} A,B" in refused.err


def test_help_names_every_command_in_a_whole_sentence() -> None:
    shown = CliRunner().invoke(group, ["--help"]).output
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert "..." not in shown.partition("Commands:")[2]
    assert all(f"{code} " in shown for code in range(7))


def test_every_command_prints_strict_json_and_nothing_else(vcbench, measured: Path, clips: list[Path]) -> None:
    candidate = measured.parent / "candidate"
    shutil.copytree(measured, candidate)
    calls = {
        "status": [measured],
        "run": ["--codecs", "x264,x265", "--input", *clips, "--metrics", "psnr_y,ssim", "--out", measured],
        "report": [measured, "--out", measured.parent / "report", "--pictures", 0],
        "compare": [measured, "--anchor", "x265", "--test", "x264"],
        "measure": [clips[0], clips[0], "--metrics", "psnr_y"],
        "ls": ["results", measured],
        "validate": [measured],
        "fetch": ["quickstart", "--sequences", "cat"],
        "doctor": [],
        "verify": [measured, "--sample", 2],
        "gate": ["--baseline", measured, "--candidate", candidate, "--fail", "bd_rate(psnr_y)>0.5%"],
        "correlate": [measured],
        "drift": [measured],
        "history": [measured, candidate, "--out", measured.parent / "history"],
    }
    # slow, or with files of others to read: their output is held to the same in their own tests
    assert sorted([*calls, "controls", "import", "train"]) == COMMANDS
    for name, arguments in calls.items():
        done = vcbench(name, *arguments, "--json")
        assert done.code == 0, (name, done.err)
        assert isinstance(done.json, dict | list), name


def test_an_error_is_json_too_and_a_line_for_people(vcbench, clips: list[Path]) -> None:
    done = vcbench("run", "--codecs", "x2644", "--input", clips[0], "--json")
    assert done.code == 4
    assert done.json["error"]["type"] == "UnknownNameError"
    assert done.json["error"]["exit_code"] == 4
    assert "did you mean x264" in done.json["error"]["message"]
    assert done.err.startswith("vcbench: error: unknown codec 'x2644'; did you mean x264")


def test_a_wrong_option_is_json_too(vcbench) -> None:
    done = vcbench("ls", "codecs", "--bogus", "--json")
    assert done.code == 4
    assert "--bogus" in done.json["error"]["message"]
    assert "--bogus" in done.err


def test_without_json_an_error_leaves_standard_output_empty(vcbench) -> None:
    done = vcbench("compare", "nowhere", "--anchor", "x265")
    assert (done.code, done.out) == (4, "")
    assert "nowhere" in done.err


@pytest.fixture
def failing_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that raise what a fault of our own, and Ctrl-C, would raise."""

    def fault() -> None:
        raise ZeroDivisionError("on purpose")

    def interrupt() -> None:
        raise KeyboardInterrupt

    added = {
        "fault": click.Command("fault", callback=fault),
        "interrupt": click.Command("interrupt", callback=interrupt),
    }
    monkeypatch.setattr(group, "commands", {**group.commands, **added})


def test_a_fault_of_ours_exits_with_3_and_asks_for_a_report(vcbench, failing_commands) -> None:
    done = vcbench("fault")
    assert done.code == 3
    assert "Traceback" in done.err
    assert "please report it" in done.err


def test_ctrl_c_exits_with_2(vcbench, failing_commands) -> None:
    done = vcbench("interrupt")
    assert done.code == 2
    assert "the same command continues" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [("ls", "codecs"), ("ls", "datasets", "--json"), ("doctor",)])
def test_a_reader_that_went_away_is_no_regression(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = program(*arguments, stdout=write)
    finally:
        os.close(write)
    assert done.returncode == 2
    assert done.stderr == ""


def test_tables_are_drawn_on_a_terminal_and_plain_elsewhere(vcbench) -> None:
    drawn, plain = on_a_terminal(100, "ls", "metrics")[1], vcbench("ls", "metrics").out
    assert "─" in drawn and "psnr_y" in drawn
    assert "─" not in plain and "\x1b" not in plain and "psnr_y" in plain


def test_a_run_has_a_line_per_cell_where_there_is_no_terminal(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    arguments = ["run", "--codecs", "x264", "--input", clips[0], "--frames", 2, "--metrics", "psnr_y", "--jobs", 1]
    plain = vcbench(*arguments, "--out", tmp_path / "b")
    assert [line.split()[0] for line in plain.err.splitlines()] == ["4", "[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert plain.out.splitlines()[0] == f"4 cells in {tmp_path / 'b'}: 4 ok"
