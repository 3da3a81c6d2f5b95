"""vcbench compare: two codecs, or two result sets, in the terminal."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import (
    PROTOCOL_NAMES,
    CommaList,
    Command,
    LocalPath,
    NumbersOr,
    PerCent,
    as_json,
    counted,
    existing,
    print_json,
    print_table,
)
from bench.cli.output import tell

if TYPE_CHECKING:
    from bench.api import FolderComparison


@click.command("compare", cls=Command, short_help="Print BD-rates against an anchor, and speed.")
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option(
    "--anchor",
    help="Codec to compare with; required with one result set. With two: taken from the first; default every codec"
    " that both have.",
)
@click.option(
    "--test",
    help="Codec to compare; default every other codec. With two result sets: taken from the second; default the "
    "anchor.",
)
@click.option(
    "--metric",
    "metrics",
    type=CommaList(),
    help="One metric or several; default all that were measured. METRIC@POOLING takes the frames' min, max, "
    "median, harmonic, p1, p5, p10 or p95 instead of the mean. SSIM and MS-SSIM are compared in dB; "
    "ssim:linear compares linearly.",
)
@click.option("--dataset", help="Only this dataset.")
@click.option(
    "--method",
    type=click.Choice(["pchip", "akima", "cubic"]),
    default="pchip",
    show_default=True,
    help="Interpolation of the RD curves.",
)
@click.option(
    "--jvet",
    type=LocalPath(),
    help="Write anchor and test as an Excel sheet in the columns of JVET's template, with BD-rates as formulas.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOL_NAMES),
    help="BD-rate method and convention of these common test conditions.",
)
@click.option(
    "--convention",
    type=click.Choice(["per-sequence", "mean-curve", "dataset"]),
    help="per-sequence: mean of the sequences' BD-rates (default). mean-curve: BD-rate of the mean curves. "
    "dataset: BD-rate of values pooled over the dataset (default for FID and KID, which have such values).",
)
@click.option(
    "--rate",
    "rate_axis",
    type=click.Choice(["bpp", "kbps"]),
    default="bpp",
    show_default=True,
    help="Rate in bits per pixel or kilobits per second.",
)
@click.option("--hull", is_flag=True, help="Replace each curve by its convex hull first; the result says so.")
@click.option(
    "--min-overlap",
    type=PerCent(),
    default=0.0,
    help="Give no BD-rate if less of the anchor's curve is compared, such as 75%; default 0%.",
)
@click.option(
    "--per-sequence",
    is_flag=True,
    help="Print each sequence too: value, spread over interpolations, overlap, compared interval, notes.",
)
@click.option(
    "--at-rate",
    type=NumbersOr("anchor"),
    help="Instead of BD-rate: each codec's measured cell nearest to these rates in bits per pixel, or to the "
    "anchor's rates, with its metrics.",
)
@click.option(
    "--mix-published",
    is_flag=True,
    help="Compare published curves with measured ones, or with another paper's, although protocols differ; a "
    "warning says so.",
)
@as_json
def command(**options: Any) -> int:
    """Print BD-rates of codecs against an anchor by every metric: mean, confidence interval, doubts and speed.

    FOLDERS is one result set, with any number of folders of published curves; or two result sets, whose codecs are then
    labelled folder:codec. All means of a metric are over the same sequences. There is a value wherever the curves meet;
    marks say what makes it doubtful.

    \b
    Examples:
      vcbench compare results/mine --anchor x265
      vcbench compare results/mine --anchor x265 --test vvenc --metric psnr_y,vmaf@p5 --per-sequence
      vcbench compare results/before results/after --anchor x265
      vcbench compare results/mine --at-rate anchor --anchor x265 --metric psnr_y,vmaf
    """
    from bench.analysis.options import CompareOptions
    from bench.api import compare_folders
    from bench.cli.comparison_table import show_comparisons, show_ladders, show_sequences
    from bench.core.garbage import garbage_kept
    from bench.protocols import protocol_of

    if options["at_rate"]:
        return _at_rate(options)
    asked = {name: options[name] for name in ("anchor", "test", "metrics", "dataset")}
    if options["protocol"]:
        protocol = protocol_of(options["protocol"])
        options = {**options, "method": protocol.method, "convention": options["convention"] or protocol.convention}
    how = CompareOptions(
        **{field.name: options[field.name] for field in fields(CompareOptions) if field.name in options}
    )
    compared = compare_folders(options["folders"], options=how, **asked)
    results, comparisons = compared.results, compared.comparisons
    for left_out in (*compared.left_out, *results.problems):
        tell(f"left out: {left_out}")
    if options["jvet"]:
        _write_jvet(options["jvet"], compared)
    if options["json_output"]:
        named = options["anchor"] and (options["test"] or len(options["folders"]) > 1) and len(compared.metrics) == 1
        with garbage_kept():
            objects = [comparison.to_dict() for comparison in comparisons]
            for item in objects:
                item["warnings"] += [*results.notes, *(f"left out: {problem}" for problem in results.problems)]
            print_json(objects[0] if named else objects)
        return 0
    for note in results.notes:
        tell(f"note: {note}")
    for anchor, by_metric in compared.by_anchor.items():
        show_comparisons(by_metric, results, anchor=anchor)
        if options["per_sequence"]:
            for by_test in by_metric.values():
                for comparison in by_test.values():
                    show_sequences(comparison)
    show_ladders(results, compared.metrics if options["per_sequence"] else compared.metrics[:1])
    return 0


def _write_jvet(path: Path, compared: FolderComparison) -> None:
    from bench.errors import UsageError
    from bench.records import jvet

    if len(compared.pairs) != 1:
        raise UsageError("--jvet writes one pair; name it by --anchor and --test")
    ((anchor, test),) = compared.pairs
    count = jvet.write(path, compared.results.cells, anchor, test)
    tell(f"{path}: {counted(count, 'rate point')} of {anchor} and {test} in JVET's columns")


def _at_rate(options: dict[str, Any]) -> int:
    """Print each codec's nearest cell to each target rate."""
    from bench.api import equal_rate

    targets, metrics = options["at_rate"], options["metrics"] or ("psnr_y",)
    asked = {name: options[name] for name in ("anchor", "test", "dataset")}
    results, rows = equal_rate(options["folders"], None if targets == "anchor" else targets, metrics=metrics, **asked)
    for problem in results.problems:
        tell(f"left out: {problem}")
    if options["json_output"]:
        print_json([row.to_dict() for row in rows])
        return 0
    lines = [
        [
            *(row.sequence, f"{row.target_bpp:.4g}", row.codec),
            "none" if row.rate is None else f"{row.parameter}={row.rate:g}",
            "none" if row.bpp is None else f"{row.bpp:.4g}",
            "none" if row.distance is None else f"{row.distance:+.1%}",
            *("none" if value is None else f"{value:.4g}" for value in row.values.values()),
            row.reason or "",
        ]
        for row in rows
    ]
    header = ["sequence", "target", "codec", "at", "bpp", "distance", *metrics, ""]
    print_table("at equal rate: the nearest cells", header, lines, right=(1, 4, 5, *range(6, 6 + len(metrics))))
    return 0
