"""What a card chooses of ActDiff-VC beside the rate: how segments, points and keyframes are made, and decoding steps.

Reading a card imports this, and no network.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from bench.catalog import Model

TRAJECTORY_BPP = (0.0006, 0.006)
"""Bits for trajectories, for each pixel of a segment's frames, at the lowest and the highest rate index."""


class ActDiffOptions(Model):
    """The table ``settings.options`` of a card of ActDiff-VC."""

    steps: int = Field(default=10, ge=1, le=100, description="denoising steps of the decoder")
    keyframes: Literal["learned", "x264", "x265", "libaom"] = Field(
        default="learned", description="codec of the keyframes: the learned one, or an intra picture through FFmpeg"
    )
    qualities: tuple[int, ...] = Field(
        default=(), description="QP or CRF of keyframes through FFmpeg, one for each rate index; ours where empty"
    )
    segments: Literal["adaptive", "fixed"] = Field(
        default="adaptive", description="end segments where they stop being predictable, or all at the longest length"
    )
    longest: int = Field(default=49, ge=2, le=241, description="frames of the longest segment, both keyframes included")
    coverage: float = Field(default=0.7, ge=0, le=1, description="share of a frame that the keyframe must account for")
    perceptual: float = Field(default=0.3, ge=0, le=1, description="how far the splatted keyframe may look away")
    measure: Literal["structural", "squeezenet"] = Field(
        default="structural", description="what tells that distance; squeezenet takes a file of weights"
    )
    patience: int = Field(default=3, ge=1, description="frames in a row that must fail before a segment ends")
    tracker: Literal["dis", "cotracker", "alltracker"] = Field(default="dis", description="what follows points")
    selection: Literal["greedy", "grid", "flow"] = Field(
        default="greedy", description="points by what they add to the interpolated motion, on a grid, or the fastest"
    )
    sketch: bool = Field(default=True, description="weight points by an edge sketch")
    tracks: int = Field(
        default=0, ge=0, description="points of a segment; 0: a budget in bits that grows with the rate"
    )
    boundaries: Literal[1, 2] = Field(default=2, description="keyframes that a segment is made from")

    @model_validator(mode="after")
    def _qualities_belong_to_ffmpeg(self) -> Self:
        if self.qualities and self.keyframes == "learned":
            raise ValueError("qualities: are of keyframes through FFmpeg; the learned codec has its own rate points")
        return self


def trajectory_bits(rate: int, rates: int, pixels: int) -> int:
    """The budget in bits for the trajectories of so many pixels, all frames of a segment after its first counted."""
    first, last = TRAJECTORY_BPP
    share: float = first * (last / first) ** (rate / max(1, rates - 1))
    return round(pixels * share)
