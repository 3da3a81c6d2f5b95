"""vcbench history: result sets of successive revisions -> a page, a picture, tables."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import (
    CommaList,
    Command,
    LocalPath,
    PerCent,
    as_json,
    existing,
    looks_file,
    print_json,
    print_table,
)
from bench.cli.output import say


@click.command("history", cls=Command, short_help="Draw BD-rate, time and memory over revisions.")
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option(
    "--out",
    "-o",
    type=LocalPath(),
    required=True,
    help="Folder for index.html, history.png, history.csv and history.json.",
)
@click.option(
    "--metrics", type=CommaList(), default=(), help="BD-rate by these metrics; default all that were measured."
)
@click.option("--codecs", type=CommaList(), default=(), help="Only these codecs.")
@click.option(
    "--fail",
    multiple=True,
    metavar="RULE",
    help="Judge each revision against the one before it by this rule of vcbench gate; may be repeated.",
)
@click.option(
    "--min-overlap", type=PerCent(), default=0.0, help="Least share of a curve that a BD-rate must compare; default 0%."
)
@click.option("--title", help="Title of the page.")
@looks_file
@as_json
def command(
    folders: tuple[Path, ...],
    out: Path,
    metrics: tuple[str, ...],
    codecs: tuple[str, ...],
    fail: tuple[str, ...],
    min_overlap: float,
    title: str | None,
    looks: Path | None,
    json_output: bool,
) -> int:
    """Draw how codecs changed over revisions: BD-rate, time and memory, with the gate's verdicts.

    FOLDERS are result sets, one per revision, oldest first; a folder of result sets stands for these, in the order of
    their names. Verdicts come from gate.json in each result set (the output of vcbench gate --json), or from --fail.

    \b
    Examples:
      vcbench history results/v1 results/v2 results/v3 -o history
      vcbench history nightly -o history --fail 'bd_rate(psnr_y)>0.5%'
    """
    from bench.api import history
    from bench.report.history.page import bounds_text, change_text, write_history

    found = history(folders, metrics=metrics, codecs=codecs, fail=fail, min_overlap=min_overlap)
    page = write_history(found, out, title, looks)
    if json_output:
        print_json({"report": str(page), **found.to_dict()})
        return 0
    last = found.revisions[-1]
    rows = [
        [track.codec, track.title, change_text(track.points[-1]), bounds_text(track.points[-1]), track.reference]
        for track in found.tracks
    ]
    verdict = "not judged" if last.verdict is None else f"gate: {last.verdict.word}"
    print_table(f"{last.label} ({verdict})", ["codec", "quantity", "change", "95 % bounds", "since"], rows, right=(2,))
    say(f"history: {page}")
    return 0
