"""vcbench compare: two codecs, or two result sets, in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, NumbersOr, PerCent, as_json, existing, print_json, print_table
from bench.cli.output import tell

if TYPE_CHECKING:
    from bench.records.cell import CellResult
    from bench.results.result_set import ResultSet


@click.command("compare", cls=Command, short_help="BD-rate of codecs against an anchor, and speed.")
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option("--anchor", help="Codec compared with; of the first of two folders. Default there: all they share.")
@click.option("--test", help="Codec compared; of the second of two folders. Default: every other, or there the same.")
@click.option(
    "--metric",
    "metrics",
    type=CommaList(),
    help="One metric or several; default all that were measured. METRIC@POOLING takes the frames' min, max, median, "
    "harmonic, p1, p5, p10 or p95 in place of the mean; SSIM and MS-SSIM are compared in dB unless :linear follows.",
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
    "--convention",
    type=click.Choice(["per-sequence", "mean-curve", "dataset"]),
    help="Mean of the sequences' BD-rates (the default), BD-rate of the mean curves, or of the curves of values pooled "
    "over the dataset (the default of metrics that have such values: fid, kid).",
)
@click.option(
    "--rate",
    "rate_axis",
    type=click.Choice(["bpp", "kbps"]),
    default="bpp",
    show_default=True,
    help="Rate in bits per pixel or kilobits a second.",
)
@click.option("--hull", is_flag=True, help="Replace each curve by its convex hull first (labelled in the result).")
@click.option(
    "--min-overlap",
    type=PerCent(),
    default=0.0,
    help="Give no value where less of the anchor's curve is compared, such as 75%; default 0%.",
)
@click.option("--per-sequence", is_flag=True, help="Print each sequence, with overlap, interval and notes.")
@click.option(
    "--at-rate",
    type=NumbersOr("anchor"),
    help="Instead: the codecs side by side at these rates in bpp, or at those of the anchor.",
)
@click.option(
    "--mix-published",
    is_flag=True,
    help="Compare published curves with measured ones, or with another paper's, although protocols differ.",
)
@as_json
def command(**options: Any) -> int:
    """BD-rate of every codec against the anchor, by every metric: mean, confidence interval, doubts, and speed.

    All means of one metric are over the same sequences. A value stands wherever the curves meet; marks say what is
    doubtful about it. With --json: one object where --anchor, --test and one metric are named, or --anchor and one
    metric with two folders; otherwise a list of such objects.

    \b
    Examples:
      vcbench compare results/mine --anchor x265
      vcbench compare results/mine --anchor x265 --test vvenc --metric psnr_y,vmaf@p5 --per-sequence
      vcbench compare results/before results/after --anchor x265 --metric psnr_y,vmaf
      vcbench compare results/mine --at-rate 0.05,0.1 --metric psnr_y,vmaf
    """
    from bench.analysis.compare import compare_results
    from bench.cli.comparison_table import loaded_codecs, show_comparisons, show_sequences

    if options["at_rate"]:
        return _at_rate(options)
    results, pairs = _pairs(options["folders"], options["anchor"], options["test"])
    if options["dataset"]:
        results = _only(results, options["dataset"])
    wanted = options["metrics"] or _default_metrics(results)
    tests: dict[str, list[str]] = {}
    for anchor, test in pairs:
        tests.setdefault(anchor, []).append(test)
    settings = {name: options[name] for name in ("method", "convention", "rate_axis", "hull", "min_overlap")}
    found = {
        anchor: compare_results(results, anchor, of_anchor, wanted, mix_published=options["mix_published"], **settings)
        for anchor, of_anchor in tests.items()
    }
    comparisons = [found[anchor][metric][test] for anchor, test in pairs for metric in wanted]
    for problem in results.problems:
        tell(f"left out: {problem}")
    if options["json_output"]:
        objects = [comparison.to_dict() for comparison in comparisons]
        for item in objects:
            item["warnings"] += [*results.notes, *(f"left out: {problem}" for problem in results.problems)]
        named = options["anchor"] and (options["test"] or len(options["folders"]) > 1) and len(wanted) == 1
        print_json(objects[0] if named else objects)
        return 0
    for note in results.notes:
        tell(f"note: {note}")
    for anchor, by_metric in found.items():
        show_comparisons(by_metric, loaded_codecs(results), anchor=anchor)
        if options["per_sequence"]:
            for by_test in by_metric.values():
                for comparison in by_test.values():
                    show_sequences(comparison)
    return 0


def _default_metrics(results: ResultSet) -> list[str]:
    """Every metric that was measured and can be compared."""
    from bench.errors import UnavailableError, UnknownNameError, UsageError
    from bench.registry import metric_class

    able = []
    for metric in results.metrics:
        try:
            metric_class(metric)
        except (UnknownNameError, UnavailableError, UsageError):
            tell(f"left out: {metric} is not installed here, so which way is better is not known")
        else:
            able.append(metric)
    if not able:
        raise UsageError("no metric was measured; vcbench run --metrics adds some to these results")
    return able


def _at_rate(options: dict[str, Any]) -> int:
    """Print each codec's nearest cell to each target rate."""
    from bench.analysis.equal_rate import at_rate
    from bench.errors import UsageError
    from bench.results.result_set import load

    anchor, test, targets = options["anchor"], options["test"], options["at_rate"]
    if targets == "anchor" and anchor is None:
        raise UsageError("--at-rate anchor needs --anchor CODEC; or give the rates in bpp, --at-rate 0.05,0.1")
    if len(options["folders"]) == 1:
        results, codecs = load(options["folders"][0]), [name for name in (anchor, test) if name and test]
    else:
        results, pairs = _pairs(options["folders"], anchor, test)
        codecs = list(dict.fromkeys(name for pair in pairs for name in pair))
        anchor = pairs[0][0]
    if options["dataset"]:
        results = _only(results, options["dataset"])
    metrics = options["metrics"] or ("psnr_y",)
    rows = at_rate(results, None if targets == "anchor" else targets, anchor=anchor, metrics=metrics, codecs=codecs)
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


def _only(results: ResultSet, dataset: str) -> ResultSet:
    from bench.errors import UnknownNameError

    known = {cell.sequence.dataset for cell in results.cells}
    known |= {curve.dataset for part in results.published for curve in part.curves}
    if dataset not in known:
        raise UnknownNameError("dataset of these results", dataset, known)
    return results.only(dataset=dataset)


def _pairs(folders: tuple[Path, ...], anchor: str | None, test: str | None) -> tuple[ResultSet, list[tuple[str, str]]]:
    """The results to compare in, and the (anchor, test) pairs of codec names in them."""
    from bench.errors import UnknownNameError, UsageError
    from bench.records.published import is_published
    from bench.results.result_set import ResultSet, load

    measured = [folder for folder in folders if not is_published(folder)]
    if len(measured) > 2:
        raise UsageError("compare takes one result folder or two, and folders of published curves")
    if len(measured) == 2 and len(folders) > 2:
        raise UsageError("published curves are compared with one result folder at a time")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(f"{folders[0]} is given twice; give it once and name --anchor and --test")
    loaded = [load(folder) for folder in measured] if len(measured) == 2 else [load(*folders)]
    if len(loaded) == 1:
        codecs = _codecs(loaded[0])
        if anchor is None:
            raise UsageError("compare needs --anchor CODEC (or two folders of measured results)")
        for name in filter(None, (anchor, test)):
            if several := [codec for codec in codecs if codec.startswith(f"{name} #")]:
                notes = " ".join(note for note in loaded[0].notes if note.startswith(f"{name} "))
                raise UsageError(f"{notes} Name one of {', '.join(map(repr, several))}")
            if name not in codecs:
                raise UnknownNameError(f"codec in {folders[0]}", name, codecs)
        tests = [test] if test else [codec for codec in codecs if codec != anchor]
        if not tests:
            raise UsageError(f"{folders[0]}: {anchor} is the only codec there; nothing to compare with it")
        return loaded[0], [(anchor, name) for name in tests]
    before, after = loaded
    names = [anchor] if anchor else sorted({*_codecs(before)} & {*_codecs(after)})
    if not names:
        raise UsageError(f"{folders[0]} and {folders[1]} have no codec in common; name --anchor and --test")
    labels = _labels(folders)
    cells = [_labelled(cell, label) for label, found in zip(labels, loaded, strict=True) for cell in found.cells]
    both = ResultSet(folders, cells, [*before.problems, *after.problems], notes=[*before.notes, *after.notes])
    pairs = [(labels[0] + name, labels[1] + (test or name)) for name in names]
    for name in (codec for pair in pairs for codec in pair):
        if name not in _codecs(both):
            raise UnknownNameError("codec", name, _codecs(both))
    return both, pairs


def _codecs(results: ResultSet) -> list[str]:
    return results.codecs


def _labelled(cell: CellResult, label: str) -> CellResult:
    codec = cell.codec.model_copy(update={"name": label + cell.codec.name})
    return cell.model_copy(update={"codec": codec})


def _labels(folders: tuple[Path, ...]) -> list[str]:
    """What is put before the codecs of each folder: its own name, or its whole path where the names are equal."""
    names = [folder.resolve().name for folder in folders]
    return [f"{name}:" for name in (names if len(set(names)) == len(names) else map(str, folders))]
