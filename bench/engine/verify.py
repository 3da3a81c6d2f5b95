"""Stored results checked again: bitstreams, what they decode to, and on request the measured values."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.adapters.base import copy_alone
from bench.catalog import Catalog
from bench.digests import hash_file
from bench.engine.cell import external
from bench.engine.measure import check_format, measure
from bench.engine.plan import CodecEntry, metric_keys, unavailable_metrics
from bench.engine.store import Store
from bench.engine.stored import source_clip, stored_codec, stored_format
from bench.errors import CellError, MediaError, UnavailableError, UsageError, VcbenchError
from bench.metrics.base import Measurement
from bench.process import cpu_count
from bench.registry import metric_class
from bench.results import BitstreamRecord, CellResult
from bench.video.frame import CodingTransform, DigestedFrames
from bench.video.sequence import Sequence as Clip

CLOSE = 1e-6
"""Relative difference up to which a value counts as equal: processors and libraries round sums differently."""

Outcome = Literal["equal", "different", "unchecked"]


@dataclass(frozen=True)
class Check:
    """One stored fact and what was found now. what: "bitstream", "frames", or the name of a metric."""

    what: str
    outcome: Outcome
    stored: str | float | None = None
    found: str | float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class CheckedCell:
    """The checks of one cell; `note` says what else a reader must know."""

    cell: str
    checks: tuple[Check, ...]
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return {"cell": self.cell, "note": self.note, "checks": [asdict(check) for check in self.checks]}


@dataclass(frozen=True)
class VerifyOptions:
    """How to check. `inputs` are files in which source clips are looked for, by digest, beside those of datasets."""

    metrics: bool = False
    inputs: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    trust: bool = False
    time_limit: float | None = None


def choose(cells: Iterable[CellResult], sample: int | None) -> list[CellResult]:
    """The cells that have a bitstream, or `sample` of them, drawn so that nobody can tell beforehand which."""
    able = [cell for cell in cells if cell.status == "ok" and cell.bitstream is not None]
    if sample is None or sample >= len(able):
        return able
    drawn = random.SystemRandom().sample(range(len(able)), sample)
    return [able[number] for number in sorted(drawn)]


def verify(folder: Path, cells: Iterable[CellResult], options: VerifyOptions) -> Iterator[CheckedCell]:
    """Check cells of a result folder one after the other; nothing in the folder is changed.

    Each bitstream is decoded in a fresh process that sees a copy of it alone, by the codec's card as it is found here,
    never by the one in the result file, which may come from anybody. The source clip is needed for metrics only.
    """
    store, catalog = Store(folder), Catalog(options.paths)
    for cell in cells:
        yield _Verification(cell, store, catalog, options).run()


class _UncheckedError(Exception):
    """Why something cannot be checked."""


class _Verification:
    """One cell being checked."""

    def __init__(self, cell: CellResult, store: Store, catalog: Catalog, options: VerifyOptions) -> None:
        assert cell.bitstream is not None
        self._cell = cell
        self._bitstream: BitstreamRecord = cell.bitstream
        self._path = store.bitstream_path(cell.bitstream)
        self._catalog = catalog
        self._options = options
        self._note: str | None = None
        self._metric_checks: list[Check] = []

    def run(self) -> CheckedCell:
        bitstream = self._check_bitstream()
        if bitstream.outcome == "equal":
            checks = [bitstream, self._check_frames(), *self._metric_checks]
        else:
            checks = [bitstream, Check("frames", "unchecked", reason="the bitstream is not the one that was measured")]
        return CheckedCell(self._cell.name, tuple(checks), self._note)

    def _check_bitstream(self) -> Check:
        stored = self._bitstream.sha256
        if not self._path.is_file():
            return Check("bitstream", "different", stored, None, f"bitstreams/{self._path.name} is missing")
        found = hash_file(self._path)
        if found == stored and self._path.stat().st_size == self._bitstream.bytes:
            return Check("bitstream", "equal", stored, found)
        size = self._path.stat().st_size
        reason = f"bitstreams/{self._path.name} has other bytes ({size}, measured were {self._bitstream.bytes})"
        return Check("bitstream", "different", stored, found, reason)

    def _check_frames(self) -> Check:
        stored = self._cell.decoded
        try:
            frames = self._decode()
        except _UncheckedError as error:
            return Check("frames", "unchecked", stored.sha256 if stored else None, reason=str(error))
        except (CellError, MediaError) as error:
            return Check("frames", "different", stored.sha256 if stored else None, None, str(error))
        found = frames.sha256
        if frames.count != self._cell.sequence.frames:
            reason = f"{frames.count} frames are decoded, the source has {self._cell.sequence.frames}"
            return Check("frames", "different", stored.sha256 if stored else None, found, reason)
        if stored is None:
            reason = "the result file has no digest of decoded frames; an older vcbench wrote it"
            return Check("frames", "unchecked", None, found, reason)
        if found == stored.sha256:
            return Check("frames", "equal", stored.sha256, found)
        return Check("frames", "different", stored.sha256, found, "the bitstream decodes to other frames")

    def _decode(self) -> DigestedFrames:
        """Decode, and measure where that is wanted and possible; the frames that came."""
        codec = external(self._entry(), self._options.time_limit)
        tool = codec.tool()
        if tool != self._cell.codec.tool:
            self._note = f"decoded by {_pairs(tool)}; measured with {_pairs(self._cell.codec.tool)}"
        transform = codec.transform(stored_format(self._cell.sequence))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            alone = copy_alone(self._path, folder / "decode")
            with codec.open_decoder(alone, transform.coded) as decoder:
                frames = DigestedFrames(decoder.frames())
                if self._options.metrics:
                    self._measure(frames, transform, folder)
                for frame in frames:
                    check_format(frame.format, transform.coded)
                return frames

    def _entry(self) -> CodecEntry:
        try:
            return stored_codec(self._cell.codec, self._catalog, trust=self._options.trust)
        except (UnavailableError, UsageError) as error:
            raise _UncheckedError(str(error)) from None

    def _measure(self, frames: DigestedFrames, transform: CodingTransform, folder: Path) -> None:
        stored = {name: record for name, record in self._cell.measurements.items() if record.status == "ok"}
        try:
            keys = metric_keys(stored)
            missing = unavailable_metrics(stored)
        except VcbenchError as error:
            self._metric_checks = [Check(name, "unchecked", reason=str(error)) for name in stored]
            return
        reasons = {name: "is defined otherwise now" for name in stored if keys[name] != stored[name].key} | missing
        able = [name for name in stored if name not in reasons]
        try:
            clip = self._clip()
        except _UncheckedError as error:
            reasons |= dict.fromkeys(able, str(error))
            able = []
        else:
            kinds = [metric_class(name) for name in able]
            measured = measure(clip.read(), frames, kinds, transform, folder, threads=cpu_count())
            self._metric_checks = [_compared(item, stored[item.metric].value) for item in measured]
        self._metric_checks += [
            Check(name, "unchecked", stored[name].value, reason=reason) for name, reason in reasons.items()
        ]

    def _clip(self) -> Clip:
        try:
            return source_clip(self._cell.sequence, self._catalog, self._options.inputs)
        except VcbenchError as error:
            raise _UncheckedError(str(error)) from None


def _compared(measured: Measurement, stored: float | None) -> Check:
    found, name = measured.value, measured.metric
    if found is None or stored is None:
        return Check(name, "different", stored, found, f"{measured.status}: {measured.reason}")
    if found == stored:
        return Check(name, "equal", stored, found)
    close = math.isclose(found, stored, rel_tol=CLOSE, abs_tol=CLOSE**2)
    return Check(name, "equal" if close else "different", stored, found, f"differs by {found - stored:+.3g}")


def _pairs(tool: dict[str, str]) -> str:
    return ", ".join(f"{name} {value[:24]}" for name, value in tool.items())


def outcomes(checked: Sequence[CheckedCell]) -> dict[Outcome, int]:
    """How many checks ended how."""
    found: dict[Outcome, int] = {"equal": 0, "different": 0, "unchecked": 0}
    for check in (check for cell in checked for check in cell.checks):
        found[check.outcome] += 1
    return found
