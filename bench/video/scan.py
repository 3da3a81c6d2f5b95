"""A video file that FFmpeg reads: what its frames are, from the first to the last, and how to decode them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import get_args

from bench.core import process
from bench.errors import MediaError, NoVideoError, UsageError
from bench.video import ffmpeg
from bench.video.formats import Matrix, Siting, Transfer, VideoFormat, parse_fps

DEFAULT_FPS = Fraction(25)
"""Where a file says nothing, as FFmpeg has it."""

_MOST_LIKELY = 1000
"""Frames a second; a stream that states more has no rate, but a clock."""


@dataclass(frozen=True)
class Reading:
    """How a file's video is read: ``options`` open the file, its frames come in the layout ``pix_fmt``."""

    options: tuple[str, ...]
    pix_fmt: str


@dataclass(frozen=True)
class Scan:
    """The video of a file: its first video stream that is no cover art.

    ``durations``: how long each frame is shown, in seconds, where that varies; the format has the mean rate.
    ``remarks``: what a reader of its numbers needs to know. ``film_grain``: its stream says how to synthesise grain.
    ``stated``: which of ``full_range`` and ``matrix`` the file itself states. ``transfer``: how samples become light,
    None where the file does not state it, or states something else than PQ, HLG and the curves of SDR displays.
    """

    format: VideoFormat
    frames: int
    reading: Reading
    durations: tuple[Fraction, ...] | None
    remarks: tuple[str, ...]
    film_grain: bool
    stated: frozenset[str]
    transfer: Transfer | None = None


def scan(path: Path) -> Scan:
    """Decode a file's video from the first frame to the last.

    Raises MediaError where there is none, where it is damaged or interlaced, and where size, pixel format, range,
    matrix, chroma siting or field order change, with the frame. What is wrong with other streams does not matter.
    """
    options, listing = _open(path)
    log = _decode_log(path, options)
    frames = _Frames(path, log)
    problems = _complaints(log, listing)
    if problems or not frames.count:
        raise MediaError(f"{path}: FFmpeg cannot decode its video to its end: {_tail(problems) or 'no frames'}")
    fps, durations, remarks = _frame_rate(frames)
    shown = listing.duration
    if "-ignore_editlist" in options and shown is not None and shown + 2 / fps < frames.count / fps:
        remarks += (f"its edit list shows {float(shown):g} s of it; all {frames.count} coded frames are read",)
    return Scan(
        format=frames.format(fps),
        frames=frames.count,
        reading=Reading(options, frames.pix_fmt),
        durations=durations,
        remarks=remarks,
        film_grain=frames.film_grain,
        stated=frames.stated(range_was_set="-color_range" in options),
        transfer=frames.transfer,
    )


def decode_command(path: Path, reading: Reading, *, film_grain: bool = True) -> list[str]:
    """Command that writes a file's frames as raw samples to standard output, one for each coded frame."""
    return [
        *ffmpeg.base_command(), *_input(path, reading.options, export_grain=not film_grain),
        "-map", "0:V:0", "-fps_mode", "passthrough", "-noautoscale",
        "-pix_fmt", reading.pix_fmt, "-f", "rawvideo", "pipe:1",
    ]  # fmt: skip


# A name such as x%d.png stands for other files where FFmpeg reads it as a pattern.
_STILL = ("-f", "image2", "-pattern_type", "none", "-format_whitelist", "image2")

# Where colour stands in the stream alone, FFmpeg takes what it looked ahead at for what comes first: unless told.
_UNSTATED = ("-color_range", "tv", "-colorspace", "unknown")

# What is asked by demuxer beside its own ways, so that every coded frame is decoded, as what it is.
_OPTIONS = {
    "mov": ("-ignore_editlist", "1"),
    **dict.fromkeys(("h264", "hevc", "vvc", "evc", "obu", "mpegvideo", "m4v", "mpegts", "mpeg"), _UNSTATED),
}


def _input(path: Path, options: tuple[str, ...], *, export_grain: bool) -> list[str]:
    # the decoder that is to hand on the parameters of film grain does not synthesise it
    grain = ["-export_side_data", "film_grain"] if export_grain else []
    opening = ffmpeg.input_arguments(path)
    return [*opening[:-2], *grain, *options, *opening[-2:]]


@dataclass(frozen=True)
class _Listing:
    """What FFmpeg says of a file that it has opened: format, index of the video stream, the duration in seconds."""

    demuxer: str
    stream: int
    duration: Fraction | None


_INPUT = re.compile(r"^Input #0, (\S+), from ", re.MULTILINE)
_VIDEO = re.compile(r"^  Stream #0:(\d+)\S*: Video: (.*)$", re.MULTILINE)
_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", re.MULTILINE)


def _open(path: Path) -> tuple[tuple[str, ...], _Listing]:
    """Options that open a file for its frames, and what FFmpeg says of it."""
    options: tuple[str, ...] = ()
    said = _say(path, options)
    if _FOREIGN in said:
        options, said = _STILL, _say(path, _STILL)
    opened, duration = _INPUT.search(said), _DURATION.search(said)
    streams = [(int(index), about) for index, about in _VIDEO.findall(said) if not about.startswith("none")]
    videos = [index for index, about in streams if not about.endswith("(attached pic)")]
    if options and not videos:
        raise MediaError(f"{path}: is a playlist or a pattern, not a video; give the files that it stands for")
    if opened is None:
        raise NoVideoError(
            f"{path}: FFmpeg finds no video it can decode in this file:\n{_tail(said.splitlines())}\n"
            "(raw video needs --size, --pix-fmt and --fps)"
        )
    if not videos:
        others = "only cover art" if streams else "only other streams"
        raise NoVideoError(f"{path}: FFmpeg finds no video in this file, {others}")
    demuxer = opened[1]
    hours, minutes, seconds = duration.groups() if duration else (0, 0, 0)
    length = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds) if duration else None
    return options + _OPTIONS.get(demuxer.partition(",")[0], ()), _Listing(demuxer, videos[0], length)


_FOREIGN = "not on whitelist"


def _say(path: Path, options: tuple[str, ...]) -> str:
    # without an output it says what is in the input, and ends with an error
    return _run(path, _input(path, options, export_grain=False), level="info", time_limit=60)


def _decode_log(path: Path, options: tuple[str, ...]) -> str:
    """What FFmpeg says while it decodes all of a file's video: a few lines per frame.

    The filter writes a line in parts. A complaint of the muxer, which is another thread, about times that do not
    increase would come between two parts, and a frame would go uncounted: so the muxer gets one frame per hour.
    """
    command = [
        *_input(path, options, export_grain=True), "-map", "0:V:0", "-fps_mode", "passthrough", "-noautoscale",
        "-vf", "showinfo=checksum=0,settb=AVTB,setpts=N*3600000000", "-f", "null", "-",
    ]  # fmt: skip
    return _run(path, command, level="level+info", time_limit=None)


def _run(path: Path, arguments: list[str], *, level: str, time_limit: float | None) -> str:
    argv = [ffmpeg.executable(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", level, *arguments]
    try:
        _, said, status = process.run(argv, time_limit=time_limit)
    except process.ProcessError as error:
        raise MediaError(f"{path}: FFmpeg cannot decode it: {error}") from None
    if status < 0:
        raise MediaError(f"{path}: FFmpeg cannot decode it: it was ended by signal {-status}")
    return said


_SAID = re.compile(r"(?P<contexts>(?:\[[^\]]* @ [^\]]*\] ?)*)\[(?P<level>[a-z]+)\] (?P<text>.*)")
_CONTEXT = re.compile(r"\[(\S+) @ ")
_NAMED_STREAM = re.compile(r"\bstream (?:= |#0:|#)?(\d+)")
_BEGUN = "[info] Stream mapping:"
_FILTER = "[Parsed_showinfo"
_INSIDE = re.compile(r"(?=(?<!^)(?:\[[^\]]* @ [^\]]*\] )*\[(?:error|fatal|panic)\] )")
_DAMAGED = "corrupt decoded frame"
_OUTPUT = ("null", "out#", "vost#")


def _complaints(log: str, listing: _Listing) -> list[str]:
    """What FFmpeg says against the video.

    Before it decodes, it looks into every stream, so that until then only what the demuxer says counts: a decoder that
    finds the video damaged will find it so again. The output is none, and what it says of timestamps does not matter.
    """
    begun = False
    found = []
    for line in _told_apart(log):
        begun = begun or line.startswith(_BEGUN)
        said = _SAID.match(line)
        if said is None or not (said["level"] in {"error", "fatal", "panic"} or said["text"] == _DAMAGED):
            continue
        named = _NAMED_STREAM.search(said["text"])
        contexts = _CONTEXT.findall(said["contexts"])
        if any(name.startswith(_OUTPUT) for name in contexts):
            continue
        by_demuxer = any(name == listing.demuxer or name.startswith("in#") for name in contexts)
        if (named is None or int(named[1]) == listing.stream) and (begun or by_demuxer or not contexts):
            found.append(said["contexts"] + said["text"])
    return found


def _told_apart(log: str) -> Iterator[str]:
    """The lines of a log; what another thread said between two parts of the filter's line is a line of its own."""
    for line in log.splitlines():
        if line.startswith(_FILTER):
            yield from _INSIDE.split(line)
        else:
            yield line


def _tail(lines: list[str]) -> str:
    return "\n".join(lines[-3:]).strip()


_MATRICES: dict[str, Matrix] = {"smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020"}
_TRANSFERS: dict[str, Transfer] = {
    "smpte2084": "pq",
    "arib-std-b67": "hlg",
    **dict.fromkeys(
        ("bt709", "smpte170m", "smpte240m", "bt470m", "bt470bg", "gamma22", "gamma28", "iec61966-2-1", "iec61966-2-4",
         "bt1361e", "bt2020-10", "bt2020-12"),
        "sdr",
    ),
}  # fmt: skip
_SITINGS: dict[str, Siting] = {"left": "left", "center": "centre", "topleft": "topleft"}

# Packed and palette layouts whose samples a planar layout holds unchanged; anything else must be asked for by name.
_PLANAR = {
    "rgb24": "gbrp", "bgr24": "gbrp", "bgr0": "gbrp", "rgb0": "gbrp", "0rgb": "gbrp", "0bgr": "gbrp",
    "rgb48le": "gbrp16le", "rgb48be": "gbrp16le", "gray16be": "gray16le", "yuyv422": "yuv422p", "uyvy422": "yuv422p",
    "nv12": "yuv420p", "nv21": "yuv420p", "p010le": "yuv420p10le", "v210": "yuv422p10le",
}  # fmt: skip

_FRAME = re.compile(
    r" n: *\d+ pts: *(?P<shown>\S+) (?:.*? duration: *(?P<length>\S+))?"
    r".*?\bfmt:(?P<layout>\S+)(?: cl:(?P<siting>\S+))?.*? s:(?P<width>\d+)x(?P<height>\d+) i:(?P<fields>\S)"
)
_COLOUR = re.compile(
    r" color_range:(?P<range>\S+) color_space:(?P<matrix>\S+)(?: color_primaries:\S+ color_trc:(?P<transfer>\S+))?"
)
_CLOCK = re.compile(r" config in time_base: (?P<tick>\d+/\d+), frame_rate: (?P<rate>\d+)/(?P<per>\d+)")
_GRAIN = re.compile(r" side data - film grain", re.IGNORECASE)


@dataclass(frozen=True)
class _Picture:
    """What FFmpeg says that one frame is."""

    width: int
    height: int
    layout: str
    full_range: bool
    matrix: Matrix
    siting: Siting
    interlaced: bool

    def differences(self, other: _Picture) -> list[tuple[str, str]]:
        """What differs, of this picture and of the other."""
        return [pair for pair in zip(self._words(), other._words(), strict=True) if pair[0] != pair[1]]

    def _words(self) -> tuple[str, ...]:
        return (
            f"{self.width}x{self.height}",
            self.layout,
            "full range" if self.full_range else "limited range",
            f"matrix {self.matrix}",
            f"chroma siting {self.siting}",
            "interlaced" if self.interlaced else "progressive",
        )


class _Frames:
    """The frames that a decoder listed, which are all alike, or MediaError says which is the first that is not."""

    def __init__(self, path: Path, log: str) -> None:
        self.count = 0
        self.film_grain = False
        self.ticks: list[tuple[int | None, int | None]] = []
        self.tick = self.stated_rate = Fraction(0)
        self._path = path
        self._picture: _Picture | None = None
        self._first: dict[str, str] = {}
        facts: dict[str, str] = {}
        for line in log.splitlines():
            if found := _FRAME.search(line):
                facts = found.groupdict("")
                self.ticks.append((_tick(facts["shown"]), _tick(facts["length"])))
            elif facts and (found := _COLOUR.search(line)):
                facts |= found.groupdict("")
                self._first = self._first or facts
                self._take(_picture(facts))
                facts = {}
            elif not self.count and (found := _CLOCK.search(line)):
                self.tick = Fraction(found["tick"])
                self.stated_rate = Fraction(int(found["rate"]), int(found["per"]) or 1)
            elif _GRAIN.search(line):
                self.film_grain = True

    def _take(self, picture: _Picture) -> None:
        if picture.interlaced and self._picture in {None, picture}:
            raise MediaError(f"{self._path}: interlaced video is not supported; deinterlace it first")
        if self._picture is not None and picture != self._picture:
            before, after = zip(*self._picture.differences(picture), strict=True)
            raise MediaError(
                f"{self._path}: its video is {', '.join(after)} from frame {self.count} on, and {', '.join(before)} "
                "before; cut the file there"
            )
        self._picture = picture
        self.count += 1

    def stated(self, *, range_was_set: bool) -> frozenset[str]:
        """What the file itself states; a limited range that FFmpeg was asked to begin with may be its own."""
        found = {"matrix"} if self._first["matrix"] not in {"unknown", "reserved"} else set()
        if self._picture is not None and (
            self._picture.full_range or (self._first["range"] == "tv" and not range_was_set)
        ):
            found.add("full_range")
        return frozenset(found)

    @property
    def transfer(self) -> Transfer | None:
        """How samples become light, by the first frame."""
        return _TRANSFERS.get(self._first["transfer"])

    @property
    def pix_fmt(self) -> str:
        """Layout that holds the samples unchanged: the decoder's own, or a planar one."""
        assert self._picture is not None
        return _PLANAR.get(self._picture.layout, self._picture.layout)

    def format(self, fps: Fraction) -> VideoFormat:
        picture = self._picture
        assert picture is not None
        try:
            fmt = VideoFormat(
                picture.width, picture.height, fps=fps, matrix=picture.matrix, full_range=picture.full_range,
                siting=picture.siting,
            ).with_pix_fmt(self.pix_fmt)  # fmt: skip
        except UsageError as error:
            raise MediaError(f"{self._path}: {error}") from None
        return replace(fmt, matrix="bt709") if fmt.chroma == "rgb" else fmt


def _tick(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdecimal() else None


def _picture(facts: dict[str, str]) -> _Picture:
    matrix = _MATRICES.get(facts["matrix"], facts["matrix"])
    return _Picture(
        width=int(facts["width"]),
        height=int(facts["height"]),
        layout=facts["layout"],
        full_range=facts["range"] == "pc" or facts["layout"].startswith("yuvj"),
        # what is not stated is taken for BT.709
        matrix=matrix if matrix in get_args(Matrix) else "bt709",  # type: ignore[arg-type]
        siting=_SITINGS.get(facts["siting"], "left"),
        interlaced=facts["fields"] not in "P?",
    )


def _frame_rate(frames: _Frames) -> tuple[Fraction, tuple[Fraction, ...] | None, tuple[str, ...]]:
    """Frames a second by the timestamps, where they say something else than the stream; durations where they vary."""
    stated = frames.stated_rate
    lengths = _lengths(frames)
    if not lengths or min(lengths) <= 0 or not frames.tick:
        return (parse_fps(stated) if 0 < stated <= _MOST_LIKELY else DEFAULT_FPS), None, ()
    duration = sum(lengths) * frames.tick
    mean = frames.count / duration
    if max(lengths) - min(lengths) > 2:
        shortest, longest = (float(1000 * length * frames.tick) for length in (min(lengths), max(lengths)))
        remark = (
            f"its frame rate varies: frames last {shortest:.4g} to {longest:.4g} ms; the mean of {float(mean):.4g} fps "
            "is taken, so that kbps are bytes by duration"
        )
        return mean, tuple(length * frames.tick for length in lengths), (remark,)
    if stated and abs(duration - frames.count / stated) <= max(2 * frames.tick, duration / 500):
        return parse_fps(stated), None, ()
    said = f"the stream states {float(stated):g} fps" if stated else "the stream states no frame rate"
    return parse_fps(mean), None, (f"{said}, its timestamps say {float(mean):.4g}, which is taken",)


def _lengths(frames: _Frames) -> list[int]:
    """For how many ticks each frame is shown; empty where timestamps are missing or there is only one."""
    ticks = [shown for shown, _ in frames.ticks if shown is not None]
    if len(ticks) < max(2, frames.count):
        return []
    lengths = [after - before for before, after in pairwise(ticks)]
    stated = [length for _, length in frames.ticks]
    # how long the last frame is shown stands in few files: it counts where what is said of the others is true
    kept = all(said is not None and abs(said - length) <= 2 for said, length in zip(stated, lengths, strict=False))
    last = stated[-1] if kept and stated[-1] else lengths[-1]
    return [*lengths, last]
