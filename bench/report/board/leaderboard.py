"""Codecs of many result sets ranked by BD-rate against one anchor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from bench.analysis.bd import FLAG_MARKS, Cause
from bench.analysis.matrix import flags_of
from bench.analysis.options import CompareOptions
from bench.analysis.ranking import Place, Standing, places
from bench.analysis.shared_sequences import common_sequences
from bench.analysis.significance import bootstrap_interval
from bench.cards import Catalog
from bench.engine.verify.integrity import result_problems
from bench.errors import UnknownNameError, UsageError, VcbenchError
from bench.protocols import common
from bench.records.cell import CellResult
from bench.report.board.details import Against, Details, details
from bench.report.board.evidence import Evidence
from bench.report.grid import Grid
from bench.report.measured import Measured, MetricFacts, dataset_text, metric_facts
from bench.results.result_set import ResultSet, load

RULE = (
    "Ranked by BD-rate against {anchor}: bits more or fewer than the anchor for equal quality, mean of the results of"
    " the sequences that all ranked entries have. A rank is one more than the number of entries that are better for"
    " certain: with a lower BD-rate, and with a 95 % bootstrap interval of the difference, paired over sequences, that"
    " excludes 0. Entries of one rank that name each other as ties cannot be told apart. Nothing is corrected for the"
    " number of comparisons. Marks behind a value say what is doubtful about it; it is ranked all the same."
)
VERIFIED = (
    "Only entries that the keeper's own vcbench decoded and measured again, with equal results, are ranked. Points for"
    " which the keeper's encoder produced the same bytes are counted as coded again. Times are as claimed."
)
CLAIMED = "No records of verification were used: every number is as its submission claims it."
MEAN_CURVES = (
    "The cells follow {protocol} conditions, whose convention is the BD-rate of the mean curves. This board ranks by"
    " the mean of the sequences' BD-rates all the same: a rank needs an interval over sequences. The report and"
    " vcbench compare give the value of the mean curves."
)
UNCERTAIN = "no interval with some entries (fewer than three sequences, or values of whole datasets): by value alone"

WHOLE = "the whole submission"

Mark = Literal["measured", "estimated", "published"]


@dataclass(frozen=True)
class BoardOptions:
    """How entries are ranked.

    anchor: a codec of the first folder, or FOLDER:CODEC. records: a folder of records of `vcbench verify`; with one,
    only what they verify is ranked. paths: folders of cards of one's own. min_overlap: the share of the
    anchor's curve that must be compared for a BD-rate, 0 to 1.
    """

    anchor: str
    metrics: Sequence[str] | None = None
    rank_estimates: bool = False
    mix_published: bool = False
    records: Path | None = None
    paths: tuple[Path, ...] = ()
    title: str | None = None
    min_overlap: float = 0.0


@dataclass(frozen=True)
class Row:
    """An entry of a board; `rank` is None where it is not ranked, and `remark` says why.

    flags: what is doubtful about its BD-rate (`bench.analysis.bd.Cause`), on any of its sequences.
    verified: of its `points` (cells of the board), how many have a rate and a value that the keeper's vcbench computed
    again; encoded: how many have bytes that the keeper's encoder gave again; verified_on: when, None for none.
    """

    entry: str
    submission: str
    rate_kind: Mark
    bd_rate_percent: float | None
    ci_low: float | None
    ci_high: float | None
    sequences_used: int
    sequences_total: int
    flags: tuple[str, ...] = ()
    rank: int | None = None
    ties: tuple[str, ...] = ()
    remark: str | None = None
    points: int = 0
    verified: int = 0
    encoded: int = 0
    verified_on: str | None = None
    is_anchor: bool = False
    details: Details | None = None


@dataclass(frozen=True)
class Board:
    """One dataset by one metric.

    sequences: those of the anchor. ranked_on: those of them that entries are ranked on. notes: which entries lack the
    others, and why.
    """

    dataset: str
    metric: str
    title: str
    sequences: tuple[str, ...]
    rows: tuple[Row, ...]
    ranked_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Something of a submission that is on no board, or on none of a dataset or metric, and why."""

    submission: str
    what: str
    reason: str

    @property
    def whole(self) -> bool:
        """Whether nothing of the submission is on any board."""
        return self.what == WHOLE


@dataclass(frozen=True)
class Leaderboard:
    """All boards, and what is on none of them.

    recorded: whether records of verification were used. labels: the name of each entry as a reader sees it, with the
    preset that its card's title names, as in reports.
    """

    title: str
    anchor: str
    rule: str
    boards: tuple[Board, ...]
    refused: tuple[Refusal, ...]
    recorded: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    def label(self, entry: str) -> str:
        """The name of an entry as a reader sees it."""
        return self.labels.get(entry, entry)

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Submission:
    """A result folder; the first one is the keeper's."""

    name: str
    results: ResultSet
    is_first: bool


@dataclass(frozen=True)
class _Entry:
    """A codec of a submission, under the name it has on the boards; label: that name with its preset."""

    name: str
    label: str
    codec: str
    submission: _Submission
    results: ResultSet
    rate_kind: Mark


@dataclass
class _Reference:
    """What entries are held to: the sources of the anchor's sequences, and the definitions of its metrics."""

    entry: _Entry
    sources: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    definitions: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: _Entry) -> _Reference:
        found = cls(entry)
        for cell in entry.results.cells:
            found.sources.setdefault(cell.sequence.dataset, {})[cell.sequence.name] = _source(cell)
            for name, measured in cell.measurements.items():
                found.definitions.setdefault(name, set()).add(measured.key)
        return found


def build_leaderboard(folders: Sequence[Path], options: BoardOptions) -> Leaderboard:
    """Rank the codecs of result folders, one submission each.

    A submission that `vcbench validate` would not accept is refused whole. Of the others only what is comparable with
    the anchor is ranked: the same frames of the same sources, measured by metrics of the same definition; what is not
    is listed with the reason. Entries are ranked by the mean over the sequences on which all of them have a BD-rate; an
    entry that has less than half of what the others share is not ranked, so that it takes no sequences from them. A
    doubtful BD-rate is ranked, with its marks. The first folder is the keeper's, and the anchor
    its codec; an entry is a codec of one submission alone.

    Raises UnknownNameError for an anchor or a metric that no folder has, UsageError where nothing is left to rank.
    """
    submissions, refused = _submissions(folders)
    every = _entries(submissions)
    kept, doubles = _without_copies(every, _anchor(every, submissions, refused, options.anchor))
    entries = _told_apart(kept)
    reference = _Reference.of(entries[0])
    evidence = Evidence.collect(options.records, Catalog(options.paths))
    known = reference.definitions
    for name in options.metrics or ():
        if name not in known:
            raise UnknownNameError(f"metric of {options.anchor}", name, known)
    others = entries[1:]
    boards = []
    refused += [refusal for entry in others for refusal in _off_the_boards(entry, reference, options)]
    for dataset in sorted(reference.sources):
        able = {entry.name: _comparable_cells(entry, reference, dataset) for entry in others}
        refused += [refusal for _, refusals in able.values() for refusal in refusals]
        for name in options.metrics or known:
            metric = metric_facts(reference.entry.results.cells, name)
            cells = {name: kept for name, (kept, _) in able.items()}
            board, left_out = _board(reference, others, cells, dataset, metric, options, evidence)
            boards.append(board)
            refused += left_out
    rule = f"{RULE.format(anchor=reference.entry.label)} {CLAIMED if evidence.records is None else VERIFIED}"
    protocol = common(cell.provenance for cell in reference.entry.results.cells)
    if protocol is not None and protocol.convention == "mean-curve":
        rule = f"{rule} {MEAN_CURVES.format(protocol=protocol.title)}"
    title = options.title or f"Leaderboard against {reference.entry.label}"
    return Leaderboard(
        title,
        reference.entry.name,
        rule,
        tuple(boards),
        (*dict.fromkeys([*doubles, *refused]),),
        evidence.records is not None,
        {entry.name: entry.label for entry in entries},
    )


def _submissions(folders: Sequence[Path]) -> tuple[list[_Submission], list[Refusal]]:
    names = [folder.resolve().name for folder in folders]
    labels = [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]
    accepted, refused = [], []
    for label, folder in zip(labels, folders, strict=True):
        try:
            results = load(folder, apart=False)
            problems = result_problems(folder, results)
        except VcbenchError as error:
            problems = [str(error)]
        if problems:
            more = f" (and {len(problems) - 1} more; vcbench validate names them)" if len(problems) > 1 else ""
            refused.append(Refusal(label, WHOLE, problems[0] + more))
        else:
            accepted.append(_Submission(label, results, is_first=folder is folders[0]))
    return accepted, refused


def _entries(submissions: Iterable[_Submission]) -> list[_Entry]:
    """The codecs of each submission, never joined with those of another."""
    entries = []
    for submission in submissions:
        for codec in submission.results.codecs:
            results = submission.results.only({codec})
            estimated = any(cell.codec.rate_kind == "estimate" for cell in results.cells)
            kind: Mark = "published" if results.published else "estimated" if estimated else "measured"
            entries.append(_Entry(codec, results.labels[codec], codec, submission, results, kind))
    return entries


def _told_apart(entries: Iterable[_Entry]) -> list[_Entry]:
    """The entries under names that each has alone: CODEC, or FOLDER:CODEC where several folders have it."""
    entries = list(entries)
    codecs = [entry.codec for entry in entries]
    named: dict[str, _Entry] = {}
    for entry in entries:
        folder = "" if codecs.count(entry.codec) == 1 else f"{entry.submission.name}:"
        numbers = chain([""], (f" ({n})" for n in count(2)))
        number = next(text for text in numbers if f"{folder}{entry.codec}{text}" not in named)
        name = f"{folder}{entry.codec}{number}"
        named[name] = replace(entry, name=name, label=f"{folder}{entry.label}{number}")
    return list(named.values())


def _anchor(
    entries: Sequence[_Entry], submissions: Sequence[_Submission], refused: Sequence[Refusal], wanted: str
) -> _Entry:
    """The anchor: a codec of the first folder, which is the keeper's, or FOLDER:CODEC."""
    able = [entry for entry in entries if entry.rate_kind != "published"]
    own = [entry for entry in able if entry.submission.is_first]
    for entry in (*own, *able):
        if wanted == f"{entry.submission.name}:{entry.codec}" or (entry.submission.is_first and wanted == entry.codec):
            return entry
    if not any(submission.is_first for submission in submissions):
        raise UsageError(f"{refused[0].submission}: is the first folder, which holds the anchor: {refused[0].reason}")
    elsewhere = [f"{entry.submission.name}:{entry.codec}" for entry in able if entry.codec == wanted]
    if elsewhere:
        raise UsageError(
            f"{wanted} is not in the first folder, {submissions[0].name}; name the folder that holds your anchor "
            f"first, or give one of {', '.join(elsewhere)} as anchor"
        )
    raise UnknownNameError("anchor", wanted, [entry.codec for entry in own])


def _without_copies(entries: Sequence[_Entry], anchor: _Entry) -> tuple[list[_Entry], list[Refusal]]:
    """The entries without those that bring nothing of their own: submissions often hold the anchor too."""
    kept, refused = [anchor], []
    for entry in entries:
        if entry is anchor:
            continue
        first = next((other for other in kept if other.codec == entry.codec and _is_copy(entry, other)), None)
        if first is None:
            kept.append(entry)
        else:
            reason = f"has the same bitstreams and values as {first.label} of {first.submission.name}, and counts once"
            refused.append(Refusal(entry.submission.name, entry.label, reason))
    return kept, refused


def _is_copy(entry: _Entry, other: _Entry) -> bool:
    if entry.results.published or not entry.results.cells:
        return False
    known = {_outcome(cell) for cell in other.results.cells}
    return all(_outcome(cell) in known for cell in entry.results.cells)


def _outcome(cell: CellResult) -> tuple[Any, ...]:
    """What of a cell decides its points: its source, its bits and its values."""
    values = ((name, m.key, m.status, m.value, *sorted(m.features.items())) for name, m in cell.measurements.items())
    bitstream = cell.bitstream.sha256 if cell.bitstream else None
    return (cell.sequence.dataset, cell.sequence.name, *_source(cell), cell.rate, bitstream, cell.bits, *sorted(values))


def _source(cell: CellResult) -> tuple[Any, ...]:
    s = cell.sequence
    colour = f"{s.matrix} {'full' if s.full_range else 'limited'} range {s.siting} {s.conversion or ''}".strip()
    return (s.sha256, s.start, s.frames, s.width, s.height, s.fps, s.pix_fmt, colour)


def _comparable_cells(entry: _Entry, reference: _Reference, dataset: str) -> tuple[list[CellResult], list[Refusal]]:
    """The entry's cells of a dataset that are of the anchor's sequences, and why others are not."""
    sources = reference.sources[dataset]
    kept: list[CellResult] = []
    refused: dict[str, Refusal] = {}
    for cell in entry.results.only(dataset=dataset).cells:
        name = cell.sequence.name
        where = f"{entry.label} on {dataset_text(dataset)}, {name}"
        if name not in sources:
            reason = f"{reference.entry.label} was not run on it"
        elif _source(cell) != sources[name]:
            reason = f"coded {_told(_source(cell))}, the anchor {_told(sources[name])}"
        else:
            kept.append(cell)
            continue
        refused.setdefault(name, Refusal(entry.submission.name, where, reason))
    return kept, list(refused.values())


def _off_the_boards(entry: _Entry, reference: _Reference, options: BoardOptions) -> Iterator[Refusal]:
    """Datasets and metrics of an entry that the anchor lacks."""
    results = entry.results
    datasets = {cell.sequence.dataset for cell in results.cells}
    datasets |= {curve.dataset for part in results.published for curve in part.curves}
    for dataset in sorted(datasets - set(reference.sources)):
        where = f"{entry.label} on {dataset_text(dataset)}"
        yield Refusal(entry.submission.name, where, f"{reference.entry.label} was not run on it")
    for metric in results.metrics:
        if metric not in reference.definitions and (options.metrics is None or metric in options.metrics):
            reason = f"{reference.entry.label} was not measured by it"
            yield Refusal(entry.submission.name, f"{entry.label} by {metric}", reason)


def _told(source: tuple[Any, ...]) -> str:
    sha256, start, frames, width, height, fps, pix_fmt, colour = source
    picture = f"{width}x{height} {pix_fmt} at {fps} fps, {colour}"
    return f"frames {start} to {start + frames - 1} of {sha256[:8]}, {picture}"


def _board(
    reference: _Reference,
    others: Sequence[_Entry],
    able: Mapping[str, list[CellResult]],
    dataset: str,
    metric: MetricFacts,
    options: BoardOptions,
    evidence: Evidence,
) -> tuple[Board, list[Refusal]]:
    rows, refused = [], []
    standings: dict[str, Standing] = {}
    comparisons_of: dict[str, Against] = {}
    sequences = tuple(sorted(reference.sources[dataset]))
    for entry in others:
        where = f"{entry.label} on {dataset_text(dataset)} by {metric.name}"
        cells = able[entry.name]
        whole = entry.results.only(dataset=dataset).published
        if not cells and not whole:
            continue
        published = any(curve.metric == metric.name for part in whole for curve in part.curves)
        unfit = _unfit(cells, metric.name, reference.definitions[metric.name], published=published)
        if unfit is not None:
            refused.append(Refusal(entry.submission.name, where, unfit))
            continue
        comparison, problem = _compared(reference, entry, cells, dataset, metric, options)
        row, standing = _row(entry, comparison, problem, len(sequences), options)
        finding = evidence.of(cells, metric.name)
        if finding.problem is not None:
            row, standing = _unranked(row, finding.problem), None
        elif finding.doubt is not None:
            row = _changed(row, remark="; ".join(filter(None, [row.remark, finding.doubt])))
        row = _changed(
            row,
            points=finding.points,
            verified=finding.verified,
            encoded=finding.encoded,
            verified_on=finding.verified_on,
            details=details(comparison, entry.results.having(cells, whole), metric.name, entry.codec, finding),
        )
        rows.append(row)
        if comparison is not None:
            comparisons_of[entry.name] = comparison
        if standing is not None:
            standings[entry.name] = standing
    own = reference.entry
    count = len(sequences)
    common = sequences
    if not metric.pooled:
        owned = {name: one.sequences for name, one in standings.items() if one.sequences is not None}
        if owned:
            shared, among = common_sequences(owned)
            common = tuple(name for name in sequences if name in shared)
            rows = [_on_common(row, comparisons_of.get(row.entry), owned, among, common) for row in rows]
            standings = {
                name: _standing_on(one, common) for name, one in standings.items() if name in among or name not in owned
            }
    standings[own.name] = Standing(0.0, None if metric.pooled else dict.fromkeys(common, 0.0))
    used = len(common)
    results = own.results.only(dataset=dataset)
    finding = evidence.of(results.cells, metric.name)
    row = Row(own.name, own.submission.name, own.rate_kind, 0.0, 0.0, 0.0, used, count, remark="the anchor")
    shown = details(None, results, metric.name, own.codec, finding)
    row = _changed(row, points=finding.points, is_anchor=True, details=shown)
    rows.append(row)
    ranked = _ranked(rows, places(standings))
    ranked_against = {entry.label: comparisons_of[entry.name] for entry in others if entry.name in standings}
    notes = _missing(sequences, common, ranked_against)
    return Board(dataset, metric.name, metric.title, sequences, tuple(ranked), common, notes), refused


def _unfit(cells: Iterable[CellResult], metric: str, definitions: set[str], *, published: bool) -> str | None:
    """Why an entry's values of a metric cannot be compared with the anchor's; None where they can."""
    keys = {cell.measurements[metric].key for cell in cells if metric in cell.measurements}
    if not keys and not published:
        return "it was not measured"
    if len(definitions) > 1:
        return "the anchor's cells mix definitions of the metric; measure them again"
    if not keys <= definitions:
        return "its metric is defined otherwise than the anchor's; measure both by one version of vcbench"
    return None


def _standing_on(standing: Standing, common: Sequence[str]) -> Standing:
    """A standing by the mean over some sequences."""
    if standing.sequences is None:
        return standing
    values = {name: standing.sequences[name] for name in common}
    return Standing(fmean(values.values()), values)


def _on_common(
    row: Row,
    comparison: Against | None,
    owned: Mapping[str, Mapping[str, float]],
    among: Collection[str],
    common: Sequence[str],
) -> Row:
    """A row of a ranked entry with the mean over the common sequences; of another, why it is not ranked."""
    if row.entry not in owned or comparison is None:
        return row
    if row.entry not in among:
        missing = "; ".join(_why(comparison, name) for name in common if name not in owned[row.entry])
        have = f"{len(owned[row.entry])} of the {len(common)} sequences that the others share"
        return _changed(row, remark=f"not ranked: a BD-rate on only {have} ({missing})")
    values = np.array([owned[row.entry][name] for name in common])
    interval = bootstrap_interval(lambda weights: weights @ values, values.size)
    flags = {flag for name in common for flag in comparison.flags[name]}
    if len(common) < row.sequences_total:
        flags.add(Cause.PARTIAL)
    return _changed(
        row,
        bd_rate_percent=float(values.mean()),
        ci_low=interval.low,
        ci_high=interval.high,
        sequences_used=len(common),
        flags=tuple(flag for flag in FLAG_MARKS if flag in flags),
    )


def _missing(
    sequences: Sequence[str],
    common: Sequence[str],
    ranked: Mapping[str, Against],
) -> tuple[str, ...]:
    """Which ranked entries, by their labels, lack the sequences that nobody is ranked on, and why."""
    lost = [name for name in sequences if name not in common]
    if not lost:
        return ()
    told = (f"Ranked on {len(common)} of {len(sequences)} sequences, those on which every ranked entry has a BD-rate.",)
    return told + tuple(
        f"{entry} has none on {_why(comparison, name)}"
        for name in lost
        for entry, comparison in ranked.items()
        if not any(one.sequence == name and one.bd_rate_percent is not None for one in comparison.per_sequence)
    )


def _why(comparison: Against, sequence: str) -> str:
    """A sequence, and why a comparison has no value on it."""
    found = next((one for one in comparison.per_sequence if one.sequence == sequence), None)
    return f"{sequence}: {(found.reason if found else None) or 'not measured'}"


def _compared(
    reference: _Reference,
    entry: _Entry,
    cells: Sequence[CellResult],
    dataset: str,
    metric: MetricFacts,
    options: BoardOptions,
) -> tuple[Against | None, str | None]:
    anchor = reference.entry
    both = ResultSet(
        (*anchor.results.folders, *entry.results.folders),
        [*_named(anchor.results.only(dataset=dataset).cells, anchor.name), *_named(cells, entry.name)],
        published=entry.results.only(dataset=dataset).published,
    )
    how = CompareOptions(min_overlap=options.min_overlap, mix_published=options.mix_published)
    published = {part.label(curve): "" for part in both.published for curve in part.curves}
    if metric.axis is None:
        return None, metric.problem
    measured = Measured(both, anchor.name, "", (anchor.name, entry.name), published, (metric,), options=how)
    return Against.of(Grid.of(measured, metric, domains=("quality",)), dataset), None


def _named(cells: Iterable[CellResult], name: str) -> list[CellResult]:
    return [cell.model_copy(update={"codec": cell.codec.model_copy(update={"name": name})}) for cell in cells]


def _row(
    entry: _Entry, comparison: Against | None, problem: str | None, total: int, options: BoardOptions
) -> tuple[Row, Standing | None]:
    """The row of an entry, and its standing where it may be ranked."""
    row = Row(entry.name, entry.submission.name, entry.rate_kind, None, None, None, 0, total)
    if comparison is None:
        return _changed(row, remark=problem), None
    overall, pooled = comparison.overall, comparison.pooled
    row = _changed(
        row,
        bd_rate_percent=overall.value,
        ci_low=overall.interval.low,
        ci_high=overall.interval.high,
        sequences_used=total if pooled and overall.value is not None else overall.used,
        flags=tuple(flags_of(overall.flags)),
    )
    if overall.value is None:
        return _changed(row, remark=overall.reason), None
    own = {one.sequence: one.bd_rate_percent for one in comparison.per_sequence if one.bd_rate_percent is not None}
    if entry.rate_kind == "estimated" and not options.rank_estimates:
        return _changed(row, remark="not ranked: its rate is an estimate, not the size of a bitstream"), None
    if entry.rate_kind == "published":
        row = _changed(row, remark="published, not measured: its protocol is the paper's")
    return row, Standing(overall.value, None if pooled else own)


def _changed(row: Row, **changes: Any) -> Row:
    return replace(row, **changes)


def _unranked(row: Row, reason: str) -> Row:
    """The row without a claim to a rank, and the reason before those it has already."""
    told = (row.remark or "").removeprefix("not ranked: ")
    return replace(row, remark="; ".join(filter(None, [f"not ranked: {reason}", told])))


def _ranked(rows: Iterable[Row], found: Mapping[str, Place]) -> list[Row]:
    """Rows with their places, the ranked ones first."""
    done = []
    for row in rows:
        place = found.get(row.entry)
        if place is None:
            done.append(row)
            continue
        remark = "; ".join(filter(None, [row.remark, None if place.certain else UNCERTAIN]))
        done.append(_changed(row, rank=place.rank, ties=place.ties, remark=remark or None))
    value = [float("inf") if row.bd_rate_percent is None else row.bd_rate_percent for row in done]
    order = sorted(range(len(done)), key=lambda n: (done[n].rank is None, done[n].rank or 0, value[n], done[n].entry))
    return [done[number] for number in order]
