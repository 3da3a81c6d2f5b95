"""vcbench report: result sets -> figures, tables and a page."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import CommaList, as_json, existing, print_json


@click.command("report", short_help="Write figures, tables and a page.")
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder of the report; default report/ in the first."
)
@click.option("--anchor", help="Codec that the others are compared with; default x265 where it is there.")
@click.option("--metrics", type=CommaList(), help="Only these metrics.")
@click.option("--title", help="Title of the page.")
@as_json
def command(
    folders: tuple[Path, ...],
    out: Path | None,
    anchor: str | None,
    metrics: tuple[str, ...] | None,
    title: str | None,
    json_output: bool,
) -> int:
    """Write RD figures (SVG, PDF, PNG), BD tables (CSV, Markdown) and a page that opens from the file system.

    \b
    Example:
      vcbench report results/quickstart -o reports/quickstart --anchor x265
    """
    from bench.report import build_report
    from bench.results import load

    results = load(*folders)
    page = build_report(results, out or folders[0] / "report", anchor=anchor, metrics=metrics, title=title)
    if json_output:
        print_json({"report": str(page), "cells": len(results.cells), "problems": results.problems})
    else:
        for problem in results.problems:
            click.echo(f"left out: {problem}", err=True)
        click.echo(f"report: {page}")
    return 0
