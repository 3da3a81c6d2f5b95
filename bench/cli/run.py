"""vcbench run: codecs x datasets x metrics -> a result set."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import (
    PROTOCOL_NAMES,
    CommaList,
    LocalPath,
    ManyFilesCommand,
    NumberList,
    NumbersOr,
    PerCent,
    as_json,
    counted,
    existing,
    print_json,
    print_table,
    search_path,
)
from bench.cli.output import say, tell

if TYPE_CHECKING:
    from bench.api import Outcome
    from bench.engine.options import RunOptions
    from bench.engine.plan import Cell, Plan
    from bench.engine.rate_search.match import Match
    from bench.engine.store.folder import Store
    from bench.records.cell import CellResult


@click.command("run", cls=ManyFilesCommand, short_help="Run codecs over clips and measure the results.")
@click.option(
    "--codecs",
    type=CommaList(),
    required=True,
    help="Codecs by name, name@configuration or card file (vcbench ls codecs).",
)
@click.option(
    "--datasets", type=CommaList(), default=(), help="Datasets by name or manifest file (vcbench ls datasets)."
)
@click.option("--sequences", type=CommaList(), default=(), help="Only these sequences or subsets of the datasets.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE...",
    type=existing(),
    help="Clips: y4m, raw yuv, folders of PNG pictures, or anything FFmpeg reads. Takes every word up to the next "
    "option, so --input *.y4m works; write ./-name for a name that starts with a hyphen.",
)
@click.option("--size", help="Size of raw yuv input, such as 352x288.")
@click.option(
    "--pix-fmt",
    help="Pixel format of raw yuv input, such as yuv420p10le. For RGB input, the format that codecs receive; "
    "default 4:4:4 of the same bit depth.",
)
@click.option(
    "--fps",
    help="Frame rate of raw yuv or PNG input, such as 30 or 30000/1001. Overrides the frame rate of a file that "
    "has one.",
)
@click.option(
    "--transfer",
    type=click.Choice(["pq", "hlg", "sdr"]),
    help="Transfer function of the input, for files that do not state it (y4m, raw, PNG). Overrides that of the file.",
)
@click.option("--start", type=click.IntRange(min=0), default=0, help="First frame of --input clips, counted from 0.")
@click.option("--frames", type=click.IntRange(min=1), help="Use up to N frames of each clip; default all.")
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOL_NAMES),
    help="Common test conditions by name: GOP structure, frames, metrics and BD-rate convention.",
)
@click.option(
    "--scales",
    type=NumberList("1,0.75,0.5"),
    default=(),
    help="Code each rate at these sizes, as factors of the clip's (1,0.75,0.5); a codec's curve is their hull.",
)
@click.option(
    "--scale-filter",
    type=click.Choice(["lanczos", "bicubic"]),
    default="lanczos",
    help="Filter by which --scales scales down and back up.",
    show_default=True,
)
@click.option(
    "--rates",
    type=NumbersOr("auto"),
    help="Values of the rate parameter (QP, CRF ...) instead of the card's. auto searches them so that each curve "
    "covers the anchor's range of quality; the anchor is the first codec, or that of --match-rate.",
)
@click.option(
    "--match-rate",
    metavar="CODEC",
    help="Search the other codecs' rate points so that they meet the rates of CODEC, which is part of the run or "
    "of the result folder. With --rates auto, CODEC is the anchor.",
)
@click.option(
    "--target-bpp",
    type=NumberList(),
    help="Search every codec's rate points so that they meet these rates, in bits per pixel.",
)
@click.option(
    "--tolerance",
    type=PerCent(),
    help="How close a search must come: default 2% of the rate; with --rates auto, 5% of the anchor's range of "
    "quality.",
)
@click.option(
    "--metrics",
    type=CommaList(),
    default=(),
    help="Metrics or sets of metrics; +name adds to the default ones (vcbench ls metrics, vcbench ls sets).",
)
@click.option(
    "--out",
    type=LocalPath(),
    help="Result folder: new, empty, or an existing result set. Default results/DATASET, or results/input for --input.",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    help="Number of cells to run side by side; default one per CPU, or all workers of a cluster.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "loky", "threading", "dask", "ray"]),
    default="auto",
    help="Where cells run. auto: threads of this machine if every metric works outside Python, else processes "
    "(loky). dask and ray: a cluster.",
    show_default=True,
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A running Dask scheduler (tcp://host:port, or its file) or Ray cluster (host:port). Without it, dask and"
    " ray start workers on this machine.",
)
@click.option(
    "--copy-inputs",
    is_flag=True,
    help="Copy the clips into the result folder first, for workers that cannot see their paths.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that one encode or decode may take. Then its processes are ended and the cell fails.",
)
@click.option(
    "--timing",
    is_flag=True,
    help="Run one cell at a time and decode once more for the clock alone: for speed that you quote. Cells that "
    "were timed under load run again.",
)
@click.option("--strict", is_flag=True, help="Exit with 6 if a metric cannot run here, instead of leaving it out.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the cells, which of them are measured, and which metrics cannot run here. Runs and writes nothing.",
)
@click.option("--report", is_flag=True, help="Build the report at the end, in report/ of the result folder.")
@click.option("--trust", is_flag=True, help="Let cards of your own run programs and Python files.")
@click.option(
    "--sandbox", is_flag=True, help="Run encoders and decoders in the sandbox, as verify does: for cards from others."
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but what goes wrong: no progress, no summary.")
@click.option("--verbose", "-v", is_flag=True, help="Print a line per cell, with every metric, time and memory.")
@search_path
@as_json
def command(**options: Any) -> int:
    """Run codecs over clips, decode, measure and store. Cells that are already measured are not run again.

    Give the same command again to continue after an interruption; give it with more metrics to measure the stored
    bitstreams. Names, formats, rates and folders are checked before anything is encoded. A cell that fails does not
    stop the others, and a metric that cannot run here is reported at the start and left out.

    \b
    Examples:
      vcbench run --codecs x264,x265,vvenc --datasets quickstart --report
      vcbench run --codecs x265,svt-av1 --input clips/*.y4m --out results/mine --metrics +xpsnr
      vcbench run --codecs x265@low-delay --input a.yuv --size 1920x1080 --pix-fmt yuv420p --fps 50
      vcbench run --codecs x265,svt-av1 --datasets quickstart --match-rate x265 --tolerance 3%
      vcbench run --codecs x265,vvenc --datasets hevc-b --protocol jvet-ra
    """
    from bench.api import Listener, carry_out
    from bench.cli.run_progress import reporter
    from bench.core.folders import check_rewritable
    from bench.errors import UsageError

    quiet, verbose = options["quiet"], options["verbose"]
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; give one of them")
    asked, out = _asked(options), _folder(options)
    if options["dry_run"]:
        return _dry_run(asked, out, json_output=options["json_output"])
    if options["report"]:
        check_rewritable(_report_folder(out), "report")
    with ExitStack() as stack:
        report = reporter(out, quiet=quiet, verbose=verbose)
        announce = (lambda _: None) if quiet else tell

        def planned(plan: Plan) -> None:
            for name, reason in plan.unavailable.items():
                announce(f"unavailable: {name}: {reason}")
            for note in _notes(plan):
                announce(f"note: {note}")
            stack.enter_context(report)

        outcome = carry_out(
            asked, out, command=["vcbench", *sys.argv[1:]], listener=Listener(planned, announce, report)
        )
    if not outcome.begun:
        tell("nothing to do: the plan has no cells")
    page = _report(out, asked) if options["report"] and outcome.begun else None
    _say_outcome(outcome, out, page, asked.inputs, quiet=quiet, json_output=options["json_output"])
    return _exit_code(outcome, strict=options["strict"])


def _asked(options: dict[str, Any]) -> RunOptions:
    from bench.engine.options import RunOptions

    return RunOptions(**{field.name: options[field.name] for field in fields(RunOptions)})


def _folder(options: dict[str, Any]) -> Path:
    return options["out"] or Path("results") / ("-".join(options["datasets"]) or "input")


def _dry_run(options: RunOptions, out: Path, *, json_output: bool) -> int:
    from bench.engine.run import plan
    from bench.errors import UsageError

    if options.matching is not None:
        raise UsageError("--dry-run cannot show the cells of a search: each depends on the encodes before it")
    return _show_plan(plan(options), out, options, json_output=json_output)


def _notes(planned: Plan) -> list[str]:
    """What is to be known of the clips, and of metrics that are not made for them, each once."""
    from bench.analysis.transfer import doubts

    return [
        f"{clip.path}: {note}"
        for clip in dict.fromkeys(cell.sequence for cell in planned.cells)
        for note in (*clip.remarks, *doubts(planned.metrics, clip.transfer))
    ]


def _show_plan(planned: Plan, out: Path, options: RunOptions, *, json_output: bool) -> int:
    from bench.engine.store.folder import Store

    stored = Store(out.resolve())
    rows: list[dict[str, Any]] = [
        {
            "codec": cell.codec.card.name,
            "rate": cell.rate.value,
            "scale": cell.scale,
            "dataset": cell.sequence.dataset,
            "sequence": cell.sequence.name,
            "frames": cell.sequence.frames,
            "cell": cell.name,
            **_state(stored, cell, planned, timing=options.timing),
        }
        for cell in planned.cells
    ]
    backend = planned.backend(options.backend)
    if json_output:
        print_json(
            {
                "out": str(out),
                "backend": backend,
                "metrics": list(planned.metrics),
                "unavailable": planned.unavailable,
                "notes": _notes(planned),
                "cells": rows,
            }
        )
    else:
        header = ["codec", "rate", "sequence", "frames", "state"]
        lines = [
            [
                row["codec"],
                f"{row['rate']:g}" + ("" if row["scale"] == 1 else f" at {row['scale']:g}x"),
                row["sequence"],
                str(row["frames"]),
                row["problem"] or ("measured" if row["measured"] else "to do"),
            ]
            for row in rows
        ]
        title = f"{counted(len(rows), 'cell')} for {out}, metrics {', '.join(planned.metrics)}, backend {backend}"
        print_table(title, header, lines, right=(1, 3))
        for metric, reason in planned.unavailable.items():
            tell(f"unavailable: {metric}: {reason}")
        for note in _notes(planned):
            tell(f"note: {note}")
    return 0 if rows else 5


def _state(stored: Store, cell: Cell, planned: Plan, *, timing: bool) -> dict[str, Any]:
    from bench.engine.cell import is_done
    from bench.errors import StoreError

    try:
        known = stored.look(cell.name)
    except StoreError as error:
        return {"measured": False, "problem": str(error)}
    return {
        "measured": is_done(
            known, planned.metrics, "alone" if timing else "shared", planned.unavailable, cell.sequence.transfer
        ),
        "problem": None,
    }


def _report_folder(out: Path) -> Path:
    return out / "report"


def _report(folder: Path, options: RunOptions) -> Path:
    from bench.report import build_report
    from bench.results.result_set import load

    out = _report_folder(folder)
    return build_report(load(folder), out, clips=options.inputs, paths=options.paths, trust=options.trust)


def _unmeasured(outcome: Outcome) -> list[tuple[str, str, str, str | None]]:
    """Cell, metric, status and reason of what was asked for and could not be measured."""
    return [
        (result.name, name, measured.status, measured.reason)
        for result in outcome.results
        for name in outcome.planned.metrics
        if (measured := result.measurements.get(name)) is not None and measured.status in {"failed", "unavailable"}
    ]


def _exit_code(outcome: Outcome, *, strict: bool) -> int:
    if not outcome.results:
        return 5
    failed = any(result.status == "failed" for result in outcome.results)
    return 6 if failed or any(strict or item[2] == "failed" for item in _unmeasured(outcome)) else 0


def _say_outcome(
    outcome: Outcome, out: Path, page: Path | None, clips: Iterable[Path], *, quiet: bool, json_output: bool
) -> None:
    results, wanted, matches = outcome.results, outcome.planned.metrics, outcome.matches
    counts = {status: sum(result.status == status for result in results) for status in ("ok", "failed", "skipped")}
    unmeasured = _unmeasured(outcome)
    if json_output:
        print_json(
            {
                "out": str(out),
                "cells": counts,
                "failed": [_brief(result) for result in results if result.status == "failed"],
                "skipped": [_brief(result) for result in results if result.status == "skipped"],
                "failed_measurements": [
                    dict(zip(("cell", "metric", "status", "reason"), item, strict=True)) for item in unmeasured
                ],
                "set_aside": outcome.problems,
                "matches": [match.to_dict() for match in matches],
                "report": str(page) if page else None,
            }
        )
        return
    for problem in outcome.problems:
        tell(problem)
    for result in results:
        if result.status != "ok":
            tell(f"{result.status}: {result.name}: {result.reason}: {result.message}")
    for cell, metric, status, reason in unmeasured:
        if status == "failed":
            tell(f"not measured: {cell}: {metric}: {reason}")
    for metric, reason in {item[1]: item[3] for item in unmeasured if item[2] == "unavailable"}.items():
        tell(f"unavailable: {metric}: {reason}")
    if quiet:
        return
    _show_matches(matches)
    _show_summary(results, out, wanted)
    parts = [f"{count} {status}" for status, count in counts.items() if count or status == "ok"]
    say(f"{counted(len(results), 'cell')} in {out}: {', '.join(parts)}")
    if page:
        say(f"report: {page}")
    elif results:
        # a report opens no path that a result file states
        shown = [part for clip in clips for part in ("--clips", str(clip))]
        say(f"next: {shlex.join(['vcbench', 'report', str(out), *shown])}")


def _show_summary(results: list[CellResult], out: Path, wanted: Iterable[str]) -> None:
    """The table of `vcbench compare` in short, where the run has codecs to compare."""
    from bench.analysis.compare import compare_results
    from bench.cli.comparison_table import show_comparisons, show_ladders, summary_metrics
    from bench.report.measured import choose_anchor
    from bench.results.result_set import ResultSet

    found = ResultSet((out,), [result for result in results if result.status == "ok"])
    valued = {name for cell in found.cells for name, one in cell.measurements.items() if one.value is not None}
    measured = [name for name in wanted if name in valued]
    if len(found.codecs) < 2 or not measured:
        return
    anchor, _ = choose_anchor(found.cells, None)
    tests = [name for name in found.codecs if name != anchor]
    by_metric = compare_results(found, anchor, tests, summary_metrics(measured))
    show_comparisons(by_metric, found, anchor=anchor, short=True)
    show_ladders(found, measured[:1])
    more = f"vcbench compare {shlex.quote(str(out))} --anchor {shlex.quote(anchor)}"
    say(f"  all metrics, intervals and sequences: {more} (--per-sequence)")


def _show_matches(matches: Sequence[Match]) -> None:
    """What a search found: a line a target, and how many encodes it took."""
    if not matches:
        return
    rows = [
        [
            match.codec,
            match.sequence,
            match.quantity,
            "none" if match.target is None else f"{match.target:.4g}",
            "none" if match.reached is None else f"{match.reached:.4g}",
            "none" if match.distance is None else f"{match.distance:+.1%}",
            "none" if match.value is None else f"{match.parameter}={match.value:g}",
            match.reason or match.status,
        ]
        for match in matches
    ]
    header = ["codec", "sequence", "of", "target", "found", "distance", "at", ""]
    searches = {(match.codec, match.dataset, match.sequence): match.encodes for match in matches}
    reached = sum(match.status == "reached" for match in matches)
    title = f"{reached} of {counted(len(matches), 'target')} reached, {counted(sum(searches.values()), 'encode')}"
    print_table(title, header, rows, right=(3, 4, 5))


def _brief(result: CellResult) -> dict[str, Any]:
    return {"cell": result.name, "reason": result.reason, "message": result.message}
