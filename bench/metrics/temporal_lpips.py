"""Temporal consistency by LPIPS: of successive frames (tLPIPS), and weighted where the motion is wrong (FloLPIPS)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import MetricError
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.metrics.flow_methods import backward_flow, forward_flow
from bench.metrics.temporal import NETWORKS, FlowMetric
from bench.networks import lpips_weights
from bench.video import colour
from bench.video.flow import Flow
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

if TYPE_CHECKING:
    import torch

    from bench.networks.lpips import LpipsNetwork

BACKBONE = "alex"

MIN_SIDE = 31
"""Shortest side for which AlexNet has maps in all its stages."""


class LpipsMetric(Metric):
    """A metric on LPIPS with AlexNet, version 0.1."""

    needs = "pip install 'vcbench[perceptual]', vcbench fetch weights alexnet"
    shares_reference = True

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < MIN_SIDE:
            raise MetricError(f"{self.name}: {fmt.width}x{fmt.height} is too small for AlexNet (sides from {MIN_SIDE})")

    @classmethod
    def check(cls) -> None:
        lpips_weights.check(BACKBONE)
        super().check()

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "lpips": lpips_weights.identity(BACKBONE)}

    @property
    def network(self) -> LpipsNetwork:
        from bench.networks.lpips import LpipsNetwork

        return LpipsNetwork.get(BACKBONE)

    def provenance(self) -> dict[str, Any]:
        return {
            "backbone": "AlexNet of torchvision with the heads of the package lpips, version 0.1",
            "conversion": colour.describe(self.format),
        }


class Tlpips(LpipsMetric):
    """Difference of change tLPIPS (Chu et al. 2020): LPIPS of successive frames, decoded against source.

    |LPIPS(d_t, d_t-1) - LPIPS(s_t, s_t-1)| for decoded frames d and source frames s. The first frame has no value.
    """

    name, title = "tlpips", "Difference of perceptual change (tLPIPS)"
    no_value = "no frame has a value: it needs frames with a predecessor"
    direction = "lower"
    bounds = (0.0, None)

    def update(self, pair: FramePair) -> float | None:
        if pair.previous is None:
            return None
        source = self._change(pair.previous.reference, pair.reference)
        return abs(self._change(pair.previous.distorted, pair.distorted) - source)

    def _change(self, previous: Frame, current: Frame) -> float:
        network = self.network
        return current.derived(
            ("lpips from previous", BACKBONE),
            lambda: network.distance(network.features(previous), network.features(current)),
        )

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "scale": "LPIPS; papers print it times 100"}


class FloLpips(LpipsMetric, FlowMetric, DeferredMetric):
    """FloLPIPS (Danier, Zhang and Bull 2022): LPIPS weighted by how far the decoded motion is from the source's.

    A frame's value is the mean of two: weighted by the difference of the flows to the next frame, and to the previous
    one. So the first and the last frame have none. With the option "forward" the flow to the next frame alone counts,
    and the last frame alone has none.
    """

    name, title = "flolpips", "Flow-weighted LPIPS (FloLPIPS)"
    direction = "lower"
    bounds = (0.0, None)
    variants: ClassVar[Mapping[str, str]] = {
        **NETWORKS,
        "forward": "flow to the next frame alone, as the published code does for videos",
    }

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._values: Values = []
        self._waiting: tuple[list[torch.Tensor], float | None] | None = None

    def push(self, pair: FramePair) -> None:
        """Conclude the frame before, whose flow to the next frame is known now, and begin this one."""
        network = self.network
        layers = network.layer_maps(network.features(pair.reference), network.features(pair.distorted))
        backward = None
        if pair.previous is not None and self._waiting is not None:
            before = pair.previous
            decoded = forward_flow(self.method, before.distorted, pair.distorted)
            self._values[-1] = self._concluded(decoded - forward_flow(self.method, before.reference, pair.reference))
            if "forward" not in self.options:
                decoded = backward_flow(self.method, before.distorted, pair.distorted)
                difference = decoded - backward_flow(self.method, before.reference, pair.reference)
                backward = weighted_distance(layers, difference)
        self._values.append(None)
        self._waiting = layers, backward

    def _concluded(self, onward: Flow) -> float | None:
        assert self._waiting is not None
        layers, backward = self._waiting
        if "forward" in self.options:
            return weighted_distance(layers, onward)
        return None if backward is None else (backward + weighted_distance(layers, onward)) / 2

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        least = 2 if "forward" in self.options else 3
        if len(self._values) < least:
            raise MetricError(f"{self.name}: needs {least} frames, there are {len(self._values)}")
        return self._values, {}

    def provenance(self) -> dict[str, Any]:
        ends = "last frame" if "forward" in self.options else "first and last frame"
        return {**super().provenance(), "flow": self.method.describe(), "without_value": ends}


def weighted_distance(layers: list[torch.Tensor], difference: Flow) -> float:
    """Sum over the layers of a weighted mean of their maps, the weight being the length of the difference of flows.

    ``layers``: 1 x h x w each. The difference, H x W x 2, is brought to a layer's size by bilinear interpolation, its
    length taken there and divided by its sum. Where the flows are equal throughout all pixels weigh alike, so that the
    value is LPIPS: the limit of ever smaller differences of one length (the published code divides 0 by 0 there).
    Source: Danier et al. 2022, as in their published code.
    """
    import torch
    from torch.nn import functional

    from bench.networks.backbone import inference

    with inference():
        flow = torch.from_numpy(difference).to(layers[0].device).permute(2, 0, 1).unsqueeze(0)
        total = 0.0
        for layer in layers:
            at_layer = functional.interpolate(flow, layer.shape[-2:], mode="bilinear", align_corners=False)
            weight = torch.linalg.vector_norm(at_layer[0], dim=0)
            whole = weight.sum()
            total += float((layer[0] * weight).sum() / whole) if whole > 0 else float(layer.mean())
    return total
