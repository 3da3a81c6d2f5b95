"""vcbench verify: decode stored bitstreams again and compare with what was measured."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import ManyFilesCommand, as_json, counted, existing, print_json, search_path


@click.command("verify", cls=ManyFilesCommand, short_help="Decode stored bitstreams again and compare.")
@click.argument("folder", type=existing(folder=True))
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N cells, drawn at random.")
@click.option("--metrics", is_flag=True, help="Measure again too, and compare the values; needs the source clips.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=existing(),
    metavar="FILE...",
    help="Source clips for --metrics, found by their digests; those of datasets are found by themselves.",
)
@click.option("--trust", is_flag=True, help="Allow cards of yours to run programs and Python files.")
@click.option("--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Of one decode.")
@search_path
@as_json
def command(
    folder: Path,
    sample: int | None,
    metrics: bool,
    inputs: tuple[Path, ...],
    trust: bool,
    time_limit: float | None,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Check that stored bitstreams are those that were measured and decode to the frames that were measured.

    Every bitstream is decoded alone in a fresh process. The source clips may be gone, unless --metrics asks for values.
    The exit code is 6 where something differs or could not be checked; each such thing is named.

    \b
    Examples:
      vcbench verify results/mine
      vcbench verify results/submitted --sample 20 --metrics
    """
    from bench.engine.verify import VerifyOptions, choose, outcomes, verify
    from bench.errors import UsageError
    from bench.results import load

    results = load(folder)
    chosen = choose(results.cells, sample)
    if not chosen and not results.problems:
        raise UsageError(f"{folder}: no cell has a bitstream, so there is nothing to verify")
    options = VerifyOptions(metrics, inputs, paths, trust, time_limit)
    checked = []
    for number, cell in enumerate(verify(folder, chosen, options), start=1):
        checked.append(cell)
        different = [check for check in cell.checks if check.outcome != "equal"]
        state = ", ".join(f"{check.what} {check.outcome}" for check in different) or "equal"
        click.echo(f"{number}/{len(chosen)} {cell.cell}: {state}", err=True)
    counts = outcomes(checked)
    if json_output:
        print_json(
            {
                "folder": str(folder),
                "cells": len(results.cells),
                "checked": [cell.to_dict() for cell in checked],
                "outcomes": counts,
                "problems": results.problems,
            }
        )
    else:
        for problem in results.problems:
            click.echo(f"unreadable: {problem}")
        for cell in checked:
            for check in cell.checks:
                if check.outcome != "equal":
                    click.echo(f"{cell.cell}: {check.what}: {check.outcome}: {_detail(check.stored, check.found)}")
                    click.echo(f"  {check.reason}" + (f" ({cell.note})" if cell.note else ""))
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        without = len(results.cells) - len(chosen) if sample is None else 0
        left = f"; {counted(without, 'cell')} without a bitstream" if without else ""
        click.echo(f"{counted(len(checked), 'cell')} of {len(results.cells)}; checks: {told}{left}")
    return 0 if not results.problems and counts["equal"] == sum(counts.values()) else 6


def _detail(stored: str | float | None, found: str | float | None) -> str:
    def shown(value: str | float | None) -> str:
        return "nothing" if value is None else value[:16] if isinstance(value, str) else f"{value:.9g}"

    return f"stored {shown(stored)}, found {shown(found)}"
