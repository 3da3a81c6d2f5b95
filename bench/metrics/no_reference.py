"""Metrics of one frame alone, with the source's own score beside the decoded one's."""

from __future__ import annotations

from abc import abstractmethod

from bench.metrics.base import FramePair, Metric, Values, pool
from bench.video.formats import VideoFormat
from bench.video.frame import Frame


class NoReferenceMetric(Metric):
    """A metric that looks at decoded frames alone.

    Its scores are understood only beside those of the source, whose mean is the pooled value ``source_mean``: taken
    once for all cells measured together.
    """

    shares_reference = True
    fidelity = False

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._source: Values = []

    @abstractmethod
    def score(self, frame: Frame) -> float | None:
        """Value of a frame; None where there is none."""

    def update(self, pair: FramePair) -> float | None:
        self._source.append(pair.reference.derived((self.name, "score"), lambda: self.score(pair.reference)))
        return self.score(pair.distorted)

    def pool(self, values: Values) -> dict[str, float]:
        pooled = super().pool(values)
        if any(value is not None for value in self._source):
            pooled["source_mean"] = pool(self._source)["mean"]
        return pooled
