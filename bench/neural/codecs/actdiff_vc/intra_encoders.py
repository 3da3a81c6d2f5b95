"""Intra pictures through FFmpeg: which encoders, what they take, and their command lines, without running anything."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.errors import UnavailableError
from bench.video import ffmpeg
from bench.video.formats import Chroma, VideoFormat
from bench.video.frame import CodingTransform

SMALLEST_SIDE = 16
"""Samples; x265 and SVT-AV1 take no smaller picture."""


@dataclass(frozen=True)
class IntraEncoder:
    """An encoder of FFmpeg: its arguments (``{quality}`` in them), container, what it takes, and a range of quality.

    ``coarsest``, ``finest``: QP or CRF of an 8-bit picture at the lowest and the highest rate. ``per_bit``: what is
    added to it for each bit beyond 8, so that one number means one quality at every depth.
    """

    name: str
    arguments: tuple[str, ...]
    container: str
    chromas: tuple[Chroma, ...]
    bit_depths: tuple[int, ...]
    coarsest: int
    finest: int
    per_bit: int = 0

    def transform(self, source: VideoFormat) -> CodingTransform:
        """From the nearest format that the encoder takes, which is the source's where it can be, to padded pictures."""
        chroma = next(chroma for chroma in (source.chroma, "444", "420") if chroma in self.chromas)
        depth = max(depth for depth in self.bit_depths if depth <= source.bit_depth)
        multiple = 2 if min(source.width, source.height) >= SMALLEST_SIDE else SMALLEST_SIDE
        return CodingTransform.fit(replace(source, chroma=chroma, bit_depth=depth), size_multiple=multiple)

    def encode_arguments(self, coded: VideoFormat, quality: int, source: str) -> list[str]:
        """Command that writes the stream of one raw picture, read from a file, to standard output."""
        number = str(quality + self.per_bit * (coded.bit_depth - 8))
        return [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS,
            "-f", "rawvideo", "-pix_fmt", coded.pix_fmt, "-video_size", f"{coded.width}x{coded.height}",
            "-i", f"file:{source}", "-noauto_conversion_filters", "-frames:v", "1", "-c:v", self.name,
            *(argument.replace("{quality}", number) for argument in self.arguments),
            "-flags", "+bitexact", "-fflags", "+bitexact", "-f", self.container, "pipe:1",
        ]  # fmt: skip

    def decode_arguments(self, coded: VideoFormat, source: str) -> list[str]:
        """Command that writes the raw picture of a stream; it fails for one in another pixel format."""
        # FFmpeg's H.264 decoder dresses a grey picture up as 4:2:0
        grey = ["-vf", "extractplanes=y"] if coded.chroma == "gray" else []
        return [
            *ffmpeg.base_command(), *ffmpeg.PROTOCOLS, "-threads", "1", "-f", self.container, "-i", f"file:{source}",
            "-noauto_conversion_filters", "-noautoscale", *grey, "-frames:v", "1",
            "-pix_fmt", coded.pix_fmt, "-f", "rawvideo", "pipe:1",
        ]  # fmt: skip

    def check(self) -> None:
        """Raise UnavailableError where FFmpeg lacks the encoder."""
        if self.name not in ffmpeg.encoders():
            raise UnavailableError(
                f"{ffmpeg.executable()} has no encoder {self.name}, which keyframes are to be coded with; unset "
                f"{ffmpeg.ENVIRONMENT} to use the static build of imageio-ffmpeg, or choose other keyframes"
            )

    def qualities(self, rates: int) -> tuple[int, ...]:
        """QP or CRF at each rate index, evenly from coarse to fine, where a card gives none."""
        step = (self.finest - self.coarsest) / max(1, rates - 1)
        return tuple(round(self.coarsest + index * step) for index in range(rates))


_ALL: tuple[Chroma, ...] = ("gray", "420", "422", "444")
_X265 = "qp={quality}:keyint=1:info=0:pools=none:frame-threads=1:log-level=error"
_LIBAOM = ("-crf", "{quality}", "-b:v", "0", "-cpu-used", "4", "-usage", "allintra", "-threads", "1")
_SVT = ("-preset", "4", "-crf", "{quality}", "-svtav1-params", "lp=1:avif=1")

ENCODERS = {
    # FFmpeg hands x264 a QP that counts from the lowest one of the bit depth
    "x264": IntraEncoder(
        "libx264", ("-qp", "{quality}", "-threads", "1"), "h264", _ALL, (8, 10), coarsest=46, finest=26, per_bit=6
    ),
    "x265": IntraEncoder("libx265", ("-x265-params", _X265), "hevc", _ALL, (8, 10, 12), coarsest=46, finest=26),
    "libaom": IntraEncoder("libaom-av1", _LIBAOM, "obu", _ALL, (8, 10, 12), coarsest=62, finest=32),
    "svt-av1": IntraEncoder("libsvtav1", _SVT, "obu", ("420",), (8, 10), coarsest=62, finest=32),
}
"""Video codecs whose intra pictures keyframes may be."""
