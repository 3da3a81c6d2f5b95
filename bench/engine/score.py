"""Score a video file that exists already against its source."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.engine.measure import check_format, measure
from bench.metrics.base import Measurement
from bench.registry import metric_class
from bench.video.frame import CodingTransform
from bench.video.sequence import open_sequence


def score(
    reference: Path, distorted: Path, metrics: Iterable[str], *, input_format: Mapping[str, Any] | None = None
) -> list[Measurement]:
    """Measure a file frame by frame against its source, by index, never by timestamp.

    ``input_format`` has size, pix_fmt and fps where either is raw. Raises MismatchError unless frame count, size and
    format are equal.
    """
    settings = dict(input_format or {})
    source, other = open_sequence(reference, **settings), open_sequence(distorted, **settings)
    check_format(other.format, source.format)
    with tempfile.TemporaryDirectory() as folder:
        return measure(
            source.read(),
            other.read(),
            [metric_class(name) for name in metrics],
            CodingTransform(source.format, source.format),
            Path(folder),
        )
