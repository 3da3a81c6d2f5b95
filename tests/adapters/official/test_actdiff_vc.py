"""The official ActDiff-VC behind its adapter, with a stand-in checkout that has its command, files and decoder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.adapters.base import RatePoint
from bench.adapters.official.actdiff_vc import SUBMODULES, ActDiffOfficialCodec
from bench.cards import load_card
from bench.errors import DecodeError, EncodeError, UnavailableError
from bench.registry import build
from bench.video import colour
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

OURS = Path(__file__).resolve().parents[3] / "codecs"

CONFIG = """
import argparse

def Parse_Arguments(argv=None):
    parser = argparse.ArgumentParser()
    for name in ("video_path", "output_dir", "bitstream_dir", "run_name", "device", "yuv_subsampling"):
        parser.add_argument("--" + name)
    for name in ("num_frames", "max_gop_length", "num_trajectories", "diffusion_steps", "yuv_width", "yuv_height"):
        parser.add_argument("--" + name, type=int)
    parser.add_argument("--yuv_fps", type=float)
    parser.add_argument("--yuv_color_matrix", choices=("bt709", "bt601"), default="bt709")
    parser.add_argument("--yuv_color_range", choices=("limited", "full"), default="limited")
    parser.add_argument("--keyframe_codec", choices=("hific-low", "hific-med", "hific-high", "mlic"))
    parser.add_argument("--keep_bitstream", action="store_true")
    return parser.parse_args(argv)
"""

# Keyframes are PNG pictures at 480 x 720, trajectories the documented header alone.
COMMAND = """
import json, os
from pathlib import Path
import numpy as np
from PIL import Image
from actdiff.config import Parse_Arguments

args = Parse_Arguments()
fault = os.environ.get("FAULT")
if fault == "fails":
    raise SystemExit("CUDA out of memory")
assert args.keep_bitstream and args.yuv_subsampling == "444" and args.yuv_color_range == "full"
planes = np.fromfile(args.video_path, np.uint8).reshape(-1, 3, args.yuv_height, args.yuv_width).astype(float)
y, u, v = planes[:, 0], planes[:, 1] - 128, planes[:, 2] - 128
rgb = np.stack([y + 1.5748 * v, y - 0.18732 * u - 0.46812 * v, y + 1.8556 * u], -1).clip(0, 255).astype(np.uint8)
frames = [Image.fromarray(picture).resize((720, 480), Image.Resampling.BILINEAR) for picture in rgb]
assert len(frames) == args.num_frames
out, bits = Path(args.output_dir) / args.run_name, Path(args.bitstream_dir) / args.run_name
out.mkdir(parents=True)
bits.mkdir(parents=True)
start, chunk = 0, 0
frames[0].save(bits / "keyframe_0.bin", "PNG", compress_level=1)
while start < len(frames) - 1:
    end = min(start + args.max_gop_length - 1, len(frames) - 1)
    frames[end].save(bits / f"keyframe_{chunk + 1}.bin", "PNG", compress_level=1)
    length = end - start + 1 - (fault == "short")
    (bits / f"chunk_{chunk}_trajectories.bin").write_bytes(b"TRJ1" + bytes([length, 0, 0, 0]))
    start, chunk = end, chunk + 1
if fault == "empty keyframe":
    (bits / "keyframe_0.bin").write_bytes(b"")
if fault == "no keyframe":
    (bits / "keyframe_0.bin").unlink()
if fault == "other trajectories":
    (bits / "chunk_0_trajectories.bin").write_bytes(b"TRJ2" + bytes([3, 0, 0, 0]))
sums = {kind: 8.0 * sum(p.stat().st_size for p in bits.glob(kind + "*")) for kind in ("keyframe_", "chunk_")}
total = sums["keyframe_"] * (fault != "I bits missing") + sums["chunk_"]
metrics = {"bpp": total / (len(frames) * 480 * 720), "bpp_meta": {"bpp_reference_hw": [480, 720]}}
metrics["bit_breakdown"] = {
    "total_bits": total, "keyframes_bits": sums["keyframe_"], "trajectories_bits": sums["chunk_"]
}
(out / "metrics.json").write_text(json.dumps(metrics))
print("Done")
"""

DECODER = """
import os
from pathlib import Path
import numpy as np
from PIL import Image

class Decoder:
    def __init__(self, args, depth):
        assert depth == "cpu" and args.fps == 25
        self.folder = Path(args.bitstream_dir)

    def Decode_Video(self):
        video = []
        for number in range(len(list(self.folder.glob("chunk_*_trajectories.bin")))):
            first, last = (
                np.asarray(Image.open(self.folder / f"keyframe_{number + side}.bin")).astype(float) for side in (0, 1)
            )
            length = (self.folder / f"chunk_{number}_trajectories.bin").read_bytes()[4]
            mixed = [first + (last - first) * at / (length - 1) for at in range(length)]
            video += [np.rint(picture).astype(np.uint8) for picture in mixed[bool(video):]]
        return video[: -1 if os.environ.get("FAULT") == "a frame less" else None]
"""

DEPTH = """
class DepthPreprocessor:
    @classmethod
    def from_pretrained(cls, name):
        assert name == "Intel/zoedepth-nyu-kitti"
        return cls()

    def to(self, device):
        return device
"""

WEIGHTS = (
    "Diffusion-As-Shader/transformer/config.json", "Diffusion-As-Shader/transformer/model.safetensors",
    "alltracker/alltracker.pth", "hed/network-bsds500.pth", "hific/hific_low.pt", "i3d/i3d_pretrained_400.pt",
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "ActDiff-VC"
    files = {
        "run_compression.py": COMMAND,
        "actdiff/__init__.py": "",
        "actdiff/config.py": CONFIG,
        "actdiff/decoder.py": DECODER,
        "image_gen_aux.py": DEPTH,
        **{f"third_party/{name}/README.md": name for name in SUBMODULES},
        **{f"checkpoints/{name}": name for name in WEIGHTS},
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for name in ActDiffOfficialCodec.packages:
        info = tmp_path / "site" / f"{name.replace('-', '_')}-9.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("VCBENCH_ACTDIFF_VC", str(root))
    monkeypatch.setenv("VCBENCH_ACTDIFF_VC_PYTHON", sys.executable)
    monkeypatch.setenv("VCBENCH_DEVICE", "cpu")
    return root


def codec(configuration: str | None = None) -> ActDiffOfficialCodec:
    built = build(load_card(OURS / "actdiff-vc.toml").configured(configuration), folder=OURS)
    assert isinstance(built, ActDiffOfficialCodec)
    return built


@pytest.fixture
def sequence(tiny_clip: Callable[..., Path]) -> Sequence:
    return open_sequence(tiny_clip(64, 48, 6, noise=0))


def test_the_files_are_the_rate_and_decode_alone(
    checkout: Path, tiny_clip: Callable[..., Path], tmp_path: Path
) -> None:
    built, source = codec(), open_sequence(tiny_clip(720, 480, 4, noise=0))
    info = built.encode(source, RatePoint("max_gop", 3), tmp_path / "b.bin")
    notes = info.notes
    assert info.estimated_bits is None
    assert (notes["processing_size"], notes["resampled"], notes["segments"]) == ([720, 480], "no", [3, 2])
    assert notes["upstream_bpp_size"] == [720, 480]
    kept = notes["keyframe_bits"] + notes["trajectory_bits"]
    assert 0 < notes["worker_bits"] - kept <= 8 * 3 * 5  # the lengths of the five files
    assert notes["upstream_bpp"] == pytest.approx(kept / (4 * 720 * 480))
    assert (tmp_path / "b.bin").stat().st_size == notes["worker_bits"] // 8 + notes["container_bytes"]
    decoded, pictures = list(built.decode(tmp_path / "b.bin")), [colour.to_rgb(frame) for frame in source.read()]
    assert [frame.format for frame in decoded] == [source.format] * 4
    for index in (0, 2, 3):
        shown = colour.from_rgb(pictures[index], source.format).planes[0].astype(int)
        assert np.abs(decoded[index].planes[0].astype(int) - shown).mean() < 1.5  # upstream rounds colours down


def test_other_sizes_are_resampled_and_say_so(checkout: Path, sequence: Sequence, tmp_path: Path) -> None:
    built = codec()
    info = built.encode(sequence, RatePoint("max_gop", 49), tmp_path / "b.bin")
    assert info.notes["resampled"] == "by upstream to 720x480, decoded pictures back by bicubic"
    assert info.notes["segments"] == [6]
    decoded = list(built.decode(tmp_path / "b.bin"))
    assert [frame.format for frame in decoded] == [sequence.format] * 6
    first = next(sequence.read())
    assert np.abs(decoded[0].planes[0].astype(int) - first.planes[0]).mean() < 8


FAULTS = {
    "fails": r"run_compression\.py ended with status 1",
    "short": r"segments of \[2, 2, 1\] frames are 3 frames, 6 were given",
    "empty keyframe": r"keyframe_0\.bin is empty: its bits would be missing in the rate",
    "no keyframe": "every segment has a keyframe at each end",
    "other trajectories": r"chunk_0_trajectories\.bin does not begin as its trajectories do",
    "I bits missing": r"metrics\.json does not speak of its files: total_bits is \d+, its files have \d+",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_are_not_as_documented_fail(
    checkout: Path, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("FAULT", fault)
    with pytest.raises(EncodeError, match=FAULTS[fault]) as caught:
        codec().encode(sequence, RatePoint("max_gop", 3), tmp_path / "b.bin")
    assert caught.value.reason == "worker_failed"


def test_a_decoder_that_loses_a_frame_is_found_out(
    checkout: Path, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = codec()
    built.encode(sequence, RatePoint("max_gop", 49), tmp_path / "b.bin")
    monkeypatch.setenv("FAULT", "a frame less")
    with pytest.raises(DecodeError, match="decoded 5 frames and wrote 5, 6 were encoded") as caught:
        list(built.decode(tmp_path / "b.bin"))
    assert caught.value.reason == "frame_count"


def test_one_frame_is_too_few(checkout: Path, tiny_clip: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="codes between two keyframes"):
        codec().encode(open_sequence(tiny_clip(64, 48, 1)), RatePoint("max_gop", 49), tmp_path / "b.bin")


def test_what_is_missing_is_said(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec().check()
    with pytest.raises(UnavailableError, match=r"mlicpp_mse.*: no such file; pixi run download-mlic-checkpoint in"):
        codec("mlic").check()
    (checkout / "checkpoints/i3d/i3d_pretrained_400.pt").unlink()
    with pytest.raises(UnavailableError, match=r"i3d_pretrained_400\.pt: no such file; pixi run download-i3d-weights"):
        codec().check()
    (checkout / "checkpoints/i3d/i3d_pretrained_400.pt").write_text("again")
    (checkout / "third_party/HiFiC/README.md").unlink()
    with pytest.raises(UnavailableError, match="third_party: HiFiC missing: pixi run import"):
        codec().check()
    monkeypatch.delenv("VCBENCH_ACTDIFF_VC_PYTHON")
    with pytest.raises(UnavailableError, match=r"set VCBENCH_ACTDIFF_VC_PYTHON .*pixi install makes"):
        codec().check()


def test_keyframe_codecs_and_weights_key_a_result(checkout: Path) -> None:
    tool = codec().tool()
    assert {"keyframes_sha256", "tracker_sha256", "transformer/model.safetensors_sha256", "code_sha256"} <= set(tool)
    (checkout / "checkpoints/hific/hific_low.pt").write_text("others")
    assert codec().tool() != tool
    card = load_card(OURS / "actdiff-vc.toml")
    assert card.rate_kind == "bitstream"
    assert len({card.configured(name).digest() for name in (None, *card.configurations)}) == 4
