"""Tricks that help no viewer, played on decoded frames: grain, blur, sharpening, a filter, a shift, a freeze."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.adapters.post_filter import filtered
from bench.cards import Grain, Temporal
from bench.video.frame import Frame, Samples, sample_dtype

Frames = Iterator[Frame]

BLUR = 1.0
"""Standard deviation of the blur, in samples."""

AMOUNT = 0.6
"""How much of what a blur takes away sharpening adds."""

HELD = 4
"""Frames that a frozen one stands for."""


@dataclass(frozen=True)
class Trick:
    """Something done to decoded frames, in words and in deed; the number of frames and their format stay."""

    title: str
    play: Callable[[Frames], Frames]


def _by_plane(change: Callable[[Samples], Any], *, luma_alone: bool = False) -> Callable[[Frames], Frames]:
    """Changes each plane of each frame; ``change`` gives real numbers, which are rounded and clipped."""

    def apply(frame: Frame) -> Frame:
        fmt = frame.format
        planes: list[Samples] = [
            plane if number and luma_alone else np.clip(np.rint(change(plane)), 0, fmt.peak).astype(sample_dtype(fmt))
            for number, plane in enumerate(frame.planes)
        ]
        return Frame.from_planes(fmt, planes)

    return lambda frames: map(apply, frames)


def _blurred(plane: Samples) -> Any:
    import cv2

    return cv2.GaussianBlur(plane.astype(np.float64), (0, 0), BLUR, borderType=cv2.BORDER_REFLECT_101)


def _sharpened(plane: Samples) -> Any:
    return plane + AMOUNT * (plane - _blurred(plane))


def _shifted(plane: Samples) -> Any:
    return np.hstack([plane[:, :1], plane[:, :-1]])


def _frozen(frames: Frames) -> Frames:
    held: Frame | None = None
    for index, frame in enumerate(frames):
        if held is None or index % HELD == 0:
            held = frame
        yield held


TRICKS = {
    "grain": Trick(
        "static grain in luma, sigma 3 levels of 8 bit", lambda frames: filtered(frames, [Grain(kind="grain", sigma=3)])
    ),
    "blur": Trick(f"Gaussian blur, sigma {BLUR:g} sample", _by_plane(_blurred)),
    "sharpen": Trick(
        f"unsharp mask of luma, {AMOUNT:g} of what blur takes away", _by_plane(_sharpened, luma_alone=True)
    ),
    "filter": Trick(
        "recursive filter along motion, 0.7 of the frame before",
        lambda frames: filtered(frames, [Temporal(kind="temporal", share=0.7)]),
    ),
    "shift": Trick("one sample to the right, in every plane", _by_plane(_shifted)),
    "freeze": Trick(f"each frame shown for {HELD}", _frozen),
}
