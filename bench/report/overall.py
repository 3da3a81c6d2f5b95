"""The curves over all sequences of a dataset: which sequences they are over, and what they leave out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from bench.analysis.curves import RDCurve, SequenceKey, mean_curve
from bench.analysis.pooled import OVER_DATASET
from bench.records.published import AS_PUBLISHED
from bench.report.measured import MetricFacts
from bench.report.paper.figures import can_draw


class OverallCurves(ABC):
    """The curves over all sequences of a dataset. `what` stands in the list of gaps."""

    what: ClassVar[str]
    curves: Mapping[str, RDCurve]

    @abstractmethod
    def left_out(self) -> Iterator[Mapping[str, Any]]:
        """What the curves lack: codec, sequence or rate, status and reason."""

    @abstractmethod
    def caption(self, metric: MetricFacts) -> tuple[str, ...]:
        """Sentences on what the curves are over, and what a point is."""

    def absent(self, codecs: Iterable[str]) -> list[str]:
        """The codecs that have no curve to draw."""
        return sorted(name for name in codecs if name not in self.curves or not can_draw(self.curves[name]))


class MeanCurves(OverallCurves):
    """Mean curves, all over the same sequences.

    A codec that has less than half of what the others have in common is left out, so that it does not take the other
    sequences from them. Published curves, which have no sequences, stand beside the means as they are.
    """

    what = "mean curve in the figure"

    def __init__(self, found: Sequence[RDCurve], codecs: Sequence[str]) -> None:
        published = {curve.codec: curve for curve in found if curve.published}
        found = [curve for curve in found if curve.codec not in published]
        self._found = found
        self._own = {name: mean_curve(c for c in found if c.codec == name) for name in {c.codec for c in found}}
        self._common: set[SequenceKey] = set()
        averaged: list[str] = []
        for name in sorted(self._own, key=lambda name: (-len(self._own[name].used), codecs.index(name))):
            used = set(self._own[name].used)
            both = self._common & used if averaged else used
            if both and 2 * len(both) >= len(self._common):
                self._common, averaged = both, [*averaged, name]
        means = {name: mean_curve(c for c in found if c.codec == name and c.key in self._common) for name in averaged}
        drawn = published | {name: mean.curve for name, mean in means.items()}
        self.curves = {name: drawn[name] for name in sorted(drawn, key=codecs.index)}

    @property
    def common(self) -> frozenset[SequenceKey]:
        """The sequences that the means are over."""
        return frozenset(self._common)

    def left_out(self) -> Iterator[Mapping[str, Any]]:
        for curve in self._found:
            if curve.codec not in self.curves or curve.key not in self._common:
                reason = self._own[curve.codec].left_out.get(curve.key) or (
                    "another codec lacks it"
                    if curve.codec in self.curves
                    else "the codec lacks most of the other sequences"
                )
                yield {"codec": curve.codec, "sequence": curve.sequence, "status": "left out", "reason": reason}

    def caption(self, metric: MetricFacts) -> tuple[str, ...]:
        if not self._found:
            return (f"curves {AS_PUBLISHED}",)
        every = {curve.key for curve in self._found}
        names = f" ({', '.join(sorted(key.sequence for key in self._common))})" if len(self._common) <= 10 else ""
        over = f"mean curves over {count_sequences(len(self._common), len(every))}{names}"
        if len(self._common) < len(every):
            over += ", those on which every codec shown has all of its rate points"
        absent = self.absent(self._own)
        capped = metric.cap is not None and any(math.isinf(q) for c in self._found for q in c.qualities)
        return (
            over,
            "A point is one rate point of the codec: the arithmetic mean of rates and of qualities over the sequences",
            f"Not drawn, because these sequences are missing: {', '.join(absent)}" if absent else "",
            f"Infinite qualities count by the metric's cap of {metric.cap:g} {metric.axis_unit}" if capped else "",
            in_db(metric),
        )


class DatasetCurves(OverallCurves):
    """Curves of values that are of the dataset as a whole."""

    what = f"value {OVER_DATASET}"

    def __init__(self, found: Iterable[RDCurve]) -> None:
        self.curves = {curve.codec: curve for curve in found}

    def left_out(self) -> Iterator[Mapping[str, Any]]:
        for curve in self.curves.values():
            for point in curve.excluded:
                yield {"codec": curve.codec, "rate": point.label, "status": point.status, "reason": point.reason}

    def caption(self, metric: MetricFacts) -> tuple[str, ...]:
        absent = self.absent(self.curves)
        return (
            f"curves of values {OVER_DATASET}",
            "A point is one rate point of the codec: the value of the frames of all sequences as one set, not a mean of"
            " the sequences' values, and the arithmetic mean of their rates",
            f"Not drawn, because values are missing: {', '.join(absent)}" if absent else "",
            in_db(metric),
        )


def in_db(metric: MetricFacts) -> str:
    """A sentence for curves that are not in the unit of the metric's values."""
    return f"{metric.title} is drawn in dB, −10 log10(1 − value)" if metric.scale == "db" else ""


def count_sequences(count: int, total: int | None = None) -> str:
    """How many sequences, "2 of 3 sequences" where these are not all."""
    if total is not None and total != count:
        return f"{count} of {total} sequences"
    return "1 sequence" if count == 1 else f"{count} sequences"
