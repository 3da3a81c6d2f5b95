"""What a card chooses of a restoration codec: the base stream at each rate index, and what the decoder does with it.

Reading a card imports this, and no network.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bench.neural.codecs.restoration import program
from bench.neural.own_codecs import TEMPORAL_FILTER, CodecOptions

Quality = Annotated[int, Field(ge=0, le=63)]


class RestorationOptions(CodecOptions):
    """The table ``settings.options`` of a card of a restoration codec."""

    base: program.Base = Field(default="svt-av1", description="codec of the base")
    structure: program.Structure = Field(
        default="random-access", description="order of the base's frames, as its encoder has it"
    )
    quarter: tuple[Quality, ...] = Field(
        default=(63, 60, 56, 51, 46, 40, 34, 28),
        description="CRF (of VVenC: QP) of a base at 1/4 of the size, for each rate index, which makes the rate",
    )
    half: tuple[Quality, ...] = Field(
        default=(63, 63, 63, 63, 62, 57, 51, 45),
        description="likewise at 1/2: where the search begins for the one that has the rate of a base at 1/4",
    )
    scales: tuple[Literal[2, 4], ...] = Field(
        default=(2, 4), min_length=1, description="scales of the base that the encoder may choose from, for each clip"
    )
    temporal_filter: float = TEMPORAL_FILTER
    restore: Literal["network", "lanczos"] = Field(
        default="network", description="decoder: what makes the base larger; lanczos is the control of the network"
    )
    without: tuple[Literal["facts", "exchange", "diffusion", "moving", "before", "semantic"], ...] = Field(
        default=(), description="decoder: parts of the network that are left out, to see what they do"
    )

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.quarter) != len(self.half):
            raise ValueError(f"quarter has {len(self.quarter)} rate indexes and half {len(self.half)}; give as many")
        return self

    def check_rates(self, rates: int) -> None:
        """See `CodecOptions`."""
        if len(self.quarter) < rates:
            raise ValueError(f"quarter: has {len(self.quarter)} CRFs, the card has rate indexes 0 to {rates - 1}")

    def check_programs(self) -> None:
        """See `CodecOptions`."""
        program.check(self.base)

    def programs(self) -> dict[str, str]:
        """See `CodecOptions`."""
        return program.programs()

    def crf(self, scale: int, rate: int) -> int:
        """CRF or QP of a base at that scale."""
        return (self.half if scale == 2 else self.quarter)[rate]
