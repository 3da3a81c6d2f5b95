"""Optical flow, warping and the warping error E_warp of Lai et al. 2018.

Direction, everywhere: a flow belongs to the current frame t and points to the previous frame t-1, so that
``current(x) = previous(x + flow(x))`` where a thing merely moved, and backward warping brings frame t-1 onto frame t.
Flow and occlusion come from the source pair, are computed once (`warp_reference`) and serve all its decoded versions.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Preset = Literal["ultrafast", "fast", "medium", "half"]
Flow = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

DEFAULT_PRESET: Preset = "half"
"""OpenCV's "fast" carried on to half the resolution, as "medium" is, with whose accuracy it takes 0.7 of the time.

"fast" and "ultrafast" stop at a quarter of the resolution and have twice the error and more.
"""

MIN_SIDE = 32
"""Shortest side of a plane in pixels; on wide planes below it OpenCV's DIS crashes, leaving its coarsest scale."""

MIN_VISIBLE = 0.2
"""Least share of comparable pixels: fewer are chance matches across a cut (seen: 0.1 at most; in scenes, over 0.8)."""


@dataclass(frozen=True, slots=True)
class WarpReference:
    """Where each pixel of a frame was in the frame before it, and whether it could be seen there.

    `positions`: float32 H x W x 2, (x, y) in the previous frame. `visible`: bool H x W, True for a pixel to compare.
    `reason`: None, or why the pair has no warping error.
    """

    positions: Flow
    visible: Mask
    reason: str | None


def dis_flow(a: npt.NDArray[Any], b: npt.NDArray[Any], preset: Preset = DEFAULT_PRESET, *, bit_depth: int = 8) -> Flow:
    """Dense flow from `a` to `b`, so that a(x) = b(x + flow(x)), by DIS (Kroeger et al. 2016).

    Shapes: two luma planes H x W of uint8 or uint16, sides at least `MIN_SIDE`; returns float32 H x W x 2, (dx, dy) in
    pixels. Planes of more than 8 bit are rounded to 8 for the flow alone. The result does not depend on OpenCV's thread
    count, which is the caller's to set. ValueError for other input.
    """
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < MIN_SIDE:
        raise ValueError(f"flow needs two H x W planes of one size from {MIN_SIDE} up, got {a.shape} and {b.shape}")
    if not 8 <= bit_depth <= 16:
        raise ValueError(f"flow takes planes of 8 to 16 bit, not {bit_depth}")
    flow: Flow = _solver(preset, a.shape).calc(eight_bit(a, bit_depth), eight_bit(b, bit_depth), None)
    return flow


_solvers = threading.local()


def _solver(preset: Preset, shape: tuple[int, ...]) -> Any:
    """DIS solver of this thread, the last one again while preset and size are the same.

    Its buffers are a quarter of the time to make anew. It is not to be shared between threads, and what it works out
    from the size of its first planes stays for planes of another.
    """
    import cv2

    presets = {
        "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
        "half": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    }
    if preset not in presets:
        raise ValueError(f"unknown DIS preset {preset!r}; there are: {', '.join(presets)}")
    if getattr(_solvers, "key", None) != (preset, shape):
        _solvers.solver = cv2.DISOpticalFlow.create(presets[preset])
        if preset == "half":
            _solvers.solver.setFinestScale(1)
        _solvers.key = preset, shape
    return _solvers.solver


def farneback_flow(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Flow:
    """Dense flow from `a` to `b` by Farnebäck 2003, with the parameters of Chu et al. 2020's published code.

    Shapes: two grey pictures H x W of uint8; returns float32 H x W x 2, (dx, dy) in pixels. Three levels of half the
    size each, windows of 15, three iterations, neighbourhoods of 5 with sigma 1.2.
    """
    import cv2

    flow: Flow = cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow


def warp(image: npt.NDArray[Any], flow: Flow) -> npt.NDArray[np.float32]:
    """Backward warping: image(x + flow(x)), bilinear; positions outside take the border's value (see `inside`).

    Shapes: H x W or H x W x C with flow float32 H x W x 2; returns float32, in the image's units.
    """
    return _sample(image, _grid(*flow.shape[:2]) + flow)


def inside(flow: Flow) -> Mask:
    """Bool H x W: True where x + flow(x) lies within the frame, so that bilinear interpolation has all its pixels."""
    return _inside(_grid(*flow.shape[:2]) + flow)


def occlusion_mask(flow: Flow, opposite: Flow, *, motion_boundaries: bool = True) -> Mask:
    """Bool H x W: True where a pixel has no counterpart in the other frame, or lies on a motion boundary.

    `flow` belongs to the frame that is masked, `opposite` to the other one (both float32 H x W x 2, pixels).
    Occluded: |f + o|² > 0.01 (|f|² + |o|²) + 0.5, with o the opposite flow at x + f. Motion boundary (left out with
    ``motion_boundaries=False``): |grad fx|² + |grad fy|² > 0.01 |f|² + 0.002, forward differences.
    Source: Ruder et al. 2016, after Sundaram et al. 2010; both terms as in the published code of Lai et al. 2018.
    """
    return _occluded(flow, warp(opposite, flow), motion_boundaries)


def warp_reference(
    previous: npt.NDArray[Any], current: npt.NDArray[Any], *, bit_depth: int = 8, preset: Preset = DEFAULT_PRESET
) -> WarpReference:
    """Flow and visibility of a source pair, to be kept for every decoded version of it.

    Shapes: luma planes as for `dis_flow`. A pixel is compared if it is neither occluded nor on a motion boundary nor
    from outside the frame. With less than `MIN_VISIBLE` of them the pair has no warping error, and `reason` says so.
    """
    flow = dis_flow(current, previous, preset, bit_depth=bit_depth)
    return visibility(flow, dis_flow(previous, current, preset, bit_depth=bit_depth))


def visibility(flow: Flow, opposite: Flow) -> WarpReference:
    """What `warp_reference` gives, of flows known already.

    `flow`: from the current frame to the previous one; `opposite`: the other way. Both float32 H x W x 2, pixels.
    """
    positions = _grid(*flow.shape[:2]) + flow
    visible = _inside(positions) & ~_occluded(flow, _sample(opposite, positions), True)
    share = float(visible.mean())
    reason = f"scene cut: only {share:.1%} of the pixels are visible in both frames" if share < MIN_VISIBLE else None
    return WarpReference(positions, visible, reason)


def ewarp_frame(
    previous: npt.NDArray[Any], current: npt.NDArray[Any], reference: WarpReference, *, peak: float
) -> float | None:
    """Warping error of one decoded pair: mean squared difference between a frame and its warped predecessor.

    Shapes: both H x W x 3 RGB (Lai et al. 2018), or H x W for luma alone; any real type, with `peak` the value of white
    (1, 255, 1023). The mean runs over the visible pixels and the channels, in units of white squared: 0 is perfect,
    and papers often print it times 1000. None where the reference has a `reason`. A video's E_warp is the mean over
    its pairs. Source: the warping error of Lai et al. 2018, with their code's mean over channels. ValueError for other
    shapes.
    """
    import cv2

    if previous.shape != current.shape or current.shape[:2] != reference.visible.shape:
        raise ValueError(f"frames {previous.shape}, {current.shape} and flow {reference.visible.shape} differ in size")
    if reference.reason is not None:
        return None
    warped = _sample(previous, reference.positions)
    squared = cv2.norm(warped, current.astype(np.float32), cv2.NORM_L2SQR, reference.visible.view(np.uint8))
    samples = np.count_nonzero(reference.visible) * (current.size // reference.visible.size)
    return float(squared / (samples * peak * peak))


def ewarp_map(
    previous: npt.NDArray[Any], current: npt.NDArray[Any], reference: WarpReference, *, peak: float
) -> npt.NDArray[np.float32]:
    """Where the warping error of a pair is: root of the squared difference's mean over channels, H x W, white is 1.

    NaN where a pixel is not compared. The mean of its squares is `ewarp_frame`; shapes and units as there.
    """
    difference = (_sample(previous, reference.positions) - current.astype(np.float32)) / peak
    squared = np.square(difference) if difference.ndim == 2 else np.square(difference).mean(axis=-1)
    errors: npt.NDArray[np.float32] = np.where(reference.visible, np.sqrt(squared), np.nan).astype(np.float32)
    return errors


def eight_bit(plane: npt.NDArray[Any], bit_depth: int) -> npt.NDArray[np.uint8]:
    """Samples rounded to 8 bit, for what works on nothing deeper; white stays white."""
    if bit_depth == 8:
        return np.ascontiguousarray(plane, np.uint8)
    half = 1 << (bit_depth - 9)
    rounded: npt.NDArray[np.uint8] = np.minimum((plane.astype(np.uint32) + half) >> (bit_depth - 8), 255).astype(
        np.uint8
    )
    return rounded


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> Flow:
    grid: Flow = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    grid.flags.writeable = False
    return grid


def _sample(image: npt.NDArray[Any], positions: Flow) -> npt.NDArray[np.float32]:
    from bench.video.sampling_kernel import bilinear

    pixels = np.ascontiguousarray(image, np.float32)
    layers = pixels if pixels.ndim == 3 else pixels[..., None]
    sampled = np.empty((*positions.shape[:2], layers.shape[2]), np.float32)
    bilinear(layers, np.ascontiguousarray(positions, np.float32), sampled)
    return sampled if pixels.ndim == 3 else sampled[..., 0]


def _inside(positions: Flow) -> Mask:
    height, width = positions.shape[:2]
    x, y = positions[..., 0], positions[..., 1]
    within: Mask = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return within


def _occluded(flow: Flow, opposite: Flow, motion_boundaries: bool) -> Mask:
    fx, fy = np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1])
    ox, oy = np.ascontiguousarray(opposite[..., 0]), np.ascontiguousarray(opposite[..., 1])
    length = fx * fx + fy * fy
    mask: Mask = (fx + ox) ** 2 + (fy + oy) ** 2 > 0.01 * (length + ox * ox + oy * oy) + 0.5
    if motion_boundaries:
        gradient = np.zeros_like(length)
        for component in (fx, fy):
            gradient[:, :-1] += np.square(np.diff(component, axis=1))
            gradient[:-1] += np.square(np.diff(component, axis=0))
        mask |= gradient > 0.01 * length + 0.002
    return mask
