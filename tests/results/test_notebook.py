"""A result set as a notebook shows it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench.results.result_set import ResultSet

_spec = importlib.util.spec_from_file_location(
    "made_cells", Path(__file__).parents[1] / "analysis" / "gate" / "conftest.py"
)
assert _spec is not None and _spec.loader is not None
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)


def test_the_table_has_the_means_of_each_rate_point() -> None:
    cells = [_made.cell("x265", clip, 22, quality, 1000) for clip, quality in (("a", 40.0), ("b", 42.0))]
    cells.append(_made.cell("x265", "c", 22, None, 1000))
    page = ResultSet((Path("made"),), cells, ["<cell>: is damaged"])._repr_html_()
    assert "<cell>" not in page
    assert "3 cells of 1 codecs: 3 ok" in page
    row = [cell for cell in page.partition("<tbody>")[2].replace("</td>", "<td>").split("<td>") if cell.strip()]
    assert [text for text in row if text.replace(".", "").isdigit()] == ["0.08", "2", "41"]


def test_a_set_without_values_is_shown_too() -> None:
    assert ResultSet((Path("made"),), [])._repr_html_() == "<p>0 cells of 0 codecs: </p>"


def _set_of_curves() -> ResultSet:
    return ResultSet(
        (Path("made"),),
        [
            _made.cell(codec, clip, qp, 60.0 - qp + gain, 2000 - 40 * qp)
            for codec, gain in (("x264", 0.0), ("x265", 1.5))
            for clip in ("a", "b")
            for qp in (22, 27, 32)
        ],
    )


def test_the_curves_are_the_means_over_sequences() -> None:
    results = _set_of_curves()
    (axes,) = results.plot("psnr_y").axes
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert sorted(drawn) == ["x264", "x265"]
    assert list(drawn["x265"].get_ydata()) == [29.5, 34.5, 39.5]
    assert axes.get_ylabel().endswith("(dB)")


def test_a_notebook_shows_the_curves_above_the_table() -> None:
    page = _set_of_curves()._repr_html_()
    assert page.count("<svg") == 1
    assert page.index("<svg") < page.index("<table")
