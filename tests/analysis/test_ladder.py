"""Ladders: a codec's curve is the hull over its sizes."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.bd import Cause, bd_rate
from bench.analysis.compare import compare
from bench.analysis.curves import curves, mean_curve
from bench.analysis.ladder import rungs, rungs_text

# Of a small size quality is bounded; of the full size bits are dear at low rates.
SIZES = {1.0: (26.0, 44.0, 0.06), 0.5: (26.0, 37.0, 0.02)}
QPS = (22, 27, 32, 37, 42)


def points(sequence: int, scale: float) -> list[tuple[int, float, float]]:
    floor, ceiling, knee = SIZES[scale]
    rates = [(0.4 if scale == 1 else 0.12) * 0.55 ** ((qp - 22) / 5) * (1 + 0.1 * sequence) for qp in QPS]
    return [(qp, r, floor + (ceiling - floor) * r / (r + knee)) for qp, r in zip(QPS, rates, strict=True)]


def table(metric: str = "psnr_y", *, sign: float = 1) -> pd.DataFrame:
    shared: dict[str, Any] = {
        **{"dataset": "cif", "frames": 10, "width": 64, "height": 64, "fps": 25.0, "bytes": 1, "kbps": 1.0},
        **{"rate_kind": "bitstream", "metric": metric, "status": "ok", "reason": None, "encode_s": 1.0},
        "decode_s": 1.0,
    }
    rows = [
        {
            **shared,
            "codec": codec,
            "sequence": f"s{s}",
            "rate": qp,
            "bpp": more * bpp,
            "value": sign * v,
            "scale": scale,
        }
        for codec, more, scales in (("ladder", 1.0, SIZES), ("anchor", 1.1, {1.0: ()}))
        for s in range(3)
        for scale in scales
        for qp, bpp, v in points(s, scale)
    ]
    return pd.DataFrame(rows)


def between(found: list[tuple[int, float, float]]) -> list[tuple[float, float]]:
    """One size's curve: its points, and seven between each two, evenly spaced in log rate and in quality."""
    plane = [(r, q) for _, r, q in sorted(found, key=lambda point: point[1])]
    ways = [
        (left[0] ** (1 - t) * right[0] ** t, left[1] * (1 - t) + right[1] * t)
        for left, right in pairwise(plane)
        for t in (k / 8 for k in range(1, 8))
    ]
    return sorted([*plane, *ways])


def on_hull(plane: list[tuple[float, float]]) -> set[tuple[float, float]]:
    """By definition: points that nothing dominates and that no chord of two others passes above."""
    kept = set()
    for rate, quality in plane:
        dominated = any(r <= rate and q >= quality and (r, q) != (rate, quality) for r, q in plane)
        below = any(
            left[0] < rate < right[0]
            and left[1] + (right[1] - left[1]) * (rate - left[0]) / (right[0] - left[0]) > quality + 1e-12
            for left, right in combinations(sorted(plane), 2)
        )
        if not dominated and not below:
            kept.add((rate, quality))
    return kept


@pytest.mark.parametrize("sign", [1, -1])
def test_the_curve_is_the_hull_of_all_sizes(sign: int) -> None:
    metric = "psnr_y" if sign == 1 else "lpips_alex"
    for sequence in range(3):
        curve = curves(table(metric, sign=sign), metric)["ladder", "cif", f"s{sequence}"]
        every = {(r, q) for scale in SIZES for _, r, q in points(sequence, scale)}
        hull = on_hull([point for scale in SIZES for point in between(points(sequence, scale))])
        assert {(p.rate, sign * p.quality) for p in curve.points} == hull & every
        assert {(p.rate, sign * p.quality) for p in curve.under} == every - hull
        assert curve.is_ladder and len(hull) > len(every)
        rates, qualities = curve.delta_points
        assert np.stack([rates, sign * qualities], axis=1) == pytest.approx(np.array(sorted(hull)))


def test_bd_rate_is_that_of_the_hulls() -> None:
    found = compare(table(), "anchor", "ladder", "psnr_y")
    for s, result in enumerate(found.per_sequence):
        hull = np.array(sorted(on_hull([p for scale in SIZES for p in between(points(s, scale))])))
        anchor = np.array(sorted((1.1 * r, q) for _, r, q in points(s, 1.0)))
        expected = bd_rate(anchor[:, 0], anchor[:, 1], hull[:, 0], hull[:, 1], cap=99.9)
        assert result.bd_rate.value == pytest.approx(expected.value)


def test_mean_curves_are_hulls_of_mean_points() -> None:
    """Each size's point at a QP is averaged over the sequences before the hull is taken."""
    means = [
        [
            (
                0,
                float(np.mean([points(s, scale)[k][1] for s in range(3)])),
                float(np.mean([points(s, scale)[k][2] for s in range(3)])),
            )
            for k in range(len(QPS))
        ]
        for scale in SIZES
    ]
    corners = on_hull([point for size in means for point in between(size)])
    mean = mean_curve(c for c in curves(table(), "psnr_y").values() if c.codec == "ladder")
    assert {(round(p.rate, 9), round(p.quality, 9)) for p in mean.curve.points} == {
        (round(r, 9), round(q, 9)) for size in means for _, r, q in size if (r, q) in corners
    }
    hull = np.array(sorted(corners))
    anchor = np.mean([[(1.1 * r, q) for _, r, q in points(s, 1.0)] for s in range(3)], axis=0)
    expected = bd_rate(anchor[:, 0], anchor[:, 1], hull[:, 0], hull[:, 1], cap=99.9)
    found = compare(table(), "anchor", "ladder", "psnr_y", convention="mean-curve")
    assert found.bd_rate.value == pytest.approx(expected.value)


def test_rungs_say_where_each_size_wins() -> None:
    curve = curves(table(), "psnr_y")["ladder", "cif", "s0"]
    small, large = rungs(curve)
    assert (small.scale, large.scale) == (0.5, 1.0)
    assert small.high < large.low
    assert small.points + large.points == len(curve.points)
    assert rungs_text([small, large]) == f"0.5x to {small.high:.3g}, 1x from {large.low:.3g}"
    assert rungs(curves(table(), "psnr_y")["anchor", "cif", "s0"]) == []


def test_a_hull_of_few_measured_points_is_doubted() -> None:
    frame = table()
    kept = (frame.scale == 1) & frame.rate.isin([22, 27]) | (frame.scale == 0.5) & (frame.rate == 42)
    few = frame[(frame.codec == "anchor") | kept]
    (first, *_) = compare(few, "anchor", "ladder", "psnr_y").per_sequence
    assert first.bd_rate.value is not None and Cause.THREE_POINTS in first.bd_rate.flags
    assert "ladder: its sizes' hull has 3 of the measured points; four or more are safer" in first.bd_rate.notes


def test_a_table_without_sizes_is_no_ladder() -> None:
    frame = table()
    curve = curves(frame[frame.codec == "anchor"].drop(columns="scale"), "psnr_y")["anchor", "cif", "s0"]
    assert not curve.is_ladder and curve.under == ()
    assert [p.label for p in curve.points] == ["42", "37", "32", "27", "22"]
