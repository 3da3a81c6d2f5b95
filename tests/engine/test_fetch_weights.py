"""Weights fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards import Catalog
from bench.core.files import hash_file
from bench.engine.fetch_weights import FetchedWeights, fetch_weights, select
from bench.errors import FetchError, UnavailableError, UnknownNameError, UsageError
from bench.weights import files as weights

CONTENT = np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Describe = Callable[..., None]


@pytest.fixture
def describe(tmp_path: Path, http_server: Any, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """A manifest whose one entry is served by the server."""
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "cache"))
    http_server.files["/net.pth"] = CONTENT

    def write(*, sha256: str = SHA256, size: int = len(CONTENT), file: str = "net.pth", extra: str = "") -> None:
        where = extra or f'url = "{http_server.url}/net.pth"'
        text = (
            '[[weights]]\nname = "net"\ntitle = "t"\nlicence = "l"\nsource = "s"\nused_by = ["vmaf:net"]\n'
            f'file = "{file}"\nsha256 = "{sha256}"\nbytes = {size}\n{where}\n'
        )
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / "weights.toml").write_text(text)

    return write


def fetch(*names: str, **settings: Any) -> list[FetchedWeights]:
    return fetch_weights(names, pause=lambda seconds: None, **settings)


def test_weights_arrive_verified_where_they_are_found(describe: Describe, tmp_path: Path) -> None:
    describe()
    (fetched,) = fetch("net")
    assert fetched == FetchedWeights("net", tmp_path / "cache" / "weights" / "net.pth", SHA256, "downloaded")
    assert weights.path("net").read_bytes() == CONTENT
    assert [path.name for path in fetched.path.parent.iterdir()] == ["net.pth"]


def test_what_is_here_is_not_downloaded(
    describe: Describe, http_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    here = tmp_path / "torch" / "hub" / "checkpoints" / "net.pth"
    here.parent.mkdir(parents=True)
    here.write_bytes(CONTENT)
    assert fetch("net") == [FetchedWeights("net", here, SHA256, "present")]
    assert http_server.requests == []


def test_a_folder_is_filled_whatever_is_elsewhere(describe: Describe, tmp_path: Path) -> None:
    describe()
    fetch("net")
    (fetched,) = fetch("net", folder=tmp_path / "usb")
    assert (fetched.path, fetched.status) == (tmp_path / "usb" / "net.pth", "downloaded")


def test_a_cut_download_is_resumed_by_the_next_call(describe: Describe, http_server: Any) -> None:
    describe()
    http_server.cuts = [100_000]
    with pytest.raises(FetchError, match="100000 bytes are kept, the same command resumes there"):
        fetch("net", attempts=1)
    with pytest.raises(UnavailableError):
        weights.path("net")
    assert fetch("net")[0].sha256 == SHA256
    assert [asked for _, asked in http_server.requests] == [None, "bytes=100000-"]


def test_a_file_cut_short_elsewhere_is_replaced(describe: Describe, tmp_path: Path) -> None:
    describe()
    damaged = tmp_path / "cache" / "weights" / "net.pth"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(CONTENT[:-1])
    assert fetch("net")[0].status == "downloaded"
    assert weights.path("net") == damaged


def test_another_file_is_never_seen(describe: Describe, tmp_path: Path) -> None:
    describe(sha256="0" * 64)
    with pytest.raises(FetchError, match=f"(?s){'0' * 64}.*{SHA256}.*By hand: get .*net.pth"):
        fetch("net")
    assert not (tmp_path / "cache" / "weights" / "net.pth").exists()


def test_a_file_larger_than_the_manifest_says_is_not_downloaded_to_its_end(describe: Describe) -> None:
    describe(size=1000)
    with pytest.raises(FetchError, match="larger than the 1000 bytes that its manifest allows"):
        fetch("net")


def test_without_a_network_it_says_what_to_do_by_hand(describe: Describe, tmp_path: Path) -> None:
    describe(extra='url = "http://127.0.0.1:9/net.pth"')
    expected = (
        rf"(?s)no connection.*\(2 attempts\).*By hand: get http://127\.0\.0\.1:9/net\.pth \(SHA-256 {SHA256}\) and put "
        rf"it as net\.pth into {tmp_path}/cache/weights, or into a folder named in VCBENCH_WEIGHTS"
    )
    with pytest.raises(FetchError, match=expected):
        fetch("net", attempts=2)


def test_what_nobody_offers_stops_before_anything_is_downloaded(describe: Describe, http_server: Any) -> None:
    lot = 'made = "drawn by lot"\n[[weights]]\nname = "other"\ntitle = "t"\nlicence = "l"\nsource = "s"\n'
    served = f'file = "other.pth"\nsha256 = "{SHA256}"\nbytes = {len(CONTENT)}\nurl = "{http_server.url}/net.pth"'
    describe(extra=lot + served)
    with pytest.raises(UnavailableError, match=r"net\.pth.* drawn by lot"):
        fetch("other", "net")
    assert http_server.requests == []


def test_of_several_all_are_tried_and_those_that_fail_are_named(
    describe: Describe, http_server: Any, tmp_path: Path
) -> None:
    """The first is nowhere, the second another file; the third arrives for all that."""
    http_server.files["/other.pth"] = CONTENT[::-1]
    entry = '[[weights]]\nname = "{0}"\ntitle = "t"\nlicence = "l"\nsource = "s"\nfile = "{0}.pth"\n'
    entry += f'sha256 = "{SHA256}"\nbytes = {len(CONTENT)}\nurl = "{http_server.url}/{{1}}.pth"\n'
    lost = f'url = "{http_server.url}/lost.pth"\n'
    describe(extra=lost + entry.format("other", "other") + entry.format("third", "net"))
    with pytest.raises(
        FetchError, match=r"(?s)2 of 3 failed \(net, other\); here are: third\nnet: .*\nother: .*SHA-256"
    ):
        fetch("net", "other", "third", attempts=1)
    assert weights.path("third").read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["", "usb", "usb/net.pth"])
def test_files_are_copied_from_a_folder_or_a_file(
    describe: Describe, http_server: Any, tmp_path: Path, place: str
) -> None:
    describe()
    (tmp_path / "usb").mkdir()
    (tmp_path / place / "net.pth" if not place.endswith("pth") else tmp_path / place).write_bytes(CONTENT)
    (copied,) = fetch("net", source=tmp_path / place)
    assert copied == FetchedWeights("net", tmp_path / "cache" / "weights" / "net.pth", SHA256, "copied")
    assert fetch("net", source=tmp_path / place)[0].status == "present"
    assert http_server.requests == []


def test_a_wrong_file_is_never_copied(describe: Describe, tmp_path: Path) -> None:
    describe()
    (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(FetchError, match=f"net.pth: SHA-256 is [0-9a-f]{{64}}; a file with SHA-256 {SHA256} is needed"):
        fetch("net", source=tmp_path)
    with pytest.raises(FetchError, match=r"own/net\.pth: no such file; a file with SHA-256"):
        fetch("net", source=tmp_path / "own")
    assert not (tmp_path / "cache" / "weights" / "net.pth").exists()


def test_our_own_weights_are_found_in_a_checkout_and_at_an_address(
    describe: Describe, http_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wheel; the address is a variable's, else that of the release's tag in the package's repository."""
    describe(extra='repository = "codecs/weights/net.pth"')
    monkeypatch.setattr(weights, "project", lambda: None)
    with pytest.raises(UnavailableError, match="run: vcbench fetch weights net --from PATH, where PATH is a checkout"):
        fetch("net")
    (tmp_path / "checkout" / "codecs" / "weights").mkdir(parents=True)
    (tmp_path / "checkout" / "codecs" / "weights" / "net.pth").write_bytes(CONTENT)
    assert fetch("net", source=tmp_path / "checkout", folder=tmp_path / "a")[0].status == "copied"
    monkeypatch.setenv("VCBENCH_WEIGHTS_URL", f"{http_server.url}/")
    assert fetch("net", folder=tmp_path / "b")[0].status == "downloaded"
    monkeypatch.delenv("VCBENCH_WEIGHTS_URL")
    monkeypatch.setattr(weights, "project", lambda: (f"{http_server.url}/us", "0.2"))
    http_server.files["/us/raw/v0.2/codecs/weights/net.pth"] = CONTENT
    assert fetch("net", folder=tmp_path / "c")[0].status == "downloaded"


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.neural
def test_parts_become_one_archive(describe: Describe, http_server: Any) -> None:
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7.0])}
    http_server.files |= {f"/{key}-x.npy": npy(array) for key, array in arrays.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in arrays.items():
            info = zipfile.ZipInfo(f"{key}.npy")
            info.create_system, info.external_attr = 3, 0o600 << 16
            archive.writestr(info, npy(array))
    content = buffer.getvalue()
    parts = f'url = "{http_server.url}"\n[weights.parts]\n"a.weight" = "a.weight-x.npy"\nb = "b-x.npy"'
    describe(sha256=hashlib.sha256(content).hexdigest(), size=len(content), file="net.npz", extra=parts)
    (fetched,) = fetch("net")
    assert fetched.path.read_bytes() == content
    loaded = weights.load("net")
    assert list(loaded) == list(arrays)
    assert all(np.array_equal(loaded[key].numpy(), arrays[key]) for key in arrays)


def test_wrong_parts_are_fetched_anew(describe: Describe, http_server: Any) -> None:
    http_server.files["/b.npy"] = b"other"
    describe(file="net.npz", extra=f'url = "{http_server.url}"\n[weights.parts]\nb = "b.npy"')
    for _ in range(2):
        with pytest.raises(FetchError, match=f"(?s)made of it has SHA-256 .*{SHA256}.*--to . on a machine"):
            fetch("net")
    assert len(http_server.requests) == 2


def test_what_is_packed_otherwise_is_named(describe: Describe, http_server: Any) -> None:
    packed = f'[weights.packed]\nsha256 = "{SHA256}"\nbytes = {len(CONTENT)}\nlayout = "deep-compression"'
    describe(file="net.npz", extra=f'url = "{http_server.url}/net.pth"\n{packed}')
    with pytest.raises(FetchError, match=r"net\.pth: does not have the layout deep-compression .*(?s:.)*By hand"):
        fetch("net")


@pytest.mark.neural
def test_spynet_of_the_published_arrays_is_the_state_dict_that_is_here(
    http_server: Any, shared_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive of DVC's 60 arrays has exactly the tensors of the file that is here, and the manifest's digest."""
    import torch

    entry = weights.get("spynet")
    here = weights.load("spynet")
    assert entry.url is not None and set(entry.parts) == set(here)
    http_server.files = {f"/{part}": npy(here[key].numpy()) for key, part in entry.parts.items()}
    ours = Path(weights.__file__).with_name(weights.MANIFEST).read_text(encoding="utf-8")
    (tmp_path / weights.MANIFEST).write_text(ours.replace(entry.url, http_server.url))
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    (made,) = fetch("spynet", folder=tmp_path)
    assert (made.status, made.sha256) == ("downloaded", entry.sha256)
    assert made.path.stat().st_size == entry.bytes
    loaded = weights.load("spynet")
    assert all(torch.equal(loaded[key], here[key]) for key in here)


@pytest.mark.parametrize(
    ("names", "selected"),
    [
        (["niqe"], ["niqe"]),
        (["dists", "vgg16", "lpips_vgg"], ["dists", "vgg16"]),
        (["lpips"], ["alexnet", "vgg16"]),
        (["vmaf:net"], ["net"]),
    ],
)
def test_names_of_weights_and_of_metrics_are_taken(names: list[str], selected: list[str], describe: Describe) -> None:
    describe()
    assert [entry.name for entry in select(names)] == selected


def test_a_metric_without_weights_is_told_from_no_metric() -> None:
    with pytest.raises(UsageError, match="psnr_y: needs no weights"):
        select(["psnr_y"])
    with pytest.raises(UnknownNameError, match=r"did you mean .*lpips_alex"):
        select(["lpips_alx"])


CODEC = """
name = "images"
title = "An image codec"
adapter = "compressai"
kind = "learned"
licence = "BSD-3-Clause-Clear"
gop = "all intra"
extension = "vcb"
rates = {{ parameter = "quality", values = [1, 3], minimum = 1, maximum = 3 }}
[settings]
model = "mbt2018"
url = "{url}"
files = {files}
"""


class TestOfCodecs:
    """Files of which the name alone tells how their SHA-256 begins."""

    @pytest.fixture
    def files(self, tmp_path: Path, http_server: Any) -> list[str]:
        contents = [f"tensors {number}".encode() for number in range(3)]
        names = [f"net-{n}-{hashlib.sha256(data).hexdigest()[:8]}.pth.tar" for n, data in enumerate(contents)]
        http_server.files |= {f"/{name}": data for name, data in zip(names, contents, strict=True)}
        (tmp_path / "codecs").mkdir()
        (tmp_path / "codecs" / "images.toml").write_text(CODEC.format(url=http_server.url, files=names))
        return names

    def test_a_codec_gets_the_files_of_its_rate_points(self, files: list[str], tmp_path: Path) -> None:
        catalog = Catalog((tmp_path,))
        fetched = fetch("images", catalog=catalog, folder=tmp_path / "to")
        assert [(file.name, file.status) for file in fetched] == [(files[0], "downloaded"), (files[2], "downloaded")]
        assert all(hash_file(file.path) == file.sha256 for file in fetched)
        again = fetch("images", files[1], catalog=catalog, folder=tmp_path / "to")
        assert [file.status for file in again] == ["present", "present", "downloaded"]
        assert not [path for path in (tmp_path / "to").iterdir() if path.name not in files]

    def test_files_are_copied_where_their_name_is_right(
        self, files: list[str], tmp_path: Path, http_server: Any
    ) -> None:
        (tmp_path / "usb").mkdir()
        (tmp_path / "usb" / files[0]).write_bytes(b"tensors 0")
        settings = {"catalog": Catalog((tmp_path,)), "folder": tmp_path / "to", "source": tmp_path / "usb"}
        (copied,) = fetch(files[0], **settings)
        assert (copied.status, copied.path) == ("copied", tmp_path / "to" / files[0])
        (tmp_path / "usb" / files[1]).write_bytes(b"others")
        with pytest.raises(FetchError, match="a SHA-256 that begins with"):
            fetch(files[1], **settings)
        assert http_server.requests == []

    def test_another_file_is_never_seen(self, files: list[str], tmp_path: Path, http_server: Any) -> None:
        http_server.files[f"/{files[0]}"] = b"others"
        with pytest.raises(
            FetchError, match=r"has SHA-256 [0-9a-f]{64}; by its name it begins with [0-9a-f]{8}\n"
        ) as it:
            fetch("images", catalog=Catalog((tmp_path,)), folder=tmp_path / "to")
        assert f"By hand: get {http_server.url}/{files[0]} and put it into {tmp_path / 'to'}" in str(it.value)
        assert not (tmp_path / "to" / files[0]).exists()

    def test_a_codec_without_weights_is_told(self) -> None:
        with pytest.raises(UsageError, match="x264: needs no weights of those that vcbench fetches"):
            fetch("x264")


def test_another_file_in_the_place_of_weights_is_kept(
    describe: Describe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    describe()
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "net.pth").write_bytes(b"trained for a month")
    (fetched,) = fetch("net", folder=tmp_path / "usb")
    assert fetched.path.read_bytes() == CONTENT
    assert (tmp_path / "usb" / "net.pth.1").read_bytes() == b"trained for a month"
    assert "net.pth: is replaced; what was there is kept as net.pth.1" in caplog.text
