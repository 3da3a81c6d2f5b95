"""Names of quality axes, and values on them."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.compare import compare
from bench.analysis.curves import curves
from bench.analysis.quality import QualityAxis
from bench.errors import UnknownNameError, UsageError

RATES = np.array([0.05, 0.1, 0.2, 0.4])
PSNR = np.array([31.0, 34.0, 37.0, 40.0])


def rows(codec: str, qualities: Any, metric: str = "psnr_y") -> list[dict[str, Any]]:
    """The cells of one codec on one sequence."""
    cell = {"codec": codec, "dataset": "", "sequence": "a", "frames": 9, "width": 8, "height": 8, "fps": 30.0}
    cell |= {"rate_kind": "bitstream", "metric": metric, "status": "ok"}
    cell |= dict.fromkeys(("reason", "encode_s", "decode_s"))
    return [
        cell | {"rate": str(rate), "bpp": rate, "kbps": rate, "value": value}
        for rate, value in zip(RATES, qualities, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "metric", "pooling", "scale"),
    [
        ("psnr_y", "psnr_y", None, "linear"),
        ("ssim", "ssim", None, "db"),
        ("ms_ssim:rgb:dcvc", "ms_ssim:rgb:dcvc", None, "db"),
        ("ssim:linear", "ssim", None, "linear"),
        ("ms_ssim:rgb:db", "ms_ssim:rgb", None, "db"),
        ("vmaf@p5", "vmaf", "p5", "linear"),
        ("psnr_y@min", "psnr_y", "minimum", "linear"),
        ("ssim@harmonic:linear", "ssim", "harmonic_mean", "linear"),
        ("ssim:db@p1", "ssim", "p1", "db"),
        ("LPIPS of a paper", "LPIPS of a paper", None, "linear"),
    ],
)
def test_a_name_says_metric_pooling_and_scale(name: str, metric: str, pooling: str | None, scale: str) -> None:
    axis = QualityAxis.parse(name)
    assert (axis.name, axis.metric, axis.pooling, axis.scale) == (name, metric, pooling, scale)


def test_what_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="pooling of vmaf 'p7'; "):
        QualityAxis.parse("vmaf@p7")
    with pytest.raises(UsageError, match="psnr_y has no scale in dB"):
        QualityAxis.parse("psnr_y:db")


def test_a_similarity_in_db() -> None:
    axis = QualityAxis.parse("ssim")
    assert [axis.of(value) for value in (0.9, 0.99, 1.0)] == pytest.approx([10, 20, math.inf])
    assert (axis.unit, axis.cap, axis.saturation) == ("dB", 99.9, None)
    assert QualityAxis.parse("vmaf").saturation == 99.5


def test_bd_rate_by_ssim_is_taken_in_db_unless_the_name_says_otherwise() -> None:
    """Of a test that is better by 1 dB of SSIM throughout."""
    similarity = 1 - 10 ** (-PSNR / 10)
    frame = pd.DataFrame(rows("anchor", similarity, "ssim") + rows("test", 1 - 10 ** (-(PSNR + 1) / 10), "ssim"))
    assert compare(frame, "anchor", "test", "ssim").bd_metric.value == pytest.approx(1)
    assert compare(frame, "anchor", "test", "ssim:db").bd_metric.value == pytest.approx(1)
    linear = compare(frame, "anchor", "test", "ssim:linear")
    assert 0 < (linear.bd_metric.value or 0) < 1e-3
    assert next(iter(curves(frame, "ssim").values())).qualities == pytest.approx(PSNR)


def test_a_pooling_is_a_column_of_the_table() -> None:
    cells = rows("anchor", PSNR) + rows("test", PSNR)
    frame = pd.DataFrame([cell | {"p5": cell["value"] - (2 if cell["codec"] == "test" else 1)} for cell in cells])
    assert compare(frame, "anchor", "test", "psnr_y@p5").bd_metric.value == pytest.approx(-1)
    with pytest.raises(UsageError, match="lacks the column minimum; load it with to_pandas"):
        compare(frame, "anchor", "test", "psnr_y@min")
