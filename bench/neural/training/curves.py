"""The curves of a training run as one figure: loss and its terms, rate, and what held-out clips gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = list[tuple[float, float]]

_UNITS = {"bpp": "bits per pixel", "psnr": "PSNR of RGB (dB)"}
_NO_CURVE = {"stage", "step", "seconds", "gradient", "skipped"}
_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "vcbench",
}
# Okabe and Ito, "Color universal design", 2008, without the yellow that white paper swallows
_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def curves(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Points]]:
    """Panels of a log: title to curves, each a name and its points (steps from the start of the run, value).

    Rows with a loss are of training, the others of clips held out. Figures whose names begin alike share a panel.
    """
    panels: dict[str, dict[str, Points]] = {}
    for at, row in zip(total_steps(rows), rows, strict=True):
        trained = "loss" in row
        for name, value in row.items():
            if name in _NO_CURVE:
                continue
            unit = _UNITS.get(name.partition("_")[0])
            what = unit or ("loss and its terms, as weighted" if trained else name)
            title = what if trained else f"held-out clips: {what}"
            panels.setdefault(title, {}).setdefault(name, []).append((at, float(value)))
    return dict(sorted(panels.items(), key=lambda item: item[0].startswith("held-out")))


def total_steps(rows: Sequence[Mapping[str, str]]) -> list[int]:
    """Steps from the start of the run to each row of a log."""
    found, before = [], 0
    for _, stage in groupby(rows, key=lambda row: row["stage"]):
        steps = [before + int(row["step"]) for row in stage]
        found += steps
        before = steps[-1]
    return found


def draw(rows: Sequence[Mapping[str, str]], path: Path, *, title: str) -> Path:
    """Draw a log's panels one below the other, stages marked; SVG, equal for equal logs. Returns the path."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = curves(rows)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.16, 0.4 + 2.0 * max(1, len(panels))), layout="constrained")
        axes = figure.subplots(max(1, len(panels)), 1, squeeze=False, sharex=True)[:, 0]
        for place, (name, lines) in zip(axes, panels.items(), strict=False):
            _panel(place, name, lines)
            _mark_stages(place, rows)
        axes[-1].set_xlabel("steps")
        figure.suptitle(title)
        partial = path.with_suffix(".partial")
        figure.savefig(partial, format="svg", metadata={"Date": None})
    partial.replace(path)
    return path


def _panel(axes: Axes, title: str, lines: Mapping[str, Points]) -> None:
    for colour, (name, points) in zip(_COLOURS * (1 + len(lines)), lines.items(), strict=False):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=colour, label=name, marker="o" if len(points) < 12 else "", markersize=3)
    if "loss" in lines and all(value > 0 for points in lines.values() for _, value in points):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.set_title(title, loc="left", fontsize=8, pad=12)
    axes.grid(True, color="#dddddd", linewidth=0.5)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)


def _mark_stages(axes: Axes, rows: Sequence[Mapping[str, str]]) -> None:
    before = 0
    for name, stage in groupby(zip(total_steps(rows), rows, strict=True), key=lambda item: item[1]["stage"]):
        axes.axvline(before, color="#999999", linewidth=0.6, linestyle=(0, (2, 2)))
        axes.annotate(
            f" {name}", (before, 1.0), xycoords=("data", "axes fraction"), fontsize=6, color="#666666", va="bottom"
        )
        before = [at for at, _ in stage][-1]
