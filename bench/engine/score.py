"""Score a video file that exists already against its source."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.engine.measure import check_format, measure
from bench.errors import MismatchError
from bench.metrics.base import Measurement
from bench.paths import local_path
from bench.process import cpu_count
from bench.registry import DEFAULT_METRICS, metric_class
from bench.video.frame import CodingTransform
from bench.video.sequence import open_sequence


def score(
    reference: str | Path,
    distorted: str | Path,
    metrics: Iterable[str] = DEFAULT_METRICS,
    *,
    input_format: Mapping[str, Any] | None = None,
) -> list[Measurement]:
    """Measure a file frame by frame against its source, by index, never by timestamp.

    ``input_format`` has size, pix_fmt and fps where either is raw. Raises MismatchError, naming the file, unless frame
    count, size and format are equal; MediaError for a file that cannot be read; UnknownNameError for a metric.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    kinds = [metric_class(name) for name in names]
    settings = dict(input_format or {})
    source, other = (open_sequence(local_path(path), **settings) for path in (reference, distorted))
    try:
        check_format(other.format, source.format)
        with tempfile.TemporaryDirectory() as folder:
            transform = CodingTransform(source.format, source.format)
            return measure(source.read(), other.read(), kinds, transform, Path(folder), threads=cpu_count())
    except MismatchError as error:
        raise MismatchError(error.reason, f"{distorted} against {reference}: {error}") from None
