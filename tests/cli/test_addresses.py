"""Every command refuses an address where it wants a path: exit code 4, a line that says why, and nothing is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.cli import vcbench as group
from bench.cli.options import LocalPath

COMMANDS = [
    ("run", "--codecs", "x264", "--input", "CLIP", "--out", "s3://bucket/x"),
    ("run", "--codecs", "x264", "--input", "CLIP", "--out", "gs://bucket/x", "--dry-run"),
    ("run", "--codecs", "x264", "--input", "CLIP", "https://host/clip.y4m"),
    ("run", "--codecs", "x264", "--datasets", "quickstart", "--path", "s3://bucket/cards"),
    ("status", "s3://bucket/x"),
    ("report", "s3://bucket/x"),
    ("compare", "s3://bucket/x", "--anchor", "x264"),
    ("gate", "--baseline", "s3://a/x", "--candidate", "s3://b/x", "--fail", "bd_rate(psnr_y)>1%"),
    ("measure", "CLIP", "https://host/clip.y4m"),
    ("ls", "results", "s3://bucket/x"),
    ("validate", "s3://bucket/x"),
    ("verify", "s3://bucket/x"),
    ("fetch", "uvg", "--to", "s3://bucket/x"),
    ("train", "diff-sit", "--clips", ".", "--out", "s3://bucket/x"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_an_address_is_refused(
    vcbench, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: list[Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = vcbench(*(clips[0] if word == "CLIP" else word for word in words), "--json")
    assert done.code == 4
    error = json.loads(done.out)["error"]
    assert error["type"] == "UsageError"
    assert "is an address" in error["message"]
    assert "is an address" in done.err
    assert not list(tmp_path.iterdir())


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    for name, command in group.commands.items():
        for parameter in command.params:
            yield name, parameter


def test_no_command_takes_a_path_unchecked() -> None:
    paths = [(name, parameter) for name, parameter in parameters() if isinstance(parameter.type, click.Path)]
    assert {name for name, _ in paths} >= {words[0] for words in COMMANDS}
    assert [(name, parameter.name) for name, parameter in paths if not isinstance(parameter.type, LocalPath)] == []
