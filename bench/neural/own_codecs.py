"""What each of our own codecs offers for coding: networks from a configuration, a stream, and what a card chooses.

This imports no network, so that whether a codec is there costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from pydantic import Field, ValidationError

from bench.core.schema import Model, explain
from bench.errors import UnknownNameError
from bench.neural.codecs import OWN_CODECS, offered

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.bitstream.container import StreamHeader
    from bench.video.frame import Frame


@dataclass(frozen=True)
class ImageCard:
    """A card of one of CompressAI's image models, ``name`` or ``name@configuration``, and its quality by rate index."""

    name: str
    qualities: tuple[int, ...]


RDOQ = 0.02
"""What a bit is worth to the choice of symbols, in squared steps: in training, and in coding unless a card differs."""

TEMPORAL_FILTER = Field(
    default=0.0,
    ge=0,
    lt=1,
    description="decoder: share of the frame before, moved along, in each that the generator gives; 0: none",
)
"""The option of that name, for codecs whose decoders end in `bench.neural.coding.temporal_filter`."""


class CodecOptions(Model):
    """Base of ``settings.options``: what a codec takes beside the weights of its own."""

    def image_card(self) -> ImageCard | None:
        """What codes single pictures, handed to ``encode`` and ``decode`` as ``images``; None where nothing does."""
        return None

    def check_rates(self, rates: int) -> None:
        """Raise ValueError, naming the option, unless it says what it must for so many rate indexes."""

    def check_programs(self) -> None:
        """Raise UnavailableError where a program is not here."""

    def programs(self) -> dict[str, str]:
        """Programs that write bits, with their versions and digests."""
        return {}


class Coding(Protocol):
    """What a codec's coding module offers."""

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """The networks as a configuration says, untrained."""

    def gop(self, config: Mapping[str, Any]) -> str:
        """How frames depend on each other, in words for a card."""

    def is_stored(self, tensor: str) -> bool:
        """Whether coding needs the tensor of that name from a weight file; training has some of its own."""

    def encode(
        self, model: nn.Module, frames: Iterable[Frame], header: StreamHeader, file: BinaryIO, **options: Any
    ) -> list[int]:
        """Write a stream; returns the bytes of its parts.

        ``options``: what `options_of` gave, as keyword, and ``images`` where these name an `ImageCard`.
        """

    def decode(
        self,
        model: nn.Module,
        file: BinaryIO,
        *,
        name: str,
        weights: bytes,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> Iterator[Frame]:
        """Frames of a stream, in the source's format; BitstreamError naming the unit that is wrong.

        ``device``: where the networks run that the coded state does not depend on. All others run on the CPU, whose
        arithmetic encoder and decoder must share.
        """


def coding(codec: str) -> Coding:
    """What a codec's coding module offers; UnknownNameError where there is none."""
    if codec not in OWN_CODECS:
        raise UnknownNameError("codec of our own", codec, OWN_CODECS)
    return cast(Coding, offered(OWN_CODECS[codec].coding))


def options_of(codec: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """What a card chooses of a codec, as keywords of its ``encode`` and ``decode``; none for a codec without choices.

    Raises ValueError, naming each, for what is no option of it.
    """
    part = OWN_CODECS[codec].options
    if part is None:
        if table:
            raise ValueError(f"{codec} has no options, the card gives {', '.join(sorted(table))}")
        return {}
    try:
        return {"options": offered(part).model_validate(table)}
    except ValidationError as error:
        raise ValueError(f"options:\n  {explain(error)}") from None
