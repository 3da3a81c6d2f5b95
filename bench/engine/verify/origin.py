"""What a stored result was made of, found again on this machine: its codec and its source clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cards import Card, Catalog, load_card, parted
from bench.core.files import file_digest
from bench.core.sandbox import Sandbox
from bench.datasets.manifest import load_manifest, open_entry
from bench.engine.plan import CodecEntry
from bench.errors import UnavailableError, UnknownNameError, VcbenchError
from bench.protocols import PROTOCOLS
from bench.records.cell import CodecRecord, SequenceRecord
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence, open_sequence

_Way = Callable[[], Sequence]


def stored_codec(
    record: CodecRecord,
    catalog: Catalog,
    *,
    trust: bool = False,
    outside: Path | None = None,
    sandbox: Sandbox | None = None,
) -> CodecEntry:
    """The codec of a result by its card as it is found here, never by the one in the result file, which may come from
    anybody, nor by one in the folder ``outside``, where that file lies. Its programs run in the sandbox.

    Raises UnavailableError, or UsageError for a card that cannot be found or run, with what to do.
    """
    base, configuration = parted(record.name)
    path = catalog.files("codecs").get(base)  # by name alone: Catalog.find would take a path from a result file
    if path is None:
        raise UnknownNameError("codec", base, catalog.files("codecs"))
    if _lies_in(path, outside):
        raise UnavailableError(f"the card {record.name} is inside the results; give a folder of your own with --path")
    try:
        stored = stored_card(record)
        ours = load_card(path).configured(configuration).model_copy(update={"scaling": stored.scaling})
        # a protocol fills the intra period in that a card leaves open
        filled = [ours, *(protocol.card(ours) for protocol in PROTOCOLS.values())]
        card = next((card for card in filled if card.digest() == stored.digest()), None)
        if card is None:
            raise UnavailableError(f"the card {record.name} here differs from the result's; give its folder by --path")
    except ValidationError:
        raise UnavailableError(f"this vcbench cannot read the result's card of {record.name}") from None
    entry = CodecEntry(card, path.parent, trust, sandbox)
    entry.build().check()
    return entry


def stored_format(record: SequenceRecord) -> VideoFormat:
    """The format that codecs were given."""
    bare = VideoFormat(record.width, record.height, fps=Fraction(record.fps)).with_pix_fmt(record.pix_fmt)
    values = asdict(bare) | {"matrix": record.matrix, "full_range": record.full_range, "siting": record.siting}
    return VideoFormat(**values)


def source_clip(
    record: SequenceRecord, catalog: Catalog, files: Iterable[Path], *, outside: Path | None = None
) -> Sequence:
    """The source in the datasets that are found here, or among `files`, with the bytes and the format that were
    measured; never one in the folder ``outside``, where the result lies: it would prove nothing.

    It is found by its digest alone, among the files that the caller names and those of datasets that are known here:
    no path that a result file states is looked at. Raises UnavailableError where no file has them.
    """
    settings: dict[str, Any] = {
        "size": f"{record.width}x{record.height}",
        "pix_fmt": record.pix_fmt,
        "fps": record.fps,
        "start": record.start,
        "frames": record.frames,
        "name": record.name,
        "dataset": record.dataset,
    }
    # a folder of pictures has no digest before it is opened
    alike = (path for path in files if not path.is_file() or file_digest(path) == record.sha256)
    given: Iterator[_Way] = (partial(open_sequence, path, **settings) for path in alike)
    for open_clip in chain(_in_datasets(record, catalog, outside), given):
        try:
            clip = open_clip()
            if not _lies_in(clip.path, outside) and clip.identity() == stored_clip_identity(record):
                return clip
        except (VcbenchError, OSError):
            continue
    raise UnavailableError(
        f"the source {record.file} (SHA-256 {record.sha256[:12]}) is not here; give your copy with --input"
    )


def _in_datasets(record: SequenceRecord, catalog: Catalog, outside: Path | None) -> Iterator[_Way]:
    """Ways to open the clip in manifests: by the record's names, then wherever one has its digest.

    A manifest is looked up by its name alone: what a result file says is never opened as a path.
    """
    manifests = catalog.files("datasets")
    for name in sorted(manifests, key=lambda name: name != record.dataset):
        if _lies_in(manifests[name], outside):
            continue
        with suppress(VcbenchError):
            manifest = load_manifest(manifests[name])
            for entry in manifest.sequences:
                if (manifest.name, entry.name) == (record.dataset, record.name) or entry.sha256 == record.sha256:
                    yield partial(open_entry, manifest, entry, frames=record.frames)


def _lies_in(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def stored_card(record: CodecRecord) -> Card:
    """The card in a result file; its name may be that of a configuration, which no card's file has."""
    card = Card.model_validate({**record.card, "name": parted(record.name)[0]})
    return card.model_copy(update={"name": record.name})


def stored_clip_identity(record: SequenceRecord) -> dict[str, Any]:
    """What `Sequence.identity` gives for the clip of a record."""
    same = ("sha256", "start", "frames", "pix_fmt", "fps", "matrix", "full_range", "siting", "conversion")
    return {name: getattr(record, name) for name in same} | {"size": [record.width, record.height]}
