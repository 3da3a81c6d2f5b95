"""DCVC-FM behind its adapter: with the real upstream code where VCBENCH_DCVC_FM and VCBENCH_DCVC_FM_PYTHON name it, and
everywhere with a stand-in that has its modules, its stream's units and lossless networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.adapters.base import RatePoint
from bench.adapters.official.dcvc import DcvcFmCodec
from bench.bitstream.container import StreamReader
from bench.cards import load_card
from bench.errors import CardError, DecodeError, UnavailableError
from bench.registry import build
from bench.video import colour
from bench.video.frame import Frame
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]

OURS = Path(__file__).resolve().parents[3] / "codecs"

# Read before the tests' own environment hides them.
UPSTREAM = os.environ.get("VCBENCH_DCVC_FM")
UPSTREAM_PYTHON = os.environ.get("VCBENCH_DCVC_FM_PYTHON")

STREAM = """
import enum

class NalType(enum.IntEnum):
    NAL_SPS = 0
    NAL_I = 1
    NAL_P = 2
    NAL_Ps = 3

class SPSHelper:
    def __init__(self):
        self.spss = []

    def get_sps_id(self, target):
        for sps in self.spss:
            if all(sps[key] == target[key] for key in ("height", "width", "qp", "fa_idx")):
                return sps["sps_id"], False
        self.spss.append({**target, "sps_id": len(self.spss)})
        return len(self.spss) - 1, True

    def add_sps_by_id(self, sps):
        self.spss.append(sps)

    def get_sps_by_id(self, number):
        return next((sps for sps in self.spss if sps["sps_id"] == number), None)

def write_sps(f, sps):
    return f.write(bytes([sps["sps_id"], sps["height"], sps["width"], sps["qp"], sps["fa_idx"]]))

def write_ip(f, is_intra, sps_id, payload):
    return f.write(bytes([(16 if is_intra else 32) + sps_id]) + len(payload).to_bytes(4, "big") + payload)

def read_header(f):
    flag = f.read(1)[0]
    return {"nal_type": NalType(flag >> 4), "sps_id": flag & 15}

def read_sps_remaining(f, sps_id):
    return {"sps_id": sps_id, **dict(zip(("height", "width", "qp", "fa_idx"), f.read(4)))}

def read_ip_remaining(f):
    return f.read(int.from_bytes(f.read(4), "big"))
"""

# A P frame is coded as the difference to the reference, so that a lost refresh or another order would be seen.
NETWORKS = """
import numpy as np
import torch
from src.utils.stream_helper import write_ip

def packed(x):
    return x.numpy().astype("<f4").tobytes()

def unpacked(data, sps):
    sides = [-(-sps[side] // 16) * 16 for side in ("height", "width")]
    return torch.from_numpy(np.frombuffer(data, "<f4").reshape(1, 3, *sides).copy())

class Network(torch.nn.Module):
    def __init__(self, inplace=False):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(1))

    def update(self, force=False):
        assert force
        self.ready = True

class DMCI(Network):
    def encode(self, x, q_index, sps_id, file):
        assert self.ready and self.scale.item() == 2
        return {"bit": 8 * write_ip(file, True, sps_id, packed(x)), "x_hat": x}

    def decompress(self, data, sps):
        return {"x_hat": unpacked(data, sps)}

class DMC(Network):
    def step(self, picture, dpb, fa_idx):
        torch.cuda.synchronize(device=picture.device)
        assert (dpb["ref_feature"] is None) == (fa_idx == 3 or dpb["ref_y"] is None)
        return {"ref_frame": picture, "ref_feature": 1, "ref_mv_feature": 1, "ref_y": 1, "ref_mv_y": 1}

    def encode(self, x, dpb, q_index, fa_idx, sps_id, file):
        assert self.ready and self.scale.item() == 3
        written = write_ip(file, False, sps_id, packed(x - dpb["ref_frame"]))
        return {"bit": 8 * written, "dpb": self.step(x, dpb, fa_idx)}

    def decompress(self, data, dpb, sps):
        return {"dpb": self.step(unpacked(data, sps) + dpb["ref_frame"], dpb, sps["fa_idx"])}
"""

COLOUR = """
import numpy as np

LUMA = np.array([0.2126, 0.7152, 0.0722])
TO_YUV = np.stack([LUMA, (np.array([0, 0, 1]) - LUMA) / 1.8556, (np.array([1, 0, 0]) - LUMA) / 1.5748])

def rgb_to_ycbcr444(rgb):
    yuv = np.einsum("ij,jhw->ihw", TO_YUV, rgb) + np.array([0, 0.5, 0.5]).reshape(3, 1, 1)
    return yuv[:1], yuv[1:]

def ycbcr444_to_rgb(y, uv):
    return np.einsum("ij,jhw->ihw", np.linalg.inv(TO_YUV), np.concatenate([y, uv - 0.5])).clip(0, 1)

def ycbcr420_to_444(y, uv):
    return np.concatenate([y, uv.repeat(2, 1).repeat(2, 2)])

def ycbcr444_to_420(yuv):
    _, height, width = yuv.shape
    return yuv[:1], yuv[1:].reshape(2, height // 2, 2, width // 2, 2).mean((2, 4))
"""

STAND_IN = {
    "src/utils/stream_helper.py": STREAM,
    "src/transforms/functional.py": COLOUR,
    "src/models/image_model.py": NETWORKS,
    "src/models/video_model.py": "from src.models.image_model import DMC\n",
    "src/models/MLCodec_rans.so": "",
}


def codec(**settings: Any) -> DcvcFmCodec:
    card = load_card(OURS / "dcvc-fm.toml")
    built = build(card.model_copy(update={"settings": {**card.settings, **settings}}), folder=OURS)
    assert isinstance(built, DcvcFmCodec)
    return built


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_python: Path) -> Path:
    """A stand-in checkout with checkpoints in upstream's format, and this interpreter."""
    import torch

    root = tmp_path / "DCVC-FM"
    for path, text in STAND_IN.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "checkpoints").mkdir()
    torch.save({"state_dict": {"module.scale": torch.tensor([2.0])}}, root / "checkpoints/cvpr2024_image.pth.tar")
    torch.save({"net": {"scale": torch.tensor([3.0])}}, root / "checkpoints/cvpr2024_video.pth.tar")
    monkeypatch.setenv("VCBENCH_DCVC_FM", str(root))
    monkeypatch.setenv("VCBENCH_DCVC_FM_PYTHON", str(worker_python))
    monkeypatch.setenv("VCBENCH_DEVICE", "cpu")
    return root


def payload(bitstream: Path) -> bytes:
    """What the worker wrote, out of the container."""
    with bitstream.open("rb") as file:
        return b"".join(unit.payload for unit in StreamReader(file).units())


def units(stream: bytes) -> list[tuple[int, ...]]:
    """(type, sps_id) of a stand-in stream's frames, (0, id, qp, fa_idx) of its parameters."""
    found: list[tuple[int, ...]] = []
    at = 0
    while at < len(stream):
        kind, number = stream[at] >> 4, stream[at] & 15
        if kind == 0:
            found.append((0, number, stream[at + 3], stream[at + 4]))
            at += 5
        else:
            found.append((kind, number))
            at += 5 + int.from_bytes(stream[at + 1 : at + 5])
    return found


def test_frames_go_through_upstreams_structure(checkout: Path, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """One I frame, hierarchical feature adaptors, a refresh at frames 1 and 33; 4:2:0 comes back exactly."""
    source = open_sequence(tiny_clip(24, 18, 36))
    built = codec()
    info = built.encode(source, RatePoint("q", 21), tmp_path / "b.bin")
    found = units(payload(tmp_path / "b.bin"))
    adaptors = {unit[1]: unit[3] for unit in found if unit[0] == 0}
    frames = [(unit[0], adaptors[unit[1]]) for unit in found if unit[0]]
    hierarchy = [0, 1, 0, 2, 0, 2, 0, 2]
    assert frames == [(1, 0), *((2, 3 if index % 32 == 1 else hierarchy[index % 8]) for index in range(1, 36))]
    assert {unit[2] for unit in found if unit[0] == 0} == {21}
    assert len(adaptors) == 4
    assert (info.notes["intra_frames"], info.notes["device"]) == (1, "cpu")
    assert info.notes["worker_bits"] == 8 * len(payload(tmp_path / "b.bin"))
    decoded = list(built.decode(tmp_path / "b.bin"))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(decoded, source.read(), strict=True))


def test_an_intra_period_and_pictures(checkout: Path, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """4:4:4 travels as RGB, so that what comes back is what RGB metrics see of it."""
    source = open_sequence(tiny_clip(24, 18, 5, "yuv444p"))
    built = codec(intra_period=2)
    info = built.encode(source, RatePoint("q", 63), tmp_path / "b.bin")
    assert [unit[0] for unit in units(payload(tmp_path / "b.bin")) if unit[0]] == [1, 2, 1, 2, 1]
    assert info.notes["intra_frames"] == 3
    assert str(info.notes["exchange"]).startswith("RGB pictures of 8 bit, bt709")
    for found, wanted in zip(built.decode(tmp_path / "b.bin"), source.read(), strict=True):
        assert np.array_equal(found.data, colour.from_rgb(colour.to_rgb(wanted), source.format).data)


def test_the_card_is_what_upstream_tests() -> None:
    card = load_card(OURS / "dcvc-fm.toml")
    steps = np.linspace(0, 63, 4)
    assert card.rates.values == tuple(int(step + 0.5) for step in steps)
    assert card.configured("ip32").settings["intra_period"] == 32
    for settings in ({"intra_period": 0}, {"intra_period": -2}, {"rate_gop_size": 5}, {"threads": 0}):
        with pytest.raises(CardError, match=next(iter(settings))):
            codec(**settings)


def test_what_is_missing_is_said(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    codec().check()
    (checkout / "checkpoints/cvpr2024_video.pth.tar").unlink()
    with pytest.raises(
        UnavailableError, match=r"cvpr2024_video\.pth\.tar: no such file; python download\.py .* or set VCB"
    ):
        codec().check()
    monkeypatch.setenv("VCBENCH_DCVC_FM_VIDEO", str(tmp_path / "nothing"))
    with pytest.raises(UnavailableError, match=r"VCBENCH_DCVC_FM_VIDEO=.*nothing is not a file"):
        codec().check()
    monkeypatch.setenv("VCBENCH_DCVC_FM_VIDEO", str(checkout / "checkpoints/cvpr2024_image.pth.tar"))
    (checkout / "src/models/MLCodec_rans.so").unlink()
    with pytest.raises(UnavailableError, match=r"its entropy coder is not built; .*cmake"):
        codec().check()
    monkeypatch.setenv("VCBENCH_DCVC_FM_PYTHON", "true")
    with pytest.raises(UnavailableError, match="does not run as a Python interpreter"):
        codec().check()
    monkeypatch.delenv("VCBENCH_DCVC_FM")
    monkeypatch.delenv("VCBENCH_DCVC_FM_PYTHON")
    with pytest.raises(UnavailableError) as caught:
        codec().check()
    for words in (
        "set VCBENCH_DCVC_FM_PYTHON to",
        "set VCBENCH_DCVC_FM to a checkout: git clone",
        "DCVC-family/DCVC-FM",
    ):
        assert words in str(caught.value)
    assert str(caught.value).count("to a checkout") == 1


def test_relative_paths_are_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be others for a decoder, which runs in a folder of its own."""
    monkeypatch.chdir(checkout.parent)
    Path("python").symlink_to(sys.executable)
    for variable, named in {"": checkout.name, "_PYTHON": "./python", "_IMAGE": f"{checkout.name}/checkpoints"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(f"VCBENCH_DCVC_FM{variable}", named)
            with pytest.raises(
                UnavailableError, match=f"VCBENCH_DCVC_FM{variable}=.* is relative; give the whole path"
            ):
                codec().check()


def test_a_strangers_card_names_no_code(checkout: Path, tmp_path: Path) -> None:
    card = load_card(OURS / "dcvc-fm.toml")
    for setting, what in ({"checkout": str(checkout)}, "code below"), ({"interpreter": sys.executable}, "would run"):
        named = card.model_copy(update={"settings": {**card.settings, **setting}})
        with pytest.raises(UnavailableError, match=f"{what}.*; give --trust"):
            build(named, folder=tmp_path).check()
        build(named, folder=tmp_path, trust=True).check()


# Steps much finer than these would cost untrained networks more than a byte a symbol, for which upstream's entropy
# coder has no room: it overruns its buffer and aborts.
WEIGHTS = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from src.models.image_model import DMCI
from src.models.video_model import DMC

torch.manual_seed(0)
for kind, name in ((DMCI, "image"), (DMC, "video")):
    state = kind().state_dict()
    for key, value in state.items():
        if key in ("q_scale_enc", "y_q_enc", "mv_y_q_enc"):
            steps = torch.logspace(-0.3, 0.2, value.shape[0]).reshape(-1, 1, 1, 1)
            state[key] = steps.expand_as(value).clone()
            state[key.replace("enc", "dec")] = (1 / steps).expand_as(value).clone()
    torch.save({"state_dict": state}, sys.argv[2] + f"/{name}.pth.tar")
"""

# Upstream's P frames wait for a GPU even on the CPU; its script is run as it is, but for that.
TEST_VIDEO = """
import os, sys
sys.path.insert(0, os.getcwd())
import torch
torch.cuda.synchronize = lambda device=None: None
import test_video
if __name__ == "__main__":
    test_video.main()
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Randomly initialised weights in upstream's checkpoint format; quality steps that change the rate."""
    if not (UPSTREAM and UPSTREAM_PYTHON):
        pytest.skip("VCBENCH_DCVC_FM and VCBENCH_DCVC_FM_PYTHON name no checkout of DCVC-FM and its interpreter")
    folder = tmp_path_factory.mktemp("weights")
    (folder / "make.py").write_text(WEIGHTS)
    subprocess.run([UPSTREAM_PYTHON, str(folder / "make.py"), UPSTREAM, str(folder)], check=True)
    return folder


def upstream_stream(source: Sequence, weights: Path, folder: Path, q: int, period: int) -> bytes:
    """The bitstream that upstream's own test script writes of a sequence, and says the bits of."""
    assert UPSTREAM is not None and UPSTREAM_PYTHON is not None
    is_rgb = source.format.chroma == "444"
    name = "clip" if is_rgb else "clip.yuv"
    (folder / "data").mkdir()
    if is_rgb:
        from PIL import Image

        (folder / "data" / name).mkdir()
        for number, frame in enumerate(source.read(), 1):
            Image.fromarray(colour.to_rgb(frame)).save(folder / "data" / name / f"im{number:05d}.png")
    else:
        (folder / "data" / name).write_bytes(b"".join(frame.data.tobytes() for frame in source.read()))
    sides = {"width": source.format.width, "height": source.format.height}
    clip = {**sides, "frames": source.frames, "intra_period": -1}
    kind = {"test": 1, "base_path": "data", "src_type": "png" if is_rgb else "yuv420", "sequences": {name: clip}}
    (folder / "config.json").write_text(json.dumps({"root_path": str(folder), "test_classes": {"one": kind}}))
    (folder / "run.py").write_text(TEST_VIDEO)
    arguments = {
        "model_path_i": weights / "image.pth.tar", "model_path_p": weights / "video.pth.tar", "rate_num": 1,
        "q_indexes_i": q, "q_indexes_p": q, "test_config": folder / "config.json", "cuda": 0, "write_stream": 1,
        "stream_path": folder / "out", "output_path": folder / "out.json", "force_intra_period": period,
        "verbose_json": 1,
    }  # fmt: skip
    argv = [part for option, value in arguments.items() for part in (f"--{option}", str(value))]
    subprocess.run([UPSTREAM_PYTHON, str(folder / "run.py"), *argv], cwd=UPSTREAM, check=True, capture_output=True)
    (stream,) = (folder / "out").rglob("*.bin")
    told = json.loads((folder / "out.json").read_text())["one"][name]["000"]
    pixels = sides["width"] * sides["height"]
    assert 8 * stream.stat().st_size == pytest.approx(sum(told["frame_bpp"]) * pixels, abs=0.5)
    return stream.read_bytes()


@pytest.mark.parametrize(("pix_fmt", "q", "period"), [("yuv420p", 21, -1), ("yuv420p", 63, 2), ("yuv444p", 21, -1)])
def test_bitstreams_are_those_of_upstreams_own_script(
    weights: Path,
    tiny_clip: TinyClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pix_fmt: str,
    q: int,
    period: int,
) -> None:
    monkeypatch.setenv("VCBENCH_DCVC_FM", str(UPSTREAM))
    monkeypatch.setenv("VCBENCH_DCVC_FM_PYTHON", str(UPSTREAM_PYTHON))
    monkeypatch.setenv("VCBENCH_DCVC_FM_IMAGE", str(weights / "image.pth.tar"))
    monkeypatch.setenv("VCBENCH_DCVC_FM_VIDEO", str(weights / "video.pth.tar"))
    monkeypatch.setenv("VCBENCH_DEVICE", "cpu")
    source = open_sequence(tiny_clip(72, 56, 3, pix_fmt))
    built = codec(intra_period=period)
    built.check()
    info = built.encode(source, RatePoint("q", q), tmp_path / "b.bin")
    written = payload(tmp_path / "b.bin")
    assert info.notes["worker_bits"] == 8 * len(written)
    assert written == upstream_stream(source, weights, tmp_path, q, 9999 if period < 0 else period)
    decoded: list[Frame] = list(built.decode(tmp_path / "b.bin"))
    assert [frame.format for frame in decoded] == [source.format] * 3
    assert any(frame.data.std() > 0 for frame in decoded)
    data = bytearray((tmp_path / "b.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b.bin").write_bytes(data)
    with pytest.raises(DecodeError, match="damaged"):
        list(built.decode(tmp_path / "b.bin"))
