"""Cells from start to end: encode, decode alone, measure, store. Runs in a worker process."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar

from bench.adapters.base import Codec, EncodeInfo, ExternalCodec, RunningDecoder, copy_alone
from bench.adapters.scaled import ScaledCodec
from bench.analysis.transfer import taken_as
from bench.bitstream.units import container_bytes
from bench.cards import Card
from bench.core.process import Usage
from bench.core.sandbox import DEFAULT_TIME_S, unreadable
from bench.core.strict_json import plain, plain_text
from bench.engine.measure import DecodedVideo, check_format, measure_together
from bench.engine.plan import Cell, CodecEntry, is_known, metric_keys, unavailable_metrics
from bench.engine.program_check import check_programs
from bench.engine.store.folder import Store, clear, disk_full, is_disk_full
from bench.errors import (
    BitstreamError,
    CellError,
    DecodeError,
    EncodeError,
    MediaError,
    StoreError,
    VcbenchError,
    is_out_of_memory,
)
from bench.metrics.base import Measurement
from bench.records.cell import (
    CellResult,
    CodecRecord,
    CostRecord,
    DecodedRecord,
    MeasurementRecord,
    RateRecord,
    SequenceRecord,
)
from bench.registry import metric_class
from bench.video.formats import Transfer
from bench.video.frame import CodingTransform, DigestedFrames, Frame
from bench.video.sequence import read_raw_frames

Timing = Literal["alone", "shared"]
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """Cells of one sequence to be worked on together, and how.

    Their decoded videos are measured side by side in one pass over the source. ``unavailable`` are the metrics that
    cannot run on this machine. ``threads`` are for filters, which cost the same on several; ``cpus`` is this worker's
    share of the machine.
    """

    cells: tuple[Cell, ...]
    metrics: Mapping[str, str]
    root: Path
    provenance: Mapping[str, Any]
    timing: Timing = "shared"
    threads: int = 1
    time_limit: float | None = None
    unavailable: frozenset[str] = frozenset()
    cpus: int = 1


def is_done(
    result: CellResult | None,
    metrics: Mapping[str, str],
    timing: Timing,
    unavailable: Container[str] = (),
    transfer: Transfer | None = None,
) -> bool:
    """Whether a stored result has all of the metrics (and times measured alone, if wanted): nothing is left to do.

    One that does not state the ``transfer`` that is known by now is written anew.
    """
    return (
        result is not None
        and result.status == "ok"
        and transfer in {None, result.sequence.transfer}
        and _timed(result, timing)
        and not missing_metrics(result, metrics, unavailable)
    )


def _timed(result: CellResult, timing: Timing) -> bool:
    costs = (result.encode, result.decode)
    return timing == "shared" or all(cost is not None and cost.timing == "alone" for cost in costs)


def missing_metrics(
    result: CellResult | None, metrics: Mapping[str, str], unavailable: Container[str] = ()
) -> list[str]:
    """Metrics that were not measured yet, by an older definition, or could not be for want of something.

    One that was ``unavailable`` and still is can wait: it is not worth another decode.
    """
    stored = result.measurements if result is not None else {}

    def is_missing(name: str, key: str) -> bool:
        if name not in stored:
            return True
        if stored[name].status == "unavailable":
            return name not in unavailable
        return stored[name].key != key or stored[name].status == "failed"

    return [name for name, key in metrics.items() if is_missing(name, key)]


def run_cells(task: Task) -> list[CellResult]:
    """Work on the cells of a task and write their result files; whatever goes wrong with a cell is a result too.

    Raises StoreError when results cannot be written any more (a full disk), which ends the run.
    """
    store = Store(task.root)
    # another driver of the same store, or this one before its worker was lost, may have come here first
    known = [store.read(cell.name) for cell in task.cells]
    finished = [
        result
        for result, cell in zip(known, task.cells, strict=True)
        if result is not None and is_done(result, task.metrics, task.timing, task.unavailable, cell.sequence.transfer)
    ]
    names = {result.name for result in finished}
    task = replace(task, cells=tuple(cell for cell in task.cells if cell.name not in names))
    return finished + _run_cells(task, store)


@cache
def _begin_to_prepare(metrics: tuple[str, ...]) -> None:
    """Have metrics load what they need, once a process, beside its first encoder."""

    def work() -> None:
        for name in metrics:
            with suppress(Exception):  # it happens again, and is told, where the metric is measured
                metric_class(name).prepare()

    Thread(target=work, name="metrics get ready").start()


def _run_cells(task: Task, store: Store) -> list[CellResult]:
    if task.timing == "shared":
        _begin_to_prepare(tuple(name for name in task.metrics if name not in task.unavailable))
    try:
        with ExitStack() as stack:
            works = [
                _Work(task, cell, store, stack.enter_context(store.working_folder(cell.name))) for cell in task.cells
            ]
            for work in works:
                work.attempt(work.encode)
            _measure(task, [work for work in works if work.failure is None])
            for work in works:
                if work.failure is None:
                    work.attempt(work.conclude)
            return [work.store() for work in works]
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(task.root) from None
        raise


def failed_result(task: Task, cell: Cell, status: str, reason: str, message: str) -> CellResult:
    """Result of a cell that could not be measured."""
    return CellResult.model_validate(
        {**_description(task, cell), "status": status, "reason": plain_text(reason), "message": plain_text(message)}
    )


def _failure(task: Task, cell: Cell, error: Exception) -> CellResult:
    """What an exception means for its cell; raises it again where it means something for the run."""
    if isinstance(error, CellError):
        if error.reason == "disk_full":
            raise disk_full(task.root) from None
        return failed_result(task, cell, error.status, error.reason, str(error))
    if isinstance(error, MediaError):
        return failed_result(task, cell, "failed", "source", str(error))
    if isinstance(error, StoreError) or (isinstance(error, OSError) and is_disk_full(error)):
        raise error
    if is_out_of_memory(error):
        message = f"memory ran out ({type(error).__name__}: {error}); give fewer --jobs, or a smaller clip"
        return failed_result(task, cell, "failed", "oom", message)
    if isinstance(error, VcbenchError):
        return failed_result(task, cell, "failed", "error", f"{type(error).__name__}: {error}")
    # a fault of ours or of a plug-in; the other cells must go on, and the trace must not be lost
    return failed_result(task, cell, "failed", "internal", "".join(traceback.format_exception(error)).strip())


class _Work:
    """One cell of a task on its way: encoded, measured, described. ``failure`` is its result if it went wrong."""

    def __init__(self, task: Task, cell: Cell, store: Store, folder: Path) -> None:
        self.failure: CellResult | None = None
        self._task = task
        self._cell = cell
        self._store = store
        self._folder = folder
        self._watched: CostRecord | None = None
        self._seen: CellResult | None = None
        self._frames: dict[str, tuple[float | None, ...]] = {}

    def attempt(self, step: Callable[[], T]) -> T | None:
        """What a step gives; None if it goes wrong, which ends this cell and no other."""
        try:
            return step()
        except Exception as error:
            self.failure = _failure(self._task, self._cell, error)
            return None

    def encode(self) -> None:
        """Have the bitstream in the store, from before or encoded now; decode for the clock where that is wanted."""
        task, cell, store = self._task, self._cell, self._store
        known = self._seen = store.read(cell.name)
        self._codec = external(cell.codec, task.time_limit)
        self._begun = cell.sequence.source.check(), check_programs(cell, self._codec)
        self._transform = self._codec.transform(cell.sequence.format)
        self._known = known if known is not None and _reusable(known, store, task.timing) else None
        if self._known is not None and self._known.bitstream is not None:
            self._bitstream, self._encode = self._known.bitstream, self._known.encode
            self._estimated_bits, self._parameters = self._known.estimated_bits, self._known.parameters
        else:
            # what an encoder leaves in its folder is gone before the decoder starts
            folder = self._folder / "encode"
            folder.mkdir()
            path = folder / f"bitstream.{cell.codec.card.extension}"
            info = self._codec.encode(cell.sequence, cell.rate, path)
            _check_bitstream(path, info, cell.codec.card)
            self._look_again()
            self._encode = _cost(info.usage, task.timing, info)
            self._estimated_bits, self._parameters = info.estimated_bits, info.parameters
            self._bitstream = store.keep_bitstream(cell.name, path)
            clear(self._folder)
        self._decode = self._known.decode if self._known is not None else None
        if task.timing == "alone" and (self._decode is None or self._decode.timing != "alone"):
            alone = copy_alone(store.bitstream_path(self._bitstream), self._folder / "timing")
            self._decode = _timed_decode(self._codec, alone, self._transform)

    def conclude(self) -> None:
        """Fail the cell unless clip, programs and the metrics' tools are still those of its key."""
        self._look_again()
        now = metric_keys(self._keys)
        changed = [name for name in self._records if now[name] != self._keys[name]]
        if changed:
            raise EncodeError(
                "tool_changed",
                f"what measures {', '.join(changed)} was replaced meanwhile; give the same command again",
            )

    def _look_again(self) -> None:
        source, programs = self._begun
        self._cell.sequence.source.check(source)
        check_programs(self._cell, self._codec, programs)

    def open(self, stack: ExitStack) -> _Decoding:
        """Start decoding the bitstream, a copy of it alone in a folder, for the measuring pass."""
        alone = copy_alone(self._store.bitstream_path(self._bitstream), self._folder / "decode")
        decoder = stack.enter_context(self._codec.open_decoder(alone, self._transform.coded))
        wanted = self._wanted()
        clock = _WaitingClock(decoder.frames())
        frames: Iterator[Frame] = clock
        if self._cell.codec.is_foreign:
            # a stranger's decoder ends before the source is opened, which it could find in this process
            with unreadable():
                frames = _decoded_ahead(clock, self._cell.sequence.frames, stack)
        digested = DigestedFrames(frames)
        video = DecodedVideo(digested, [metric_class(name) for name in wanted], self._transform, self._folder)
        return _Decoding(self, decoder, clock, digested, video)

    def _wanted(self) -> list[str]:
        """Metrics to measure; beside those asked for, what was measured of an earlier bitstream that is no more."""
        seen, task = self._seen, self._task
        self._keys = dict(task.metrics)
        if seen is None or seen.status != "ok":
            return list(self._keys)
        if seen.bitstream is not None and seen.bitstream.sha256 == self._bitstream.sha256:
            return missing_metrics(seen, task.metrics, task.unavailable)
        lost = [name for name, found in seen.measurements.items() if found.status == "ok" and is_known(name)]
        unavailable = unavailable_metrics(lost)
        self._keys |= metric_keys(name for name in lost if name not in unavailable)
        return list(self._keys)

    def take(self, measured: list[Measurement], watched: CostRecord, decoded: DigestedFrames) -> None:
        """Keep what was measured; features go to the store."""
        self._frames = {item.metric: item.frames for item in measured if item.frames}
        features = {item.metric: self._store.keep_features(item.features) for item in measured}
        self._records = {
            item.metric: _record(item, self._keys[item.metric], features[item.metric], self._cell.sequence.transfer)
            for item in measured
        }
        self._watched = watched
        self._decoded = DecodedRecord(
            frames=decoded.count, pix_fmt=self._transform.coded.pix_fmt, sha256=decoded.sha256
        )

    def store(self) -> CellResult:
        """Write what came of the cell; one that cannot be written is a failure too. Its failure, or what is stored."""
        if self.failure is None:
            stored = self.attempt(self._store_measured)
            if stored is not None:
                return stored
        assert self.failure is not None
        self._store.write(self.failure, wanted=self._task.metrics)
        return self.failure

    def _store_measured(self) -> CellResult:
        return self._store.write(self._result(), self._frames, seen=self._seen, wanted=self._task.metrics)

    def _result(self) -> CellResult:
        return CellResult.model_validate(
            {
                **_description(self._task, self._cell),
                "status": "ok",
                "bitstream": self._bitstream,
                "estimated_bits": self._estimated_bits,
                "parameters": self._parameters,
                "encode": self._encode,
                "decode": self._decode or self._watched,
                "decoded": self._decoded,
                "changes": self._transform.describe(),
                "measurements": self._records,
            }
        )


def _decoded_ahead(frames: Iterator[Frame], expected: int, stack: ExitStack) -> Iterator[Frame]:
    """The decoded frames, all of which have come before the first is given; up to one more than expected.

    They are kept in a file that has no name.
    """
    first = next(frames, None)
    if first is None:
        return iter(())
    kept = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    for frame in chain([first], islice(frames, expected)):
        check_format(frame.format, first.format)
        kept.write(frame.data.data)
    kept.seek(0)
    return read_raw_frames(kept, first.format, "decoded frames")


@dataclass(frozen=True)
class _Decoding:
    """A cell's decoder at work."""

    work: _Work
    decoder: RunningDecoder
    clock: _WaitingClock
    digested: DigestedFrames
    video: DecodedVideo

    def conclude(self, outcome: list[Measurement] | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        usage = self.decoder.usage
        if usage is None:
            raise DecodeError("no_usage", "the decoder ended before its cost could be read")
        cost = CostRecord(
            seconds=max(usage.cpu_s, self.clock.seconds),
            cpu_s=usage.cpu_s,
            peak_rss_bytes=usage.peak_rss_bytes,
            timing="shared",
            start_s=usage.start_s,
            macs=self.decoder.macs,
            commands=[list(self.decoder.command.argv)],
        )
        self.work.take(outcome, cost, self.digested)


def _measure(task: Task, works: list[_Work]) -> None:
    """Decode the cells and measure them side by side in one pass over their source."""
    if not works:
        return
    import cv2

    cv2.setNumThreads(task.cpus)  # with more, workers get into each other's way: flow costs half as much again
    with ExitStack() as stack:
        opened = [work.attempt(partial(work.open, stack)) for work in works]
        decodings = [decoding for decoding in opened if decoding is not None]
        videos = [decoding.video for decoding in decodings]
        outcomes: list[list[Measurement] | Exception]
        try:
            outcomes = measure_together(task.cells[0].sequence.read(), videos, threads=task.threads)
        except Exception as error:  # the source cannot be read
            outcomes = [error] * len(videos)
        for decoding, outcome in zip(decodings, outcomes, strict=True):
            decoding.work.attempt(partial(decoding.conclude, outcome))


def _reusable(known: CellResult, store: Store, timing: Timing) -> bool:
    return (
        known.status == "ok"
        and known.bitstream is not None
        and _timed(known, timing)
        and store.bitstream_is_whole(known.bitstream)
    )


def external(entry: CodecEntry, time_limit: float | None) -> ExternalCodec:
    """The codec as a pair of programs: its own, or, for a codec in Python, a fresh interpreter for each direction.

    At the size that its card names, where it names one.
    """
    codec = entry.build()
    if isinstance(codec, Codec):
        from bench.adapters.child import ChildCodec

        codec = ChildCodec(codec, entry.folder, trust=entry.trust)
    if not isinstance(codec, ExternalCodec):
        raise EncodeError("adapter", f"{type(codec).__name__} is neither a Codec nor an ExternalCodec")
    codec.time_limit = DEFAULT_TIME_S if time_limit is None and codec.sandbox is not None else time_limit
    return codec if entry.card.scaling is None else ScaledCodec(codec, entry.card.scaling)


def _check_bitstream(path: Path, info: EncodeInfo, card: Card) -> None:
    if not path.is_file() or path.stat().st_size == 0:
        command = " ".join(info.commands[0]) if info.commands else "the encoder"
        what = "an empty" if path.is_file() else "no"
        raise EncodeError("no_bitstream", f"the encoder ended without an error but wrote {what} bitstream: {command}")
    try:
        if card.container is not None and not container_bytes(path):
            reason = f'card {card.name} says container = "{card.container}", and its bitstream is in no such container'
            raise EncodeError("container", reason)
    except BitstreamError as error:
        raise EncodeError("container", str(error)) from None


def _timed_decode(codec: ExternalCodec, bitstream: Path, transform: CodingTransform) -> CostRecord:
    with codec.open_decoder(bitstream, transform.coded) as decoder:
        for _ in decoder.frames():
            pass
        return _cost(decoder.usage, "alone", EncodeInfo(commands=(decoder.command.argv,), macs=decoder.macs))


class _WaitingClock(Iterator[Frame]):
    """Frames of an iterator, with the seconds spent waiting for them."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self.seconds = 0.0

    def __next__(self) -> Frame:
        started = time.perf_counter()
        try:
            return next(self._frames)
        finally:
            self.seconds += time.perf_counter() - started


def _cost(usage: Usage | None, timing: Timing, info: EncodeInfo) -> CostRecord:
    if usage is None:
        raise EncodeError("no_usage", "the codec did not report its cost")
    return CostRecord(
        seconds=usage.wall_s,
        cpu_s=usage.cpu_s,
        peak_rss_bytes=usage.peak_rss_bytes,
        timing=timing,
        start_s=usage.start_s,
        macs=info.macs,
        energy_j=usage.energy_j if timing == "alone" else None,
        commands=[list(argv) for argv in info.commands],
        notes=plain(info.notes),
    )


def _record(measured: Measurement, key: str, features: dict[str, str], transfer: Transfer | None) -> MeasurementRecord:
    doubt = taken_as(measured.metric, transfer)
    provenance = {**measured.provenance, **({"transfer": doubt} if doubt else {})}
    return MeasurementRecord(
        key=key,
        status=measured.status,
        value=measured.value,
        reason=None if measured.reason is None else plain_text(measured.reason),
        pooled=dict(measured.pooled),
        provenance=plain(provenance),
        features=features,
    )


def _description(task: Task, cell: Cell) -> dict[str, Any]:
    card, sequence = cell.codec.card, cell.sequence
    fmt = sequence.format
    return {
        "name": cell.name,
        "key": cell.key,
        "codec": CodecRecord(
            name=card.name,
            title=card.title,
            kind=card.kind,
            rate_kind=card.rate_kind,
            card=card.model_dump(mode="json"),
            tool=cell.tool,
        ),
        "rate": RateRecord(parameter=cell.rate.parameter, value=cell.rate.value),
        "sequence": SequenceRecord(
            name=sequence.name,
            dataset=sequence.dataset,
            file=sequence.path.name,
            sha256=sequence.source.digest(),
            start=sequence.start,
            frames=sequence.frames,
            width=fmt.width,
            height=fmt.height,
            fps=str(fmt.fps),
            pix_fmt=fmt.pix_fmt,
            matrix=fmt.matrix,
            full_range=fmt.full_range,
            siting=fmt.siting,
            transfer=sequence.transfer,
            conversion=sequence.conversion,
            remarks=sequence.remarks,
        ),
        "provenance": dict(task.provenance),
    }
