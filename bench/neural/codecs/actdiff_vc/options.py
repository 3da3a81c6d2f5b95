"""What a card chooses of ActDiff-VC beside the rate: how segments, points and keyframes are made, and decoding steps.

Reading a card imports this, and no network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bench.core.files import file_digest
from bench.neural.codecs.actdiff_vc.intra_encoders import ENCODERS
from bench.neural.own_codecs import RDOQ, TEMPORAL_FILTER, CodecOptions, ImageCard
from bench.video import ffmpeg

LEARNED, COMPRESSAI = "learned", "compressai"
"""Kinds of keyframes beside those through FFmpeg; the second is followed by a colon and the name of a card."""

SMALLER = {"svt-av1-half": 2, "svt-av1-quarter": 4}
"""Keyframes by SVT-AV1 at a part of the size, by how many times smaller their sides are."""

SMALLER_QUALITIES = (63, 46)
"""CRF of those at the lowest and the highest rate index, where a card gives none."""

_CARD = re.compile(rf"{COMPRESSAI}:([A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._-]+)?)")

TRAJECTORY_BPP = (0.0006, 0.006)
"""Bits for trajectories, for each pixel of a segment's frames, at the lowest and the highest rate index."""


def _known(keyframes: str) -> str:
    if keyframes not in {LEARNED, *ENCODERS, *SMALLER} and not _CARD.fullmatch(keyframes):
        raise ValueError(
            f"{keyframes!r} is not a keyframe codec; use one of {', '.join((LEARNED, *ENCODERS, *SMALLER))}, and "
            f"{COMPRESSAI}:CARD for one of CompressAI's image codecs, such as {COMPRESSAI}:bmshj2018-hyperprior"
        )
    return keyframes


class ActDiffOptions(CodecOptions):
    """The table ``settings.options`` of a card of ActDiff-VC."""

    steps: int = Field(default=10, ge=1, le=100, description="denoising steps of the decoder")
    strength: float = Field(
        default=1.0, gt=0, le=1, description="how far from the warped keyframes to noise alone the decoder begins"
    )
    generate: bool = Field(
        default=True, description="decoder: draw frames, or show the keyframes warped along the tracks as they are"
    )
    temporal_filter: float = TEMPORAL_FILTER
    keyframes: Annotated[str, AfterValidator(_known)] = Field(
        default=LEARNED,
        description="codec of the keyframes: the learned one, an intra picture through FFmpeg (x265 ...), or "
        "compressai:CARD, where CARD has the adapter compressai",
    )
    qualities: tuple[int, ...] = Field(
        default=(),
        description="quality of keyframes, one for each rate index: that of CARD, or QP or CRF through FFmpeg, where "
        "empty means ours",
    )
    rdoq: float = Field(
        default=RDOQ,
        ge=0,
        le=1,
        description="learned keyframes: rate-distortion optimised quantisation, squared steps a bit is worth",
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
    def _fits_the_keyframes(self) -> Self:
        if self.qualities and self.keyframe_kind == LEARNED:
            raise ValueError("qualities: are of other keyframes; the learned codec has its own rate points")
        if "rdoq" in self.model_fields_set and self.keyframe_kind != LEARNED:
            raise ValueError(f"rdoq: is of learned keyframes, these are of {self.keyframes}; leave it out")
        if not self.qualities and self.keyframe_kind == COMPRESSAI:
            raise ValueError(f"qualities: say which one of {self.keyframes} each rate index has, such as [1, 2, 3, 4]")
        return self

    @property
    def keyframe_kind(self) -> str:
        """`LEARNED`, `COMPRESSAI`, or a name of `ENCODERS`."""
        return self.keyframes.partition(":")[0]

    def image_card(self) -> ImageCard | None:
        """See `CodecOptions`."""
        found = _CARD.fullmatch(self.keyframes)
        return None if found is None else ImageCard(found[1], self.qualities)

    def check_rates(self, rates: int) -> None:
        """See `CodecOptions`."""
        if self.qualities and len(self.qualities) < rates:
            raise ValueError(
                f"qualities: are {len(self.qualities)}, the card has rate indexes 0 to {rates - 1}; add some"
            )

    def check_programs(self) -> None:
        """See `CodecOptions`."""
        if self.keyframe_kind in ENCODERS:
            ENCODERS[self.keyframe_kind].check()
        if self.keyframe_kind in SMALLER:
            ENCODERS["svt-av1"].check()

    def programs(self) -> dict[str, str]:
        """See `CodecOptions`."""
        if self.keyframe_kind not in {*ENCODERS, *SMALLER}:
            return {}
        return {"ffmpeg": ffmpeg.version(), "ffmpeg_sha256": file_digest(Path(ffmpeg.executable()))}


class RestoredOptions(ActDiffOptions):
    """The same, of ActDiff-VC with the restoration network for a generator."""

    without: tuple[Literal["facts", "exchange", "diffusion"], ...] = Field(
        default=(), description="decoder: parts of the network that are left out, to see what they do"
    )


def trajectory_bits(rate: int, rates: int, pixels: int) -> int:
    """The budget in bits for the trajectories of so many pixels, all frames of a segment after its first counted."""
    first, last = TRAJECTORY_BPP
    share: float = first * (last / first) ** (rate / max(1, rates - 1))
    return round(pixels * share)
