"""Weights of networks: what there is, where it is on this machine, that it is the right file, and its tensors.

``weights.toml`` beside this module describes each file. A folder named in VCBENCH_WEIGHTS may hold a ``weights.toml``
of its own, whose entries replace ours of the same name. No file is looked into before its SHA-256 is right, and none
is ever executed: tensors are read from zip, safetensors or npz archives and from pickles of plain tensors alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from bench.cards import brought
from bench.core.files import cache_folder, file_digest, home
from bench.core.require import NEURAL, require
from bench.core.schema import Digest, Model, Name, explain, read_toml
from bench.datasets.manifest import RelativePath, Url
from bench.errors import ManifestError, UnavailableError, UnknownNameError

if TYPE_CHECKING:
    import torch

ENVIRONMENT = "VCBENCH_WEIGHTS"
ADDRESS = "VCBENCH_WEIGHTS_URL"
MANIFEST = "weights.toml"


class Copy(Model):
    """Another file with the same tensors."""

    file: RelativePath
    sha256: Digest
    bytes: int = Field(ge=1)


class Packed(Model):
    """What ``url`` offers where that is no file of tensors yet, and how it becomes one."""

    sha256: Digest
    bytes: int = Field(ge=1)
    layout: Literal["deep-compression", "ncnn"] = Field(
        description="deep-compression: `bench.weights.squeezenet_file` unpacks it; ncnn: a zip archive with a model of "
        "ncnn's, read by `bench.weights.ncnn`"
    )
    member: RelativePath | None = Field(default=None, description="ncnn: the model in the archive, without its suffix")

    @model_validator(mode="after")
    def _has_a_member(self) -> Packed:
        if (self.layout == "ncnn") != (self.member is not None):
            raise ValueError("member is of the layout ncnn, and needed there")
        return self


class Entry(Model):
    """One file of weights: what it is, what it must be, and where it comes from."""

    name: Name
    title: str
    file: RelativePath = Field(description="its name in every folder that is searched, torch's cache among them")
    sha256: Digest
    bytes: int = Field(ge=1)
    url: Url | None = Field(default=None, description="absent: nobody offers it, or it is vcbench's own")
    repository: RelativePath | None = Field(
        default=None, description="of vcbench's own weights that no wheel has: their path in vcbench's repository"
    )
    parts: dict[str, RelativePath] = Field(
        default={}, description="arrays (npy) below url by the names that they have in the npz file made of them"
    )
    packed: Packed | None = Field(default=None, description="of the file at url, from which the npz file is made")
    made: str | None = Field(default=None, description="how a file that nobody offers was made")
    also: tuple[Copy, ...] = Field(default=(), description="other files with the same tensors, taken as well")
    licence: str
    source: str = Field(description="who published it and where")
    used_by: tuple[str, ...] = Field(default=(), description="metrics, and codecs, that need it")

    @model_validator(mode="after")
    def _check(self) -> Entry:
        if [self.url, self.made, self.repository].count(None) != 2:
            raise ValueError(f"{self.name}: give url, or repository, or made where nobody offers the file")
        if (self.parts or self.packed) and not (self.url and self.file.endswith(".npz")):
            raise ValueError(f"{self.name}: parts, or what is packed at url, become an npz file; correct url or file")
        if self.parts and self.packed:
            raise ValueError(f"{self.name}: is made of parts or of a packed file, not of both; leave one out")
        return self

    @property
    def address(self) -> str | None:
        """Where to download it, None where nobody says; VCBENCH_WEIGHTS_URL or the package do of our own weights."""
        if self.repository is None:
            return self.url
        if base := os.environ.get(ADDRESS):
            return f"{base.rstrip('/')}/{self.file}"
        found = project()
        return f"{found[0]}/raw/v{found[1]}/{self.repository}" if found else None

    @property
    def copies(self) -> tuple[Copy, ...]:
        """Every file that is as good, the one that can be fetched first."""
        return (Copy(file=self.file, sha256=self.sha256, bytes=self.bytes), *self.also)


_TORCH_HUB_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*-([0-9a-f]{8,64})(\.[a-z]+)+$"

TorchHubName = Annotated[str, StringConstraints(pattern=_TORCH_HUB_NAME)]
"""A file's name as torch.hub wants it, such as net-1-c1ac1a47.pth.tar: the digits begin its SHA-256."""

LARGEST_PUBLISHED = 1 << 31
"""Bytes of a `Published` file at most, whose publisher does not tell them."""


@dataclass(frozen=True)
class Published:
    """A file of weights whose publisher tells no more of its SHA-256 than the name does (a `TorchHubName`)."""

    file: str
    url: str

    @property
    def digest_start(self) -> str:
        """Hexadecimal digits with which the SHA-256 begins."""
        match = re.match(_TORCH_HUB_NAME, self.file)
        assert match is not None
        return match[1]

    def locate(self, where: Iterable[Path], *, asked_as: str | None = None) -> Path:
        """The file in one of some folders; UnavailableError if in none, naming what is wrong there and what to run.

        ``asked_as``: what to fetch instead of this one file, such as the name of a codec.
        """
        problems = []
        for file in (folder / self.file for folder in where):
            if file.is_file():
                if (found := file_digest(file)).startswith(self.digest_start):
                    return file
                problems.append(f"{file}: SHA-256 is {found}; by its name it begins with {self.digest_start}")
        state = "; ".join(problems) or f"no weights {self.file} here"
        raise UnavailableError(f"{state}; run: vcbench fetch weights {asked_as or self.file}")


def is_torch_hub_name(name: str) -> bool:
    """Whether a name is a `TorchHubName`."""
    return re.match(_TORCH_HUB_NAME, name) is not None


class _File(Model):
    weights: tuple[Entry, ...] = Field(min_length=1)


def manifest() -> dict[str, Entry]:
    """Every file of weights there is by name: those of vcbench, replaced by those of the user's folders.

    Raises ManifestError, naming the file and the key, for a manifest that is wrong.
    """
    own = [folder / MANIFEST for folder in reversed(_users()) if (folder / MANIFEST).is_file()]
    entries: dict[str, Entry] = {}
    for file in (Path(__file__).with_name(MANIFEST), *own):
        entries |= _read(file, file.stat().st_mtime_ns)
    return entries


def get(name: str) -> Entry:
    """What is known of the weights of that name; UnknownNameError if there are none."""
    entries = manifest()
    if name not in entries:
        raise UnknownNameError("weights", name, entries)
    return entries[name]


def needed_by(metric: str) -> list[Entry]:
    """Weights that a metric needs, or the metrics of a family ("lpips" for "lpips_alex" and "lpips_vgg")."""
    return [entry for entry in manifest().values() if any(_covers(metric, user) for user in entry.used_by)]


def path(name: str) -> Path:
    """Verified file of weights on this machine; hashed once, then only when it has changed.

    Raises UnknownNameError, or UnavailableError that says what to run.
    """
    return locate(get(name), folders())


def locate(entry: Entry, where: Iterable[Path]) -> Path:
    """Verified file of weights in one of some folders; UnavailableError, naming what is wrong there, if in none."""
    return _first(entry, where, lambda copy, file: ("SHA-256", file_digest(file), copy.sha256))


def available(name: str) -> Path:
    """A file of the right name and size, not looked into.

    Raises UnknownNameError, or UnavailableError that says what to run.
    """
    return _first(get(name), folders(), lambda copy, file: ("bytes", file.stat().st_size, copy.bytes))


def sha256(name: str) -> str:
    """SHA-256 (hex) of the weights as published; needs no file."""
    return get(name).sha256


def load(name: str) -> dict[str, torch.Tensor]:
    """State dict of verified weights on the CPU. Raises as ``path`` and ``read_tensors`` do."""
    return read_tensors(path(name))


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a safetensors, npz or torch file, without executing anything it holds.

    Raises UnavailableError for a file that would have to be executed, is damaged, or holds anything but tensors, and
    where torch is not installed.
    """
    require("torch", "safetensors", extra=NEURAL)
    try:
        tensors = _read_any(file)
    except Exception as error:  # unpicklers and archive readers raise anything for hostile files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnavailableError(f"{file}: holds no plain tensors ({reason}); put the published file there") from None
    return tensors


def of_digest(sha256: str) -> Entry | None:
    """What is known of the weights with that SHA-256."""
    return next((entry for entry in manifest().values() if entry.sha256 == sha256), None)


def folders() -> list[Path]:
    """Folders searched for weights, in order: VCBENCH_WEIGHTS, the cache, torch's own cache, vcbench's own."""
    return [*_users(), own_folder(), _torch_cache(), *(cards / "weights" for cards in brought("codecs"))]


def own_folder() -> Path:
    """Folder that vcbench downloads weights to."""
    return cache_folder() / "weights"


@cache
def project() -> tuple[str, str] | None:
    """The address of vcbench's repository, and the version, as the installed package says; None where it does not."""
    try:
        found = metadata("vcbench")
    except PackageNotFoundError:
        return None
    urls = dict(line.split(", ", 1) for line in found.get_all("Project-URL") or ())
    return (urls["Source"].rstrip("/"), found["Version"]) if "Source" in urls else None


def _users() -> list[Path]:
    return [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]


def _torch_cache() -> Path:
    """Folder that torch.hub downloads to; said here so that finding a file needs no torch."""
    return torch_home() / "hub" / "checkpoints"


def torch_home() -> Path:
    """Folder that torch keeps its downloads in."""
    given = Path(os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "torch")
    with suppress(RuntimeError):  # a ~ of a user that the system does not know
        given = given.expanduser()
    return given


def _first(entry: Entry, where: Iterable[Path], check: Callable[[Copy, Path], tuple[str, object, object]]) -> Path:
    """First file of the weights that has what ``check`` finds and expects; UnavailableError if there is none."""
    problems = []
    for folder, copy in product(where, entry.copies):
        file = folder / copy.file
        if file.is_file():
            what, found, expected = check(copy, file)
            if found == expected:
                return file
            problems.append(f"{file}: {what} is {found}, expected {expected} (cut short, or another file)")
    state = f"weights {entry.name}: {'; '.join(problems)}" if problems else f"no weights {entry.name} here"
    if entry.repository is not None and entry.address is None:
        remedy = (
            f"run: vcbench fetch weights {entry.name} --from PATH, where PATH is a checkout of vcbench's repository, "
            f"the file {Path(entry.repository).name}, or its folder; or set {ADDRESS} to the address of such a folder"
        )
    elif entry.address is None:
        remedy = f"put {entry.file} into a folder named in {ENVIRONMENT}; nobody offers it: it is {entry.made}"
    else:
        remedy = f"run: vcbench fetch weights {entry.name}"
    raise UnavailableError(f"{state}; {remedy}")


def _covers(asked: str, user: str) -> bool:
    """Whether a metric's name, with options in any order, or the name of a family, means a metric of a manifest."""
    base, *options = asked.split(":")
    user_base, *needed = user.split(":")
    of_family = not options and base == user_base.partition("_")[0]
    return (base == user_base or of_family) and set(needed) <= set(options)


@cache
def _read(file: Path, modified: int) -> Mapping[str, Entry]:
    """Entries of a manifest; ``modified`` makes it be read again when it has changed."""
    try:
        entries = _File.model_validate(read_toml(file, ManifestError)).weights
    except ValidationError as error:
        raise ManifestError(f"{file}:\n  {explain(error)}") from None
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ManifestError(f"{file}: the name {twice[0]!r} appears twice; each entry needs its own")
    return dict(zip(names, entries, strict=True))


def _read_any(file: Path) -> dict[str, torch.Tensor]:
    import torch

    state: Any
    if file.suffix == ".npz":
        import numpy as np

        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            state = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    elif file.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(file)
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise TypeError("not a dictionary of tensors")
    return dict(state)
