"""The words that every output begins with: what it is of, what a reader must know first, and how it was measured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.agreement import order_kept
from bench.analysis.bd import FLAG_MARKS, FLAG_TEXTS, LITTLE_OVERLAP, MIN_POINTS, Cause, per_cent
from bench.analysis.curves import mean_curve
from bench.analysis.fooled import Rated, resting_lead
from bench.analysis.ladder import ladder_curves, rungs, rungs_text, scales
from bench.analysis.transfer import NAMES, doubts
from bench.cards import decodes_exactly, draws
from bench.protocols import PROTOCOLS
from bench.records.cell import CellResult
from bench.report.comparisons import Compared, Speed
from bench.report.escape import markdown
from bench.report.measured import Measured, MetricFacts, count_text, dataset_text, machines
from bench.results.result_set import ResultSet
from bench.video.formats import Transfer

_REASONS = "The reasons are in the report's table excluded.csv."

_REMEDIES: Mapping[frozenset[Cause], str] = {
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


RATE = (
    "Rate is 8 times the size in bytes of the bitstream file, headers included, divided by the number of frames times"
    " width times height of the source (bits per pixel, bpp). Every bitstream was decoded by itself in a fresh process;"
    " frames are paired by their index, and a decoded video of another length, size or format has no value."
)
POOLING = (
    "A quality is one value of a cell, pooled over its frames as the table of metrics says. Metrics are measured at the"
    " size, chroma format and bit depth of the source; changes to what a codec"
    " receives or returns are in its description as “changes”."
)
POOLED = (
    "{names}: a distance between two sets of frames. Its value of a sequence is of that video's frames alone; the value"
    " of a dataset is of the frames of all its videos as one set, not a mean of the videos' values. Overall curves and"
    " BD-rates are of the dataset's values, those of sequences of the videos' own."
)
BD = (
    "BD-rate: the logarithm of rate as a function of quality, interpolated by PCHIP and integrated over the qualities"
    " that both curves reach; the mean difference, as a per cent of the anchor's rate. The BD-rate of several"
    " sequences is the arithmetic mean of their BD-rates; that of the two mean curves is given beside it. BD-metric:"
    " the same with the axes exchanged. Everything in one table is averaged over the same sequences. SSIM and MS-SSIM"
    " are compared in dB, -10 log10(1 - value). A lossless frame, whose PSNR is infinite, counts as the metric's cap"
    " there and in mean curves, and only there. A value is undefined if the curves share no interval or have fewer"
    f" than {MIN_POINTS} usable points. Marks beside a value show its doubts: overlap (the share of the"
    f" anchor's interval that is compared) under {100 * LITTLE_OVERLAP:g} %; saturated or capped points; points left"
    " out because one of lower rate is as good; points without a value; three points; and interpolations (PCHIP, Akima,"
    " linear) that disagree."
)
MIN_OVERLAP = "A comparison of less than {share} of the anchor's curve has no value here (--min-overlap)."
INTERVAL = (
    "The 95 % interval is an expanded percentile bootstrap over sequences, 2000 resamples from seed 0. It shows how"
    " much the choice of sequences matters, and needs three of them."
)


@dataclass(frozen=True)
class Preamble:
    """What stands before the numbers, the same in every form of output.

    lead: what there is. notes: what limits the numbers, the gravest first. protocol: how rate, quality, BD-rate and
    interval are defined, a paragraph each.
    """

    title: str
    lead: str
    notes: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        measured: Measured,
        title: str | None = None,
        *,
        compared: Sequence[Compared] = (),
        speeds: Sequence[Speed] = (),
    ) -> Preamble:
        """The preamble of a result set; `compared` and `speeds`: what follows under marks, which the notes explain."""
        datasets = [scope.label for scope in measured.scopes if scope.dataset is not None]
        return cls(
            title or _default_title(measured.codecs, datasets),
            _lead(measured.results.cells, measured.metrics),
            tuple(_notes(measured, compared, speeds)),
            protocol(measured.metrics, measured.options.min_overlap),
        )

    def markdown(self, level: int = 1) -> str:
        """Title, lead and notes as Markdown."""
        notes = "".join(f"- {markdown(note)}\n" for note in self.notes)
        return f"{'#' * level} {markdown(self.title)}\n\n{markdown(self.lead)}\n" + (f"\n{notes}" if notes else "")


def protocol(metrics: Iterable[MetricFacts], min_overlap: float = 0.0) -> tuple[str, ...]:
    """How rate, quality, BD-rate and interval are defined, as paragraphs."""
    names = ", ".join(metric.name for metric in metrics if metric.pooled)
    pooled = [POOLED.format(names=names)] if names else []
    refused = [MIN_OVERLAP.format(share=per_cent(min_overlap))] if min_overlap else []
    return (RATE, POOLING, *pooled, " ".join([BD, *refused]), INTERVAL)


def _default_title(codecs: Sequence[str], datasets: Sequence[str]) -> str:
    """A title out of codecs and datasets."""
    return f"{_listed(codecs)} on {_listed(datasets)}"


def _lead(cells: Sequence[CellResult], metrics: Sequence[MetricFacts]) -> str:
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
    return None if metrics else "A BD-rate needs a metric; none was measured or requested."


def _notes(measured: Measured, compared: Sequence[Compared], speeds: Sequence[Speed]) -> list[str]:
    """What limits the numbers, as sentences, the gravest first."""
    results = measured.results
    return [
        *_protocol(results.cells),
        *_gaps(results),
        *_ladders(measured),
        *overfitted(results.cells),
        *measured.remarks,
        *(f"No BD-rate by {metric.name}: {metric.problem}." for metric in measured.metrics if metric.problem),
        *_doubts(compared),
        *_fooled(compared),
        *_order(results),
        *_transfers(results.cells, measured.metric_names),
        *_sharpened(results.cells),
        *_inexact(results.cells),
        *_estimates(results.cells),
        *_published(results),
        *_times(results.cells, speeds),
    ]


def _protocol(cells: Sequence[CellResult]) -> Iterator[str]:
    """Whose conditions the results were made under, and which codecs have another structure."""
    names = Counter(str(name) for cell in cells if (name := cell.provenance.get("protocol")))
    for name, count in names.items():
        protocol = PROTOCOLS.get(name)
        told = protocol.describe() if protocol else "conditions that this vcbench does not know"
        rest = "" if count == len(cells) else f", {len(cells) - count} were not"
        yield f"{_count(count, 'cell')} ran under the protocol {name} ({told}){rest}."
        others = sorted({cell.codec.name for cell in cells if protocol and protocol.deviates(cell.codec.card)})
        if others:
            yield f"Another GOP structure than that of {name}: {', '.join(others)}."


def overfitted(cells: Iterable[CellResult]) -> Iterator[str]:
    """Of codecs that train on the clip itself: that their weights are in the rate, and what the training takes."""
    frames: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for cell in cells:
        if cell.codec.kind == "overfitted" and cell.status == "ok" and cell.encode is not None:
            frames[cell.codec.label] += cell.sequence.frames
            seconds[cell.codec.label] += cell.encode.seconds
    for label, count in sorted(frames.items()):
        yield (
            f"{label} trains a network on each clip: its weights are in the bitstream and so in the rate, and the"
            f" training is its encoding time, {seconds[label] / count:.3g} s per frame on average."
        )


def _ladders(measured: Measured) -> Iterator[str]:
    """Which codecs were coded at several sizes, and at which rates each size is the best."""
    found = ladder_curves(measured.results, measured.metric_names[:1])
    for codec, sizes in scales(measured.results.cells).items():
        yield (
            f"{measured.labels[codec]} was coded at several sizes ({sizes}) and scaled back before it was measured: its"
            " curve is the upper convex hull of all points of a sequence, its rate that of the small bitstream."
        )
    for (codec, metric), of_codec in found.items():
        means = {name: mean_curve(c for c in of_codec if c.dataset == name) for name in {c.dataset for c in of_codec}}
        for name, mean in sorted(means.items()):
            if mean.curve.points:
                where = f"{dataset_text(name)}, mean of {_count(len(mean.used), 'sequence')}"
                yield f"Sizes of {codec} by {metric} ({where}): {rungs_text(rungs(mean.curve))} bpp."


def _gaps(results: ResultSet) -> Iterator[str]:
    if results.cells and not any(cell.status == "ok" for cell in results.cells):
        yield f"No cell succeeded, so there are no rates or qualities to show. {_REASONS}"
    elif bad := Counter[str](cell.status for cell in results.cells if cell.status != "ok"):
        yield f"Of {len(results.cells)} cells, {count_text(bad)}. {_REASONS}"
    if results.problems:
        yield f"{_count(len(results.problems), 'result file')} could not be read and is left out. {_REASONS}"


def _doubts(compared: Sequence[Compared]) -> Iterator[str]:
    """How many overall BD-rates are undefined, partial or flagged, and what would mend them."""
    rates = [c.comparison.bd_rate for c in compared if c.comparison]
    total = f"of {_count(len(compared), 'overall BD-rate')}"
    if absent := [c.comparison for c in compared if c.comparison is None or c.comparison.bd_rate.value is None]:
        causes = {one.bd_rate.cause for comparison in absent if comparison for one in comparison.per_sequence}
        yield (
            f"{len(absent)} {total} against {compared[0].anchor_label} {_are(len(absent))} undefined; each gives its"
            f" reason.{remedies(causes)}"
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
        yield f"{len(flagged)} {total} {_are(len(flagged))} flagged as doubtful: {listed}.{remedies(counts)}"


def _fooled(compared: Sequence[Compared]) -> Iterator[str]:
    """Codecs whose lead over the anchor rests on metrics alone that tricks fool."""
    rates: dict[tuple[str, str], dict[str, Rated]] = defaultdict(dict)
    for c in compared:
        if c.comparison:
            rates[c.scope.label, c.test][c.metric.name] = c.comparison.bd_rate
    for (scope, test), by_metric in rates.items():
        if said := resting_lead(test, compared[0].anchor, by_metric):
            yield f"On {scope}, {said}."


def _transfers(cells: Sequence[CellResult], metrics: Sequence[str]) -> Iterator[str]:
    """Which metrics take samples for what they are not, on which sequences."""
    by_transfer: dict[Transfer, set[str]] = defaultdict(set)
    for cell in cells:
        if cell.sequence.transfer is not None:
            by_transfer[cell.sequence.transfer].add(cell.sequence.name)
    for transfer, names in sorted(by_transfer.items()):
        for doubt in doubts(metrics, transfer):
            yield f"On {_count(len(names), NAMES[transfer] + ' sequence')}, {doubt} (docs/reference/metrics.md, HDR)."


def _order(results: ResultSet) -> Iterator[str]:
    """Metrics that do not keep the order of rates."""
    orders = order_kept(results.cells)
    broken = sorted((order for order in orders if order.kept < 1), key=lambda order: order.kept)
    if broken:
        told = ", ".join(f"{order.metric} {order.kept:.1%} of {_count(order.pairs, 'pair')}" for order in broken[:6])
        more = f" and {len(broken) - 6} more" if len(broken) > 6 else ""
        yield (
            f"Of {len(orders)} metrics, {len(broken)} do not always rate the point with more bits as better: "
            f"{told}{more} in order (vcbench correlate lists all)."
        )


def remedies(causes: Collection[Cause | None]) -> str:
    """What a user can do about these causes, as sentences."""
    return "".join(f" {remedy}" for own, remedy in _REMEDIES.items() if own & set(causes))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _sharpened(cells: Iterable[CellResult]) -> Iterator[str]:
    """Codecs whose VMAF has no VMAF NEG beside it, though they draw detail."""
    names = sorted(
        {
            cell.codec.name
            for cell in cells
            if draws(cell.codec.kind, cell.codec.card.get("restores"))
            and "vmaf" in cell.measurements
            and "vmaf_neg" not in cell.measurements
        }
    )
    if names:
        yield (
            f"VMAF rewards sharpening, and {_listed(names)} may sharpen: prefer VMAF NEG, which vcbench run --metrics"
            " +vmaf_neg adds to what is measured already."
        )


def _inexact(cells: Iterable[CellResult]) -> Iterator[str]:
    """Codecs whose decoded samples may depend on the machine."""
    names = sorted(
        {cell.codec.name for cell in cells if not decodes_exactly(cell.codec.kind, cell.codec.card.get("exact"))}
    )
    if names:
        yield (
            f"The last bits of what {_listed(names)} decoded may differ on another machine: networks count in floating"
            " point. Values then differ in their last digits."
        )


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


def _times(cells: Sequence[CellResult], speeds: Sequence[Speed]) -> Iterator[str]:
    if not speeds:
        return
    if any(speed.timing in {"shared", "mixed"} for speed in speeds):
        yield "Times marked * (in tables: “under load”) were measured while other cells ran; do not rank by them."
    count = machines(cells)
    if count > 1:
        yield f"The cells come from {count} different machines or systems: their times are not comparable."


def _listed(names: Sequence[str]) -> str:
    if len(names) > 5:
        return f"{len(names)} codecs" if len(names) > 8 else ", ".join(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
