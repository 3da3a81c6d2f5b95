"""Sizes of Diff-SIT's networks, and what a card chooses beside the rate. Reading a card imports this, no network."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from bench.errors import UsageError
from bench.neural.own_codecs import RDOQ, TEMPORAL_FILTER, CodecOptions


@dataclass(frozen=True)
class DiffSitConfig:
    """Sizes of the networks, and the two facts a decoder must know: how many frames it restores at once, and the step.

    ``chunk``: frames that the generator sees together, 12 n + 9, which is whole groups and what Wan's autoencoder
    takes without dropping any. ``sigma``: noise level that the one step starts from. ``frame_types``: whether the
    generator is told them; off for the ablation.
    """

    width: int = 64
    deep: int = 72
    y_channels: int = 112
    hyper_channels: int = 24
    flow_width: int = 24
    motion_width: int = 40
    motion_components: int = 6
    rates: int = 8
    vae_width: int = 32
    vae_multipliers: tuple[int, ...] = (1, 1, 2)
    latent_channels: int = 48
    heads: int = 4
    head_width: int = 40
    layers: int = 2
    refiner_width: int = 56
    refiner_blocks: int = 4
    refiner_noise: int = 4
    chunk: int = 21
    sigma: float = 0.4
    frame_types: bool = True

    def __post_init__(self) -> None:
        if self.chunk % 12 != 9:
            raise UsageError(f"chunk {self.chunk}: takes 9, 21, 33 ... frames, whole groups of three and 4 k + 1")


class DiffSitOptions(CodecOptions):
    """The table ``settings.options`` of a card of Diff-SIT."""

    chain: int = Field(
        default=0, ge=0, description="backbone frames from one I frame to the next; 0: the first frame alone is I"
    )
    intermediate: bool = Field(
        default=False, description="show the intermediate sequence, as it is before the generator restores it"
    )
    temporal_filter: float = TEMPORAL_FILTER
    rdoq: float = Field(
        default=RDOQ,
        ge=0,
        le=1,
        description="encoder's rate-distortion optimised quantisation: squared steps that a bit is worth; 0: rounding",
    )
