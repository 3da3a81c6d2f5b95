"""The official S2VC behind its adapter, with a stand-in checkout that has its command line and its output layout."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.adapters.base import RatePoint
from bench.adapters.official.s2vc import PAIRS, S2vcOfficialCodec
from bench.cards import load_card
from bench.errors import EncodeError, SkippedError, UnavailableError
from bench.registry import build
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence, open_sequence

OURS = Path(__file__).resolve().parents[3] / "codecs"

# Does what upstream's inference.py is documented to do with folders and names; its codec drops the lowest bits.
INFERENCE = """
import argparse, os
from pathlib import Path
from PIL import Image

parser = argparse.ArgumentParser()
for name in ("config_path", "output_base_path", "i_ckpt_path", "ckpt_path", "ds_name", "qp_name", "video_ds_folder"):
    parser.add_argument("--" + name, required=True)
parser.add_argument("--n_frame", type=int, default=96)
parser.add_argument("--n_reset", type=int, default=32)
args = parser.parse_args()
assert Path(args.config_path).read_text() == "sd15: ../runs"
assert Path(args.i_ckpt_path).read_text() and (Path(args.ckpt_path) / "model_1.safetensors").read_text()
assert args.n_reset == 16
fault = os.environ.get("FAULT")
if fault == "fails":
    raise SystemExit("CUDA out of memory")
print("Processing video 1/1")
for sequence in sorted(Path(args.video_ds_folder).iterdir()):
    out = Path(args.output_base_path) / args.ds_name / sequence.name / args.qp_name
    out.mkdir(parents=True)
    for index, path in enumerate(sorted(sequence.glob("*.png"))[: args.n_frame]):
        picture = Image.open(path).convert("RGB").point(lambda value: value & 0xF8)
        width, height = picture.size
        padded = (width + -width % 64) * (height + -height % 64)
        bpp = 5000 / padded if index == 0 else 8 * (100 + index) / (width * height)
        if fault == "no bytes" and index == 1:
            bpp += 3 / (width * height)
        if fault == "frames" and index == 1:
            continue
        picture.save(out / (f"frame{index}.png" if fault == "names" else f"im{index + 1:05d}_bpp_{bpp:.6f}.png"))
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the weights of lambda 0.4 and 5.2, and an interpreter that seems to have the requirements."""
    root = tmp_path / "s2vc_official"
    for path, text in {
        "src/inference.py": INFERENCE,
        "configs/inference.yaml": "sd15: ../runs",
        "runs/SD_ckpts/stable-diffusion-2-1/vae/diffusion_pytorch_model.safetensors": "vae",
        "runs/I_ckpts/onedc_lmbda1.8/model_1.safetensors": "I 1.8",
        "runs/I_ckpts/onedc_lmbda12.2/model_1.safetensors": "I 12.2",
        **{f"runs/P_ckpts/lmbda{rate}/model{part}.safetensors": rate for rate in (0.4, 5.2) for part in ("", "_1")},
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(str(text))
    for name in S2vcOfficialCodec.packages:
        info = tmp_path / "site" / f"{name}-9.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("VCBENCH_S2VC", str(root))
    monkeypatch.setenv("VCBENCH_S2VC_PYTHON", sys.executable)
    return root


def codec() -> S2vcOfficialCodec:
    card = load_card(OURS / "s2vc.toml")
    built = build(card.model_copy(update={"settings": {"n_reset": 16}}), folder=OURS)
    assert isinstance(built, S2vcOfficialCodec)
    return built


@pytest.fixture
def sequence(tiny_clip: Callable[..., Path]) -> Sequence:
    return open_sequence(tiny_clip(100, 70, 3))


def test_the_rate_is_upstreams_with_what_it_leaves_out(checkout: Path, sequence: Sequence, tmp_path: Path) -> None:
    """100x70 is padded to 128x128: four blocks of 14 bits are missing, and the I frame counts on 16384 pixels."""
    info = codec().encode(sequence, RatePoint("lambda", 5.2), tmp_path / "b.pngs")
    assert info.estimated_bits == 5000 + 4 * 14 + 8 * 101 + 8 * 102
    notes = info.notes
    assert (notes["i_frame_bits"], notes["i_frame_bits_added"], notes["padded_size"]) == (5056, 56, [128, 128])
    upstream = (5000 / 16384 + 8 * 101 / 7000 + 8 * 102 / 7000) / 3
    assert notes["upstream_bpp"] == pytest.approx(upstream, abs=1e-6)
    assert notes["upstream_rate_error_percent"] == pytest.approx(100 * (upstream * 3 * 7000 / 6680 - 1), abs=0.05)
    assert notes["worker"] == {"torch": "9.9", "diffusers": "9.9"}


def test_pictures_are_those_that_upstream_decoded(checkout: Path, sequence: Sequence, tmp_path: Path) -> None:
    built = codec()
    built.encode(sequence, RatePoint("lambda", 0.4), tmp_path / "b.pngs")
    frames = list(built.decode(tmp_path / "b.pngs"))
    wanted = [colour.from_rgb(colour.to_rgb(frame) & 0xF8, sequence.format) for frame in sequence.read()]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(frames, wanted, strict=True))


FAULTS = {
    "fails": "inference.py ended with status 1",
    "frames": "upstream left pictures of 2 frames, 3 were given",
    "names": r"frame\d\.png: no name of upstream's layout",
    "no bytes": "is not a whole number of bytes on 7000 pixels",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_outputs_that_are_not_as_documented_fail(
    checkout: Path, sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("FAULT", fault)
    with pytest.raises(EncodeError, match=FAULTS[fault]) as caught:
        codec().encode(sequence, RatePoint("lambda", 0.4), tmp_path / "b.pngs")
    assert caught.value.reason == "worker_failed"


def test_a_rate_point_without_its_weights_fails_alone(checkout: Path, sequence: Sequence, tmp_path: Path) -> None:
    built = codec()
    built.check()
    with pytest.raises(EncodeError, match=r"lmbda2\.6/model\.safetensors.*: not here; get them from"):
        built.encode(sequence, RatePoint("lambda", 2.6), tmp_path / "b.pngs")
    with pytest.raises(EncodeError, match=r"no weights for lambda 3, only 0\.2, 0\.4"):
        built.encode(sequence, RatePoint("lambda", 3), tmp_path / "b.pngs")


def test_the_card_says_estimate_and_every_published_rate_point() -> None:
    card = load_card(OURS / "s2vc.toml")
    assert card.rate_kind == "estimate"
    assert not card.deterministic
    assert card.rates.values == tuple(PAIRS)


def test_other_weights_and_code_are_another_tool(checkout: Path) -> None:
    before = codec().tool()
    (checkout / "runs/P_ckpts/lmbda0.4/model.safetensors").write_text("others")
    between = codec().tool()
    (checkout / "src/inference.py").write_text(INFERENCE + "\n")
    assert len({tuple(tool.items()) for tool in (before, between, codec().tool())}) == 3
    assert before["torch"] == "9.9"


def test_what_is_missing_is_said(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SkippedError, match="takes 8 bit"):
        codec().transform(VideoFormat(64, 64, bit_depth=10))
    for path in (checkout / "runs/P_ckpts").rglob("model.safetensors"):
        path.unlink()
    with pytest.raises(UnavailableError, match="holds no I and P checkpoints of one rate point"):
        codec().check()
    (checkout / "runs/SD_ckpts/stable-diffusion-2-1/vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UnavailableError, match=r"model\.safetensors: no such file; get SD_ckpts\.zip"):
        codec().check()
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(UnavailableError, match=r"omegaconf.* not installed for .*requirements\.txt"):
        codec().check()
    monkeypatch.delenv("VCBENCH_S2VC_PYTHON")
    with pytest.raises(UnavailableError, match="set VCBENCH_S2VC_PYTHON to the Python interpreter"):
        codec().check()
    monkeypatch.setenv("VCBENCH_S2VC", str(checkout / "src"))
    with pytest.raises(UnavailableError, match=r"holds no src/inference\.py; name the right folder: git clone"):
        codec().check()
    monkeypatch.delenv("VCBENCH_S2VC")
    with pytest.raises(UnavailableError, match="set VCBENCH_S2VC to a checkout: git clone"):
        codec().check()
