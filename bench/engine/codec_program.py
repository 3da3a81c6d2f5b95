"""The program in which a codec in Python encodes, decodes, or says what it is.

``python -m bench.engine.codec_program encode|decode|describe TASK.json``, or ``serve SOCKET CARD`` for a warm process
(`bench.adapters.warm`), whose forks do the same; decoded frames leave as y4m on standard
output, an encoder's remarks, what a codec says of itself and the reason of a failure in a file that the task names.
`bench.adapters.child` writes the task.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.adapters.base import BaseCodec, Codec, EncodeInfo, ExternalCodec, RatePoint, write_frames
from bench.adapters.warm import serve
from bench.cards import Card
from bench.core.strict_json import plain
from bench.errors import (
    CardError,
    CellError,
    DecodeError,
    EncodeError,
    SkippedError,
    UnavailableError,
    UsageError,
    VcbenchError,
)
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.scale import at_size
from bench.video.sequence import format_from_json, format_to_json, sequence_from_json

if TYPE_CHECKING:
    from bench.networks.complexity import Counter


def _built(task: dict[str, Any]) -> BaseCodec:
    return build(Card.model_validate(task["card"]), folder=Path(task["card_folder"]), trust=task["trust"])


def _describe(task: dict[str, Any]) -> dict[str, Any]:
    try:
        codec = _built(task)
        codec.check()
        made_of = {role: [str(path) for path in paths] for role, paths in codec.made_of().items()}
        answer: dict[str, Any] = {"tool": codec.tool(), "made_of": made_of}
        if task["source"] is not None:
            answer["coded"] = format_to_json(codec.transform(format_from_json(task["source"])).coded)
        return answer
    except SkippedError as error:
        return {"skipped": error.reason, "message": str(error)}
    except (CardError, UnavailableError, UsageError) as error:
        return {"error": type(error).__name__, "message": str(error)}


def main(direction: str, task_file: str, codec: Codec | None = None) -> None:
    """Encode or decode as the task file says; ``codec``: its codec, where that is prepared already."""
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    outcome = Path(task["outcome"])
    if direction == "describe":
        outcome.write_text(json.dumps(_describe(task)), encoding="utf-8")
        return
    try:
        info = _work(direction, task, codec)
        said = {
            "notes": plain(info.notes),
            "estimated_bits": info.estimated_bits,
            "macs": info.macs,
            "parameters": info.parameters,
        }
        outcome.write_text(json.dumps(said), encoding="utf-8")
    except CellError as error:
        outcome.write_text(json.dumps({"reason": error.reason}), encoding="utf-8")
        raise


def _work(direction: str, task: dict[str, Any], prepared: Codec | None) -> EncodeInfo:
    codec = prepared or _built(task)
    if not isinstance(codec, Codec | ExternalCodec):
        raise TypeError(f"{codec} is not a Codec")
    with _counting(codec) as counter:
        info = _coded(direction, task, codec)
    return info if counter is None else replace(info, macs=counter.macs)


@contextmanager
def _counting(codec: Codec | ExternalCodec) -> Iterator[Counter | None]:
    """Count the networks of a codec in Python that has some; None for one that has none."""
    if not isinstance(codec, Codec) or not (codec.runs_torch or "torch" in sys.modules):
        yield None
        return
    from bench.networks.complexity import counting

    with counting() as counter:
        yield counter


def _coded(direction: str, task: dict[str, Any], codec: Codec | ExternalCodec) -> EncodeInfo:
    bitstream = Path(task["bitstream"])
    if direction == "encode":
        parameter, value = task["rate"]
        sequence = sequence_from_json(task["sequence"])
        if "at_size" in task:
            sequence = at_size(sequence, *task["at_size"])
        info = codec.encode(sequence, RatePoint(parameter, value), bitstream)
        if info.estimated_bits is not None and codec.card.rate_kind != "estimate":
            raise EncodeError(
                "rate_kind", f'card {codec.card.name} says rate_kind = "bitstream", its codec estimates its rate'
            )
        return info
    # what the codec prints must not mix with the frames
    output, sys.stdout = sys.stdout.buffer, sys.stderr
    if isinstance(codec, Codec):
        write_decoded(output, codec.decode(bitstream))
    else:
        with codec.open_decoder(bitstream.absolute(), format_from_json(task["coded"])) as decoder:
            write_decoded(output, decoder.frames())
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


def _told(words: Sequence[str], codec: Codec | None = None) -> None:
    try:
        main(words[0], words[1], codec)
    except VcbenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _serve(number: str, about: str) -> None:
    """Be a warm process, asked by the socket of that number."""
    with socket(fileno=int(number)) as asked:
        task = json.loads(about)
        codec = _built(task)
        if isinstance(codec, Codec):
            serve(asked, codec, lambda words: _told(words, codec))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(*sys.argv[2:])
    else:
        _told(sys.argv[1:])
