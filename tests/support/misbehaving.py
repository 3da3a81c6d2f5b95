"""A lossless codec that misbehaves as told: it fails, hangs, loses frames, kills the worker that started it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from card_texts import command_card

SCRIPT = '''#!{python} -IS
"""A lossless codec that does as told: tool.py encode|decode MODE IN OUT."""
import os, subprocess, sys, time
if sys.argv[1] == "-V":
    sys.exit()
direction, mode, source, target = sys.argv[1:]
fault = mode.removeprefix(direction + "-") if mode.startswith(direction + "-") else None
once = os.environ.get("ONCE", "")
def kill_worker():
    # the parent is the supervisor of this program, whose parent is the worker
    os.kill(int(open(f"/proc/{{os.getppid()}}/stat").read().rpartition(")")[2].split()[1]), 9)
    time.sleep(5)
if fault == "fails" or (fault == "fails-if-told" and os.path.exists(once)):
    print("this is why", file=sys.stderr)
    sys.exit(7)
if fault == "crashes":
    os.kill(os.getpid(), 11)
if fault == "hangs":
    subprocess.Popen(["sleep", os.environ.get("NAP", "600")])
    time.sleep(600)
if fault == "kills-worker" and not os.path.exists(once):
    open(once, "w").close()
    kill_worker()
if fault == "always-kills-worker":
    kill_worker()
if fault == "writes-nothing":
    sys.exit(0)
data = b"" if fault == "writes-empty" else open(source, "rb").read()
if fault == "stops-halfway" and os.path.exists(os.environ["SLOW"]):
    with open(target, "wb") as out:
        out.write(data[: len(data) // 2])
    time.sleep(600)
if direction == "encode" and "meets" in mode:
    meeting = once + "-" + mode
    os.makedirs(meeting, exist_ok=True)
    open(os.path.join(meeting, str(os.getpid())), "w").close()
    while len(os.listdir(meeting)) < 2:
        time.sleep(0.01)
if "differs" in mode:
    data = os.urandom(16) + data if direction == "encode" else data[16:]
if direction == "decode" and data.startswith(b"YUV4MPEG2"):
    header, _, frames = data.partition(b"\\n")
    frames = frames.split(b"FRAME\\n")[1:]
    if mode == "loses-a-frame":
        frames = frames[:-1]
    if mode == "adds-a-frame":
        frames += frames[:1]
    if mode == "other-size":
        header = header.replace(b"W64 H48", b"W96 H32")
    if mode == "other-format":
        header, frames = b"YUV4MPEG2 W64 H48 F25:1 Cmono", [frame[: 64 * 48] for frame in frames]
    if mode == "eight-bit":
        header, frames = header.replace(b"420p10", b"420jpeg"), [frame[::2] for frame in frames]
    data = header + b"\\n" + b"".join(b"FRAME\\n" + frame for frame in frames)
    if mode == "cuts-a-frame":
        data = data[:-10]
with open(target, "wb") as out:
    out.write(data)
'''


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the program into a folder; what tells it more (``ONCE``, ``SLOW``) are files outside of what it is made of.

    A mode that begins with a direction is a fault of that direction alone.
    """
    tool = folder / "tool.py"
    tool.write_text(SCRIPT.format(python=sys.executable))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("TEST_CODEC", str(tool))
    monkeypatch.setenv("ONCE", str(folder / "once"))
    monkeypatch.setenv("SLOW", str(folder / "slow"))


def card(folder: Path, mode: str, **settings: str) -> str:
    """Write the card of the codec in that mode into ``folder``/codecs; its name."""
    name = f"test-{mode}"
    (folder / "codecs").mkdir(exist_ok=True)
    text = command_card(
        name,
        "TEST_CODEC",
        ["encode", mode, "{input}", "{bitstream}"],
        ["decode", mode, "{bitstream}", "{output}"],
        version=["-V"],
        settings=settings,
        input={"bit_depths": [8, 10]},
    )
    (folder / "codecs" / f"{name}.toml").write_text(text)
    return name
