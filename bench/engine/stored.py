"""What a stored result was made of, found again on this machine: its codec and its source clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.catalog import Card, Catalog
from bench.engine.plan import CodecEntry
from bench.errors import MediaError, UnavailableError, UsageError
from bench.manifests import load_manifest, locate
from bench.results import CodecRecord, SequenceRecord
from bench.video.formats import VideoFormat
from bench.video.sequence import DIRECT_INPUT, Sequence, open_sequence


def stored_codec(record: CodecRecord, catalog: Catalog, *, trust: bool = False) -> CodecEntry:
    """The codec of a result by its card as it is found here, never by the one in the result file, which may come from
    anybody.

    Raises UnavailableError, or UsageError for a card that cannot be found or run, with what to do.
    """
    try:
        path = catalog.find("codecs", record.name.partition("@")[0])
        entry = CodecEntry(catalog.card(record.name), path.parent, trust)
        if entry.card.digest() != _card(record).digest():
            raise UnavailableError(
                f"the card {record.name} here is another than the result's; give its folder by --path"
            )
    except ValidationError:
        raise UnavailableError(f"the result's card of {record.name} is none that this vcbench knows") from None
    entry.build().check()
    return entry


def stored_format(record: SequenceRecord) -> VideoFormat:
    """The format that codecs were given."""
    bare = VideoFormat(record.width, record.height, fps=Fraction(record.fps)).with_pix_fmt(record.pix_fmt)
    values = asdict(bare) | {"matrix": record.matrix, "full_range": record.full_range, "siting": record.siting}
    return VideoFormat(**values)


def source_clip(record: SequenceRecord, catalog: Catalog, files: Iterable[Path]) -> Sequence:
    """The source among `files` or in its dataset, with the bytes and the format that were measured.

    Raises UnavailableError where no file has them.
    """
    settings: dict[str, Any] = {
        "size": f"{record.width}x{record.height}",
        "pix_fmt": record.pix_fmt,
        "fps": record.fps,
        "start": record.start,
        "frames": record.frames,
    }
    for path in _candidates(record, catalog, files):
        try:
            clip = open_sequence(path, name=record.name, dataset=record.dataset, **settings)
            if clip.identity() == _identity(record):
                return clip
        except (UsageError, MediaError):
            continue
    raise UnavailableError(f"the source {record.file} (SHA-256 {record.sha256[:12]}) is not here; name it with --input")


def _candidates(record: SequenceRecord, catalog: Catalog, files: Iterable[Path]) -> Iterator[Path]:
    yield from files
    if record.dataset != DIRECT_INPUT:
        yield locate(load_manifest(catalog.find("datasets", record.dataset)), record.name)


def _card(record: CodecRecord) -> Card:
    """The card in a result file; its name may be that of a configuration, which no card's file has."""
    card = Card.model_validate({**record.card, "name": record.name.partition("@")[0]})
    return card.model_copy(update={"name": record.name})


def _identity(record: SequenceRecord) -> dict[str, Any]:
    """What `Sequence.identity` gives for the clip of a record."""
    same = ("sha256", "start", "frames", "pix_fmt", "fps", "matrix", "full_range", "siting", "conversion")
    return {name: getattr(record, name) for name in same} | {"size": [record.width, record.height]}
