"""ActDiff-VC as its authors publish it (importAmir/ActDiff-VC, TMLR 2026), in a user's checkout.

Encoding is upstream's one command, with its bitstream kept; decoding calls upstream's decoder on those files alone.
Everything is coded at 480 x 720, the size of its generator, whatever the source's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.adapters.base import EncodeInfo, RatePoint
from bench.adapters.official.checkout import CheckoutCodec, CheckoutSettings
from bench.adapters.worker import Pixels
from bench.errors import EncodeError, UnavailableError
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence

_KEYFRAME_WEIGHTS = {
    "hific-low": ("hific/hific_low.pt", "download-hific-checkpoints"),
    "hific-med": ("hific/hific_med.pt", "download-hific-checkpoints"),
    "hific-high": ("hific/hific_hi.pt", "download-hific-checkpoints"),
    "mlic": ("mlic/mlicpp_mse_q5_2960000.pth.tar", "download-mlic-checkpoint"),
}

_WEIGHTS = {
    "transformer_config": ("Diffusion-As-Shader/transformer/config.json", "download-das-checkpoint"),
    "tracker": ("alltracker/alltracker.pth", "download-alltracker-checkpoint"),
    "edges": ("hed/network-bsds500.pth", "download-hed-checkpoint"),
    "i3d": ("i3d/i3d_pretrained_400.pt", "download-i3d-weights"),
}

SUBMODULES = ("DiffusionAsShader", "alltracker", "HiFiC")


class ActDiffSettings(CheckoutSettings):
    """The ``settings`` table of a card with adapter = "actdiff-official"."""

    keyframe_codec: Literal["hific-low", "hific-med", "hific-high", "mlic"] = "hific-low"
    num_trajectories: int = Field(default=300, ge=1, description="budget of trajectories for each segment")
    diffusion_steps: int = Field(default=20, ge=1, description="denoising steps of the decoder")


class ActDiffOfficialCodec(CheckoutCodec):
    """Rate points by the longest segment in frames: shorter ones mean more keyframes and a higher rate."""

    settings_model = ActDiffSettings
    settings: ActDiffSettings

    variable = "VCBENCH_ACTDIFF_VC"
    repository = "git clone https://github.com/importAmir/ActDiff-VC, then pixi run import in it"
    entry = "run_compression.py"
    sources = ("*.py", "actdiff/**/*.py", "pixi.toml")
    packages = ("torch", "diffusers", "transformers", "lpips", "opencv-python")
    requirements = "pixi install makes .pixi/envs/default/bin/python in the checkout"
    worker_file = "actdiff_official.py"

    def check_built(self) -> None:
        missing = [name for name in SUBMODULES if not any((self.checkout / "third_party" / name).glob("*"))]
        if missing:
            raise UnavailableError(f"{self.checkout}/third_party: {', '.join(missing)} missing: pixi run import there")

    def model_files(self) -> dict[str, Path]:
        wanted = {**_WEIGHTS, "keyframes": _KEYFRAME_WEIGHTS[self.settings.keyframe_codec]}
        files = {
            name: self.weights(None, f"checkpoints/{inner}", f"pixi run {task} in {self.checkout} gets it")
            for name, (inner, task) in wanted.items()
        }
        generator = self.checkout / "checkpoints" / "Diffusion-As-Shader"
        parts = sorted([*generator.glob("transformer/*.safetensors"), *generator.glob("vae/*.safetensors")])
        return files | {str(path.relative_to(generator)): path for path in parts}

    def pixels(self, coded: VideoFormat) -> Pixels:
        return "rgb"

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        if source.frames < 2:
            raise EncodeError("frames", f"{self.card.name}: codes between two keyframes; one frame is too few")
        return super().encode(source, rate, bitstream)
