"""RD figures as papers print them: SVG, PDF and PNG of equal content, identical for equal results."""

from __future__ import annotations

import math
import string
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.looks import MARKERS as NAMED_MARKERS
from bench.analysis.looks import LineStyle, Marker
from bench.analysis.looks import Look as CodecLook
from bench.report.escape import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.analysis.curves import RDCurve

FORMATS = ("svg", "pdf", "png")
COLUMN_IN = 3.5
IEEE_COLUMN_IN = 252 / 72.27
IEEE_PAGE_IN = 7.14
PAGE_IN = 7.16
PNG_DPI = 300

MARKERS: Mapping[Marker, str] = dict(zip(NAMED_MARKERS, "os^DvPX<>ph", strict=True))
"""Matplotlib's letters for the markers of `bench.analysis.looks`."""
# Dashes are left to estimated rates, sparse dots to published curves; both have open markers.
LINES: Mapping[LineStyle, Any] = {
    "solid": "solid",
    "longdashdot": (0, (6, 1.2, 1, 1.2)),
    "dot": (0, (1, 1)),
    "longdash": (0, (6, 1.2, 1, 1.2, 1, 1.2)),
}
_ESTIMATED_LINE = (0, (4, 2))
_PUBLISHED_LINE = (0, (1, 3))

_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "vcbench",
}


@dataclass(frozen=True)
class Look:
    """The measures of a figure where it will stand: lengths in inches, sizes of text, lines and markers in points.

    across: plots side by side at most. plots: plots of one figure at most. serif: letters as in IEEE's text.
    """

    width: float
    height: float
    across: int
    plots: int
    text: float
    line: float
    marker: float
    serif: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of matplotlib that are its own."""
        small = self.text * 7 / 8
        sizes = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), self.text)
        sizes |= dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), small)
        family = ["STIXGeneral", "DejaVu Sans"] if self.serif else ["DejaVu Sans"]
        return {**sizes, "font.family": family, "lines.linewidth": self.line, "lines.markersize": self.marker}


# Columns and pages of IEEE's and CVPR's templates, whose captions are of 8 to 9 points; slides of 16:9.
LOOKS = {
    "single-column": Look(COLUMN_IN, 2.3, 1, 1, 8, 1.1, 4),
    "double-column": Look(PAGE_IN, 1.9, 3, 9, 8, 1.1, 4),
    "ieee-column": Look(IEEE_COLUMN_IN, 2.3, 1, 1, 8, 1.1, 4, serif=True),
    "ieee-page": Look(IEEE_PAGE_IN, 1.9, 3, 9, 8, 1.1, 4, serif=True),
    "slides": Look(10, 4.6, 1, 1, 18, 2.4, 9),
}


@dataclass(frozen=True)
class Axis:
    """The quality axis: the metric's name, its unit ("" where it has none) and "higher", "lower" or None if unknown."""

    title: str
    unit: str
    direction: str | None

    def label(self, power: int = 0) -> str:
        """Name, unit, an arrow to the better side, in lines that fit beside a plot; values are in 10 to a `power`."""
        # what the caption or the text says at length has no place on an axis
        said = self.unit if self.unit != "score" and len(self.unit) <= 8 else ""
        unit = " ".join(filter(None, [f"10{_raised(power)}" if power else "", said]))
        arrow = {"higher": " ↑", "lower": " ↓"}.get(self.direction or "", "")
        return textwrap.fill(f"{self.title} ({unit})" if unit else self.title, 26) + arrow


@dataclass(frozen=True)
class Line:
    """One curve of a figure, and how its codec is drawn."""

    look: CodecLook
    curve: RDCurve

    @property
    def label(self) -> str:
        """Its entry in the legend: the codec, and what the curve is if it was not measured."""
        if self.curve.published:
            return f"{self.look.label} (published)"
        return f"{self.look.label} (rate estimated)" if self.curve.estimated else self.look.label


def paper_figure(plots: Sequence[tuple[Axis, Sequence[Line]]], look: Look, *, log_rate: bool) -> Figure:
    """One plot a metric with the axes of its own, and one legend for all; drawn within `style(look)`."""
    ordered = list({line.curve.codec: line for _, lines in plots for line in lines}.values())
    scale = look.text / 8
    labels = [_shortened(drawable(line.label), 52) for line in ordered]
    columns = _legend_columns(labels, look.width / scale, 0.046 if look.serif else 0.055)
    count = len(plots)
    across = count if count <= look.across else min((look.across, 2), key=lambda columns: -count % columns)
    down = math.ceil(count / across)
    figure = _figure(look.width, look.height * down + 0.16 * scale * math.ceil(len(labels) / columns))
    handles: dict[str, Any] = {}
    for number, (axis, lines) in enumerate(plots):
        axes = figure.add_subplot(down, across, number + 1)
        handles.update({line.curve.codec: _draw(axes, line) for line in lines})
        _scale(axes, [line.curve for line in lines], few=across > 2, log=log_rate)
        if number + across >= count:
            axes.set_xlabel(_RATE_LABEL if log_rate else _LINEAR_RATE_LABEL)
        axes.set_ylabel(drawable(axis.label(_power_of_ten(axes))))
        if count > 1:
            axes.set_title(f"({letter(number)})", loc="left", fontweight="bold")
    _legend(figure, [handles[line.curve.codec] for line in ordered], labels, columns)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as ``name``.svg, .pdf and .png, without dates."""
    figure.draw_without_rendering()
    # The layout is found once, not for each format again.
    figure.set_layout_engine(None)
    for suffix in FORMATS:
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[suffix]
        figure.savefig(folder / f"{name}.{suffix}", dpi=PNG_DPI, metadata=metadata)


@contextmanager
def style(look: Look | None = None) -> Iterator[None]:
    """The settings that figures are made and saved with, whatever the user's own; put back afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, **(look.settings if look else {})})
        yield


def drawn_points(curve: RDCurve) -> int:
    """How many points have a place on the axes: a positive rate and a finite quality."""
    return len(_visible(curve))


def can_draw(curve: RDCurve) -> bool:
    """Whether any point has a place on the axes."""
    return drawn_points(curve) > 0


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from `low` to `high` (both positive) for a logarithmic axis: at least 3, mostly at most `most`."""
    for steps in _TICK_STEPS:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= min(4, most - 1):
            return inside[:: math.ceil(len(inside) / most)]
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(most - 1).tick_values(low, high) if low <= tick <= high]


def drawable(text: str) -> str:
    """The text with characters that the figures' font lacks replaced by a box; never read as markup by matplotlib."""
    glyphs = _glyphs()
    shown = "".join(sign if sign == "\n" or ord(sign) in glyphs else "□" for sign in printable(text))
    # A legend leaves out labels that begin with an underscore.
    return f" {shown}" if shown.startswith("_") else shown


def letter(number: int) -> str:
    """a, b, ... z, aa, bb ... for panels and notes."""
    return string.ascii_lowercase[number % 26] * (number // 26 + 1)


_LINEAR_RATE_LABEL = "Rate (bit/pixel)"
_RATE_LABEL = "Rate (bit/pixel, log scale)"
_TICK_STEPS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9),
)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _visible(curve: RDCurve) -> list[tuple[float, float]]:
    return [(p.rate, p.quality) for p in curve.points if 0 < p.rate < math.inf and math.isfinite(p.quality)]


def _draw(axes: Axes, line: Line) -> Any:
    points = _visible(line.curve)
    colour = line.look.colour
    measured = not (line.curve.estimated or line.curve.published)
    other = _PUBLISHED_LINE if line.curve.published else _ESTIMATED_LINE
    (handle,) = axes.plot(
        [rate for rate, _ in points],
        [quality for _, quality in points],
        color=colour,
        marker=MARKERS[line.look.marker],
        linestyle=LINES[line.look.line] if measured else other,
        markerfacecolor=colour if measured else "white",
        markeredgecolor=colour,
        markeredgewidth=0.8,
    )
    return handle


def _scale(axes: Axes, curves: Sequence[RDCurve], *, few: bool, log: bool) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    rates = [rate for curve in curves for rate, _ in _visible(curve)]
    axes.set_xscale("log" if log else "linear")
    if not log:
        axes.xaxis.set_major_locator(MaxNLocator(5 if few else 6))
    elif rates:
        margin = max((max(rates) / min(rates)) ** 0.05, 1.02)
        low, high = min(rates) / margin, max(rates) * margin
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high, 4 if few else 7)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(4 if few else 6))
    axes.grid(True)


def _power_of_ten(axes: Axes) -> int:
    """The power of ten that small or large values of the quality axis are given in; ticks then show the rest."""
    largest = max(map(abs, axes.get_ylim()))
    if largest == 0 or not math.isfinite(largest) or 1e-2 <= largest < 1e5:
        return 0
    power = math.floor(math.log10(largest))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 10.0**power:.6g}".replace("-", "−"))
    return power


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _legend_columns(labels: Sequence[str], width: float, letter_in: float) -> int:
    """How many columns, each as wide as its longest label, fit into a width in inches."""
    # A letter takes about `letter_in` at the legend's size, line and gap of an entry as much as eight letters.
    lengths = [len(label) + 8 for label in labels]
    fit = [
        columns
        for columns in range(1, min(len(labels), 6) + 1)
        if letter_in * sum(part.max() for part in np.array_split(lengths, columns)) <= width
    ]
    return max(fit, default=1)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.8, columnspacing=1.2)


def _shortened(text: str, length: int) -> str:
    # What tells long names apart stands at their ends more often than in the middle.
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"
