"""Flicker: how much the decoded video changes where the source stands still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import MetricError
from bench.metrics.base import FramePair, Metric, Values
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

BLOCK = 8
"""Side of a block in pixels."""

WINDOW = 5
"""Side of the box that the source's change is averaged over before it is called motion: noise averages out."""

STATIC = 2.0
"""Largest averaged change anywhere in a block that stands still, in levels of 8 bit."""

LEAST = 0.02
"""Least share of static blocks for a value."""

Plane = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StaticRegion:
    """Blocks of the source that stand still: bool, and the mean absolute change of every block, in levels of 8 bit."""

    static: npt.NDArray[np.bool_]
    change: npt.NDArray[np.float32]

    @property
    def share(self) -> float:
        """Share of the blocks that stand still, 0 to 1."""
        return float(self.static.mean())


def static_region(previous: Plane, current: Plane, *, bit_depth: int = 8) -> StaticRegion:
    """Where the source stands still between two luma planes H x W, sides from `BLOCK` up.

    A block does if its change, averaged over `WINDOW` x `WINDOW` pixels, is at most `STATIC` levels all over it. Blocks
    that the frame's right and lower edge cut are left out.
    """
    import cv2

    change = _change(previous, current, bit_depth)
    smooth = np.abs(cv2.blur(change, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT_101))
    return StaticRegion(_blocks(smooth).max(axis=(1, 3)) <= STATIC, _mean_change(change))


def flicker_frame(previous: Plane, current: Plane, source: StaticRegion, *, bit_depth: int = 8) -> float | None:
    """Mean over the static blocks of max(0, decoded change - source's change), each the mean absolute one of a block.

    Planes H x W of luma; the value is in levels of 8 bit, 0 to 255, whatever the bit depth. None where under `LEAST`
    of the blocks stand still.
    """
    if source.share < LEAST:
        return None
    beyond = _mean_change(_change(previous, current, bit_depth)) - source.change
    return float(np.maximum(beyond[source.static], 0).mean(dtype=np.float64))


class Flicker(Metric):
    """Change of decoded luma beyond the source's own where the source stands still."""

    name, title = "flicker", "Flicker in static regions"
    direction = "lower"
    unit = "levels of 8 bit"
    bounds = (0.0, 255.0)
    fidelity = False
    no_value = "no frame has a value: it needs frames with a predecessor, and a part of the source that does not move"

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < BLOCK:
            raise MetricError(f"flicker: {fmt.width}x{fmt.height} has no block of {BLOCK}x{BLOCK}")
        self._shares: list[float] = []

    def update(self, pair: FramePair) -> float | None:
        if pair.previous is None:
            return None
        before = pair.previous
        depth = self.format.bit_depth
        source = pair.reference.derived(
            "static region",
            lambda: static_region(_luma(before.reference), _luma(pair.reference), bit_depth=depth),
        )
        self._shares.append(source.share)
        return flicker_frame(_luma(before.distorted), _luma(pair.distorted), source, bit_depth=depth)

    def pool(self, values: Values) -> dict[str, float]:
        shares = {"static_share": float(np.mean(self._shares))} if self._shares else {}
        return {**super().pool(values), **shares}

    def provenance(self) -> dict[str, Any]:
        return {
            "plane": "green" if self.format.chroma == "rgb" else "Y",
            "static": f"{BLOCK}x{BLOCK} blocks whose change, averaged over {WINDOW}x{WINDOW}, is at most {STATIC:g} "
            f"levels of 8 bit; under {LEAST:.0%} of such blocks no value",
        }


def _luma(frame: Frame) -> Plane:
    return frame.planes[0]


def _change(previous: Plane, current: Plane, bit_depth: int) -> npt.NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.subtract(current, previous, dtype=cv2.CV_32F)) * np.float32(2.0 ** (8 - bit_depth))


def _blocks(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Whole blocks as rows x BLOCK x columns x BLOCK."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    return plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)


def _mean_change(change: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(_blocks(np.abs(change)).mean(axis=(1, 3)))
