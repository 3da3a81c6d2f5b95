"""Weights of networks: what there is, where it is on this machine, that it is the right file, and its tensors.

``weights.toml`` beside this module describes each file. A folder named in VCBENCH_WEIGHTS may hold a ``weights.toml``
of its own, whose entries replace ours of the same name. No file is looked into before its SHA-256 is right, and none
is ever executed: tensors are read from zip, safetensors or npz archives and from pickles of plain tensors alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from bench.catalog import Digest, Model, Name, explain, read_toml
from bench.digests import cache_folder, file_digest
from bench.errors import ManifestError, UnavailableError, UnknownNameError
from bench.manifests import RelativePath, Url

if TYPE_CHECKING:
    import torch

ENVIRONMENT = "VCBENCH_WEIGHTS"
MANIFEST = "weights.toml"


class Entry(Model):
    """One file of weights: what it is, what it must be, and where it comes from."""

    name: Name
    title: str
    file: RelativePath = Field(description="its name in every folder that is searched, torch's cache among them")
    sha256: Digest
    bytes: int = Field(ge=1)
    url: Url | None = Field(default=None, description="absent: nobody offers it")
    made: str | None = Field(default=None, description="how a file that nobody offers was made")
    licence: str
    source: str = Field(description="who published it and where")
    used_by: tuple[str, ...] = Field(default=(), description="metrics that need it")

    @model_validator(mode="after")
    def _check(self) -> Entry:
        if (self.url is None) == (self.made is None):
            raise ValueError(f"{self.name}: give url, or made where nobody offers the file")
        return self


class _File(Model):
    weights: tuple[Entry, ...] = Field(min_length=1)


def manifest() -> dict[str, Entry]:
    """Every file of weights there is by name: those of vcbench, replaced by those of the user's folders.

    Raises ManifestError, naming the file and the key, for a manifest that is wrong.
    """
    own = [folder / MANIFEST for folder in reversed(_users()) if (folder / MANIFEST).is_file()]
    return {name: entry for path in (Path(__file__).with_name(MANIFEST), *own) for name, entry in _read(path).items()}


def path(name: str) -> Path:
    """Verified file of weights on this machine; hashed once, then only when it has changed.

    Raises UnknownNameError, or UnavailableError that says what to run.
    """
    entry = _entry(name)
    wrong = []
    for candidate in _present(entry):
        digest = file_digest(candidate)
        if digest == entry.sha256:
            return candidate
        wrong.append(f"{candidate} has SHA-256 {digest}, expected {entry.sha256}: cut short, or another file")
    raise UnavailableError(_how_to_get(entry, wrong))


def available(name: str) -> None:
    """Raise UnavailableError, saying what to run, unless a file of the right name and size is here; reads none."""
    entry = _entry(name)
    wrong = []
    for candidate in _present(entry):
        size = candidate.stat().st_size
        if size == entry.bytes:
            return
        wrong.append(f"{candidate} has {size} bytes, expected {entry.bytes}: cut short, or another file")
    raise UnavailableError(_how_to_get(entry, wrong))


def sha256(name: str) -> str:
    """SHA-256 (hex) that the file must have; needs no file."""
    return _entry(name).sha256


def load(name: str) -> dict[str, torch.Tensor]:
    """State dict of verified weights on the CPU. Raises as ``path`` and ``read_tensors`` do."""
    return read_tensors(path(name))


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a safetensors, npz or torch file, without executing anything it holds.

    Raises UnavailableError for a file that would have to be executed, is damaged, or holds anything but tensors.
    """
    try:
        tensors = _read_any(file)
    except Exception as error:  # unpicklers and archive readers raise anything for hostile files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnavailableError(f"{file}: holds no plain tensors ({reason}); put the published file there") from None
    return tensors


def folders() -> list[Path]:
    """Folders searched for weights, in order: VCBENCH_WEIGHTS, the cache, torch's own cache."""
    return [*_users(), own_folder(), _torch_cache()]


def own_folder() -> Path:
    """Folder that vcbench downloads weights to."""
    return cache_folder() / "weights"


def _users() -> list[Path]:
    return [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]


def _torch_cache() -> Path:
    """Folder that torch.hub downloads to; said here so that finding a file needs no torch."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _present(entry: Entry) -> Iterator[Path]:
    return (folder / entry.file for folder in folders() if (folder / entry.file).is_file())


def _entry(name: str) -> Entry:
    entries = manifest()
    if name not in entries:
        raise UnknownNameError("weights", name, entries)
    return entries[name]


@cache
def _read(file: Path) -> Mapping[str, Entry]:
    try:
        entries = _File.model_validate(read_toml(file, ManifestError)).weights
    except ValidationError as error:
        raise ManifestError(f"{file}:\n  {explain(error)}") from None
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ManifestError(f"{file}: name {twice[0]!r} stands there twice; each must be its own")
    return dict(zip(names, entries, strict=True))


def _how_to_get(entry: Entry, wrong: list[str]) -> str:
    """What to run or to do for weights that are not here or are not the right ones."""
    state = "; ".join(wrong) or "not on this machine"
    if entry.url is None:
        return f"weights {entry.name}: {state}; put {entry.file} into a folder named in {ENVIRONMENT} ({entry.made})"
    return f"weights {entry.name}: {state}; run: vcbench fetch weights {entry.name}"


def _read_any(file: Path) -> dict[str, torch.Tensor]:
    import torch

    state: Any
    if file.suffix == ".npz":
        import numpy as np

        with np.load(file, allow_pickle=False) as arrays:
            state = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    elif file.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(file)
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise TypeError("not a dictionary of tensors")
    return dict(state)
