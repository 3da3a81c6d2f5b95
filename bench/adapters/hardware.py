"""Encoders in hardware that FFmpeg drives: how frames reach them, and whether the device is there.

Sources: FFmpeg's nvenc.c, qsvenc.c and vaapi_encode.c (surface formats, what they log of the device).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from bench.core import process
from bench.errors import UnavailableError
from bench.video import ffmpeg
from bench.video.formats import VideoFormat

Hardware = Literal["nvenc", "qsv", "vaapi"]

VAAPI_DEVICE = "VCBENCH_VAAPI_DEVICE"
"""Environment variable that names VA-API's device; by default the first render node."""

_NEEDS = {
    "nvenc": "an NVIDIA GPU that encodes this format, with its driver",
    "qsv": "an Intel GPU that encodes this format, with its media driver and oneVPL runtime",
    "vaapi": f"a GPU whose VA-API driver encodes this format; {VAAPI_DEVICE} names its device",
}
_SIDE = 320
_DEVICE = re.compile(r"(?:VAAPI driver: *(.+)|\[ (GPU #\d+ - < .+? >)|(MFX session.* version .+))", re.IGNORECASE)
_CAUSE = re.compile(r"^(?:\[[^\]]*\] ?)+(?!Error while opening|Error sending|Task finished|Terminating)", re.MULTILINE)


def surface(coded: VideoFormat) -> str:
    """Pixel format that these encoders take: the same samples with Cb and Cr interleaved, 10 bit in the upper bits."""
    return "nv12" if coded.bit_depth == 8 else "p010le"


def device_arguments(hardware: Hardware) -> list[str]:
    """What comes before the input: the device that frames are sent to."""
    if hardware != "vaapi":
        return []
    return ["-init_hw_device", f"vaapi=hw:{_vaapi_device()}", "-filter_hw_device", "hw"]


def _vaapi_device() -> str:
    return os.environ.get(VAAPI_DEVICE, "/dev/dri/renderD128")


def _nodes(hardware: Hardware) -> list[Path]:
    """Device files, as patterns, of which a machine that has the hardware shows one."""
    match hardware:
        case "nvenc":
            return [Path("/dev/nvidia[0-9]*"), Path("/dev/dxg")]  # the latter in Windows' subsystem for Linux
        case "qsv":
            return [Path("/dev/dri/renderD*")]
        case "vaapi":
            return [Path(_vaapi_device())]


def output_arguments(hardware: Hardware, coded: VideoFormat) -> list[str]:
    """What brings raw frames into the encoder's format, and there."""
    if hardware == "vaapi":
        return ["-vf", f"format={surface(coded)},hwupload"]
    return ["-pix_fmt", surface(coded)]


@cache
def device(hardware: Hardware, encoder: str, arguments: Sequence[str]) -> str:
    """What the driver says of the device, after it has coded a few grey frames with these arguments.

    Where there is no device file, FFmpeg, whose start takes a twentieth of a second, is not asked.

    Raises UnavailableError with what failed and what is needed.
    """
    nodes = _nodes(hardware)
    if not any(found for node in nodes for found in node.parent.glob(node.name)):
        missing = " nor ".join(map(str, nodes))
        raise UnavailableError(f"{encoder}: there is no {missing}; it needs {_NEEDS[hardware]}")
    fmt = VideoFormat(_SIDE, _SIDE)
    argv = [
        ffmpeg.executable(), "-hide_banner", "-nostdin", "-loglevel", "verbose", *device_arguments(hardware),
        "-f", "lavfi", "-i", f"color=gray:s={_SIDE}x{_SIDE}:r=30", "-frames:v", "8",
        *output_arguments(hardware, fmt), "-c:v", encoder, *arguments, "-f", "null", "-",
    ]  # fmt: skip
    try:
        _, log, status = process.run(argv)
    except (OSError, process.ProcessError) as error:
        raise UnavailableError(f"{encoder}: {error}") from None
    if status != 0:
        lines = [line for line in log.splitlines() if _CAUSE.match(line)]
        cause = next(
            (line for line in lines if re.search(r"cannot|error|failed|not supported", line, re.IGNORECASE)), ""
        )
        told = re.sub(r"^(\[[^\]]*\] ?)+", "", cause) or "the encoder does not open"
        raise UnavailableError(f"{encoder}: {told}; it needs {_NEEDS[hardware]}")
    found = _DEVICE.search(log)
    return next(filter(None, found.groups()), "").strip() if found else "not stated by the driver"
