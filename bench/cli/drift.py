"""vcbench drift: quality along time."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from bench.cli.options import CommaList, Command, as_json, existing, print_json, print_table


@click.command("drift", cls=Command, short_help="Show quality along time, within GOPs and at intra frames.")
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option("--metrics", type=CommaList(), default=("psnr_y",), help="Metrics with per-frame values; default psnr_y.")
@click.option(
    "--period", type=click.IntRange(min=2), help="Frames from one intra frame to the next, the first frame being one."
)
@as_json
def command(folders: tuple[Path, ...], metrics: tuple[str, ...], period: int | None, json_output: bool) -> int:
    """Show how quality drifts along clips: the slope of a metric per second, with its bootstrap interval.

    With --period it also shows the course within a GOP and the jump at intra frames. Above 0 is better, whatever the
    direction of the metric.

    \b
    Examples:
      vcbench drift results/mine
      vcbench drift results/mine --metrics psnr_y,vmaf --period 32
    """
    from bench.analysis.drift import courses
    from bench.errors import UsageError
    from bench.results.result_set import load

    results = load(*folders)
    found = [course for metric in metrics for course in courses(results, metric, period=period)]
    if not found:
        raise UsageError(f"no codec has values of frames of {', '.join(metrics)}, five at least")
    if json_output:
        print_json([asdict(course) for course in found])
        return 0
    rows = []
    for course in found:
        low, high = course.interval.low, course.interval.high
        ends = "" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"
        jumps = ["" if value is None else f"{value:+.3g}" for value in (course.pop, course.step)]
        places = course.by_position or (None,)
        edges = ["" if value is None else f"{value:+.3g}" for value in (places[0], places[-1])]
        rows.append([course.metric, course.codec, f"{course.slope:+.4g}", ends, *edges, *jumps, str(course.cells)])
    header = ["metric", "codec", "a second", "95%", "intra", "last of GOP", "pop", "usual jump", "cells"]
    print_table("quality along time, above 0 is better", header, rows, right=range(2, 9))
    return 0
