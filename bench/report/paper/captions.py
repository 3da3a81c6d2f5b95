"""What was measured and how, in words: one text, written as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.records.published import PublishedSet
from bench.report.escape import latex, markdown
from bench.report.measured import CodecFacts, Measured, MetricFacts, SequenceFacts

T1 = "% Needs \\usepackage[T1]{fontenc}.\n"
_BREAKABLE = ",:;=/._-@"


@dataclass(frozen=True)
class Item:
    """A line of a list: what it is about, text, and text that is to be typed as it stands."""

    name: str
    text: str = ""
    code: str = ""


@dataclass(frozen=True)
class Section:
    """Paragraphs and lines under a title. level: 2 for a part, 3 for a part of one."""

    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    level: int = 2


def methods(measured: Measured, protocol: tuple[str, ...]) -> list[Section]:
    """Everything that a reader needs to repeat the measurements."""
    told = [_codec(codec) for codec in measured.codec_facts()]
    environment = [Item(name, "; ".join(values)) for name, values in measured.environment()]
    sections = [
        Section("How it was measured", protocol),
        Section("Sequences", items=tuple(map(_sequence, measured.sequence_facts()))),
        Section("Metrics", items=tuple(map(_metric, measured.metrics))),
        *map(_published, measured.results.published),
        Section("Versions and machine", items=tuple(environment)),
    ]
    sections[1:1] = [Section("Codecs"), *told] if told else []
    return [section for section in sections if section.paragraphs or section.items or section.title == "Codecs"]


def write_markdown(path: Path, title: str, sections: Iterable[Section]) -> None:
    """Write sections as a Markdown document."""
    path.write_text(f"# {markdown(title)}\n\n" + "\n".join(map(_markdown_section, sections)), encoding="utf-8")


def write_latex(path: Path, sections: Iterable[Section]) -> None:
    """Write sections as LaTeX to be given to ``\\input``; a title becomes a subsection or a paragraph."""
    path.write_text(T1 + "\n".join(map(_latex_section, sections)), encoding="utf-8")


def latex_code(text: str) -> str:
    """Text as it is typed, in a typewriter's letters, that may break after its signs."""
    broken = "".join(
        latex(sign) + (r"\allowbreak{}" if sign in _BREAKABLE else "") if sign != " " else " " for sign in text
    )
    return rf"\texttt{{{re.sub('[0-9a-f]{32,}', lambda found: _broken(found[0]), broken)}}}"


def _prose(text: str) -> str:
    """Text of a sentence, in which digests may break."""
    return re.sub("[0-9a-f]{32,}", lambda found: _broken(found[0]), latex(text))


def _broken(digest: str) -> str:
    return r"\allowbreak{}".join(digest[start : start + 8] for start in range(0, len(digest), 8))


def _codec(codec: CodecFacts) -> Section:
    rate = "an estimate, not the size of a bitstream" if codec.estimated else "size of the bitstream file"
    facts = {
        "what it is": codec.title,
        "GOP": codec.gop or "not recorded",
        "rate points": codec.rates,
        "rate": rate,
        "tool": codec.tool or "not recorded",
        "licence": codec.licence or "not recorded",
        "changes": "; ".join(codec.changes),
        "note": codec.note,
        "paper": codec.paper,
        "cells": codec.outcome,
    }
    items = [Item(name, text) for name, text in facts.items() if text]
    items += [Item("setting", code=line) for line in codec.settings]
    items += [Item("weights", line) for line in codec.weights]
    items += [Item(what, code=command) for what, command in codec.commands]
    return Section(codec.name, items=tuple(items), level=3)


def _sequence(sequence: SequenceFacts) -> Item:
    told = (
        f"{sequence.size}, frames {sequence.frames}, {sequence.fps} frames/s, {sequence.format}, {sequence.colour};"
        f" {sequence.file}, SHA-256"
    )
    return Item(f"{sequence.name} ({sequence.dataset})", told, sequence.sha256)


def _metric(metric: MetricFacts) -> Item:
    unit = f" in {metric.unit}" if metric.unit not in {"", "score"} else ""
    if metric.scale == "db":
        unit += ", in curves and BD-rates as dB, -10 log10(1 - value)"
    better = f"{metric.direction} is better" if metric.direction else "which way is better is not known here"
    recorded = "; ".join(metric.provenance) or "nothing"
    return Item(
        f"{metric.short} ({metric.name})",
        f"{metric.title}{unit}, {better}. {metric.definition} Recorded with the values: {recorded}.",
    )


def _published(part: PublishedSet) -> Section:
    told: dict[str, list[str]] = {}
    for curve in part.curves:
        for note in curve.notes:
            told.setdefault(f"{note} ({curve.metric}, printed as {curve.printed_metric})", []).append(curve.figure)
    return Section(
        f"Published curves: {part.paper.name}",
        (
            f"Not measured, but read from the figures of “{part.paper.title}” ({part.paper.address}):"
            f" {part.extraction}.",
            *part.protocol,
        ),
        tuple(Item("not known", f"{note}: {', '.join(dict.fromkeys(figures))}") for note, figures in told.items()),
    )


def _markdown_section(section: Section) -> str:
    lines = [f"{'#' * section.level} {markdown(section.title)}", ""]
    lines += [line for text in section.paragraphs for line in (markdown(text), "")]
    lines += [f"- **{markdown(i.name)}**: {_joined(markdown(i.text), i.code, markdown)}" for i in section.items]
    return "\n".join([*lines, ""] if section.items else lines)


def _latex_section(section: Section) -> str:
    heading = "subsection*" if section.level == 2 else "paragraph"
    lines = [rf"\{heading}{{{latex(section.title)}}}"]
    lines += [f"{_prose(text)}\n" for text in section.paragraphs]
    if section.items:
        lines += [r"\begin{itemize}\raggedright", *map(_latex_item, section.items), r"\end{itemize}"]
    return "\n".join(lines) + "\n"


def _latex_item(item: Item) -> str:
    return rf"\item \textbf{{{latex(item.name)}}}: {_joined(_prose(item.text), item.code, latex_code)}"


def _joined(text: str, code: str, typed: Callable[[str], str]) -> str:
    return " ".join([*([text] if text else []), *([typed(code)] if code else [])])
