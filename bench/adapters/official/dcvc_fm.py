"""DCVC-FM as its authors publish it (microsoft/DCVC, DCVC-family/DCVC-FM, CVPR 2024), in a user's checkout.

Bitstreams are those of upstream's ``write_stream``. Sources in 4:2:0 are coded as upstream codes yuv420, sources in
4:4:4 as upstream codes PNG pictures: RGB through full-range BT.709.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bench.adapters.official.checkout import CheckoutCodec, CheckoutSettings
from bench.adapters.worker import Pixels
from bench.errors import UnavailableError
from bench.video.formats import VideoFormat

_GET_WEIGHTS = "python download.py in the folder checkpoints of the checkout gets it"


class DcvcFmSettings(CheckoutSettings):
    """The ``settings`` table of a card with adapter = "dcvc-fm"."""

    intra_period: Literal[-1] | Annotated[int, Field(ge=1)] = Field(
        default=-1, description="-1: one I frame; otherwise frames from one I frame to the next"
    )
    reset_interval: int = Field(
        default=32, ge=0, description="frames from one refresh of the reference features to the next"
    )
    rate_gop_size: Literal[4, 8] = Field(default=8, description="period of the hierarchical quality")
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads; upstream's test uses 1, and they may matter")


class DcvcFmCodec(CheckoutCodec):
    """Both networks from their checkpoints; rate points by upstream's q index, the same for I and P frames."""

    settings_model = DcvcFmSettings
    settings: DcvcFmSettings

    variable = "VCBENCH_DCVC_FM"
    repository = "git clone https://github.com/microsoft/DCVC, then its folder DCVC-family/DCVC-FM"
    entry = "src/models/video_model.py"
    sources = ("src/models/*.py", "src/models/*.so", "src/utils/*.py", "src/transforms/*.py")
    packages = ("torch", "numpy", "scipy")
    requirements = "an environment with the requirements.txt of DCVC-FM"
    worker_file = "dcvc_fm.py"

    def check_built(self) -> None:
        if not list((self.checkout / "src/models").glob("MLCodec_rans*")):
            raise UnavailableError(
                f"{self.checkout}: its entropy coder is not built; do so there, for {self.interpreter}: "
                "mkdir src/build && cd src/build && cmake ../cpp -DCMAKE_BUILD_TYPE=Release && make"
            )

    def model_files(self) -> dict[str, Path]:
        return {
            "image": self.weights("VCBENCH_DCVC_FM_IMAGE", "checkpoints/cvpr2024_image.pth.tar", _GET_WEIGHTS),
            "video": self.weights("VCBENCH_DCVC_FM_VIDEO", "checkpoints/cvpr2024_video.pth.tar", _GET_WEIGHTS),
        }

    def worker_settings(self) -> dict[str, Any]:
        own = self.settings.model_dump(include={"intra_period", "reset_interval", "rate_gop_size", "threads"})
        return {**super().worker_settings(), **own}

    def pixels(self, coded: VideoFormat) -> Pixels:
        return "rgb" if coded.chroma == "444" else "planar"
