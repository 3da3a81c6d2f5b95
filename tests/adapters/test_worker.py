"""Codecs behind a worker: an honest one, and many that lie, crash or speak nonsense."""

from __future__ import annotations

import ast
import json
import re
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from command_line import Vcbench

import bench
from bench.adapters.base import RatePoint
from bench.adapters.worker import SERVER, WorkerFileCodec
from bench.adapters.worker_process import CHANNEL, WorkerError, WorkerProcess
from bench.bitstream.container import StreamReader
from bench.cards import load_card
from bench.errors import CardError, DecodeError, EncodeError, SkippedError, UnavailableError
from bench.registry import build
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "worker-protocol.md"

TinyClip = Callable[..., Path]
Make = Callable[..., WorkerFileCodec]

CARD = """
name = "packed"
title = "Frames packed by zlib, in a worker"
adapter = "worker"
licence = "Apache-2.0"
gop = "all intra"
extension = "zz"
{card}
[rates]
parameter = "level"
values = [1, 9]
minimum = 0
maximum = 9
[input]
chroma = ["420", "444"]
bit_depths = [8, 10]
[settings]
worker = "packed.py"
{settings}
"""

HONEST = """
import json, os, sys, zlib

def versions(settings):
    return {"zlib": zlib.ZLIB_VERSION}

def encode(job):
    parts = [zlib.compress(frame, job.rate) for frame in job.read_frames()]
    job.bitstream.write_bytes(b"".join(len(part).to_bytes(4, "big") + part for part in parts))
    return {"bits": 8 * job.bitstream.stat().st_size, "notes": {"options": job.settings}}

def decode(job):
    with job.bitstream.open("rb") as file:
        while length := file.read(4):
            yield zlib.decompress(file.read(int.from_bytes(length, "big")))
"""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Factory of worker codecs: a worker's source after the honest one's, lines of the card and of its settings."""
    folder = tmp_path / "codecs"
    folder.mkdir()

    def card(source: str = "", *, card: str = "", settings: str = "", trust: bool = True) -> WorkerFileCodec:
        (folder / "packed.py").write_text(HONEST + source)
        path = folder / "packed.toml"
        path.write_text(CARD.format(card=card, settings=settings))
        codec = build(load_card(path), folder=folder, trust=trust)
        assert isinstance(codec, WorkerFileCodec)
        return codec

    return card


@pytest.fixture
def program(make: Make, tmp_path: Path) -> Callable[[str], WorkerFileCodec]:
    """Factory of workers that speak for themselves: Python that has the socket as ``channel``, its requests as text."""

    def write(source: str) -> WorkerFileCodec:
        codec = make(settings="serve = false")
        path = tmp_path / "codecs" / "packed.py"
        path.write_text(
            f"#!{sys.executable}\nimport json, os, socket, sys, time\n"
            'channel = socket.socket(fileno=int(os.environ["VCBENCH_WORKER_FD"])).makefile("rw")\n'
            "def say(text):\n    channel.write(text + '\\n')\n    channel.flush()\n"
            'HELLO = json.dumps({"ok": True, "protocol": 1})\n' + source
        )
        path.chmod(0o755)
        return codec

    return write


@pytest.fixture
def sequence(tiny_clip: TinyClip) -> Sequence:
    return open_sequence(tiny_clip(67, 45), start=2, frames=3)


def encoded(codec: WorkerFileCodec, sequence: Sequence, folder: Path, level: int = 9) -> Path:
    bitstream = folder / "bitstream.zz"
    codec.encode(sequence, RatePoint("level", level), bitstream)
    return bitstream


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_planes_go_there_and_back(make: Make, tiny_clip: TinyClip, tmp_path: Path, pix_fmt: str) -> None:
    codec, source = make(), open_sequence(tiny_clip(67, 45, 5, pix_fmt), start=1, frames=3)
    frames = list(codec.decode(encoded(codec, source, tmp_path)))
    assert [frame.format for frame in frames] == [source.format] * 3
    assert all(np.array_equal(a.data, b.data) for a, b in zip(frames, source.read(), strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bitstream.zz", "codecs"]


def test_pictures_go_there_and_back(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """A worker that takes RGB gets what the RGB metrics see; a lossless one gives that conversion's round trip."""
    codec, source = make(settings='pixels = "rgb"'), open_sequence(tiny_clip(64, 48, 2, "yuv444p"))
    info = codec.encode(source, RatePoint("level", 1), tmp_path / "b.zz")
    assert info.notes["exchange"] == f"RGB pictures of 8 bit, {colour.describe(source.format)}"
    for found, wanted in zip(codec.decode(tmp_path / "b.zz"), source.read(), strict=True):
        assert np.array_equal(found.data, colour.from_rgb(colour.to_rgb(wanted), source.format).data)
    with pytest.raises(SkippedError, match="takes RGB pictures of 8 bit, the sequence has 10 bit"):
        codec.transform(VideoFormat(64, 48, bit_depth=10))


def test_the_rate_is_the_file_and_the_worker_said_so(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = make(settings="options = { depth = 3 }")
    info = codec.encode(sequence, RatePoint("level", 9), tmp_path / "b.zz")
    size = (tmp_path / "b.zz").stat().st_size
    assert 8 * (size - info.notes["container_bytes"]) == info.notes["worker_bits"]
    assert 30 < info.notes["container_bytes"] < 100
    assert info.notes["options"] == {"depth": 3, "files": {}}
    assert info.estimated_bits is None
    assert codec.tool()["zlib"] == info.notes["worker"]["zlib"]


def test_what_research_code_prints_breaks_nothing(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    noise = 'print("loading"); os.system("echo to stdout"); os.write(1, b"{\\"ok\\": false}\\n")\n'
    codec = make(
        f"{noise}\nquiet_encode, quiet_decode = encode, decode\n"
        f"def encode(job):\n    {noise}    return quiet_encode(job)\n"
        f"def decode(job):\n    {noise}    yield from quiet_decode(job)\n"
    )
    assert len(list(codec.decode(encoded(codec, sequence, tmp_path)))) == 3


def test_paths_are_absolute_wherever_we_run(
    make: Make, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may change its folder; the engine's decoder is told a file of its own folder."""
    codec = make("honest = decode\ndef decode(job):\n    os.chdir('/')\n    yield from honest(job)\n")
    bitstream = encoded(codec, sequence, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(list(codec.decode(Path(bitstream.name)))) == 3


def test_large_bitstreams_are_held_a_part_at_a_time(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = make(
        "def encode(job):\n    list(job.read_frames())\n    job.bitstream.write_bytes(bytes(range(256)) * (5 << 11))\n"
        "    return {'bits': 8 * job.bitstream.stat().st_size}\n"
    )
    with encoded(codec, sequence, tmp_path).open("rb") as file:
        parts = [unit.payload for unit in StreamReader(file).units()]
    assert b"".join(parts) == bytes(range(256)) * (5 << 11)
    assert max(map(len, parts)) <= 1 << 20


LIES = {
    "more frames": ("frame_count", "encoded 4 frames of 3", 'return {"bits": size, "frames": 4}'),
    "fewer bits": ("rate_differs", r"reports \d+ bits, its file has \d+", 'return {"bits": size - 8}'),
    "no bits": ("rate_differs", "reports None bits", "return {}"),
    "frames unread": ("frame_count", "encoded 0 frames of 3", 'job.frames_read = 0; return {"bits": size}'),
    "no file": ("no_bitstream", "wrote no bitstream", 'job.bitstream.unlink(); return {"bits": size}'),
    "empty file": ("no_bitstream", "wrote an empty bitstream", 'job.bitstream.write_bytes(b""); return {"bits": 0}'),
    "crash": ("worker_lost", "ended with status 3 before it replied to encode", "os._exit(3)"),
    "signal": ("worker_lost", f"ended by signal {signal.SIGSEGV:d} before", "os.kill(os.getpid(), 11)"),
    "error": ("worker_failed", "encode: RuntimeError: out of ideas", 'raise RuntimeError("out of ideas")'),
    "memory": ("oom", "MemoryError", "raise MemoryError()"),
    "GPU memory": ("oom", "OutOfMemoryError", 'raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA")'),
    "import": ("worker_unavailable", "No module named 'nothing_x'", "import nothing_x"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_encoder_is_found_out(make: Make, sequence: Sequence, tmp_path: Path, lie: str) -> None:
    reason, message, code = LIES[lie]
    codec = make(
        "honest = encode\ndef encode(job):\n    size = honest(job)['bits']\n    " + code.replace("; ", "\n    ") + "\n"
    )
    with pytest.raises(EncodeError, match=message) as caught:
        encoded(codec, sequence, tmp_path)
    assert caught.value.reason == reason
    assert [path.name for path in tmp_path.iterdir()] == ["codecs"]


DECODERS = {
    "fewer": ("frame_count", "decoded 2 frames and wrote 2, 3 were encoded", "yield from list(honest(job))[:2]"),
    "more": ("frame_count", "4 frames and wrote 4", "yield from [*honest(job), bytes(job.frame_bytes)]"),
    "none": ("frame_count", "0 frames and wrote 0", "yield from ()"),
    "cut": ("frame_count", "wrote 1.49967", "yield from (frame[: len(frame) // 2] for frame in honest(job))"),
    "error": ("worker_failed", "out of ideas", "yield next(honest(job))\n    raise RuntimeError('out of ideas')"),
    "crash": ("worker_lost", "ended with status 4", "yield next(honest(job))\n    os._exit(4)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DECODERS)
def test_a_lying_decoder_is_found_out(make: Make, sequence: Sequence, tmp_path: Path, kind: str) -> None:
    reason, message, code = DECODERS[kind]
    # its stream says who wrote it, so that the liar must be the encoder too
    codec = make(f"honest = decode\ndef decode(job):\n    {code}\n")
    bitstream = encoded(codec, sequence, tmp_path)
    with pytest.raises(DecodeError, match=message) as caught:
        list(codec.decode(bitstream))
    assert caught.value.reason == reason


NONSENSE = {
    "another protocol": ('say(json.dumps({"ok": True, "protocol": 2}))', "protocol", "version 2 of the protocol"),
    "no JSON": ('say("done!")', "protocol", "what is not JSON .*: done!"),
    "NaN": ('say(\'{"ok": true, "protocol": NaN}\')', "protocol", "NaN is not JSON"),
    "no object": ('say("[1]")', "protocol", "a JSON list instead of an object"),
    "unknown error": ('say(\'{"ok": false, "error": "sad"}\')', "protocol", "not ok and not an error"),
    "ok is no truth value": ('say(\'{"ok": "true"}\')', "protocol", "not ok and not an error"),
    "notes in a list": ("say(HELLO); say('{\"ok\": true, \"notes\": [1]}')", "protocol", "notes that are not an"),
    "versions in a text": ('say(\'{"ok": true, "protocol": 1, "versions": "1"}\')', "protocol", "versions that"),
    "half a line": ('channel.write("{"); channel.flush(); sys.exit(5)', "worker_lost", "ended with status 5"),
    "hangs up at once": ("channel.close(); sys.exit(0)", "worker_lost", "ended with status 0 before"),
    "hangs up later": ("channel.readline(); say(HELLO); channel.readline(); sys.exit(6)", "worker_lost", "to encode"),
    "only says hello": ("say(HELLO); say('{\"ok\": true}'); channel.readline()", "frame_count", "None frames"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_a_typed_error(
    program: Callable[[str], WorkerFileCodec], sequence: Sequence, tmp_path: Path, kind: str
) -> None:
    code, reason, message = NONSENSE[kind]
    with pytest.raises(EncodeError, match=message) as caught:
        encoded(program(code.replace("; ", "\n") + "\n"), sequence, tmp_path)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        (b"", "worker_lost", "ended with status 0 before it replied to hello"),
        (b'{"ok": false, "error": "unavailable", "message": "no GPU"}\n', "worker_unavailable", "hello: no GPU"),
    ],
)
def test_the_last_words_of_a_worker_that_has_ended_are_heard(said: bytes, reason: str, message: str) -> None:
    """However late it is asked: the request can no longer be sent."""
    code = f"import os; os.write(int(os.environ[{CHANNEL!r}]), {said!r})"
    with WorkerProcess([sys.executable, "-c", code]) as worker:
        worker._program.wait()
        with pytest.raises(WorkerError, match=message) as caught:
            worker.hello({})
    assert caught.value.reason == reason


def test_a_worker_that_never_says_hello_is_ended(
    program: Callable[[str], WorkerFileCodec], sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a run is planned no --time-limit holds; one byte now and then is no reply either."""
    monkeypatch.setattr("bench.adapters.worker_process.HELLO_S", 1.0)
    codec = program("while True:\n    channel.write(' ')\n    channel.flush()\n    time.sleep(0.01)\n")
    with pytest.raises(UnavailableError, match=r"did not reply to hello in 1 s and was ended"):
        codec.tool()
    with pytest.raises(EncodeError, match="did not reply to hello") as caught:
        encoded(codec, sequence, tmp_path)
    assert caught.value.reason == "timeout"


def test_a_program_that_is_none_is_told(program: Callable[[str], WorkerFileCodec], tmp_path: Path) -> None:
    codec = program("")
    (tmp_path / "codecs" / "packed.py").chmod(0o644)
    with pytest.raises(UnavailableError, match="is not executable; chmod \\+x it"):
        codec.check()


REMARKS = {
    "a lone surrogate": r'{"name": "\ud800"}',
    "500 levels": "json.loads('[' * 500 + ']' * 500)",
    "a million values": "list(range(10**6))",
    "a number of 400 digits": "10**400",
}


@pytest.mark.parametrize("kind", REMARKS)
def test_odd_remarks_of_a_worker_cost_no_cell(make: Make, sequence: Sequence, tmp_path: Path, kind: str) -> None:
    code = f'return {{**honest(job), "notes": {{"odd": {REMARKS[kind]}}}}}'
    make(f"honest = encode\ndef encode(job):\n    {code}\n")
    results = bench.run(
        "packed", inputs=sequence.path, paths=tmp_path, trust=True, rates=[9], metrics=["psnr_y"], out=tmp_path / "out"
    )
    (cell,) = results.cells
    assert cell.status == "ok", cell.message
    assert cell.encode is not None and "odd" in cell.encode.notes
    (read_again,) = bench.load(tmp_path / "out").cells
    assert read_again == cell


def test_versions_of_a_worker_may_be_odd_too(make: Make) -> None:
    codec = make("def versions(settings):\n    return {'name\\ud800': '\\udfff'}\n")
    assert codec.tool()["name\ufffd"] == "\ufffd"


def test_cells_of_bad_workers_fail_with_the_reason(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    """Level 1 hangs, level 9 loses a frame: each is a failed cell of its own, and nothing is left running."""
    make(
        "import time\nhonest = decode\n"
        "def decode(job):\n    frames = list(honest(job))\n    print('one is lost')\n    yield from frames[1:]\n"
        "thorough = encode\ndef encode(job):\n"
        "    if job.rate == 1:\n        (job.bitstream.parents[3] / 'pid').write_text(str(os.getpid()))\n"
        "    while job.rate == 1:\n        time.sleep(1)\n"
        "    return thorough(job)\n"
    )
    out = tmp_path / "out"
    results = bench.run(
        ["packed"], inputs=[sequence.path], frames=3, out=out, metrics=["psnr_y"], paths=[tmp_path], trust=True,
        rates=[9],
    )  # fmt: skip
    (cell,) = results.cells
    assert (cell.status, cell.reason) == ("failed", "frame_count")
    assert "says it decoded 2 frames and wrote 2, 3 were encoded" in str(cell.message)
    results = bench.run(
        ["packed"], inputs=[sequence.path], frames=3, out=out, metrics=["psnr_y"], paths=[tmp_path], trust=True,
        rates=[1], time_limit=5,
    )  # fmt: skip
    assert {(cell.rate.value, cell.reason) for cell in results.cells} == {(9, "frame_count"), (1, "timeout")}
    for pid in out.rglob("pid"):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid.read_text())).wait(timeout=30)  # raises where it runs on


def test_damage_and_other_models_are_refused(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    bitstream = encoded(make(), sequence, tmp_path)
    data = bytearray(bitstream.read_bytes())
    with pytest.raises(DecodeError, match=r"bitstream\.zz: header: was written by packed with weights") as caught:
        list(make("# another version of it\n").decode(bitstream))
    assert caught.value.reason == "bitstream"
    codec = make()
    data[len(data) // 2] ^= 16
    bitstream.write_bytes(data)
    with pytest.raises(DecodeError, match=r"bitstream\.zz: unit 1: damaged"):
        list(codec.decode(bitstream))
    bitstream.write_bytes(data[:-9])
    with pytest.raises(DecodeError, match=r"bitstream\.zz: "):
        list(codec.decode(bitstream))


def test_an_estimate_stands_beside_the_file(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    estimate = "honest = encode\ndef encode(job):\n    return {**honest(job), 'bits': BITS}\n"
    kind = 'rate_kind = "estimate"'
    info = make(estimate.replace("BITS", "4321"), card=kind).encode(sequence, RatePoint("level", 9), tmp_path / "b.zz")
    assert info.estimated_bits == 4321
    for bits in ("0", "-8", "12.5", "True", "None"):
        with pytest.raises(EncodeError, match=r"it must be a whole number above 0") as caught:
            encoded(make(estimate.replace("BITS", bits), card=kind), sequence, tmp_path)
        assert caught.value.reason == "no_rate"


def test_nothing_runs_without_trust(make: Make, sequence: Sequence, tmp_path: Path) -> None:
    codec = make(f"open({str(tmp_path / 'executed')!r}, 'w')\n", trust=False)
    for step in (codec.check, codec.tool, lambda: encoded(codec, sequence, tmp_path)):
        with pytest.raises(UnavailableError, match=r"would run .*packed\.py; give --trust"):
            step()
    assert not (tmp_path / "executed").exists()


def test_what_is_missing_is_said(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = make(settings='interpreter_env = "PACKED_PYTHON"\nget = "Install it."')
    with pytest.raises(UnavailableError, match=r"set PACKED_PYTHON to the Python interpreter .* Install it"):
        codec.check()
    monkeypatch.setenv("PACKED_PYTHON", "/nowhere/python")
    with pytest.raises(UnavailableError, match="PACKED_PYTHON=/nowhere/python is not a program"):
        codec.check()
    monkeypatch.setenv("PACKED_PYTHON", sys.executable)
    codec.check()
    with pytest.raises(UnavailableError, match=r"weights\.bin: no such file"):
        make(settings='files = { weights = "weights.bin" }').check()
    (tmp_path / "codecs" / "weights.bin").symlink_to("/etc/hostname")
    with pytest.raises(CardError, match="leads out of the card's folder"):
        make(settings='files = { weights = "weights.bin" }').check()


@pytest.mark.parametrize("path", sorted(SERVER.parent.glob("*.py")), ids=lambda path: path.name)
def test_workers_run_in_older_interpreters_and_without_us(path: Path) -> None:
    """Research code is pinned to interpreters of its time, where vcbench is not installed."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in modules if name.partition(".")[0] == "bench"}


def test_the_pages_example_runs(
    vcbench: Vcbench, tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text()
    blocks = re.findall(r"^`(codecs/[\w.-]+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in blocks} == {"codecs/steps.py", "codecs/steps.toml"}
    (tmp_path / "codecs").mkdir()
    for name, content in blocks:
        (tmp_path / name).write_text(content)
    shutil.copy(tiny_clip(66, 46, 4), tmp_path / "clip.y4m")
    (command,) = re.findall(r"^    vcbench (run .*)$", text, re.MULTILINE)
    monkeypatch.setenv("STEPS_PYTHON", sys.executable)
    monkeypatch.chdir(tmp_path)
    done = vcbench(*command.split(), "--jobs", "1")  # the start of workers would take longer than its cell
    assert done.code == 0, done.err
    (cell,) = bench.load(tmp_path / "results" / "steps").cells
    psnr = cell.measurements["psnr_y"].value
    assert psnr is not None
    # quantisation in steps of 4 has errors of 0, 1, 1 and 2: a mean square of 1.5
    assert psnr == pytest.approx(10 * np.log10(255**2 / 1.5), abs=0.3)


def test_the_page_shows_the_requests_as_they_are(
    program: Callable[[str], WorkerFileCodec], sequence: Sequence, tmp_path: Path
) -> None:
    shown = [json.loads(line) for line in re.findall(r"^\{\"request\".*$", PAGE.read_text(), re.MULTILINE)]
    codec = program(
        "said = []\nfor line in channel:\n    request = json.loads(line)\n    said.append(request)\n"
        f"    open({str(tmp_path / 'said')!r}, 'w').write(json.dumps(said))\n"
        "    if request['request'] == 'encode':\n        open(request['bitstream'], 'wb').write(b'1')\n"
        '    say(json.dumps({"ok": True, "protocol": 1, "frames": 3, "bits": 8}))\n'
    )
    bitstream = encoded(codec, sequence, tmp_path)
    said = json.loads((tmp_path / "said").read_text())
    with pytest.raises(DecodeError, match="says it decoded 3 frames and wrote 0"):
        list(codec.decode(bitstream))
    said += json.loads((tmp_path / "said").read_text())[1:]
    assert [request["request"] for request in said] == [request["request"] for request in shown]
    for real, printed in zip(said, shown, strict=True):
        assert set(real) == set(printed)
        assert set(real.get("video", ())) == set(printed.get("video", ()))


def test_the_page_names_every_reason() -> None:
    text = PAGE.read_text()
    sources = [ROOT / "bench/adapters/worker.py", ROOT / "bench/adapters/worker_process.py"]
    code = "".join(path.read_text() for path in sources)
    reasons = set(re.findall(r"(?:Error|reason)\(\s*\"(\w+)\"", code)) | set(
        re.findall(r": \"(worker_\w+|oom)\"", code)
    )
    assert {"protocol", "frame_count", "rate_differs", "oom", "worker_lost"} <= reasons
    assert not {reason for reason in reasons - {"bit_depth", "no_rate"} if f"`{reason}`" not in text}
