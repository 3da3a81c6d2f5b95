"""Methods of optical flow by name, between frames; flows of neighbouring frames are worked out once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from bench.core.require import NEURAL, PERCEPTUAL, require
from bench.video.colour import rgb_of
from bench.video.flow import (
    DEFAULT_PRESET,
    MIN_SIDE,
    Flow,
    WarpReference,
    dis_flow,
    eight_bit,
    farneback_flow,
    visibility,
)
from bench.video.frame import Frame
from bench.weights import files as weights


class FlowMethod(ABC):
    """One way to estimate flow. ``smallest``: shortest side of a frame that it takes, in pixels."""

    name: str
    smallest: int
    in_threads = False

    @abstractmethod
    def between(self, first: Frame, second: Frame) -> Flow:
        """Flow from ``first`` to ``second``, so that first(x) = second(x + flow(x)): float32 H x W x 2 in pixels."""

    @abstractmethod
    def describe(self) -> str:
        """What it is and what it is given, for provenance."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What its flows depend on beside the frames."""

    def check(self) -> None:
        """Raise UnavailableError, saying what to do, if it cannot run on this machine."""


class Dis(FlowMethod):
    """DIS of Kroeger et al. 2016, by OpenCV, on luma (green of RGB)."""

    name, smallest, in_threads = "dis", MIN_SIDE, True

    def between(self, first: Frame, second: Frame) -> Flow:
        return dis_flow(first.planes[0], second.planes[0], bit_depth=first.format.bit_depth)

    def describe(self) -> str:
        return f"OpenCV DIS, preset {DEFAULT_PRESET}, of luma at 8 bit"

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "preset": DEFAULT_PRESET, "opencv": _opencv_version()}


class Farneback(FlowMethod):
    """Farnebäck 2003 by OpenCV with the parameters of Chu et al. 2020, on grey made from RGB as they make it."""

    name, smallest, in_threads = "farneback", 1, True

    def between(self, first: Frame, second: Frame) -> Flow:
        return farneback_flow(_grey(first), _grey(second))

    def describe(self) -> str:
        return "OpenCV Farneback with TecoGAN's parameters, of grey (BT.601 weights of RGB at 8 bit)"

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "opencv": _opencv_version()}


class Network(FlowMethod):
    """A network of `bench.networks.flow` on RGB."""

    def __init__(self, name: str, title: str, file: str, smallest: int) -> None:
        self.name, self.title, self.file, self.smallest = name, title, file, smallest

    def between(self, first: Frame, second: Frame) -> Flow:
        from bench.networks.flow import network_flow

        return network_flow(self.name, self.file, first, second)

    def describe(self) -> str:
        return f"{self.title}, of RGB, weights {self.file} (SHA-256 {weights.sha256(self.file)})"

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "weights": weights.sha256(self.file)}

    def check(self) -> None:
        if self.name.startswith("raft"):
            require("torch", "torchvision", extra=PERCEPTUAL)
        require("torch", extra=NEURAL)
        weights.available(self.file)


METHODS: dict[str, FlowMethod] = {
    method.name: method
    for method in (
        Dis(),
        Farneback(),
        Network("spynet", "SpyNet", "spynet", 24),
        Network("raft", "RAFT (torchvision raft_large, 12 updates)", "raft-large", 128),
        Network("raft-small", "RAFT (torchvision raft_small, 12 updates)", "raft-small", 128),
    )
}


def backward_flow(method: FlowMethod, previous: Frame, current: Frame) -> Flow:
    """Flow from a frame to the one before it, kept with the frame."""
    return current.derived(("flow to previous", method.name), lambda: method.between(current, previous))


def forward_flow(method: FlowMethod, previous: Frame, current: Frame) -> Flow:
    """Flow from the previous frame to the current one, kept with the current one."""
    return current.derived(("flow from previous", method.name), lambda: method.between(previous, current))


def warp_reference_of(method: FlowMethod, previous: Frame, current: Frame) -> WarpReference:
    """Where each pixel of a frame was in the frame before it, and whether it could be seen there, kept with it."""

    def make() -> WarpReference:
        if not method.in_threads:
            return visibility(backward_flow(method, previous, current), forward_flow(method, previous, current))
        opposite = _second_thread().submit(forward_flow, method, previous, current)
        flow = backward_flow(method, previous, current)
        return visibility(flow, opposite.result())

    return current.derived(("warp reference", method.name), make)


@cache
def _second_thread() -> ThreadPoolExecutor:
    """Thread for the second of two flows: OpenCV lets go of Python's lock, but uses one core for each."""
    return ThreadPoolExecutor(1, thread_name_prefix="flow")


def _grey(frame: Frame) -> Any:
    import cv2

    depth = frame.format.bit_depth
    return frame.derived("grey", lambda: cv2.cvtColor(eight_bit(rgb_of(frame), depth), cv2.COLOR_RGB2GRAY))


@cache
def _opencv_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("opencv-python-headless")
    except PackageNotFoundError:  # another build of OpenCV
        import cv2

        return str(cv2.__version__)
