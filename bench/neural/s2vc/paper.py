"""S2VC at the paper's scale: the same networks around a user's own Stable Diffusion 1.5, learned through LoRA.

Known from the paper: the diffusion model is kept and learns through LoRA adapters of rank 64 and alpha 8, separate for
I and P frames. The widths of the codec are inferred, after the real-time codec it builds on (DCVC-RT).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.digests import file_digest
from bench.errors import UnavailableError
from bench.neural.backbones import add_lora, from_folder
from bench.neural.s2vc.model import S2vc, S2vcConfig
from bench.neural.training import Stage

BACKBONE = "VCBENCH_SD15"
NETWORKS = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
LORA_RANK, LORA_ALPHA = 64, 8
VAE_STRIDE = 8


def folder(given: Path | None) -> Path:
    """The folder with the user's networks, given or named by VCBENCH_SD15; UnavailableError where neither is."""
    named = given or (Path(os.environ[BACKBONE]) if os.environ.get(BACKBONE) else None)
    if named is None:
        raise UnavailableError(
            "the paper's scale is built on Stable Diffusion 1.5, which is not part of vcbench: name a folder saved by "
            f"diffusers' save_pretrained, with unet/ and vae/ in it, by --backbone or {BACKBONE}"
        )
    return named


def check(given: Path | None) -> None:
    """Raise UnavailableError, naming the folder, unless it holds both networks, of their classes and fitting sizes."""
    where = folder(given)
    for part, kind in NETWORKS.items():
        found = _described(where, part).get("_class_name")
        if found != kind:
            raise UnavailableError(f"{where / part}: holds a {found}, S2VC takes a {kind}")
        if not any((where / part).glob("*.safetensors")):
            raise UnavailableError(f"{where / part}: has no *.safetensors; save the network with safe_serialization")
    channels = {
        part: _described(where, part).get(key) for part, key in (("unet", "in_channels"), ("vae", "latent_channels"))
    }
    if channels["unet"] != channels["vae"]:
        raise UnavailableError(
            f"{where}: the latents of vae/ have {channels['vae']} channels, unet/ takes {channels['unet']}; "
            "name a folder whose networks belong together"
        )
    stride = 2 ** (len(_described(where, "vae").get("block_out_channels", ())) - 1)
    if stride != VAE_STRIDE:
        raise UnavailableError(f"{where / 'vae'}: has stride {stride}, S2VC takes {VAE_STRIDE}")


def config(given: Path | None) -> S2vcConfig:
    """The paper's sizes, with those that the user's networks decide."""
    where = folder(given)
    unet, vae = _described(where, "unet"), _described(where, "vae")
    return S2vcConfig(
        width=256,
        deep=368,
        latent_channels=vae["latent_channels"],
        y_channels=128,
        hyper_channels=128,
        guidance=unet["cross_attention_dim"],
        unet_widths=tuple(unet["block_out_channels"]),
    )


def build(config: S2vcConfig, given: Path | None) -> S2vc:
    """The model around a user's networks: theirs are frozen, adapters and all new parts learn."""
    check(given)
    where = folder(given)
    networks = {part: from_folder(kind, where, part) for part, kind in NETWORKS.items()}
    add_lora(networks["unet"], LORA_RANK, LORA_ALPHA)
    return S2vc(config, networks["vae"].requires_grad_(False), networks["unet"])


def stages() -> list[Stage]:
    """Stages of the paper's scale, of which it tells the growing sequence length; steps and rates are inferred."""
    return [
        Stage("intra", 60000, 1e-4, 8, 256, 1, {"latent": 0.1}),
        Stage("inter", 60000, 1e-4, 8, 256, 2),
        Stage("cascade-4", 30000, 5e-5, 4, 256, 4),
        Stage("cascade-7", 10000, 1e-5, 2, 256, 7, {"flow": True}),
    ]


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
