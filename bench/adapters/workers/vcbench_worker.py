"""Serves a research codec to vcbench from the interpreter that has the codec's own dependencies.

``python vcbench_worker.py CODEC.py``. CODEC.py is a Python file with three functions, which vcbench's
docs/reference/worker-protocol.md describes::

    def versions(settings): ...    # names and versions (texts) of what writes the bits
    def encode(job): ...           # writes job.bitstream, returns {"bits": ..., "notes": {...}}
    def decode(job): ...           # yields the raw bytes of each frame

It imports nothing but the standard library, and runs on Python 3.8 and later.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator  # noqa: UP035 - older interpreters evaluate the alias below

PROTOCOL = 1
CHANNEL = "VCBENCH_WORKER_FD"

Message = Dict[str, Any]  # noqa: UP006


class Job:
    """One request to encode or decode.

    ``settings``: of the card and its adapter. ``rate``: value of the rate point (None when decoding). ``bitstream``:
    the file to write, or to read. ``width``, ``height``, ``frames``, ``fps`` (a fraction as text), ``pixels`` (a planar
    FFmpeg pixel format such as yuv420p, or rgb24) describe the video. ``scratch``: an empty folder for files of the
    codec's own, removed afterwards.
    """

    def __init__(self, request: Message) -> None:
        video = request["video"]
        self.settings: Dict[str, Any] = request["settings"]  # noqa: UP006
        self.rate = request.get("rate")
        self.bitstream = Path(request["bitstream"])
        self.scratch = Path(request["scratch"])
        self.width: int = video["width"]
        self.height: int = video["height"]
        self.frames: int = video["frames"]
        self.fps: str = video["fps"]
        self.pixels: str = video["pixels"]
        self.frame_bytes: int = video["frame_bytes"]
        self.video = Path(video["file"])
        self.frames_read = 0

    def read_frames(self) -> Iterator[bytes]:
        """Raw bytes of each frame of the source, in order."""
        with self.video.open("rb") as file:
            for data in iter(lambda: file.read(self.frame_bytes), b""):
                self.frames_read += 1
                yield data


def serve(codec: ModuleType, channel: socket.socket) -> None:
    """Answer requests until the other side hangs up."""
    with channel, channel.makefile("r", encoding="utf-8") as requests:
        for line in requests:
            reply = _answer(codec, json.loads(line))
            channel.sendall(json.dumps(reply, allow_nan=False).encode() + b"\n")


def _answer(codec: ModuleType, request: Message) -> Message:
    started = time.perf_counter()
    try:
        if request["request"] == "hello":
            reply: Message = {"protocol": PROTOCOL, "versions": codec.versions(request["settings"])}
        else:
            reply = {"encode": _encode, "decode": _decode}[request["request"]](codec, Job(request))
        return {"ok": True, "seconds": time.perf_counter() - started, **reply}
    except Exception as error:  # whatever goes wrong in research code is an answer too
        traceback.print_exc()
        return {"ok": False, "error": _kind(error), "message": f"{type(error).__name__}: {error}"}


def _encode(codec: ModuleType, job: Job) -> Message:
    told = codec.encode(job)
    return {"frames": job.frames_read, "notes": {}, **told}


def _decode(codec: ModuleType, job: Job) -> Message:
    count = 0
    with job.video.open("wb") as file:
        for data in codec.decode(job):
            file.write(data)
            count += 1
    return {"frames": count}


def _kind(error: Exception) -> str:
    if isinstance(error, (ImportError, FileNotFoundError)):
        return "unavailable"
    # torch has an error of its own, and is not imported here to find out
    return "memory" if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ else "failed"


def main(path: str) -> None:
    """Serve the codec of a file over the socket whose number the environment names."""
    channel = socket.socket(fileno=int(os.environ.pop(CHANNEL)))
    channel.set_inheritable(False)
    spec = importlib.util.spec_from_file_location("vcbench_served_codec", path)
    assert spec is not None
    assert spec.loader is not None
    codec = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(codec)
    serve(codec, channel)


if __name__ == "__main__":
    main(*sys.argv[1:])
