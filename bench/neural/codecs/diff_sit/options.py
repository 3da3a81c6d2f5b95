"""What a card chooses of Diff-SIT beside the rate. Reading a card imports this, and no network."""

from __future__ import annotations

from pydantic import Field

from bench.neural.own_codecs import RDOQ, TEMPORAL_FILTER, CodecOptions


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
