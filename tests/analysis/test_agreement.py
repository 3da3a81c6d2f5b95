"""The order of rates, and scores of people: closed forms, scipy, and what a user may get wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from bench.analysis.agreement import agreement, matched, order_kept, read_scores
from bench.errors import UsageError

RATES = (20.0, 26.0, 32.0, 38.0)


@pytest.fixture
def cells(make_cell: Callable[..., Any]) -> list[Any]:
    """Three sequences; ssim falls with the rate parameter as it should, niqe (lower is better) turns round once."""
    found = []
    for number in range(3):
        for step, rate in enumerate(RATES):
            niqe = (3.0, 5.0, 4.0, 6.0)[step] + number
            found.append(
                make_cell(f"clip{number}", rate, 4000 >> step, ssim=0.99 - 0.02 * step - 0.01 * number, niqe=niqe)
            )
    return found


@pytest.fixture
def make_cell() -> Callable[..., Any]:
    from bench.records.cell import CellResult

    def make(sequence: str, rate: float, size: int, **values: float) -> Any:
        measurements = {
            name: {"status": "ok", "value": value, "pooled": {"mean": value}, "key": "0" * 64}
            for name, value in values.items()
        }
        return CellResult.model_construct(
            name="cell", status="ok", codec=_Named("x265"), rate=_Rate(rate), sequence=_Sequence("", sequence),
            bitstream=_Stream(size), measurements={name: _Value(m["value"]) for name, m in measurements.items()},
        )  # fmt: skip

    return make


class _Named:
    rate_kind = "bitstream"
    card: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        self.name = name


class _Rate:
    def __init__(self, value: float) -> None:
        self.value = value


class _Sequence:
    def __init__(self, dataset: str, name: str) -> None:
        self.dataset, self.name = dataset, name


class _Stream:
    contents: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, size: int) -> None:
        self.bytes = size


class _Value:
    def __init__(self, value: float) -> None:
        self.value = value


def test_order_counts_pairs_and_what_goes_down(cells: list[Any]) -> None:
    niqe, ssim = order_kept(cells)
    assert (ssim.metric, ssim.kept, ssim.reversal, ssim.pairs, ssim.curves) == ("ssim", 1.0, 0.0, 18, 3)
    # of six pairs one is the wrong way round; of 5 units of movement one goes down
    assert (niqe.metric, niqe.kept) == ("niqe", pytest.approx(5 / 6))
    assert niqe.reversal == pytest.approx(1 / 5)
    assert (niqe.interval.low, niqe.interval.high) == (pytest.approx(5 / 6), pytest.approx(5 / 6))
    assert [order.metric for order in order_kept(cells, ["ssim"])] == ["ssim"]


def test_a_tie_counts_half_and_one_rate_nothing(make_cell: Callable[..., Any]) -> None:
    (order,) = order_kept([make_cell("clip", 20, 200, ssim=0.9), make_cell("clip", 26, 100, ssim=0.9)])
    assert order.kept == 0.5
    assert order_kept([make_cell("clip", 20, 200, ssim=0.9)]) == []


def test_correlations_are_scipys(cells: list[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mos = [4.5 - 0.8 * RATES.index(cell.rate.value) + 0.2 * rng.standard_normal() for cell in cells]
    rows = [f"{c.sequence.name},x265,{c.rate.value},{m},0.3" for c, m in zip(cells, mos, strict=True)]
    (tmp_path / "mos.csv").write_text("Sequence,codec,rate,MOS,interval\n" + "\n".join([*rows, "lost,x265,20,3,"]))
    pairs, lost = matched(cells, read_scores(tmp_path / "mos.csv"))
    assert [score.sequence for score in lost] == ["lost"]
    niqe, ssim = agreement(pairs)
    values = [cell.measurements["ssim"].value for cell in cells]
    assert ssim.across["spearman"].value == pytest.approx(spearmanr(values, mos).statistic)
    assert ssim.across["kendall"].value == pytest.approx(kendalltau(values, mos).statistic)
    low, high = ssim.across["spearman"].interval.low, ssim.across["spearman"].interval.high
    assert low is not None and high is not None and low <= ssim.across["spearman"].value <= high
    # a rising curve of four parameters lies nearer than the best line
    line = np.polyval(np.polyfit(values, mos, 1), values)
    assert ssim.across["rmse"].value <= np.sqrt(np.mean((line - np.array(mos)) ** 2)) + 1e-6
    own = [spearmanr(values[i : i + 4], mos[i : i + 4]).statistic for i in (0, 4, 8)]
    assert ssim.within["spearman"].value == pytest.approx(np.mean(own))
    assert ssim.noise == pytest.approx(0.3)
    negative = [-cell.measurements["niqe"].value for cell in cells]
    assert niqe.across["spearman"].value == pytest.approx(spearmanr(negative, mos).statistic)
    assert (niqe.points, niqe.sequences) == (12, 3)


def test_a_metric_that_falls_as_scores_rise_is_fitted_by_no_falling_curve(cells: list[Any], tmp_path: Path) -> None:
    rows = [f"{cell.sequence.name},x265,{cell.rate.value},{RATES.index(cell.rate.value)}" for cell in cells]
    (tmp_path / "mos.csv").write_text("sequence,codec,rate,mos\n" + "\n".join(rows))
    pairs, _ = matched(cells, read_scores(tmp_path / "mos.csv"))
    ssim = agreement(pairs, ["ssim"])[0]
    assert (ssim.across["spearman"].value or 0) < -0.9
    assert (ssim.across["rmse"].value or 0) == pytest.approx(np.std([0, 1, 2, 3]), rel=0.05)
    assert ssim.noise is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no rows"),
        ("sequence,codec,rate\nclip0,x265,20\n", "lacks the column mos"),
        ("sequence,codec,rate,mos\nclip0,x265,20,good\n", "line 2: rate, mos and interval are numbers"),
        ("sequence,codec,rate,mos\nclip0,x265,20,nan\n", "line 2: rate and mos are finite"),
        ("sequence,codec,rate,mos\nclip0,x265,20,3\nclip0,x265,20,4\n", "two scores are of x265 at 20 on clip0"),
    ],
)
def test_wrong_files_are_refused_with_the_line(cells: list[Any], tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mos.csv").write_text(text)
    with pytest.raises(UsageError, match=says):
        matched(cells, read_scores(tmp_path / "mos.csv"))
