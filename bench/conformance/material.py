"""Clips to check with: noise with the spectrum of photographs, one half still and one half panning, in any format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bench.video.formats import VideoFormat
from bench.video.frame import Frame, Samples

Plane = npt.NDArray[np.float64]
Distortion = Callable[[Plane, int], Plane]

PERIOD = 36
"""Frames until the panning half starts anew."""


def none(plane: Plane, _: int) -> Plane:
    """No distortion."""
    return plane


def clip(fmt: VideoFormat, frames: int, distortion: Distortion = none, *, seed: int = 0) -> Iterator[Frame]:
    """Frames of the material, distorted plane by plane; ``seed`` picks another picture."""
    for index in range(frames):
        # a copy, since what is checked may write into it
        yield Frame(fmt, _samples(fmt, index, distortion, seed).copy())


@lru_cache(maxsize=512)
def _samples(fmt: VideoFormat, index: int, distortion: Distortion, seed: int) -> Samples:
    """A frame's samples; the rules about a metric look at the same few hundred frames, of the size of a stamp."""
    planes = [distortion(plane, index) for plane in _scene(fmt, index, seed)]
    return Frame.from_planes(fmt, [np.rint(plane.clip(0, 1) * fmt.peak) for plane in planes]).data


def _scene(fmt: VideoFormat, index: int, seed: int) -> Iterator[Plane]:
    """Planes with white 1: the left half stands still, the right half moves by two luma samples a frame."""
    for number, (height, width) in enumerate(fmt.plane_shapes):
        still = width // 2
        moved = 2 * (index % PERIOD) * width // fmt.width
        picture = _picture(height, width + 2 * PERIOD, seed, number)
        contrast = 0.3 if number and fmt.chroma != "rgb" else 1.0
        yield 0.5 + contrast * np.hstack([picture[:, :still], picture[:, still + moved : width + moved]])


@lru_cache(maxsize=16)
def _picture(height: int, width: int, seed: int, plane: int) -> Plane:
    """Noise whose amplitude falls as 1/f, as that of photographs does, between -0.45 and 0.45."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(down, across)
    frequency[0, 0] = math.inf
    white = np.fft.rfft2(np.random.default_rng((seed, plane)).standard_normal((height, width)))
    picture: Plane = np.fft.irfft2(white / frequency, (height, width))
    return (0.12 * picture / max(float(picture.std()), 1e-9)).clip(-0.45, 0.45)
