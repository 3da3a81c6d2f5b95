"""The picture of a history: one panel per quantity, revisions from left to right, the gate's verdicts on top."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.analysis.looks import Look, looks
from bench.report.paper.figures import LOOKS, MARKERS, drawable, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.analysis.history import History, Track

WIDTH_IN = 10.0
PANEL_IN = 2.3
DPI = 130
_ACROSS = 2
_LABELS = 40
_LABEL_LENGTH = 18
# colour-blind safe, and told apart by their markers too
VERDICTS = {
    "pass": ("#009E73", "o"),
    "inconclusive": ("#E69F00", "^"),
    "fail": ("#D55E00", "X"),
    "error": ("#D55E00", "s"),
}


def draw_history(history: History, path: Path, own_looks: Path | None = None) -> None:
    """Write the picture as PNG; equal histories give equal files. `own_looks`: see `bench.analysis.looks.looks`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quantities = history.quantities
    drawn = looks(history.codecs, own_looks)
    down = max(1, math.ceil(len(quantities) / _ACROSS))
    with style(LOOKS["double-column"]):
        figure = Figure(figsize=(WIDTH_IN, 1.5 + PANEL_IN * down), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(down, _ACROSS, squeeze=False)
        panels = list(grid.flat)
        for panel in panels[len(quantities) :]:
            panel.set_axis_off()
        for panel, (quantity, title) in zip(panels, quantities.items(), strict=False):
            _panel(panel, [track for track in history.tracks if track.quantity == quantity], history, drawn)
            panel.set_title(drawable(title), loc="left", fontweight="bold")
        _names(panels[: len(quantities)], [revision.label for revision in history.revisions])
        _legend(figure, panels[: len(quantities)])
        figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})


def _panel(axes: Axes, tracks: Sequence[Track], history: History, drawn: Mapping[str, Look]) -> None:
    """Lines of the codecs; a revision that the gate failed is shaded."""
    for codec in history.codecs:
        track = next((track for track in tracks if track.codec == codec), None)
        if track is None:
            continue
        look = drawn[codec]
        at = range(len(track.points))
        values = [math.nan if point.value is None else point.value for point in track.points]
        axes.plot(at, values, color=look.colour, marker=MARKERS[look.marker], label=drawable(look.label))
        low = [math.nan if point.low is None else point.low for point in track.points]
        high = [math.nan if point.high is None else point.high for point in track.points]
        axes.fill_between(at, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axes.axhline(0, color="#777777", linewidth=0.6)
    for number, revision in enumerate(history.revisions):
        if revision.verdict is None:
            continue
        word = revision.verdict.word
        colour, marker = VERDICTS[word]
        if word in {"fail", "error"}:
            axes.axvspan(number - 0.5, number + 0.5, color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            [number], [1.0], transform=axes.get_xaxis_transform(), color=colour, marker=marker, linestyle="none",
            clip_on=False, label=f"gate: {word}",
        )  # fmt: skip
    axes.set_xlim(-0.5, len(history.revisions) - 0.5)
    axes.set_ylabel("change (%)")
    axes.grid(axis="y")


def _names(panels: Sequence[Axes], labels: Sequence[str]) -> None:
    every = max(1, math.ceil(len(labels) / _LABELS))
    for panel in panels:
        panel.set_xticks(range(0, len(labels), every))
    for panel in panels[-_ACROSS:]:
        shown = [label if len(label) <= _LABEL_LENGTH else f"{label[:_LABEL_LENGTH]}…" for label in labels[::every]]
        panel.set_xticklabels([drawable(label) for label in shown], rotation=45, ha="right", rotation_mode="anchor")
    for panel in panels[:-_ACROSS]:
        panel.tick_params(labelbottom=False)


def _legend(figure: object, panels: Sequence[Axes]) -> None:
    entries: dict[str, object] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        entries |= {label: entries.get(label, handle) for handle, label in zip(handles, labels, strict=True)}
    if entries:
        figure.legend(  # type: ignore[attr-defined]
            list(entries.values()), list(entries), loc="outside upper center", ncols=min(6, len(entries))
        )
