"""Codecs of many result sets ranked by BD-rate against one anchor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.analysis.compare import Comparison
from bench.analysis.ranking import Place, Standing, places
from bench.engine.check import result_problems
from bench.errors import StoreError, UnknownNameError, UsageError, VcbenchError
from bench.folders import rewritten
from bench.report.comparisons import comparisons
from bench.report.distinct import codec_key
from bench.report.escape import markdown, write_csv
from bench.report.facts import MetricFacts, dataset_text, metric_facts
from bench.report.page import template_folders, templates
from bench.results import CellResult, ResultSet, load

RULE = (
    "Ranked by BD-rate against {anchor}: bits more or fewer than the anchor for equal quality, mean of the results of"
    " all its sequences. A rank is one more than the number of entries that are better for certain: with a lower"
    " BD-rate, and with a 95 % bootstrap interval of the difference, paired over sequences, that excludes 0. Entries of"
    " one rank that name each other as ties cannot be told apart. Nothing is corrected for the number of comparisons."
)
UNCERTAIN = "no interval with some entries (fewer than three sequences, or values of whole datasets): by value alone"

WHOLE = "the whole submission"

Mark = Literal["measured", "estimated", "published"]
_COLUMNS = (
    *(
        "dataset",
        "metric",
        "anchor",
        "rank",
        "entry",
        "submission",
        "rate_kind",
        "bd_rate_percent",
        "ci_low",
        "ci_high",
    ),
    *("sequences_used", "sequences_total", "ties", "remark"),
)


@dataclass(frozen=True)
class BoardOptions:
    """How entries are ranked. `anchor` is a codec, or FOLDER:CODEC where several folders have it."""

    anchor: str
    metrics: Sequence[str] | None = None
    rank_estimates: bool = False
    mix_published: bool = False


@dataclass(frozen=True)
class Row:
    """An entry of a board; `rank` is None where it is not ranked, and `remark` says why."""

    entry: str
    submission: str
    rate_kind: Mark
    bd_rate_percent: float | None
    ci_low: float | None
    ci_high: float | None
    sequences_used: int
    sequences_total: int
    rank: int | None = None
    ties: tuple[str, ...] = ()
    remark: str | None = None


@dataclass(frozen=True)
class Board:
    """One dataset by one metric."""

    dataset: str
    metric: str
    title: str
    sequences: tuple[str, ...]
    rows: tuple[Row, ...]


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
    """All boards, and what is on none of them."""

    anchor: str
    rule: str
    boards: tuple[Board, ...]
    refused: tuple[Refusal, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Submission:
    name: str
    results: ResultSet


@dataclass(frozen=True)
class _Entry:
    """A codec of a submission, under the name it has on the boards."""

    name: str
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
    is listed with the reason. An entry needs a BD-rate on every sequence of the anchor to have a rank.

    Raises UnknownNameError for an anchor or a metric that no folder has, UsageError where nothing is left to rank.
    """
    submissions, refused = _submissions(folders)
    entries, doubles = _entries(submissions)
    reference = _Reference.of(_anchor(entries, options.anchor))
    known = reference.definitions
    for name in options.metrics or ():
        if name not in known:
            raise UnknownNameError(f"metric of {options.anchor}", name, known)
    others = [entry for entry in entries if entry is not reference.entry]
    boards = []
    refused += [refusal for entry in others for refusal in _off_the_boards(entry, reference, options)]
    for dataset in sorted(reference.sources):
        able = {entry.name: _comparable_cells(entry, reference, dataset) for entry in others}
        refused += [refusal for _, refusals in able.values() for refusal in refusals]
        for name in options.metrics or known:
            metric = metric_facts(reference.entry.results.cells, name)
            board, left_out = _board(reference, others, {k: v for k, (v, _) in able.items()}, dataset, metric, options)
            boards.append(board)
            refused += left_out
    rule = RULE.format(anchor=reference.entry.name)
    return Leaderboard(reference.entry.name, rule, tuple(boards), (*dict.fromkeys([*doubles, *refused]),))


def write_leaderboard(board: Leaderboard, out: Path) -> Path:
    """Write ``index.html``, ``leaderboard.md``, ``.csv`` and ``.json`` into a folder; the page is returned.

    Raises StoreError where the folder cannot be written, or holds something else than a leaderboard.
    """
    try:
        with rewritten(out, "leaderboard") as folder:
            text = json.dumps(board.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
            (folder.path / "leaderboard.json").write_text(f"{text}\n", encoding="utf-8")
            (folder.path / "leaderboard.md").write_text(_markdown(board), encoding="utf-8")
            write_csv(folder.path / "leaderboard.csv", _COLUMNS, _csv_rows(board))
            style = next(path for path in template_folders() if path.is_dir()) / "assets" / "site.css"
            page = templates().get_template("leaderboard.html.j2")
            html = page.render(
                board=board,
                style=style.read_text(encoding="utf-8"),
                table=[(b, [_cells(row) for row in b.rows]) for b in board.boards],
                headings=_HEADINGS,
                dataset_text=dataset_text,
            )
            (folder.path / "index.html").write_text(html, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written: {error.strerror or error}; name a folder that can be written"
        ) from error
    return out / "index.html"


def _submissions(folders: Sequence[Path]) -> tuple[list[_Submission], list[Refusal]]:
    names = [folder.resolve().name for folder in folders]
    labels = [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]
    accepted, refused = [], []
    for label, folder in zip(labels, folders, strict=True):
        try:
            results = load(folder)
            problems = result_problems(folder, results)
        except VcbenchError as error:
            problems = [str(error)]
        if problems:
            more = f" (and {len(problems) - 1} more; vcbench validate names them)" if len(problems) > 1 else ""
            refused.append(Refusal(label, WHOLE, problems[0] + more))
        else:
            accepted.append(_Submission(label, results))
    return accepted, refused


def _entries(submissions: Iterable[_Submission]) -> tuple[list[_Entry], list[Refusal]]:
    """Codecs of all submissions; what several have of one card and tool is one entry, of the first."""
    found: dict[tuple[str, frozenset[str]], tuple[_Submission, ResultSet]] = {}
    doubles = []
    for submission in submissions:
        for codec in submission.results.codecs:
            own = submission.results.only({codec})
            key = (codec, frozenset(map(codec_key, own.cells)))
            if key not in found:
                found[key] = (submission, own)
                continue
            first, known = found[key]
            cells = {cell.key: cell for cell in (*own.cells, *known.cells)}
            found[key] = (first, ResultSet((*known.folders, *own.folders), list(cells.values()), [], known.published))
            doubles.append(Refusal(submission.name, codec, f"is the codec of {first.name}, and counts once with it"))
    codecs = [codec for codec, _ in found]
    entries = []
    for (codec, _), (submission, results) in found.items():
        name = codec if codecs.count(codec) == 1 else f"{submission.name}:{codec}"
        estimated = any(cell.codec.rate_kind == "estimate" for cell in results.cells)
        kind: Mark = "published" if results.published else "estimated" if estimated else "measured"
        entries.append(_Entry(name, submission, results, kind))
    return entries, doubles


def _anchor(entries: Sequence[_Entry], wanted: str) -> _Entry:
    able = {entry.name: entry for entry in entries if entry.rate_kind != "published"}
    if wanted in able:
        return able[wanted]
    several = [name for name in able if name.endswith(f":{wanted}")]
    if several:
        raise UsageError(f"{wanted} was run differently in several folders; name one of {', '.join(several)} as anchor")
    raise UnknownNameError("anchor", wanted, able)


def _source(cell: CellResult) -> tuple[Any, ...]:
    s = cell.sequence
    return (s.sha256, s.start, s.frames, s.width, s.height, s.fps, s.pix_fmt)


def _comparable_cells(entry: _Entry, reference: _Reference, dataset: str) -> tuple[list[CellResult], list[Refusal]]:
    """The entry's cells of a dataset that are of the anchor's sequences, and why others are not."""
    sources = reference.sources[dataset]
    kept: list[CellResult] = []
    refused: dict[str, Refusal] = {}
    for cell in entry.results.only(dataset=dataset).cells:
        name = cell.sequence.name
        where = f"{entry.name} on {dataset_text(dataset)}, {name}"
        if name not in sources:
            reason = f"{reference.entry.name} was not run on it"
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
        where = f"{entry.name} on {dataset_text(dataset)}"
        yield Refusal(entry.submission.name, where, f"{reference.entry.name} was not run on it")
    for metric in results.metrics:
        if metric not in reference.definitions and (options.metrics is None or metric in options.metrics):
            reason = f"{reference.entry.name} was not measured by it"
            yield Refusal(entry.submission.name, f"{entry.name} by {metric}", reason)


def _told(source: tuple[Any, ...]) -> str:
    sha256, start, frames, width, height, fps, pix_fmt = source
    return f"frames {start} to {start + frames - 1} of {sha256[:8]}, {width}x{height} {pix_fmt} at {fps} fps"


def _board(
    reference: _Reference,
    others: Sequence[_Entry],
    able: Mapping[str, list[CellResult]],
    dataset: str,
    metric: MetricFacts,
    options: BoardOptions,
) -> tuple[Board, list[Refusal]]:
    rows, refused = [], []
    standings: dict[str, Standing] = {}
    sequences = tuple(sorted(reference.sources[dataset]))
    definitions = reference.definitions[metric.name]
    for entry in others:
        where = f"{entry.name} on {dataset_text(dataset)} by {metric.name}"
        cells = able[entry.name]
        whole = entry.results.only(dataset=dataset).published
        if not cells and not whole:
            continue
        keys = {cell.measurements[metric.name].key for cell in cells if metric.name in cell.measurements}
        measured = bool(keys) or any(curve.metric == metric.name for part in whole for curve in part.curves)
        if not measured:
            refused.append(Refusal(entry.submission.name, where, "it was not measured"))
            continue
        if not keys <= definitions or len(definitions) > 1:
            reason = "its metric is defined otherwise than the anchor's; measure both by one version of vcbench"
            if len(definitions) > 1:
                reason = "the anchor's cells mix definitions of the metric; measure them again"
            refused.append(Refusal(entry.submission.name, where, reason))
            continue
        comparison, problem = _compared(reference, entry, cells, dataset, metric, options)
        row, standing = _row(entry, comparison, problem, len(sequences), options)
        rows.append(row)
        if standing is not None:
            standings[entry.name] = standing
    own = reference.entry
    zero = dict.fromkeys(sequences, 0.0) if not metric.pooled else None
    standings[own.name] = Standing(0.0, zero)
    count = len(sequences)
    rows.append(Row(own.name, own.submission.name, own.rate_kind, 0.0, 0.0, 0.0, count, count, remark="the anchor"))
    ranked = _ranked(rows, places(standings))
    return Board(dataset, metric.name, metric.title, sequences, tuple(ranked)), refused


def _compared(
    reference: _Reference,
    entry: _Entry,
    cells: Sequence[CellResult],
    dataset: str,
    metric: MetricFacts,
    options: BoardOptions,
) -> tuple[Comparison | None, str | None]:
    anchor = reference.entry
    both = ResultSet(
        (*anchor.results.folders, *entry.results.folders),
        [*_named(anchor.results.only(dataset=dataset).cells, anchor.name), *_named(cells, entry.name)],
        published=entry.results.only(dataset=dataset).published,
    )
    (compared,) = [
        c
        for c in comparisons(both.to_pandas(), both, anchor.name, [metric], mix_published=options.mix_published)
        if c.scope.dataset == dataset
    ]
    return compared.comparison, compared.problem


def _named(cells: Iterable[CellResult], name: str) -> list[CellResult]:
    return [cell.model_copy(update={"codec": cell.codec.model_copy(update={"name": name})}) for cell in cells]


def _row(
    entry: _Entry, comparison: Comparison | None, problem: str | None, total: int, options: BoardOptions
) -> tuple[Row, Standing | None]:
    """The row of an entry, and its standing where it may be ranked."""
    row = Row(entry.name, entry.submission.name, entry.rate_kind, None, None, None, 0, total)
    if comparison is None:
        return _changed(row, remark=problem), None
    rate = comparison.bd_rate
    pooled = rate.convention == "dataset"
    used = total if pooled and rate.value is not None else rate.sequences_used
    row = _changed(
        row,
        bd_rate_percent=rate.value,
        ci_low=rate.interval.low,
        ci_high=rate.interval.high,
        sequences_used=used,
    )
    if rate.value is None:
        return _changed(row, remark=rate.reason), None
    own = {str(r.sequence): r.bd_rate.value for r in comparison.per_sequence if r.bd_rate.value is not None}
    if not pooled and len(own) < total:
        missing = "; ".join(
            f"{r.sequence}: {r.bd_rate.reason}" for r in comparison.per_sequence if r.bd_rate.value is None
        )
        return _changed(row, remark=f"not ranked: defined on {len(own)} of {total} sequences ({missing})"), None
    if entry.rate_kind == "estimated" and not options.rank_estimates:
        return _changed(row, remark="not ranked: its rate is an estimate, not the size of a bitstream"), None
    if entry.rate_kind == "published":
        row = _changed(row, remark="published, not measured: its protocol is the paper's")
    return row, Standing(rate.value, None if pooled else own)


def _changed(row: Row, **changes: Any) -> Row:
    return Row(**{**{name: getattr(row, name) for name in row.__dataclass_fields__}, **changes})


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


_HEADINGS = ("Rank", "Entry", "BD-rate", "95 % interval", "Sequences", "Ties with", "Submission", "Remark")


def _cells(row: Row) -> tuple[str, ...]:
    mark = {"measured": "", "estimated": " (rate estimated)", "published": " (published)"}[row.rate_kind]
    value = "undefined" if row.bd_rate_percent is None else f"{row.bd_rate_percent:+.2f} %"
    interval = "none" if row.ci_low is None or row.ci_high is None else f"{row.ci_low:+.2f} to {row.ci_high:+.2f} %"
    return (
        "not ranked" if row.rank is None else f"{row.rank}{'=' if row.ties else ''}",
        row.entry + mark,
        value.replace("-", "−"),
        interval.replace("-", "−"),
        f"{row.sequences_used} of {row.sequences_total}",
        ", ".join(row.ties) or ("none" if row.rank else ""),
        row.submission,
        row.remark or "",
    )


def _markdown(board: Leaderboard) -> str:
    parts = [f"# Leaderboard against {markdown(board.anchor)}\n\n{markdown(board.rule)}\n"]
    for one in board.boards:
        rows = [_HEADINGS, *map(_cells, one.rows)]
        lines = [f"| {' | '.join(map(markdown, row))} |" for row in rows]
        lines.insert(1, "| ---: | :--- | ---: | ---: | ---: | :--- | :--- | :--- |")
        names = f"{len(one.sequences)} sequences: {', '.join(one.sequences)}"
        title = f"{one.title} ({one.metric}) on {dataset_text(one.dataset)}"
        parts.append(f"## {markdown(title)}\n\n{markdown(names)}\n\n" + "\n".join(lines) + "\n")
    if board.refused:
        lines = [
            f"- {markdown(item.submission)}, {markdown(item.what)}: {markdown(item.reason)}" for item in board.refused
        ]
        parts.append("## Left out\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _csv_rows(board: Leaderboard) -> Iterator[dict[str, Any]]:
    for one in board.boards:
        for row in one.rows:
            yield {
                **asdict(row),
                "dataset": one.dataset,
                "metric": one.metric,
                "anchor": board.anchor,
                "ties": ", ".join(row.ties),
            }
