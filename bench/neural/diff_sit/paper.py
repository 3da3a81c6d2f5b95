"""Diff-SIT at the paper's scale: the same sparse temporal encoder, larger, and a user's own Wan 2.1 as the generator.

Known from the paper: the autoencoder's decoder is frozen; its encoder, the transformer and f_type learn.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from bench.digests import file_digest
from bench.errors import UnavailableError
from bench.neural.backbones import from_folder
from bench.neural.diff_sit.config import DiffSitConfig
from bench.neural.diff_sit.model import DiffSit
from bench.neural.diff_sit.odfte import Odfte, VideoAutoencoder

BACKBONE = "VCBENCH_WAN21"
NETWORKS = {"vae": "AutoencoderKLWan", "transformer": "WanTransformer3DModel"}

SIZES = DiffSitConfig(width=128, deep=192, y_channels=128, hyper_channels=64, flow_width=48, motion_width=96)
"""Of the sparse temporal encoder, inferred; those of the generator are its folder's."""


def folder(given: Path | None) -> Path:
    """The folder with the user's networks, given or named by VCBENCH_WAN21; UnavailableError where neither is."""
    named = given or (Path(os.environ[BACKBONE]) if os.environ.get(BACKBONE) else None)
    if named is None:
        raise UnavailableError(
            "the paper's scale is built on Wan 2.1, which is not part of vcbench: name a folder in diffusers' layout "
            f"(Wan2.1-T2V-1.3B-Diffusers), with vae/ and transformer/ in it, by --backbone or {BACKBONE}"
        )
    return named


def check(given: Path | None) -> None:
    """Raise UnavailableError, naming the folder, unless it holds both networks, of their classes and fitting sizes."""
    where = folder(given)
    for part, kind in NETWORKS.items():
        found = _described(where, part).get("_class_name")
        if found != kind:
            raise UnavailableError(f"{where / part}: holds a {found}, Diff-SIT takes a {kind}")
        if not any((where / part).glob("*.safetensors")):
            raise UnavailableError(f"{where / part}: has no *.safetensors; save the network with safe_serialization")
    channels = _described(where, "vae").get("z_dim"), _described(where, "transformer").get("in_channels")
    if channels[0] != channels[1]:
        raise UnavailableError(
            f"{where}: the latents of vae/ have {channels[0]} channels, transformer/ takes {channels[1]}; "
            "name a folder whose networks belong together"
        )


def build(config: DiffSitConfig, given: Path | None) -> DiffSit:
    """The codec around a user's networks; their decoder stays as it is."""
    check(given)
    where = folder(given)
    networks: dict[str, Any] = {part: from_folder(kind, where, part) for part, kind in NETWORKS.items()}
    vae = networks["vae"]
    for kept in (vae.decoder, vae.post_quant_conv):
        kept.requires_grad_(False)
    odfte = Odfte(VideoAutoencoder(vae), networks["transformer"], sigma=config.sigma, frame_types=config.frame_types)
    for buffer, values in ((odfte.mean, vae.config.latents_mean), (odfte.deviation, vae.config.latents_std)):
        buffer.copy_(torch.tensor(values)[None, :, None, None, None])
    return DiffSit(config, odfte)


def backbone_digests(given: Path | None) -> dict[str, str]:
    """SHA-256 of the user's files of weights by name, so that a result tells what it was made with."""
    where = folder(given)
    files = sorted(file for part in NETWORKS for file in (where / part).glob("*.safetensors"))
    return {str(file.relative_to(where)): file_digest(file) for file in files}


def _described(where: Path, part: str) -> dict[str, Any]:
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
