"""What commands print: harmless on a terminal, whatever is in files; an honest exit code where it cannot be printed."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import argv, program

from bench.cli.output import escaped, escaped_json, escaped_line
from bench.core.files import home
from bench.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

HARMFUL = {
    "colour": ("\x1b[8mhidden\x1b[0m", r"\x1b[8mhidden\x1b[0m"),
    "line erased": ("bad\x1b[2K\rgood", r"bad\x1b[2K\x0dgood"),
    "C1 control": ("\x9b2Jall gone", r"\x9b2Jall gone"),
    "carriage return": ("different\requal    ", r"different\x0dequal    "),
    "backspace": ("no\b\bok", r"no\x08\x08ok"),
    "bidi override": ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
    "line separator": ("a\u2028b\u0085c", r"a\u2028b\x85c"),
    "tags": ("x\U000e0041", r"x\U000e0041"),
    "lone surrogate": ("\udcff", r"\udcff"),
    "title of the window": ("\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_what_a_terminal_would_act_on_is_shown(kind: str) -> None:
    given, shown = HARMFUL[kind]
    assert escaped(given) == shown
    assert json.loads(escaped_json(json.dumps({"name": given}, ensure_ascii=False))) == {"name": given}
    assert escaped(escaped_json(json.dumps(given, ensure_ascii=False))) == escaped_json(
        json.dumps(given, ensure_ascii=False)
    )


def test_letters_of_all_languages_stay() -> None:
    text = "Schärfe, 日本語, עברית, Ελληνικά, 25 °C, −0.5 %, 👍🏽\tx\ny"
    assert escaped(text) == text
    assert escaped_line("a\n  b\x0bc") == "a b c"


def test_every_command_prints_through_one_module() -> None:
    """Nothing else of the command line calls print or echo, or writes to a standard file."""
    found = []
    for path in sorted((ROOT / "bench" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if path.name != "output.py" and called in {
                "print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "traceback.print_exc",
                "error.show",
            }:  # fmt: skip
                found.append(f"{path.name}:{node.lineno}: {called}")
    assert found == []


@pytest.mark.slow
def test_a_failed_cell_cannot_forge_what_verify_and_report_find(vcbench, measured: Path, tmp_path: Path) -> None:
    """The message of a failed cell is what its encoder said, which may be anything."""
    forged = "no\r\x1b[2K\x1b[1A\n8 cells of 8; checks: 16 equal\x9b8m"
    received = tmp_path / "received"
    shutil.copytree(measured, received)
    path, *others = sorted((received / "cells").iterdir())
    for other in others[3:]:  # each is decoded, and one is forged
        other.unlink()
    content = json.loads(path.read_text())
    content["codec"]["title"] = content["bitstream"]["sha256"] = forged
    path.write_text(json.dumps(content))
    for arguments in (["verify", received], ["validate", received], ["ls", "results", received], ["report", received]):
        done = vcbench(*arguments)
        assert not {*"\r\x1b\x9b"} & {*done.out, *done.err}, arguments
        assert "\n8 cells of 8; checks" not in f"\n{done.out}{done.err}", arguments


def gate(measured: Path, tmp_path: Path) -> list[object]:
    candidate = tmp_path / "candidate"
    shutil.copytree(measured, candidate)
    return ["gate", "--baseline", measured, "--candidate", candidate, "--fail", "bd_rate(psnr_y)>0.5%"]


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="has no /dev/full")


@needs_full
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_gate_whose_output_is_lost_finds_no_regression(measured: Path, tmp_path: Path, more: list[str]) -> None:
    with FULL.open("w") as full:
        done = program(*gate(measured, tmp_path), *more, stdout=full)
    assert done.returncode == 4, done.stderr
    assert "standard output cannot be written: No space left on device; free some room" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_whose_output_nobody_wants_says_it_by_its_exit_code(measured: Path, tmp_path: Path) -> None:
    arguments = ["sh", "-c", '"$@" >&-', "sh", *argv(*gate(measured, tmp_path))]
    done = subprocess.run(arguments, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_full
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ls", "datasets"], ["ls", "datasets", "--json"]])
def test_other_output_that_is_lost_is_no_fault_of_vcbench(arguments: list[str]) -> None:
    with FULL.open("w") as full:
        done = program(*arguments, stdout=full)
    assert done.returncode == 4, done.stderr
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


@needs_full
@pytest.mark.parametrize("closed", [False, True])
def test_a_run_does_not_need_its_remarks(tmp_path: Path, tiny_clip, closed: bool) -> None:
    arguments = ["run", "--codecs", "x264", "--rates", 30, "--input", tiny_clip(64, 48, frames=2), "--metrics",
                 "psnr_y", "--jobs", 1, "--out", tmp_path / "out"]  # fmt: skip
    with FULL.open("w") as full:
        done = program(
            *arguments,
            stdout=subprocess.DEVNULL,
            stderr=full,
            preexec_fn=(lambda: os.close(2)) if closed else None,
        )
    assert done.returncode == 0
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 1


def test_a_limit_of_file_sizes_is_no_fault_of_vcbench(tmp_path: Path, tiny_clip) -> None:
    import resource

    arguments = ["run", "--codecs", "x264", "--rates", 10, "--input", tiny_clip(64, 48, frames=5), "--metrics",
                 "psnr_y", "--jobs", 1, "--out", tmp_path / "out"]  # fmt: skip
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # noqa: E731
    done = program(*arguments, stdout=subprocess.DEVNULL, preexec_fn=limit)
    assert done.returncode in {4, 6}, done.stderr  # our own file, or the encoder's alone
    assert "please report it" not in done.stderr


# where torch is missing, no codec looks for its weights
@pytest.mark.neural
@pytest.mark.parametrize("arguments", [["ls", "codecs"], ["ls", "metrics"], ["fetch", "weights"], ["doctor"]])
def test_a_user_without_a_home_or_an_entry_in_passwd(
    vcbench, monkeypatch: pytest.MonkeyPatch, arguments: list[str], tmp_path: Path
) -> None:
    def unknown(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "XDG_CACHE_HOME", "VCBENCH_CACHE", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = vcbench(*arguments)
    assert done.code == 0, done.err
    own = tmp_path / f"vcbench-{os.getuid()}"
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    with pytest.raises(UsageError, match="is not yours alone, and you have no home; set HOME, or VCBENCH_CACHE"):
        home()
