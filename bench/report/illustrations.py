"""The RD figures of a report with their captions: what is drawn, and what had to be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.curves import RDCurve, curves
from bench.analysis.pooled import dataset_curves
from bench.report import figures
from bench.report.escape import slug
from bench.report.facts import MetricFacts, dataset_text
from bench.report.overall import DatasetCurves, MeanCurves, OverallCurves

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Illustration:
    """One figure on file, as ``figures/<name>.svg``, ``.pdf`` and ``.png``. width, height: in inches."""

    name: str
    dataset: str
    metric: str
    caption: str
    alt: str
    width: float
    height: float


@dataclass(frozen=True)
class Illustrated:
    """All figures, and a row for each curve that a mean leaves out, with the reason."""

    figures: tuple[Illustration, ...]
    left_out: tuple[Mapping[str, Any], ...]


def illustrate(
    frame: pd.DataFrame,
    datasets: Mapping[str, pd.DataFrame],
    metrics: Iterable[MetricFacts],
    codecs: Sequence[str],
    folder: Path,
) -> Illustrated:
    """Draw every (dataset, metric): the curves over all sequences, and one panel a sequence where there are several.

    `datasets` has the values of whole datasets by metric, which are drawn where they are no means. `codecs` gives the
    order of styles, so that a codec looks the same in all figures; `folder` must exist. Figures of earlier reports that
    were not drawn now are removed.
    """
    drawn: list[Illustration] = []
    left_out: list[Mapping[str, Any]] = []
    with figures.style():
        for metric in metrics:
            found = curves(frame, metric.name)
            pooled = dataset_curves(datasets[metric.name]).values() if metric.pooled else ()
            for dataset in sorted({key.dataset for key in found}):
                own = [curve for curve in found.values() if curve.dataset == dataset]
                overall = (
                    DatasetCurves(c for c in pooled if c.dataset == dataset)
                    if metric.pooled
                    else MeanCurves(own, codecs)
                )
                subject = _Subject(metric, dataset, own, overall, codecs)
                drawn += subject.draw(folder)
                left_out += subject.left_out()
    drawn.sort(key=lambda figure: figure.dataset)
    _remove_others(folder, {figure.name for figure in drawn})
    return Illustrated(tuple(drawn), tuple(left_out))


class _Subject:
    """One metric on one dataset."""

    def __init__(
        self,
        metric: MetricFacts,
        dataset: str,
        found: Sequence[RDCurve],
        overall: OverallCurves,
        codecs: Sequence[str],
    ) -> None:
        self._metric = metric
        self._dataset = dataset
        self._codecs = codecs
        self._curves = found
        self._overall = overall
        self._axis = figures.Axis(metric.title, metric.unit, metric.direction)

    def draw(self, folder: Path) -> list[Illustration]:
        shown = sorted(self._overall.curves.values(), key=lambda curve: self._codecs.index(curve.codec))
        lines = [self._line(curve) for curve in shown if figures.can_draw(curve)]
        drawn = []
        if lines:
            figure = figures.rd_figure(lines, self._axis)
            caption = self._overall_caption()
            drawn.append(self._saved(figure, folder, self._overall.kind, caption, [line.curve for line in lines]))
        return [*drawn, *self._panels(folder, any_mean=bool(lines))]

    def left_out(self) -> list[Mapping[str, Any]]:
        """What the curves over all sequences lack."""
        where = {"what": self._overall.what, "dataset": self._dataset, "metric": self._metric.name}
        return [{**where, **row} for row in self._overall.left_out()]

    def _panels(self, folder: Path, *, any_mean: bool) -> list[Illustration]:
        keys = sorted({curve.key for curve in self._curves if figures.can_draw(curve)})
        if not keys or (len(keys) == 1 and any_mean):
            return []
        drawn = []
        parts = range(0, len(keys), figures.PANELS_A_FIGURE)
        for number, start in enumerate(parts, start=1):
            chosen = keys[start : start + figures.PANELS_A_FIGURE]
            panels = [(key.sequence, [self._line(curve) for curve in self._of(key)]) for key in chosen]
            kind = "sequences" if len(parts) == 1 else f"sequences-{number}"
            part = "" if len(parts) == 1 else f" (part {number} of {len(parts)})"
            shown = [line.curve for _, lines in panels for line in lines]
            figure = figures.panel_figure(panels, self._axis)
            drawn.append(self._saved(figure, folder, kind, self._panel_caption(part, shown), shown))
        return drawn

    def _of(self, key: Any) -> list[RDCurve]:
        found = [curve for curve in self._curves if curve.key == key and figures.can_draw(curve)]
        return sorted(found, key=lambda curve: self._codecs.index(curve.codec))

    def _line(self, curve: RDCurve) -> figures.Line:
        return figures.Line(self._codecs.index(curve.codec), _estimate_label(curve), curve)

    def _saved(self, figure: Figure, folder: Path, kind: str, caption: str, shown: Sequence[RDCurve]) -> Illustration:
        name = f"rd_{slug(self._dataset or 'input')}_{slug(self._metric.name)}_{kind}"
        figures.save(figure, folder, name)
        width, height = (float(side) for side in figure.get_size_inches())
        alt = f"Line chart of {self._metric.title} against rate: {_extents(shown)}"
        return Illustration(name, dataset_text(self._dataset), self._metric.name, caption, alt, width, height)

    def _overall_caption(self) -> str:
        over, *more = self._overall.caption(self._metric)
        return _sentences(
            f"Rate and quality by {self._metric.title} on {dataset_text(self._dataset)}: {over}",
            *more,
            *self._reading(list(self._overall.curves.values())),
        )

    def _panel_caption(self, part: str, shown: Sequence[RDCurve]) -> str:
        return _sentences(
            f"Rate and quality by {self._metric.title} on each sequence of {dataset_text(self._dataset)}{part}",
            "A point is one bitstream; each panel has its own axes",
            *self._reading(shown),
        )

    def _reading(self, shown: Sequence[RDCurve]) -> Iterable[str]:
        yield "Rate in bits of the bitstream per luma sample, on a logarithmic axis; straight lines join the points"
        if self._metric.direction:
            yield f"{self._metric.direction.capitalize()} is better"
        else:
            yield "Which way is better is not known here"
        estimated = sorted({curve.codec for curve in shown if curve.estimated})
        if estimated:
            yield f"Open markers, dashed: the rate is an estimate, not the size of a bitstream ({', '.join(estimated)})"
        hidden = sum(len(curve.points) - figures.drawn_points(curve) for curve in shown)
        if hidden:
            yield f"{hidden} points of infinite quality or without a rate above zero have no place on the axes"


def _remove_others(folder: Path, names: set[str]) -> None:
    for path in folder.glob("rd_*"):
        if path.suffix.removeprefix(".") in figures.FORMATS and path.stem not in names:
            path.unlink()


def _estimate_label(curve: RDCurve) -> str:
    return f"{curve.codec} (rate estimated)" if curve.estimated else curve.codec


def _extents(shown: Iterable[RDCurve]) -> str:
    by_codec: dict[str, list[tuple[float, float]]] = {}
    for curve in shown:
        by_codec.setdefault(curve.codec, []).extend((point.rate, point.quality) for point in curve.points)
    texts = []
    for codec, points in by_codec.items():
        (low_rate, low), (high_rate, high) = min(points), max(points)
        texts.append(f"{codec} from {low:.4g} at {low_rate:.3g} bit/pixel to {high:.4g} at {high_rate:.3g}")
    return "; ".join(texts) + "."


def _sentences(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)
