"""Weights: found, verified, read without being executed; the manifest against the files that are here."""

from __future__ import annotations

import csv
import hashlib
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import ManifestError, UnavailableError, UnknownNameError
from bench.metrics.iqa import Pyiqa
from bench.registry import BUILTIN_METRICS, metric_class
from bench.weights import files as weights

Own = Callable[..., Path]
CONTENT = b"weights, for all that this test knows"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def described(name: str = "net", file: str = "net.pth", content: bytes = CONTENT, extra: str = "") -> str:
    """An entry of a manifest that holds for these bytes."""
    made = "" if "url" in extra else 'made = "drawn by lot"\n'
    return (
        f'[[weights]]\nname = "{name}"\ntitle = "t"\nfile = "{file}"\nlicence = "l"\nsource = "s"\n{made}'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nbytes = {len(content)}\n{extra}\n'
    )


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """A folder of the user's with a manifest of its own; a cache and a torch cache that are empty."""
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def write(*entries: str) -> Path:
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / "weights.toml").write_text("\n".join(entries or (described(),)))
        return tmp_path / "own"

    return write


def put(folder: Path, file: str = "net.pth", content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)
    return folder / file


def test_folders_are_searched_in_order(own: Own, tmp_path: Path) -> None:
    own()
    with pytest.raises(UnavailableError, match="no weights net here"):
        weights.path("net")
    for folder in ("torch/hub/checkpoints", "cache/weights", "own"):
        here = put(tmp_path / folder)
        assert weights.path("net") == weights.available("net") == here


def test_every_folder_named_is_searched(own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = os.pathsep.join([str(tmp_path / "nowhere"), str(own()), str(tmp_path / "other"), ""])
    monkeypatch.setenv("VCBENCH_WEIGHTS", folders)
    here = put(tmp_path / "other")
    assert weights.path("net") == here


@pytest.mark.neural
@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"TORCH_HOME": "/t", "XDG_CACHE_HOME": "/x"}, "/t/hub/checkpoints"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/torch/hub/checkpoints"),
        ({"HOME": "/h"}, "/h/.cache/torch/hub/checkpoints"),
    ],
)
def test_torchs_cache_is_where_torch_has_it(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.hub

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Path(folder) in weights.folders() and Path(folder) == Path(torch.hub.get_dir()) / "checkpoints"


def test_a_file_cut_short_is_named_with_both_sizes_and_both_digests(own: Own) -> None:
    here = put(own(described(extra='url = "https://example.org/net.pth"')), content=CONTENT[:-5])
    with pytest.raises(UnavailableError, match=rf"{here}: bytes is {len(CONTENT) - 5}, expected {len(CONTENT)}"):
        weights.available("net")
    wrong = hashlib.sha256(CONTENT[:-5]).hexdigest()
    with pytest.raises(UnavailableError, match=f"{here}: SHA-256 is {wrong}, expected {SHA256} .*fetch weights net"):
        weights.path("net")


def test_a_wrong_file_does_not_hide_the_right_one(own: Own, tmp_path: Path) -> None:
    put(own(), content=bytes(len(CONTENT)))
    right = put(tmp_path / "torch" / "hub" / "checkpoints")
    assert weights.path("net") == right


def test_a_file_that_changes_is_found_out(own: Own) -> None:
    here = put(own())
    assert weights.path("net") == here
    here.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(UnavailableError, match="another file"):
        weights.path("net")


def test_what_nobody_offers_says_how_it_was_made(own: Own) -> None:
    own()
    with pytest.raises(UnavailableError, match=r"put net\.pth into a folder named in VCBENCH_WEIGHTS; .* drawn by lot"):
        weights.available("net")


def test_a_file_with_the_same_tensors_is_taken_as_well(own: Own) -> None:
    other = b"the same, stored otherwise"
    also = (
        f'[[weights.also]]\nfile = "other.pth"\nsha256 = "{hashlib.sha256(other).hexdigest()}"\nbytes = {len(other)}\n'
    )
    here = put(own(described(extra=also)), "other.pth", other)
    assert weights.path("net") == weights.available("net") == here
    assert weights.sha256("net") == SHA256


def test_a_users_entry_replaces_ours(own: Own) -> None:
    assert weights.sha256("niqe") != SHA256
    own(described("niqe"))
    assert weights.sha256("niqe") == SHA256
    assert "alexnet" in weights.manifest()


def test_unknown_weights_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean alexnet"):
        weights.path("alexnett")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([described(), described()], "the name 'net' appears twice"),
        ([described(extra='url = "ftp://example.org/net"')], "http"),
        ([described(file="../net.pth")], r"weights\.0\.file"),
        ([described().replace("made =", "maker =")], "maker"),
        ([described().replace('made = "drawn by lot"\n', "")], "give url, or repository, or made"),
        ([described(extra='url = "https://example.org"\n[weights.parts]\na = "a.npy"')], "become an npz file"),
        ([described().replace(SHA256, "7be5be79")], "sha256"),
    ],
)
def test_a_wrong_manifest_is_named(entries: list[str], message: str, own: Own) -> None:
    folder = own(*entries)
    with pytest.raises(ManifestError, match=rf"(?s){folder / 'weights.toml'}.*{message}"):
        weights.manifest()


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        ("lpips_alex", ["alexnet"]),
        ("lpips", ["alexnet", "vgg16"]),
        ("dists", ["vgg16", "dists"]),
        ("ewarp:spynet", ["spynet"]),
        ("ewarp:output:spynet", ["spynet"]),
        ("ewarp:output", []),
        ("ewarp", []),
        ("flolpips:forward:raft-small", ["alexnet", "raft-small"]),
        ("fid:antialias", ["inception-fid"]),
        ("psnr_y", []),
    ],
)
def test_metrics_are_mapped_to_what_they_need(asked: str, needed: list[str]) -> None:
    assert [entry.name for entry in weights.needed_by(asked)] == needed


def asked_for(name: str) -> list[str]:
    """Weights that a metric misses here, one after the other as its check names them."""
    try:
        metric_class(name).check()
    except UnavailableError as error:
        return re.findall(r"vcbench fetch weights (\S+)", str(error))
    return []


@pytest.mark.parametrize("name", sorted(BUILTIN_METRICS))
def test_what_a_metric_misses_is_what_is_fetched_for_it(name: str, own: Own) -> None:
    own()
    for metric in (name, *(f"{name}:{option}" for option in metric_class(name).variants)):
        asked = set(asked_for(metric))
        if issubclass(kind := metric_class(metric), Pyiqa):
            assert asked <= {f"pyiqa:{kind.model}"}  # which the same command has that package fetch
        else:
            assert asked <= {entry.name for entry in weights.needed_by(metric)}, metric


def test_the_metrics_that_weights_are_for_exist() -> None:
    users = {user for entry in weights.manifest().values() for user in entry.used_by}
    for user in users:
        if user.partition(":")[0] in BUILTIN_METRICS:
            metric_class(user)


class Malicious:
    """Unpickles into a call."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.neural
def test_a_malicious_pickle_is_refused_unexecuted(tmp_path: Path) -> None:
    import numpy as np
    import torch

    trace = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.is_dir()  # it does what it is refused for
    trace.rmdir()
    torch.save({"weight": Malicious(trace)}, tmp_path / "zip.pth")
    torch.save({"weight": Malicious(trace)}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"weight": Malicious(trace)}))
    np.savez(tmp_path / "array.npz", weight=np.array(Malicious(trace), dtype=object))
    for name in ("zip.pth", "legacy.pth", "bare.pt", "array.npz"):
        with pytest.raises(UnavailableError, match=f"{name}: holds no plain tensors"):
            weights.read_tensors(tmp_path / name)
        assert not trace.exists(), name


@pytest.mark.neural
@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_damaged_files_and_other_objects_are_refused(suffix: str, tmp_path: Path) -> None:
    import torch

    broken = tmp_path / f"broken{suffix}"
    for content in (b"", b"PK\x03\x04 not an archive", bytes(1000)):
        broken.write_bytes(content)
        with pytest.raises(UnavailableError, match="holds no plain tensors"):
            weights.read_tensors(broken)
    torch.save({"weight": 3}, tmp_path / "number.pth")
    with pytest.raises(UnavailableError, match="not a dictionary of tensors"):
        weights.read_tensors(tmp_path / "number.pth")


@pytest.mark.neural
def test_the_same_tensors_come_from_every_format(own: Own) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    folder = own()
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(folder / "arrays.npz", **{key: tensor.numpy() for key, tensor in state.items()})
    save_file(state, folder / "tensors.safetensors")
    files = ["zip.pth", "legacy.pth", "arrays.npz", "tensors.safetensors"]
    own(*(described(f"net{index}", file, (folder / file).read_bytes()) for index, file in enumerate(files)))
    for index in range(len(files)):
        loaded = weights.load(f"net{index}")
        assert set(loaded) == set(state)
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_files_of_torchs_hub_have_the_digest_that_their_names_begin() -> None:
    """torch.hub.load_state_dict_from_url: the hexadecimal digits before the suffix begin the SHA-256."""
    hubs = [entry for entry in weights.manifest().values() if entry.file[-13:-12] == "-"]
    assert len(hubs) == 5
    assert [entry.name for entry in hubs if not entry.sha256.startswith(entry.file[-12:-4])] == []
    assert [entry.name for entry in hubs if not (entry.url or "").endswith(f"/{entry.file}")] == []


@pytest.mark.neural
def test_torchvisions_weights_are_those_of_this_manifest() -> None:
    from torchvision.models import AlexNet_Weights, VGG16_Weights
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    named = {
        "alexnet": AlexNet_Weights.IMAGENET1K_V1,
        "vgg16": VGG16_Weights.IMAGENET1K_V1,
        "raft-large": Raft_Large_Weights.C_T_SKHT_V2,
        "raft-small": Raft_Small_Weights.C_T_V2,
    }
    for name, published in named.items():
        entry = weights.get(name)
        assert entry.url == published.url
        assert entry.bytes / 2**20 == pytest.approx(published.meta["_file_size"], abs=1e-3)


@pytest.mark.neural
def test_the_inception_network_is_that_of_torch_fidelity() -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert weights.get("inception-fid").url == URL_INCEPTION_V3


def test_the_manifest_agrees_with_the_index_of_the_files_that_are_here(shared_weights: Path) -> None:
    with (shared_weights / "INDEX.tsv").open(newline="") as index:
        indexed = {row["file"]: row for row in csv.DictReader(index, delimiter="\t")}
    ours = [copy for entry in weights.manifest().values() for copy in entry.copies if copy.file in indexed]
    assert len(ours) == 5
    for copy in ours:
        assert (copy.sha256, copy.bytes) == (indexed[copy.file]["sha256"], int(indexed[copy.file]["bytes"]))


@pytest.mark.neural
@pytest.mark.parametrize("name", ["dists", "spynet", "squeezenet", "niqe", "cnniqa"])
def test_real_weights_load(name: str, shared_weights: Path) -> None:
    assert weights.available(name) == weights.path(name)
    tensors = weights.load(name)
    assert tensors and all(bool(tensor.isfinite().all()) for tensor in tensors.values())
