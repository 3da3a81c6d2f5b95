"""The page and the captions, rendered from templates in which every value is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.bd import MIN_OVERLAP, MIN_POINTS
from bench.report.escape import markdown, printable, web_address
from bench.report.facts import CodecFacts, MetricFacts, SequenceFacts
from bench.report.illustrations import Illustration
from bench.report.tables import Grid

if TYPE_CHECKING:
    from jinja2 import Environment

TABLES = (
    ("results.csv", "every measurement"),
    ("rd.csv", "rate and quality of every cell"),
    ("datasets.csv", "rate and quality of whole datasets"),
    ("bd_rate.csv", "BD-rates"),
    ("bd_rate.md", "BD-rates, Markdown"),
    ("bd_rate_sequences.csv", "BD-rates of each sequence"),
    ("bd_rate_sequences.md", "BD-rates of each sequence, Markdown"),
    ("speed.csv", "times"),
    ("speed.md", "times, Markdown"),
    ("excluded.csv", "what is excluded"),
    ("excluded.md", "what is excluded, Markdown"),
)

RATE = (
    "Rate is 8 times the size in bytes of the bitstream file, headers included, divided by the number of frames times"
    " width times height of the source (bit per pixel, bpp). Every bitstream was decoded by itself in a fresh process;"
    " frames are paired by their index, and a decoded video of another length, size or format has no value."
)
POOLING = (
    "A quality is one value of a cell, pooled over its frames as the table of metrics says. Metrics are measured at the"
    " size, chroma format and bit depth of the source; what a codec had to be given or handed back differently stands"
    " in its description as “changes”."
)
POOLED = (
    "{names}: a distance between two sets of frames. Its value of a sequence is of that video's frames alone; the value"
    " of a dataset is of the frames of all its videos as one set, no mean of the videos' values. Overall curves and"
    " BD-rates are of the dataset's values, those of sequences of the videos' own."
)
BD = (
    "BD-rate: the logarithm of rate as a function of quality, interpolated by PCHIP and integrated over the qualities"
    " that both curves reach; the mean difference, as a per cent of the anchor's rate. The BD-rate of several"
    " sequences is the arithmetic mean of their BD-rates; that of the two mean curves is given beside it. BD-metric:"
    f" the same with the axes exchanged. A curve of fewer than {MIN_POINTS} points, two points of one rate or quality,"
    " quality that falls as rate rises, saturated values and an overlap (the common interval divided by the longer"
    f" curve's) of less than {100 * MIN_OVERLAP:g} % leave it undefined. A lossless frame,"
    " whose PSNR is infinite, counts as the metric's cap there and in mean curves, and only there."
)
INTERVAL = (
    "The 95 % interval is an expanded percentile bootstrap over sequences, 2000 resamples from seed 0. It tells how"
    " much the choice of sequences matters, and needs three of them."
)


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that the page and the captions say, as text."""

    title: str
    summary: str
    anchor: str
    anchor_reason: str
    notes: Sequence[str]
    no_comparison: str | None
    bd_rate: Sequence[Grid]
    bd_rate_sequences: Sequence[Grid]
    speed: Sequence[Grid]
    excluded: Grid | None
    figures: Sequence[Illustration]
    codecs: Sequence[CodecFacts]
    sequences: Sequence[SequenceFacts]
    metrics: Sequence[MetricFacts]
    environment: Sequence[tuple[str, list[str]]]


def write_index(path: Path, content: Content) -> Path:
    """Write the page, one file without scripts that asks for nothing but the figures beside it."""
    return _write(path, "index.html", _environment(printable, autoescape=True), content)


def write_captions(path: Path, content: Content) -> Path:
    """Write what was measured and how, and the captions of figures and tables, as Markdown."""
    return _write(path, "captions.md", _environment(markdown, autoescape=False), content)


def _write(path: Path, name: str, environment: Environment, content: Content) -> Path:
    names = ", ".join(metric.name for metric in content.metrics if metric.pooled)
    pooled = [POOLED.format(names=names)] if names else []
    text = environment.get_template(f"{name}.j2").render(
        report=content, tables=TABLES, protocol=(RATE, POOLING, *pooled, BD, INTERVAL)
    )
    path.write_text(text, encoding="utf-8")
    return path


def _environment(clean: Callable[[object], str], *, autoescape: bool) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    package = Path(__file__).parents[1]
    folders = (package / "_data" / "templates", package.parent / "reports" / "templates")
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=autoescape,  # noqa: S701 - off for Markdown alone, where `clean` escapes every value
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else clean(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["web_address"] = web_address
    environment.filters["css_pixels"] = lambda inches: round(96 * inches)
    environment.filters["grouped"] = _grouped
    return environment


def _grouped(items: Iterable[Any], attribute: str) -> list[tuple[str, list[Any]]]:
    """Items by an attribute, in the order in which its values first appear."""
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(getattr(item, attribute), []).append(item)
    return list(groups.items())
