"""Stored results checked again: bitstreams, what they decode to, and on request the measured values and the encoder."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from bench.adapters.base import RatePoint, copy_alone
from bench.bitstream.units import container_bytes
from bench.cards import Catalog
from bench.core.files import hash_file
from bench.core.process import cpu_count
from bench.core.sandbox import Sandbox, chosen
from bench.core.untrusted import read_features, regular
from bench.engine.cell import external
from bench.engine.measure import check_format, measure
from bench.engine.plan import metric_keys, unavailable_metrics
from bench.engine.store.folder import Store
from bench.engine.verify.origin import source_clip, stored_codec, stored_format
from bench.errors import (
    BitstreamError,
    CellError,
    MediaError,
    StoreError,
    UnavailableError,
    UsageError,
    VcbenchError,
)
from bench.metrics.base import Measurement
from bench.records.cell import BitstreamRecord, CellResult, MeasurementRecord
from bench.registry import metric_class
from bench.results.result_set import ResultSet
from bench.video.frame import CodingTransform, DigestedFrames

CLOSE = 1e-6
"""Relative difference up to which a value counts as equal: processors and libraries round sums differently."""

CLOSE_FEATURES = 1e-5
"""The same for a network's features: the norm of the difference relative to the norm."""

INEXACT = 1e3
"""How many times that is allowed where the last bits of what is decoded may differ between machines."""

Outcome = Literal["equal", "different", "unchecked", "claimed"]
OUTCOMES: tuple[Outcome, ...] = ("equal", "different", "unchecked", "claimed")
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One stored fact and what was found now.

    what: "bitstream", "rate", "frames", "source", the name of a metric, "encode", or "encode_s" and "decode_s".
    outcome: "equal" or "different"; "unchecked" where something that the check needs is not here; "claimed" for what
    nobody can compute again, such as the times of another machine.
    """

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
    """How to check.

    metrics: measure again. encode: of each codec, how many cells to code again, drawn at random; 0 for none.
    inputs: files in which source clips are looked for, by digest, beside those of datasets. sandbox: what encoders and
    decoders run in; None: as they are.
    """

    metrics: bool = False
    inputs: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    trust: bool = False
    time_limit: float | None = None
    encode: int = 0
    sandbox: Sandbox | None = field(default_factory=chosen)


def choose(cells: Iterable[CellResult], sample: int | None) -> list[CellResult]:
    """The cells that have a bitstream, or `sample` of them, drawn so that nobody can tell beforehand which."""
    able = [cell for cell in cells if cell.status == "ok" and cell.bitstream is not None]
    if sample is None or sample >= len(able):
        return able
    drawn = random.SystemRandom().sample(range(len(able)), sample)
    return [able[number] for number in sorted(drawn)]


def verify(folder: Path, cells: Iterable[CellResult], options: VerifyOptions) -> Iterator[CheckedCell]:
    """Check cells of a result folder one after the other; nothing in the folder is changed.

    Each bitstream is decoded in a fresh process that sees a copy of it alone. Codecs, their rate kinds and source clips
    are those that are found here, never those in the folder, which may come from anybody. Source clips are needed for
    metrics and for encoding only.
    """
    store, catalog = Store(folder), Catalog(options.paths)
    cells = list(cells)
    drawn = _drawn(cells, options.encode)
    for cell in cells:
        yield _Verification(cell, store, catalog, options, encode=cell.name in drawn).run()


def _drawn(cells: Iterable[CellResult], count: int) -> set[str]:
    """Names of `count` cells of each codec."""
    by_codec: dict[str, list[CellResult]] = {}
    for cell in cells:
        by_codec.setdefault(cell.codec.name, []).append(cell)
    return {cell.name for own in by_codec.values() for cell in choose(own, count)} if count else set()


class _UncheckedError(Exception):
    """Why something cannot be checked."""


class _Verification:
    """One cell being checked."""

    def __init__(
        self, cell: CellResult, store: Store, catalog: Catalog, options: VerifyOptions, *, encode: bool
    ) -> None:
        assert cell.bitstream is not None
        self._cell = cell
        self._bitstream: BitstreamRecord = cell.bitstream
        self._store = store
        self._path = store.bitstream_path(cell.bitstream)
        self._options = options
        self._encode = encode
        self._note: str | None = None
        self._metric_checks: list[Check] = []
        self._decode_s: float | None = None
        self._entry = _once(
            lambda: stored_codec(cell.codec, catalog, trust=options.trust, outside=store.root, sandbox=options.sandbox),
        )
        self._clip = _once(lambda: source_clip(cell.sequence, catalog, options.inputs, outside=store.root))

    def run(self) -> CheckedCell:
        bitstream = self._check_bitstream()
        if bitstream.outcome != "equal":
            unchecked = Check("frames", "unchecked", reason="the bitstream is not the one that was measured")
            return CheckedCell(self._cell.name, (bitstream, unchecked), self._note)
        checks = [bitstream, self._check_rate(), self._check_frames()]
        if self._options.metrics or self._encode:
            checks.append(self._check_source())
        checks += self._metric_checks
        encode_s = None
        if self._encode:
            coded, rate, encode_s = self._check_encode()
            checks.append(coded)
            if rate is not None:
                checks[1] = rate
        return CheckedCell(self._cell.name, (*checks, *self._times(encode_s)), self._note)

    def _check_bitstream(self) -> Check:
        stored = self._bitstream.sha256
        try:
            size = regular(self._path, self._store.root)
        except FileNotFoundError:
            return Check("bitstream", "different", stored, None, f"bitstreams/{self._path.name} is missing")
        except StoreError as error:
            return Check("bitstream", "different", stored, None, str(error))
        found = hash_file(self._path)
        if found == stored and size == self._bitstream.bytes:
            return Check("bitstream", "equal", stored, found)
        reason = f"bitstreams/{self._path.name} has other bytes ({size}, measured were {self._bitstream.bytes})"
        return Check("bitstream", "different", stored, found, reason)

    def _check_rate(self) -> Check:
        """The rate by the card that is found here: what a result file says of itself does not count."""
        cell, claimed = self._cell, self._cell.bits
        try:
            card = self._entry().card
        except _UncheckedError as error:
            return Check("rate", "unchecked", claimed, reason=str(error))
        try:
            container = container_bytes(self._path) if card.container else 0
        except BitstreamError as error:
            return Check("rate", "different", claimed, None, str(error))
        measured = 8 * (self._bitstream.bytes - container)
        if cell.codec.rate_kind != card.rate_kind:
            reason = f"the rate kind is {card.rate_kind} by the card here, {cell.codec.rate_kind} in the result file"
            return Check("rate", "different", claimed, None if card.rate_kind == "estimate" else measured, reason)
        if card.rate_kind == "estimate":
            reason = "it is the encoder's estimate; --encode asks the encoder again"
            return Check("rate", "claimed", claimed, reason=reason)
        if cell.estimated_bits is not None:
            reason = f"estimated_bits claims {cell.estimated_bits} bits for a bitstream of {measured}"
            return Check("rate", "different", cell.estimated_bits, measured, reason)
        if claimed != measured:
            reason = f"the result file counts {claimed} bits, the bitstream has {measured} by the card here"
            return Check("rate", "different", claimed, measured, reason)
        return Check("rate", "equal", claimed, measured)

    @property
    def _slack(self) -> float:
        """How many times `CLOSE` values may differ."""
        return 1.0 if self._entry().card.decodes_exactly else INEXACT

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
        if not self._entry().card.decodes_exactly:
            reason = "last bits may differ between machines, its card says; --metrics compares what was measured"
            return Check("frames", "claimed", stored.sha256, found, reason)
        return Check("frames", "different", stored.sha256, found, "the bitstream decodes to other frames")

    def _decode(self) -> DigestedFrames:
        """Decode, and measure where that is wanted and possible; the frames that came."""
        codec = external(self._entry(), self._options.time_limit)
        tool = codec.identity()
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
                if decoder.usage is not None and not self._options.metrics:
                    self._decode_s = decoder.usage.wall_s
                return frames

    def _check_source(self) -> Check:
        stored = self._cell.sequence.sha256
        try:
            return Check("source", "equal", stored, self._clip().source.digest())
        except _UncheckedError as error:
            return Check("source", "unchecked", stored, None, str(error))

    def _measure(self, frames: DigestedFrames, transform: CodingTransform, folder: Path) -> None:
        stored = self._cell.measurements
        try:
            keys = metric_keys(stored)
            missing = unavailable_metrics(stored)
        except VcbenchError as error:
            self._metric_checks = [Check(name, "unchecked", reason=str(error)) for name in stored]
            return
        absent = {name: record for name, record in stored.items() if record.status in {"unavailable", "failed"}}
        self._metric_checks = [
            Check(name, "claimed", reason=f"the result file has no value: {record.status}: {record.reason}")
            for name, record in absent.items()
        ]
        stored = {name: record for name, record in stored.items() if name not in absent}
        reasons = {name: "is defined otherwise now" for name in stored if keys[name] != stored[name].key}
        reasons |= {name: reason for name, reason in missing.items() if name in stored}
        able = [name for name in stored if name not in reasons]
        try:
            clip = self._clip()
        except _UncheckedError as error:
            reasons |= dict.fromkeys(able, str(error))
            able = []
        else:
            kinds = [metric_class(name) for name in able]
            measured = measure(clip.read(), frames, kinds, transform, folder, threads=cpu_count())
            self._metric_checks += [self._compared(item, stored[item.metric]) for item in measured]
        self._metric_checks += [
            Check(name, "unchecked", stored[name].value, reason=reason) for name, reason in reasons.items()
        ]

    def _compared(self, measured: Measurement, stored: MeasurementRecord) -> Check:
        """Everything of a measurement that a table, a report or a leaderboard is computed from."""
        name, found, slack = measured.metric, measured.value, self._slack
        if measured.status != stored.status or (found is None) != (stored.value is None):
            was, now = (f"{item.status} ({item.reason})" if item.reason else item.status for item in (stored, measured))
            return Check(name, "different", stored.value, found, f"stored as {was}, now {now}")
        differences = [
            *_differing("value", stored.value, found, slack),
            *(
                text
                for key in sorted({*stored.pooled, *measured.pooled})
                for text in _differing(f"pooled.{key}", stored.pooled.get(key), measured.pooled.get(key), slack)
            ),
            *self._differing_features(measured.features, stored.features),
            *self._differing_frames(measured),
        ]
        if stored.provenance.get("pooling") != measured.provenance.get("pooling"):
            differences.append("provenance.pooling differs")
        if differences:
            return Check(name, "different", stored.value, found, "; ".join(differences[:3]))
        rounding = found is not None and stored.value is not None and found != stored.value
        reason = f"differs by {found - stored.value:+.3g}" if rounding else None  # type: ignore[operator]
        return Check(name, "equal", stored.value, found, reason)

    def _differing_features(self, found: Mapping[str, Any], stored: Mapping[str, str]) -> Iterator[str]:
        if set(found) != set(stored):
            yield f"features: {', '.join(sorted(stored)) or 'none'} stored, {', '.join(sorted(found)) or 'none'} now"
            return
        for side, array in found.items():
            try:
                known = read_features(self._store.root / "features" / stored[side], self._store.root)
            except (OSError, StoreError) as error:
                yield f"features.{side}: cannot be read: {error}"
                continue
            if known.shape != array.shape or known.dtype != array.dtype:
                yield f"features.{side}: {known.dtype} {known.shape}, now {array.dtype} {array.shape}"
                continue
            scale = float(np.linalg.norm(array))
            apart = float(np.linalg.norm(np.asarray(known) - array))
            if not apart <= self._slack * CLOSE_FEATURES * scale:
                yield f"features.{side}: differ by {apart / scale if scale else math.inf:.3g} of their norm"

    def _differing_frames(self, measured: Measurement) -> Iterator[str]:
        if not measured.frames:
            return
        try:
            stored = ResultSet((self._store.root,), [self._cell]).frames(measured.metric).value.tolist()
        except VcbenchError as error:
            yield f"values of frames: {error}"
            return
        if len(stored) != len(measured.frames):
            yield f"values of frames: {len(stored)} stored, {len(measured.frames)} now"
            return
        for index, (old, new) in enumerate(zip(stored, measured.frames, strict=True)):
            known = None if old is None or math.isnan(old) else old
            for text in _differing(f"frame {index}", known, new, self._slack):
                yield text
                return

    def _check_encode(self) -> tuple[Check, Check | None, float | None]:
        """The codec's bytes now, the rate where it is an estimate, and the seconds that encoding took."""
        cell, stored = self._cell, self._bitstream.sha256
        try:
            entry, clip = self._entry(), self._clip()
            codec = external(entry, self._options.time_limit)
            if not entry.card.deterministic:
                reason = f"{entry.card.name} is not deterministic: its card says that bytes differ from run to run"
                return Check("encode", "claimed", stored, None, reason), None, None
            if codec.identity() != cell.codec.tool:
                reason = f"was coded by {_pairs(cell.codec.tool)}; here is {_pairs(codec.identity())}"
                return Check("encode", "claimed", stored, None, reason), None, None
            rate = RatePoint(
                entry.card.rates.parameter, entry.card.rates_at(clip.format.bit_depth).check(cell.rate.value)
            )
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / f"bitstream.{entry.card.extension}"
                info = codec.encode(clip, rate, path)
                found = hash_file(path)
        except _UncheckedError as error:
            return Check("encode", "unchecked", stored, None, str(error)), None, None
        except (CellError, MediaError, OSError, ValueError) as error:
            return Check("encode", "different", stored, None, str(error)), None, None
        seconds = info.usage.wall_s if info.usage else None
        if found != stored or rate.parameter != cell.rate.parameter:
            reason = f"{entry.card.name} at {rate.parameter} {rate.value:g} gives other bytes than the stored bitstream"
            return Check("encode", "different", stored, found, reason), None, seconds
        estimate = None
        if entry.card.rate_kind == "estimate" and cell.codec.rate_kind == "estimate":
            same = info.estimated_bits == cell.estimated_bits
            outcome: Outcome = "equal" if same else "different"
            told = None if same else "the encoder estimates another rate"
            estimate = Check("rate", outcome, cell.estimated_bits, info.estimated_bits, told)
        return Check("encode", "equal", stored, found), estimate, seconds

    def _times(self, encode_s: float | None) -> Iterator[Check]:
        """Times of another machine and day can only be shown beside those of here."""
        for what, cost, found in (
            ("encode_s", self._cell.encode, encode_s),
            ("decode_s", self._cell.decode, self._decode_s),
        ):
            if cost is not None:
                yield Check(what, "claimed", cost.seconds, found)


def _once(find: Callable[[], T]) -> Callable[[], T]:
    """What `find` gives, looked for at the first call; _UncheckedError each time it cannot be found."""
    known: list[T | str] = []

    def get() -> T:
        if not known:
            try:
                known.append(find())
            except (UnavailableError, UsageError) as error:
                known.append(str(error))
        (outcome,) = known
        if isinstance(outcome, str):
            raise _UncheckedError(outcome)
        return outcome

    return get


def _differing(what: str, stored: float | None, found: float | None, slack: float = 1.0) -> Iterator[str]:
    if stored is None or found is None:
        if stored is not found:
            yield f"{what}: stored {stored}, now {found}"
    elif not math.isclose(found, stored, rel_tol=slack * CLOSE, abs_tol=slack * CLOSE**2):
        yield f"{what} differs by {found - stored:+.3g}"


def _pairs(tool: dict[str, str]) -> str:
    return ", ".join(f"{name} {value[:24]}" for name, value in tool.items())


def outcomes(checked: Sequence[CheckedCell]) -> dict[Outcome, int]:
    """How many checks ended how."""
    found = dict.fromkeys(OUTCOMES, 0)
    for check in (check for cell in checked for check in cell.checks):
        found[check.outcome] += 1
    return found
