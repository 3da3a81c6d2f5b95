"""vcbench status: how far the runs of a result folder are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import Command, as_json, counted, duration, existing, pace, print_json
from bench.cli.output import say

if TYPE_CHECKING:
    from bench.engine.progress import FolderState, RunState


@click.command("status", cls=Command, short_help="Show how far the runs of a result folder are.")
@click.argument("folder", type=existing(folder=True))
@as_json
def command(folder: Path, json_output: bool) -> int:
    """Show how many cells are done, failed and running, the pace, and an estimate of the time left.

    It reads the result folder alone, so it works from any terminal or machine that sees the folder, whatever
    backend the run uses. A run whose driver was killed is listed with the cells it has left; the same command
    continues it.

    \b
    Examples:
      vcbench status results/mine
      watch vcbench status /mnt/shared/results/mine
    """
    from bench.engine.progress import state

    found = state(folder)
    if json_output:
        print_json({"folder": str(folder), **found.to_dict()})
    else:
        _show(folder, found)
    return 0


def _show(folder: Path, found: FolderState) -> None:
    parts = [f"{count} {status}" for status, count in sorted(found.cells.items(), key=_order)]
    say(f"{folder}: {counted(sum(found.cells.values()), 'cell')}" + (f": {', '.join(parts)}" if parts else ""))
    for run in found.runs:
        say(_told(run))
    if not any(run.alive for run in found.runs):
        say("no run is going on")
    if found.working:
        say(f"{counted(len(found.working), 'cell')} running:")
    for cell in found.working:
        say(f"  {cell.cell}, for {duration(cell.seconds)} on {cell.host} (process {cell.pid})")


def _order(item: tuple[str, int]) -> int:
    known = ("ok", "failed", "skipped")
    return known.index(item[0]) if item[0] in known else len(known)


def _told(run: RunState) -> str:
    who = f"run on {run.host} (process {run.pid}, {run.backend}, {counted(run.jobs, 'job')})"
    failed = f", {run.failed} failed" if run.failed else ""
    speed = pace(run.rate, run.left_s, at_least=run.at_least) if run.alive else ""
    return f"{who}: {run.done} of {run.total} done{failed}; {speed or run.reason}"
