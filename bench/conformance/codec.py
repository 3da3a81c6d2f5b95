"""What every codec is held to: it is run for real on generated clips, in the processes that the engine would start.

A rule gives what it saw, or raises: `_BrokenError` with what to do, `_InapplicableError` with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import Literal

import numpy as np

from bench.adapters.base import BaseCodec, Codec, ExternalCodec, RatePoint, copy_alone
from bench.adapters.child import ChildCodec
from bench.conformance.material import clip
from bench.core.process import Usage
from bench.core.sandbox import Sandbox, chosen, unreadable
from bench.engine.measure import check_format
from bench.engine.plan import CodecEntry
from bench.errors import CellError, DecodeError, MismatchError, TimeLimitError, VcbenchError
from bench.video import y4m
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, open_sequence, read_raw_frames

Outcome = Literal["ok", "failed", "not applicable"]

FRAMES = 9
"""Frames of the clip that most rules look at."""

USUAL_SIDES = 96, 64
ODD_SIDES = 67, 45

FLIPS = (0.02, 0.25, 0.5, 0.75, 0.98)
"""Where in a bitstream a bit is flipped, as a share of its length."""

LONG_CLASSICAL = (352, 288), (96, 224)
LONG_LEARNED = (176, 144), (64, 160)
"""Size and two lengths of the clips that memory is measured on: the first fills any look-ahead."""

HELD = 0.5
"""Share of the raw frames between the two lengths by which memory may grow."""

NOISE_BYTES = {"classical": 6 << 20, "learned": 24 << 20, "overfitted": 24 << 20, "diffusion": 24 << 20}
"""By how much peak memory differs from run to run."""

MEMORY_RUNS = 3
"""So many times at most is peak memory measured, and the least taken: what disturbs it raises it."""

HEAVY = ("torch", "torchvision", "tensorflow", "jax", "compressai", "diffusers", "pandas", "numba", "cv2", "matplotlib")
"""What ``check`` and ``tool`` must leave alone: they run for every codec of a listing or a plan."""

_TRACE = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Check:
    """What became of one rule: what was seen, what to do, or why it does not apply."""

    name: str
    outcome: Outcome
    message: str


class _BrokenError(Exception):
    """The codec breaks the rule; the message says how, and what to do."""


class _InapplicableError(Exception):
    """The rule does not apply; the message says why."""


def check_codec(
    entry: CodecEntry, *, source: Sequence | None = None, time_limit: float | None = 600
) -> Iterator[Check]:
    """Hold a codec to the contract, rule after rule; ``source`` takes the place of the generated clip of most rules.

    ``time_limit``: seconds that each of its processes may take. Where it cannot encode or decode at all, the rules
    after that are not tried. Raises what building the codec and its ``check`` raise: CardError, UnavailableError.
    """
    codec = entry.build()
    codec.check()
    with tempfile.TemporaryDirectory(prefix="vcbench-conformance-") as folder:
        trial = _Trial(entry, codec, Path(folder), source, time_limit)
        lost: str | None = None
        for name, rule in RULES.items():
            if lost is not None:
                yield Check(name, "not applicable", f"not tried, since {lost} failed")
                continue
            check = _outcome(name, rule, trial)
            yield check
            if check.outcome == "failed" and name in ("encode", "decode"):
                lost = name


def _outcome(name: str, rule: Callable[[_Trial], str], trial: _Trial) -> Check:
    try:
        return Check(name, "ok", rule(trial))
    except _InapplicableError as reason:
        return Check(name, "not applicable", str(reason))
    except (_BrokenError, CellError) as error:
        return Check(name, "failed", _shortened(str(error)))
    except Exception as error:  # of the codec's own transform, tool or command line
        return Check(
            name, "failed", _shortened(f"raises {type(error).__name__}: {error}; give an error of bench.errors")
        )


@dataclass(frozen=True)
class _Stream:
    """A bitstream, alone in its folder, and what it was made of."""

    path: Path
    source: Sequence
    left: tuple[str, ...]
    usage: Usage

    @property
    def size(self) -> int:
        return self.path.stat().st_size


@dataclass(frozen=True)
class _Video:
    """What a decoder wrote: digest of its frames, error of luma against the source, cost."""

    digest: str
    luma_mse: float
    usage: Usage


class _Trial:
    """A codec as the engine drives it, and the clips it is tried on."""

    def __init__(
        self, entry: CodecEntry, codec: BaseCodec, folder: Path, source: Sequence | None, time_limit: float | None
    ) -> None:
        self.entry, self.codec, self.card = entry, codec, codec.card
        self.in_python = isinstance(codec, Codec)
        self._folder = folder
        self._given = source
        programs = ChildCodec(codec, entry.folder, trust=entry.trust) if isinstance(codec, Codec) else codec
        assert isinstance(programs, ExternalCodec)
        self._programs = programs
        self._programs.time_limit = time_limit
        self._coded: dict[RatePoint, _Stream] = {}
        self._came_back: set[tuple[VideoFormat, int, RatePoint | None]] = set()
        self._count = 0

    @property
    def format(self) -> VideoFormat:
        """4:2:0 where the card claims it, at its first bit depth and a usual size."""
        wanted = self.card.input
        chroma = "420" if "420" in wanted.chroma else wanted.chroma[0]
        width, height = (max(side, wanted.minimum_size) for side in USUAL_SIDES)
        return VideoFormat(width, height, chroma=chroma, bit_depth=wanted.bit_depths[0])

    @property
    def rates(self) -> list[RatePoint]:
        """The card's rate points, in ascending order of the parameter."""
        return self.rates_of(self.source.format)

    @property
    def rate(self) -> RatePoint:
        """The one in the middle."""
        return _middle(self.rates)

    def rates_of(self, fmt: VideoFormat) -> list[RatePoint]:
        """The card's rate points for a format, in ascending order of the parameter."""
        rates = self.card.rates_at(fmt.bit_depth)
        return [RatePoint(rates.parameter, value) for value in sorted(rates.values)]

    @cached_property
    def source(self) -> Sequence:
        """The clip that most rules look at."""
        return self._given or self.clip(self.format, FRAMES)

    @cached_property
    def stream(self) -> _Stream:
        """Its bitstream at the middle rate."""
        return self.stream_at(self.rate)

    @cached_property
    def video(self) -> _Video:
        """What that bitstream decodes to."""
        return self.decode(self.stream, hidden=True)

    def stream_at(self, rate: RatePoint) -> _Stream:
        """The bitstream of that clip at a rate, encoded once for all rules."""
        if rate not in self._coded:
            self._coded[rate] = self.encode(self.source, rate)
        return self._coded[rate]

    def in_sandbox(self, sandbox: Sandbox) -> _Trial:
        """The same codec, confined."""
        entry = replace(self.entry, sandbox=sandbox)
        return _Trial(entry, entry.build(), self._new_folder(), self._given, self._programs.time_limit)

    def clip(self, fmt: VideoFormat, frames: int) -> Sequence:
        """A generated clip, as a y4m file."""
        path = self._new_folder() / "clip.y4m"
        with path.open("wb") as file:
            file.write(y4m.header_line(fmt))
            for frame in clip(fmt, frames):
                file.write(b"FRAME\n" + frame.data.tobytes())
        return open_sequence(path)

    def encode(self, source: Sequence, rate: RatePoint | None = None) -> _Stream:
        """Encode in a folder of its own, of which the bitstream alone is kept."""
        folder = self._new_folder()
        path = folder / f"bitstream.{self.card.extension}"
        with self._own_temporary_folder() as temporary:
            info = self._programs.encode(source, rate or _middle(self.rates_of(source.format)), path)
            left = [file.relative_to(temporary.parent) for file in temporary.rglob("*") if file.is_file()]
        if not path.is_file() or path.stat().st_size == 0:
            what = "an empty" if path.is_file() else "no"
            raise _BrokenError(
                f"the encoder ended without an error and wrote {what} bitstream; write it to the path it is given"
            )
        if self.in_python:  # a program may leave files in its folder, which the engine clears
            left += [file.relative_to(folder) for file in folder.rglob("*") if file != path]
        kept = self._new_folder() / path.name
        path.rename(kept)
        shutil.rmtree(folder)
        assert info.usage is not None
        return _Stream(kept, source, tuple(sorted(map(str, left))), info.usage)

    def decode(self, stream: _Stream, data: bytes | None = None, *, hidden: bool = False) -> _Video:
        """Decode a copy of a bitstream (or other bytes in its place) alone in an empty folder, and compare the frames.

        With ``hidden``, a generated clip is not where it was while the decoder runs.
        """
        changed = stream.path
        if data is not None:
            changed = self._new_folder() / stream.path.name
            changed.write_bytes(data)
        alone = copy_alone(changed, self._new_folder() / "decode")
        transform = self._programs.transform(stream.source.format)
        digest, count = hashlib.sha256(), 0
        with tempfile.TemporaryFile(dir=self._folder) as kept:
            # the clip is opened once the decoder has ended: it could find it in this process
            with (
                self._own_temporary_folder(),
                self._hidden() if hidden else nullcontext(),
                unreadable(),
                self._programs.open_decoder(alone, transform.coded) as decoder,
            ):
                for frame in decoder.frames():
                    check_format(frame.format, transform.coded)
                    digest.update(frame.data.tobytes())
                    kept.write(frame.data.data)
                    count += 1
                usage = decoder.usage
            if count != stream.source.frames:
                raise MismatchError("frame_count", f"decoded {count} frames, {stream.source.frames} were encoded")
            kept.seek(0)
            decoded = read_raw_frames(kept, transform.coded, "decoded frames")
            pairs = zip(stream.source.read(), decoded, strict=True)
            error = sum(_luma_mse(transform, shown, frame) for shown, frame in pairs)
        assert usage is not None
        return _Video(digest.hexdigest(), error / count, usage)

    def round_trip(self, fmt: VideoFormat, frames: int, rate: RatePoint | None = None) -> None:
        """Encode and decode a clip of a format, once for all rules; raises what goes wrong, with the format."""
        if (fmt, frames, rate) in self._came_back:
            return
        source = self.clip(fmt, frames)
        try:
            self.decode(self.encode(source, rate))
        except (CellError, _BrokenError) as error:
            what = f"{frames} frame{'s' if frames > 1 else ''} of {fmt.width}x{fmt.height} {fmt.pix_fmt}"
            at = f" at {rate.label}" if rate is not None else ""
            raise _BrokenError(f"{what}{at}: {error}; make it work, or narrow what the card claims") from None
        self._came_back.add((fmt, frames, rate))

    @contextmanager
    def _hidden(self) -> Iterator[None]:
        """While it lasts, the generated clip is not where it was; one of the user's stays."""
        path = self.source.path
        if self._given is not None:
            yield
            return
        hidden = path.rename(path.with_name("hidden"))
        try:
            yield
        finally:
            hidden.rename(path)

    @contextmanager
    def _own_temporary_folder(self) -> Iterator[Path]:
        """Processes that start meanwhile get a folder for temporary files that no other process sees."""
        before = os.environ.get("TMPDIR")
        folder = self._new_folder() / "temporary files"
        folder.mkdir()
        os.environ["TMPDIR"] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before

    def _new_folder(self) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder


def _middle(rates: list[RatePoint]) -> RatePoint:
    return rates[len(rates) // 2]


def _luma_mse(transform: CodingTransform, shown: Frame, decoded: Frame) -> float:
    difference = transform.inverse(decoded).planes[0].astype(np.float64) - shown.planes[0]
    return float(np.mean(difference**2))


def _start(trial: _Trial) -> str:
    """Building the codec, ``check`` and ``tool`` in a fresh interpreter load no heavy library."""
    entry = trial.entry
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.cards import Card\nfrom bench.registry import build\n"
        f"codec = build(Card.model_validate_json({entry.card.model_dump_json()!r}), "
        f"folder=Path({str(entry.folder.resolve())!r}), trust={entry.trust})\ncodec.check()\ncodec.tool()\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise _BrokenError(f"cannot be built in a fresh interpreter: {last[0]}")
    if loaded := ", ".join(done.stdout.splitlines()[-1].split()):
        raise _BrokenError(
            f"check() and tool() load {loaded}, which delays every listing; import it where it is used, and look with "
            "importlib.util.find_spec and importlib.metadata.version"
        )
    return "check() and tool() load no heavy library"


def _tool(trial: _Trial) -> str:
    first, second = trial.codec.identity(), trial.entry.build().identity()
    if not all(isinstance(part, str) for item in first.items() for part in item):
        raise _BrokenError(f"tool() is {first!r}; give names and versions as texts")
    if first != second:
        raise _BrokenError(
            f"tool() changes from call to call: {first} and {second}; results would never be found again"
        )
    if not first:
        return "tool() names nothing: a new version's results would count as this one's"
    return ", ".join(f"{name} {value[:16]}" for name, value in first.items())


def _encode(trial: _Trial) -> str:
    stream = trial.stream
    if stream.left:
        raise _BrokenError(
            f"leaves {', '.join(stream.left)} beside the bitstream; all that a decoder needs is in that one file"
        )
    what = f"{trial.source.frames} frames of {trial.source.format.describe()}"
    return f"{stream.size} bytes for {what} at {trial.rate.label} ({stream.usage.wall_s:.1f} s)"


def _decode(trial: _Trial) -> str:
    try:
        seconds = trial.video.usage.wall_s
    except CellError:
        trial.decode(trial.stream)
        raise _BrokenError(
            "decodes only while the source clip is in its place; put what the decoder needs into the bitstream"
        ) from None
    return f"{trial.source.frames} frames in the coded format, from the file alone in an empty folder ({seconds:.1f} s)"


def _alone(trial: _Trial) -> str:
    sandbox = chosen()
    if sandbox is None:
        raise _InapplicableError(
            "there is no sandbox here (vcbench doctor says why), so it is unknown whether the decoder reads other "
            "files, asks the network or looks into other processes"
        )
    try:
        confined = trial.in_sandbox(sandbox)
        stream = confined.encode(trial.source)
    except (CellError, VcbenchError) as error:
        raise _BrokenError(
            "encodes only if it can see or change more than the clip and its bitstream; write nothing else, and "
            f"name what the encoder needs in settings.files: {error}"
        ) from None
    remedy = "put what the decoder needs into the bitstream, beside the card, or into settings.files"
    streams = [stream, trial.stream] if trial.card.deterministic else [stream]
    try:
        digests = {confined.decode(stream).digest for stream in streams}
    except CellError as error:
        raise _BrokenError(
            f"decodes only if it sees more than its own program and the bitstream; {remedy}: {error}"
        ) from None
    if trial.card.deterministic and digests != {trial.video.digest}:
        raise _BrokenError(f"decodes to different frames when it sees only its own program and the bitstream; {remedy}")
    return f"encodes and decodes the same in the sandbox ({sandbox.method})"


def _repeat(trial: _Trial) -> str:
    if not trial.card.deterministic:
        raise _InapplicableError("the card says deterministic = false")
    if trial.encode(trial.source).path.read_bytes() != trial.stream.path.read_bytes():
        raise _BrokenError(
            "encoding twice gives different bitstreams; fix seeds and threads, or say deterministic = false"
        )
    return "encoding twice gives the same bytes"


def _decode_again(trial: _Trial) -> str:
    if trial.decode(trial.stream).digest != trial.video.digest:
        raise _BrokenError("decoding twice gives different frames; draw noise from a seed that is in the bitstream")
    return "decoding twice gives the same frames"


def _rates(trial: _Trial) -> str:
    rates = trial.rates
    if len(rates) < 2:
        raise _InapplicableError(f"the card has one rate point, {rates[0].label}")
    sizes = [trial.stream_at(rate).size for rate in rates]
    steps = [after - before for before, after in pairwise(sizes)]
    told = ", ".join(f"{rate.value:g}: {size}" for rate, size in zip(rates, sizes, strict=True))
    if not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise _BrokenError(
            f"bytes neither rise nor fall monotonically with {rates[0].parameter} ({told}); each rate point must cost "
            "more than the one below it"
        )
    return f"bytes {'rise' if steps[0] > 0 else 'fall'} with {rates[0].parameter} ({told})"


def _quality(trial: _Trial) -> str:
    if len(trial.rates) < 2:
        raise _InapplicableError("the card has one rate point")
    ends = [trial.stream_at(rate) for rate in (trial.rates[0], trial.rates[-1])]
    cheap, dear = sorted(ends, key=lambda stream: stream.size)
    errors = [trial.decode(stream).luma_mse for stream in (cheap, dear)]
    told = f"{cheap.size} bytes: luma MSE {errors[0]:.4g}, {dear.size} bytes: {errors[1]:.4g}"
    if errors[1] > errors[0]:
        raise _BrokenError(
            f"more bytes give a worse picture ({told}); look at the order of planes and frames, and at the rate"
        )
    return told


def _range(trial: _Trial) -> str:
    rates = trial.card.rates_at(trial.format.bit_depth)
    for value in (rates.minimum, rates.maximum):
        trial.round_trip(trial.format, 2, RatePoint(rates.parameter, value))
    return f"works at {rates.parameter} {rates.minimum:g} and {rates.maximum:g}, the ends of the card's range"


def _sizes(trial: _Trial) -> str:
    least = trial.card.input.minimum_size
    odd = tuple(max(side, least + (least + 1) % 2) for side in ODD_SIDES)
    sizes = [odd, (least, least), (3 * least + 1, least)]
    for width, height in sizes:
        trial.round_trip(replace(trial.format, width=width, height=height), 3)
    return f"{', '.join(f'{width}x{height}' for width, height in sizes)} come back"


def _lengths(trial: _Trial) -> str:
    for frames in (1, 2):
        trial.round_trip(trial.format, frames)
    return "one frame and two come back"


def _formats(trial: _Trial) -> str:
    wanted = trial.card.input
    usual = trial.format
    every = list(product(wanted.chroma, wanted.bit_depths))
    # each chroma and each depth once, and the last of both together
    chosen = [pair for pair in every if pair[0] == usual.chroma or pair[1] == usual.bit_depth or pair == every[-1]]
    formats = [replace(usual, chroma=chroma, bit_depth=depth) for chroma, depth in chosen]
    for fmt in formats:
        trial.round_trip(fmt, 2)
    return f"{', '.join(fmt.pix_fmt for fmt in formats)} come back"


def _damage(trial: _Trial) -> str:
    data = trial.stream.path.read_bytes()
    damaged = {
        f"bit flipped in byte {at}": _flipped(data, at) for at in sorted({int(share * len(data)) for share in FLIPS})
    }
    damaged["cut in the middle"] = data[: len(data) // 2]
    damaged["its last byte cut off"] = data[:-1]
    refused, concealed = [], []
    for what, content in damaged.items():
        try:
            digest = trial.decode(trial.stream, content).digest
        except TimeLimitError:
            raise _BrokenError(f"{what}: the decoder does not end; check lengths before they are believed") from None
        except MismatchError:
            concealed.append(what)
        except DecodeError as error:
            refused.append(what)
            _check_refusal(what, error)
        else:
            if digest != trial.video.digest:
                concealed.append(what)
    if concealed and trial.card.kind != "classical":
        raise _BrokenError(
            f"{concealed[0]}: other frames come out, without an error; check what is read, such as by a CRC of each "
            "unit, and raise DecodeError naming the unit"
        )
    told = f"{len(refused)} of {len(damaged)} damaged bitstreams are refused"
    return f"{told}, {len(concealed)} are decoded to different frames (concealment)" if concealed else told


def _check_refusal(what: str, error: DecodeError) -> None:
    message = str(error)
    if "was ended by signal" in message:
        raise _BrokenError(f"{what}: the decoder crashes: {message}")
    if _TRACE in message:
        raise _BrokenError(
            f"{what}: ends in a trace ({message.splitlines()[-1]}); raise DecodeError saying what is wrong"
        )


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _memory(trial: _Trial) -> str:
    size, lengths = LONG_CLASSICAL if trial.card.kind == "classical" else LONG_LEARNED
    width, height = (max(side, trial.card.input.minimum_size) for side in size)
    fmt = replace(trial.format, width=width, height=height)
    clips = [trial.clip(fmt, frames) for frames in lengths]
    raw = (lengths[1] - lengths[0]) * fmt.frame_bytes
    allowed = max(HELD * raw, NOISE_BYTES[trial.card.kind])
    least = np.full((2, 2), np.inf)
    for _ in range(MEMORY_RUNS):
        least = np.minimum(least, [_peaks(trial, source) for source in clips])
        if (least[1] - least[0] <= allowed).all():
            break
    told = []
    for what, (short, long) in zip(("encoding", "decoding"), least.T, strict=True):
        told.append(f"{what} {short / 1e6:.0f} and {long / 1e6:.0f} MB")
        if long - short > allowed:
            raise _BrokenError(
                f"{what} {lengths[1]} frames takes {(long - short) / 1e6:.0f} MB more than {lengths[0]} (raw, they "
                f"have {raw / 1e6:.0f} MB more); read and write one frame at a time"
            )
    return f"{', '.join(told)} for {lengths[0]} and {lengths[1]} frames of {width}x{height}"


def _peaks(trial: _Trial, source: Sequence) -> tuple[int, int]:
    """Peak memory of encoding and of decoding, in bytes."""
    stream = trial.encode(source)
    return stream.usage.peak_rss_bytes, trial.decode(stream).usage.peak_rss_bytes


RULES: dict[str, Callable[[_Trial], str]] = {
    "start": _start,
    "tool": _tool,
    "encode": _encode,
    "decode": _decode,
    "alone": _alone,
    "determinism": _repeat,
    "decoding": _decode_again,
    "rates": _rates,
    "quality": _quality,
    "range": _range,
    "sizes": _sizes,
    "lengths": _lengths,
    "formats": _formats,
    "damage": _damage,
    "memory": _memory,
}


def _shortened(text: str) -> str:
    """A message in one line; of a long one, such as a command with its output, the beginning and the end."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:160]} ... {line[-220:]}"
