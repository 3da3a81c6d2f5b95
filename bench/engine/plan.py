"""From cards, sequences and metrics to the cells that are to be measured, each with its content key."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Listing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.adapters.base import BaseCodec, RatePoint
from bench.cards import Card, Catalog, is_ours
from bench.core.files import digest_of
from bench.core.sandbox import Sandbox
from bench.engine.store.folder import safe_name
from bench.errors import UnavailableError, UsageError, VcbenchError
from bench.registry import build, metric_class
from bench.video.sequence import DIRECT_INPUT, Sequence

KEY_VERSION = 1

LOCKSTEP = 4
"""Cells measured together at most: each has a decoder and frames of its own in memory."""


@dataclass(frozen=True)
class CodecEntry:
    """A codec that a plan uses: its resolved card, the folder of the card, and whether files there may be executed.

    sandbox: what its programs run in; None: as they are.
    """

    card: Card
    folder: Path
    trust: bool = False
    sandbox: Sandbox | None = None

    def build(self) -> BaseCodec:
        return build(self.card, folder=self.folder, trust=self.trust, sandbox=self.sandbox)

    @property
    def is_foreign(self) -> bool:
        """Whether the card is none of vcbench's, and may run programs of its own choice."""
        return self.trust and not is_ours(self.folder)


@dataclass(frozen=True)
class Cell:
    """Codec x rate point x sequence: the unit of work, of caching and of failure.

    ``key`` is the SHA-256 of everything the bitstream and its decode depend on; ``name`` is a readable file name.
    """

    codec: CodecEntry
    rate: RatePoint
    sequence: Sequence
    tool: dict[str, str]
    key: str

    @property
    def name(self) -> str:
        sequence = self.sequence
        dataset = () if sequence.dataset == DIRECT_INPUT else (sequence.dataset,)
        parts = (self.codec.card.name, f"{self.rate.value:g}", *dataset, sequence.name)
        return "_".join([*map(safe_name, parts), self.key[:12]])

    @property
    def scale(self) -> float:
        """At which share of the sequence's size it is coded."""
        return self.codec.card.scaling.factor if self.codec.card.scaling else 1.0

    @property
    def work(self) -> int:
        """Rough amount of work, for scheduling the longest first."""
        return self.sequence.format.samples_per_frame * self.sequence.frames


@dataclass(frozen=True)
class Plan:
    """The cells of a run and the metrics wanted on each, by name with their keys.

    ``unavailable``: those that cannot run on this machine, with the reason. ``together``: how many cells of a sequence
    are best measured in one pass, for what their metrics have in common. ``protocol``: whose conditions these are.
    """

    cells: tuple[Cell, ...]
    metrics: dict[str, str]
    unavailable: dict[str, str] = field(default_factory=dict)
    together: int = 1
    protocol: str | None = None

    def backend(self, wanted: str) -> str:
        """The backend that is wanted; for "auto" the faster one of this machine.

        Encoders, decoders and filters are programs of their own, whatever the backend. Where the metrics' work is done
        outside Python too, threads start at once and share what is imported; else processes keep it apart, as they do
        the decoders of strangers.
        """
        if wanted != "auto":
            return wanted
        apart = any(cell.codec.is_foreign for cell in self.cells)
        return "threading" if not apart and all(metric_class(name).outside_python for name in self.metrics) else "loky"

    def groups(self, cells: Iterable[Cell], jobs: int) -> list[tuple[Cell, ...]]:
        """Cells in groups of one sequence each, small enough that there is a group for each of the jobs."""
        cells = list(cells)
        size = max(1, min(self.together, len(cells) // jobs))
        by_sequence: dict[Sequence, list[Cell]] = {}
        for cell in cells:
            by_sequence.setdefault(cell.sequence, []).append(cell)
        return [tuple(alike[at : at + size]) for alike in by_sequence.values() for at in range(0, len(alike), size)]


def make_cell(codec: CodecEntry, tool: dict[str, str], rate: RatePoint, sequence: Sequence) -> Cell:
    """Cell with its key."""
    return Cell(codec, rate, sequence, tool, cell_key(codec.card, tool, rate.value, sequence.identity()))


def cell_key(card: Card, tool: dict[str, str], rate: float, sequence: dict[str, Any]) -> str:
    """SHA-256 (hex) of everything that a cell's bitstream and its decode depend on; ``sequence`` is its identity."""
    return digest_of(
        {"key_version": KEY_VERSION, "card": card.identity(), "tool": tool, "rate": rate, "sequence": sequence}
    )


def rate_points(card: Card, wanted: Iterable[float] | None, bit_depth: int) -> list[RatePoint]:
    """Rate points of a card for a source of a bit depth: its own, or the wanted ones; UsageError for one that the codec
    does not take."""
    rates = card.rates_at(bit_depth)
    values: Iterable[float] = rates.values if wanted is None else dict.fromkeys(wanted)
    try:
        return [RatePoint(rates.parameter, rates.check(value)) for value in values]
    except ValueError as error:
        raise UsageError(f"{card.name}: --rates: {error}") from None


def codec_entries(
    catalog: Catalog, names: Iterable[str], *, trust: bool = False, sandbox: Sandbox | None = None
) -> list[CodecEntry]:
    """Entries of codecs by name; unknown names, wrong cards and codecs that cannot run here raise before any work."""
    entries = []
    for name in dict.fromkeys(names):
        entry = CodecEntry(*catalog.codec(name), trust, sandbox)
        entry.build().check()
        entries.append(entry)
    return entries


def metric_keys(names: Iterable[str]) -> dict[str, str]:
    """Key of each metric, so that a metric whose definition changes is measured again."""
    return {name: _metric_key(name) for name in dict.fromkeys(names)}


def _metric_key(name: str) -> str:
    try:
        return digest_of(metric_class(name).identity())
    except UnavailableError:  # a library that is missing has no version either
        return digest_of({"name": name})


def is_known(name: str) -> bool:
    """Whether a metric of this name can be made here."""
    try:
        metric_class(name)
    except VcbenchError:
        return False
    return True


def unavailable_metrics(names: Iterable[str]) -> dict[str, str]:
    """Metrics that cannot run on this machine, with the reason and what to do."""
    found = {}
    for name in names:
        try:
            metric_class(name).check()
        except UnavailableError as error:
            found[name] = str(error)
    return found


def make_plan(
    codecs: Listing[CodecEntry],
    sequences: Listing[Sequence],
    metrics: Iterable[str],
    *,
    rates: Iterable[float] | None = None,
) -> Plan:
    """Every codec at every rate point on every sequence, larger sequences first."""
    _require_distinct(sequences)
    wanted = None if rates is None else list(rates)
    cells = []
    for codec in codecs:
        tool = codec.build().identity()
        for sequence in sequences:
            points = rate_points(codec.card, wanted, sequence.format.bit_depth)
            cells += [make_cell(codec, tool, rate, sequence) for rate in points]
    cells.sort(key=lambda cell: -cell.work)
    keys = metric_keys(metrics)
    unavailable = unavailable_metrics(keys)
    sharing = any(metric_class(name).shares_reference for name in keys if name not in unavailable)
    return Plan(tuple(cells), keys, unavailable, LOCKSTEP if sharing else 1)


def _require_distinct(sequences: Listing[Sequence]) -> None:
    seen: dict[tuple[str, str], Sequence] = {}
    for sequence in sequences:
        other = seen.setdefault((sequence.dataset, sequence.name), sequence)
        if other is not sequence:
            raise UsageError(
                f"{sequence.path} and {other.path} would both be called {sequence.name!r}; rename one, "
                "or put them in a dataset manifest under names of their own"
            )
