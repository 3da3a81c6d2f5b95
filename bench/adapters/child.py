"""A codec in Python as a pair of programs: a fresh interpreter that encodes, another that decodes.

``python -m bench.adapters.child encode|decode TASK.json``; decoded frames leave as y4m on standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from bench.adapters.base import Codec, Command, ExternalCodec, RatePoint, write_frames
from bench.catalog import Card
from bench.errors import DecodeError, VcbenchError
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, sequence_from_json, sequence_to_json


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

    def transform(self, source: VideoFormat) -> CodingTransform:
        return self._codec.transform(source)

    def encode_command(self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path) -> Command:
        task = {
            "sequence": sequence_to_json(source),
            "rate": [rate.parameter, rate.value],
            "bitstream": str(bitstream),
        }
        told = bitstream.with_name("encode.json")
        # the file of a command is gone when it has ended: a decoder that looks around finds no path of the source
        return Command(self._argv("encode", task, told), frames_as="raw", through="none", file=told)

    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        # beside the decode folder, so that the decoder finds the bitstream alone in it
        argv = self._argv("decode", {"bitstream": bitstream.name}, bitstream.parent.with_suffix(".json"))
        return Command(argv, frames_as="y4m", through="pipe")

    def _argv(self, direction: str, task: dict[str, Any], path: Path) -> tuple[str, ...]:
        path.write_text(json.dumps({**self._about_card, **task}), encoding="utf-8")
        return (sys.executable, "-m", __name__, direction, str(path))


def main(direction: str, task_file: str) -> None:
    """Encode or decode as the task file says."""
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    codec = build(Card.model_validate(task["card"]), folder=Path(task["card_folder"]), trust=task["trust"])
    if not isinstance(codec, Codec):
        raise TypeError(f"{codec} is no Codec")
    bitstream = Path(task["bitstream"])
    if direction == "encode":
        parameter, value = task["rate"]
        codec.encode(sequence_from_json(task["sequence"]), RatePoint(parameter, value), bitstream)
    else:
        # what the codec prints must not mix with the frames
        output, sys.stdout = sys.stdout.buffer, sys.stderr
        write_decoded(output, codec.decode(bitstream))


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
