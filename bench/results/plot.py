"""RD curves of a result set as a figure, for notebooks; figures for papers are made by `bench.report.paper`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from io import StringIO
from typing import TYPE_CHECKING, Any

from bench.analysis.curves import RDCurve, curves, mean_curve
from bench.analysis.looks import MARKERS, looks
from bench.analysis.quality import QualityAxis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LETTERS = dict(zip(MARKERS, "os^DvPX<>ph", strict=True))


def rd_figure(frame: pd.DataFrame, metrics: Iterable[str]) -> Figure:
    """One panel per metric with the mean curve of each codec, over the sequences that have all of its rate points.

    ``frame`` is a table of `ResultSet.to_pandas`. Raises what `bench.analysis.curves.curves` raises.
    """
    from matplotlib.figure import Figure

    names = list(metrics)
    means = [_means(frame, metric) for metric in names]
    drawn = looks({curve.codec for found in means for curve in found})
    figure = Figure(figsize=(4.2 * max(len(names), 1), 3.2), layout="constrained")
    for number, (metric, found) in enumerate(zip(names, means, strict=True)):
        axes: Any = figure.add_subplot(1, len(names), number + 1)
        for curve in found:
            look = drawn[curve.codec]
            axes.plot(curve.rates, curve.qualities, color=look.colour, marker=_LETTERS[look.marker], label=look.label)
        axis = QualityAxis.parse(metric)
        title = getattr(axis.kind, "title", metric)
        axes.set(xlabel="bits per pixel", ylabel=f"{title} ({axis.unit})" if axis.unit else title)
        axes.grid(visible=True, color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        if number == 0 and found:
            axes.legend(frameon=False, fontsize="small")
    return figure


def _means(frame: pd.DataFrame, metric: str) -> list[RDCurve]:
    by_codec: dict[str, list[RDCurve]] = {}
    for key, curve in curves(frame, metric).items():
        by_codec.setdefault(key.codec, []).append(curve)
    found = (mean_curve(given).curve for given in by_codec.values())
    return [curve for curve in found if all(math.isfinite(point.quality) for point in curve.points) and curve.points]


def as_svg(figure: Figure) -> str:
    """A figure as an element of a page."""
    page = StringIO()
    figure.savefig(page, format="svg", metadata={"Date": None})
    return page.getvalue()[page.getvalue().index("<svg") :]
