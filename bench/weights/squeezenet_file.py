"""SqueezeNet 1.0 as songhan/SqueezeNet-Deep-Compression offers it: a packed file, unpacked to arrays.

After "Deep Compression" (Han, Mao, Dally, ICLR 2016), sections 2 and 3: what pruning left of each layer is stored as
indexes into a codebook and distances between them. The file holds the number of entries of each layer (uint32), then
of each layer its codebook (256 x float32), biases (float32), codebook indexes (a byte each) and distances less one
(four bits each, the lower half of a byte first); all little-endian. Entries with the codebook's zero bridge distances
above 16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODEBOOK = 256

_SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)
_PLACES = (3, 4, 5, 7, 8, 9, 10, 12)
"""Channels that each of the eight fire modules squeezes to (an eighth of what it gives), and its place in torchvision's
list of layers."""


def layers() -> dict[str, tuple[int, int, int, int]]:
    """Shapes of the layers' weights in the order of the file, by torchvision's names for squeezenet1_0."""
    found = {"features.0": (96, 3, 7, 7)}
    channels = 96
    for place, squeezed in zip(_PLACES, _SQUEEZED, strict=True):
        found[f"features.{place}.squeeze"] = (squeezed, channels, 1, 1)
        found[f"features.{place}.expand1x1"] = (4 * squeezed, squeezed, 1, 1)
        found[f"features.{place}.expand3x3"] = (4 * squeezed, squeezed, 3, 3)
        channels = 8 * squeezed
    return found | {"classifier.1": (1000, 512, 1, 1)}


def unpack(file: Path) -> dict[str, NDArray[np.float32]]:
    """Weights and biases by torchvision's names.

    The network takes BGR of 0 to 255 less (104, 117, 123), and its first layer has no padding. Raises ValueError for
    a file of another layout.
    """
    data = file.read_bytes()
    shapes = layers()
    at = 0

    def take(kind: Any, count: int) -> NDArray[Any]:
        nonlocal at
        if at + count * np.dtype(kind).itemsize > len(data):
            raise ValueError(f"{file.name}: ends at byte {len(data)}, amid its layers")
        array = np.frombuffer(data, kind, count, at)
        at += array.nbytes
        return array

    entries = take("<u4", len(shapes))
    arrays: dict[str, NDArray[np.float32]] = {}
    for (name, shape), count in zip(shapes.items(), entries.tolist(), strict=True):
        codebook = take("<f4", CODEBOOK)
        arrays[f"{name}.bias"] = take("<f4", shape[0]).astype(np.float32)
        indexes = take("u1", count)
        halves = take("u1", (count + 1) // 2)
        distances = np.stack([halves & 15, halves >> 4], axis=1).reshape(-1)[:count]
        places = np.cumsum(distances.astype(np.int64) + 1) - 1
        weight: NDArray[np.float32] = np.full(int(np.prod(shape)), codebook[0], np.float32)
        if places.max(initial=-1) >= weight.size:
            raise ValueError(f"{file.name}: {name} has an entry at {places.max()}, it holds {weight.size}")
        weight[places] = codebook[indexes]
        arrays[f"{name}.weight"] = weight.reshape(shape)
    if at != len(data):
        raise ValueError(f"{file.name}: {len(data) - at} bytes are left over")
    return arrays


def npy(array: NDArray[np.float32]) -> bytes:
    """An array as a file of numpy's format 1.0; numpy's own writer pads differently from version to version."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {array.shape}, }}"
    padded = header.ljust((len(header) + 11 + 63) // 64 * 64 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + array.astype("<f4").tobytes()
