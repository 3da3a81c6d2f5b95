"""What plug-ins are held to, for their authors to run: ``check_metric`` and ``check_codec``."""

from bench.conformance.codec import Check, check_codec
from bench.conformance.material import clip
from bench.conformance.metric import FORMATS, MAX_HELD, NOISE, USUAL, Finding, check_metric

__all__ = ["FORMATS", "MAX_HELD", "NOISE", "USUAL", "Check", "Finding", "check_codec", "check_metric", "clip"]
