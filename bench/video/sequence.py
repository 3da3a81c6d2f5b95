"""Sequences: one clip each, from y4m, raw yuv, a folder of PNG pictures, or anything FFmpeg reads."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.files import Stamp, file_digest, files_digest
from bench.core.late import Late
from bench.core.paths import readable
from bench.core.process import Process, ProcessError
from bench.errors import MediaError, NoVideoError, TruncatedError, UsageError
from bench.video import colour, png, y4m
from bench.video.formats import Transfer, VideoFormat, parse_fps, parse_size
from bench.video.frame import Frame, require_range, sample_dtype

if TYPE_CHECKING:
    import numpy as np

    from bench.video.scan import Reading
else:
    np = Late("numpy")

# Name of the dataset of clips that are given directly.
DIRECT_INPUT = "input"

RAW_SUFFIXES = {".yuv", ".raw", ".rgb"}


class Source(ABC):
    """Where frames come from. ``format`` is that of the stored frames, ``frames`` how many there are."""

    path: Path
    format: VideoFormat
    frames: int

    remarks: tuple[str, ...] = ()
    """What a reader of numbers about the clip needs to know, such as that its frame rate varies."""

    stated: frozenset[str] = frozenset()
    """Which of ``full_range`` and ``matrix`` the file itself states; the others of the format are usual ones."""

    transfer: Transfer | None = None
    """How the file says that samples become light; None where it does not say, as y4m, raw files and PNG do not."""

    def frame_rate(self, start: int, count: int) -> Fraction:
        """Mean frames per second of a part of the clip."""
        return self.format.fps

    @abstractmethod
    def read(self, start: int, count: int) -> Iterator[Frame]:
        """Frames start, start + 1 ... (``count`` of them), one at a time."""

    _sha256: str | None = None
    _stamp: Stamp | None = None

    def digest(self) -> str:
        """SHA-256 (hex) of what was stored when it was first asked for, which may be gone by now."""
        if self._sha256 is None:
            self._stamp = Stamp.of(self.files())
            self._sha256 = self._digest()
        return self._sha256

    def files(self) -> tuple[Path, ...]:
        """The files that the frames come from."""
        return (self.path,)

    def check(self, since: Stamp | None = None) -> Stamp:
        """Hold the files to ``digest``; their stamp now.

        Raises MediaError where they have other bytes by now, or were written to or replaced ``since`` an earlier stamp,
        so that what was read between the two may be anything.
        """
        try:
            now = Stamp.of(self.files())
            if since is not None and since.files != now.files:
                raise MediaError(f"{self.path}: was replaced or written to while it was read; give the command again")
            trusted = self._stamp if since is None else since
            if trusted is None or trusted.files != now.files or not trusted.settled:
                self._check_bytes()
                self._stamp = now
            return now
        except FileNotFoundError as error:
            raise MediaError(f"{error.filename}: is gone since the run was planned; put it back") from None

    def _check_bytes(self) -> None:
        known, now = self.digest(), self._digest()
        if now != known:
            raise MediaError(
                f"{self.path}: differs from when the run was planned (SHA-256 {now[:12]}, was {known[:12]}); "
                "give the command again, which measures the clip as it is now"
            )

    def _digest(self) -> str:
        return file_digest(self.path)


class Y4mSource(Source):
    """A YUV4MPEG2 file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as stream:
            self._header = y4m.read_header(stream, str(path))
            marker = stream.readline(len(b"FRAME\n"))
            self.format = self._header.format
            size = path.stat().st_size
            frames, rest = divmod(size - self._header.length, len(marker) + self.format.frame_bytes)
            if marker != b"FRAME\n" or rest:
                # frame headers with parameters differ in length
                frames = sum(1 for _ in y4m.frame_offsets(stream, self._header, str(path)))
        self.frames = frames
        self.stated = frozenset({"full_range"} if self._header.range_stated else ())
        if frames == 0:
            raise TruncatedError(
                f"{path}: byte {size}: the header promises frames of {self.format.frame_bytes} bytes "
                f"({self.format.describe()}), the file holds none"
            )

    def read(self, start: int, count: int) -> Iterator[Frame]:
        with self.path.open("rb") as stream:
            header = y4m.read_header(stream, str(self.path))
            offset = header.length
            if start:
                offset = next(islice(y4m.frame_offsets(stream, header, str(self.path)), start, None))
                stream.seek(offset)
            yield from islice(y4m.read_frames(stream, header, str(self.path), offset), count)


class RawSource(Source):
    """A headerless file of planar samples; the format is what the user says."""

    def __init__(self, path: Path, fmt: VideoFormat) -> None:
        self.path = path
        self.format = fmt
        size = path.stat().st_size
        self.frames, rest = divmod(size, fmt.frame_bytes)
        if rest or not self.frames:
            raise TruncatedError(
                f"{path}: {size} bytes is not a whole number of {fmt.width}x{fmt.height} {fmt.pix_fmt} frames "
                f"({fmt.frame_bytes} bytes each): {rest} bytes are left at byte {size - rest}; "
                "check the size and the pixel format"
            )

    def read(self, start: int, count: int) -> Iterator[Frame]:
        with self.path.open("rb") as stream:
            stream.seek(start * self.format.frame_bytes)
            yield from islice(read_raw_frames(stream, self.format, str(self.path)), count)


class FFmpegSource(Source):
    """A file decoded by FFmpeg, every coded frame once, in order."""

    def __init__(
        self, path: Path, known: tuple[VideoFormat, int, Reading] | None = None, *, film_grain: bool = True
    ) -> None:
        """``known``: format, number of frames and way of reading, where the file has been scanned before.

        ``film_grain``: whether grain is synthesised where the stream describes it, as a player does.
        """
        self.path = path
        self._film_grain = film_grain
        self._durations: tuple[Fraction, ...] | None = None
        if known is not None:
            self.format, self.frames, self.reading = known
        else:
            from bench.video.scan import scan

            found = scan(path)
            self.format, self.frames, self.reading = found.format, found.frames, found.reading
            self.remarks, self._durations, self.stated = found.remarks, found.durations, found.stated
            self.transfer = found.transfer
            if found.film_grain:
                how = "synthesised" if film_grain else "left out"
                self.remarks += (f"its stream describes film grain, which is {how}",)

    def frame_rate(self, start: int, count: int) -> Fraction:
        if self._durations is None:
            return self.format.fps
        return count / sum(self._durations[start : start + count], Fraction())

    def read(self, start: int, count: int) -> Iterator[Frame]:
        from bench.video.scan import decode_command

        with Process(decode_command(self.path, self.reading, film_grain=self._film_grain), stdout="pipe") as decoder:
            frames = read_raw_frames(decoder.stdout, self.format, str(self.path))
            got = 0
            for frame in islice(frames, start, start + count):
                got += 1
                yield frame
            further = start + count == self.frames and next(frames, None) is not None
            if got < count or further:
                raise self._changed("more" if further else str(start + got), decoder)
            if start + count == self.frames:
                try:
                    decoder.finish()
                except ProcessError as error:
                    raise MediaError(f"{self.path}: {error}") from None

    def _changed(self, decoded: str, decoder: Process) -> MediaError:
        with suppress(ProcessError):  # its words are read below
            decoder.finish()
        said = decoder.stderr_tail()
        reason = f"FFmpeg says:\n{said}" if said else "has the file changed?"
        return MediaError(f"{self.path}: FFmpeg counted {self.frames} frames in it and now decodes {decoded}; {reason}")


class PngSource(Source):
    """A folder of PNG pictures of one size, in the order of the numbers in their names."""

    def __init__(self, path: Path, fps: Any) -> None:
        self.path = path
        self._files = sorted((file for file in path.iterdir() if file.suffix.lower() == ".png"), key=_natural)
        if not self._files:
            raise MediaError(f"{path}: a folder without .png files is not a sequence")
        self.frames = len(self._files)
        self.remarks = _gaps([file.name for file in self._files])
        picture = png.read(self._files[0])
        self.format = VideoFormat(
            width=picture.shape[1],
            height=picture.shape[0],
            chroma="gray" if picture.ndim == 2 else "rgb",
            bit_depth=8 * picture.dtype.itemsize,
            fps=parse_fps(fps),
            full_range=True,
        )

    def read(self, start: int, count: int) -> Iterator[Frame]:
        for path in self._files[start : start + count]:
            picture = png.read(path)
            if (picture.shape[1], picture.shape[0]) != (self.format.width, self.format.height):
                raise MediaError(f"{path}: {picture.shape[1]}x{picture.shape[0]} differs from the first picture's size")
            if picture.dtype != sample_dtype(self.format) or (picture.ndim == 2) != (self.format.chroma == "gray"):
                raise MediaError(f"{path}: its bit depth or channels differ from the first picture's")
            planes = [picture] if picture.ndim == 2 else [picture[..., 1], picture[..., 2], picture[..., 0]]
            yield Frame.from_planes(self.format, planes)

    def files(self) -> tuple[Path, ...]:
        return tuple(self._files)

    def _digest(self) -> str:
        return files_digest(self._files)


def _gaps(names: list[str]) -> tuple[str, ...]:
    """A remark on names that count in even steps but for some that are skipped."""
    parts = [re.split(r"(\d+)", name) for name in names]
    columns = list(zip(*parts, strict=True)) if len({len(part) for part in parts}) == 1 else []
    varying = [column for column in columns if len(set(column)) > 1]
    if len(varying) != 1 or not all(text.isdecimal() for text in varying[0]):
        return ()
    numbers = varying[0]
    steps = [int(after) - int(before) for before, after in pairwise(numbers)]
    gaps = [(numbers[index], numbers[index + 1]) for index, step in enumerate(steps) if step > min(steps)]
    if not gaps:
        return ()
    several = f", and {len(gaps) - 1} further gaps" if len(gaps) > 1 else ""
    return (f"its pictures are not numbered without gaps: {gaps[0][1]} follows {gaps[0][0]}{several}",)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def read_raw_frames(stream: Any, fmt: VideoFormat, name: str) -> Iterator[Frame]:
    """Frames of raw samples up to the end of a stream; TruncatedError if it ends inside one."""
    index = 0
    while True:
        data = np.empty(fmt.samples_per_frame, sample_dtype(fmt))
        got = y4m.read_exactly(stream, data.view(np.uint8).data)
        if got == 0:
            return
        if got < fmt.frame_bytes:
            offset = index * fmt.frame_bytes + got
            raise TruncatedError(f"{name}: byte {offset}: ends inside frame {index} ({got} of {fmt.frame_bytes} bytes)")
        require_range(data, fmt, name, index)
        yield Frame(fmt, data)
        index += 1


@dataclass(frozen=True)
class Sequence:
    """One clip: frames ``start`` to ``start + frames - 1`` of a source, in the format that codecs are given.

    ``format`` equals the source's, unless the source is RGB: then frames are converted to YUV (``conversion`` says
    how) and keep their original picture, which RGB metrics compare with. ``transfer``: how samples become light, where
    it is known; no frame depends on it.
    """

    name: str
    source: Source
    format: VideoFormat
    start: int
    frames: int
    dataset: str = DIRECT_INPUT
    transfer: Transfer | None = None

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of numbers about the clip needs to know."""
        return self.source.remarks

    @property
    def conversion(self) -> str | None:
        """How RGB was turned into YUV; None where nothing was converted."""
        if self.source.format == self.format:
            return None
        return f"RGB to {self.format.pix_fmt}, {colour.describe(self.format)}"

    def read(self) -> Iterator[Frame]:
        """The frames, one at a time; memory does not grow with their number."""
        frames = self.source.read(self.start, self.frames)
        if self.source.format == self.format:
            yield from frames
        else:
            for frame in frames:
                yield colour.from_rgb(colour.to_rgb(frame), self.format)

    def identity(self) -> dict[str, Any]:
        """What the frames depend on: the stored bytes, the range and the format. Part of a cell's key."""
        fmt = self.format
        return {
            "sha256": self.source.digest(),
            "start": self.start,
            "frames": self.frames,
            "size": [fmt.width, fmt.height],
            "pix_fmt": fmt.pix_fmt,
            "fps": str(fmt.fps),
            "matrix": fmt.matrix,
            "full_range": fmt.full_range,
            "siting": fmt.siting,
            "conversion": self.conversion,
        }


def sequence_to_json(sequence: Sequence) -> dict[str, Any]:
    """A sequence as plain data, for a process that is to read the same frames."""
    source = sequence.source
    return {
        "source": type(source).__name__,
        "reading": asdict(source.reading) if isinstance(source, FFmpegSource) else None,
        "path": str(sequence.path.resolve()),
        "stored": format_to_json(sequence.source.format),
        "stored_frames": sequence.source.frames,
        "name": sequence.name,
        "dataset": sequence.dataset,
        "format": format_to_json(sequence.format),
        "start": sequence.start,
        "frames": sequence.frames,
        "transfer": sequence.transfer,
    }


def sequence_from_json(data: dict[str, Any]) -> Sequence:
    """The sequence that ``sequence_to_json`` described; the file is not scanned again."""
    path, stored = Path(data["path"]), format_from_json(data["stored"])
    source: Source
    match data["source"]:
        case "Y4mSource":
            source = Y4mSource(path)
        case "RawSource":
            source = RawSource(path, stored)
        case "PngSource":
            source = PngSource(path, stored.fps)
        case _:
            from bench.video.scan import Reading

            reading = Reading(tuple(data["reading"]["options"]), data["reading"]["pix_fmt"])
            source = FFmpegSource(path, (stored, data["stored_frames"], reading))
    source.format = stored
    return Sequence(
        data["name"], source, format_from_json(data["format"]), data["start"], data["frames"], data["dataset"],
        data["transfer"],
    )  # fmt: skip


def format_to_json(fmt: VideoFormat) -> dict[str, Any]:
    """A format as plain data."""
    return {**asdict(fmt), "fps": str(fmt.fps)}


def format_from_json(data: dict[str, Any]) -> VideoFormat:
    """The format that ``format_to_json`` described."""
    return VideoFormat(**{**data, "fps": Fraction(data["fps"])})


def open_sequence(
    path: Path,
    *,
    name: str | None = None,
    dataset: str = DIRECT_INPUT,
    size: str | None = None,
    pix_fmt: str | None = None,
    fps: Any = None,
    start: int = 0,
    frames: int | None = None,
    film_grain: bool = True,
    transfer: Transfer | None = None,
) -> Sequence:
    """Open a clip.

    ``size``, ``pix_fmt`` and ``fps`` describe a raw file and are required there. For a natively RGB source
    ``pix_fmt`` is what codecs are given (yuv444p of the same depth where not said, BT.709 limited range); elsewhere
    it must be the file's own. ``fps`` overrides the file's. ``frames`` None means all from ``start``.
    ``film_grain`` says whether grain is synthesised where a stream describes it. ``transfer`` says how samples become
    light, in place of what the file says.
    Raises MediaError for a file that is not what it claims, UsageError for settings that do not fit it.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    source = _open_source(path, size, pix_fmt, fps, film_grain=film_grain)
    fmt = source.format
    if fmt.chroma == "rgb":
        wanted = None if isinstance(source, RawSource) else pix_fmt
        target = wanted or ("yuv444p" if fmt.bit_depth == 8 else f"yuv444p{fmt.bit_depth}le")
        fmt = replace(fmt, full_range=False).with_pix_fmt(target)
        if fmt.bit_depth != source.format.bit_depth:
            raise UsageError(f"{path}: has {source.format.bit_depth} bit; {target} would change the bit depth")
    elif not isinstance(source, RawSource) and pix_fmt is not None and fmt.with_pix_fmt(pix_fmt).pix_fmt != fmt.pix_fmt:
        raise UsageError(f"{path}: is {fmt.pix_fmt}, not {pix_fmt}; convert the file, vcbench does so only for RGB")
    if size is not None and parse_size(size) != (fmt.width, fmt.height):
        raise UsageError(f"{path}: is {fmt.width}x{fmt.height}, not {size}; vcbench never resizes")
    available = source.frames - start
    if start < 0 or available <= 0:
        raise UsageError(
            f"{path}: has {source.frames} frames; start at a frame from 0 to {source.frames - 1}, not {start}"
        )
    if frames is not None and not 0 < frames <= available:
        raise UsageError(f"{path}: {frames} frames from frame {start} are requested, it has {available}")
    rate = source.frame_rate(start, frames or available) if fps is None else parse_fps(fps)
    source.format = replace(source.format, fps=rate)
    shown = replace(fmt, fps=rate)
    called = readable(name or path.stem)
    return Sequence(called, source, shown, start, frames or available, dataset, transfer or source.transfer)


def _open_source(path: Path, size: str | None, pix_fmt: str | None, fps: Any, *, film_grain: bool) -> Source:
    if path.is_dir():
        return PngSource(path, fps if fps is not None else 25)
    described: VideoFormat | None = None
    if size is not None and pix_fmt is not None and fps is not None:
        described = VideoFormat(*parse_size(size), fps=parse_fps(fps)).with_pix_fmt(pix_fmt)
    if path.suffix.lower() in RAW_SUFFIXES:
        if described is None:
            raise UsageError(f"{path}: raw video needs --size, --pix-fmt and --fps, such as 352x288, yuv420p and 30")
        return RawSource(path, described)
    with path.open("rb") as stream:
        magic = stream.read(len(y4m.MAGIC))
    if magic == y4m.MAGIC or path.suffix.lower() == ".y4m":
        return Y4mSource(path)
    try:
        source = FFmpegSource(path, film_grain=film_grain)
    except NoVideoError:
        if described is None:
            raise
        return RawSource(path, described)  # raw video under a name that does not say so
    # a few raw samples can look like the beginning of anything
    if described is not None and _shape(source.format) != _shape(described) and _fits(path, described):
        return RawSource(path, described)
    return source


def _shape(fmt: VideoFormat) -> tuple[int, int]:
    return fmt.width, fmt.height


def _fits(path: Path, fmt: VideoFormat) -> bool:
    return path.stat().st_size % fmt.frame_bytes == 0


__all__ = ["Sequence", "Source", "open_sequence", "read_raw_frames", "sequence_from_json", "sequence_to_json"]
