"""Cool-Chic 5 behind its adapter: with upstream's real code where VCBENCH_COOLCHIC and VCBENCH_COOLCHIC_PYTHON name it,
and everywhere with a stand-in that has its programs, options, logs and file names, and codes without loss."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.adapters.base import RatePoint
from bench.adapters.official.coolchic import CoolChicCodec
from bench.bitstream.container import StreamReader
from bench.cards import load_card
from bench.errors import CardError, EncodeError, UnavailableError
from bench.registry import build
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]

OURS = Path(__file__).resolve().parents[3] / "codecs"

# Read before the tests' own environment hides them.
UPSTREAM = os.environ.get("VCBENCH_COOLCHIC")
UPSTREAM_PYTHON = os.environ.get("VCBENCH_COOLCHIC_PYTHON")

STRUCTURE = """
import argparse

def positions(text, frames):
    found = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found

def structure(args):
    intra, inter = (positions(text, args.n_frames) for text in (args.intra_pos, args.p_pos))
    assert intra[0] == 0 and max(intra + inter) == args.n_frames - 1
    rows = [(display, "I", 0, []) for display in intra]
    for display in inter:
        past = max(row for row in rows if row[0] < display)
        rows.append((display, "P", past[2] + 1, [past[0]]))
    while len(rows) < args.n_frames:
        known = {row[0]: row[2] for row in rows}
        first = next(display for display in range(args.n_frames) if display not in known)
        past = max(display for display in known if display < first)
        future = min(display for display in known if display > first)
        rows.append((past + (future - past) // 2, "B", max(known[past], known[future]) + 1, [past, future]))
    return rows

def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--intra_pos", default="0")
    parser.add_argument("--p_pos", default="")
    parser.add_argument("--n_frames", type=int, default=1)
    return parser

if __name__ == "__main__":
    parser = options()
    parser.add_argument("--raw_coding_struct", action="store_true")
    print("coding\\tdisplay\\ttype\\tdepth\\tref1\\tref2")
    for coding, (display, kind, depth, refs) in enumerate(structure(parser.parse_args())):
        print(coding, display, kind, depth, *refs, sep="\\t")
"""

ENCODE = """
import json, os, pathlib, re, zlib
from _getcodingstruct import options, structure

parser = options()
parser.add_argument("-i", "--input", required=True)
parser.add_argument("-o", "--output", required=True)
parser.add_argument("--workdir", default=".")
for name in ("coding_idx", "n_itr", "n_itr_pretrain_motion"):
    parser.add_argument("--" + name, type=int)
for name in ("lmbda", "start_lr"):
    parser.add_argument("--" + name, type=float)
for name in ("dec_cfg_residue", "dec_cfg_motion"):
    parser.add_argument("--" + name, type=pathlib.Path)
parser.add_argument("--debug", action="store_true")
args = parser.parse_args()
here = pathlib.Path(__file__).parent
os.chdir(args.workdir)
display, kind, depth, refs = structure(args)[args.coding_idx]
assert args.dec_cfg_residue.is_file()
if kind != "I":
    assert args.dec_cfg_motion.is_file()
    flow = pathlib.Path(os.environ["TORCH_HOME"]) / "hub/checkpoints/raft_large_C_T_SKHT_V2-ff5fadd5.pth"
    assert flow.read_bytes() == b"weights"
told = {name: getattr(args, name) for name in ("lmbda", "start_lr", "n_itr", "n_itr_pretrain_motion", "debug")}
decoders = [f"{path.parent.name}/{path.stem}" for path in (args.dec_cfg_residue, args.dec_cfg_motion) if path]
gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
with (here / "calls").open("a") as file:
    call = {"display": display, "kind": kind, "depth": depth, "decoders": decoders, "gpus": gpus, **told}
    print(json.dumps(call), file=file)

# the whole path tells the format
width, height = map(int, re.search(r"_(\\d+)x(\\d+)_", args.input).groups())
depth_bytes = 1 if "_8b" in args.input else 2
size = width * height * (3 if "444" in args.input else 1.5) * depth_bytes
with open(args.input, "rb") as file:
    file.seek(int(size) * display)
    packed = zlib.compress(file.read(int(size)))
unit = display.to_bytes(2, "big") + len(packed).to_bytes(4, "big") + packed
with open(args.output, "wb" if args.coding_idx == 0 else "ab") as file:
    file.write(unit)
bits = 8 * len(unit) + int(os.environ.get("FAULT", "0"))
pixels = width * height
pathlib.Path(f"{display:04d}-results_encoder.tsv").write_text(f"loss  nn_bpp \\n1.0  {80 / pixels}\\n")
names = "loss  psnr_db  rate_bpp  lmbda  seq_name  n_pixels  display_order  coding_order"
values = f"1.0  {30 + display}  {bits / pixels:9.7f}  {args.lmbda}  video  {pixels}  {display}  {args.coding_idx}"
pathlib.Path(f"{display:04d}-results_decoder.tsv").write_text(names + "\\n" + values + "\\n")
"""

DECODE = """
import argparse, zlib
parser = argparse.ArgumentParser()
parser.add_argument("-i", "--input")
parser.add_argument("-o", "--output")
args = parser.parse_args()
frames = {}
with open(args.input, "rb") as file:
    while head := file.read(6):
        frames[int.from_bytes(head[:2], "big")] = zlib.decompress(file.read(int.from_bytes(head[2:], "big")))
with open(args.output, "wb") as file:
    file.write(b"".join(frames[display] for display in sorted(frames)))
"""

CONFIGURATIONS = (
    "intra/lop",
    "intra/mop",
    "intra/hop",
    "intra/vhop",
    "residue/lop",
    "residue/mop",
    "motion/lop",
    "motion/mop",
)


def codec(name: str = "coolchic", **settings: Any) -> CoolChicCodec:
    base, _, configuration = name.partition("@")
    card = load_card(OURS / f"{base}.toml").configured(configuration or None)
    built = build(card.model_copy(update={"settings": {**card.settings, **settings}}), folder=OURS)
    assert isinstance(built, CoolChicCodec)
    return built


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in checkout below a folder whose name has words by which upstream knows formats, and this interpreter."""
    root = tmp_path / "of_444_10b" / "Cool-Chic"
    for name, text in {"_getcodingstruct": STRUCTURE, "cc_encode": ENCODE, "cc_decode": DECODE}.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.py").write_text(text)
    for name in CONFIGURATIONS:
        path = root / "cfg/dec" / f"{name}.cfg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("VCBENCH_COOLCHIC", str(root))
    monkeypatch.setenv("VCBENCH_COOLCHIC_PYTHON", sys.executable)
    return root


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of the optical flow, of which the stand-in looks at the bytes alone."""
    import hashlib

    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "raft.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (folder / "weights.toml").write_text(
        f'[[weights]]\nname = "raft-large"\ntitle = "x"\nfile = "raft.pth"\nsha256 = "{digest}"\nbytes = 7\n'
        'url = "https://example.org/raft.pth"\nlicence = "x"\nsource = "x"\n'
    )
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(folder))


def calls(checkout: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (checkout / "calls").read_text().splitlines()]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p", "yuv444p10le"])
def test_frames_come_back_from_the_file_alone(
    checkout: Path, tiny_clip: TinyClip, tmp_path: Path, pix_fmt: str
) -> None:
    source = open_sequence(tiny_clip(24, 18, 3, pix_fmt))
    built = codec()
    info = built.encode(source, RatePoint("lmbda", 0.001), tmp_path / "b.cool")
    with (tmp_path / "b.cool").open("rb") as file:
        size = sum(len(unit.payload) for unit in StreamReader(file).units())
    assert (info.notes["log_bytes"], info.notes["worker_bits"]) == (size, 8 * size)
    assert (info.notes["frame_types"], info.notes["network_bytes"], info.notes["log_psnr_db"]) == ("III", 30, 31)
    expected = {"kind": "I", "depth": 0, "decoders": ["intra/hop"], "lmbda": 0.001, "start_lr": 0.01, "n_itr": 10000}
    assert [call["display"] for call in calls(checkout)] == [0, 1, 2]
    assert all(call.items() >= expected.items() for call in calls(checkout))
    decoded = list(built.decode(tmp_path / "b.cool"))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(decoded, source.read(), strict=True))


def test_inter_frames_are_trained_as_upstreams_sample_does(
    checkout: Path, flow: None, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    """An I frame every so many, a P frame at the end, a hierarchy of B frames whose lambda grows by half a level."""
    source = open_sequence(tiny_clip(24, 18, 7))
    built = codec("coolchic@random-access", intra_period=4)
    info = built.encode(source, RatePoint("lmbda", 0.001), tmp_path / "b.cool")
    assert info.notes["frame_types"] == "IBBBIBP"
    told = {call["display"]: call for call in calls(checkout)}
    assert told[6]["decoders"] == ["residue/mop", "motion/mop"]
    assert (told[6]["start_lr"], told[6]["n_itr"], told[6]["n_itr_pretrain_motion"]) == (0.005, 10000, 3000)
    assert (told[2]["depth"], told[2]["n_itr"], told[2]["n_itr_pretrain_motion"]) == (1, 8000, 4000)
    assert told[2]["lmbda"] == pytest.approx(0.0015)
    assert (told[1]["depth"], told[1]["decoders"], told[1]["n_itr"]) == (2, ["residue/lop", "motion/lop"], 6000)
    assert told[1]["lmbda"] == pytest.approx(0.00225)
    decoded = list(built.decode(tmp_path / "b.cool"))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(decoded, source.read(), strict=True))


@pytest.mark.parametrize(("frames", "types"), [(1, "I"), (3, "IPP")])
def test_low_delay(checkout: Path, flow: None, tiny_clip: TinyClip, tmp_path: Path, frames: int, types: str) -> None:
    built = codec("coolchic@low-delay")
    info = built.encode(open_sequence(tiny_clip(24, 18, frames)), RatePoint("lmbda", 0.01), tmp_path / "b.cool")
    assert info.notes["frame_types"] == types
    assert len(list(built.decode(tmp_path / "b.cool"))) == frames


def test_presets_and_devices(
    checkout: Path, tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_sequence(tiny_clip(24, 18, 1))
    for configuration, device in (("vhop", "cpu"), ("short", "cuda:1"), ("debug", "cuda"), ("lop", "auto")):
        monkeypatch.setenv("VCBENCH_DEVICE", device)
        codec(f"coolchic@{configuration}").encode(source, RatePoint("lmbda", 0.02), tmp_path / "b.cool")
    vhop, short, debug, lop = calls(checkout)
    assert (vhop["decoders"], short["n_itr"], debug["decoders"], lop["decoders"]) == (
        ["intra/vhop"], 2000, ["intra/lop", "motion/lop"], ["intra/lop"],
    )  # fmt: skip
    assert (debug["debug"], debug["lmbda"], debug["n_itr"], lop["debug"]) == (True, 0.02, None, False)
    assert [call["gpus"] for call in (vhop, short, debug)] == ["", "1", "0"]


def test_the_log_is_held_to_the_file(
    checkout: Path, tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "8")
    with pytest.raises(EncodeError, match=r"reports \d+ bits, its file has"):
        codec().encode(open_sequence(tiny_clip(24, 18, 2)), RatePoint("lmbda", 0.001), tmp_path / "b.cool")


def test_what_is_missing_is_said(
    checkout: Path, tmp_path: Path, tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(UnavailableError, match=r"no weights raft-large here; run: vcbench fetch weights raft-large"):
        codec("coolchic@low-delay").check()
    (checkout / "cfg/dec/intra").rename(checkout / "cfg/dec/old")
    with pytest.raises(UnavailableError, match=r"has no cfg/dec/intra.*check out v5\.0 or later"):
        codec().check()
    for settings in ({"iterations": 100}, {"decoder": "top"}, {"structure": "intra"}, {"intra_period": 1}):
        with pytest.raises(CardError, match=next(iter(settings))):
            codec(**settings)
    with pytest.raises(EncodeError, match="up to 4095 frames"):
        codec().encode(open_sequence(tiny_clip(16384, 2, 1)), RatePoint("lmbda", 0.001), tmp_path / "b.cool")


def test_rate_and_psnr_are_those_of_upstreams_log(
    tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream's training for real, as short as it can be; its PSNR is of all samples of a 4:2:0 frame together."""
    if not (UPSTREAM and UPSTREAM_PYTHON):
        pytest.skip("VCBENCH_COOLCHIC and VCBENCH_COOLCHIC_PYTHON name no checkout of Cool-Chic and its interpreter")
    monkeypatch.setenv("VCBENCH_COOLCHIC", UPSTREAM)
    monkeypatch.setenv("VCBENCH_COOLCHIC_PYTHON", UPSTREAM_PYTHON)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source = open_sequence(tiny_clip(64, 64, 1))
    built = codec("coolchic@debug")
    built.check()
    info = built.encode(source, RatePoint("lmbda", 0.001), tmp_path / "b.cool")
    (decoded,) = built.decode(tmp_path / "b.cool")
    (original,) = source.read()
    error = np.mean((decoded.data.astype(float) - original.data) ** 2)
    assert info.notes["log_psnr_db"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-4)
    assert 0 < info.notes["network_bytes"] < info.notes["log_bytes"]
