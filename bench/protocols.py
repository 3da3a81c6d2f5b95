"""Common test conditions by name: what ``--protocol`` sets of a run and of a comparison.

Sources: JVET-T2010 (common test conditions for SDR video: intra period about a second, all frames); AOM CTC v8
(130 frames, a key frame every 65, libvmaf's --aom_ctc); microsoft/DCVC, test_conditions.md and compare_bd_rate.py
(96 frames, one I frame, PCHIP on the curves averaged over each dataset).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.cards import Card
from bench.errors import UnknownNameError

_EVERY = re.compile(r"every 32 frames \(64 above 30 fps\)")


@dataclass(frozen=True)
class Protocol:
    """One set of conditions.

    structure: how a card's GOP structure begins that is taken where a codec is named without a configuration.
    frames: of each clip, from the first; None: all. intra_period: in frames, for random access; None: the cards' own,
    which is JVET's (32 up to 30 frames per second, 64 above).
    metrics: a set's name. convention, method: of a BD-rate.
    """

    name: str
    title: str
    structure: Literal["random access", "low delay"]
    frames: int | None
    intra_period: int | None
    metrics: str
    convention: Literal["per-sequence", "mean-curve"]
    method: str = "pchip"

    def codec(self, name: str, card: Card) -> str:
        """The codec that is meant: ``name`` with the configuration of this structure, where it names none itself.

        One whose card has no such structure is taken as it is (`deviates`).
        """
        if "@" in name or card.gop.startswith(self.structure):
            return name
        wanted = self.structure.replace(" ", "-")
        return f"{name}@{wanted}" if wanted in card.configurations else name

    def card(self, card: Card) -> Card:
        """The card with this protocol's intra period, where it leaves that open."""
        if self.intra_period is None or not _has_period(card.settings):
            return card
        period = str(self.intra_period)
        return card.model_copy(
            update={"settings": _replaced(card.settings, period), "gop": _EVERY.sub(f"every {period} frames", card.gop)}
        )

    def deviates(self, card: Card | Mapping[str, Any]) -> bool:
        """Whether a card's GOP structure is another than this one."""
        gop = card.gop if isinstance(card, Card) else str(card.get("gop", ""))
        return not gop.startswith(self.structure)

    def describe(self) -> str:
        """The conditions in a line."""
        frames = "all frames" if self.frames is None else f"the first {self.frames} frames"
        period = {"low delay": "one I frame"}.get(self.structure) or (
            "an I frame every 32 frames (64 above 30 fps)"
            if self.intra_period is None
            else f"an I frame every {self.intra_period} frames"
        )
        mean = {"per-sequence": "mean of the sequences' BD-rates", "mean-curve": "BD-rate of the mean curves"}
        return (
            f"{self.title}: {self.structure}, {period}, {frames}, metrics {self.metrics} averaged over the frames, "
            f"{mean[self.convention]} by {self.method.upper()}"
        )


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("jvet-ra", "JVET's random access", "random access", None, None, "jvet", "per-sequence"),
        Protocol("jvet-ld", "JVET's low delay", "low delay", None, None, "jvet", "per-sequence"),
        Protocol("aom-ctc", "AOM's random access", "random access", 130, 65, "aom-ctc", "per-sequence"),
        Protocol("dcvc", "the DCVC family's", "low delay", 96, None, "dcvc", "mean-curve"),
    )
}


def protocol_of(name: str) -> Protocol:
    """A protocol by name; UnknownNameError if there is none."""
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def common(provenances: Iterable[Mapping[str, Any]]) -> Protocol | None:
    """The protocol that all results were run by; None where they were run by several, or by none."""
    names = {found.get("protocol") for found in provenances}
    name = names.pop() if len(names) == 1 else None
    return PROTOCOLS.get(name) if isinstance(name, str) else None


def _has_period(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_period, value.values()))
    return any(map(_has_period, value)) if isinstance(value, list | tuple) else "{intra_period}" in str(value)


def _replaced(value: Any, period: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(item, period) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, period) for item in value)
    return value.replace("{intra_period}", period) if isinstance(value, str) else value
