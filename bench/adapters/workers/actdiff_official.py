"""The official ActDiff-VC for vcbench: ``run_compression.py --keep_bitstream``, and its decoder on the files it kept.

A stream here is upstream's files one after the other, the first keyframe, then each segment's last keyframe and its
trajectories, each with its length. Settings: checkout, device, keyframe_codec, num_trajectories, diffusion_steps.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from fractions import Fraction
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple  # noqa: UP035 - older interpreters evaluate some annotations

SIZE = 720, 480
"""Width and height that everything is processed at."""

RUN = "vcbench"
_TRAJECTORIES = b"TRJ1"


def versions(settings: Dict[str, Any]) -> Dict[str, str]:  # noqa: UP006
    """What runs the networks."""
    return {name: version(name) for name in ("torch", "diffusers")}


def encode(job: Any) -> Dict[str, Any]:  # noqa: UP006
    """Run upstream's command, check the files it kept against its own account of them, and put them into one."""
    video = job.scratch / "source.yuv"
    with video.open("wb") as file:
        for data in job.read_frames():
            file.write(_full_range_yuv(data, job))
    argv = [
        sys.executable, "run_compression.py",
        "--video_path", str(video),
        "--num_frames", str(job.frames),
        "--yuv_width", str(job.width), "--yuv_height", str(job.height), "--yuv_fps", str(float(Fraction(job.fps))),
        "--yuv_subsampling", "444", "--yuv_color_matrix", "bt709", "--yuv_color_range", "full",
        "--max_gop_length", str(int(job.rate)), "--keep_bitstream",
        *_arguments(job),
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=job.settings["checkout"], check=False)
    if done.returncode:
        raise RuntimeError(f"upstream's run_compression.py ended with status {done.returncode}; its message is above")
    files = _kept(job.scratch / "bitstream" / RUN)
    _check_frames(files, job.frames)
    metrics = json.loads((job.scratch / "output" / RUN / "metrics.json").read_text(encoding="utf-8"))
    _check_rate(files, metrics)
    return {"bits": 8 * _pack(files, job.bitstream), "notes": _notes(job, files, metrics)}


def decode(job: Any) -> Iterator[bytes]:
    """Upstream's decoder on the files of the stream, its pictures resampled to the source's size."""
    from PIL import Image

    folder = job.scratch / "bitstream" / RUN
    folder.mkdir(parents=True)
    _unpack(job.bitstream, folder)
    sys.path.insert(0, job.settings["checkout"])
    arguments = ["--video_path", "none", *_arguments(job)]
    told = importlib.import_module("actdiff.config").Parse_Arguments(arguments)
    told.fps = float(Fraction(job.fps))
    told.bitstream_dir = str(folder)
    told.output_dir = str(job.scratch / "output")
    if told.device.startswith("cuda"):
        importlib.import_module("torch").cuda.set_device(told.device)
    depth = importlib.import_module("image_gen_aux").DepthPreprocessor.from_pretrained("Intel/zoedepth-nyu-kitti")
    decoder = importlib.import_module("actdiff.decoder").Decoder(told, depth.to(told.device))
    for picture in decoder.Decode_Video():
        found = Image.fromarray(picture)
        if found.size != SIZE:
            raise ValueError(f"upstream decoded a picture of {found.size}, it processes {SIZE}")
        if found.size != (job.width, job.height):
            found = found.resize((job.width, job.height), Image.Resampling.BICUBIC)
        yield found.tobytes()


def _arguments(job: Any) -> List[str]:  # noqa: UP006
    settings = job.settings
    device = {"auto": "cuda:0", "cuda": "cuda:0"}.get(settings["device"], settings["device"])
    return [
        "--output_dir", str(job.scratch / "output"),
        "--bitstream_dir", str(job.scratch / "bitstream"),
        "--run_name", RUN,
        "--keyframe_codec", settings["keyframe_codec"],
        "--num_trajectories", str(settings["num_trajectories"]),
        "--diffusion_steps", str(settings["diffusion_steps"]),
        "--device", device,
    ]  # fmt: skip


def _full_range_yuv(data: bytes, job: Any) -> bytes:
    """A frame as upstream reads it from a raw file without loss of chroma: 4:4:4, full-range BT.709 of 8 bit."""
    import numpy as np

    red, green, blue = np.frombuffer(data, np.uint8).reshape(job.height, job.width, 3).astype(np.float64).T
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = luma, (blue - luma) / 1.8556 + 128, (red - luma) / 1.5748 + 128
    return b"".join(np.clip(np.rint(plane.T), 0, 255).astype(np.uint8).tobytes() for plane in planes)


def _kept(folder: Path) -> List[Path]:  # noqa: UP006
    """Upstream's files in the order of a stream; ValueError for one that is missing, empty or unknown."""
    there = {path.name for path in folder.glob("*.bin")}
    names = list(islice(_names(), len(there)))
    if there != set(names) or len(names) < 3 or len(names) % 2 == 0:
        raise ValueError(
            f"upstream kept {', '.join(sorted(there)) or 'no files'}; every segment has a keyframe at each end and "
            "its trajectories"
        )
    empty = [name for name in names if (folder / name).stat().st_size == 0]
    if empty:
        raise ValueError(f"upstream's {', '.join(empty)} is empty: its bits would be missing in the rate")
    return [folder / name for name in names]


def _names() -> Iterator[str]:
    """Names of upstream's files in the order of a stream."""
    yield "keyframe_0.bin"
    for number in count():
        yield f"keyframe_{number + 1}.bin"
        yield f"chunk_{number}_trajectories.bin"


def _check_frames(files: List[Path], frames: int) -> None:  # noqa: UP006
    """Segments overlap by one frame, and together are the video."""
    lengths = [_length(path) for path in files[2::2]]
    covered = sum(lengths) - (len(lengths) - 1)
    if covered != frames:
        raise ValueError(f"upstream's segments of {lengths} frames are {covered} frames, {frames} were given")


def _length(path: Path) -> int:
    """Frames of a segment, by its trajectories' header."""
    data = path.read_bytes()
    if data[:4] != _TRAJECTORIES:
        raise ValueError(f"upstream's {path.name} does not begin as its trajectories do")
    length, _ = _varint(data, 4)
    return length


def _check_rate(files: List[Path], metrics: Dict[str, Any]) -> None:  # noqa: UP006
    """Upstream's account of its bits is that of its files."""
    sizes = {
        "keyframes_bits": 8 * sum(path.stat().st_size for path in files if path.name.startswith("keyframe_")),
        "trajectories_bits": 8 * sum(path.stat().st_size for path in files if path.name.startswith("chunk_")),
    }
    sizes["total_bits"] = sum(sizes.values())
    told = metrics["bit_breakdown"]
    wrong = [f"{name} is {told[name]:g}, its files have {size}" for name, size in sizes.items() if told[name] != size]
    if wrong:
        raise ValueError(f"upstream's metrics.json does not speak of its files: {'; '.join(wrong)}")


def _notes(job: Any, files: List[Path], metrics: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006
    size = (job.width, job.height)
    return {
        "processing_size": list(SIZE),
        "resampled": "no" if size == SIZE else f"by upstream to {SIZE[0]}x{SIZE[1]}, decoded pictures back by bicubic",
        "segments": [_length(path) for path in files[2::2]],
        "keyframe_bits": int(metrics["bit_breakdown"]["keyframes_bits"]),
        "trajectory_bits": int(metrics["bit_breakdown"]["trajectories_bits"]),
        "upstream_bpp": metrics["bpp"],
        "upstream_bpp_size": metrics["bpp_meta"]["bpp_reference_hw"][::-1],
        "encode_time": "of upstream's command, which decodes and measures too",
    }


def _pack(files: List[Path], stream: Path) -> int:  # noqa: UP006
    """Write the files with their lengths; the bytes of the stream."""
    with stream.open("wb") as file:
        for path in files:
            data = path.read_bytes()
            file.write(_as_varint(len(data)) + data)
    return stream.stat().st_size


def _unpack(stream: Path, folder: Path) -> None:
    data, at = stream.read_bytes(), 0
    for name in _names():
        if at == len(data):
            return
        length, at = _varint(data, at)
        (folder / name).write_bytes(data[at : at + length])
        at += length


def _varint(data: bytes, at: int) -> Tuple[int, int]:  # noqa: UP006
    """(value, place after it) of an unsigned LEB128 number."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _as_varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
