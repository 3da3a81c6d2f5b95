"""Which metrics reward what helps no viewer, as `vcbench controls` found, and leads that rest on them alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from bench.analysis.significance import Interval

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
    """Tricks that fool a metric, or the one that it is a variant or a pooling of where it was not tried itself."""
    return FOOLED.get(metric, FOOLED.get(re.split("[:@]", metric)[0], ()))


def stricter(metric: str) -> str | None:
    """The metric made to give a trick no gain where this one does: VMAF NEG of VMAF; None for others."""
    found = re.fullmatch(r"vmaf((?:[:@].*)?)", metric)
    return f"vmaf_neg{found[1]}" if found else None


def resting_on(leads: Mapping[str, bool]) -> tuple[str, ...]:
    """Metrics that a lead rests on, if each of them can be fooled; none where another metric shows the lead too.

    ``leads``: by metric, whether a codec is ahead of the anchor in it.
    """
    ahead = [metric for metric, leading in leads.items() if leading]
    return tuple(ahead) if ahead and all(map(fooled_by, ahead)) else ()


class Rated(Protocol):
    """A BD-rate in per cent with its interval."""

    @property
    def value(self) -> float | None:
        """Below 0 where the codec takes fewer bits than the anchor."""

    @property
    def interval(self) -> Interval:
        """None at its ends where there is none."""


def resting_lead(test: str, anchor: str, rates: Mapping[str, Rated]) -> str | None:
    """What to say of a codec whose lead over an anchor rests on metrics alone that can be fooled; None for another.

    ``rates``: its BD-rates by metric. It leads where the value is below 0, and its interval too, if it has one.
    """
    leads = {
        metric: rate.value < 0 and (rate.interval.high is None or rate.interval.high < 0)
        for metric, rate in rates.items()
        if rate.value is not None
    }
    resting = resting_on(leads)
    if not resting:
        return None
    others = [name for name in leads if name not in resting]
    told = _listed([f"{name} (fooled by {', '.join(fooled_by(name))})" for name in resting])
    against = f", and not on {_listed(others)}" if others else "; no other metric was compared"
    return (
        f"the lead of {test} over {anchor} rests on {told} alone{against}:"
        " these reward changes that help no viewer (docs/reference/metrics.md, Controls)"
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
