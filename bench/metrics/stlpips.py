"""ST-LPIPS, by the networks that the package stlpips-pytorch brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.files import file_digest
from bench.core.require import how_to_install, require
from bench.errors import UnavailableError, UnknownNameError
from bench.metrics.base import Metric
from bench.metrics.perceptual import FeatureDistance
from bench.networks.device import device, rgb_tensor
from bench.video.frame import Frame

if TYPE_CHECKING:
    import torch

# the package imports the last two without declaring them
MODULES = ("stlpips_pytorch", "torch", "torchvision", "torchsummary", "IPython")


class StLpips(FeatureDistance):
    """Shift-tolerant LPIPS (Ghildyal and Liu 2022) on AlexNet: LPIPS on networks that small shifts move little.

    The networks' own weights, which their authors trained, are part of the package.
    """

    name, title = "stlpips", "ST-LPIPS (AlexNet)"
    needs = how_to_install("stlpips")
    network, smallest = "AlexNet, shift-tolerant", 48
    net: ClassVar[str] = "alex"
    variants: ClassVar[Mapping[str, str]] = {"vgg": "on VGG16"}

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        if options != ("vgg",):
            raise UnknownNameError(f"variant of {cls.name}", ":".join(options), cls.variants)
        return StLpipsVgg

    @classmethod
    def check(cls) -> None:
        require(*MODULES, extra="stlpips")
        _weights(cls.net)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        cls.check()
        return {**super().identity(), "weights": _digest(cls.net)}

    def distances(self, references: Sequence[Frame], distorted: Sequence[Frame]) -> list[float]:
        def kept(frame: Frame) -> list[torch.Tensor]:
            return frame.derived((self.name, "maps"), lambda: _maps(self.net, frame))

        return [_distance(self.net, kept(a), b) for a, b in zip(references, distorted, strict=True)]

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "weights": _digest(self.net), "stlpips": version("stlpips-pytorch")}


class StLpipsVgg(StLpips):
    """Shift-tolerant LPIPS (Ghildyal and Liu 2022) on VGG16."""

    name, title = "stlpips:vgg", "ST-LPIPS (VGG16)"
    network, smallest = "VGG16, shift-tolerant", 48
    net = "vgg"
    variants: ClassVar[Mapping[str, str]] = {}


def _weights(net: str) -> Path:
    package = find_spec("stlpips_pytorch")
    for folder in (package.submodule_search_locations or ()) if package else ():
        file = Path(folder, "weights", "vST0.0", f"{net}_shift_tolerant.pth")
        if file.is_file():
            return file
    raise UnavailableError(f"stlpips-pytorch lacks its weights of {net}: install it again, {how_to_install('stlpips')}")


@cache
def _digest(net: str) -> str:
    return file_digest(_weights(net))


@cache
def _model(net: str) -> Any:
    from stlpips_pytorch import stlpips

    return stlpips.LPIPS(net=net, variant="shift_tolerant", verbose=False, model_path=str(_weights(net))).to(device())


def _maps(net: str, frame: Frame) -> list[torch.Tensor]:
    """Features of a frame brought to unit length, stage by stage."""
    import torch
    from stlpips_pytorch import utils

    model = _model(net)
    with torch.inference_mode():
        return [utils.normalize_tensor(maps) for maps in model.net(model.scaling_layer(2 * rgb_tensor(frame) - 1))]


def _distance(net: str, reference: list[torch.Tensor], frame: Frame) -> float:
    import torch

    heads = _model(net).lins
    with torch.inference_mode():
        stages = zip(reference, _maps(net, frame), heads, strict=True)
        # added stage by stage in float32, as the package does
        means = [head((a - b) ** 2).mean(dim=(2, 3)) for a, b, head in stages]
        return float(sum(means[1:], means[0]))
