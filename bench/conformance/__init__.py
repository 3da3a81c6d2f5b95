"""What plug-ins are held to, for their authors to run: ``check_metric`` and ``check_codec``."""

from bench.conformance._codec import Check, check_codec
from bench.conformance._material import clip
from bench.conformance._metric import FORMATS, MAX_HELD, NOISE, USUAL, Finding, check_metric

__all__ = ["FORMATS", "MAX_HELD", "NOISE", "USUAL", "Check", "Finding", "check_codec", "check_metric", "clip"]
