"""Cool-Chic 5 as its authors publish it (Orange-OpenSource/Cool-Chic), in a user's checkout.

A network is trained on each frame while it is encoded, and its weights are in the bitstream: nothing pretrained is
needed but, for P and B frames, the optical flow that their motion starts from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.adapters.base import EncodeInfo, RatePoint
from bench.adapters.official.checkout import CheckoutCodec, CheckoutSettings
from bench.errors import EncodeError, UnavailableError
from bench.video.sequence import Sequence
from bench.weights import files as weights

MAX_FRAMES = (1 << 12) - 1
MAX_SIDE = (1 << 14) - 1
"""What the fields of upstream's headers hold."""

FLOW = "raft-large"
"""Weights that an encoder of P and B frames needs; a decoder needs none."""


class CoolChicSettings(CheckoutSettings):
    """The ``settings`` table of a card with adapter = "coolchic"."""

    structure: Literal["all-intra", "low-delay", "random-access"] = "all-intra"
    intra_period: int = Field(default=32, ge=2, description="of random access: frames from one I frame to the next")
    decoder: Literal["lop", "mop", "hop", "vhop"] = Field(default="hop", description="upstream's decoder of I frames")
    iterations: int = Field(default=10000, ge=2000, description="training steps of I and P frames")
    debug: bool = Field(default=False, description="upstream's --debug: some 100 steps, to see that all works")


class CoolChicCodec(CheckoutCodec):
    """Rate points by upstream's lambda: a higher one is a lower rate."""

    settings_model = CoolChicSettings
    settings: CoolChicSettings

    variable = "VCBENCH_COOLCHIC"
    repository = "git clone https://github.com/Orange-OpenSource/Cool-Chic"
    entry = "cc_encode.py"
    sources = ("*.py", "coolchic/**/*.py", "coolchic/**/*.npy", "cfg/**/*.cfg")
    packages = ("torch", "torchvision", "numpy", "einops", "fvcore", "ConfigArgParse", "scipy", "constriction")
    requirements = "an environment with its requirements.txt, Python 3.10 or later"
    worker_file = "coolchic_official.py"

    def check_built(self) -> None:
        if not (self.checkout / "cfg/dec/intra").is_dir():
            raise UnavailableError(
                f"{self.checkout}: has no cfg/dec/intra, as releases before 5.0 have none; check out v5.0 or later"
            )

    def model_files(self) -> dict[str, Path]:
        return {} if self.settings.structure == "all-intra" else {"flow": weights.path(FLOW)}

    def seen(self) -> tuple[Path, ...]:
        return (*super().seen(), *self.model_files().values())

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        longest = max(source.format.width, source.format.height)
        if source.frames > MAX_FRAMES or longest > MAX_SIDE:
            raise EncodeError(
                "too_large",
                f"{self.card.name}: its stream holds up to {MAX_FRAMES} frames of up to {MAX_SIDE} samples a side, the "
                f"sequence has {source.frames} of {source.format.width}x{source.format.height}",
            )
        return super().encode(source, rate, bitstream)
