"""The official S2VC for vcbench: ``src/inference.py`` on a folder of PNG pictures, its outputs read back and checked.

The file it leaves holds the pictures that upstream decoded, since upstream writes no bitstream; the bits are upstream's
figures, with what they leave out put back. Settings: checkout, pairs (checkpoints by lambda), n_reset, device.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Dict, Iterator, List  # noqa: UP035 - older interpreters evaluate some annotations

ALIGNMENT = 64
"""Upstream pads both sides up to a multiple of it."""

HYPER_BITS = 14
"""Bits of the I frame's side information for each 64 x 64 pixels: an index into 4^7 entries, which upstream's rate
leaves out."""

ROUNDING = 0.5e-6
"""Half of the last digit of bits per pixel in upstream's file names."""

SEQUENCE, DATASET = "sequence", "vcbench"
_NAME = re.compile(r"im(\d{5})_bpp_(\d+\.\d{6})\.png")


def versions(settings: Dict[str, Any]) -> Dict[str, str]:  # noqa: UP006
    """What runs the networks."""
    return {name: version(name) for name in ("torch", "diffusers")}


def encode(job: Any) -> Dict[str, Any]:  # noqa: UP006
    """Run upstream on the frames; keep what it decoded, and reckon what it would have sent."""
    source = job.scratch / "source" / SEQUENCE
    source.mkdir(parents=True)
    for number, data in enumerate(job.read_frames(), 1):
        _picture(job, data).save(source / f"im{number:05d}.png", compress_level=1)
    output = job.scratch / "output"
    tag = f"lmbda{job.rate:g}"
    _run(job, source.parent, output, tag)
    found = _outputs(output / DATASET / SEQUENCE / tag, job.frames)
    with job.bitstream.open("wb") as file:
        for path, _ in found:
            data = path.read_bytes()
            file.write(len(data).to_bytes(4, "big") + data)
    return _rate(job, [bpp for _, bpp in found])


def decode(job: Any) -> Iterator[bytes]:
    """The pictures that upstream decoded when it encoded."""
    from PIL import Image

    with job.bitstream.open("rb") as file:
        while True:
            length = file.read(4)
            if not length:
                return
            with Image.open(BytesIO(file.read(int.from_bytes(length, "big")))) as picture:
                if picture.size != (job.width, job.height):
                    raise ValueError(f"upstream's picture is {picture.size}, the source {(job.width, job.height)}")
                yield picture.convert("RGB").tobytes()


def _picture(job: Any, data: bytes) -> Any:
    from PIL import Image

    return Image.frombytes("RGB", (job.width, job.height), data)


def _run(job: Any, source: Path, output: Path, tag: str) -> None:
    image, video, _ = job.settings["pairs"][f"{job.rate:g}"]
    argv = [
        sys.executable, "inference.py",
        "--config_path", "../configs/inference.yaml",
        "--output_base_path", str(output),
        "--i_ckpt_path", image,
        "--ckpt_path", str(Path(video).parent),
        "--ds_name", DATASET,
        "--qp_name", tag,
        "--video_ds_folder", str(source),
        "--n_frame", str(job.frames),
        "--n_reset", str(job.settings["n_reset"]),
    ]  # fmt: skip
    # its configuration names the diffusion models relative to src/
    done = subprocess.run(argv, cwd=Path(job.settings["checkout"]) / "src", env=_environment(job), check=False)
    if done.returncode:
        raise RuntimeError(f"upstream's inference.py ended with status {done.returncode}; its message is above")


def _environment(job: Any) -> Dict[str, str]:  # noqa: UP006
    device = job.settings["device"]
    chosen = {"CUDA_VISIBLE_DEVICES": device[5:]} if device.startswith("cuda:") else {}
    return {**os.environ, **chosen}


def _outputs(folder: Path, frames: int) -> List[Any]:  # noqa: UP006
    """(file, bits per pixel) of each picture; ValueError unless there is one for each frame."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name}: no name of upstream's layout, im00001_bpp_0.123456.png")
        found[int(match[1])] = (path, float(match[2]))
    if sorted(found) != list(range(1, frames + 1)):
        raise ValueError(f"upstream left pictures of {len(found)} frames, {frames} were given")
    return [found[number] for number in range(1, frames + 1)]


def _rate(job: Any, bpp: List[float]) -> Dict[str, Any]:  # noqa: UP006
    """Bits of the sequence. Upstream's I frame counts on padded pixels and without its indices; its P frames count the
    bytes of a real stream on the original pixels."""
    pixels = job.width * job.height
    padded = [side + -side % ALIGNMENT for side in (job.width, job.height)]
    blocks = padded[0] // ALIGNMENT * (padded[1] // ALIGNMENT)
    estimated = bpp[0] * padded[0] * padded[1]
    inter = [_whole_bytes(value, pixels) for value in bpp[1:]]
    total = round(estimated) + HYPER_BITS * blocks + sum(inter)
    return {
        "bits": total,
        "notes": {
            "rate_of": "P frames: bytes that upstream's entropy coder wrote; I frame: upstream's estimate",
            "i_frame_bits": round(estimated) + HYPER_BITS * blocks,
            "i_frame_bits_added": HYPER_BITS * blocks,
            "padded_size": padded,
            "upstream_bpp": sum(bpp) / len(bpp),
            "upstream_rate_error_percent": 100 * (sum(bpp) * pixels / total - 1),
            "decoded_by": "upstream, while it encoded: the file holds its pictures, and decoding reads them",
        },
    }


def _whole_bytes(bpp: float, pixels: int) -> int:
    """Bits of a P frame, which are whole bytes; ValueError for a rate that no whole number of them gives."""
    bits = 8 * round(bpp * pixels / 8)
    if abs(bits - bpp * pixels) > ROUNDING * pixels + 1e-3:
        raise ValueError(f"a P frame of {bpp:.6f} bits per pixel is not a whole number of bytes on {pixels} pixels")
    return bits
