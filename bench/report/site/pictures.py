"""Decoded frames as pictures for the frame viewer, from the stored bitstreams: a bounded number, named plainly."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.adapters.base import copy_alone
from bench.analysis.curves import SequenceKey
from bench.cards import Catalog
from bench.core.files import digest_of
from bench.core.folders import Rewriting
from bench.core.sandbox import Sandbox, chosen
from bench.engine.cell import external
from bench.engine.measure import check_format
from bench.engine.plan import CodecEntry
from bench.engine.verify.origin import source_clip, stored_codec, stored_format
from bench.errors import MismatchError, StoreError, VcbenchError
from bench.metrics.flow_methods import METHODS, warp_reference_of
from bench.records.cell import CellResult
from bench.report.measured import Measured, dataset_text
from bench.report.site.frame_values import frame_values
from bench.report.site.payload import short
from bench.results.result_set import ResultSet
from bench.video import colour
from bench.video.colour import rgb_of
from bench.video.flow import WarpReference, ewarp_map
from bench.video.frame import Frame

DEFAULT_PICTURES = 120
DEFAULT_DECODE_S = 60.0
"""By default no more decoding than took this long when it was measured; a given number of pictures lifts it."""

POSITIONS = (0.5, 0.25, 0.75)
"""Which frames of a sequence are shown, the first of these first, as shares of its length."""

NOT_ASKED = "No pictures were requested; vcbench report --pictures N makes up to N."

MAP_WHITE = 32
"""Warping error that is white in a map, in levels of 8 bit; beyond it everything is."""

MAP_HIDDEN = (40, 60, 120)
"""Colour of what a map does not compare: pixels that the frame before does not show."""

_MOTION = METHODS["dis"]
_VERSION = 2
_GIVE_CLIPS = "name it with --clips"


@dataclass(frozen=True)
class PictureOptions:
    """limit: most pictures, None for the default. clips: files among which sources are looked for, by digest.

    paths: further folders with codecs/ and datasets/. trust: whether cards of theirs may run programs. sandbox: what
    decoders run in; None: as they are.
    """

    limit: int | None = None
    clips: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    trust: bool = False
    sandbox: Sandbox | None = field(default_factory=chosen)


@dataclass
class _Choice:
    """What is shown of one sequence; frames rise."""

    key: SequenceKey
    cells: list[CellResult]
    frames: list[int]

    @property
    def pictures(self) -> int:
        """How many there are, with those of the source."""
        return len(self.frames) * (1 + len(self.cells))


Numbered = Callable[[], Generator[tuple[int, Frame], None, None]]
"""Opens a video: its frames with their numbers, in order."""

Along = Callable[[int], WarpReference | None]
"""Where each pixel of a shown frame was in the frame before it, by the source; None where that is not known."""


def write_pictures(
    measured: Measured,
    cells: Mapping[SequenceKey, Sequence[CellResult]],
    folder: Rewriting,
    options: PictureOptions,
) -> dict[str, Any]:
    """Write the pictures into a report's folder and give what the viewer needs to know of them.

    Pictures of an earlier report are used again where they are of the same bitstream. What cannot be decoded or found
    is told with its reason. Raises OSError when the folder cannot be written.
    """
    results = measured.results
    able = {key: found for key, of_key in cells.items() if (found := [c for c in of_key if _is_shown(results, c)])}
    chosen = _Choosing(able, options.limit)
    gallery = _Gallery(measured, folder, options)
    shown = [entry for choice in chosen.choices.values() if (entry := gallery.sequence(choice))]
    for path in (folder.path / "pictures").iterdir():
        if path.name not in gallery.files:  # of a video that went wrong later
            path.unlink()
    absent = [*gallery.absent, *(_left_out(cells, chosen) if options.limit != 0 else [NOT_ASKED])]
    return {"about": _about(shown, list(chosen.choices.values())), "absent": absent, "sequences": shown}


class _Choosing:
    """Which pictures there are, as far as the bound: a frame of each sequence at each codec's middle rate point, the
    codecs that decode quickly first; then the other rate points, codec by codec; then more frames. So a codec that
    decodes slowly lacks pictures itself and takes nobody else's, and there is always something to see.

    `able` are the cells that have a bitstream, by sequence; `choices` what is shown of them.
    """

    def __init__(self, able: Mapping[SequenceKey, Sequence[CellResult]], limit: int | None) -> None:
        self.choices: dict[SequenceKey, _Choice] = {}
        self.able = able
        self._room = DEFAULT_PICTURES if limit is None else limit
        self._seconds = DEFAULT_DECODE_S if limit is None else math.inf
        self._begin()
        for key in list(self.choices):
            self._widen(key)
        for position in POSITIONS[1:]:
            for key in list(self.choices):
                self._lengthen(key, position)
        self.bound = (
            f"{DEFAULT_PICTURES} pictures and {DEFAULT_DECODE_S:g} s of decoding"
            if limit is None
            else f"{limit} pictures"
        )

    def _begin(self) -> None:
        """A frame of as many sequences as have room for every codec, at each codec's middle rate point."""
        codecs = {key: _by_codec(cells) for key, cells in self.able.items()}
        most = 1 + max(map(len, codecs.values()), default=0)
        middles: dict[str, list[tuple[SequenceKey, CellResult]]] = {}
        for key in list(_in_turn(self.able))[: max(1, self._room // most)]:
            for name, own in codecs[key].items():
                middles.setdefault(name, []).append((key, own[(len(own) - 1) // 2]))

        def seconds(found: list[tuple[SequenceKey, CellResult]]) -> float:
            return sum(_decode_seconds([cell], [_frame([cell], POSITIONS[0])]) for _, cell in found)

        for found in sorted(middles.values(), key=seconds):
            for key, cell in found:
                # the first picture of all is shown whatever it takes
                self._take(key, [cell], [_frame([cell], POSITIONS[0])], whatever=not self.choices)

    def _widen(self, key: SequenceKey) -> None:
        """The other rate points of the codecs that are shown, those that decode quickly first."""
        known = self.choices[key]
        shown = {cell.codec.name for cell in known.cells}
        codecs = [own for name, own in _by_codec(self.able[key]).items() if name in shown]
        for own in sorted(codecs, key=lambda own: _decode_seconds(own, known.frames)):
            self._take(key, own, known.frames)

    def _lengthen(self, key: SequenceKey, position: float) -> None:
        """One frame more of what is shown."""
        self._take(key, [], [*self.choices[key].frames, _frame(self.able[key], position)])

    def _take(
        self, key: SequenceKey, cells: Sequence[CellResult], frames: Sequence[int], *, whatever: bool = False
    ) -> None:
        """Show these cells of a sequence too, at these frames, if they fit in the bound, or `whatever` they take."""
        known = self.choices.get(key, _Choice(key, [], []))
        names = {cell.name for cell in (*known.cells, *cells)}
        new = _Choice(key, [cell for cell in self.able[key] if cell.name in names], sorted(set(frames)))
        count = new.pictures - known.pictures
        seconds = _decode_seconds(new.cells, new.frames) - _decode_seconds(known.cells, known.frames)
        if count <= self._room and (seconds <= self._seconds or whatever):
            self.choices[key] = new
            self._room -= count
            self._seconds -= seconds


def _left_out(cells: Mapping[SequenceKey, Sequence[CellResult]], chosen: _Choosing) -> Iterator[str]:
    """What of the cells is not among the pictures, and why; `able` of them are stored."""
    able = chosen.able
    if unstored := [key for key in cells if key not in able]:
        yield f"{_named(unstored)}: no bitstream is stored with these results."
    lacking: dict[str, list[SequenceKey]] = {}
    for key, stored in able.items():
        choice = chosen.choices.get(key)
        if choice is None:
            lacking.setdefault("no pictures", []).append(key)
            continue
        shown = Counter(cell.codec.name for cell in choice.cells)
        absent = [name for name in _by_codec(stored) if not shown[name]]
        thinned = [name for name, own in _by_codec(stored).items() if 0 < shown[name] < len(own)]
        if absent:
            lacking.setdefault(f"no pictures of {', '.join(absent)}", []).append(key)
        if thinned:
            lacking.setdefault(f"the middle rate point alone of {', '.join(thinned)}", []).append(key)
    for what, keys in lacking.items():
        yield f"{_named(keys)}: {what}."
    if lacking:
        yield (
            f"The bound is {chosen.bound}; vcbench report --pictures N sets another, and then decodes for as long as"
            " that takes."
        )


def _in_turn(able: Mapping[SequenceKey, Any]) -> Iterator[SequenceKey]:
    """Sequences with datasets in turn, so that a bound leaves something of each."""
    places: dict[str, int] = {}
    ranked = []
    for key in able:
        places[key.dataset] = places.get(key.dataset, 0) + 1
        ranked.append((places[key.dataset], key))
    yield from (key for _, key in sorted(ranked))


def _by_codec(cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Cells of each codec by falling rate."""
    found: dict[str, list[CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: -(cell.bpp or 0)):
        found.setdefault(cell.codec.name, []).append(cell)
    return found


def _frame(cells: Sequence[CellResult], position: float) -> int:
    return int(cells[0].sequence.frames * position)


def _decode_seconds(cells: Sequence[CellResult], frames: Sequence[int]) -> float:
    """How long decoding up to the last of the frames took, of all cells together."""
    if not frames:
        return 0.0
    return sum(c.decode.seconds * (frames[-1] + 1) / c.sequence.frames for c in cells if c.decode)


def _is_shown(results: ResultSet, cell: CellResult) -> bool:
    """Whether there is a bitstream to decode, or something in its place that must be reported."""
    try:
        return cell.status == "ok" and results.bitstream(cell) is not None
    except StoreError:
        return True


class _Gallery:
    """Pictures being written. `files` are those that are shown, `absent` what could not be."""

    def __init__(self, measured: Measured, folder: Rewriting, options: PictureOptions) -> None:
        self.files: set[str] = set()
        self.absent: list[str] = []
        self._measured = measured
        self._results = measured.results
        self._folder = folder
        self._out = folder.path / "pictures"
        self._options = options
        self._catalog = Catalog(options.paths)
        self._entries: dict[str, CodecEntry] = {}

    def sequence(self, choice: _Choice) -> dict[str, Any] | None:
        """The viewer's entry of one sequence; None where no bitstream could be decoded."""
        found: dict[int, Frame] = {}

        def read() -> Generator[tuple[int, Frame], None, None]:
            """The source's shown frames and those before them; opened once, and only where something is missing."""
            if not found:
                wanted = {before for frame in choice.frames for before in (frame, max(frame - 1, 0))}
                clip = source_clip(choice.cells[0].sequence, self._catalog, self._options.clips)
                for index, frame in enumerate(clip.read()):
                    if index in wanted:
                        found[index] = frame
                    if index >= max(wanted):
                        break
            yield from sorted(found.items())

        def along(index: int) -> WarpReference | None:
            try:
                frames = dict(read())
            except VcbenchError:  # reported where the source's own pictures are made
                return None
            if not {index, index - 1} <= frames.keys() or min(frames[index].planes[0].shape) < _MOTION.smallest:
                return None
            reference = warp_reference_of(_MOTION, frames[index - 1], frames[index])
            return None if reference.reason else reference

        source = self._source(choice, read, along)
        videos = [video for cell in choice.cells if (video := self._coded(cell, choice.frames, along))]
        if not videos:
            return None
        return {
            "sequence": self._measured.sequences.index(choice.key),
            "frames": choice.frames,
            "videos": [*([source] if source else []), *videos],
        }

    def _coded(self, cell: CellResult, frames: Sequence[int], along: Along) -> dict[str, Any] | None:
        assert cell.bitstream is not None
        stem = f"{cell.bitstream.sha256[:20]}-{_VERSION}"
        try:
            files, maps = self._written(stem, frames, lambda: self._decoded(cell), along)
            values = frame_values(self._results, cell)
        except VcbenchError as error:
            self.absent.append(f"{cell.codec.name} at {cell.point} on {cell.sequence.name}: {error}.")
            return None
        return {
            "codec": self._measured.codecs.index(cell.codec.name),
            "parameter": cell.rate.parameter,
            "rate": f"{cell.rate.value:g}{cell.at}" if cell.at else cell.rate.value,
            "bpp": short(cell.bpp),
            "sha256": cell.bitstream.sha256,
            "files": files,
            "maps": maps,
            "values": [
                {name: short(of[frame]) for name, of in values.items() if frame < len(of) and of[frame] is not None}
                for frame in frames
            ],
        }

    def _source(self, choice: _Choice, read: Numbered, along: Along) -> dict[str, Any] | None:
        cell = choice.cells[0]
        stem = f"{cell.sequence.sha256[:16]}-{cell.sequence.start}-{_VERSION}"
        try:
            # Not opened where its pictures are there already.
            files, maps = self._written(stem, choice.frames, read, along)
        except VcbenchError as error:
            told = str(error).replace("name it with --input", _GIVE_CLIPS)
            self.absent.append(f"The source of {choice.key.sequence}: {told}.")
            return None
        return {"codec": None, "files": files, "maps": maps}

    def _decoded(self, cell: CellResult) -> Generator[tuple[int, Frame], None, None]:
        """Numbered frames of a stored bitstream, decoded by a fresh process that sees a copy of it alone."""
        path = self._results.bitstream(cell)
        if path is None:
            raise StoreError("its bitstream is gone")
        codec = external(self._entry(cell), None)
        transform = codec.transform(stored_format(cell.sequence))
        with tempfile.TemporaryDirectory() as folder:
            alone = copy_alone(path, Path(folder) / "decode")
            with codec.open_decoder(alone, transform.coded) as decoder:
                for index, frame in enumerate(decoder.frames()):
                    check_format(frame.format, transform.coded)
                    yield index, transform.inverse(frame)

    def _entry(self, cell: CellResult) -> CodecEntry:
        key = digest_of([cell.codec.name, cell.codec.card])
        if key not in self._entries:
            self._entries[key] = stored_codec(
                cell.codec, self._catalog, trust=self._options.trust, sandbox=self._options.sandbox
            )
        return self._entries[key]

    def _written(
        self, stem: str, frames: Sequence[int], read: Numbered, along: Along
    ) -> tuple[list[str], list[str | None]]:
        """Files of the pictures of some frames and of the maps of their warping error, None where there is none."""
        files = [f"{stem}-{frame}.webp" for frame in frames]
        maps = [f"{stem}-{frame}-warp.webp" for frame in frames]
        missing = {frame: name for frame, name in zip(frames, files, strict=True) if not self._has(name)}
        unmapped = {frame: name for frame, name in zip(frames, maps, strict=True) if frame and not self._has(name)}
        wanted = {frame: reference for frame in unmapped if (reference := along(frame)) is not None}
        if missing or wanted:
            previous: Frame | None = None
            last = max([*missing, *wanted])
            with closing(read()) as stream:
                for index, frame in stream:
                    if index in missing:
                        _save(frame, self._out / missing.pop(index))
                    if index in wanted and previous is not None:
                        _save_map(previous, frame, wanted[index], self._out / unmapped[index])
                    previous = frame
                    if index >= last:
                        break
            if missing:
                raise MismatchError("frame_count", f"frame {min(missing)} is beyond the end of the video")
        there = [name if (self._out / name).is_file() else None for name in maps]
        self.files.update(files, (name for name in there if name))
        return files, there

    def _has(self, name: str) -> bool:
        return (self._out / name).is_file() or self._folder.reuse(f"pictures/{name}")


def _save(frame: Frame, path: Path) -> None:
    """An 8-bit RGB picture without loss."""
    from PIL import Image

    rgb = colour.to_rgb(frame)
    depth = frame.format.bit_depth
    if depth > 8:
        half = 1 << (depth - 9)
        rgb = ((rgb.astype("u4") + half) >> (depth - 8)).clip(0, 255)
    temporary = path.with_suffix(".part")
    Image.fromarray(rgb.astype("u1"), "RGB").save(temporary, "WEBP", lossless=True, quality=40, method=3)
    temporary.replace(path)


def _save_map(previous: Frame, frame: Frame, reference: WarpReference, path: Path) -> None:
    """The warping error of a frame as a picture: black is none, white `MAP_WHITE` levels and more."""
    import numpy as np
    from PIL import Image

    errors = ewarp_map(rgb_of(previous), rgb_of(frame), reference, peak=frame.format.peak)
    grey = np.clip(np.nan_to_num(errors) * (255 * 255 / MAP_WHITE), 0, 255).astype(np.uint8)
    picture = np.where(np.isnan(errors)[..., None], np.array(MAP_HIDDEN, np.uint8), grey[..., None])
    temporary = path.with_suffix(".part")
    Image.fromarray(picture, "RGB").save(temporary, "WEBP", quality=70, method=3)
    temporary.replace(path)


def _about(shown: Sequence[Mapping[str, Any]], chosen: Sequence[_Choice]) -> str:
    if not shown:
        return "There are no pictures in this report."
    records = [choice.cells[0].sequence for choice in chosen]
    conversions = sorted({colour.describe(stored_format(record)) for record in records})
    frames = sum(len(entry["frames"]) for entry in shown)
    return (
        f"{frames} frames of {len(shown)} sequences, decoded from the stored bitstreams and kept without loss as"
        f" 8-bit RGB pictures. RGB is a conversion for looking at ({'; '.join(conversions)}): no metric of YUV was"
        " measured on it. The rates are of whole sequences, these are single frames: codecs spend their bits on"
        " different ones. Warping error shows instead where a frame differs from the frame before it, moved along the"
        f" source's motion (E_warp): white is {MAP_WHITE} levels of 8 bit and more, blue was not to be seen before."
        " Blur and smoothing over time make it dark, so look at the picture too."
    )


def _named(keys: Sequence[SequenceKey], most: int = 6) -> str:
    texts = [f"{dataset_text(key.dataset)}/{key.sequence}" for key in keys]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
