"""The one grid of pages and papers: its values are those of `compare`, by the protocol's convention too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.analysis.compare import compare
from bench.records.cell import CellResult
from bench.report.grid import Grid
from bench.report.measured import Measured, Scope
from bench.report.paper.document import PaperOptions, build_paper
from bench.results.result_set import ResultSet

Cells = Callable[..., list[CellResult]]


def results(curve: Cells, protocol: str | None) -> ResultSet:
    """Two sequences of unlike rates and gains, so that conventions differ."""
    how = {"provenance": {"vcbench": "0.1.0", "protocol": protocol} if protocol else None}
    cells = [
        *curve("x265", "one", scale=1, **how), *curve("x264", "one", scale=1.5, **how),
        *curve("x265", "two", scale=6, shift=3, **how), *curve("x264", "two", scale=7, shift=3.1, **how),
    ]  # fmt: skip
    return ResultSet((Path("results/run"),), cells)


@pytest.mark.parametrize(
    ("protocol", "convention"), [(None, "per-sequence"), ("jvet-ra", "per-sequence"), ("dcvc", "mean-curve")]
)
def test_the_grid_has_the_protocols_convention(curve: Cells, protocol: str | None, convention: str) -> None:
    found = results(curve, protocol)
    measured = Measured.of(found)
    grid = Grid.of(measured, measured.metrics[0])
    anchor, test = measured.codecs.index("x265"), measured.codecs.index("x264")
    both = {
        name: compare(found.to_pandas(), "x265", "x264", "psnr_y", convention=name)
        for name in ("per-sequence", "mean-curve")
    }
    assert both["per-sequence"].bd_rate.value != pytest.approx(both["mean-curve"].bd_rate.value, abs=1)
    for scope in (Scope("set"), *measured.scopes):
        summary = grid.over(scope)["quality"][anchor][test]
        assert summary.value == pytest.approx(both[convention].bd_rate.value)
        assert (summary.used, summary.total) == (2, 2)
        metric = grid.over(scope)["rate"][anchor][test]
        assert metric.value == pytest.approx(both[convention].bd_metric.value)


@pytest.mark.parametrize(
    ("protocol", "said"), [(None, "mean over sequences"), ("dcvc", "of the mean curves over the sequences")]
)
def test_the_paper_says_which(curve: Cells, tmp_path: Path, protocol: str | None, said: str) -> None:
    build_paper(results(curve, protocol), tmp_path / "paper", PaperOptions())
    assert said in (tmp_path / "paper" / "captions.md").read_text()
