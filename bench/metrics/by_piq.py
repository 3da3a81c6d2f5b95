"""Metrics with reference and without weights that the package piq computes, by its names: ``piq:<name>``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bench.core.require import PERCEPTUAL, require
from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import Direction, FramePair, Metric
from bench.networks.device import rgb_tensor
from bench.video import colour
from bench.video.formats import VideoFormat

if TYPE_CHECKING:
    import torch

FAMILY = "piq"


@dataclass(frozen=True)
class _Measure:
    """A measure of piq: its function there, what it is, and the shortest side it takes."""

    function: str
    title: str
    paper: str
    direction: Direction = "higher"
    bounds: tuple[float | None, float | None] = (0.0, 1.0)
    smallest: int = 1


MEASURES = {
    "vif": _Measure("vif_p", "VIF, pixel domain", "Sheikh and Bovik 2006", bounds=(0.0, None), smallest=41),
    "fsim": _Measure("fsim", "FSIMc", "Zhang, Zhang, Mou and Zhang 2011", smallest=4),
    "gmsd": _Measure("gmsd", "GMSD", "Xue, Zhang, Mou and Bovik 2014", "lower", (0.0, None), smallest=4),
    "ms_gmsd": _Measure("multi_scale_gmsd", "MS-GMSD", "Zhang, Sun and Li 2017", "lower", (0.0, None), smallest=128),
    "haarpsi": _Measure("haarpsi", "HaarPSI", "Reisenhofer et al. 2018", smallest=16),
    "mdsi": _Measure("mdsi", "MDSI", "Nafchi et al. 2016", "lower", (0.0, None), smallest=4),
    "vsi": _Measure("vsi", "VSI", "Zhang, Shen and Li 2014", smallest=4),
    "srsim": _Measure("srsim", "SR-SIM", "Zhang and Li 2012", smallest=161),
    "dss": _Measure("dss", "DSS", "Balanov et al. 2015", smallest=64),
}


class Piq(Metric):
    """A measure that the package piq computes of a frame's RGB, called with its defaults."""

    name, title = f"{FAMILY}:vif", "VIF"
    needs = "pip install 'vcbench[perceptual]'"
    measure = MEASURES["vif"]

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < self.measure.smallest:
            raise MetricError(
                f"{self.name}: piq's takes sides from {self.measure.smallest}, not {fmt.width}x{fmt.height}"
            )

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        option = ":".join(options)
        if option not in MEASURES:
            raise UnknownNameError(f"metric of {FAMILY}", option, MEASURES)
        measure = MEASURES[option]
        own = {
            "name": f"{FAMILY}:{option}",
            "title": f"{measure.title} (piq)",
            "direction": measure.direction,
            "bounds": measure.bounds,
            "measure": measure,
            "__module__": cls.__module__,
            "__doc__": f"{measure.title} ({measure.paper}) of a frame's RGB, by piq with its defaults.",
        }
        return type(f"Piq[{option}]", (cls,), own)

    @classmethod
    def check(cls) -> None:
        require("torch", "torchvision", "piq", extra=PERCEPTUAL)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        cls.check()
        return {**super().identity(), "piq": version("piq")}

    def update(self, pair: FramePair) -> float:
        import piq
        import torch

        function: Callable[..., torch.Tensor] = getattr(piq, self.measure.function)
        with torch.inference_mode():
            value = function(rgb_tensor(pair.distorted), rgb_tensor(pair.reference), data_range=1.0)
        return float(value)

    def provenance(self) -> dict[str, Any]:
        return {"piq": version("piq"), "conversion": colour.describe(self.format)}
