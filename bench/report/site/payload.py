"""What the data of all pages share: names once in an index, numbers by position, texts that repeat once a file."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bd import FLAG_MARKS, FLAG_TEXTS, Cause
from bench.analysis.curves import SequenceKey
from bench.analysis.fooled import stricter
from bench.analysis.matrix import FLAGS
from bench.cards import draws
from bench.records.cell import CellResult
from bench.report.measured import Measured, dataset_text

DIGITS = 6
"""Significant digits of numbers on pages; the tables beside them have all."""


@dataclass
class Texts:
    """Texts by number, each kept once."""

    items: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """Number of a text, a new one if it was not there."""
        if text not in self._numbers:
            self._numbers[text] = len(self.items)
            self.items.append(text)
        return self._numbers[text]


def index(measured: Measured, title: str) -> dict[str, Any]:
    """What every page needs: the names, and what tells their kinds apart."""
    cells, published = measured.results.cells, measured.published
    by_codec: dict[str, CellResult] = {}
    kinds: dict[str, str] = {}
    loaded = {
        cell.codec.name for cell in cells for cost in (cell.encode, cell.decode) if cost and cost.timing == "shared"
    }
    for cell in cells:
        by_codec.setdefault(cell.codec.name, cell)
        if cell.codec.rate_kind != "bitstream":
            kinds[cell.codec.name] = cell.codec.rate_kind
    counts: dict[SequenceKey, int] = defaultdict(int)
    for cell in cells:
        counts[SequenceKey(cell.sequence.dataset, cell.sequence.name)] += 1
    datasets = {key.dataset for key in measured.records}
    return {
        "title": title,
        "means": (
            "BD-rate of the mean curves over the same sequences, by the protocol's convention"
            if measured.options.convention == "mean-curve"
            else "mean over the same sequences for all codecs, with the interval of 95 % confidence"
        ),
        "codecs": [
            {
                "name": name,
                "title": by_codec[name].codec.title if name in by_codec else published[name],
                "rate": "published" if name in published else kinds.get(name, "bitstream"),
                "loaded": name in loaded,
                "draws": name in by_codec and _may_trick(by_codec[name]),
                "look": asdict(measured.looks[name]),
            }
            for name in measured.codecs
        ],
        "metrics": [
            {
                **{"name": m.name, "label": m.short, "title": m.title, "unit": m.unit},
                **{
                    "better": m.direction,
                    "problem": m.problem,
                    "axisUnit": m.axis_unit,
                    "scale": m.scale,
                    "pooled": m.pooled,
                },
                **{"fooled": list(m.fooled), "stricter": stricter(m.name)},
            }
            for m in measured.metrics
        ],
        "flags": [{"mark": FLAG_MARKS[flag], "text": FLAG_TEXTS[flag]} for flag in FLAGS],
        "partial": FLAGS.index(Cause.PARTIAL),
        "scopes": [{"label": scope.label, "dataset": scope.dataset} for scope in measured.scopes],
        "first": next((n for n, scope in enumerate(measured.scopes) if scope.dataset in datasets), 0),
        "sequences": [
            {
                "name": key.sequence,
                "dataset": dataset_text(key.dataset),
                "scope": next(n for n, scope in enumerate(measured.scopes) if scope.dataset == key.dataset),
                "size": f"{record.width}×{record.height}",
                "frames": record.frames,
                "start": record.start,
                "fps": record.fps,
                "cells": counts[key],
            }
            for key, record in measured.records.items()
        ],
    }


def _may_trick(cell: CellResult) -> bool:
    """Whether the codec draws detail, or filters what it has decoded: what fools some metrics."""
    card = cell.codec.card
    return draws(cell.codec.kind, card.get("restores")) or bool(card.get("post_filters"))


def short(value: Any, digits: int = DIGITS) -> Any:
    """A number with that many significant digits; anything else as it is."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value


def rounded(table: NDArray[np.float64], digits: int = DIGITS) -> list[list[float | None]]:
    """A table with few digits, None for NaN."""
    form = f"%.{digits}g"
    return [[None if math.isnan(v) else float(form % v) for v in row] for row in table.tolist()]
