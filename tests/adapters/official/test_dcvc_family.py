"""The DCVC family behind its adapters, with upstream's real code where the variables of a codec name it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.adapters.base import RatePoint
from bench.adapters.official.dcvc import DcvcCodec
from bench.adapters.worker import SERVER
from bench.bitstream.container import StreamReader
from bench.cards import load_card
from bench.errors import CardError, EncodeError, UnavailableError
from bench.registry import build
from bench.video import colour
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]

OURS = Path(__file__).resolve().parents[3] / "codecs"

NAMES = ("dcvc-dc", "dcvc-hem", "dcvc-rt", "ehvc", "sevc", "glc-video")


def variable_of(name: str) -> str:
    return "VCBENCH_GLC" if name == "glc-video" else f"VCBENCH_{name.upper().replace('-', '_')}"


# Read before the tests' own environment hides them.
UPSTREAM = {name: os.environ.get(variable_of(name)) for name in NAMES}
PYTHON = {name: os.environ.get(f"{variable_of(name)}_PYTHON") for name in NAMES}


def codec(name: str, **settings: Any) -> DcvcCodec:
    base, _, configuration = name.partition("@")
    card = load_card(OURS / f"{base}.toml").configured(configuration or None)
    built = build(card.model_copy(update={"settings": {**card.settings, **settings}}), folder=OURS)
    assert isinstance(built, DcvcCodec)
    return built


def payload(bitstream: Path) -> bytes:
    """What the worker wrote, out of the container."""
    with bitstream.open("rb") as file:
        return b"".join(unit.payload for unit in StreamReader(file).units())


WEIGHTS = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
import torch

torch.manual_seed(0)
for name, arguments, path in zip(sys.argv[2:4], ({}, eval(sys.argv[4])), ("image", "video")):
    module, _, kind = name.partition(":")
    state = getattr(importlib.import_module(module), kind)(**arguments).state_dict()
    for key, value in state.items():
        if value.shape[0:1] == (4,) and "q_scale" in key:  # quality steps that change the rate
            steps = torch.logspace(0.2, -0.2, 4).reshape(4, 1, 1, 1).expand_as(value)
            state[key] = (1 / steps if "dec" in key else steps).clone()
    torch.save({"state_dict": state}, f"{sys.argv[5]}/{path}.pth.tar")
"""

# Upstream's scripts wait for a GPU, or order its work, even on the CPU; they are run as they are, but for that.
SCRIPT = """
import contextlib, os, runpy, sys
sys.path.insert(0, os.getcwd())
import torch

class Nothing:
    def __init__(self, *a, **k): pass
    def record(self, *a): pass
    def wait(self, *a): pass

torch.cuda.synchronize = lambda device=None: None
torch.cuda.Event = torch.cuda.Stream = Nothing
torch.cuda.stream = lambda stream: contextlib.nullcontext()
import {script} as script
script.ms_ssim = lambda *a, **k: torch.zeros(1)  # which takes no picture as small as the tests'
if __name__ == "__main__":
    {main}
"""


@dataclass(frozen=True)
class Upstream:
    """How upstream codes a clip by its own script: networks, rate on its scale, files of the stream in order."""

    networks: tuple[str, str] = ("src.models.image_model:IntraNoAR", "src.models.video_model:DMC")
    video: str = "{}"
    script: str = "test_video"
    main: str = "script.main()"
    arguments: tuple[str, ...] = ()
    gop: str = "gop"
    is_test: bool = True
    """Whether it takes a configuration file, and writes its streams below a folder."""


DC = (
    "--i_frame_model_path={image}", "--p_frame_model_path={video}", "--yuv420={planar}", "--rate_num=1",
    "--i_frame_q_indexes={rate}", "--worker=1", "--force_intra_period={period}",
)  # fmt: skip
SCRIPTS = {
    "dcvc-dc": Upstream(arguments=DC),
    "dcvc-hem": Upstream(
        arguments=(
            "--i_frame_model_path={image}", "--model_path={video}", "--rate_num=2", "--worker=1",
            "--force_intra_period={period}",
        )
    ),
    "dcvc-rt": Upstream(
        networks=("src.models.image_model:DMCI", "src.models.video_model:DMC"),
        arguments=(
            "--model_path_i={image}", "--model_path_p={video}", "--rate_num=1", "--qp_i={rate}", "--qp_p={rate}",
            "--worker=1", "--force_intra_period={period}", "--reset_interval=64", "--force_zero_thres=0.12",
        ),
        gop="intra_period",
    ),
    "sevc": Upstream(
        networks=("src.models.image_model:IntraNoAR", "src.models.SEVC_main_model:DMC"),
        script="encoder",
        main="with torch.no_grad(): script.encode()",
        arguments=(
            "--input_path={clip}", "--qp={rate}", "--width={width}", "--height={height}", "--ip={period}",
            "--bin_path={out}", "--i_frame_model_path={image}", "--p_frame_model_path={video}", "--cuda=0",
        ),
        is_test=False,
    ),
    "ehvc": Upstream(
        script="test",
        arguments=(
            "--i_frame_model_path={image}", "--p_frame_model_path={video}", "--yuv420=0", "--rate_num=4", "--worker=1",
            "--force_intra_period={period}",
        ),
    ),
}  # fmt: skip


def seeded(name: str, networks: tuple[str, str], video: str, folder: Path) -> None:
    """Randomly initialised weights in upstream's checkpoint format."""
    upstream, python = UPSTREAM[name], PYTHON[name]
    if not (upstream and python):
        pytest.skip(f"{variable_of(name)} and {variable_of(name)}_PYTHON name no checkout and its interpreter")
    (folder / "make.py").write_text(WEIGHTS)
    argv = [python, folder / "make.py", upstream, *networks, video, folder]
    subprocess.run([str(part) for part in argv], check=True, capture_output=True)


def named(name: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = variable_of(name)
    monkeypatch.setenv(variable, str(UPSTREAM[name]))
    monkeypatch.setenv(f"{variable}_PYTHON", str(PYTHON[name]))
    monkeypatch.setenv(f"{variable}_IMAGE", str(weights / "image.pth.tar"))
    monkeypatch.setenv(f"{variable}_VIDEO", str(weights / "video.pth.tar"))
    monkeypatch.setenv("VCBENCH_DEVICE", "cpu")


def as_upstream_reads(source: Sequence, is_rgb: bool, folder: Path) -> str:
    """Write the frames below folder/data as upstream's scripts read them; the name that they have there."""
    name = "clip" if is_rgb else "clip.yuv"
    (folder / "data").mkdir()
    if not is_rgb:
        (folder / "data" / name).write_bytes(b"".join(frame.data.tobytes() for frame in source.read()))
        return name
    from PIL import Image

    (folder / "data" / name).mkdir()
    for number, frame in enumerate(source.read(), 1):
        Image.fromarray(colour.to_rgb(frame)).save(folder / "data" / name / f"im{number:05d}.png")
    return name


def upstream_stream(name: str, source: Sequence, is_rgb: bool, rate: int, period: int, folder: Path) -> bytes:
    """The files that upstream's own test script writes of a sequence, one after the other."""
    how = SCRIPTS[name]
    clip = as_upstream_reads(source, is_rgb, folder)
    sides = {"width": source.format.width, "height": source.format.height}
    kind = {"test": 1, "base_path": "data", "src_type": "png" if is_rgb else "yuv420"}
    kind["sequences"] = {clip: {**sides, "frames": source.frames, how.gop: -1}}
    (folder / "config.json").write_text(json.dumps({"root_path": str(folder), "test_classes": {"one": kind}}))
    (folder / "run.py").write_text(SCRIPT.format(script=how.script, main=how.main))
    values: dict[str, Any] = {
        "image": folder / "image.pth.tar",
        "video": folder / "video.pth.tar",
        "planar": int(not is_rgb),
    }
    common = [
        f"--test_config={folder}/config.json", "--cuda=0", "--write_stream=1", f"--stream_path={folder}/out",
        f"--output_path={folder}/out.json",
    ]  # fmt: skip
    values |= {"rate": rate, "period": 9999 if period < 0 and how.is_test else period, **sides}
    values |= {"clip": folder / "data" / clip, "out": folder / "out"}
    own = [part.format(**values) for part in how.arguments]
    argv = [str(PYTHON[name]), str(folder / "run.py"), *own, *(common if how.is_test else ())]
    done = subprocess.run(argv, cwd=str(UPSTREAM[name]), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    places = sorted({path.parent for path in (folder / "out").rglob("*.bin")})
    chosen = places[{"dcvc-hem": {0: 0, 63: 1}, "ehvc": {0: 0, 3: 3}}.get(name, {}).get(rate, 0)]
    files = sorted(chosen.glob("*.bin"), key=lambda path: int(path.stem) if path.stem.isdigit() else -1)
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("name", "pix_fmt", "rate", "period"),
    [
        ("dcvc-dc", "yuv420p", 30, -1),
        ("dcvc-dc", "yuv420p", 50, 2),
        ("dcvc-dc@rgb", "yuv444p", 30, -1),
        ("dcvc-hem", "yuv444p", 0, -1),
        ("dcvc-hem", "yuv444p", 63, 2),
        ("dcvc-rt", "yuv420p", 21, -1),
        ("dcvc-rt", "yuv420p", 63, 2),
        ("dcvc-rt", "yuv444p", 42, -1),
        ("ehvc", "yuv444p", 0, -1),
        ("ehvc", "yuv444p", 3, 2),
        ("sevc", "yuv444p", 42, -1),
        ("sevc", "yuv444p", 20, 2),
    ],
)
def test_bitstreams_are_those_of_upstreams_own_script(
    tiny_clip: TinyClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    pix_fmt: str,
    rate: int,
    period: int,
) -> None:
    base = name.partition("@")[0]
    how = SCRIPTS[base]
    seeded(base, how.networks, how.video, tmp_path)
    named(base, tmp_path, monkeypatch)
    source = open_sequence(tiny_clip(*((128, 64) if name == "sevc" else (72, 56)), 3, pix_fmt))
    built = codec(name, intra_period=period)
    built.check()
    info = built.encode(source, RatePoint("q", rate), tmp_path / "b.bin")
    written = payload(tmp_path / "b.bin")
    assert info.notes["worker_bits"] == 8 * len(written)
    is_rgb = built.pixels(source.format) == "rgb"
    assert written == upstream_stream(base, source, is_rgb, rate, period, tmp_path)
    decoded = list(built.decode(tmp_path / "b.bin"))
    assert [frame.format for frame in decoded] == [source.format] * 3
    assert any(np.std(frame.data) > 0 for frame in decoded)


# Stand-ins of upstream's modules: the same calls, networks without loss, a P frame as the difference to its reference.
LOSSLESS = """
import struct
import numpy as np
import torch

def packed(x):
    return x.float().numpy().astype("<f4").tobytes()

def unpacked(data, height, width, multiple):
    sides = [-(-side // multiple) * multiple for side in (height, width)]
    return torch.from_numpy(np.frombuffer(data, "<f4").reshape(1, 3, *sides).copy())

class Network(torch.nn.Module):
    def __init__(self, **arguments):
        super().__init__()
        self.q_scale = torch.nn.Parameter(torch.tensor([8.0, 4.0, 2.0, 1.0]).reshape(4, 1, 1, 1))
        self.mv_y_q_scale = torch.nn.Parameter(torch.tensor([16.0, 4.0, 2.0, 1.0]).reshape(4, 1, 1, 1))
        self.y_q_scale = torch.nn.Parameter(torch.tensor([32.0, 4.0, 2.0, 1.0]).reshape(4, 1, 1, 1))

    def update(self, *values, **named):
        self.ready = True
"""

FILES = """
import struct

def encode_i(height, width, in_checkpoint, quality, stream, output):
    with open(output, "wb") as file:
        file.write(struct.pack(">IIBI", height, width, (in_checkpoint << 7) + (quality << 1), len(stream)) + stream)

def decode_i(path):
    data = open(path, "rb").read()
    height, width, flag, length = struct.unpack(">IIBI", data[:13])
    assert len(data) == 13 + length
    return height, width, flag >> 7 > 0, (flag & 127) >> 1, data[13:]

def encode_p(stream, in_checkpoint, quality, place, output):
    with open(output, "wb") as file:
        file.write(struct.pack(">BBI", (in_checkpoint << 7) + (quality << 1), place, len(stream)) + stream)

def decode_p(path):
    data = open(path, "rb").read()
    flag, place, length = struct.unpack(">BBI", data[:6])
    assert len(data) == 6 + length
    return flag >> 7 > 0, (flag & 127) >> 1, place, data[6:]
"""

DC_NETWORKS = """
from src.lossless import Network, packed, torch, unpacked
from src.utils.stream_helper import decode_p, encode_i, encode_p

class IntraNoAR(Network):
    def encode_decode(self, x, in_checkpoint, quality, output_path, pic_width=None, pic_height=None):
        assert self.ready
        encode_i(pic_height, pic_width, in_checkpoint, quality, packed(x), output_path)
        return {"x_hat": x}

    def decompress(self, stream, height, width, in_checkpoint, quality):
        return {"x_hat": unpacked(stream, height, width, 16)}

class DMC(Network):
    def encode_decode(self, x, dpb, in_checkpoint, quality, x_next=None, output_path=None, pic_width=None,
                      pic_height=None, frame_idx=0):
        torch.cuda.synchronize(device=x.device)
        mark = b"-" if dpb["ref_feature"] is None else b"f"
        ahead = b"-" if x_next is None else b"n"
        encode_p(mark + ahead + packed(x - dpb["ref_frame"]), in_checkpoint, quality, frame_idx, output_path)
        *told, stream = decode_p(output_path)
        return self.decompress(dpb, stream, pic_height, pic_width, *told) | {"bit": 0}

    def decompress(self, dpb, stream, height, width, in_checkpoint, quality, place):
        assert stream[:1] == (b"-" if dpb["ref_feature"] is None else b"f")
        picture = unpacked(stream[2:], height, width, 16) + dpb["ref_frame"]
        return {"dpb": dict.fromkeys(dpb, 1) | {"ref_frame": picture}}
"""

HEM_FILES = FILES.replace(">IIBI", ">IIHI").replace("13", "14").replace(
    "(in_checkpoint << 7) + (quality << 1), len", "quality, len"
).replace("height, width, in_checkpoint, quality, stream", "height, width, quality, stream").replace(
    "flag >> 7 > 0, (flag & 127) >> 1, data[14:]", "flag, data[14:]"
).replace(">BBI", ">HHI").replace("data[:6]", "data[:8]").replace("6 + length", "8 + length").replace(
    "(in_checkpoint << 7) + (quality << 1), place, len", "motion, quality, len"
).replace("stream, in_checkpoint, quality, place, output", "stream, motion, quality, output").replace(
    "flag >> 7 > 0, (flag & 127) >> 1, place, data[6:]", "flag, place, data[8:]"
)  # fmt: skip

HEM_NETWORKS = """
from src.lossless import Network, packed, unpacked
from src.utils.stream_helper import decode_p, encode_i, encode_p

class IntraNoAR(Network):
    def encode_decode(self, x, q_scale, output_path, pic_width=None, pic_height=None):
        assert self.ready
        encode_i(pic_height, pic_width, round(q_scale * 100), packed(x), output_path)
        return {"x_hat": x}

    def decompress(self, stream, height, width, q_scale):
        return {"x_hat": unpacked(stream, height, width, 64)}

class DMC(Network):
    def encode_decode(self, x, dpb, output_path=None, pic_width=None, pic_height=None, mv_y_q_scale=None,
                      y_q_scale=None):
        encode_p(packed(x - dpb["ref_frame"]), round(mv_y_q_scale * 100), round(y_q_scale * 100), output_path)
        motion, residue, stream = decode_p(output_path)
        return self.decompress(dpb, stream, pic_height, pic_width, motion / 100, residue / 100)

    def decompress(self, dpb, stream, height, width, motion, residue):
        return {"dpb": dpb | {"ref_frame": unpacked(stream, height, width, 64) + dpb["ref_frame"]}}
"""

SEVC_FILES = """
import struct

def encode_i(stream, output):
    encode_p_two_layer([stream], output)

def decode_i(path):
    return decode_p_two_layer(path)[0]

def encode_p_two_layer(streams, output):
    with open(output, "wb") as file:
        for stream in streams:
            file.write(struct.pack(">I", len(stream)) + stream)

def decode_p_two_layer(path):
    found = []
    with open(path, "rb") as file:
        while head := file.read(4):
            found.append(file.read(*struct.unpack(">I", head)))
    return found
"""

SEVC_NETWORKS = """
from src.lossless import Network, packed, unpacked

class IntraNoAR(Network):
    def encode_one_frame(self, x, quality):
        return {"ref_feature": None}, {"ref_feature": None, "ref_frame": x}, packed(x)

    def decode_one_frame(self, stream, height, width, quality):
        assert quality == 42
        return {"ref_feature": None}, {"ref_feature": None, "ref_frame": unpacked(stream, height, width, 16)}

class DMC(Network):
    def encode_one_frame(self, x, low, high, quality, index):
        assert (low["ref_feature"] is None) == (high["ref_feature"] is None) == (index % 32 == 1)
        return {"ref_feature": 1}, {"ref_feature": 1, "ref_frame": x}, [b"low", packed(x - high["ref_frame"])]

    def decode_one_frame(self, streams, height, width, low, high, quality, index):
        assert quality == 42 and streams[0] == b"low" and (high["ref_feature"] is None) == (index % 32 == 1)
        picture = unpacked(streams[1], height, width, 16) + high["ref_frame"]
        return {"ref_feature": 1}, {"ref_feature": 1, "ref_frame": picture}
"""

GLC_NETWORKS = """
from src.lossless import Network

class GLC_Image(Network):
    def interpolate_q(self):
        self.ready = True

    def test(self, x, quality):
        assert self.ready and x.min() < 0
        return {"bit": 1000.25, "x_hat": x, "ref_latent": 1}

class GLC_Video(Network):
    def test(self, x, state, quality, fa_idx):
        assert fa_idx == (0, 1, 0, 2, 0, 2, 0, 2)[self.index % 8] and (state["ref_y"] is None) == (self.index % 32 == 1)
        self.index += 1
        return {"bit": 10.5, "dpb": {"ref_frame": x, "ref_latent": 1, "ref_y": 1}}

    index = 1
"""

STREAM = """
import enum, json

class NalType(enum.IntEnum):
    NAL_SPS = 0
    NAL_I = 1
    NAL_P = 2

class SPSHelper:
    def __init__(self):
        self.known = []

    def get_sps_id(self, target):
        for sps in self.known:
            if all(sps[key] == target[key] for key in ("height", "width", "ec_part", "use_ada_i")):
                return sps["sps_id"], False
        self.known.append({**target, "sps_id": len(self.known)})
        return len(self.known) - 1, True

    def add_sps_by_id(self, sps):
        self.known.append(sps)

    def get_sps_by_id(self, number):
        return next((sps for sps in self.known if sps["sps_id"] == number), None)

def write_sps(f, sps):
    return f.write(bytes([sps["sps_id"], sps["height"], sps["width"], sps["ec_part"], sps["use_ada_i"]]))

def write_ip(f, is_intra, number, quality, stream):
    return f.write(bytes([(16 if is_intra else 32) + number, quality]) + len(stream).to_bytes(4, "big") + stream)

def read_header(f):
    flag = f.read(1)[0]
    return {"nal_type": NalType(flag >> 4), "sps_id": flag & 15}

def read_sps_remaining(f, number):
    return {"sps_id": number, **dict(zip(("height", "width", "ec_part", "use_ada_i"), f.read(4)))}

def read_ip_remaining(f):
    quality = f.read(1)[0]
    return quality, f.read(int.from_bytes(f.read(4), "big"))
"""

YODA_NETWORKS = """
import torch
from src.lossless import packed, unpacked

class Coder:
    def __init__(self):
        self.told = []

    def update(self):
        self.ready = True

    def set_use_two_entropy_coders(self, two):
        assert two is False

    def set_curr_poc(self, poc):
        self.told.append(poc)

    def clear_dpb(self):
        self.reference = None

    def add_ref_frame(self, feature, frame, latent):
        self.reference = latent

class Diffusion(torch.nn.Module):
    def __init__(self, sd_path, args):
        super().__init__()
        self.codec = Coder()
        assert open(sd_path + "/transformer/config.json").read() == "{}"
        assert open(args.prompt_embeds_path).read() == "prompt" and args.timestep == 100
        assert (args.pretrained_weights[-9:], args.pretrained_i_weights[-9:]) == ("VIDEO.pth", "IMAGE.pth")

class Yoda_Intra(Diffusion):
    def compress(self, x):
        assert self.codec.ready and x.min() < 0
        return {"bit_stream": packed(x), "x_hat": x, "x_denoised": "i"}

    def decompress(self, stream, sps):
        return {"x_hat": unpacked(stream, sps["height"], sps["width"], 64), "x_denoised": "i"}

class Yoda(Diffusion):
    def compress(self, x, last):
        return {"bit_stream": self.codec.reference.encode() + packed(x - last), "x_hat": x, "x_denoised": "p"}

    def decompress(self, stream, sps, last):
        assert stream[:1] == self.codec.reference.encode()
        return {"x_hat": unpacked(stream[1:], sps["height"], sps["width"], 64) + last, "x_denoised": "p"}
"""

STAND_INS = {
    "yoda": {
        "src/YODA_INTRA.py": YODA_NETWORKS,
        "src/YODA.py": "from src.YODA_INTRA import Yoda\n",
        "src/rt_modules/utils/stream_helper.py": STREAM,
        "ckpts/prompt_embeds.pt": "prompt",
        "ckpts/prompt_attention_mask.pt": "mask",
        "ckpts/sana-sprint/transformer/config.json": "{}",
        "src/models/image_model.py": "DMC = None\n",
    },
    "dcvc-dc": {"src/models/image_model.py": DC_NETWORKS, "src/utils/stream_helper.py": FILES},
    "ehvc": {"src/models/image_model.py": DC_NETWORKS, "src/utils/stream_helper.py": FILES},
    "dcvc-hem": {"src/models/image_model.py": HEM_NETWORKS, "src/utils/stream_helper.py": HEM_FILES},
    "sevc": {"src/models/image_model.py": SEVC_NETWORKS, "src/utils/stream_helper.py": SEVC_FILES},
    "glc-video": {"src/models/image_model.py": GLC_NETWORKS},
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_python: Path) -> Callable[[str], Path]:
    """Makes a stand-in checkout of a codec, with checkpoints in upstream's format, and an interpreter."""

    def make(name: str) -> Path:
        import torch

        root = tmp_path / name
        kinds = "GLC_Video" if name == "glc-video" else "DMC"
        video = f"from src.models.image_model import {kinds}\n"
        texts = {**STAND_INS[name], "src/lossless.py": LOSSLESS, "src/models/video_model.py": video}
        texts["src/models/SEVC_main_model.py"] = video
        for place in ("src/models", "src/entropy_models"):
            texts[f"{place}/MLCodec_rans.so"] = ""
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        steps = {"q_scale": [8.0, 4.0, 2.0, 1.0], "mv_y_q_scale": [16.0, 4, 2, 1], "y_q_scale": [32.0, 4, 2, 1]}
        state = {f"module.{key}": torch.tensor(values).reshape(4, 1, 1, 1) for key, values in steps.items()}
        for kind in ("IMAGE", "VIDEO"):
            torch.save({"state_dict": state}, root / f"{kind}.pth")
            monkeypatch.setenv(f"{variable_of(name)}_{kind}", str(root / f"{kind}.pth"))
        monkeypatch.setenv(variable_of(name), str(root))
        monkeypatch.setenv(f"{variable_of(name)}_PYTHON", str(worker_python))
        monkeypatch.setenv("VCBENCH_DEVICE", "cpu")
        return root

    return make


@pytest.mark.parametrize(
    ("name", "pix_fmt", "size"),
    [
        ("dcvc-dc", "yuv420p", (24, 18)),
        ("dcvc-dc@rgb", "yuv444p", (24, 18)),
        ("dcvc-hem", "yuv444p", (24, 18)),
        ("ehvc", "yuv444p", (24, 18)),
        ("sevc", "yuv444p", (32, 16)),
        ("glc-video", "yuv444p", (24, 18)),
    ],
)
def test_frames_go_through_upstreams_calls(
    checkout: Callable[[str], Path],
    tiny_clip: TinyClip,
    tmp_path: Path,
    name: str,
    pix_fmt: str,
    size: tuple[int, int],
) -> None:
    checkout(name.partition("@")[0])
    source = open_sequence(tiny_clip(*size, 35, pix_fmt))
    built = codec(name)
    info = built.encode(source, RatePoint("q", 3 if name == "ehvc" else 42), tmp_path / "b.bin")
    stream = payload(tmp_path / "b.bin")
    assert info.notes["intra_frames"] == 1
    if name == "glc-video":
        assert info.estimated_bits == 1358  # 1000.25 + 34 x 10.5, and no part of a bit
    else:
        assert info.notes["worker_bits"] == 8 * len(stream)
    if name == "dcvc-hem":  # the third of the checkpoint's four steps
        assert int.from_bytes(stream[8:10], "big") == 200
    if name in ("dcvc-dc", "ehvc"):
        assert stream[8] == (1 << 7) + ((3 if name == "ehvc" else 2) << 1)
    wanted = list(source.read()) if pix_fmt == "yuv420p" else [
        colour.from_rgb(colour.to_rgb(frame), source.format) for frame in source.read()
    ]  # fmt: skip
    for found, expected in zip(built.decode(tmp_path / "b.bin"), wanted, strict=True):
        assert np.array_equal(found.data, expected.data)


def test_yoda_refers_to_what_was_coded(
    checkout: Callable[[str], Path], tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents of the I frame, until a refresh makes those of the frame before the reference."""
    root = checkout("yoda")
    source = open_sequence(tiny_clip(24, 18, 6, "yuv444p"))
    built = codec("yoda", intra_period=5, reset_interval=3)
    info = built.encode(source, RatePoint("checkpoints", 0), tmp_path / "b.bin")
    assert info.notes["intra_frames"] == 2
    stream, at, marks = payload(tmp_path / "b.bin"), 0, ""
    while at < len(stream):
        if stream[at] >> 4 == 0:
            at += 5
            continue
        marks += "I" if stream[at] >> 4 == 1 else chr(stream[at + 6])
        at += 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
    assert marks == "IiiipI"
    for found, wanted in zip(built.decode(tmp_path / "b.bin"), source.read(), strict=True):
        assert np.array_equal(found.data, colour.from_rgb(colour.to_rgb(wanted), source.format).data)
    (root / "ckpts/prompt_embeds.pt").unlink()
    with pytest.raises(UnavailableError, match=r"prompt_embeds\.pt: no such file; its README links to it"):
        built.model_files()


def test_ehvc_looks_ahead_and_refreshes(checkout: Callable[[str], Path], tiny_clip: TinyClip, tmp_path: Path) -> None:
    checkout("ehvc")
    built = codec("ehvc", reset_interval=3)
    built.encode(open_sequence(tiny_clip(16, 16, 6, "yuv444p")), RatePoint("q", 1), tmp_path / "b.bin")
    stream, at, marks = payload(tmp_path / "b.bin"), 13 + 4 * 3 * 256, []
    while at < len(stream):
        marks.append((stream[at + 1], stream[at + 6 : at + 8]))
        at += 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
    assert marks == [(1, b"-n"), (2, b"fn"), (3, b"fn"), (0, b"-n"), (1, b"f-")]


def test_an_interpolated_rate_is_not_the_checkpoints(
    checkout: Callable[[str], Path], tiny_clip: TinyClip, tmp_path: Path
) -> None:
    source = open_sequence(tiny_clip(16, 16, 1, "yuv444p"))
    checkout("dcvc-hem")
    codec("dcvc-hem").encode(source, RatePoint("q", 20), tmp_path / "hem.bin")
    scale = int.from_bytes(payload(tmp_path / "hem.bin")[8:10], "big")
    assert scale == round(100 * 8 * (1 / 8) ** (20 / 63))
    checkout("dcvc-dc")
    codec("dcvc-dc@rgb").encode(source, RatePoint("q", 20), tmp_path / "dc.bin")
    assert payload(tmp_path / "dc.bin")[8] == 20 << 1


def test_uf_needs_a_gpu_and_says_so(
    checkout: Callable[[str], Path], tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "DCVC"
    (root / "src/models").mkdir(parents=True)
    (root / "src/models/video_model_ht.py").touch()
    monkeypatch.setenv("VCBENCH_DCVC_UF", str(root))
    monkeypatch.setenv("VCBENCH_DCVC_UF_PYTHON", sys.executable)
    monkeypatch.setenv("VCBENCH_DEVICE", "cpu")
    with pytest.raises(UnavailableError) as caught:
        codec("dcvc-uf").check()
    for words in ("MLCodec_extensions_cpp, inference_extensions_cuda not installed", "cvpr2026_image.pth.tar: no such"):
        assert words in str(caught.value)
    with pytest.raises(CardError, match="12 is no multiple of 8"):
        codec("dcvc-uf", intra_period=12).check()
    for kind in ("IMAGE", "VIDEO"):
        (root / kind).touch()
        monkeypatch.setenv(f"VCBENCH_DCVC_UF_{kind}", str(root / kind))
    with pytest.raises(EncodeError, match="runs on an NVIDIA GPU alone") as refused:
        codec("dcvc-uf").encode(open_sequence(tiny_clip(16, 16, 2)), RatePoint("q", 21), tmp_path / "b.bin")
    assert refused.value.reason == "worker_unavailable"


def test_uf_codes_groups_behind_an_i_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of DCVC-UF on a CPU, with networks that tell what they are given."""
    import torch

    spec = importlib.util.spec_from_file_location("dcvc_worker", SERVER.with_name("dcvc.py"))
    assert spec is not None and spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    given: list[Any] = []

    class Network:
        def compress(self, x: Any, quality: int, *rest: Any) -> dict[str, Any]:
            given.append((x.shape[1] // 3, *rest))
            return {"bit_stream": x.float().numpy().tobytes(), "x_hat": x, "ec_parallel": 3}

        def decompress(self, stream: bytes, sps: dict[str, Any], quality: int, parts: int, *rest: Any) -> Any:
            assert (quality, parts) == (21, 3)
            x = torch.frombuffer(bytearray(stream), dtype=torch.float32).reshape(1, -1, 16, 16)
            return {"x_hat": x if not rest else list(x.split(3, 1))}

        def clear_dpb(self) -> None:
            given.append("clear")

        def add_ref_feature_from_frame(self, frame: Any, apply_feature_adaptor: bool = True) -> None:
            pass

    class OnCpu(worker.Uf):  # type: ignore[misc, name-defined]
        delay = 8

        def __init__(self, settings: Any) -> None:
            self.torch, self.settings, self.device = torch, settings, torch.device("cpu")
            self.networks = Network(), Network()

    class Units:
        """A unit is its fields as JSON, a line, and its bytes."""

        class NalType:
            NAL_SPS, NAL_I, NAL_P = "sps", "i", "p"

        class SPSHelper:
            def __init__(self) -> None:
                self.known: list[Any] = []

            def get_sps_id(self, sps: Any) -> tuple[int, bool]:
                is_new = not self.known
                self.known.append(sps)
                return 0, is_new

            def add_sps_by_id(self, sps: Any) -> None:
                self.known.append(sps)

            def get_sps_by_id(self, number: int) -> Any:
                return self.known[0] if self.known else None

        @staticmethod
        def write_sps(file: Any, sps: Any) -> int:
            return int(file.write(json.dumps(["sps", sps]).encode() + b"\n"))

        @staticmethod
        def write_ip(file: Any, is_intra: bool, number: int, *fields: Any) -> int:
            *told, stream = fields
            return int(file.write(json.dumps(["i" if is_intra else "p", told, len(stream)]).encode() + b"\n" + stream))

        @staticmethod
        def read_header(file: Any) -> dict[str, Any]:
            kind, *Units.rest = json.loads(file.readline())
            return {"nal_type": kind, "sps_id": 0}

        @staticmethod
        def read_sps_remaining(file: Any, number: int) -> Any:
            return Units.rest[0]

        @staticmethod
        def read_ip_remaining(file: Any) -> Any:
            return (*Units.rest[0], file.read(Units.rest[1]))

        rest: list[Any] = []  # noqa: RUF012

    monkeypatch.setitem(sys.modules, "src.utils.stream_helper", Units)
    pictures = [np.random.default_rng(number).integers(0, 256, 384, dtype=np.uint8).tobytes() for number in range(20)]
    # chroma is repeated and averaged again; all else is exact to half precision

    class Job:
        width, height, frames, pixels, bitstream = 16, 16, 20, "yuv420p", tmp_path / "b.bin"

        def read_frames(self) -> Any:
            return iter(pictures)

    settings = {"rate": 21, "intra_period": 16, "reset_interval": 16}
    job, coder = Job(), OnCpu(settings)
    with job.bitstream.open("wb") as file:
        bits, intra = coder.write(job, file)
    assert (bits, intra) == (8 * job.bitstream.stat().st_size, 2)
    # I, two groups (the second refreshes), I, and the last two frames filled up to a group
    assert [told for told in given if told != "clear"] == [
        (1, 0, 0),
        (8, 0, 0, 0),
        (8, 1, 0, 0),
        (1, 0, 0),
        (8, 0, 0, 0),
    ]
    with job.bitstream.open("rb") as file:
        decoded = list(coder.read(job, file))
    assert len(decoded) == 20
    for found, wanted in zip(decoded, pictures, strict=True):
        difference = np.frombuffer(found, np.uint8).astype(int) - np.frombuffer(wanted, np.uint8)
        assert np.abs(difference).max() <= 1
