"""Temporal consistency by optical flow: the warping error, and the difference of the flows themselves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from bench.errors import MetricError, UnknownNameError, UsageError
from bench.metrics.base import DeferredMetric, FramePair, Metric, Values
from bench.metrics.flow_methods import METHODS, FlowMethod, forward_flow, warp_reference_of
from bench.video import colour
from bench.video.colour import rgb_of
from bench.video.flow import MIN_VISIBLE, Flow, WarpReference, ewarp_frame
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

NETWORKS = {
    "spynet": "flow by SpyNet (Ranjan and Black 2017) instead of DIS",
    "raft": "flow by RAFT, large (Teed and Deng 2020), instead of DIS",
    "raft-small": "flow by RAFT, small (Teed and Deng 2020), instead of DIS",
}


class FlowMetric(Metric):
    """A metric on optical flow; options behind its name say whose, and what else it leaves open."""

    method: ClassVar[FlowMethod] = METHODS["dis"]
    options: ClassVar[tuple[str, ...]] = ()
    shares_reference = True
    no_value = "no frame has a value: it needs frames with a predecessor, of the same scene"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < self.method.smallest:
            raise MetricError(
                f"{self.name}: {fmt.width}x{fmt.height} is too small for {self.method.name} flow "
                f"(sides from {self.method.smallest})"
            )

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        """Class with a method of flow, or other options of ``variants``, in any order; the name has them in one.

        Raises UnknownNameError for an option there is not, UsageError for one given twice or two methods.
        """
        for option in options:
            if option not in cls.variants:
                raise UnknownNameError(f"variant of {cls.name}", option, cls.variants)
        methods = [option for option in options if option in METHODS]
        if len(methods) > 1 or len(set(options)) < len(options):
            raise UsageError(f"{cls.name}:{':'.join(options)}: give each option once and one flow at most")
        return _variant(cls, tuple(option for option in cls.variants if option in options))

    @classmethod
    def check(cls) -> None:
        cls.method.check()

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "flow": cls.method.identity()}


@cache
def _variant(base: type[FlowMetric], options: tuple[str, ...]) -> type[FlowMetric]:
    methods = [METHODS[option] for option in options if option in METHODS]
    name = ":".join((base.name, *options))
    title = f"{base.title} ({', '.join(options)})"
    attributes = {"name": name, "title": title, "options": options, "method": (methods or [base.method])[0]}
    return type(base.__name__, (base,), {**attributes, "variants": {}, "__doc__": base.__doc__})


class Ewarp(FlowMetric):
    """Warping error E_warp (Lai et al. 2018) in RGB with white 1: how much a frame differs from its warped predecessor.

    Flow and occlusions come from the source, so that every codec is judged along the same motion, or with the option
    "output" from the decoded video. The first frame and frames after a scene cut have no value.
    """

    name, title = "ewarp", "Warping error"
    direction = "lower"
    unit = "squared difference, white is 1"
    bounds = (0.0, 1.0)
    version = 2
    fidelity = False
    variants: ClassVar[Mapping[str, str]] = {
        **NETWORKS,
        "output": "flow and mask from the decoded video instead of the source",
    }

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._of_source: list[float] = []

    def update(self, pair: FramePair) -> float | None:
        before = pair.previous
        if before is None:
            return None
        along = warp_reference_of(self.method, before.reference, pair.reference)
        of_source = pair.reference.derived(
            ("warping error", self.method.name), lambda: self._error(before.reference, pair.reference, along)
        )
        if of_source is not None:
            self._of_source.append(of_source)
        if "output" in self.options:
            along = warp_reference_of(self.method, before.distorted, pair.distorted)
        return self._error(before.distorted, pair.distorted, along)

    def _error(self, previous: Frame, current: Frame, along: WarpReference) -> float | None:
        return ewarp_frame(rgb_of(previous), rgb_of(current), along, peak=self.format.peak)

    def pool(self, values: Values) -> dict[str, float]:
        """As for every metric, and ``source_mean``: the source's own warping error along its own motion."""
        of_source = {"source_mean": float(np.mean(self._of_source))} if self._of_source else {}
        return {**super().pool(values), **of_source}

    def provenance(self) -> dict[str, Any]:
        return {
            "flow": self.method.describe(),
            "flow_from": "decoded video" if "output" in self.options else "source",
            "mask": f"forward-backward check and motion boundaries; under {MIN_VISIBLE:.0%} visible no value",
            "scale": "RGB, white is 1; papers often print it times 1000",
            "conversion": colour.describe(self.format),
        }


class Tof(FlowMetric):
    """Difference of motion tOF (Chu et al. 2020): between the flows of the decoded video and of the source.

    The mean over the frame of the endpoint distance of the two flows from the frame before. The first frame has no
    value.
    """

    name, title = "tof", "Difference of optical flow (tOF)"
    direction = "lower"
    unit = "pixels"
    bounds = (0.0, None)
    variants: ClassVar[Mapping[str, str]] = {
        "farneback": "as in the published code: Farneback's flow, its crop and its end frames",
        **NETWORKS,
    }

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        return TofPublished if options == ("farneback",) else super().variant(options)

    def update(self, pair: FramePair) -> float | None:
        if pair.previous is None:
            return None
        decoded = forward_flow(self.method, pair.previous.distorted, pair.distorted)
        source = forward_flow(self.method, pair.previous.reference, pair.reference)
        return endpoint_distance(decoded, source)

    def provenance(self) -> dict[str, Any]:
        return {
            "flow": self.method.describe(),
            "region": "the whole frame",
            "scale": "pixels; its paper prints it times 10",
        }


class TofPublished(DeferredMetric, Tof):
    """tOF exactly as the published code of Chu et al. 2020 has it.

    Farneback's flow between grey pictures, its middle cut out by `published_crop`; the two first and two last frames of
    a video are left out, so that the first value is that of the fourth frame.
    """

    name, title = "tof:farneback", "Difference of optical flow (tOF), as published"
    options = ("farneback",)
    method = METHODS["farneback"]
    variants: ClassVar[Mapping[str, str]] = {}

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._crop = published_crop(fmt.height), published_crop(fmt.width)
        if any(part.start >= part.stop for part in self._crop):
            raise MetricError(f"{self.name}: {fmt.width}x{fmt.height} is too small for its crop (sides from 48)")
        self._values: Values = []

    def push(self, pair: FramePair) -> None:
        if pair.index < CUT + 1 or pair.previous is None:
            self._values.append(None)
            return
        decoded = forward_flow(self.method, pair.previous.distorted, pair.distorted)
        source = forward_flow(self.method, pair.previous.reference, pair.reference)
        self._values.append(endpoint_distance(decoded[self._crop], source[self._crop]))

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        if len(self._values) < 2 * CUT + 2:
            raise MetricError(f"{self.name}: needs {2 * CUT + 2} frames, there are {len(self._values)}")
        return [*self._values[:-CUT], *[None] * CUT], {}

    def provenance(self) -> dict[str, Any]:
        rows, columns = self._crop
        region = f"columns {columns.start} to {columns.stop - 1}, rows {rows.start} to {rows.stop - 1}"
        return {**super().provenance(), "region": f"{region}; without the first and last {CUT} frames"}


CUT = 2
"""Frames at each end that the published code of Chu et al. 2020 leaves out."""


def published_crop(side: int) -> slice:
    """Middle part of a side that the published code of Chu et al. 2020 keeps: a multiple of 32, 16 less at least."""
    kept = max(0, (side - 16) // 32 * 32)
    return slice((side - kept) // 2, (side - kept) // 2 + kept)


def endpoint_distance(a: Flow, b: Flow) -> float:
    """Mean Euclidean distance of two flows H x W x 2, in pixels."""
    difference = a - b
    return float(np.sqrt(np.einsum("...i,...i", difference, difference)).mean(dtype=np.float64))
