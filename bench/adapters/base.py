"""The interfaces of codecs: ``Codec`` in Python, ``ExternalCodec`` for one that is a pair of programs."""

from __future__ import annotations

import math
import re
import shutil
import signal
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Sequence_
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.adapters.dependencies import parts as program_parts
from bench.adapters.dependencies import python_parts
from bench.adapters.post_filter import filtered
from bench.adapters.sandbox_view import environment, program_view
from bench.cards import Card
from bench.core.files import file_digest, files_digest
from bench.core.process import Process, ProcessError, Usage
from bench.core.sandbox import Sandbox
from bench.core.schema import explain
from bench.errors import (
    CardError,
    DecodeError,
    EncodeError,
    MediaError,
    SkippedError,
    TimeLimitError,
    TruncatedError,
    UnavailableError,
    says_disk_full,
    says_out_of_memory,
)
from bench.video import y4m
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, read_raw_frames
from bench.weights.files import Published


@dataclass(frozen=True)
class RatePoint:
    """One position of a codec's rate control."""

    parameter: str
    value: int | float

    @property
    def label(self) -> str:
        """Such as qp=27."""
        return f"{self.parameter}={self.value:g}"


@dataclass(frozen=True)
class EncodeInfo:
    """What an encode cost and what it wants to be known: command lines, the codec's own remarks.

    ``estimated_bits``: what the codec says its rate would be, where the card says rate_kind = "estimate"; the rate of
    every other codec is the size of its file. ``parameters``: numbers in
    the weights of the networks that it loads, encoder and decoder together. ``macs``: their multiply-accumulates, which
    whoever runs the codec counts.
    """

    usage: Usage | None = None
    commands: tuple[tuple[str, ...], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    estimated_bits: int | None = None
    macs: int | None = None
    parameters: int | None = None


class Settings(BaseModel):
    """Base of an adapter's own table in a card."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


class BaseCodec:
    """What every codec can tell: whether it runs here, what writes its bits, which formats it takes.

    Subclasses declare the model of their card's ``settings`` table as ``settings_model``.
    """

    settings_model: ClassVar[type[Settings]] = Settings

    folder: Path | None = None
    """The card's folder, below which the files lie that the card names; None for a card that is in no file."""

    trusted: bool = True
    """Whether the card may have programs run as it says; false for a card from elsewhere without --trust."""

    sandbox: Sandbox | None = None
    """What every program of the codec is started in; None: as it is."""

    def __init__(self, card: Card) -> None:
        self.card = card
        try:
            self.settings: Any = self.settings_model.model_validate(card.settings)
        except ValidationError as error:
            raise CardError(f"card {card.name}: settings:\n  {explain(error)}") from None

    def check(self) -> None:
        """Raise UnavailableError, saying what to do, if this codec cannot run on this machine."""

    def require_trust(self, action: str) -> None:
        """Raise UnavailableError unless the card is trusted; ``action`` is what it would do, such as "would run sh"."""
        if not self.trusted:
            raise UnavailableError(
                f"card {self.card.name} in {self.folder} {action}; give --trust if you trust that card as a program"
            )

    def tool(self) -> dict[str, str]:
        """Names and versions (or digests) of the programs and libraries that write the bits; part of a cell's key."""
        return {}

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        """Files that what is written depends on, by role: programs and what they are made of, files a card names.

        A codec from a Python file or a plug-in has that file, and what it imports from its folder.
        """
        module = sys.modules.get(type(self).__module__)
        file = getattr(module, "__file__", None)
        if file is None or type(self).__module__.partition(".")[0] == "bench":
            return {}
        return _with_parts("code", Path(file), python_parts(Path(file)))

    def identity(self) -> dict[str, str]:
        """``tool``, and a digest of each role of ``made_of`` that it lacks: what a cell's key holds of the codec beside
        its card."""
        return self._identity(self.tool())

    def identity_now(self) -> dict[str, str]:
        """``identity`` looked at again, without what takes the start of a program: shows that a file was replaced."""
        return self.identity()

    def _identity(self, tool: dict[str, str]) -> dict[str, str]:
        digests = {f"{role}_sha256": paths for role, paths in self.made_of().items()}
        return tool | {name: _digest(paths) for name, paths in digests.items() if name not in tool}

    def seen(self) -> tuple[Path, ...]:
        """Files and folders that the codec's programs see in a sandbox, beside the system's and their input."""
        return program_view(self.made_of())

    def confined(
        self, argv: Sequence_[str], folder: Path, *, read: Iterable[Path] = (), write: Iterable[Path] = ()
    ) -> list[str]:
        """The command line of a program of the codec that works in ``folder``: in the sandbox where it has one."""
        if self.sandbox is None:
            return list(argv)
        sees = (*self.seen(), *read)
        return self.sandbox.command(argv, folder=folder, read=sees, write=write, environment=environment())

    def published_weights(self) -> Mapping[float, Published]:
        """Weight files by rate value that ``vcbench fetch weights`` brings; none for most codecs."""
        return {}

    def transform(self, source: VideoFormat) -> CodingTransform:
        """How frames of a format become what this codec takes; SkippedError with the reason if they cannot."""
        wanted = self.card.input
        if source.chroma not in wanted.chroma:
            raise SkippedError(
                "chroma",
                f"{self.card.name} takes chroma {', '.join(wanted.chroma)}, the sequence is {source.pix_fmt}; "
                "convert the sequence (for RGB sources: --pix-fmt)",
            )
        if source.bit_depth not in wanted.bit_depths:
            depths = ", ".join(map(str, wanted.bit_depths))
            raise SkippedError(
                "bit_depth", f"{self.card.name} takes {depths} bit, the sequence has {source.bit_depth} bit"
            )
        if min(source.width, source.height) < wanted.minimum_size:
            raise SkippedError(
                "size",
                f"{self.card.name} needs sides of at least {wanted.minimum_size}, "
                f"the sequence is {source.width}x{source.height}",
            )
        return CodingTransform.fit(source, size_multiple=wanted.size_multiple, bit_depth=wanted.coding_bit_depth)


def _with_parts(role: str, file: Path, parts: tuple[Path, ...]) -> dict[str, tuple[Path, ...]]:
    return {role: (file,), **({f"{role}_parts": parts} if parts else {})}


def program_files(role: str, program: Path, arguments: Iterable[str] = ()) -> dict[str, tuple[Path, ...]]:
    """A program and what it is made of, as ``BaseCodec.made_of`` gives them."""
    return _with_parts(role, program, program_parts(program, arguments))


def _digest(paths: tuple[Path, ...]) -> str:
    return file_digest(paths[0]) if len(paths) == 1 else files_digest(paths)


class Codec(BaseCodec):
    """A codec in Python: one encoder and decoder at one configuration.

    The engine runs ``encode`` and ``decode`` in fresh processes of their own, decode on a copy of the bitstream in
    an empty folder.
    """

    @abstractmethod
    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        """Write the bitstream file of a sequence, and nothing else. Raises EncodeError.

        The frames are ``map(self.transform(source.format).forward, source.read())``, one at a time.
        """

    def prepare(self) -> None:
        """Import and load what all encodes and decodes share, so that `encode` and `decode` find it.

        A codec that has this method is prepared once in a process of its own, which is told of no source, and each
        encode and decode is a fork of it. It must start no thread and use no GPU. Without it, each is an interpreter
        of its own; so it is where programs are sandboxed.
        """

    runs_torch: ClassVar[bool] = False
    """Whether it runs networks of torch's, and imports that only as it codes: it is then imported before, to count."""

    @abstractmethod
    def decode(self, bitstream: Path) -> Iterator[Frame]:
        """Frames of a bitstream in the coded format (``transform(...).coded``), from the file alone.

        Raises DecodeError.
        """


@dataclass(frozen=True)
class Command:
    """One call of an external program.

    Frames travel as raw planar samples or as y4m, through a pipe or in a file that the arguments name; "none": the
    program reads the sequence by itself.
    """

    argv: tuple[str, ...]
    frames_as: Literal["raw", "y4m"]
    through: Literal["pipe", "file", "none"]
    file: Path | None = None
    reads: tuple[Path, ...] = ()
    """Files outside its folder that it reads, beside its own."""
    writes: tuple[Path, ...] = ()
    """Files outside its folder that it writes."""


class ExternalCodec(BaseCodec):
    """A codec that is one program to encode and one to decode; subclasses say their command lines."""

    time_limit: float | None = None

    @abstractmethod
    def encode_command(self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path) -> Command:
        """Command that writes the bitstream of a sequence's frames in the coded format.

        It runs in the bitstream's folder, where it may leave other files.
        """

    @abstractmethod
    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        """Command that writes the frames of a bitstream; ``coded`` is what they are expected to be."""

    def encode_commands(
        self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path
    ) -> tuple[Command, ...]:
        """Commands to run one after the other, each given the frames: more than one for an encoder in passes."""
        return (self.encode_command(source, coded, rate, bitstream),)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        """Run the encoder on a sequence, fed frame by frame. Raises EncodeError or TimeLimitError."""
        transform = self.transform(source.format)
        bitstream = bitstream.resolve()
        commands = self.encode_commands(source, transform.coded, rate, bitstream)
        usages = [self._encode_once(command, source, transform, bitstream.parent) for command in commands]
        usage = Usage(
            wall_s=sum(usage.wall_s for usage in usages),
            cpu_s=sum(usage.cpu_s for usage in usages),
            peak_rss_bytes=max(usage.peak_rss_bytes for usage in usages),
            start_s=usages[0].start_s,
            energy_j=_sum(usage.energy_j for usage in usages),
        )
        return EncodeInfo(usage, tuple(command.argv for command in commands))

    def _encode_once(self, command: Command, source: Sequence, transform: CodingTransform, folder: Path) -> Usage:
        frames = map(transform.forward, source.read())
        try:
            if command.through == "file":
                assert command.file is not None
                with command.file.open("wb") as stream:
                    write_frames(stream, transform.coded, frames, command.frames_as)
            with self.start(
                command, EncodeError, cwd=folder, stdin="pipe" if command.through == "pipe" else "null"
            ) as encoder:
                if command.through == "pipe":
                    # an encoder that stops reading has failed; finish() says how
                    with suppress(BrokenPipeError):
                        write_frames(encoder.stdin, transform.coded, frames, command.frames_as)
                return encoder.finish()
        except ProcessError as error:
            raise _cell_error(error, EncodeError) from None
        finally:
            if command.file is not None:
                command.file.unlink(missing_ok=True)

    def open_decoder(self, bitstream: Path, coded: VideoFormat) -> RunningDecoder:
        """Start decoding; frames come one at a time, the usage when they have ended."""
        return RunningDecoder(self, self.decode_command(bitstream, coded), coded, bitstream.parent)

    def start(
        self, command: Command, kind: type[EncodeError] | type[DecodeError], *, cwd: Path, **more: Any
    ) -> Process:
        """Start one of the codec's programs; raises an error of the kind, with the reason not_started."""
        argv = self.confined(command.argv, cwd, read=command.reads, write=command.writes)
        try:
            process = Process(argv, cwd=cwd, time_limit=self.time_limit, **more)
        except OSError as error:  # not there, not executable, of another machine
            raise kind("not_started", f"{command.argv[0]}: cannot be started: {error}") from None
        process.argv = list(command.argv)  # what a reader of its errors must know
        return process


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum; None where a part is missing."""
    known = list(parts)
    return None if None in known else math.fsum(part for part in known if part is not None)


class RunningDecoder(AbstractContextManager["RunningDecoder"]):
    """A decoder at work. ``frames`` yields what it writes; afterwards ``usage`` is its cost, ``macs`` its networks'."""

    def __init__(self, codec: ExternalCodec, command: Command, coded: VideoFormat, folder: Path) -> None:
        self.command = command
        self.usage: Usage | None = None
        self.macs: int | None = None
        self._codec = codec
        self._coded = coded
        self._folder = folder
        self._process: Process | None = None

    def frames(self) -> Iterator[Frame]:
        """Decoded frames in order; raises DecodeError or TimeLimitError. What the caller does between two frames does
        not count towards the time limit."""
        command = self.command
        piped = command.through == "pipe"
        try:
            self._process = self._codec.start(
                command, DecodeError, cwd=self._folder, stdout="pipe" if piped else "null"
            )
            if piped:
                try:
                    for frame in self._parse(self._process.stdout):
                        with self._process.held():
                            yield frame
                except TruncatedError:
                    self._process.finish()  # a decoder that died inside a frame says why
                    raise
            self.usage = self._process.finish()
            if not piped:
                assert command.file is not None
                if not command.file.is_file():
                    raise DecodeError("no_output", f"{command.argv[0]}: exited with 0 but wrote no {command.file.name}")
                with command.file.open("rb") as stream:
                    yield from self._parse(stream)
        except MediaError as error:
            raise DecodeError("damaged_output", str(error)) from None
        except ProcessError as error:
            raise _cell_error(error, DecodeError) from None

    def _parse(self, stream: BinaryIO) -> Iterator[Frame]:
        return filtered(self._written(stream), self._codec.card.post_filters)

    def _written(self, stream: BinaryIO) -> Iterator[Frame]:
        name = f"output of {Path(self.command.argv[0]).name}"
        if self.command.frames_as == "raw":
            yield from read_raw_frames(stream, self._coded, name)
            return
        assert self._process is not None
        if not stream.peek(1):  # type: ignore[attr-defined]
            return
        header = y4m.read_header(stream, name)
        yield from y4m.read_frames(stream, header, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.__exit__(kind, error, trace)


def _cell_error(
    error: ProcessError, kind: type[EncodeError] | type[DecodeError]
) -> EncodeError | DecodeError | TimeLimitError:
    if error.timed_out:
        return TimeLimitError(str(error))
    if says_disk_full(error.stderr):
        return kind("disk_full", str(error))
    if says_out_of_memory(error.stderr):
        return kind("oom", str(error))
    if error.returncode == -signal.SIGKILL:
        return kind("exit_status", f"{error}\n  (the kernel ends programs so when memory runs out)")
    return kind("exit_status", str(error))


def write_frames(stream: BinaryIO, fmt: VideoFormat, frames: Iterable[Frame], frames_as: Literal["raw", "y4m"]) -> None:
    """Write frames as raw samples or as y4m."""
    if frames_as == "y4m":
        stream.write(y4m.header_line(fmt))
    for frame in frames:
        if frames_as == "y4m":
            stream.write(b"FRAME\n")
        stream.write(frame.data.data)
    stream.flush()


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def fill(arguments: Iterable[str], values: Mapping[str, Any], where: str) -> list[str]:
    """Arguments with {name} replaced by values; CardError naming an unknown name."""

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise CardError(f"{where}: {{{name}}} is not a placeholder; use {', '.join(sorted(values))}")
        value = values[name]
        return f"{value:g}" if isinstance(value, float) else str(value)

    return [_PLACEHOLDER.sub(value_of, argument) for argument in arguments]


def placeholders(coded: VideoFormat, frames: int, rate: RatePoint) -> dict[str, Any]:
    """Values that a card's arguments may name.

    ``intra_period`` follows the VVC common test conditions: 32 frames up to 30 frames per second, 64 above.
    ``bits_per_second`` is the bitrate where the rate is in bits per pixel.
    """
    return {
        "rate": rate.value,
        "bits_per_second": round(rate.value * coded.width * coded.height * coded.fps),
        "width": coded.width,
        "height": coded.height,
        "fps": f"{coded.fps.numerator}/{coded.fps.denominator}",
        "fps_rounded": round(coded.fps),
        "frames": frames,
        "pix_fmt": coded.pix_fmt,
        "bit_depth": coded.bit_depth,
        "chroma": "400" if coded.chroma == "gray" else coded.chroma,
        "range": "full" if coded.full_range else "limited",
        "range_tv_pc": "pc" if coded.full_range else "tv",
        "range_0_1": int(coded.full_range),
        "intra_period": 32 if coded.fps <= 31 else 64,
    }


def copy_alone(bitstream: Path, folder: Path) -> Path:
    """Copy a bitstream into an empty folder, so that a decoder can see nothing else."""
    folder.mkdir()
    copy = folder / f"bitstream{bitstream.suffix}"
    shutil.copyfile(bitstream, copy)
    return copy


__all__ = [
    "BaseCodec",
    "Codec",
    "CodingTransform",
    "Command",
    "EncodeInfo",
    "ExternalCodec",
    "RatePoint",
    "RunningDecoder",
    "Settings",
    "copy_alone",
    "fill",
    "placeholders",
    "write_frames",
]
