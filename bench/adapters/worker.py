"""Codecs that run in an interpreter of the user's, through a worker process.

A cell's bitstream is what the worker wrote, inside the container of our own codecs: that carries what a decoder must
know and research code leaves out of its files (format, number of frames, weights, checksums). Everything a worker says
is held to what it did: its frames are counted, and the bits it reports are those of its file.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from pydantic import Field

from bench.adapters.base import Codec, EncodeInfo, RatePoint, Settings, program_files
from bench.adapters.sandbox_view import interpreter_view
from bench.adapters.worker_process import WorkerError, WorkerProcess
from bench.bitstream.container import DIGEST_BYTES, StreamHeader, StreamReader, StreamWriter
from bench.cards import parted
from bench.core.files import digest_of, file_digest
from bench.core.schema import InnerPath
from bench.errors import BitstreamError, CardError, DecodeError, EncodeError, SkippedError, UnavailableError
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, read_raw_frames

Pixels = Literal["planar", "rgb"]
"""How frames travel to a worker: as the planes of their pixel format, or as RGB pictures of 8 bit."""

SERVER = Path(__file__).with_name("workers") / "vcbench_worker.py"
"""What serves a Python file with a worker's three functions."""

_STREAM = 1
_UNIT_BYTES = 1 << 20


@dataclass(frozen=True)
class _Exchange:
    """Frames on their way to a worker and back. Workers that take RGB get and give pictures of 8 bit."""

    format: VideoFormat
    pixels: Pixels

    @property
    def frame_bytes(self) -> int:
        return 3 * self.format.width * self.format.height if self.pixels == "rgb" else self.format.frame_bytes

    def request(self, file: Path, frames: int) -> dict[str, Any]:
        """The description of a video in a request."""
        fmt = self.format
        return {
            "file": str(file),
            "width": fmt.width,
            "height": fmt.height,
            "frames": frames,
            "fps": f"{fmt.fps.numerator}/{fmt.fps.denominator}",
            "pixels": "rgb24" if self.pixels == "rgb" else fmt.pix_fmt,
            "frame_bytes": self.frame_bytes,
        }

    def pack(self, frame: Frame) -> Any:
        return np.ascontiguousarray(colour.to_rgb(frame)).data if self.pixels == "rgb" else frame.data.data

    def read(self, stream: BinaryIO, name: str) -> Iterator[Frame]:
        if self.pixels == "planar":
            yield from read_raw_frames(stream, self.format, name)
            return
        shape = (self.format.height, self.format.width, 3)
        while data := stream.read(self.frame_bytes):
            picture = np.frombuffer(data, np.uint8).reshape(shape)
            yield Frame(self.format, colour.from_rgb(picture, self.format).data)


class WorkerCodec(Codec):
    """Base of the codecs behind a worker: subclasses say how it is started and what it is told."""

    @abstractmethod
    def command(self) -> tuple[str, ...]:
        """Command line of the worker; raises UnavailableError, saying what to do."""

    @abstractmethod
    def model_files(self) -> dict[str, Path]:
        """What the model is read from, by name: it is in the key, and a stream of another model is refused."""

    def worker_settings(self) -> dict[str, Any]:
        """What the worker is told in each request."""
        return {}

    def pixels(self, coded: VideoFormat) -> Pixels:
        """How frames of a format travel."""
        return "planar"

    def transform(self, source: VideoFormat) -> CodingTransform:
        transform = super().transform(source)
        if self.pixels(transform.coded) == "rgb" and transform.coded.bit_depth != 8:
            raise SkippedError(
                "bit_depth",
                f"{self.card.name} takes RGB pictures of 8 bit, the sequence has {transform.coded.bit_depth} bit",
            )
        return transform

    def reported(self, reply: dict[str, Any], payload_bits: int) -> int | None:
        """The estimate of an encode, None where the worker's file is its rate; EncodeError for one that it is not."""
        bits = reply.get("bits")
        if bits != payload_bits:
            raise EncodeError(
                "rate_differs", f"{self.card.name}: the worker reports {bits} bits, its file has {payload_bits}"
            )
        return None

    def check(self) -> None:
        self.command()
        self.model_files()

    def tool(self) -> dict[str, str]:
        return {f"{name}_sha256": file_digest(path) for name, path in self.model_files().items()}

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return {**super().made_of(), **{name: (path,) for name, path in self.model_files().items()}}

    def seen(self) -> tuple[Path, ...]:
        return (*super().seen(), *interpreter_view(self.command()[0]), SERVER.parent)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        transform = self.transform(source.format)
        exchange = _Exchange(transform.coded, self.pixels(transform.coded))
        # beside the bitstream, where nothing stays behind if we are killed
        with tempfile.TemporaryDirectory(dir=bitstream.parent, prefix="worker-") as name:
            folder = Path(name).resolve()
            video, payload = folder / "video.raw", folder / f"payload.{self.card.extension}"
            with video.open("wb") as file:
                for frame in map(transform.forward, source.read()):
                    file.write(exchange.pack(frame))
            fields = {"rate": rate.value, "bitstream": str(payload), "video": exchange.request(video, source.frames)}
            try:
                versions, reply = self._ask("encode", fields, folder)
            except WorkerError as error:
                raise EncodeError(error.reason, str(error)) from None
            self._check_encoded(reply, source.frames, payload)
            estimate = self.reported(reply, 8 * payload.stat().st_size)
            header = StreamHeader(self._name, self._model, transform.coded, source.frames, _index(rate))
            _wrap(header, payload, bitstream)
            notes = {
                **reply.get("notes", {}),
                "worker": versions,
                "worker_command": list(self.command()),
                "worker_seconds": reply.get("seconds"),
                "worker_bits": reply.get("bits"),
                "container_bytes": bitstream.stat().st_size - payload.stat().st_size,
                "exchange": _told(exchange),
            }
        return EncodeInfo(notes=notes, estimated_bits=estimate)

    def _check_encoded(self, reply: dict[str, Any], frames: int, payload: Path) -> None:
        if reply.get("frames") != frames:
            raise EncodeError(
                "frame_count", f"{self.card.name}: the worker encoded {reply.get('frames')} frames of {frames}"
            )
        if not payload.is_file() or payload.stat().st_size == 0:
            what = "an empty" if payload.is_file() else "no"
            raise EncodeError("no_bitstream", f"{self.card.name}: the worker ended well and wrote {what} bitstream")

    def decode(self, bitstream: Path) -> Iterator[Frame]:
        with tempfile.TemporaryDirectory(dir=bitstream.parent, prefix="worker-") as name:
            folder = Path(name).resolve()
            video, payload = folder / "video.raw", folder / f"payload.{self.card.extension}"
            try:
                header = _unwrap(bitstream, payload, self._name, self._model)
            except BitstreamError as error:
                raise DecodeError("bitstream", f"{bitstream.name}: {error}") from None
            exchange = _Exchange(header.format, self.pixels(header.format))
            fields = {"bitstream": str(payload), "video": exchange.request(video, header.frames)}
            try:
                _, reply = self._ask("decode", fields, folder)
            except WorkerError as error:
                raise DecodeError(error.reason, str(error)) from None
            self._check_decoded(reply, header.frames, exchange.frame_bytes, video)
            with video.open("rb") as file:
                yield from exchange.read(file, f"output of {self.card.name}'s worker")

    def _check_decoded(self, reply: dict[str, Any], frames: int, frame_bytes: int, video: Path) -> None:
        size = video.stat().st_size if video.is_file() else 0
        if size != frames * frame_bytes or reply.get("frames") != frames:
            raise DecodeError(
                "frame_count",
                f"{self.card.name}: the worker says it decoded {reply.get('frames')} frames and wrote "
                f"{size / frame_bytes:g}, {frames} were encoded",
            )

    def _ask(self, request: str, fields: dict[str, Any], folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
        """Versions that a fresh worker names, and its reply to one request."""
        (folder / "scratch").mkdir()
        settings = self.worker_settings()
        with WorkerProcess(self.command()) as worker:
            versions = worker.hello(settings)
            return versions, worker.ask(request, {**fields, "settings": settings, "scratch": str(folder / "scratch")})

    @property
    def _name(self) -> str:
        return parted(self.card.name)[0]

    @property
    def _model(self) -> bytes:
        """What stands for the weights in a stream's header."""
        digests = {name: file_digest(path) for name, path in self.model_files().items()}
        return bytes.fromhex(digest_of(digests))[:DIGEST_BYTES]


def _told(exchange: _Exchange) -> str:
    if exchange.pixels == "planar":
        return f"{exchange.format.pix_fmt} samples as they are"
    return f"RGB pictures of 8 bit, {colour.describe(exchange.format)}"


def _index(rate: RatePoint) -> int:
    return int(rate.value) if float(rate.value).is_integer() and rate.value >= 0 else 0


def _wrap(header: StreamHeader, payload: Path, bitstream: Path) -> None:
    with bitstream.open("wb") as file, payload.open("rb") as content:
        writer = StreamWriter(file, header)
        while part := content.read(_UNIT_BYTES):
            writer.write(_STREAM, part)
        writer.close()


def _unwrap(bitstream: Path, payload: Path, name: str, model: bytes) -> StreamHeader:
    with bitstream.open("rb") as file, payload.open("wb") as content:
        reader = StreamReader(file)
        reader.header.expect(name, model, reader.header.rate_index + 1)
        for unit in reader.units():
            content.write(unit.payload)
    return reader.header


class WorkerFileSettings(Settings):
    """The ``settings`` table of a card with adapter = "worker"."""

    worker: InnerPath = Field(
        description="Python file beside the card with the functions versions, encode and decode; with serve = false, a "
        "program that speaks the protocol"
    )
    serve: bool = Field(default=True, description="whether vcbench_worker.py serves the file in the interpreter")
    interpreter_env: str | None = Field(
        default=None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="environment variable that names the interpreter; default the one that runs vcbench",
    )
    files: dict[str, InnerPath] = Field(default={}, description="model files below the card's folder")
    pixels: Pixels = Field(default="planar", description="form of the frames: planes, or 8-bit RGB pictures")
    options: dict[str, Any] = Field(default={}, description="passed to the worker unchanged")
    get: str = Field(default="", description="how to get what is missing, printed when it is")


class WorkerFileCodec(WorkerCodec):
    """A worker that lies beside its card."""

    settings_model = WorkerFileSettings
    settings: WorkerFileSettings

    def command(self) -> tuple[str, ...]:
        worker = self._inside(self.settings.worker)
        self.require_trust(f"would run {worker}")
        if not self.settings.serve:
            if not os.access(worker, os.X_OK):
                raise UnavailableError(f"{worker} is not executable; chmod +x it, or leave out serve = false")
            return (str(worker),)
        return (self._interpreter, str(SERVER), str(worker))

    def model_files(self) -> dict[str, Path]:
        files = {"worker": self.settings.worker, **self.settings.files}
        return {name: self._inside(path) for name, path in files.items()}

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return {**super().made_of(), **program_files("worker", self._inside(self.settings.worker))}

    def worker_settings(self) -> dict[str, Any]:
        files = {name: str(path) for name, path in self.model_files().items() if name != "worker"}
        return {**self.settings.options, "files": files}

    def pixels(self, coded: VideoFormat) -> Pixels:
        return self.settings.pixels

    def tool(self) -> dict[str, str]:
        return {**super().tool(), **self._versions}

    def identity_now(self) -> dict[str, str]:
        return self._identity(super().tool())

    def reported(self, reply: dict[str, Any], payload_bits: int) -> int | None:
        if self.card.rate_kind == "estimate":
            return whole_bits(self.card.name, reply)
        return super().reported(reply, payload_bits)

    @cached_property
    def _versions(self) -> dict[str, str]:
        """What the worker says that it runs; asked once, and only for a run."""
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                WorkerProcess(self.confined(self.command(), Path(folder))) as worker,
            ):
                return worker.hello(self.worker_settings())
        except WorkerError as error:
            raise UnavailableError(f"card {self.card.name}: {error}. {self.settings.get}".rstrip()) from None

    @property
    def _interpreter(self) -> str:
        return interpreter(self.settings.interpreter_env, self.settings.get)

    def _inside(self, path: str) -> Path:
        if self.folder is None:
            raise CardError(f"card {self.card.name}: settings.worker names a file, but the card has no folder")
        found = (self.folder / path).resolve()
        if not found.is_relative_to(self.folder.resolve()):
            raise CardError(f"card {self.card.name}: {path} leads out of the card's folder {self.folder}")
        if not found.is_file():
            raise UnavailableError(f"{found}: no such file. {self.settings.get}".rstrip())
        return found


def whole_bits(name: str, reply: dict[str, Any]) -> int:
    """The bits of an estimate in a worker's reply; EncodeError unless it is a whole number above 0."""
    bits = reply.get("bits")
    if not isinstance(bits, int) or isinstance(bits, bool) or bits <= 0:
        raise EncodeError("no_rate", f"{name}: the worker estimates {bits!r} bits; it must be a whole number above 0")
    return bits


def interpreter(variable: str | None, get: str) -> str:
    """The interpreter that a variable names, or ours where no variable is meant; UnavailableError saying what to do."""
    if variable is None:
        return sys.executable
    named = os.environ.get(variable)
    if not named:
        raise UnavailableError(f"set {variable} to the Python interpreter of the codec's environment. {get}".rstrip())
    found = shutil.which(named)
    if found is None:
        raise UnavailableError(f"{variable}={named} is not a program; correct it. {get}".rstrip())
    # not resolved: a virtual environment is known by the path of its interpreter's link
    return str(whole_path(variable, found))


def whole_path(variable: str, named: str) -> Path:
    """The path that a variable gives; UnavailableError for a relative one, since codecs run in folders of their own."""
    try:
        path = Path(named).expanduser()
    except RuntimeError:
        raise UnavailableError(
            f"{variable}={named} begins with a home that is not known; give the whole path"
        ) from None
    if not path.is_absolute():
        raise UnavailableError(f"{variable}={named} is relative; give the whole path, such as {path.absolute()}")
    return path
