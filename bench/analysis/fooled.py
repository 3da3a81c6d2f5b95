"""Which metrics reward what helps no viewer, as `vcbench controls` found, and leads that rest on them alone."""

from __future__ import annotations

from collections.abc import Mapping

FOOLED: Mapping[str, tuple[str, ...]] = {
    "vmaf": ("sharpen",),
    "vmaf_neg": ("sharpen",),
    "vmaf_v1": ("sharpen",),
    "cambi": ("grain",),
    "niqe": ("grain", "sharpen", "filter"),
    "ewarp": ("blur", "filter"),
    "flicker": ("blur", "filter"),
    "stlpips": ("grain",),
    "kd_squeezenet": ("freeze",),
}
"""Tricks by the metrics they fool, on the embedded dataset coded by x265 (docs/reference/metrics.md, Controls)."""


def fooled_by(metric: str) -> tuple[str, ...]:
    """Tricks that fool a metric, or the one that it is a variant of where it was not tried itself."""
    return FOOLED.get(metric, FOOLED.get(metric.partition(":")[0], ()))


def resting_on(leads: Mapping[str, bool]) -> tuple[str, ...]:
    """Metrics that a lead rests on, if each of them can be fooled; none where another metric shows the lead too.

    ``leads``: by metric, whether a codec is ahead of the anchor in it.
    """
    ahead = [metric for metric, leading in leads.items() if leading]
    return tuple(ahead) if ahead and all(map(fooled_by, ahead)) else ()
