"""Filters behind a decoder, which a card may ask for: controls that show what a metric can be fooled by.

They change no bit of a stream and need none: what is added is a function of the card alone. Their time is not the
decoder's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.cards import Grain, PostFilter
from bench.core.late import Late
from bench.core.require import NEURAL, require
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, Samples, sample_dtype

if TYPE_CHECKING:
    import numpy as np
else:
    np = Late("numpy")


def filtered(frames: Iterator[Frame], filters: Sequence[PostFilter]) -> Iterator[Frame]:
    """Decoded frames, in order, after the filters of a card, the first one first; format and count stay.

    Raises UnavailableError where the temporal filter's libraries are not installed.
    """
    for chosen in filters:
        frames = map(_grain(chosen) if isinstance(chosen, Grain) else _temporal(chosen.share), frames)
    return frames


def _grain(chosen: Grain) -> Callable[[Frame], Frame]:
    """Adds one picture of Gaussian noise to the luma of every frame."""
    import cv2

    kept: dict[VideoFormat, Any] = {}

    def apply(frame: Frame) -> Frame:
        fmt = frame.format
        if fmt not in kept:
            # the generator whose numbers numpy has promised never to change
            drawn = np.random.RandomState(chosen.seed).standard_normal(fmt.plane_shapes[0])
            if chosen.size:
                drawn = cv2.GaussianBlur(drawn, (0, 0), chosen.size)
                drawn /= drawn.std()
            kept.clear()
            kept[fmt] = drawn * chosen.sigma * (fmt.peak / 255)
        luma, *chroma = frame.planes
        changed: Samples = np.clip(np.rint(luma + kept[fmt]), 0, fmt.peak).astype(sample_dtype(fmt))
        return Frame.from_planes(fmt, [changed, *chroma])

    return apply


def _temporal(share: float) -> Callable[[Frame], Frame]:
    """Our codecs' recursive filter along motion, with the decoded picture as its own guide."""
    require("torch", extra=NEURAL)
    from bench.neural.coding.pictures import to_frame, to_tensor
    from bench.neural.coding.temporal_filter import TemporalFilter

    steady = TemporalFilter(share)

    def apply(frame: Frame) -> Frame:
        picture = to_tensor(frame)
        return to_frame(steady(picture, picture), frame.format)

    return apply
