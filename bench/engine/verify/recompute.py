"""What of a stored result can be computed again from the result itself, without decoding: where it contradicts itself.

A value that was written by hand, by a faulty program or by another definition shows here: it lies beyond its metric's
bounds, is not what the values of the frames give, or is not that of the key. What only a decode can tell is for
``vcbench verify``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.engine.plan import cell_key
from bench.engine.verify.origin import stored_card, stored_clip_identity, stored_format
from bench.errors import UnavailableError, UnknownNameError, UsageError
from bench.metrics.base import Metric, Values, pool
from bench.metrics.fidelity import Psnr
from bench.records.cell import CellResult, CostRecord, MeasurementRecord
from bench.registry import metric_class

Frames = Mapping[str, npt.NDArray[Any]]

_SPREAD = frozenset(("standard_deviation", "samples", "static_share", "source_mean"))
"""Pooled values that are no values of the metric."""


def contradictions(cell: CellResult, frames: Frames) -> Iterator[str]:
    """What of a cell contradicts the rest of it; ``frames`` are its per-frame values by metric, NaN for none."""
    if cell.status == "ok":
        yield from _of_key(cell)
        for name, cost in (("encode", cell.encode), ("decode", cell.decode)):
            yield from _of_cost(name, cost)
        if cell.bitstream is not None and cell.bitstream.contents:
            total = sum(cell.bitstream.contents.values())
            if total != cell.bitstream.bytes:
                yield f"bitstream.contents add up to {total} bytes, the bitstream has {cell.bitstream.bytes}"
        if cell.decoded is not None and cell.decoded.frames != cell.sequence.frames:
            yield f"decoded.frames is {cell.decoded.frames}, the sequence has {cell.sequence.frames}"
    for name, measured in cell.measurements.items():
        yield from (f"{name}: {problem}" for problem in _of_measurement(cell, name, measured, frames.get(name)))
    yield from _of_planes(frames)


def _of_key(cell: CellResult) -> Iterator[str]:
    try:
        card = stored_card(cell.codec)
    except ValueError:  # another vcbench's card
        return
    if cell_key(card, cell.codec.tool, cell.rate.value, stored_clip_identity(cell.sequence)) != cell.key:
        yield "its key is not that of its card, tool, rate and sequence: one of them was changed after it was measured"


def _of_cost(name: str, cost: CostRecord | None) -> Iterator[str]:
    if cost is None:
        yield f"{name} is missing, although the cell is ok"
    elif cost.seconds <= 0 or cost.peak_rss_bytes <= 0:
        yield f"{name}.seconds is {cost.seconds:g} and peak_rss_bytes {cost.peak_rss_bytes}; both are above 0"


def _of_measurement(
    cell: CellResult, name: str, measured: MeasurementRecord, frames: npt.NDArray[Any] | None
) -> Iterator[str]:
    if (measured.status == "ok") != (measured.value is not None):
        yield f"its status is {measured.status} and its value {measured.value}; only the status ok has a value"
    kind = _kind(name)
    if kind is not None:
        pooled = {f"pooled {key}": value for key, value in measured.pooled.items() if key not in _SPREAD}
        yield from _outside(kind, {"value": measured.value, **pooled})
        if frames is not None:
            yield from _outside(kind, {f"frame {index}": float(value) for index, value in enumerate(frames)})
    headline = measured.pooled.get(str(measured.provenance.get("pooling")))
    if None not in (measured.value, headline) and measured.value != headline:
        yield f"its value is {measured.value:g}, pooled {measured.provenance['pooling']} is {headline:g}"
    if frames is None or not len(frames) or measured.status != "ok":
        return
    values: Values = [None if math.isnan(value) else float(value) for value in frames]
    again = _pooled(cell, kind, values) if any(value is not None for value in values) else {}
    for key, value in again.items():
        if key in measured.pooled and not _alike(value, measured.pooled[key]):
            yield f"pooled {key} is {measured.pooled[key]:.6g}, the values of the frames give {value:.6g}"


def _pooled(cell: CellResult, kind: type[Metric] | None, values: Values) -> dict[str, float]:
    if kind is not None and issubclass(kind, Psnr):  # with what only this family pools
        return kind(stored_format(cell.sequence)).pool(values)
    return pool(values)


def _of_planes(frames: Frames) -> Iterator[str]:
    """The weighted PSNR of three planes, frame by frame."""
    names = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv")
    if not all(name in frames and len(frames[name]) for name in names):
        return
    y, u, v, weighted = (np.asarray(frames[name], dtype=np.float64) for name in names)
    expected = (6 * y + u + v) / 8
    wrong = [at for at, pair in enumerate(zip(expected, weighted, strict=True)) if not _alike(*map(float, pair))]
    if wrong:
        at = wrong[0]
        yield f"psnr_yuv: frame {at} is {weighted[at]:.6g}, its planes give {expected[at]:.6g}" + _more(wrong)


def _outside(kind: type[Metric], values: Mapping[str, float | None]) -> Iterator[str]:
    low, high = kind.bounds
    slack = 1e-6
    wrong = [
        (name, value)
        for name, value in values.items()
        if value is not None
        and ((low is not None and value < low - slack) or (high is not None and value > high + slack))
    ]
    if wrong:
        name, value = wrong[0]
        text = f"{'-inf' if low is None else f'{low:g}'} to {'inf' if high is None else f'{high:g}'}"
        yield f"{name} is {value:g}, outside of the metric's range ({text})" + _more(wrong)


def _more(wrong: list[Any]) -> str:
    return f"; {len(wrong) - 1} more" if len(wrong) > 1 else ""


def _kind(name: str) -> type[Metric] | None:
    try:
        return metric_class(name)
    except (UnavailableError, UnknownNameError, UsageError):
        return None  # of a plug-in or a library that is not here


def _alike(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))
