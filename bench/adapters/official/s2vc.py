"""S2VC as its authors publish it (onedc-codec/s2vc_official, CVPR 2026), in a user's checkout.

The published code writes no bitstream: it gives the pictures that it decoded and, in their names, each one's bits a
pixel, of which those of the I frame are an estimate. So is the rate here; docs/codecs/s2vc-official.md tells how what
upstream leaves out of it is put back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from bench.adapters.base import EncodeInfo, RatePoint
from bench.adapters.official.checkout import CheckoutCodec, CheckoutSettings
from bench.adapters.worker import Pixels, whole_bits
from bench.errors import EncodeError, UnavailableError
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence

PAIRS = {0.2: 1.8, 0.4: 1.8, 0.6: 1.8, 1.2: 2.9, 1.8: 2.9, 2.6: 4.6, 3.7: 7.4, 5.2: 12.2}
"""Lambda of the I-frame codec that upstream's README pairs with each lambda of the video codec."""

_RELEASE = "the OneDrive release that its README links to, unzipped in runs/"
_VAE = "runs/SD_ckpts/stable-diffusion-2-1/vae/diffusion_pytorch_model.safetensors"


class S2vcSettings(CheckoutSettings):
    """The ``settings`` table of a card with adapter = "s2vc-official"."""

    n_reset: int = Field(default=32, ge=1, description="P frames until the reference is the I frame again")


class S2vcOfficialCodec(CheckoutCodec):
    """Rate points by lambda (a higher one is a lower rate); those run whose two checkpoints are here."""

    settings_model = S2vcSettings
    settings: S2vcSettings

    variable = "VCBENCH_S2VC"
    repository = "git clone https://github.com/onedc-codec/s2vc_official"
    entry = "src/inference.py"
    sources = ("src/**/*.py", "src/**/*.so", "configs/*.yaml")
    packages = ("torch", "torchvision", "diffusers", "transformers", "peft", "omegaconf", "pillow")
    requirements = "an environment with torch, its requirements.txt and its src/cpp installed, as its README says"
    worker_file = "s2vc_official.py"

    def model_files(self) -> dict[str, Path]:
        files = {"vae": self.weights(None, _VAE, f"get SD_ckpts.zip of {_RELEASE}")}
        for value in PAIRS:
            files |= {name: path for name, path in self._pair(value).items() if self._is_here(value)}
        if len(files) == 1:
            raise UnavailableError(
                f"{self.checkout}/runs: holds no I and P checkpoints of one rate point; get them from {_RELEASE}"
            )
        return files

    def worker_settings(self) -> dict[str, Any]:
        pairs = {f"{value:g}": list(map(str, self._pair(value).values())) for value in PAIRS if self._is_here(value)}
        return {**super().worker_settings(), "pairs": pairs}

    def pixels(self, coded: VideoFormat) -> Pixels:
        return "rgb"

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        if rate.value not in PAIRS:
            known = ", ".join(f"{value:g}" for value in PAIRS)
            raise EncodeError("rate", f"{self.card.name}: there are no weights for lambda {rate.value:g}, only {known}")
        if not self._is_here(rate.value):
            missing = ", ".join(str(path) for path in self._pair(rate.value).values() if not path.is_file())
            raise EncodeError("weights", f"{self.card.name}: {missing}: not here; get them from {_RELEASE}")
        return super().encode(source, rate, bitstream)

    def reported(self, reply: dict[str, Any], payload_bits: int) -> int:
        return whole_bits(self.card.name, reply)

    def _pair(self, value: float) -> dict[str, Path]:
        runs = self.checkout / "runs"
        video = runs / "P_ckpts" / f"lmbda{value:g}"
        return {
            f"i_{PAIRS[value]:g}": runs / "I_ckpts" / f"onedc_lmbda{PAIRS[value]:g}" / "model_1.safetensors",
            f"p_{value:g}_unet": video / "model.safetensors",
            f"p_{value:g}_codec": video / "model_1.safetensors",
        }

    def _is_here(self, value: float) -> bool:
        return all(path.is_file() for path in self._pair(value).values())
