from __future__ import annotations

import itertools
import math
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from bench.analysis.curves import RDCurve, RDPoint
from bench.analysis.looks import looks
from bench.report.paper import figures


def curve(codec: str, *, estimated: bool = False, quality: float = 30.0) -> RDCurve:
    points = tuple(RDPoint(0.05 * 2**step, quality + 2 * step, str(step)) for step in range(4))
    return RDCurve(codec, "set", "clip", "psnr_y", "bpp", points, estimated=estimated)


def line(drawn: RDCurve) -> figures.Line:
    return figures.Line(looks([drawn.codec])[drawn.codec], drawn)


AXIS = figures.Axis("PSNR of luma", "dB", "higher")
LOOK = figures.LOOKS["single-column"]


def figure_of(lines: list[figures.Line]) -> Any:
    return figures.paper_figure([(AXIS, lines)], LOOK, log_rate=True)


def saved(folder: Path, lines: list[figures.Line]) -> Path:
    folder.mkdir()
    with figures.style(LOOK):
        figures.save(figure_of(lines), folder, "f")
    return folder


def test_files_are_what_they_are_called(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", [line(curve("x265"))])
    assert (folder / "f.pdf").read_bytes().startswith(b"%PDF-")
    assert ElementTree.parse(folder / "f.svg").getroot().tag.endswith("svg")
    png = (folder / "f.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    width, _ = struct.unpack(">II", png[16:24])
    assert width == round(LOOK.width * figures.PNG_DPI)


def test_fonts_are_embedded_as_type_42(tmp_path: Path) -> None:
    pdf = (saved(tmp_path / "a", [line(curve("x265"))]) / "f.pdf").read_bytes()
    assert b"/Subtype /Type0" in pdf or b"/Subtype /TrueType" in pdf
    assert b"/Type3" not in pdf


def test_equal_curves_give_equal_files(tmp_path: Path) -> None:
    lines = [line(curve("x265")), line(curve("y", quality=31))]
    first = saved(tmp_path / "a", lines)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20}):
        second = saved(tmp_path / "b", lines)
    for suffix in figures.FORMATS:
        assert (first / f"f.{suffix}").read_bytes() == (second / f"f.{suffix}").read_bytes(), suffix


def test_the_users_settings_are_put_back() -> None:
    with matplotlib.rc_context({"lines.linewidth": 9}):
        with figures.style(LOOK):
            assert matplotlib.rcParams["lines.linewidth"] != 9
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_an_estimated_rate_is_open_and_dashed() -> None:
    with figures.style(LOOK):
        figure = figure_of([line(curve("a")), line(curve("b", estimated=True))])
    measured, estimated = figure.axes[0].get_lines()
    assert measured.get_markerfacecolor() != "white" and measured.get_linestyle() == "-"
    assert estimated.get_markerfacecolor() == "white" and estimated.get_linestyle() == "--"


def test_styles_of_many_codecs_differ() -> None:
    curves = [curve(f"codec{number}") for number in range(28)]
    drawn_as = looks(one.codec for one in curves)
    lines = [figures.Line(drawn_as[one.codec], one) for one in curves]
    with figures.style(LOOK):
        drawn = figure_of(lines).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == len(drawn)


def test_axes_say_unit_direction_and_scale() -> None:
    with figures.style(LOOK):
        (axes,) = figure_of([line(curve("a"))]).axes
    assert axes.get_ylabel() == "PSNR of luma (dB) ↑"
    assert axes.get_xlabel() == "Rate (bit/pixel, log scale)" and axes.get_xscale() == "log"


@pytest.mark.parametrize("count", [1, 4, 12, 24])
def test_the_legend_lies_outside_and_inside_the_figure(count: int) -> None:
    lines = [line(curve(f"codec-number-{n}@low-delay", quality=30 + n)) for n in range(count)]
    with figures.style(LOOK):
        figure = figure_of(lines)
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        axes = figure.axes[0].get_tightbbox()
    assert legend.y1 <= axes.y0
    assert legend.x0 >= 0 and legend.y0 >= 0 and legend.x1 <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().height > 1.2 * figure.dpi


@pytest.mark.parametrize("label", ["_hidden", "$x$", "\u65e5\u672c\u8a9e", "two\nlines", "a\x07b", "$unclosed", "^_{"])
def test_any_name_can_be_drawn(tmp_path: Path, label: str) -> None:
    saved(tmp_path / "a", [line(curve(label))])
    with figures.style(LOOK):
        figure = figure_of([line(curve(label))])
    assert len(figure.legends[0].get_texts()) == 1


def test_points_without_a_place_are_left_out() -> None:
    points = (RDPoint(0.1, 30.0, "1"), RDPoint(0.2, math.inf, "2"), RDPoint(0.0, 20.0, "3"))
    with_lossless = RDCurve("a", "", "s", "psnr_y", "bpp", points)
    assert figures.drawn_points(with_lossless) == 1
    with figures.style(LOOK):
        figure = figure_of([line(with_lossless)])
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == [0.1]


@pytest.mark.parametrize(
    ("low", "high"),
    [*itertools.pairwise([0.001, 0.0013, 0.01, 0.02, 0.031, 0.3, 4, 900]), (1e-5, 1e3), (0.1, 0.10204), (3.01, 3.02)],
)
@pytest.mark.parametrize("most", [4, 7])
def test_ticks_of_any_range(low: float, high: float, most: int) -> None:
    ticks = figures.log_ticks(low, high, most)
    assert 2 <= len(ticks) <= most + 1
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_ticks_are_round() -> None:
    assert figures.log_ticks(0.018, 0.34) == [0.02, 0.05, 0.1, 0.2]


@pytest.mark.parametrize("style", figures.LOOKS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_metric_has_a_plot_of_its_own(count: int, style: str) -> None:
    plots = [(figures.Axis(f"metric {n}", "", None), [line(curve("a"))]) for n in range(count)]
    look = figures.LOOKS[style]
    with figures.style(look):
        figure = figures.paper_figure(plots, look, log_rate=False)
    assert [axes.get_ylabel() for axes in figure.axes] == [axis.label() for axis, _ in plots]
    assert len(figure.legends) == 1


def test_small_values_are_given_in_a_power_of_ten() -> None:
    small = RDCurve("a", "set", "clip", "kd", "bpp", tuple(RDPoint(0.1 * n, 2.2e-4 / n, str(n)) for n in range(1, 5)))
    with figures.style(LOOK):
        figure = figures.paper_figure([(figures.Axis("KD", "", "lower"), [line(small)])], LOOK, log_rate=False)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_ylabel() == "KD (10⁻⁴) ↓"
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert {float(text) for text in shown} and not [text for text in shown if "e" in text or "µ" in text]


def test_panels_have_letters_and_equal_sizes() -> None:
    look = figures.LOOKS["ieee-page"]
    plots = [(figures.Axis("PSNR", "dB", "higher"), [line(curve("a", quality=10.0**n))]) for n in range(5)]
    with figures.style(look):
        figure = figures.paper_figure(plots, look, log_rate=False)
        figure.draw_without_rendering()
    assert [axes.get_title("left") for axes in figure.axes] == ["(a)", "(b)", "(c)", "(d)", "(e)"]
    assert len({(round(axes.bbox.width), round(axes.bbox.height)) for axes in figure.axes}) == 1
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False, False, True, True, True]


def test_a_long_unit_is_left_to_the_text() -> None:
    assert figures.Axis("Warping error", "squared difference, white is 1", "lower").label() == "Warping error ↓"
    assert figures.Axis("VMAF", "score", None).label() == "VMAF"
