"""Result sets made up for the gate: everything in them is set by hand, so that every verdict is known beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.records.cell import CellResult
from bench.results.result_set import ResultSet

RATES = (22, 27, 32, 37)

Made = Callable[..., ResultSet]


def cell(
    codec: str, clip: str, rate: float, quality: float | None, size: int, seconds: float = 1.0, **changed: Any
) -> CellResult:
    """One measured cell; ``changed`` replaces parts of it (status, sequence, measurements ...)."""
    digest = hashlib.sha256(f"{codec} {clip} {rate} {quality} {size}".encode()).hexdigest()
    cost = {"seconds": seconds, "cpu_s": seconds, "peak_rss_bytes": 1000, "timing": "alone"}
    psnr = {
        "key": "d" * 64,
        "status": "ok" if quality is not None else "undefined",
        "value": quality,
        "reason": "too dark",
    }
    made: dict[str, Any] = {
        "name": f"{codec}_{rate:g}_{clip}",
        "key": digest,
        "status": "ok",
        "codec": {"name": codec, "title": codec, "kind": "classical", "rate_kind": "bitstream", "card": {}, "tool": {}},
        "rate": {"parameter": "qp", "value": rate},
        "sequence": {
            **{"name": clip, "dataset": "input", "file": f"{clip}.y4m", "sha256": "0" * 64, "start": 0},
            **{"frames": 10, "width": 100, "height": 100, "fps": "25", "pix_fmt": "yuv420p", "matrix": "bt709"},
            **{"full_range": False, "siting": "left", "conversion": None},
        },
        "bitstream": {"file": "b.bin", "bytes": size, "sha256": digest},
        "encode": cost,
        "decode": cost,
        "measurements": {"psnr_y": psnr},
        "provenance": {"cpu": "one"},
    }
    for key, value in changed.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) and key in made else value
    return CellResult.model_validate(made)


@pytest.fixture
def make() -> Made:
    """Factory of result sets: ``make({"a": 1.01})`` is codec x265 on sequence a with 1 % more bytes at each rate."""

    def build(factors: Mapping[str, float], *, codec: str = "x265", seconds: float = 1.0, **changed: Any) -> ResultSet:
        cells = [
            cell(codec, name, rate, 62.0 - 0.8 * rate, round(factor * 2_000_000 * 2 ** (-rate / 6)), seconds, **changed)
            for name, factor in factors.items()
            for rate in RATES
        ]
        return ResultSet((Path("made"),), cells)

    return build
