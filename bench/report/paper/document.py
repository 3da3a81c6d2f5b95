"""Figures, tables and captions to be put into a paper or on slides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from bench.analysis.bd import FLAG_TEXTS, Cause
from bench.analysis.curves import RDCurve
from bench.analysis.matrix import Summary, flags_of
from bench.analysis.options import CompareOptions
from bench.core.folders import check_rewritable, rewritten
from bench.errors import StoreError
from bench.report.comparisons import Speed, speeds
from bench.report.escape import latex, markdown, slug
from bench.report.grid import Grid
from bench.report.measured import Measured, MetricFacts, Scope, dataset_text
from bench.report.overall import in_db
from bench.report.paper import figures
from bench.report.paper.captions import T1, Section, methods, write_latex, write_markdown
from bench.report.preamble import Preamble
from bench.report.text.tables import UNDEFINED, Table, markdown_table, write_tables
from bench.results.result_set import ResultSet

DOCUMENT = "paper.tex"
TITLE = "What was measured and how"
COLUMNS = {"single-column": 2, "double-column": 5, "ieee-column": 2, "ieee-page": 5, "slides": 4}
"""Metrics side by side in a table."""
_CSV = (
    *("dataset", "anchor", "test", "metric", "bd_rate_percent", "ci_low", "ci_high", "ci_reason", "spread_low"),
    *("spread_high", "flags", "reason", "overlap", "compared_low", "compared_high", "sequences_used"),
    *("sequences_total", "encode_ratio", "decode_ratio"),
)


@dataclass(frozen=True)
class PaperOptions:
    """How it is made: a style of `figures.LOOKS`, the scale of the rate axis, and what is compared.

    min_overlap: the share of the anchor's curve that a BD-rate must compare to have a value, 0 to 1. looks: a file of
    one's own on how codecs are drawn, see `bench.analysis.looks.looks`.
    """

    anchor: str | None = None
    metrics: Sequence[str] | None = None
    style: str = "single-column"
    log_rate: bool = False
    min_overlap: float = 0.0
    mix_published: bool = False
    looks: Path | None = None


@dataclass(frozen=True)
class Float:
    """A figure or table on file, with the caption that says what it shows. `name` is its file's without the suffix."""

    name: str
    caption: str


@dataclass(frozen=True)
class Entry:
    """One BD-rate of a table in per cent, or why there is none.

    interval, spread: the ends of its confidence interval, and its least and greatest value over the interpolations;
    None where it has none. notes: its doubts, and why it is partial or has no interval. about_interval: what a reader
    must know of intervals over so few sequences. rank: 1 for the best of its
    column, 2 for the second, 0 for others and for what cannot be ranked.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    about_interval: str | None = None
    rank: int = 0


def build_paper(results: ResultSet, out: Path, options: PaperOptions) -> Path:
    """Write figures, tables and captions of a result set into the folder `out`; ``paper.tex`` there is returned.

    ``figures/`` gets SVG, PDF and PNG, ``tables/`` LaTeX (booktabs), Markdown and CSV, ``captions.tex`` and
    ``captions.md`` what was measured and how. ``paper.tex`` shows them all. Files that an earlier call wrote, and that
    have not changed since, are replaced or removed.

    Raises UnknownNameError for an anchor or a metric that the results do not have, UsageError when there is nothing to
    show, StoreError when `out` cannot be written.
    """
    check_rewritable(out, "paper")
    how = CompareOptions(min_overlap=options.min_overlap, mix_published=options.mix_published)
    measured = Measured.of(results, options.anchor, options.metrics or None, how, options.looks)
    measured, unmeasured = _measured_alone(measured)
    grids = [Grid.of(measured, metric, domains=("quality",)) for metric in measured.metrics]
    preamble = Preamble.of(measured, TITLE, speeds=speeds(measured, ()))
    try:
        with rewritten(out, "paper") as folder:
            (folder.path / "figures").mkdir()
            drawn = list(_draw(grids, folder.path / "figures", options)) if grids else []
            list(write_tables(folder.path / "tables", [Table("bd_rate", "BD-rates", _CSV, _csv_rows(grids))]))
            tables = list(_tables(grids, folder.path / "tables", COLUMNS[options.style])) if grids else []
            sections = [
                Section("Read this first", (preamble.lead, *unmeasured, *preamble.notes)),
                *(Section(f"Figure {item.name}", (item.caption,), level=3) for item in drawn),
                *(Section(f"Table {item.name}", (item.caption,), level=3) for item in tables),
                *methods(measured, preamble.protocol),
            ]
            write_markdown(folder.path / "captions.md", preamble.title, sections)
            write_latex(folder.path / "captions.tex", sections)
            _write_document(folder.path, drawn, tables, options.style)
        return out / DOCUMENT
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written: {error.strerror or error}; name a folder that can be written"
        ) from error


def _measured_alone(measured: Measured) -> tuple[Measured, tuple[str, ...]]:
    """What was measured without the metrics that have no value at all, and a sentence that names these."""
    there = {curve.metric for part in measured.results.published for curve in part.curves}
    states: dict[str, Counter[str]] = {name: Counter() for name in measured.metric_names}
    for cell in measured.results.cells:
        for name, found in cell.measurements.items():
            if name in states:
                states[name][found.status] += 1
                there |= {name} if found.status == "ok" else set()
    kept = tuple(metric for metric in measured.metrics if metric.name in there)
    gone = [metric for metric in measured.metrics if metric.name not in there]
    told = [f"{m.short} ({'; '.join(states[m.name]) or 'never measured'})" for m in gone]
    text = (f"Left out, because no cell has a value: {', '.join(told)}.",) if told else ()
    return replace(measured, metrics=kept), text


def _draw(grids: Sequence[Grid], folder: Path, options: PaperOptions) -> Iterator[Float]:
    """One figure a metric, or several metrics side by side where the style is wide, for each dataset."""
    look = figures.LOOKS[options.style]
    plots: dict[str, list[_Plot]] = {}
    for grid in grids:
        for plot in _plots(grid):
            plots.setdefault(plot.dataset, []).append(plot)
    with figures.style(look):
        for dataset in sorted(plots):
            parts = range(0, len(plots[dataset]), look.plots)
            for number, start in enumerate(parts, start=1):
                shown = plots[dataset][start : start + look.plots]
                axes = [(figures.Axis(p.metric.short, p.metric.axis_unit, p.metric.direction), p.lines) for p in shown]
                last = slug(shown[0].metric.name) if look.plots == 1 else str(number) if len(parts) > 1 else ""
                name = "_".join(filter(None, ["rd", slug(dataset or "input"), last]))
                figures.save(figures.paper_figure(axes, look, log_rate=options.log_rate), folder, name)
                yield Float(name, _figure_caption(dataset, shown, options))


@dataclass(frozen=True)
class _Plot:
    """The curves of all codecs over one dataset by one metric; `over` says what they are over."""

    dataset: str
    metric: MetricFacts
    lines: list[figures.Line]
    over: tuple[str, ...]


def _plots(grid: Grid) -> Iterator[_Plot]:
    codecs, looks = grid.measured.codecs, grid.measured.looks
    for scope in grid.measured.scopes:
        if scope.dataset is None:
            continue
        overall = grid.overall(scope.dataset)
        shown = sorted(filter(figures.can_draw, overall.curves.values()), key=lambda curve: codecs.index(curve.codec))
        if shown:
            lines = [figures.Line(looks[c.codec], c) for c in shown]
            yield _Plot(scope.dataset, grid.metric, lines, overall.caption(grid.metric))


def _figure_caption(dataset: str, plots: Sequence[_Plot], options: PaperOptions) -> str:
    titles = ", ".join(
        f"({figures.letter(number)}) {plot.metric.short}" if len(plots) > 1 else plot.metric.short
        for number, plot in enumerate(plots)
    )
    shown: list[RDCurve] = [line.curve for plot in plots for line in plot.lines]
    overs = dict.fromkeys(text for plot in plots for text in plot.over if text and text != in_db(plot.metric))
    decibels = [plot.metric.short for plot in plots if in_db(plot.metric)]
    estimated = sorted({curve.codec for curve in shown if curve.estimated})
    published = sorted({curve.codec for curve in shown if curve.published})
    hidden = sum(len(curve.points) - figures.drawn_points(curve) for curve in shown)
    return _sentences(
        f"Rate and quality on {dataset_text(dataset)} by {titles}",
        *(text[0].upper() + text[1:] for text in overs),
        f"{' and '.join(decibels)} in dB, −10 log10(1 − value)" if decibels else "",
        "Rate in bits of the bitstream per luma sample" + (", logarithmic axis" if options.log_rate else ""),
        f"Dashed, open markers: the rate is an estimate ({', '.join(estimated)})" if estimated else "",
        f"Dotted, open markers: published, not measured ({', '.join(published)})" if published else "",
        f"{hidden} points of infinite quality or without a rate above zero have no place on the axes" if hidden else "",
    )


def _tables(grids: Sequence[Grid], folder: Path, across: int) -> Iterator[Float]:
    """BD-rates: a table a dataset, split where there are too many metrics; and what they cost in time."""
    measured = grids[0].measured
    for scope in measured.scopes:
        stem = "all" if scope.dataset is None else slug(scope.dataset or "input")
        every = [_Column.of(grid, scope) for grid in grids]
        columns = [column for column in every if any(entry.value for entry in column.entries)] or every
        lacking = [column.metric.short for column in every if column not in columns]
        parts = [columns[start : start + across] for start in range(0, len(columns), across)]
        tables = {
            f"bd_rate_{stem}" + (f"_{number}" if len(parts) > 1 else ""): _bd_rates(measured, scope, part, lacking)
            for number, part in enumerate(parts, start=1)
        }
        timed = [speed for speed in speeds(measured, ()) if speed.scope == scope]
        if any(speed.encode_s or speed.decode_s for speed in timed):
            tables[f"speed_{stem}"] = _speed_quality(
                grids, scope, columns[: 1 if across < 4 else 3], timed, ratios=across > 3
            )
        for name, table in tables.items():
            (folder / f"{name}.tex").write_text(table.latex(name), encoding="utf-8")
            (folder / f"{name}.md").write_text(table.markdown(), encoding="utf-8")
            yield Float(name, table.caption)


@dataclass(frozen=True)
class _Column:
    """BD-rates of every codec against the anchor by one metric, in the order of the codecs, the anchor first."""

    metric: MetricFacts
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, grid: Grid, scope: Scope) -> _Column:
        measured = grid.measured
        found = grid.over(scope)
        row = found["quality"][0] if found else []
        entries = [Entry(0.0), *map(_entry, row[1:])] if row else []
        if not row:
            entries = [Entry(None, notes=(grid.metric.problem or "",)) for _ in measured.codecs]
        fit = {
            number: entry.value
            for number, entry in enumerate(entries)
            if entry.value is not None
            and measured.codecs[number] not in measured.estimated
            and not (row and row[number].apart)
        }
        order = sorted(set(fit.values()))
        ranked = (
            replace(entry, rank=order.index(fit[number]) + 1 if number in fit and fit[number] in order[:2] else 0)
            for number, entry in enumerate(entries)
        )
        return cls(grid.metric, tuple(ranked) if len(fit) > 2 else tuple(entries))

    @property
    def heading(self) -> str:
        """The metric, and dB where it is compared so."""
        return f"{self.metric.short} (dB)" if self.metric.scale == "db" else self.metric.short


def _bd_rates(measured: Measured, scope: Scope, columns: Sequence[_Column], lacking: Sequence[str]) -> _Table:
    rows = [
        (_row_label(measured, name), tuple(column.entries[number] for column in columns))
        for number, name in enumerate(measured.codecs)
    ]
    return _Table(
        _table_caption(measured, scope, [column.metric for column in columns], lacking),
        (("BD-rate (%)", tuple(column.heading for column in columns)),),
        tuple(rows),
    )


def _speed_quality(
    grids: Sequence[Grid], scope: Scope, columns: Sequence[_Column], timed: Sequence[Speed], *, ratios: bool
) -> _Table:
    """BD-rate beside frames per second, and these over the anchor's."""
    measured = grids[0].measured
    by_name = {speed.codec: speed for speed in timed}
    grid = next((grid for grid in grids if grid.pairs), None)
    pairs = grid.over(scope)["quality"][0] if grid is not None else []
    loaded = "timed while other cells ran: not fit for ranking"
    rows: list[tuple[str, tuple[Entry | str, ...]]] = []
    row_notes: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(measured.codecs):
        speed = by_name.get(name)
        texts = [
            text
            for step in ("encode", "decode")
            for seconds, ratio in [
                (getattr(speed, f"{step}_s", None), getattr(pairs[number], step) if pairs and number else 1.0)
            ]
            for text in (
                "–" if seconds is None else _digits(1 / seconds),
                "–" if seconds is None or ratio is None else f"{_digits(ratio)}×",
            )[: 1 + ratios]
        ]
        label = _row_label(measured, name)
        rows.append((label, (*(column.entries[number] for column in columns), *texts)))
        if speed is not None and speed.timing in {"shared", "mixed"}:
            row_notes[label] = (loaded,)
    names = [column.metric.short for column in columns]
    caption = _sentences(
        f"Quality and speed on {scope.label}: BD-rate in per cent against {measured.labels[measured.anchor]}",
        "Frames per second: geometric means over cells",
        "Times over the anchor's: geometric means over sequences and rate points" if ratios else "",
    )
    return _Table(
        caption,
        (
            ("BD-rate (%)", tuple(names)),
            ("Encoding", ("frames/s", "time")[: 1 + ratios]),
            ("Decoding", ("frames/s", "time")[: 1 + ratios]),
        ),
        tuple(rows),
        row_notes,
    )


def _text_number(value: float) -> str:
    return f"{value:+.2f}".replace("-", r"\textminus{}")


def _digits(value: float) -> str:
    """A number with three significant digits, never with an exponent."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}" if value >= 1e-3 else f"{value:.4f}"


def _row_label(measured: Measured, name: str) -> str:
    label = measured.labels[name]
    if name in measured.published:
        return f"{label} (published)"
    return f"{label} (rate estimated)" if name in measured.estimated else label


@dataclass(frozen=True)
class _Table:
    """Codecs (down) by groups of columns (across), each a title and headings. A cell is an entry or text.

    row_notes: notes of whole rows, by their label. Notes are lettered in the order in which they are met.
    """

    caption: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[tuple[str, tuple[Entry | str, ...]], ...]
    row_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def headings(self) -> tuple[str, ...]:
        """Of all columns."""
        return tuple(heading for _, headings in self.groups for heading in headings)

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Notes without a letter: on intervals, and what every row has."""
        of_rows = [set(self.row_notes.get(label, ())) for label, _ in self.rows]
        of_all = set.intersection(*of_rows) if of_rows else set()
        about = (c.about_interval for _, cells in self.rows for c in cells if isinstance(c, Entry))
        return tuple(dict.fromkeys([*filter(None, about), *sorted(of_all)]))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Notes with a letter."""
        found = [
            note
            for label, cells in self.rows
            for notes in (self.row_notes.get(label, ()), *(c.notes for c in cells if isinstance(c, Entry)))
            for note in notes
        ]
        return tuple(note for note in dict.fromkeys(found) if note not in self.shared)

    def latex(self, name: str) -> str:
        wide = "*" if len(self.headings) > COLUMNS["single-column"] + (len(self.groups) > 1) else ""
        spans = [rf"\multicolumn{{{len(headings)}}}{{c}}{{{latex(title)}}}" for title, headings in self.groups]
        ends = list(accumulate((len(headings) for _, headings in self.groups), initial=1))
        rules = "".join(rf"\cmidrule(lr){{{low + 1}-{high}}}" for low, high in pairwise(ends))
        head = " & ".join(["", *spans]) + rf" \\ {rules}" + "\n" + " & ".join(["Codec", *map(latex, self.headings)])
        lines = [
            " & ".join([latex(label) + self._raised(self.row_notes.get(label, ())), *map(self._latex_cell, cells)])
            + (
                r" \\ \addlinespace[2pt]"
                if any(isinstance(cell, Entry) and cell.interval for cell in cells)
                else r" \\"
            )
            for label, cells in self.rows
        ]
        notes = [*map(latex, self.shared)]
        notes += [rf"\textsuperscript{{{figures.letter(n)}}} {latex(note)}" for n, note in enumerate(self.notes)]
        below = (
            "\n\n\\smallskip\\parbox{\\linewidth}{\\raggedright\\scriptsize " + r"\\ ".join(notes) + "}"
            if notes
            else ""
        )
        return (
            f"{T1}% Needs \\usepackage{{booktabs}}.\n"
            f"\\begin{{table{wide}}}[tb]\n\\centering\n\\caption{{{latex(self.caption)}}}\n\\label{{tab:{name}}}\n"
            "\\footnotesize\\setlength{\\tabcolsep}{4pt}\n"
            f"\\begin{{tabular}}{{l{'r' * len(self.headings)}}}\n\\toprule\n{head} \\\\\n\\midrule\n"
            + "\n".join(lines)
            + f"\n\\bottomrule\n\\end{{tabular}}{below}\n\\end{{table{wide}}}\n"
        )

    def markdown(self) -> str:
        single = len(self.groups) == 1
        head = [
            markdown(heading if single else f"{title}: {heading}")
            for title, headings in self.groups
            for heading in headings
        ]
        rows = (
            [
                markdown(label) + self._lettered(self.row_notes.get(label, ())),
                *(markdown(cell) if isinstance(cell, str) else self._markdown_cell(cell) for cell in cells),
            ]
            for label, cells in self.rows
        )
        table = markdown_table(["Codec", *head], "l" + "r" * len(head), rows)
        notes = "".join(f"- {markdown(note)}\n" for note in self.shared)
        notes += "".join(f"- ({figures.letter(number)}) {markdown(note)}\n" for number, note in enumerate(self.notes))
        return f"{markdown(self.caption)}\n\n{table}" + (f"\n{notes}" if notes else "")

    def _letters(self, notes: Sequence[str]) -> str:
        return ",".join(figures.letter(self.notes.index(note)) for note in notes if note not in self.shared)

    def _raised(self, notes: Sequence[str]) -> str:
        letters = self._letters(notes)
        return rf"\textsuperscript{{{letters}}}" if letters else ""

    def _lettered(self, notes: Sequence[str]) -> str:
        letters = self._letters(notes)
        return f" ({letters})" if letters else ""

    def _latex_cell(self, entry: Entry | str) -> str:
        if isinstance(entry, str):
            return entry.replace("×", r"$\times$").replace("–", "--")
        if entry.value is None:
            return f"--{self._raised(entry.notes)}"
        # as text: bold and underlined minus signs are as wide as others, and no fonts of formulas are needed
        value = _text_number(entry.value) if entry.value else "0"
        value = {1: rf"\textbf{{{value}}}", 2: rf"\underline{{{value}}}"}.get(entry.rank, value)
        value += self._raised(entry.notes)
        if entry.interval is None:
            return value
        below = rf"\scriptsize[{', '.join(map(_text_number, entry.interval))}]"
        return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\{below}\end{{tabular}}"

    def _markdown_cell(self, entry: Entry) -> str:
        if entry.value is None:
            return f"undefined{self._lettered(entry.notes)}"
        interval = "" if entry.interval is None else " \\[{:+.2f}, {:+.2f}\\]".format(*entry.interval)
        spread = "" if entry.spread is None else " {{{:+.2f}, {:+.2f}}}".format(*entry.spread)
        value = f"{entry.value:+.2f}" if entry.value else "0"
        value = {1: f"**{value}**", 2: f"<u>{value}</u>"}.get(entry.rank, value)
        return f"{value}{interval}{spread}{self._lettered(entry.notes)}".replace("-", "−")


def _entry(summary: Summary) -> Entry:
    if summary.value is None:
        return Entry(None, notes=(_without_advice(summary.reason or "no reason given"),))
    interval = summary.interval
    notes = [
        f"no interval: {interval.reason}" if interval.reason else "",
        *(
            f"partial: {_without_advice(summary.reason or '')}" if flag is Cause.PARTIAL else FLAG_TEXTS[flag]
            for flag in flags_of(summary.flags)
        ),
    ]
    ends = None if interval.low is None or interval.high is None else (interval.low, interval.high)
    return Entry(summary.value, ends, summary.spread, tuple(filter(None, notes)), interval.note)


def _without_advice(reason: str) -> str:
    """A reason without what to do about it, options and all: that is for whoever measures, not for a paper's reader."""
    return re.sub(r"[:;] (?:add|measure|give|run)\b[^;()]*\(--[^)]*\)", "", reason)


def _csv_rows(grids: Sequence[Grid]) -> Iterator[dict[str, Any]]:
    for grid in grids:
        measured = grid.measured
        for scope in measured.scopes:
            rows = grid.over(scope).get("quality", [[]])[0]
            for test, one in list(zip(measured.codecs, rows, strict=False))[1:]:
                yield {
                    **{"dataset": scope.label, "anchor": measured.anchor, "test": test, "metric": grid.metric.name},
                    **{"bd_rate_percent": UNDEFINED if one.value is None else one.value, "reason": one.reason},
                    **{"ci_low": one.interval.low, "ci_high": one.interval.high, "ci_reason": one.interval.reason},
                    **dict(zip(("spread_low", "spread_high"), one.spread or (None, None), strict=True)),
                    **dict(zip(("compared_low", "compared_high"), one.compared or (None, None), strict=True)),
                    "flags": ",".join(flags_of(one.flags)),
                    **{"overlap": one.overlap, "sequences_used": one.used, "sequences_total": one.total},
                    **{"encode_ratio": one.encode, "decode_ratio": one.decode},
                }


def _table_caption(measured: Measured, scope: Scope, metrics: Sequence[MetricFacts], lacking: Sequence[str]) -> str:
    pooled = ", ".join(metric.short for metric in metrics if metric.pooled)
    in_db = ", ".join(metric.short for metric in metrics if metric.scale == "db")
    own = set(measured.codecs) != set(measured.published)
    whole = measured.options.convention == "mean-curve"
    over = "of the mean curves over the sequences" if whole else "mean over sequences"
    over = over if own else "by the values that the paper gives for the dataset"
    return _sentences(
        f"BD-rate (%) on {scope.label} against {measured.labels[measured.anchor]}, {over}; negative: fewer bits for"
        " equal quality",
        "Best in bold, second best underlined",
        "In brackets the 95 % bootstrap interval over sequences" if own and not whole else "",
        f"{pooled}: of the values of the dataset as a whole" if pooled else "",
        f"{in_db}: of curves in dB, −10 log10(1 − value)" if in_db else "",
        f"No codec has a BD-rate by {', '.join(lacking)}" if lacking else "",
    )


def _write_document(out: Path, drawn: Iterable[Float], tables: Iterable[Float], style: str) -> None:
    """Write a document that shows everything, to be compiled in `out`, and to be copied from."""
    wide = "*" if style in {"double-column", "ieee-page"} else ""
    floats = [
        f"\\begin{{figure{wide}}}[tb]\n\\centering\n\\includegraphics{{figures/{item.name}}}\n"
        f"\\caption{{{latex(item.caption)}}}\n\\label{{fig:{item.name}}}\n\\end{{figure{wide}}}\n"
        for item in drawn
    ]
    floats += [f"\\input{{tables/{item.name}}}\n" for item in tables]
    if style.startswith("ieee"):
        kind = "\\documentclass[journal]{IEEEtran}\n"
    elif style == "slides":  # one figure or table a page of 16:9
        kind = (
            "\\documentclass[12pt]{article}\n"
            "\\usepackage[paperwidth=13.333in,paperheight=7.5in,margin=0.6in,footskip=0.3in]{geometry}\n"
            "\\usepackage[scaled]{helvet}\n\\renewcommand{\\familydefault}{\\sfdefault}\n"
            "\\let\\footnotesize\\large\n\\let\\scriptsize\\small\n"
        )
        floats = [f"{item}\\clearpage\n" for item in floats]
    else:
        kind = (
            "\\documentclass[10pt,twocolumn]{article}\n"
            "\\usepackage[letterpaper,margin=0.64in,columnsep=0.2in]{geometry}\n\\usepackage{mathptmx}\n"
        )
    text = (
        f"{kind}\\usepackage[T1]{{fontenc}}\n\\usepackage[utf8]{{inputenc}}\n\\usepackage{{courier}}\n"
        "\\usepackage{booktabs,graphicx,textcomp}\n"
        "\\begin{document}\n" + "\n".join(floats) + "\\clearpage\n\\input{captions}\n\\end{document}\n"
    )
    (out / DOCUMENT).write_text(text, encoding="utf-8")


def _sentences(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)
