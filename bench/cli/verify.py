"""vcbench verify: decode stored bitstreams again and compare with what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import LocalPath, ManyFilesCommand, as_json, counted, existing, print_json, search_path
from bench.cli.output import say, tell

if TYPE_CHECKING:
    from bench.engine.verify.cells import Check


@click.command("verify", cls=ManyFilesCommand, short_help="Decode stored bitstreams again and compare.")
@click.argument("folder", type=existing(folder=True))
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Check only N cells, drawn at random.")
@click.option(
    "--metrics",
    is_flag=True,
    help="Measure again and compare values, features and per-frame values; needs the source clips.",
)
@click.option(
    "--encode",
    is_flag=True,
    help="Encode some cells of each codec again and compare the bytes; needs the source clips.",
)
@click.option(
    "--encode-cells",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    metavar="N",
    help="With --encode: cells per codec, drawn at random.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=existing(),
    metavar="FILE...",
    help="Source clips of your own, found by their digests; clips of datasets are found without it.",
)
@click.option(
    "--record",
    type=LocalPath(file_okay=False),
    metavar="DIRECTORY",
    help="Add the findings to DIRECTORY/NAME.json, for vcbench report --leaderboard --records.",
)
@click.option("--by", metavar="NAME", help="With --record: name of the person who signs it off.")
@click.option("--trust", is_flag=True, help="Let cards of your own run programs and Python files.")
@click.option(
    "--no-sandbox",
    is_flag=True,
    help="Run decoders and encoders outside the sandbox: they can then read your files and use the network.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds that one decode or encode may take; default 3600 in the sandbox.",
)
@search_path
@as_json
def command(
    folder: Path,
    sample: int | None,
    metrics: bool,
    encode: bool,
    encode_cells: int,
    inputs: tuple[Path, ...],
    record: Path | None,
    by: str | None,
    trust: bool,
    no_sandbox: bool,
    time_limit: float | None,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Check that stored bitstreams are those that were measured and decode to the frames that were measured.

    Every bitstream is decoded alone in a fresh process, in a sandbox if this machine has one (vcbench doctor).
    Cards and source clips are those found here, never those in FOLDER, and nothing is written there. What nobody
    can compute again, such as times, is reported as "claimed"; so are frames whose last bits differ if the card says
    that they may (exact), and --metrics then allows values to differ by a thousandth. The exit code is 6 if something
    differs or could not be checked.

    \b
    Examples:
      vcbench verify results/mine
      vcbench verify results/submitted --metrics --encode --input clips/*.y4m
      vcbench verify results/submitted --metrics --record verified --by 'A. Reviewer'
    """
    from bench.core import sandbox
    from bench.engine.verify.cells import VerifyOptions, choose, outcomes, verify
    from bench.engine.verify.records import check_outside, write_record
    from bench.errors import UsageError
    from bench.results.result_set import load

    if record is not None:
        check_outside(record, folder)
    results = load(folder, apart=False)
    chosen = choose(results.cells, sample)
    if not chosen and not results.problems:
        raise UsageError(f"{folder}: no cell has a bitstream, so there is nothing to verify")
    confined = None if no_sandbox else sandbox.chosen()
    if confined is None and not no_sandbox:
        tell(f"sandbox: {sandbox.describe()}")
    options = VerifyOptions(metrics, inputs, paths, trust, time_limit, encode_cells if encode else 0, confined)
    checked = []
    for number, cell in enumerate(verify(folder, chosen, options), start=1):
        checked.append(cell)
        different = [check for check in cell.checks if check.outcome not in {"equal", "claimed"}]
        state = ", ".join(f"{check.what} {check.outcome}" for check in different) or "equal"
        tell(f"{number}/{len(chosen)} {cell.cell}: {state}")
    counts = outcomes(checked)
    method = confined.method if confined else None
    recorded = None if record is None else write_record(record, folder, chosen, checked, by, method)
    if json_output:
        print_json(
            {
                "folder": str(folder),
                "sandbox": method,
                "cells": len(results.cells),
                "checked": [cell.to_dict() for cell in checked],
                "outcomes": counts,
                "problems": results.problems,
                "record": None if recorded is None else str(recorded),
            }
        )
    else:
        for problem in results.problems:
            say(f"unreadable: {problem}")
        for cell in checked:
            for check in cell.checks:
                if _is_told(check):
                    say(f"{cell.cell}: {check.what}: {check.outcome}: {_detail(check.stored, check.found)}")
                    if check.reason:
                        say(f"  {check.reason}" + (f" ({cell.note})" if cell.note else ""))
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        without = len(results.cells) - len(chosen) if sample is None else 0
        left = f"; {counted(without, 'cell')} without a bitstream" if without else ""
        if recorded is not None:
            say(f"record: {recorded}")
        say(f"{counted(len(checked), 'cell')} of {len(results.cells)}; checks: {told}{left}")
    return 6 if results.problems or counts["different"] or counts["unchecked"] else 0


def _is_told(check: Check) -> bool:
    """Whether a check is worth a line: what did not come out equal, and claimed times only beside those of here."""
    return check.outcome in {"different", "unchecked"} or (
        check.outcome == "claimed" and (check.reason is not None or check.found is not None)
    )


def _detail(stored: str | float | None, found: str | float | None) -> str:
    def shown(value: str | float | None) -> str:
        return "nothing" if value is None else value[:16] if isinstance(value, str) else f"{value:.9g}"

    return f"stored {shown(stored)}, found {shown(found)}"
