"""Input that attacks: cards, names, checkpoints, headers, archives, text."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.cards import Catalog, load_card
from bench.datasets.fetch import fetch_dataset
from bench.datasets.manifest import load_manifest, locate
from bench.errors import BitstreamError, CardError, FetchError, ManifestError, MediaError, UnavailableError
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.sequence import open_sequence

HOSTILE = ("<script>alert(1)</script>", "=cmd|' /C calc'!A0", "| [x](javascript:1) `$x$`\n\\input{/etc/passwd}")


@pytest.mark.slow
def test_fault_10_y4m_cut_or_with_a_bad_header(vcbench, tiny_clip: Callable[..., Path], tmp_path: Path) -> None:
    whole = tiny_clip(64, 48, frames=3).read_bytes()
    cut, bad = tmp_path / "cut.y4m", tmp_path / "bad.y4m"
    cut.write_bytes(whole[:-1000])
    bad.write_bytes(whole.replace(b" W64", b" W64x", 1))
    for path, says in ((cut, f"byte {len(whole) - 1000}: ends inside the frame"), (bad, "(byte 0): W64x is not a")):
        done = vcbench("run", "--codecs", "x264", "--input", path, "--out", tmp_path / "out")
        assert done.code == 4
        assert str(path) in done.err and says in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.neural
@pytest.mark.parametrize("way", ["../outside.py", "/outside.py", "link.py"])
def test_fault_21_card_that_leads_out_of_its_folder(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "codecs"
    folder.mkdir()
    outside = tmp_path / "outside.py"
    outside.write_text("open('executed', 'w')")
    (folder / "link.py").symlink_to(outside)
    card = load_card(Catalog().find("codecs", "x264"))
    file = way if way[0] != "/" else str(outside)
    with pytest.raises(CardError, match="leads out of the card's folder"):
        build(card.model_copy(update={"adapter": f"{file}:Codec"}), folder=folder, trust=True)

    text = Catalog().find("codecs", "s2vc-small").read_text()
    weights = re.search(r'file = "(.*?)"', text)
    assert weights is not None
    path = folder / "s2vc-small.toml"
    if way == "link.py":
        (folder / "weights").mkdir()
        real = tmp_path / "real.safetensors"
        real.write_bytes(b"weights")
        (folder / weights[1]).symlink_to(real)
        digest = hashlib.sha256(b"weights").hexdigest()
        path.write_text(re.sub(r'sha256 = ".*?"', f'sha256 = "{digest}"', text))
        with pytest.raises(UnavailableError, match="outside"):
            build(load_card(path), folder=folder).check()
    else:
        path.write_text(text.replace(weights[1], file))
        with pytest.raises(CardError, match="must lie below its folder"):
            load_card(path)

    manifest = tmp_path / "set.toml"
    data = tmp_path / "data"
    data.mkdir()
    (data / "link.py").symlink_to(outside)
    manifest.write_text(
        'name = "set"\ntitle = "t"\nlicence = "l"\nroot = "data"\n[[sequences]]\nname = "clip"\n'
        f'file = "{file}"\nwidth = 64\nheight = 32\nfps = 30\n'
    )
    with pytest.raises(ManifestError, match=r"must be a path below|outside"):
        locate(load_manifest(manifest), "clip")


def test_fault_22_shell_signs_and_leading_dashes(vcbench, tiny_clip: Callable[..., Path], tmp_path: Path) -> None:
    here = Path.cwd()
    name = f"-y; touch {'executed'} & $(touch executed) `touch executed` | 'x' \"y\" *.y4m"
    clip = Path(shutil.copy(tiny_clip(64, 48, frames=2), tmp_path / name))
    out = tmp_path / "-out; touch executed"
    done = vcbench("run", "--codecs", "x264,svt-av1", "--rates", 40, "--input", clip, "--metrics", "psnr_y,xpsnr",
                   "--jobs", 1, "--out", out)  # fmt: skip
    assert done.code == 0, done.err
    assert not list(tmp_path.rglob("executed")) and not (here / "executed").exists()
    for cell in bench.load(out).cells:
        assert cell.sequence.file == name
        assert re.fullmatch(r"[A-Za-z0-9.@+_-]+", cell.name) and cell.name[0] not in "-."
        for cost in (cell.encode, cell.decode):
            for argv in cost.commands:
                at = argv.index("-protocol_whitelist")
                assert argv[at + 1] == "file,pipe,fd" and at < argv.index("-i")
    text = Catalog().find("codecs", "x264").read_text()
    for wrong in ("-x264", "x;264", "x/264", "", "..", "x 264"):
        (tmp_path / "card.toml").write_text(text.replace('name = "x264"', f'name = "{wrong}"'))
        with pytest.raises(CardError, match="name: "):
            load_card(tmp_path / "card.toml")


def test_fault_23_file_of_an_untrusted_folder(vcbench, trial) -> None:
    path = trial.folder / "codecs" / f"{trial.card('good')}.toml"
    text = path.read_text().partition("[settings]")[0].replace('"command"', '"mine.py:Mine"')
    path.write_text(text)
    (path.parent / "mine.py").write_text(f"open({str(trial.folder / 'executed')!r}, 'w')")
    for command, code in (
        (["ls", "codecs", "--path", trial.folder], 0),
        (["validate", path], 0),
        (["run", "--codecs", path, "--input", trial.clip, "--out", trial.out], 4),
        (["run", "--codecs", path, "--input", trial.clip, "--out", trial.out, "--dry-run"], 4),
    ):
        done = vcbench(*command)
        assert done.code == code
        assert "--trust" in done.err + done.out or command[0] == "ls"
    assert not (trial.folder / "executed").exists()


class Malicious:
    """Unpickles into a call."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.neural
def test_fault_24_malicious_pickle_as_checkpoint(tmp_path: Path) -> None:
    import torch

    from bench.neural.coding import weight_file as neural
    from bench.weights import files as weights

    trace = tmp_path / "executed"
    torch.save({"weight": Malicious(trace)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"weight": Malicious(trace)}))
    for name in ("zip.pth", "bare.pt"):
        with pytest.raises(UnavailableError, match=f"{name}: holds no plain tensors"):
            weights.read_tensors(tmp_path / name)
        with pytest.raises(UnavailableError, match="is damaged"):
            neural.load(tmp_path / name)
        assert not trace.exists()


@pytest.mark.slow
def test_fault_25_hostile_names_in_every_format(vcbench, measured: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "set"))
    for number, path in enumerate(sorted((folder / "cells").iterdir())):
        cell = json.loads(path.read_text())
        cell["codec"]["title"] = cell["codec"]["card"]["gop"] = HOSTILE[number % 3]
        cell["sequence"]["name"] = cell["sequence"]["file"] = HOSTILE[number % 3].replace("/", " ")
        path.write_text(json.dumps(cell))
    out = tmp_path / "report"
    assert vcbench("report", folder, "--out", out, "--pictures", 0, "--title", HOSTILE[0]).code == 0
    assert vcbench("report", folder, "--out", tmp_path / "paper", "--paper").code == 0
    for page in out.glob("*.html"):
        assert "<script>alert" not in page.read_text(encoding="utf-8"), page
    tables = [*out.rglob("*.csv"), *(tmp_path / "paper").rglob("*.csv")]
    for table in tables:
        assert not re.search(r'(^|[,"\n])=cmd', table.read_text(encoding="utf-8")), table
    sources = list((tmp_path / "paper").rglob("*.tex"))
    for source in sources:
        assert "\\input{/etc" not in source.read_text(encoding="utf-8"), source
    markdown = [*out.rglob("*.md"), *(tmp_path / "paper").rglob("*.md")]
    for text in markdown:
        assert "](javascript:" not in text.read_text(encoding="utf-8").replace("\\](", ""), text
    assert tables and sources and markdown


def traced(action: Callable[[], Any]) -> int:
    """Most bytes that an action that raises had allocated at once."""
    tracemalloc.start()
    try:
        with pytest.raises((MediaError, BitstreamError)):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_fault_26_huge_sizes_in_headers(tmp_path: Path) -> None:
    from bench.bitstream.container import StreamHeader, StreamReader, varint

    clip = tmp_path / "clip.y4m"
    clip.write_bytes(b"YUV4MPEG2 W16384 H16384 F25:1 C444p16\nFRAME\n" + bytes(1000))
    raw = tmp_path / "clip.yuv"
    raw.write_bytes(bytes(1000))
    header = StreamHeader("s2vc", bytes(8), VideoFormat(64, 64), 1, 0).pack()
    huge = header.replace(varint(64) + varint(64), varint(1 << 40) + varint(1 << 40))
    assert traced(lambda: open_sequence(clip)) < 1 << 20
    assert traced(lambda: open_sequence(raw, size="16384x16384", pix_fmt="yuv444p16le", fps=25)) < 1 << 20
    assert traced(lambda: StreamHeader.unpack(huge)) < 1 << 20
    assert traced(lambda: StreamReader(io.BytesIO(b"VCB\x01\x00" + varint(1 << 34)))) < 1 << 20


def test_fault_26_memory_is_flat_in_the_number_of_frames(tmp_path: Path) -> None:
    header, frame = b"YUV4MPEG2 W352 H288 F25:1 C420jpeg\n", b"FRAME\n" + bytes(352 * 288 * 3 // 2)
    peaks = []
    for frames in (4, 64):
        path = tmp_path / f"{frames}.y4m"
        path.write_bytes(header + frame * frames)
        tracemalloc.start()
        assert sum(1 for _ in open_sequence(path).read()) == frames
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + len(frame)


def test_fault_31_download_cut_wrong_or_with_a_way_out(
    http_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCBENCH_DATA", str(tmp_path / "data"))
    clip = bytes(range(256)) * (64 * 32 * 3 // 2 * 4 // 256)

    def fetched(path: str, digest: str = "", member: str = "") -> list[Any]:
        extra = (f'sha256 = "{digest}"\n' if digest else "") + (f'member = "{member}"\n' if member else "")
        (tmp_path / "set.toml").write_text(
            'name = "set"\ntitle = "t"\nlicence = "l"\ndownload = "automatic"\n[[sequences]]\nname = "clip"\n'
            f'file = "clip.yuv"\nwidth = 64\nheight = 32\nfps = 30\nurl = "{http_server.url}{path}"\n{extra}'
        )
        return list(fetch_dataset(load_manifest(tmp_path / "set.toml"), pause=lambda seconds: None))

    def visible() -> list[str]:
        files = (tmp_path / "data").rglob("*")
        return [path.name for path in files if path.is_file() and path.suffix == ".yuv" and path.parent.name == "set"]

    http_server.files["/clip.yuv"] = clip
    with pytest.raises(FetchError, match="0" * 64):
        fetched("/clip.yuv", "0" * 64)
    assert visible() == []
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("clip.yuv", clip)
        archive.writestr("../../evil.sh", b"evil")
    http_server.files["/set.zip"] = buffer.getvalue()
    with pytest.raises(FetchError, match="leads out of the folder"):
        fetched("/set.zip", member="clip.yuv")
    assert visible() == [] and not list(tmp_path.parent.rglob("evil.sh"))
    http_server.cuts = [5000]
    (got,) = fetched("/clip.yuv", hashlib.sha256(clip).hexdigest())
    assert got.path.read_bytes() == clip and visible() == ["clip.yuv"]
    assert http_server.requests[-1] == ("/clip.yuv", "bytes=5000-")
