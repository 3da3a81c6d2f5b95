"""Weight files of our own codecs: everything that coding needs, in one safetensors file.

Tensors are float16, the CDF tables int32: encoder and decoder code with the tables as they were stored, so that no
arithmetic of their machine enters. The file's only metadata entry, "vcbench", is JSON: the version of this layout, the
codec, its configuration and scale (always "small"). Nothing in such a file is executed.

Names: the tensors' own, and "tables/<coder>/hyper" and "tables/<coder>/gaussian" for each `LatentCoder`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.bitstream.container import DIGEST_BYTES
from bench.bitstream.entropy import Tables
from bench.core.files import canonical_json, hash_file, write_atomically
from bench.errors import UnavailableError, UnknownNameError, UsageError
from bench.neural.coding.latent_coder import LatentCoder
from bench.neural.networks.blocks import channels_together
from bench.neural.own_codecs import Coding, coding
from bench.weights import files as weights

VERSION = 1

_ENTRY = "vcbench"
_TABLES = "tables/"
_PRIOR = ".prior."
"""What the tables of hyper symbols were made of; coding needs it no more."""


@dataclass(frozen=True)
class About:
    """What a weight file holds: codec, settings of its networks, scale, version of the layout."""

    codec: str
    config: Mapping[str, Any]
    scale: str = "small"
    version: int = VERSION


@dataclass(frozen=True)
class Loaded:
    """A codec ready to code: what the file says of it, its networks, and the digest that its streams name."""

    about: About
    model: nn.Module
    digest: bytes

    @property
    def coding(self) -> Coding:
        """The module that runs the networks."""
        return coding(self.about.codec)


def save(path: Path, about: About, model: nn.Module) -> str:
    """Write what coding needs of a trained model; returns the SHA-256 (hex) of the file. Equal models, equal bytes.

    Raises ValueError, naming the tensor, for one that float16 cannot hold.
    """
    from safetensors.torch import save as to_bytes

    chosen = coding(about.codec)
    tensors = {
        name: _half(name, value)
        for name, value in model.state_dict().items()
        if _PRIOR not in name and chosen.is_stored(name)
    }
    for name, coder in coders(model):
        for what, table in zip(("hyper", "gaussian"), coder.tables(), strict=True):
            tensors[f"{_TABLES}{name}/{what}"] = table.to_tensor()
    write_atomically(path, to_bytes(tensors, {_ENTRY: canonical_json(asdict(about))}))
    return hash_file(path)


def load(path: Path) -> Loaded:
    """Read a weight file and build its codec on the CPU, float32, ready to code.

    Raises UnavailableError, naming the file and the remedy, for one that is not there, damaged, not of vcbench, of a
    later vcbench, or of networks that this one does not have.
    """
    tensors, about = _read(path)
    try:
        model = coding(about.codec).build(about.config)
        _fill(model, about, tensors)
    except (UnknownNameError, TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnavailableError(
            f"{path}: does not fit this vcbench's {about.codec}: {reason}; "
            "use the weights that came with it, or the vcbench that wrote them"
        ) from None
    model = channels_together(model.eval().requires_grad_(False))
    return Loaded(about, model, bytes.fromhex(hash_file(path))[:DIGEST_BYTES])


def check_origin(path: Path, codec: str) -> None:
    """UsageError, naming the file, where a training of a codec cannot begin with a weight file; else as `load` does."""
    if (found := read_about(path).codec) != codec:
        raise UsageError(f"{path}: holds weights of {found}, and {codec} is to be trained; name a file of {codec}")


def begin_with(model: nn.Module, path: Path, codec: str) -> dict[str, Tensor]:
    """Put what a weight file holds into a model that is to be trained on; returns the tables of its coders by name.

    What training alone has (the critic, the priors that the tables were made of) stays as it is. Raises as
    `check_origin` does, and UsageError where the networks are of other sizes.
    """
    check_origin(path, codec)
    tensors, about = _read(path)
    try:
        _fill(model, about, tensors, getattr(coding(codec), "begins_as_nothing", None))
    except (ValueError, RuntimeError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[-1].strip()
        raise UsageError(f"{path}: is of another model ({reason}); give the settings it was trained with") from None
    return {name: value for name, value in tensors.items() if name.startswith(_TABLES)}


def use_tables(model: nn.Module, tables: Mapping[str, Tensor]) -> None:
    """Have each coder of a model code with the tables stored under its name; KeyError for one that has none."""
    for name, coder in coders(model):
        coder.use_tables(*(Tables.from_tensor(tensors) for tensors in _tables_of(name, tables)))


def coders(model: nn.Module) -> Iterator[tuple[str, LatentCoder]]:
    """The parts of a model that code, by their names."""
    for name, part in model.named_modules():
        if isinstance(part, LatentCoder):
            yield name, part


def read_about(path: Path) -> About:
    """What a weight file says of itself. Raises as `load` does."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UnavailableError(f"{path}: no such weight file; train one with vcbench train, or put it there")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UnavailableError(f"{path}: is damaged or no safetensors file ({error}); get it again") from None
    try:
        found = json.loads(metadata[_ENTRY])
        version = found["version"]
        if version == VERSION:
            if found["scale"] != About.scale:
                raise UnavailableError(
                    f"{path}: is of scale {found['scale']}, which this vcbench does not have; use the one that wrote it"
                )
            config = {key: tuple(value) if isinstance(value, list) else value for key, value in found["config"].items()}
            return About(str(found["codec"]), config)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UnavailableError(f"{path}: holds no codec of vcbench; name a file that vcbench train wrote") from None
    raise UnavailableError(f"{path}: has layout {version}, this vcbench reads {VERSION}; use the vcbench that wrote it")


def _read(path: Path) -> tuple[dict[str, Tensor], About]:
    from safetensors.torch import load_file

    if path.suffix == ".npz":
        return _published(path)
    about = read_about(path)
    return load_file(path), about


def _published(path: Path) -> tuple[dict[str, Tensor], About]:
    """The weights of others with which the restoration network can begin, as a codec."""
    from bench.neural.codecs.restoration.network import NetworkConfig, from_published

    try:
        return from_published(weights.read_tensors(path)), About("restoration", asdict(NetworkConfig()))
    except (KeyError, IndexError, ValueError) as error:
        raise UnavailableError(f"{path}: holds no network of vcbench ({error}); put the published file there") from None


def _half(name: str, value: Tensor) -> Tensor:
    stored = value.detach().cpu().contiguous()
    if stored.is_floating_point():
        stored = stored.to(torch.float16)
        if not bool(stored.isfinite().all()):
            raise ValueError(f"{name}: has values beyond float16; train on, or with a smaller learning rate")
    return stored


def _fill(
    model: nn.Module,
    about: About,
    tensors: Mapping[str, Tensor],
    added: Callable[[str], bool] | None = None,
) -> None:
    """Put tensors into a model; ValueError, naming one, where others are missing than ``added`` says may be."""
    own = {name: value for name, value in tensors.items() if not name.startswith(_TABLES)}
    missing, unexpected = model.load_state_dict(own, strict=False)
    stored = coding(about.codec).is_stored
    lacking = [
        name for name in missing if _PRIOR not in name and stored(name) and not (added is not None and added(name))
    ]
    if lacking or unexpected:
        raise ValueError(f"tensor {[*lacking, *unexpected][0]} is {'missing' if lacking else 'unknown'}")
    use_tables(model, tensors)


def _tables_of(coder: str, tables: Mapping[str, Tensor]) -> Iterator[Tensor]:
    return (tables[f"{_TABLES}{coder}/{what}"] for what in ("hyper", "gaussian"))
