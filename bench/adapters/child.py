"""A codec in Python as a pair of programs: a fresh interpreter that encodes, another that decodes.

``python -m bench.adapters.child encode|decode TASK.json``; decoded frames leave as y4m on standard output, an encoder's
remarks and the reason of a failure in a file that the task names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from bench.adapters.base import Codec, Command, EncodeInfo, ExternalCodec, RatePoint, RunningDecoder, write_frames
from bench.catalog import Card
from bench.errors import CellError, DecodeError, EncodeError, VcbenchError
from bench.plain import plain
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, sequence_from_json, sequence_to_json

CellErrorT = TypeVar("CellErrorT", EncodeError, DecodeError)


class ChildCodec(ExternalCodec):
    """Runs a Codec in interpreters of its own; the decoding one is told the card and the bitstream, nothing else."""

    def __init__(self, codec: Codec, card_folder: Path, *, trust: bool) -> None:
        self.card = codec.card
        self._codec = codec
        self._about_card = {
            "card": codec.card.model_dump(mode="json"),
            "card_folder": str(card_folder.resolve()),
            "trust": trust,
        }

    def check(self) -> None:
        self._codec.check()

    def tool(self) -> dict[str, str]:
        return self._codec.tool()

    def identity_now(self) -> dict[str, str]:
        return self._codec.identity_now()

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return self._codec.made_of()

    def transform(self, source: VideoFormat) -> CodingTransform:
        return self._codec.transform(source)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        """As for every program, with the codec's remarks, its estimate and its own reason of a failure."""
        told = _outcome_file(bitstream)
        try:
            info = super().encode(source, rate, bitstream)
            outcome = _read_outcome(told)
            return replace(info, notes=outcome["notes"], estimated_bits=outcome["estimated_bits"])
        except EncodeError as error:
            raise _with_reason(error, told) from None
        finally:
            told.unlink(missing_ok=True)

    def open_decoder(self, bitstream: Path, coded: VideoFormat) -> RunningDecoder:
        return _ChildDecoder(self.decode_command(bitstream, coded), coded, bitstream.parent, self.time_limit)

    def encode_command(self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path) -> Command:
        task = {
            "sequence": sequence_to_json(source),
            "rate": [rate.parameter, rate.value],
            "bitstream": str(bitstream),
            "outcome": str(_outcome_file(bitstream).resolve()),
        }
        told = bitstream.with_name("encode.json")
        # the file of a command is gone when it has ended: a decoder that looks around finds no path of the source
        return Command(self._argv("encode", task, told), frames_as="raw", through="none", file=told)

    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        # beside the decode folder, so that the decoder finds the bitstream alone in it
        told = bitstream.parent.with_suffix(".json")
        task = {"bitstream": bitstream.name, "outcome": str(_outcome_file(bitstream.parent).resolve())}
        return Command(self._argv("decode", task, told), frames_as="y4m", through="pipe")

    def _argv(self, direction: str, task: dict[str, Any], path: Path) -> tuple[str, ...]:
        path.write_text(json.dumps({**self._about_card, **task}), encoding="utf-8")
        return (sys.executable, "-m", __name__, direction, str(path))


class _ChildDecoder(RunningDecoder):
    """A decoding interpreter, whose failures have the codec's own reason."""

    def frames(self) -> Iterator[Frame]:
        try:
            yield from super().frames()
        except DecodeError as error:
            raise _with_reason(error, _outcome_file(self._folder)) from None


def _outcome_file(beside: Path) -> Path:
    return beside.with_name(f"{beside.stem}-outcome.json")


def _read_outcome(path: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return outcome


def _with_reason(error: CellErrorT, told: Path) -> CellErrorT:
    """The failure of an interpreter under the codec's reason, where it gave one before it ended."""
    if not told.is_file():
        return error
    return type(error)(_read_outcome(told).get("reason", error.reason), str(error))


def main(direction: str, task_file: str) -> None:
    """Encode or decode as the task file says."""
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    outcome = Path(task["outcome"])
    try:
        info = _work(direction, task)
        outcome.write_text(
            json.dumps({"notes": plain(info.notes), "estimated_bits": info.estimated_bits}), encoding="utf-8"
        )
    except CellError as error:
        outcome.write_text(json.dumps({"reason": error.reason}), encoding="utf-8")
        raise


def _work(direction: str, task: dict[str, Any]) -> EncodeInfo:
    codec = build(Card.model_validate(task["card"]), folder=Path(task["card_folder"]), trust=task["trust"])
    if not isinstance(codec, Codec):
        raise TypeError(f"{codec} is no Codec")
    bitstream = Path(task["bitstream"])
    if direction == "encode":
        parameter, value = task["rate"]
        info = codec.encode(sequence_from_json(task["sequence"]), RatePoint(parameter, value), bitstream)
        if info.estimated_bits is not None and codec.card.rate_kind != "estimate":
            raise EncodeError(
                "rate_kind", f'card {codec.card.name} says rate_kind = "bitstream", its codec estimates its rate'
            )
        return info
    # what the codec prints must not mix with the frames
    output, sys.stdout = sys.stdout.buffer, sys.stderr
    write_decoded(output, codec.decode(bitstream))
    return EncodeInfo()


def write_decoded(stream: BinaryIO, frames: Iterable[Frame]) -> None:
    """Write frames as y4m in the format of the first."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise DecodeError("no_frames", "the codec decoded no frame")
    write_frames(stream, first.format, _of_one_format(chain([first], frames), first.format), "y4m")


def _of_one_format(frames: Iterable[Frame], fmt: VideoFormat) -> Iterator[Frame]:
    for index, frame in enumerate(frames):
        if frame.format != fmt or frame.data.nbytes != fmt.frame_bytes:
            raise DecodeError(
                "frame_format",
                f"frame {index} is {frame.format.describe()} ({frame.data.nbytes} bytes), after {fmt.describe()}",
            )
        yield frame


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except VcbenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")
