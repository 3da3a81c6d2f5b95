"""The sentences before the numbers: what the report is of, and what a reader must know first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from bench.analysis.bd import FLAG_MARKS, FLAG_TEXTS, Cause
from bench.records.cell import CellResult
from bench.report.comparisons import Compared, Speed
from bench.report.measured import MetricFacts, count_text, machines
from bench.results.result_set import ResultSet

REMEDIES: Mapping[frozenset[Cause], str] = {
    frozenset({Cause.NO_OVERLAP, Cause.LITTLE_OVERLAP}): (
        "To make the curves meet over the anchor's range, let vcbench search the rate points: vcbench run --rates auto."
    ),
    frozenset({Cause.SATURATED}): "Rate points of lower quality (vcbench run --rates) keep clear of saturation.",
    frozenset({Cause.TOO_FEW_POINTS, Cause.THREE_POINTS, Cause.METHODS_DISAGREE}): (
        "More rate points (vcbench run --rates) make safer curves."
    ),
    frozenset({Cause.POINTS_LEFT_OUT, Cause.NOT_MEASURED}): (
        "What failed or was not measured is listed under Gaps; vcbench run measures what is missing."
    ),
}


def default_title(codecs: Sequence[str], datasets: Sequence[str]) -> str:
    """A title out of codecs and datasets."""
    return f"{_listed(codecs)} on {_listed(datasets)}"


def summary(cells: Sequence[CellResult], metrics: Sequence[str]) -> str:
    """How many codecs, sequences, metrics and results there are, and how the results ended."""
    codecs = len({cell.codec.name for cell in cells})
    sequences = len({(cell.sequence.dataset, cell.sequence.name) for cell in cells})
    outcome = count_text(Counter(cell.status for cell in cells))
    return (
        f"{_count(codecs, 'codec')}, {_count(sequences, 'sequence')}, {_count(len(metrics), 'metric')}: "
        f"{_count(len(cells), 'cell')} (one codec at one rate point on one sequence), {outcome}."
    )


def no_comparison(codecs: Sequence[str], metrics: Sequence[str]) -> str | None:
    """Why no codec can be compared with another at all, if so."""
    if len(codecs) < 2:
        return f"A BD-rate compares two codecs; here is only {codecs[0]}."
    return None if metrics else "A BD-rate needs a metric; none was measured or asked for."


def notes(
    results: ResultSet,
    renamed: Iterable[str],
    metrics: Iterable[MetricFacts],
    compared: Sequence[Compared],
    speeds: Iterable[Speed],
) -> list[str]:
    """What limits the numbers, as sentences, the gravest first."""
    return [
        *_gaps(results),
        *renamed,
        *(f"No BD-rate by {metric.name}: {metric.problem}." for metric in metrics if metric.problem),
        *_doubts(compared),
        *_estimates(results.cells),
        *_published(results),
        *_times(results.cells, speeds),
    ]


def _gaps(results: ResultSet) -> Iterator[str]:
    if results.cells and not any(cell.status == "ok" for cell in results.cells):
        yield "No cell ended well: there are no rates and no qualities to show. The reasons stand under Excluded."
    elif bad := Counter[str](cell.status for cell in results.cells if cell.status != "ok"):
        yield f"Of {len(results.cells)} cells, {count_text(bad)}; the reasons stand under Excluded."
    if results.problems:
        yield f"{_count(len(results.problems), 'result file')} could not be read and is left out; see Excluded."


def _doubts(compared: Sequence[Compared]) -> Iterator[str]:
    """How many overall BD-rates are undefined, partial or flagged, and what would mend them."""
    rates = [c.comparison.bd_rate for c in compared if c.comparison]
    total = f"of {_count(len(compared), 'overall BD-rate')}"
    if absent := [c.comparison for c in compared if c.comparison is None or c.comparison.bd_rate.value is None]:
        causes = {one.bd_rate.cause for comparison in absent if comparison for one in comparison.per_sequence}
        yield (
            f"{len(absent)} {total} against {compared[0].anchor} {_are(len(absent))} undefined; each gives its reason."
            f"{_remedies(causes)}"
        )
    if partial := [rate for rate in rates if rate.status == "partial"]:
        yield (
            f"{len(partial)} {total} {_are(len(partial))} partial: a mean over some of the sequences only (mark"
            f" {FLAG_MARKS[Cause.PARTIAL]}, with the count). Each lists the sequences it lacks, with the reasons."
        )
    flagged = [rate for rate in rates if rate.value is not None and set(rate.flags) - {Cause.PARTIAL}]
    if flagged:
        counts = Counter[Cause](flag for rate in flagged for flag in rate.flags if flag is not Cause.PARTIAL)
        listed = "; ".join(
            f"{FLAG_TEXTS[flag]} (mark {mark}, {_count(counts[flag], 'value')})"
            for flag, mark in FLAG_MARKS.items()
            if counts[flag]
        )
        yield f"{len(flagged)} {total} {_are(len(flagged))} flagged as doubtful: {listed}.{_remedies(counts)}"


def _remedies(causes: Collection[Cause | None]) -> str:
    """What a user can do about these causes, as sentences."""
    return "".join(f" {remedy}" for own, remedy in REMEDIES.items() if own & set(causes))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _estimates(cells: Iterable[CellResult]) -> Iterator[str]:
    names = sorted({cell.codec.name for cell in cells if cell.codec.rate_kind == "estimate"})
    if names:
        yield (
            f"The rate of {_listed(names)} is an estimate, not the size of a bitstream; numbers that rest on it are "
            "marked (rate estimated) or ≈."
        )


def _published(results: ResultSet) -> Iterator[str]:
    papers = [part.paper.title for part in results.published]
    if papers:
        yield (
            f"Curves marked as published were read from the figures of {_listed(papers)}, not measured here; protocols"
            " differ, so they are compared with those of their own paper unless mixing was asked for."
        )


def _times(cells: Sequence[CellResult], speeds: Iterable[Speed]) -> Iterator[str]:
    if any(speed.timing in {"shared", "mixed"} for speed in speeds):
        yield "Times were measured while other cells ran; they are marked “under load” and are not fit for ranking."
    count = machines(cells)
    if count > 1:
        yield f"The cells come from {count} different machines or systems: their times are not comparable."


def _listed(names: Sequence[str]) -> str:
    if len(names) > 5:
        return f"{len(names)} codecs" if len(names) > 8 else ", ".join(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
