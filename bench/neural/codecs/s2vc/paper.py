"""S2VC at the paper's scale: the same networks around a user's own Stable Diffusion 1.5, learned through LoRA.

Known from the paper: the diffusion model is kept and learns through LoRA adapters of rank 64 and alpha 8, separate for
I and P frames. The widths of the codec are inferred, after the real-time codec it builds on (DCVC-RT).
"""

from __future__ import annotations

from pathlib import Path

from bench.errors import UnavailableError
from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig
from bench.neural.networks.backbones import add_lora
from bench.neural.networks.local_networks import LocalNetworks, described, require_same_latents
from bench.neural.training.loop import Stage

STABLE_DIFFUSION = LocalNetworks(
    "S2VC",
    "Stable Diffusion 1.5",
    "saved by diffusers' save_pretrained",
    "VCBENCH_SD15",
    {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
)
LORA_RANK, LORA_ALPHA = 64, 8
VAE_STRIDE = 8


def check(given: Path | None) -> None:
    """Raise UnavailableError, naming the folder, unless it holds both networks, of their classes and fitting sizes."""
    where = STABLE_DIFFUSION.check(given)
    taken = described(where, "unet").get("in_channels")
    require_same_latents(where, described(where, "vae").get("latent_channels"), "unet", taken)
    stride = 2 ** (len(described(where, "vae").get("block_out_channels", ())) - 1)
    if stride != VAE_STRIDE:
        raise UnavailableError(f"{where / 'vae'}: has stride {stride}, S2VC takes {VAE_STRIDE}")


def config(given: Path | None) -> S2vcConfig:
    """The paper's sizes, with those that the user's networks decide."""
    where = STABLE_DIFFUSION.folder(given)
    unet, vae = described(where, "unet"), described(where, "vae")
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
    networks = STABLE_DIFFUSION.load(given)
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
