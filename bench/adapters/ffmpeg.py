"""Codecs inside FFmpeg: x264, x265, VVenC, SVT-AV1, libaom, libvpx ..., each writing an elementary stream."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bench.adapters import hardware as devices
from bench.adapters.base import (
    Command,
    EncodeInfo,
    ExternalCodec,
    RatePoint,
    Settings,
    fill,
    placeholders,
    program_files,
)
from bench.bitstream.units import THEORA_HEADERS, ogg_packets
from bench.core import process
from bench.core.files import file_digest
from bench.errors import EncodeError, UnavailableError
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence

# A card sets up an encoder; it does not choose files that FFmpeg reads or writes.
Option = Annotated[str, StringConstraints(pattern=r"^[^/\\]*$")]
_STATISTICS = "first-pass"

# What a stranger's card may set. Each of these takes one value, an encoder's parameter, so that no value can become
# another input or output; FFmpeg's other options open files and connections. Formats are those of one plain file.
_HARMLESS = re.compile(
    r"-([a-z0-9]+-params|preset|tune|profile|level|crf|qp|q|qscale|b|maxrate|minrate|bufsize|qmin|qmax|qpa|g|bf|refs|"
    r"keyint_min|sc_threshold|threads|slices|strict|cpu-used|deadline|quality|speed|usage|lag-in-frames|row-mt|tiles|"
    r"tile-columns|tile-rows|auto-alt-ref|arnr-strength|arnr-max-frames|aq-mode|rc|rc-lookahead|speed_level|"
    r"initial_qp|rc_mode|coder|lcu_row_threads)(:v)?"
)
_HARMLESS_FORMATS = frozenset(
    ("h261", "h263", "h264", "hevc", "vvc", "evc", "obu", "ivf", "m4v", "mpeg1video", "mpeg2video", "mpegvideo",
     "mjpeg", "cavsvideo", "avs2", "apv", "ogg", "dirac", "vc1", "rawvideo", "nut", "matroska")
)  # fmt: skip


class FFmpegSettings(Settings):
    """The ``settings`` table of a card with adapter = "ffmpeg"."""

    encoder: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="FFmpeg's name of the encoder, such as libx265")
    arguments: tuple[Option, ...] = Field(description="encoder options, with {rate}, {intra_period} ...; no paths")
    passes: Literal[1, 2] = Field(
        default=1, description="2 runs the encoder twice, with FFmpeg's -pass, or with {pass} if the arguments have it"
    )
    hardware: devices.Hardware | None = Field(default=None, description="interface of a hardware encoder")
    drop_units: tuple[Annotated[int, Field(ge=0, le=63)], ...] = Field(
        default=(),
        description="types of NAL units or OBUs to leave out of the stream, such as 6, H.264's SEI",
    )
    muxer: str = Field(pattern=r"^[a-z0-9_]+$", description="elementary-stream muxer, such as hevc")
    demuxer: str = Field(pattern=r"^[a-z0-9_]+$", description="demuxer that reads it back")
    decoder: str | None = Field(
        default=None, pattern=r"^[a-z0-9][a-z0-9_-]*$", description="decoder, if not FFmpeg's default"
    )
    carries_range: bool = Field(
        default=True, description="whether the stream signals its range; if not, samples pass unchanged"
    )
    repeats: bool = Field(
        default=False, description="whether an empty packet stands for a repeated frame, as in Theora"
    )
    decoder_arguments: tuple[Option, ...] = Field(default=("-threads", "1"), description="decoder options")


_LOSE_FRAMES = frozenset({"libvvenc"})
"""Encoders that FFmpeg may stop asking for frames too early: VVenC, busy on its own threads, at times has none ready
when it is first asked at the end of the input. FFmpeg takes that for the end, drops the rest and exits with 0."""

_TRIES = 10
"""Runs of an encoder that loses frames; under heavy load about one in three of a 20-frame clip does."""


class FFmpegCodec(ExternalCodec):
    """Frames go in raw through a pipe; the decoder writes y4m, whose header tells the size and format it found."""

    settings_model = FFmpegSettings
    settings: FFmpegSettings

    def check(self) -> None:
        self._require_trust()
        if self.settings.encoder not in ffmpeg.encoders():
            raise UnavailableError(
                f"{ffmpeg.executable()} has no encoder {self.settings.encoder}; "
                f"unset {ffmpeg.ENVIRONMENT} to use the static build of imageio-ffmpeg, which has it"
            )
        if self.card.tool_version is not None:
            check_version("ffmpeg", ffmpeg.version(), self.card.tool_version)
        self._device()

    def tool(self) -> dict[str, str]:
        told = {"ffmpeg": ffmpeg.version(), "ffmpeg_sha256": file_digest(Path(ffmpeg.executable()))}
        return told | ({"device": self._device()} if self.settings.hardware else {})

    def _device(self) -> str:
        """What the driver says of the device of an encoder in hardware; UnavailableError where there is none."""
        settings, card = self.settings, self.card
        if settings.hardware is None:
            return ""
        rate = RatePoint(card.rates.parameter, card.rates.values[0])
        values = placeholders(VideoFormat(2, 2), 8, rate)
        arguments = fill(settings.arguments, values, f"card {card.name}: settings.arguments")
        return devices.device(settings.hardware, settings.encoder, tuple(arguments))

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        return {**super().made_of(), **program_files("ffmpeg", Path(ffmpeg.executable()))}

    def encode_commands(
        self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path
    ) -> tuple[Command, ...]:
        if self.settings.passes == 1:
            return (self.encode_command(source, coded, rate, bitstream),)
        own = any("{pass}" in argument for argument in self.settings.arguments)
        commands = []
        for number in (1, 2):
            command = self.encode_command(source, coded, rate, bitstream, number)
            output = command.argv.index("-f", command.argv.index("-c:v"))
            passes = () if own else ("-pass", str(number), "-passlogfile", _STATISTICS)
            written = ("-f", "null", "-") if number == 1 else command.argv[output:]
            commands.append(replace(command, argv=(*command.argv[:output], *passes, *written)))
        return tuple(commands)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        """Run the encoder, and again if FFmpeg lost frames of it; the cost is that of the run that counts.

        Raises EncodeError or TimeLimitError.
        """
        if self.settings.encoder not in _LOSE_FRAMES:
            return super().encode(source, rate, bitstream)
        for _ in range(_TRIES):
            info = super().encode(source, rate, bitstream)
            if (written := _packets(bitstream, self.settings.demuxer)) == source.frames:
                return info
        raise EncodeError(
            "frames_lost",
            f"{self.card.name}: FFmpeg wrote {written} of {source.frames} frames and reported no error, "
            f"in each of {_TRIES} runs; run it again on a machine with less load",
        )

    def encode_command(
        self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path, number: int = 1
    ) -> Command:
        """Command of one pass of the encoder."""
        self._require_trust()
        settings = self.settings
        values = {**placeholders(coded, source.frames, rate), "pass": number}
        device = settings.hardware
        # the range alone: a matrix that the source does not state would make FFmpeg convert when it compares the two
        colour = ["-color_range", "pc" if coded.full_range and settings.carries_range else "tv"]
        dropped = "|".join(map(str, settings.drop_units))
        argv = [
            *ffmpeg.base_command(), *(devices.device_arguments(device) if device else []), *ffmpeg.PROTOCOLS,
            "-f", "rawvideo", "-pix_fmt", coded.pix_fmt, "-video_size", f"{coded.width}x{coded.height}",
            "-framerate", values["fps"], *colour, "-i", "pipe:0",
            "-fps_mode", "passthrough", "-an",
            *(devices.output_arguments(device, coded) if device else ["-pix_fmt", coded.pix_fmt]),
            *colour, "-c:v", settings.encoder,
            *fill(settings.arguments, values, f"card {self.card.name}: settings.arguments"),
            *(["-bsf:v", f"filter_units=remove_types={dropped}"] if dropped else []),
            "-flags", "+bitexact", "-fflags", "+bitexact", "-f", settings.muxer, f"file:{bitstream}",
        ]  # fmt: skip
        return Command(tuple(argv), frames_as="raw", through="pipe")

    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        self._require_trust()
        settings = self.settings
        # FFmpeg's H.264 decoder dresses a grey picture up as 4:2:0
        filters = ["extractplanes=y"] if coded.chroma == "gray" else []
        if coded.full_range and not settings.carries_range:
            filters.append("setparams=range=pc")
        if settings.repeats:
            filters.append("tpad=stop=-1:stop_mode=clone")
        argv = [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS, *settings.decoder_arguments,
            *(["-c:v", settings.decoder] if settings.decoder else []),
            "-noautorotate", "-f", settings.demuxer, "-i", f"file:{bitstream.name}", "-map", "0:v:0",
            "-fps_mode", "cfr" if settings.repeats else "passthrough", "-noautoscale",
            *(["-vf", ",".join(filters)] if filters else []),
            *(["-frames:v", str(ogg_packets(bitstream) - THEORA_HEADERS)] if settings.repeats else []),
            "-strict", "-1", "-f", "yuv4mpegpipe", "pipe:1",
        ]  # fmt: skip
        return Command(tuple(argv), frames_as="y4m", through="pipe")

    def _require_trust(self) -> None:
        settings = self.settings
        for arguments in (settings.arguments, settings.decoder_arguments):
            odd = [name for name in arguments[::2] if not _HARMLESS.fullmatch(name)]
            if odd or len(arguments) % 2:
                named = odd[0] if odd else arguments[-1]
                self.require_trust(f"gives FFmpeg {named}, which may open files or connections")
        for name in (settings.muxer, settings.demuxer):
            if name not in _HARMLESS_FORMATS:
                self.require_trust(f"has FFmpeg use the format {name}, which may open files or connections")


def _packets(bitstream: Path, demuxer: str) -> int:
    """Coded frames in an elementary stream: 0 for one that is empty or cannot be read."""
    out, _, _ = process.run(
        [*ffmpeg.base_command(), *ffmpeg.PROTOCOLS, "-f", demuxer, "-i", f"file:{bitstream}", "-map", "0:v:0",
         "-c", "copy", "-progress", "pipe:1", "-f", "null", "-"]
    )  # fmt: skip
    return int((re.findall(rb"^frame=(\d+)$", out, re.MULTILINE) or [b"0"])[-1])


def check_version(tool: str, version: str, required: str) -> None:
    """Raise UnavailableError unless the leading number of ``version`` satisfies a specifier such as >=7.0."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    number = re.search(r"\d+(\.\d+)*", version)
    if number is None or Version(number.group()) not in SpecifierSet(required):
        raise UnavailableError(f"{tool} {version} is installed, the card requires {required}")
