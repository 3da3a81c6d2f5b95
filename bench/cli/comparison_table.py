"""Comparisons in the terminal: the table of codecs and metrics, and the long form of one pair."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.cli.options import print_table
from bench.cli.output import say

if TYPE_CHECKING:
    from bench.analysis.bd import BDResult, Cause
    from bench.analysis.compare import Comparison, Overall, SpeedRatio
    from bench.results.result_set import ResultSet

_LOADED = "measured while other cells ran; --timing measures times alone"
_WIDTH = 20
_OVER = {"per-sequence": "mean over sequences", "mean-curve": "mean curves", "dataset": "pooled over the dataset"}
_USUAL = ("psnr_y", "ms_ssim", "vmaf", "ssim")


def loaded_codecs(results: ResultSet) -> frozenset[str]:
    """Codecs some of whose times were measured with other cells at work beside them."""
    return frozenset(
        cell.codec.name
        for cell in results.cells
        for cost in (cell.encode, cell.decode)
        if cost is not None and cost.timing == "shared"
    )


def show_comparisons(
    by_metric: Mapping[str, Mapping[str, Comparison]], results: ResultSet, *, anchor: str, short: bool = False
) -> None:
    """Print one table: a row per codec and a column per metric, as many columns as the terminal has room for.

    Each value has its marks behind it, and below it the count of sequences and the 95 % interval; ``short`` leaves the
    intervals out. Legends and reasons follow.
    """
    from bench.analysis.bd import legend, marks
    from bench.analysis.fooled import resting_lead
    from bench.report.preamble import overfitted

    comparisons = [one for by_test in by_metric.values() for one in by_test.values()]
    if not comparisons:
        return
    beside = max(len(marks(one.bd_rate.flags)) for one in comparisons)
    loaded, labels = loaded_codecs(results), results.labels
    tests = list(dict.fromkeys(one.test for one in comparisons))
    names = max(len("codec"), *(len(labels[test]) for test in tests))
    room = max(1, (_columns() - names - 20) // (_WIDTH + 2))
    metrics = list(by_metric)
    first = comparisons[0]
    conventions = list(dict.fromkeys(one.bd_rate.convention for one in comparisons))
    what = _OVER[conventions[0]]
    title = (
        f"BD-rate against {labels[anchor]} in % ({first.bd_rate.method}, {what});"
        " negative: fewer bits for equal quality"
    )
    for start in range(0, len(metrics), room):
        part = metrics[start : start + room]
        last = start + room >= len(metrics)
        header = ["codec", *map(_heading, part), *(("encode", "decode") if last else ())]
        rows = []
        for test in tests:
            own = [by_metric[metric].get(test) for metric in part]
            times = _times(by_metric, test, anchor, loaded) if last else []
            rows.append([labels[test], *("" if one is None else _value(one.bd_rate, beside) for one in own), *times])
            if not short:
                rows.append(["", *("" if one is None else _below(one.bd_rate) for one in own), *([""] * len(times))])
        print_table(title if start == 0 else "", header, rows, right=tuple(range(1, len(header))))
    for line in legend(_flags(comparisons)):
        say(f"  {line}")
    for metric, by_test in by_metric.items():
        other = {one.bd_rate.convention for one in by_test.values()} - {conventions[0]}
        if other:
            say(f"  {metric}: {', '.join(_OVER[name] for name in sorted(other))}")
    for line in [*_reasons(comparisons), *([] if short else _shortfalls(comparisons))]:
        say(f"  {line}")
    for test in tests:
        rates = {metric: by_test[test].bd_rate for metric, by_test in by_metric.items() if test in by_test}
        if said := resting_lead(labels[test], labels[anchor], rates):
            say(f"  {said}")
    for line in overfitted(cell for cell in results.cells if cell.codec.name in {anchor, *tests}):
        say(f"  {line}")
    if {anchor, *tests} & loaded:
        say(f"  *: times {_LOADED}")


def show_ladders(results: ResultSet, metrics: Sequence[str]) -> None:
    """Print, of each codec that was coded at several sizes, which of them is on its hull at which rates (bpp)."""
    from bench.analysis.ladder import ladder_curves, rungs, rungs_text, scales

    sizes = scales(results.cells)
    if not sizes:
        return
    rows = [
        [codec, metric, curve.sequence, rungs_text(rungs(curve))]
        for (codec, metric), own in ladder_curves(results, metrics).items()
        for curve in own
    ]
    say()
    print_table("Which size is on the hull at which rates, in bpp", ["codec", "metric", "sequence", "sizes"], rows)
    for codec, told in sizes.items():
        say(f"  {codec}: sizes {told}")


def show_sequences(comparison: Comparison) -> None:
    """Print the long form of one pair: each sequence with overlap, the interval compared, spread and notes."""
    from bench.analysis.bd import Cause
    from bench.analysis.pooled import OVER_DATASET
    from bench.analysis.quality import QualityAxis

    overall, quality = comparison.bd_rate, comparison.bd_metric
    axis = QualityAxis.parse(comparison.metric)
    rows = []
    for result in comparison.per_sequence:
        rate = result.bd_rate
        rows.append([result.sequence, *_long(rate, axis.unit), rate.reason or "; ".join(rate.notes)])
    count = f"all ({overall.sequences_used}/{overall.sequences_total})" if overall.sequences_total else "dataset"
    # The sequences' own reasons stand in the rows above.
    reason = "" if rows and overall.cause is Cause.NO_SEQUENCE else overall.reason or ""
    rows.append([count, *_long(overall, axis.unit), reason if rows else reason or "; ".join(overall.notes)])
    say()
    title = f"BD-rate of {comparison.test} against {comparison.anchor}, {comparison.metric}"
    header = ["sequence", "BD-rate %", "by method", "overlap", "compared", "notes"]
    print_table(title, header, rows, right=(1, 2, 3, 4))
    interval = (
        f"95 % interval {overall.interval.low:+.2f} to {overall.interval.high:+.2f} %"
        if overall.interval.low is not None and overall.interval.high is not None
        else f"no confidence interval: {overall.interval.reason}"
    )
    convention = f"{overall.convention} convention"
    if overall.convention == "dataset":
        convention = OVER_DATASET if overall.sequences_total else "values of whole datasets"
    say(f"  {interval}; {overall.method}, {convention}")
    if quality.value is not None:
        counted = f" ({quality.sequences_used}/{quality.sequences_total} sequences)" if quality.sequences_total else ""
        say(f"  BD-{comparison.metric} {quality.value:+.4g} {axis.unit}".rstrip() + f" at equal rate{counted}")
    for what, ratio in (("encode", comparison.encode), ("decode", comparison.decode)):
        if ratio.value is not None:
            counted = f"{ratio.sequences_used}/{overall.sequences_total} sequences"
            say(f"  {what} time {ratio.value:.2f} x the anchor's ({counted})")
    for warning in comparison.warnings:
        say(f"  note: {warning}")


def _columns() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def _heading(metric: str) -> str:
    from bench.analysis.quality import QualityAxis

    return f"{metric} (dB)" if QualityAxis.parse(metric).scale == "db" and ":db" not in metric else metric


def _flags(comparisons: Sequence[Comparison]) -> set[Cause]:
    return {flag for one in comparisons for flag in one.bd_rate.flags}


def _value(rate: BDResult, room: int) -> str:
    """A value with its marks, which take the same room behind every value so that the digits stay in line."""
    from bench.analysis.bd import marks

    if rate.value is None:
        return "undefined"
    return f"{rate.value:+.2f} {marks(rate.flags):<{room}}" if room else f"{rate.value:+.2f}"


def _below(rate: Overall) -> str:
    count = f"{rate.sequences_used}/{rate.sequences_total}" if rate.sequences_total else "dataset"
    if rate.interval.low is None or rate.interval.high is None:
        return count
    return f"{count} [{rate.interval.low:+.1f}, {rate.interval.high:+.1f}]"


def _long(rate: BDResult, unit: str) -> list[str]:
    compared, spread = rate.compared, rate.spread
    return [
        "undefined" if rate.value is None else f"{rate.value:+.2f}",
        "" if spread is None else f"{spread[0]:+.2f} to {spread[1]:+.2f}",
        "" if rate.overlap is None else f"{rate.overlap:.0%}",
        "" if compared is None else f"{compared[0]:.4g} to {compared[1]:.4g} {unit}".rstrip(),
    ]


def _times(
    by_metric: Mapping[str, Mapping[str, Comparison]], test: str, anchor: str, loaded: frozenset[str]
) -> list[str]:
    """Ratios of time to the anchor's, of the first metric that has them."""
    own = [by_test[test] for by_test in by_metric.values() if test in by_test]
    star = "*" if {anchor, test} & loaded else ""

    def ratio(of: Sequence[SpeedRatio]) -> str:
        value = next((one.value for one in of if one.value is not None), None)
        return "" if value is None else f"{value:.2f}x{star}"

    return [ratio([one.encode for one in own]), ratio([one.decode for one in own])]


def _reasons(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Why values are missing or partial, once for all that share a reason, with what helps."""
    from bench.report.preamble import remedies

    found: dict[str, list[str]] = {}
    for one in comparisons:
        if one.bd_rate.reason:
            found.setdefault(one.bd_rate.reason, []).append(f"{one.test} by {one.metric}")
    for reason, names in found.items():
        yield f"{', '.join(names)}: {reason}"
    absent = [part.bd_rate for one in comparisons for part in one.per_sequence if part.bd_rate.value is None]
    if advice := remedies({*_flags(comparisons), *(rate.cause for rate in absent)}):
        yield advice.strip()


def _shortfalls(comparisons: Sequence[Comparison]) -> list[str]:
    """That sequences are too few for the confidence of the intervals."""
    return list(dict.fromkeys(one.bd_rate.interval.note for one in comparisons if one.bd_rate.interval.note))


def summary_metrics(measured: Sequence[str]) -> list[str]:
    """The metrics of a short table, as many as fit beside the codecs: the usual ones first."""
    usual = [metric for metric in _USUAL if metric in measured]
    return [*usual, *(metric for metric in measured if metric not in usual)][:4]
