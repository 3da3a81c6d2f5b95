"""The sentences before the numbers: what the report is of, and what a reader must know first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bench.report.comparisons import Compared, Speed
from bench.report.facts import MetricFacts, count_text, machines
from bench.results import CellResult, ResultSet


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
        *_undefined(compared),
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


def _undefined(compared: Sequence[Compared]) -> Iterator[str]:
    absent = sum(c.comparison is None or c.comparison.bd_rate.value is None for c in compared)
    if absent:
        yield f"{absent} of {len(compared)} overall BD-rates against {compared[0].anchor} are undefined; each says why."
    rates = [c.comparison.bd_rate for c in compared if c.comparison]
    partial = sum(0 < rate.sequences_used < rate.sequences_total for rate in rates)
    if partial:
        yield f"{partial} of {len(compared)} overall BD-rates rest on a part of the sequences (column Sequences)."


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
        yield "Times were measured while other cells were at work, so they are marked “under load” and rank nothing."
    count = machines(cells)
    if count > 1:
        yield f"The cells come from {count} different machines or systems: their times are not comparable."


def _listed(names: Sequence[str]) -> str:
    if len(names) > 5:
        return f"{len(names)} codecs" if len(names) > 8 else ", ".join(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
