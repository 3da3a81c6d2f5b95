"""Clips, a cache of the tests' own, an environment without the user's settings, and what workers of xdist share."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Outcome, Vcbench, in_process
from needed import needed
from untrained import awake

if TYPE_CHECKING:
    from bench.neural.codecs.s2vc.model import S2vc

SHARED = Path(__file__).resolve().parents[2] / "shared"

# moving noise over moving shapes: no encoder codes it for nothing, none is asked for more than it can
_PATTERN = "testsrc2=size={width}x{height}:rate={rate}"
_NOISE = "noise=alls={noise}:allf=t:all_seed=3,"

TinyClip = Callable[..., Path]

# without bytecode every program that a test starts would compile torch anew; it is kept out of the sources
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# thousands of collected tests and modules stay to the end: searching them for garbage less often saves minutes
gc.set_threshold(20_000, 20, 20)

# a shell has what it starts in the background ignore Ctrl-C, and so would every program that a test interrupts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# each worker takes its share of the CPUs, before the libraries that start threads of their own are imported
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARE = max(1, len(os.sched_getaffinity(0)) // _WORKERS)
if _WORKERS > 1:
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, str(_SHARE))
    # codecs take threads of their own; those that wait must not burn the CPU that a neighbour could use
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class _Room:
    """Lets the workers' tests run side by side, and a test marked ``alone`` by itself.

    Whoever enters passes a gate one by one; a test that is to be alone holds it shut until it has left.
    """

    def __init__(self, folder: Path) -> None:
        self._gate = (folder / "gate.lock").open("w")
        self._room = (folder / "room.lock").open("w")
        self._inside = False

    def enter(self, *, alone: bool) -> None:
        if self._inside:
            return
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._inside = True

    def leave(self) -> None:
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._inside = False

    def close(self) -> None:
        self._gate.close()
        self._room.close()


_room = pytest.StashKey[_Room]()


_NEEDS_EXTRA = re.compile(
    r"^(?:import|from) (?:torch|torchvision|diffusers|compressai|safetensors|pytorch_msssim|torchmetrics|"
    r"bench\.(?:neural\.(?!training\.recipe|own_codecs)|networks\.(?!device)))",
    re.MULTILINE,
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without the extra ``neural``, files that import what it brings are not collected."""
    if find_spec("torch") is None and collection_path.suffix == ".py" and collection_path.name != "conftest.py":
        return bool(_NEEDS_EXTRA.search(collection_path.read_text(encoding="utf-8"))) or None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is neither ``slow`` nor ``alone`` is ``quick``, before ``-m`` chooses."""
    for item in items:
        if not any(item.iter_markers("slow")) and not any(item.iter_markers("alone")):
            item.add_marker("quick")
        if any(item.iter_markers("neural")) and find_spec("torch") is None:
            item.add_marker(pytest.mark.skip(reason="needs the extra neural"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is collected stays to the end: no search for garbage is to look at it again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """At the end the interpreter looks for what is left, and some libraries complain of what it does not find."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are CPUs: while a test waits for a program or for the clock, another one works."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None]:
    yield
    if _WORKERS > 1:
        session.config.stash[_room] = room = _Room(session.config._tmp_path_factory.getbasetemp().parent)
        session.config.add_cleanup(room.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """Neighbours wait while tests that are to be alone run, one after another."""
    room = item.config.stash.get(_room, None)
    if room is None:
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    room.enter(alone=alone)
    try:
        return (yield)
    finally:
        if not (alone and nextitem is not None and nextitem.get_closest_marker("alone")):
            room.leave()


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that the user set decides a test; VCBENCH_FFMPEG stays, so that another FFmpeg can be tested."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("VCBENCH_") and name != "VCBENCH_FFMPEG"]:
            patch.delenv(name)
        patch.setenv("VCBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@pytest.fixture(autouse=True)
def _threads_of_torch() -> Iterator[None]:
    """A codec called in this process leaves torch the threads of its card; the next test is to have its own share."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else _SHARE
    yield
    if "torch" in sys.modules and sys.modules["torch"].get_num_threads() != before:
        sys.modules["torch"].set_num_threads(before)


@pytest.fixture(scope="session")
def shared_clips() -> Path:
    """Folder of real clips beside the checkout."""
    if not (SHARED / "clips").is_dir():
        pytest.skip("the real clips (../shared/clips beside the checkout) are not here")
    return SHARED / "clips"


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Folder of small bad inputs beside the checkout; INDEX.md there says what is right."""
    if not (SHARED / "cases").is_dir():
        pytest.skip("the bad inputs (../shared/cases beside the checkout) are not here")
    return SHARED / "cases"


@pytest.fixture
def shared_weights(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of real weights beside the checkout, made known to vcbench."""
    if not (SHARED / "weights").is_dir():
        pytest.skip("the real weights (../shared/weights beside the checkout) are not here")
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(SHARED / "weights"))
    return SHARED / "weights"


@pytest.fixture
def vcbench(capsys: pytest.CaptureFixture[str]) -> Vcbench:
    """Call the command line in this process, with arguments of any type."""

    def call(*arguments: object) -> Outcome:
        return in_process(capsys, *arguments)

    return call


@pytest.fixture(scope="session")
def ffmpeg_exe() -> str:
    from bench.video import ffmpeg

    return ffmpeg.executable()


@pytest.fixture(scope="session")
def run_ffmpeg(ffmpeg_exe: str) -> Callable[..., bytes]:
    """Call FFmpeg with arguments; its standard output. The reference that readers are compared with."""

    def run(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
        # FFmpeg may drop the last frames of this encoder without a word (see bench/adapters/ffmpeg.py)
        loses_frames = "libvvenc" in arguments
        argv = [ffmpeg_exe, "-v", "verbose" if loses_frames else "error", "-y", *map(str, arguments)]
        source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        for _ in range(10):
            done = subprocess.run(argv, capture_output=True, check=False, **source)  # type: ignore[call-overload]
            assert done.returncode == 0, done.stderr.decode()
            counts = re.search(rb"(\d+) frames encoded; (\d+) packets muxed", done.stderr)
            if not loses_frames or (counts is not None and counts[1] == counts[2]):
                return bytes(done.stdout)
        raise AssertionError("FFmpeg lost frames of VVenC ten times")

    return run


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory, run_ffmpeg: Callable[..., bytes]) -> TinyClip:
    """Factory of synthetic y4m clips, each made once a session, whichever worker needs it first.

    ``tiny_clip(width=64, height=64, frames=9, pix_fmt="yuv420p", rate="25", noise=12, full_range=False)``. Odd sizes
    are exact; the same arguments give the same bytes.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if _WORKERS > 1 else base) / "clips"
    folder.mkdir(exist_ok=True)

    def make(
        width: int = 64,
        height: int = 64,
        frames: int = 9,
        pix_fmt: str = "yuv420p",
        *,
        rate: str = "25",
        noise: int = 12,
        full_range: bool = False,
    ) -> Path:
        name = (
            f"{width}x{height}_{frames}_{pix_fmt}_{rate.replace('/', '-')}_{noise}{'_full' if full_range else ''}.y4m"
        )
        path = folder / name
        if not path.exists():
            pattern = _PATTERN.format(width=width + width % 2, height=height + height % 2, rate=rate)
            filters = (_NOISE.format(noise=noise) if noise else "") + f"format={pix_fmt}"
            filters += f",crop={width}:{height}:0:0:exact=1,setparams=range={'pc' if full_range else 'tv'}"
            written = tmp_path_factory.mktemp("clip") / name
            run_ffmpeg(
                "-f", "lavfi", "-i", pattern, "-frames:v", str(frames), "-vf", filters, "-strict", "-1", written
            )  # fmt: skip
            written.replace(path)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_s2vc() -> S2vc:
    """A seeded, untrained S2VC of the smallest sizes; what starts at zero is not, or a path that differs would hide."""
    needed("compressai")
    import torch

    from bench.neural.codecs.s2vc.coding import build

    sizes: dict[str, Any] = {
        "width": 16, "deep": 16, "latent_channels": 8, "y_channels": 8, "hyper_channels": 8, "guidance": 16,
        "unet_widths": (16, 16), "vae_width": 8, "rates": 3, "reanchor_every": 2, "teacher_channels": 4,
    }  # fmt: skip
    torch.manual_seed(0)
    model: S2vc = awake(build(sizes), std=0.1)
    return model


@pytest.fixture(scope="session")
def tiny_weights(tiny_s2vc: S2vc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weight file of the tiny S2VC."""
    from dataclasses import asdict

    from bench.neural.coding.weight_file import About, save

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(path, About("s2vc", asdict(tiny_s2vc.config)), tiny_s2vc)
    return path


class HttpServer(http.server.ThreadingHTTPServer):
    """Serves ``files`` by path with ETags and ranges; ``cuts`` are the bytes after which the next answers break off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HttpHandler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.failures: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.redirects: dict[str, str] = {}
        self.etags = True
        self.lengths = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _HttpHandler(http.server.BaseHTTPRequestHandler):
    server: HttpServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            self.end_headers()
            return
        if server.failures:
            self.send_error(server.failures.pop(0))
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        content = server.files[self.path]
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.headers.get("If-Range") == etag else 0
        self.send_response(206 if start else 200)
        if server.etags:
            self.send_header("ETag", etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body)


@pytest.fixture
def http_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """A server on this machine that cuts, lies and attacks as told."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HttpServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
