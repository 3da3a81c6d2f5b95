"""Cells that share a name and are not of the same thing are told apart by their names."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.records.cell import CellResult, SequenceRecord

_SOURCE = ("sha256", "start", "frames", "width", "height", "fps", "pix_fmt", "matrix", "full_range")


def told_apart(cells: Sequence[CellResult]) -> tuple[list[CellResult], list[str]]:
    """The cells with distinct names for distinct sequences and codecs, and a note for each name that was changed.

    A sequence name that stands for several sources (other bytes, frames or format) gets what they differ in; for codecs
    see `codecs_apart`.
    """
    cells, sequence_notes = _sequences_apart(cells)
    cells, codec_notes = codecs_apart(cells)
    return cells, [*sequence_notes, *codec_notes]


def _sequences_apart(cells: Sequence[CellResult]) -> tuple[list[CellResult], list[str]]:
    variants: dict[tuple[str, str], dict[str, SequenceRecord]] = defaultdict(dict)
    for cell in cells:
        record = cell.sequence
        variants[record.dataset, record.name].setdefault(_source_key(record), record)
    several = {key: found for key, found in variants.items() if len(found) > 1}
    names = {
        (*key, source): f"{key[1]} ({suffix})"
        for key, found in several.items()
        for source, suffix in _suffixes(found).items()
    }
    notes = [
        f"The name {name} stands for {len(found)} different sources{f' in {dataset}' if dataset else ''}; "
        f"they are listed apart: {', '.join(sorted(names[dataset, name, source] for source in found))}."
        for (dataset, name), found in sorted(several.items())
    ]

    def renamed(cell: CellResult) -> CellResult:
        record = cell.sequence
        name = names.get((record.dataset, record.name, _source_key(record)))
        return cell if name is None else cell.model_copy(update={"sequence": record.model_copy(update={"name": name})})

    return [renamed(cell) for cell in cells], notes


def _suffixes(found: dict[str, SequenceRecord]) -> dict[str, str]:
    """By source, what tells it from the others: frames, size, rate, format or digest, as few of these as do."""
    facts = {source: _facts(record) for source, record in found.items()}
    differing = [key for key in next(iter(facts.values())) if len({fact[key] for fact in facts.values()}) > 1]
    for count in range(1, len(differing) + 1):
        texts = {source: ", ".join(fact[key] for key in differing[:count]) for source, fact in facts.items()}
        if len(set(texts.values())) == len(texts):
            return texts
    return {source: f"source {number}" for number, source in enumerate(found, start=1)}


def _facts(record: SequenceRecord) -> dict[str, str]:
    last = record.start + record.frames - 1
    return {
        "frames": f"frames {record.start} to {last}",
        "size": f"{record.width}x{record.height}",
        "fps": f"{record.fps} fps",
        "format": f"{record.pix_fmt} {record.matrix} {'full' if record.full_range else 'limited'} range",
        "digest": f"SHA-256 {record.sha256[:8]}",
    }


def _source_key(record: SequenceRecord) -> str:
    return json.dumps([getattr(record, name) for name in _SOURCE])


def codecs_apart(cells: Sequence[CellResult]) -> tuple[list[CellResult], list[str]]:
    """The cells with distinct names for distinct codecs, and a note for each name that was changed.

    A codec name that stands for several cards or tools gets a number, where the same rate point of the same sequence
    has a result of more than one: such points would else be taken for one curve.
    """
    identities: dict[str, list[str]] = defaultdict(list)
    for cell, identity in zip(cells, _codec_keys(cells), strict=True):
        if identity not in identities[cell.codec.name]:
            identities[cell.codec.name].append(identity)
    clashing = {name for name in _repeated(cells) if len(identities[name]) > 1}
    notes = [
        f"{name} stands for {len(found)} different cards or tool versions with results at the same rate points; they"
        f" are listed apart: {'; '.join(f'{name} #{n} ({text})' for n, text in enumerate(_differences(found), 1))}."
        if name in clashing
        else f"The results of {name} come from {len(found)} different cards or tool versions."
        for name, found in sorted(identities.items())
        if len(found) > 1
    ]

    def renamed(cell: CellResult) -> CellResult:
        name = cell.codec.name
        if name not in clashing:
            return cell
        number = identities[name].index(codec_key(cell)) + 1
        return cell.model_copy(update={"codec": cell.codec.model_copy(update={"name": f"{name} #{number}"})})

    return [renamed(cell) for cell in cells], notes


def _differences(identities: Sequence[str], most: int = 3) -> list[str]:
    """What each of several identities has that not all of them have: settings and tools, in their order."""
    flat = [dict(_flat(json.loads(identity))) for identity in identities]
    names = list(dict.fromkeys(name for facts in flat for name in facts))
    differing = [name for name in names if len({facts.get(name) for facts in flat}) > 1]
    return [", ".join(f"{name} {facts.get(name, 'none')}" for name in differing[:most]) for facts in flat]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings by the last word of their names."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, key)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            yield from _flat(item, name)
    else:
        yield name or "setting", " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _repeated(cells: Iterable[CellResult]) -> set[str]:
    """Names of the codecs that have several results for one rate point of one sequence."""
    counts = Counter(
        (cell.codec.name, cell.rate.value, cell.sequence.dataset, cell.sequence.name, cell.scale) for cell in cells
    )
    return {key[0] for key, count in counts.items() if count > 1}


def codec_key(cell: CellResult) -> str:
    """Text that is the same for cells of one card, as far as it changes what is written, and one tool."""
    return _text(_what_writes(cell))


def _codec_keys(cells: Iterable[CellResult]) -> Iterator[str]:
    """The key of each cell; cells of one codec are mostly alike, and to see that takes a tenth of the time."""
    known: dict[str, str] = {}
    for cell in cells:
        facts = _what_writes(cell)
        seen = repr(facts)  # quick, where the order of keys does not matter yet
        if seen not in known:
            known[seen] = _text(facts)
        yield known[seen]


def _what_writes(cell: CellResult) -> list[Any]:
    card: dict[str, Any] = cell.codec.card
    # The parts of a card that change what is written; a new title or a longer list of rates makes no other codec.
    parts = {key: card.get(key) for key in ("adapter", "settings", "input", "weights")}
    return [parts, cell.rate.parameter, cell.codec.rate_kind, cell.codec.tool]


def _text(facts: list[Any]) -> str:
    return json.dumps(facts, sort_keys=True, default=str)
