"""Networks that a user has in a folder of their own, as diffusers' save_pretrained stores them; never downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.files import file_digest
from bench.errors import UnavailableError
from bench.neural.networks.backbones import from_folder


@dataclass(frozen=True)
class LocalNetworks:
    """What a codec at the paper's scale is built on: subfolders of one folder, and the class of diffusers in each.

    ``codec`` and ``model`` are names for messages, ``layout`` says what such a folder is, ``variable`` names it where
    no argument does. All methods raise UnavailableError, naming the folder or file and what to do.
    """

    codec: str
    model: str
    layout: str
    variable: str
    networks: Mapping[str, str]

    def folder(self, given: Path | None) -> Path:
        """The folder given, or named by the environment."""
        named = given or (Path(os.environ[self.variable]) if os.environ.get(self.variable) else None)
        if named is None:
            parts = " and ".join(f"{part}/" for part in self.networks)
            raise UnavailableError(
                f"the paper's scale is built on {self.model}, which is not part of vcbench: name a folder "
                f"{self.layout}, with {parts} in it, by --backbone or {self.variable}"
            )
        return named

    def check(self, given: Path | None) -> Path:
        """The folder, which holds all networks, of their classes, as safetensors; none is loaded."""
        where = self.folder(given)
        for part, kind in self.networks.items():
            found = described(where, part).get("_class_name")
            if found != kind:
                raise UnavailableError(f"{where / part}: holds a {found}, {self.codec} takes a {kind}")
            if not any((where / part).glob("*.safetensors")):
                raise UnavailableError(
                    f"{where / part}: has no *.safetensors; save the network with safe_serialization"
                )
        return where

    def load(self, given: Path | None) -> dict[str, Any]:
        """The networks by subfolder."""
        where = self.folder(given)
        return {part: from_folder(kind, where, part) for part, kind in self.networks.items()}

    def digests(self, given: Path | None) -> dict[str, str]:
        """SHA-256 of the files of weights by name, so that a result tells what it was made with."""
        where = self.folder(given)
        files = sorted(file for part in self.networks for file in (where / part).glob("*.safetensors"))
        return {str(file.relative_to(where)): file_digest(file) for file in files}


def described(where: Path, part: str) -> dict[str, Any]:
    """The config.json of a network in a folder; UnavailableError where it cannot be read."""
    file = where / part / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise UnavailableError(
            f"{file}: is not there; name a folder saved by diffusers' save_pretrained, with {part}/ in it"
        ) from None
    except ValueError as error:
        raise UnavailableError(f"{file}: is damaged ({error})") from None
    return dict(found)


def require_same_latents(where: Path, vae: object, network: str, taken: object) -> None:
    """Raise UnavailableError unless the latents of vae/ have as many channels as another network there takes."""
    if vae != taken:
        raise UnavailableError(
            f"{where}: the latents of vae/ have {vae} channels, {network}/ takes {taken}; "
            "name a folder whose networks belong together"
        )
