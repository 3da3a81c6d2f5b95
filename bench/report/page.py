"""The pages, rendered from templates in which every value is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.bd import LITTLE_OVERLAP, MIN_POINTS, per_cent
from bench.records.published import PublishedSet
from bench.report.escape import printable, web_address
from bench.report.measured import CodecFacts, MetricFacts, SequenceFacts

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
    " the same with the axes exchanged. Everything in one table is averaged over the same sequences. SSIM and MS-SSIM"
    " are compared in dB, -10 log10(1 - value). A lossless frame, whose PSNR is infinite, counts as the metric's cap"
    " there and in mean curves, and only there. A value is undefined where the curves share no interval or have fewer"
    f" than {MIN_POINTS} usable points. Doubts about a value stand beside it as marks: overlap (the share of the"
    f" anchor's interval that is compared) under {100 * LITTLE_OVERLAP:g} %; saturated or capped points; points left"
    " out because a cheaper one is as good; points without a value; three points; and interpolations (PCHIP, Akima,"
    " linear) that disagree."
)
MIN_OVERLAP = "A comparison of less than {share} of the anchor's curve has no value here (--min-overlap)."
INTERVAL = (
    "The 95 % interval is an expanded percentile bootstrap over sequences, 2000 resamples from seed 0. It tells how"
    " much the choice of sequences matters, and needs three of them."
)


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that the pages say by themselves, as text; what is chosen in them comes as data."""

    title: str
    summary: str
    anchor: str
    anchor_reason: str
    notes: Sequence[str]
    no_comparison: str | None
    codecs: Sequence[CodecFacts]
    published: Sequence[PublishedSet]
    sequences: Sequence[SequenceFacts]
    metrics: Sequence[MetricFacts]
    environment: Sequence[tuple[str, list[str]]]
    min_overlap: float = 0.0


def protocol(metrics: Iterable[MetricFacts], min_overlap: float = 0.0) -> tuple[str, ...]:
    """How rate, quality, BD-rate and interval are defined, as paragraphs."""
    names = ", ".join(metric.name for metric in metrics if metric.pooled)
    pooled = [POOLED.format(names=names)] if names else []
    refused = [MIN_OVERLAP.format(share=per_cent(min_overlap))] if min_overlap else []
    return (RATE, POOLING, *pooled, " ".join([BD, *refused]), INTERVAL)


def write_page(path: Path, content: Content, **more: Any) -> Path:
    """Write a page of the site from the template of its name; `more` are further values that the template takes."""
    return _write(path, path.name, templates(), content, **more)


def template_folders() -> tuple[Path, Path]:
    """Where the templates are: in the wheel, or at the root of the repository."""
    package = Path(__file__).parents[1]
    return package / "_data" / "templates", package.parent / "reports" / "templates"


def _write(path: Path, name: str, environment: Environment, content: Content, **more: Any) -> Path:
    text = environment.get_template(f"{name}.j2").render(
        report=content, tables=TABLES, protocol=protocol(content.metrics, content.min_overlap), **more
    )
    path.write_text(text, encoding="utf-8")
    return path


def templates() -> Environment:
    """The templates, in which every value is escaped for HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template_folders()),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else printable(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["web_address"] = web_address
    return environment
