"""vcbench report: result sets -> a site, tables, figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    search_path,
)
from bench.cli.output import say, tell

if TYPE_CHECKING:
    from bench.report.board.leaderboard import BoardOptions


@click.command("report", cls=Command, short_help="Write a site, tables and figures.")
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option(
    "--out",
    "-o",
    type=LocalPath(),
    help="Folder of the report: new, empty, or an earlier report, which is replaced. Default report/ (with "
    "--paper: paper/) in the first result set.",
)
@click.option("--anchor", help="Codec that BD-rates refer to; default x265 if present.")
@click.option("--metrics", type=CommaList(), help="Only these metrics.")
@click.option("--title", help="Title of the site or the leaderboard.")
@click.option(
    "--pictures",
    type=click.IntRange(min=0),
    help="Show up to N pictures in the frame viewer, 0 for none. Default 120, or as many as decode in about a minute.",
)
@click.option(
    "--clips",
    multiple=True,
    type=existing(),
    help="Source clip, or folder of clips, for the frame viewer; clips of datasets are found without it. May be "
    "repeated.",
)
@click.option(
    "--trust", is_flag=True, help="Let cards of your own run programs and Python files, to decode for the frame viewer."
)
@search_path
@click.option("--paper", is_flag=True, help="Write figures, tables and captions for a paper instead of a site.")
@click.option(
    "--style",
    type=click.Choice(["single-column", "double-column", "ieee-column", "ieee-page", "slides"]),
    default="single-column",
    show_default=True,
    help="With --paper: size of figures and tables.",
)
@click.option("--log-rate", is_flag=True, help="With --paper: draw the rate on a logarithmic axis.")
@click.option(
    "--min-overlap",
    type=PerCent(),
    default=0.0,
    help="Give no BD-rate if less of the anchor's curve is compared, such as 75%; default 0%.",
)
@looks_file
@click.option(
    "--mix-published",
    is_flag=True,
    help="Compare published curves with measured ones, although protocols differ. With --leaderboard, rank them too.",
)
@click.option("--leaderboard", is_flag=True, help="Rank the codecs of all result sets against --anchor; needs --out.")
@click.option("--rank-estimates", is_flag=True, help="With --leaderboard: also rank codecs whose rate is an estimate.")
@click.option(
    "--records",
    type=existing(folder=True),
    metavar="DIRECTORY",
    help="With --leaderboard: rank only what these records of vcbench verify --record confirm.",
)
@as_json
def command(
    folders: tuple[Path, ...],
    out: Path | None,
    anchor: str | None,
    metrics: tuple[str, ...] | None,
    title: str | None,
    pictures: int | None,
    clips: tuple[Path, ...],
    trust: bool,
    looks: Path | None,
    paths: tuple[Path, ...],
    paper: bool,
    style: str,
    log_rate: bool,
    min_overlap: float,
    mix_published: bool,
    leaderboard: bool,
    rank_estimates: bool,
    records: Path | None,
    json_output: bool,
) -> int:
    """Write a site that opens from the file system or any web server, and BD-rate tables (CSV, Markdown).

    FOLDERS are result sets; a cell that several of them have is taken from the first. The site compares any codec with
    any other and shows curves, single frames and where each number comes from. It loads nothing from the network.

    \b
    Examples:
      vcbench report results/quickstart -o reports/quickstart --anchor x265
      vcbench report results/quickstart -o paper --paper --style double-column
      vcbench report results/ours results/theirs -o board --leaderboard --anchor x265
    """
    from bench.errors import UsageError
    from bench.report import build_report
    from bench.report.board.leaderboard import BoardOptions
    from bench.results.result_set import load

    if leaderboard:
        if anchor is None or out is None:
            raise UsageError("a leaderboard needs --anchor CODEC to rank against and --out FOLDER to be written to")
        board = BoardOptions(
            anchor, metrics, rank_estimates, mix_published, records, paths, title, min_overlap=min_overlap
        )
        return _leaderboard(folders, out, board, json_output)
    if records is not None:
        raise UsageError("--records is for --leaderboard")
    results = load(*folders)
    if paper:
        from bench.report.paper.document import PaperOptions, build_paper

        options = PaperOptions(anchor, metrics, style, log_rate, min_overlap, mix_published, looks)
        page = build_paper(results, out or folders[0] / "paper", options)
    else:
        page = build_report(
            results,
            out or folders[0] / "report",
            anchor=anchor,
            metrics=metrics,
            title=title,
            min_overlap=min_overlap,
            mix_published=mix_published,
            pictures=pictures,
            clips=[file for clip in clips for file in ([clip, *sorted(clip.iterdir())] if clip.is_dir() else [clip])],
            paths=paths,
            trust=trust,
            looks=looks,
        )
    if json_output:
        print_json({"report": str(page), "cells": len(results.cells), "problems": results.problems})
    else:
        for problem in results.problems:
            tell(f"left out: {problem}")
        say(f"report: {page}")
    return 0


def _leaderboard(folders: tuple[Path, ...], out: Path, options: BoardOptions, json_output: bool) -> int:
    from bench.report.board.leaderboard import build_leaderboard
    from bench.report.board.page import write_leaderboard

    board = build_leaderboard(folders, options)
    page = write_leaderboard(board, out)
    if json_output:
        print_json({"report": str(page), **board.to_dict()})
    else:
        for item in board.refused:
            tell(f"left out: {item.submission}, {item.what}: {item.reason}")
        say(f"report: {page}")
    return 6 if any(item.whole for item in board.refused) else 0
