"""A codec in Python as a pair of programs: a fresh interpreter that encodes, another that decodes.

Both run `bench.engine.codec_program`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from bench.adapters.base import Codec, Command, EncodeInfo, ExternalCodec, RatePoint, RunningDecoder
from bench.adapters.sandbox_view import environment, python_view
from bench.adapters.warm import WarmProcess, forget, process_of
from bench.cards import Card
from bench.core.process import Process, ProcessError, Supervised
from bench.core.sandbox import Sandbox
from bench.core.untrusted import parse_json, read_text
from bench.errors import (
    CardError,
    DecodeError,
    EncodeError,
    SkippedError,
    StoreError,
    UnavailableError,
    UsageError,
    VcbenchError,
)
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.scale import ScaledSource
from bench.video.sequence import Sequence, format_from_json, format_to_json, sequence_to_json

PROGRAM = "bench.engine.codec_program"
"""The module that the interpreters run, which knows how a card's codec is built."""

_DESCRIBE_S = 300.0
_WORDS_OF_INTERPRETER = 3
"""Of a command line: the interpreter, -m, and the module."""

_KINDS: dict[str, type[VcbenchError]] = {"CardError": CardError, "UsageError": UsageError}

CellErrorT = TypeVar("CellErrorT", EncodeError, DecodeError)


class ChildCodec(ExternalCodec):
    """Runs a Codec in interpreters of its own; the decoding one is told the card and the bitstream, nothing else."""

    def __init__(self, codec: Codec, card_folder: Path, *, trust: bool) -> None:
        self.card = codec.card
        self.sandbox = codec.sandbox
        self._codec = codec
        self._about_card = about_card(codec.card, card_folder, trust=trust)

    def check(self) -> None:
        self._codec.check()

    def tool(self) -> dict[str, str]:
        return self._codec.tool()

    def identity_now(self) -> dict[str, str]:
        return self._codec.identity_now()

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return self._codec.made_of()

    def seen(self) -> tuple[Path, ...]:
        return (*self._codec.seen(), *python_view(), Path(self._about_card["card_folder"]))

    def transform(self, source: VideoFormat) -> CodingTransform:
        return self._codec.transform(source)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        """As for every program, with the codec's remarks, its estimate and its own reason of a failure."""
        told = _outcome_file(bitstream)
        try:
            info = super().encode(source, rate, bitstream)
            outcome = _read_outcome(told)
            return replace(
                info,
                notes=outcome["notes"],
                estimated_bits=outcome["estimated_bits"],
                macs=_count(outcome.get("macs")),
                parameters=_count(outcome.get("parameters")),
            )
        except EncodeError as error:
            raise _with_reason(error, told) from None
        finally:
            told.unlink(missing_ok=True)

    def start(
        self, command: Command, kind: type[EncodeError] | type[DecodeError], *, cwd: Path, **more: Any
    ) -> Process:
        """As for every program; a fork of the codec's warm process, where it has one."""
        warm = self._warm()
        if warm is not None:
            more["begin"] = partial(_forked, warm)
        return super().start(command, kind, cwd=cwd, **more)

    def _warm(self) -> WarmProcess | None:
        return process_of(self._codec, self._about_card, PROGRAM) if self.sandbox is None else None

    def open_decoder(self, bitstream: Path, coded: VideoFormat) -> RunningDecoder:
        self._warm()  # its start is no part of the time that a decode takes
        return _ChildDecoder(self, self.decode_command(bitstream, coded), coded, bitstream.parent)

    def encode_command(self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path) -> Command:
        task = {
            **_told(source),
            "rate": [rate.parameter, rate.value],
            "bitstream": str(bitstream),
            "outcome": str(_outcome_file(bitstream).resolve()),
        }
        told = bitstream.with_name("encode.json")
        # the file of a command is gone when it has ended: a decoder that looks around finds no path of the source
        argv = self._argv("encode", task, told)
        return Command(argv, frames_as="raw", through="none", file=told, reads=(source.path.resolve(),))

    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        # beside the decode folder, so that the decoder finds the bitstream alone in it
        told = bitstream.parent.with_suffix(".json")
        outcome = _outcome_file(bitstream.parent).resolve()
        outcome.touch()
        task = {"bitstream": bitstream.name, "outcome": str(outcome), "coded": format_to_json(coded)}
        argv = self._argv("decode", task, told)
        return Command(argv, frames_as="y4m", through="pipe", reads=(told.resolve(),), writes=(outcome,))

    def _argv(self, direction: str, task: dict[str, Any], path: Path) -> tuple[str, ...]:
        path.write_text(json.dumps({**self._about_card, **task}), encoding="utf-8")
        return (sys.executable, "-m", PROGRAM, direction, str(path))


def _told(source: Sequence) -> dict[str, Any]:
    """A sequence as plain data, and the size that its frames are scaled to."""
    small = source.source
    if not isinstance(small, ScaledSource):
        return {"sequence": sequence_to_json(source)}
    size = [small.format.width, small.format.height, small.scaler]
    return {"sequence": sequence_to_json(small.sequence), "at_size": size}


def _forked(warm: WarmProcess, argv: SequenceOf[str], **settings: Any) -> Supervised:
    """A fork of a warm process; the program itself where that one has ended."""
    try:
        return warm.fork(argv[_WORDS_OF_INTERPRETER:], **settings)
    except OSError:
        forget(warm)
        return Supervised(argv, **settings)


class _ChildDecoder(RunningDecoder):
    """A decoding interpreter, whose failures have the codec's own reason."""

    def frames(self) -> Iterator[Frame]:
        told = _outcome_file(self._folder)
        try:
            yield from super().frames()
            self.macs = _count(_read_outcome(told).get("macs"))
        except DecodeError as error:
            raise _with_reason(error, told) from None


class UnseenCodec(Codec):
    """A codec from a Python file of a stranger's, which this process never executes: a confined interpreter answers
    what it is asked of the codec."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def check(self) -> None:
        self._asked(None)

    def tool(self) -> dict[str, str]:
        return {str(name): str(version) for name, version in self._asked(None)["tool"].items()}

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return {str(role): tuple(map(Path, paths)) for role, paths in self._asked(None)["made_of"].items()}

    def transform(self, source: VideoFormat) -> CodingTransform:
        return CodingTransform(source, format_from_json(self._asked(source)["coded"]))

    def seen(self) -> tuple[Path, ...]:
        return ()  # all of it lies in the card's folder

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        raise NotImplementedError("it runs in an interpreter of its own")

    def decode(self, bitstream: Path) -> Iterator[Frame]:
        raise NotImplementedError("it runs in an interpreter of its own")

    def _asked(self, source: VideoFormat | None) -> dict[str, Any]:
        assert self.folder is not None
        assert self.sandbox is not None
        text = json.dumps(about_card(self.card, self.folder, trust=self.trusted))
        return _described(text, None if source is None else json.dumps(format_to_json(source)), self.sandbox)


@lru_cache(maxsize=256)
def _described(about: str, source: str | None, sandbox: Sandbox) -> dict[str, Any]:
    """What a confined interpreter says of a codec; what it raises where the codec cannot run or take the source."""
    task = {**json.loads(about), "source": None if source is None else json.loads(source)}
    name = task["card"]["name"]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "describe.json"
        outcome = told.with_name("outcome.json")
        told.write_text(json.dumps({**task, "outcome": str(outcome)}), encoding="utf-8")
        argv = sandbox.command(
            [sys.executable, "-m", PROGRAM, "describe", str(told)],
            folder=told.parent,
            read=[*python_view(), Path(task["card_folder"])],
            environment=environment(),
        )
        with Process(argv, cwd=told.parent, time_limit=_DESCRIBE_S) as program:
            try:
                program.finish()
                answer = parse_json(read_text(outcome, told.parent))
                if "error" in answer:
                    raise _KINDS.get(str(answer["error"]), UnavailableError)(str(answer["message"]))
                if "skipped" in answer:
                    raise SkippedError(str(answer["skipped"]), str(answer["message"]))
                return dict(answer)
            except ProcessError as error:
                raise UnavailableError(f"card {name}: cannot be built in the sandbox: {error}") from None
            except (OSError, StoreError, ValueError, TypeError, KeyError) as error:
                raise UnavailableError(f"card {name}: gives no account of itself in the sandbox: {error}") from None


def about_card(card: Card, folder: Path, *, trust: bool) -> dict[str, Any]:
    """What another interpreter must know to build a card's codec, as plain data."""
    return {"card": card.model_dump(mode="json"), "card_folder": str(folder.resolve()), "trust": trust}


def _outcome_file(beside: Path) -> Path:
    return beside.with_name(f"{beside.stem}-outcome.json")


def _read_outcome(path: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return outcome


def _count(value: Any) -> int | None:
    """A number that a codec, perhaps a stranger's, says; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def _with_reason(error: CellErrorT, told: Path) -> CellErrorT:
    """The failure of an interpreter under the codec's reason, where it gave one before it ended."""
    if not told.is_file() or not told.stat().st_size:
        return error
    return type(error)(_read_outcome(told).get("reason", error.reason), str(error))
