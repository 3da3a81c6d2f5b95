"""One cell from start to end: encode, decode alone, measure, store. Runs in a worker process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.adapters.base import BaseCodec, Codec, EncodeInfo, ExternalCodec, copy_alone
from bench.engine.measure import measure
from bench.engine.plan import Cell
from bench.engine.store import Store, is_disk_full
from bench.errors import CellError, DecodeError, EncodeError, MediaError, StoreError, VcbenchError
from bench.metrics.base import Measurement
from bench.process import Usage
from bench.registry import metric_class
from bench.results import (
    CellResult,
    CodecRecord,
    CostRecord,
    MeasurementRecord,
    RateRecord,
    SequenceRecord,
)
from bench.video.frame import CodingTransform, Frame

Timing = Literal["alone", "shared"]


@dataclass(frozen=True)
class Task:
    """A cell to be worked on, and how."""

    cell: Cell
    metrics: Mapping[str, str]
    root: Path
    provenance: Mapping[str, Any]
    timing: Timing = "shared"
    threads: int = 1
    time_limit: float | None = None


def is_done(result: CellResult | None, metrics: Mapping[str, str], timing: Timing) -> bool:
    """Whether a stored result has all of the metrics (and times measured alone, if wanted): nothing is left to do."""
    return (
        result is not None and result.status == "ok" and _timed(result, timing) and not missing_metrics(result, metrics)
    )


def _timed(result: CellResult, timing: Timing) -> bool:
    costs = (result.encode, result.decode)
    return timing == "shared" or all(cost is not None and cost.timing == "alone" for cost in costs)


def missing_metrics(result: CellResult | None, metrics: Mapping[str, str]) -> list[str]:
    """Metrics that were not measured yet, by an older definition, or could not be for want of something."""
    stored = result.measurements if result is not None else {}
    return [
        name
        for name, key in metrics.items()
        if name not in stored or stored[name].key != key or stored[name].status in {"unavailable", "failed"}
    ]


def run_cell(task: Task) -> CellResult:
    """Work on a cell and write its result file; whatever goes wrong with the cell is a result too.

    Raises StoreError when results cannot be written any more (a full disk), which ends the run.
    """
    store = Store(task.root)
    try:
        with store.working_folder(task.cell.name) as folder:
            result = _outcome(task, store, folder)
            store.write(result)
            return result
    except OSError as error:
        if is_disk_full(error):
            raise StoreError(
                f"{task.root}: the disk is full; free some room and give the same command again: "
                "what is finished is kept"
            ) from None
        raise


def _outcome(task: Task, store: Store, folder: Path) -> CellResult:
    try:
        return _measured(task, store, folder, store.read(task.cell.name))
    except CellError as error:
        return failed_result(task, error.status, error.reason, str(error))
    except MediaError as error:
        return failed_result(task, "failed", "source", str(error))
    except StoreError:
        raise
    except VcbenchError as error:
        return failed_result(task, "failed", "error", f"{type(error).__name__}: {error}")
    except Exception as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        # a fault of ours or of a plug-in; the other cells must go on, and the trace must not be lost
        return failed_result(task, "failed", "internal", "".join(traceback.format_exception(error)).strip())


def failed_result(task: Task, status: str, reason: str, message: str) -> CellResult:
    """Result of a cell that could not be measured."""
    return CellResult.model_validate({**_description(task), "status": status, "reason": reason, "message": message})


def _measured(task: Task, store: Store, folder: Path, known: CellResult | None) -> CellResult:
    cell = task.cell
    codec = external(cell.codec.build(), task)
    transform = codec.transform(cell.sequence.format)
    if known is not None and not _reusable(known, store, task.timing):
        known = None
    wanted = missing_metrics(known, task.metrics)
    if known is not None and known.bitstream is not None:
        bitstream, encode = known.bitstream, known.encode
    else:
        path = folder / f"bitstream.{cell.codec.card.extension}"
        info = codec.encode(cell.sequence, cell.rate, path)
        _check_bitstream(path, info)
        encode = _cost(info.usage, task.timing, info)
        bitstream = store.keep_bitstream(cell.name, path)
    stored = store.bitstream_path(bitstream)
    decode = known.decode if known is not None else None
    if task.timing == "alone" and (decode is None or decode.timing != "alone"):
        decode = _timed_decode(codec, copy_alone(stored, folder / "timing"), transform)
    measured, watched = _decode_and_measure(task, codec, copy_alone(stored, folder / "decode"), transform, wanted)
    store.write_frames(cell.name, {item.metric: item.frames for item in measured if item.frames})
    records = {item.metric: _record(item, task.metrics[item.metric]) for item in measured}
    return CellResult.model_validate(
        {
            **_description(task),
            "status": "ok",
            "bitstream": bitstream,
            "encode": encode,
            "decode": decode or watched,
            "changes": transform.describe(),
            "measurements": {**(known.measurements if known else {}), **records},
        }
    )


def _reusable(known: CellResult, store: Store, timing: Timing) -> bool:
    return (
        known.status == "ok"
        and known.bitstream is not None
        and _timed(known, timing)
        and store.bitstream_is_whole(known.bitstream)
    )


def external(codec: BaseCodec, task: Task) -> ExternalCodec:
    """The codec as a pair of programs: its own, or, for a codec in Python, a fresh interpreter for each direction."""
    if isinstance(codec, Codec):
        from bench.adapters.child import ChildCodec

        codec = ChildCodec(codec, task.cell.codec.folder, trust=task.cell.codec.trust)
    if not isinstance(codec, ExternalCodec):
        raise EncodeError("adapter", f"{type(codec).__name__} is neither a Codec nor an ExternalCodec")
    codec.time_limit = task.time_limit
    return codec


def _check_bitstream(path: Path, info: EncodeInfo) -> None:
    if not path.is_file() or path.stat().st_size == 0:
        command = " ".join(info.commands[0]) if info.commands else "the encoder"
        what = "an empty" if path.is_file() else "no"
        raise EncodeError("no_bitstream", f"the encoder ended without an error but wrote {what} bitstream: {command}")


def _decode_and_measure(
    task: Task, codec: ExternalCodec, bitstream: Path, transform: CodingTransform, wanted: list[str]
) -> tuple[list[Measurement], CostRecord]:
    with codec.open_decoder(bitstream, transform.coded) as decoder:
        clock = _WaitingClock(decoder.frames())
        measured = measure(
            task.cell.sequence.read(),
            clock,
            [metric_class(name) for name in wanted],
            transform,
            bitstream.parent.parent,
            threads=task.threads,
        )
        usage = decoder.usage
    if usage is None:
        raise DecodeError("no_usage", "the decoder ended before its cost could be read")
    seconds = max(usage.cpu_s, clock.seconds)
    cost = CostRecord(
        seconds=seconds,
        cpu_s=usage.cpu_s,
        peak_rss_bytes=usage.peak_rss_bytes,
        timing="shared",
        commands=[list(decoder.command.argv)],
    )
    return measured, cost


def _timed_decode(codec: ExternalCodec, bitstream: Path, transform: CodingTransform) -> CostRecord:
    with codec.open_decoder(bitstream, transform.coded) as decoder:
        for _ in decoder.frames():
            pass
        return _cost(decoder.usage, "alone", EncodeInfo(commands=(decoder.command.argv,)))


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
        commands=[list(argv) for argv in info.commands],
        notes=info.notes,
    )


def _record(measured: Measurement, key: str) -> MeasurementRecord:
    return MeasurementRecord(
        key=key,
        status=measured.status,
        value=measured.value,
        reason=measured.reason,
        pooled=dict(measured.pooled),
        provenance=dict(measured.provenance),
    )


def _description(task: Task) -> dict[str, Any]:
    cell = task.cell
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
            conversion=sequence.conversion,
        ),
        "provenance": dict(task.provenance),
    }
