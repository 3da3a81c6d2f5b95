"""Cool-Chic 5 for vcbench: upstream's ``cc_encode.py`` once a frame, as its ``samples/encode.py`` calls it, and
``cc_decode.py`` on the stream that they write.

Settings: checkout, device, files (flow: weights of RAFT), structure, intra_period, decoder, iterations, debug.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict, Iterator, List  # noqa: UP035 - older interpreters evaluate some annotations

FORMATS = {
    "yuv420p": "yuv420_8b", "yuv420p10le": "yuv420_10b", "yuv444p": "yuv444_8b", "yuv444p10le": "yuv444_10b",
}  # fmt: skip
"""How upstream's file names tell the format of raw frames; it looks for the words anywhere in a path."""

FLOW_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
"""What torchvision looks for in torch's cache before it would download it."""

STREAM = "stream.cool"


def versions(settings: Dict[str, Any]) -> Dict[str, str]:  # noqa: UP006
    """What trains the networks."""
    return {"torch": version("torch")}


def encode(job: Any) -> Dict[str, Any]:  # noqa: UP006
    """One training a frame, in coding order; the bits are those of upstream's log of each."""
    # relative names, from the folder they lie in: no part of a path may be taken for a format
    video = f"video_{job.width}x{job.height}_1p_{FORMATS[job.pixels]}.yuv"
    with (job.scratch / video).open("wb") as file:
        for data in job.read_frames():
            file.write(data)
    structure = _structure(job.settings, job.frames)
    frames = _frames(job, structure)
    for frame in frames:
        place = ["-i", video, "-o", STREAM, "--workdir", ".", "--coding_idx", frame["coding"]]
        _run(job, "cc_encode.py", *place, *structure, *_training(job.settings, frame, float(job.rate)))
    (job.scratch / STREAM).rename(job.bitstream)
    # decoded again by upstream, as it logs it
    logs = [_log(job.scratch / f"{int(frame['display']):04d}-results_decoder.tsv") for frame in frames]
    estimates = [_log(job.scratch / f"{int(frame['display']):04d}-results_encoder.tsv") for frame in frames]
    sizes = [round(float(log["rate_bpp"]) * int(log["n_pixels"]) / 8) for log in logs]
    notes = {
        "frame_types": "".join(frame["type"] for frame in sorted(frames, key=lambda frame: int(frame["display"]))),
        "network_bytes": round(sum(float(told["nn_bpp"]) for told in estimates) * job.width * job.height / 8),
        "log_bytes": sum(sizes),
        "log_psnr_db": sum(float(log["psnr_db"]) for log in logs) / len(logs),
        "encode_time": "of upstream's commands, which also decode the stream so far after each frame",
    }
    return {"bits": 8 * sum(sizes), "notes": notes}


def decode(job: Any) -> Iterator[bytes]:
    """Frames of the raw file that upstream's decoder writes."""
    _run(job, "cc_decode.py", "-i", os.path.relpath(job.bitstream, job.scratch), "-o", "decoded.yuv")
    with (job.scratch / "decoded.yuv").open("rb") as file:
        yield from iter(lambda: file.read(job.frame_bytes), b"")


def _structure(settings: Dict[str, Any], frames: int) -> List[str]:  # noqa: UP006
    """Where I and P frames are; upstream fills what is between with a hierarchy of B frames."""
    last = frames - 1
    if settings["structure"] == "all-intra":
        intra, inter = f"0-{last}", ""
    elif settings["structure"] == "low-delay":
        intra, inter = "0", f"1-{last}" if last else ""
    else:
        period = settings["intra_period"]
        intra = ",".join(map(str, range(0, frames, period)))
        inter = str(last) if last % period else ""
    return [f"--intra_pos={intra}", f"--p_pos={inter}", f"--n_frames={frames}"]


def _frames(job: Any, structure: List[str]) -> List[Dict[str, str]]:  # noqa: UP006
    """Coding and display number, type and depth of each frame, in coding order, as upstream tells them."""
    argv = [sys.executable, str(Path(job.settings["checkout"]) / "_getcodingstruct.py"), "--raw_coding_struct"]
    told = subprocess.run([*argv, *structure], stdout=subprocess.PIPE, check=True, text=True).stdout
    frames = list(csv.DictReader(told.strip().splitlines(), delimiter="\t"))
    if len(frames) != job.frames:
        raise ValueError(f"upstream's structure has {len(frames)} frames, {job.frames} were given")
    return frames


def _training(settings: Dict[str, Any], frame: Dict[str, str], rate: float) -> List[str]:  # noqa: UP006
    """Options of a frame's training: those of upstream's samples/encode.py."""
    depth, kind, steps = int(frame["depth"]), frame["type"], settings["iterations"]
    if settings["debug"]:
        residue = "intra/lop" if kind == "I" else "residue/lop"
        return ["--debug", f"--lmbda={rate}", *_decoders(settings, residue, "lop")]
    if kind == "I":
        intra = _decoders(settings, f"intra/{settings['decoder']}")
        return ["--start_lr=1e-2", f"--n_itr={steps}", f"--lmbda={rate}", *intra]
    if kind == "P":
        training = ["--start_lr=5e-3", f"--n_itr={steps}", "--n_itr_pretrain_motion=3000", f"--lmbda={rate}"]
        return [*training, *_decoders(settings, "residue/mop", "mop")]
    size = "mop" if depth == 1 else "lop"
    return [
        f"--n_itr={max(steps - 2000 * depth, 1000)}",
        f"--n_itr_pretrain_motion={max(5000 - 1000 * depth, 1000)}",
        f"--lmbda={1.5**depth * rate}",
        *_decoders(settings, f"residue/{size}", size),
    ]


def _decoders(settings: Dict[str, Any], residue: str, motion: str = "") -> List[str]:  # noqa: UP006
    folder = Path(settings["checkout"]) / "cfg/dec"
    found = [f"--dec_cfg_residue={folder / residue}.cfg"]
    return [*found, f"--dec_cfg_motion={folder / 'motion' / motion}.cfg"] if motion else found


def _run(job: Any, script: str, *arguments: str) -> None:
    """One of upstream's programs, in the scratch folder."""
    settings, environment = job.settings, dict(os.environ)
    if settings["device"] != "auto":
        # upstream takes the first GPU that it sees, a CPU where it sees none
        kind, _, number = settings["device"].partition(":")
        environment["CUDA_VISIBLE_DEVICES"] = (number or "0") if kind == "cuda" else ""
    if "flow" in settings["files"]:
        environment["TORCH_HOME"] = str(_torch_home(job.scratch, Path(settings["files"]["flow"])))
    argv = [sys.executable, str(Path(settings["checkout"]) / script), *arguments]
    done = subprocess.run(argv, cwd=job.scratch, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"upstream's {script} ended with status {done.returncode}; its message is above")


def _torch_home(scratch: Path, flow: Path) -> Path:
    """A cache of torch's in which torchvision finds the weights of the optical flow."""
    link = scratch / "torch" / "hub" / "checkpoints" / FLOW_FILE
    if not link.exists():
        link.parent.mkdir(parents=True)
        link.symlink_to(flow)
    return scratch / "torch"


def _log(path: Path) -> Dict[str, str]:  # noqa: UP006
    """One of upstream's logs: a line of names, a line of values."""
    names, values = path.read_text(encoding="utf-8").splitlines()[:2]
    return dict(zip(names.split(), values.split()))  # noqa: B905 - of Python 3.10
