"""The DCVC family as its authors publish it (microsoft/DCVC), and codecs that others built on it, in users' checkouts.

Bitstreams are those that upstream's test scripts write. Sources in 4:4:4 are coded as upstream codes PNG pictures;
4:2:0 as upstream codes yuv420 where it does, else as RGB pictures of 8 bit made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bench.adapters.official.checkout import CheckoutCodec, CheckoutSettings
from bench.adapters.worker import Pixels, whole_bits
from bench.errors import CardError, UnavailableError
from bench.video.formats import VideoFormat

_DCVC = "git clone https://github.com/microsoft/DCVC"
_PROMPTS = ("prompt_embeds", "prompt_attention_mask")
_BUILD = "mkdir src/build && cd src/build && cmake ../cpp -DCMAKE_BUILD_TYPE=Release && make"


class DcvcSettings(CheckoutSettings):
    """The ``settings`` table of a card of the family."""

    intra_period: Literal[-1] | Annotated[int, Field(ge=1)] = Field(
        default=-1, description="-1: one I frame; otherwise frames from one I frame to the next"
    )
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads; upstream's test uses 1, and they may matter")


class RefreshSettings(DcvcSettings):
    """Of models that forget what they learned of earlier frames from time to time."""

    reset_interval: int = Field(
        default=32, ge=0, description="frames from one refresh of the reference features to the next"
    )


class DcvcFmSettings(RefreshSettings):
    """The ``settings`` table of a card with adapter = "dcvc-fm"."""

    rate_gop_size: Literal[4, 8] = Field(default=8, description="period of the hierarchical quality")


class DcvcRtSettings(RefreshSettings):
    """The ``settings`` table of a card with adapter = "dcvc-rt"."""

    reset_interval: int = Field(default=64, ge=0, description="frames from one refresh of the feature to the next")
    skip_threshold: float = Field(default=0.12, ge=0, description="symbols of a smaller scale are not sent")


class DcvcUfSettings(RefreshSettings):
    """The ``settings`` table of a card with adapter = "dcvc-uf"."""

    reset_interval: int = Field(default=128, ge=0, description="frames from one refresh of the memory to the next")
    skip_threshold: float = Field(default=0.15, ge=0, description="symbols of a smaller scale are not sent")
    structure: Literal["htl", "hts", "ld"] = Field(default="hts", description="upstream's --model_structure")


class DcvcDcSettings(DcvcSettings):
    """The ``settings`` table of a card with adapter = "dcvc-dc"."""

    trained_for: Literal["yuv420", "rgb"] = Field(default="yuv420", description="colour of the checkpoints")


class DcvcCodec(CheckoutCodec):
    """Base of the family: networks of I and P frames, each from a checkpoint; rate points by upstream's q index."""

    settings_model = DcvcSettings
    settings: DcvcSettings

    model: ClassVar[str]
    """Name of the worker's class."""

    checkpoints: ClassVar[tuple[str, str]]
    """Where the checkout has those of I and P frames, as its authors say."""

    get_weights: ClassVar[str]
    """How to come by them."""

    coder: ClassVar[str | None] = "src/models"
    """Folder of the checkout that the built entropy coder lies in; None where it is a package of the interpreter."""

    always_rgb: ClassVar[bool] = False
    """Whether 4:2:0 is coded as RGB pictures too."""

    repository = f"{_DCVC}, then the folder of the codec in DCVC-family"
    entry = "src/models/video_model.py"
    sources = ("src/**/*.py", "src/**/*.so")
    packages: ClassVar[tuple[str, ...]] = ("torch", "numpy", "scipy")
    requirements = "an environment with the requirements.txt of the checkout"
    worker_file = "dcvc.py"

    def check_built(self) -> None:
        if self.coder is not None and not list((self.checkout / self.coder).glob("MLCodec_rans*")):
            raise UnavailableError(
                f"{self.checkout}/{self.coder}: its entropy coder is not built; do so there, for {self.interpreter}: "
                f"{_BUILD}"
            )

    def model_files(self) -> dict[str, Path]:
        return {
            kind: self.weights(f"{self.variable}_{kind.upper()}", place, self.get_weights)
            for kind, place in zip(("image", "video"), self.checkpoints, strict=True)
        }

    def worker_settings(self) -> dict[str, Any]:
        return {**super().worker_settings(), "model": self.model}

    def pixels(self, coded: VideoFormat) -> Pixels:
        return "rgb" if self.always_rgb or coded.chroma == "444" else "planar"


class DcvcFmCodec(DcvcCodec):
    """DCVC-FM (Li, Li, Lu, CVPR 2024)."""

    settings_model = DcvcFmSettings
    settings: DcvcFmSettings

    model = "fm"
    variable = "VCBENCH_DCVC_FM"
    repository = f"{_DCVC}, then its folder DCVC-family/DCVC-FM"
    checkpoints = ("checkpoints/cvpr2024_image.pth.tar", "checkpoints/cvpr2024_video.pth.tar")
    get_weights = "python download.py in the folder checkpoints of the checkout gets it"


class DcvcRtCodec(DcvcCodec):
    """DCVC-RT (Jia et al., CVPR 2025)."""

    settings_model = DcvcRtSettings
    settings: DcvcRtSettings

    model = "rt"
    variable = "VCBENCH_DCVC_RT"
    repository = f"{_DCVC}, then its folder DCVC-family/DCVC-RT"
    checkpoints = ("checkpoints/cvpr2025_image.pth.tar", "checkpoints/cvpr2025_video.pth.tar")
    get_weights = "its README links to it"
    packages = ("torch", "numpy", "scipy", "MLCodec_extensions_cpp")
    requirements = "an environment with its requirements.txt and, by pip install . there, its folder src/cpp"
    coder = None


class DcvcUfCodec(DcvcCodec):
    """DCVC-UF (CVPR 2026): frames in groups of 8, on an NVIDIA GPU alone."""

    settings_model = DcvcUfSettings
    settings: DcvcUfSettings

    model = "uf"
    variable = "VCBENCH_DCVC_UF"
    repository = f"{_DCVC}, the folder itself"
    entry = "src/models/video_model_ht.py"
    get_weights = "its README links to it"
    packages = ("torch", "numpy", "scipy", "MLCodec_extensions_cpp", "inference_extensions_cuda")
    requirements = (
        "an environment with its requirements.txt and, by install.sh in each, its folders src/cpp and "
        "src/layers/extensions/inference"
    )
    coder = None

    @property
    def checkpoints(self) -> tuple[str, str]:  # type: ignore[override]
        """One of I frames, and one of the structure."""
        return "checkpoints/cvpr2026_image.pth.tar", f"checkpoints/cvpr2026_video_{self.settings.structure}.pth.tar"

    def check(self) -> None:
        period = self.settings.intra_period
        if self.settings.structure != "ld" and period > 1 and period % 8:
            raise CardError(
                f"card {self.card.name}: settings.intra_period: {period} is no multiple of 8, the frames that "
                "are coded together"
            )
        super().check()


class DcvcDcCodec(DcvcCodec):
    """DCVC-DC (Li, Li, Lu, CVPR 2023), with checkpoints for 4:2:0 and others for RGB."""

    settings_model = DcvcDcSettings
    settings: DcvcDcSettings

    model = "dc"
    variable = "VCBENCH_DCVC_DC"
    repository = f"{_DCVC}, then its folder DCVC-family/DCVC-DC"
    get_weights = "python download.py in the folder checkpoints of the checkout gets it"

    @property
    def checkpoints(self) -> tuple[str, str]:  # type: ignore[override]
        """Those of the colour that is coded."""
        kind = "yuv420_psnr" if self.settings.trained_for == "yuv420" else "psnr"
        return f"checkpoints/cvpr2023_image_{kind}.pth.tar", f"checkpoints/cvpr2023_video_{kind}.pth.tar"

    def pixels(self, coded: VideoFormat) -> Pixels:
        return "planar" if self.settings.trained_for == "yuv420" else "rgb"


class DcvcHemCodec(DcvcCodec):
    """DCVC-HEM (Li, Li, Lu, ACM MM 2022), which codes RGB."""

    model = "hem"
    variable = "VCBENCH_DCVC_HEM"
    repository = f"{_DCVC}, then its folder DCVC-family/DCVC-HEM"
    checkpoints = ("checkpoints/acmmm2022_image_psnr.pth.tar", "checkpoints/acmmm2022_video_psnr.pth.tar")
    get_weights = "python download.py in the folder checkpoints of the checkout gets it"
    coder = "src/entropy_models"
    always_rgb = True


class EhvcCodec(DcvcCodec):
    """EHVC, the codec of NEVC-1.0 (Liao et al., ACM MM 2025), which codes RGB."""

    settings_model = RefreshSettings
    settings: RefreshSettings

    model = "ehvc"
    variable = "VCBENCH_EHVC"
    repository = "git clone https://github.com/bytedance/NEVC, then its folder NEVC-1.0-EHVC"
    checkpoints = ("checkpoints/EHVC_intra_model.pth", "checkpoints/EHVC_inter_model.pth.tar")
    get_weights = "its README links to it"
    always_rgb = True


class SevcCodec(DcvcCodec):
    """SEVC (Bian et al., CVPR 2025), which codes RGB in two layers."""

    settings_model = RefreshSettings
    settings: RefreshSettings

    model = "sevc"
    variable = "VCBENCH_SEVC"
    repository = "git clone https://github.com/EsakaK/SEVC"
    entry = "src/models/SEVC_main_model.py"
    packages = ("torch", "numpy", "pillow", "timm")
    requirements = "an environment as its README says, with timm and Pillow"
    checkpoints = ("ckpt/cvpr2023_i_frame.pth.tar", "ckpt/cvpr2025_p_frame.pth.tar")
    get_weights = "its README links to it"
    # where its networks import it from; its build puts it into src/models
    coder = "src/entropy_models"
    always_rgb = True

    def check_built(self) -> None:
        try:
            super().check_built()
        except UnavailableError as error:
            raise UnavailableError(f"{error}, then cp src/models/MLCodec_* {self.coder}/") from None


class GlcVideoCodec(DcvcCodec):
    """GLC-Video (Qi et al., TCSVT 2025), which codes RGB, and estimates its bits."""

    settings_model = RefreshSettings
    settings: RefreshSettings

    model = "glc"
    variable = "VCBENCH_GLC"
    repository = "git clone https://github.com/jzyustc/GLC"
    packages = ("torch", "torchvision", "numpy", "scipy", "einops")
    checkpoints = ("checkpoints/GLC_image.pth.tar", "checkpoints/GLC_video.pth.tar")
    get_weights = "the releases of the repository have it"
    coder = None
    always_rgb = True

    def reported(self, reply: dict[str, Any], payload_bits: int) -> int:
        return whole_bits(self.card.name, reply)


class YodaSettings(RefreshSettings):
    """The ``settings`` table of a card with adapter = "yoda"."""

    reset_interval: int = Field(default=1000, ge=0, description="frames from one refresh of the latents to the next")


class YodaCodec(DcvcCodec):
    """YODA (Li et al., TCSVT 2026), which codes RGB, each rate by a pair of checkpoints, on an NVIDIA GPU."""

    settings_model = YodaSettings
    settings: YodaSettings

    model = "yoda"
    variable = "VCBENCH_YODA"
    repository = "git clone https://github.com/NJUVISION/YODA"
    entry = "src/YODA.py"
    packages = ("torch", "numpy", "scipy", "diffusers", "peft", "MLCodec_extensions_cpp")
    requirements = "an environment with its requirements.txt and, by pip install there, its folder src/cpp"
    checkpoints = ("ckpts/yoda_intra.pth", "ckpts/yoda_video.pth")
    get_weights = "its README links to it"
    coder = None
    always_rgb = True

    def model_files(self) -> dict[str, Path]:
        prompts = {name: self.weights(None, f"ckpts/{name}.pt", self.get_weights) for name in _PROMPTS}
        sana = self._sana
        parts = [path for kind in ("json", "safetensors") for path in sorted(sana.glob(f"*/*.{kind}"))]
        return {**super().model_files(), **prompts, **{str(path.relative_to(sana)): path for path in parts}}

    def worker_settings(self) -> dict[str, Any]:
        return {**super().worker_settings(), "sana": str(self._sana)}

    @property
    def _sana(self) -> Path:
        """Folder of the diffusion model."""
        return self.weights(None, "ckpts/sana-sprint/transformer/config.json", self.get_weights).parents[1]
