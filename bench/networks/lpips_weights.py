"""Which weights LPIPS is made of: a backbone's, and the heads that the package ``lpips`` brings along."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.core.files import file_digest
from bench.core.require import PERCEPTUAL, how_to_install, require
from bench.errors import UnavailableError
from bench.weights import files as weights

HEADS = "v0.1"
BACKBONES = {"alex": "alexnet", "vgg": "vgg16"}


def check(net: str) -> None:
    """Raise UnavailableError, saying what to do, unless LPIPS with the network "alex" or "vgg" can run here."""
    require("torch", "lpips", extra=PERCEPTUAL)
    weights.available(BACKBONES[net])
    heads_file(net)


def identity(net: str) -> dict[str, Any]:
    """SHA-256 of the weights; raises UnavailableError without the package."""
    return {"backbone": weights.sha256(BACKBONES[net]), "heads": file_digest(heads_file(net))}


def heads_file(net: str) -> Path:
    """File of the package with the heads of a network."""
    package = find_spec("lpips")
    for folder in (package.submodule_search_locations or ()) if package else ():
        file = Path(folder, "weights", HEADS, f"{net}.pth")
        if file.is_file():
            return file
    raise UnavailableError(
        f"lpips is not installed, or lacks its weights/{HEADS}/{net}.pth: {how_to_install(PERCEPTUAL)}"
    )
