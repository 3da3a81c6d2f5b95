"""SqueezeNet's packed file: packed here as its authors describe it, and unpacked again."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.engine.fetch_weights import fetch_weights
from bench.weights import files as weights
from bench.weights.squeezenet_file import layers, npy, unpack


def packed(arrays: dict[str, NDArray[np.float32]]) -> bytes:
    """The authors' layout, one weight after another. The codebook's first entry is 0."""
    counts, bodies = [], []
    for name in layers():
        values = arrays[f"{name}.weight"].reshape(-1)
        codebook = np.zeros(256, "<f4")
        others = np.unique(values[values != 0])
        codebook[1 : len(others) + 1] = others
        indexes, distances, last = [], [], -1
        for place in np.flatnonzero(values).tolist():
            while place - last > 16:
                last += 16
                indexes.append(0)
                distances.append(15)
            indexes.append(1 + int(np.searchsorted(others, values[place])))
            distances.append(place - last - 1)
            last = place
        counts.append(len(indexes))
        halves = [a | b << 4 for a, b in zip(distances[::2], [*distances[1::2], 0], strict=False)]
        bodies.append(codebook.tobytes() + arrays[f"{name}.bias"].tobytes() + bytes(indexes) + bytes(halves))
    return np.array(counts, "<u4").tobytes() + b"".join(bodies)


def sparse(seed: int) -> dict[str, NDArray[np.float32]]:
    """Random layers of few weights, with long gaps between some."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, shape in layers().items():
        values = np.zeros(int(np.prod(shape)), np.float32)
        places = generator.choice(values.size, 50, replace=False)
        values[places] = generator.choice(np.linspace(-1, 1, 20).astype(np.float32), 50)
        arrays[f"{name}.weight"] = values.reshape(shape)
        arrays[f"{name}.bias"] = generator.standard_normal(shape[0]).astype(np.float32)
    return arrays


def test_what_was_packed_comes_out(tmp_path: Path) -> None:
    arrays = sparse(0)
    file = tmp_path / "packed.net"
    file.write_bytes(packed(arrays))
    found = unpack(file)
    assert list(found) == [f"{name}.{part}" for name in layers() for part in ("bias", "weight")]
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    data = packed(sparse(1))
    file = tmp_path / "packed.net"
    cases = [(data + b"x", "1 bytes are left over"), (data[:-1], "amid its layers"), (b"", "amid its layers")]
    for wrong, message in cases:
        file.write_bytes(wrong)
        with pytest.raises(ValueError, match=message):
            unpack(file)


def test_layers_are_those_of_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    state = torchvision.models.squeezenet1_0(weights=None).state_dict()
    assert {f"{name}.weight": shape for name, shape in layers().items()} == {
        name: tuple(value.shape) for name, value in state.items() if name.endswith(".weight")
    }


def test_arrays_are_files_that_numpy_reads() -> None:
    for shape in ((3,), (2, 3, 4, 5)):
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        data = npy(array)
        assert np.array_equal(np.load(io.BytesIO(data)), array)
        assert data.index(b"\n") % 64 == 63


@pytest.mark.neural
def test_fetched_it_is_the_network_that_is_here(
    http_server: Any, shared_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed again, the weights that are here become the archive that the manifest describes."""
    entry = weights.get("squeezenet")
    here = weights.load("squeezenet")
    assert entry.packed is not None and entry.url is not None
    data = packed({name: value.numpy() for name, value in here.items()})
    http_server.files["/packed.net"] = data
    own = Path(weights.__file__).with_name(weights.MANIFEST).read_text(encoding="utf-8")
    own = own.replace(entry.url, f"{http_server.url}/packed.net")
    own = own.replace(entry.packed.sha256, hashlib.sha256(data).hexdigest())
    (tmp_path / weights.MANIFEST).write_text(own.replace(f"bytes = {entry.packed.bytes}", f"bytes = {len(data)}"))
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    (made,) = fetch_weights(["squeezenet"], folder=tmp_path)
    assert (made.status, made.sha256, made.path.stat().st_size) == ("downloaded", entry.sha256, entry.bytes)
    loaded = weights.load("squeezenet")
    assert set(loaded) == set(here)
    assert all(loaded[name].equal(here[name]) for name in here)
