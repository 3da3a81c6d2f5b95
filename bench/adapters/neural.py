"""Our own codecs (`bench.neural`): networks from a weight file that the card names.

What the coded state depends on always runs on the CPU, in float32, with the card's number of threads: encoder and
decoder must agree to the bit, and no two kinds of device do. The networks behind it, which only make pictures of that
state, run on the device that VCBENCH_DEVICE names, on the CPU where it names none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from bench.adapters.base import Codec, EncodeInfo, RatePoint, Settings
from bench.adapters.card_weights import locate
from bench.adapters.libraries import require, versions
from bench.catalog import Card
from bench.errors import BitstreamError, CardError, DecodeError, EncodeError
from bench.metrics.network import DEVICE
from bench.neural.coding import CODINGS, options_of
from bench.video.frame import Frame
from bench.video.sequence import Sequence

if TYPE_CHECKING:
    from bench.neural.weights import Loaded

LIBRARIES = ("torch", "compressai", "diffusers", "safetensors")


def _known(codec: str) -> str:
    if codec not in CODINGS:
        raise ValueError(f"{codec!r} is none of vcbench's own codecs: {', '.join(sorted(CODINGS))}")
    return codec


class NeuralSettings(Settings):
    """The ``settings`` table of a card with adapter = "neural"."""

    codec: Annotated[str, AfterValidator(_known)] = Field(description="which of vcbench's own codecs, such as s2vc")
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads; their number may change the bits")
    options: dict[str, Any] = Field(default_factory=dict, description="choices of that codec; its page tells them")

    @model_validator(mode="after")
    def _options_are_the_codecs(self) -> Self:
        self.chosen()
        return self

    def chosen(self) -> dict[str, Any]:
        """Keywords for the codec's functions that the options make."""
        return options_of(self.codec, self.options)


class NeuralCodec(Codec):
    """One weight file, rate points by index; the stream names the weights and carries the source's format."""

    settings_model = NeuralSettings
    settings: NeuralSettings

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        if len(card.weights) != 1:
            raise CardError(f"card {card.name}: weights: the adapter neural takes one file, not {len(card.weights)}")

    def check(self) -> None:
        require(LIBRARIES)
        self._weights()

    def tool(self) -> dict[str, str]:
        device = _named_device()
        return versions(LIBRARIES) | ({"device": device} if device else {})

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        from bench.neural.container import StreamHeader

        loaded = self._loaded()
        transform = self.transform(source.format)
        rates = loaded.about.config["rates"]
        if not 0 <= rate.value < rates:
            raise EncodeError("rate", f"{self.card.name}: rate index {rate.value:g}, its weights have 0 to {rates - 1}")
        header = StreamHeader(
            self.settings.codec, loaded.digest, transform.coded, source.frames, rate_index=int(rate.value)
        )
        with bitstream.open("wb") as file:
            frames = map(transform.forward, source.read())
            loaded.coding.encode(loaded.model, frames, header, file, **self.settings.chosen())
        return EncodeInfo()

    def decode(self, bitstream: Path) -> Iterator[Frame]:
        loaded = self._loaded()
        try:
            with bitstream.open("rb") as file:
                yield from loaded.coding.decode(
                    loaded.model,
                    file,
                    name=self.settings.codec,
                    weights=loaded.digest,
                    device=self._device(),
                    **self.settings.chosen(),
                )
        except BitstreamError as error:
            raise DecodeError("bitstream", f"{bitstream.name}: {error}") from None

    def _loaded(self) -> Loaded:
        import torch

        from bench.neural.weights import load

        torch.set_num_threads(self.settings.threads)
        path = self._weights()
        loaded = load(path)
        if loaded.about.codec != self.settings.codec:
            raise CardError(
                f"card {self.card.name}: settings.codec is {self.settings.codec}, {path} is of {loaded.about.codec}"
            )
        return loaded

    def _weights(self) -> Path:
        """The verified weight file; UnavailableError saying what to do."""
        (wanted,) = self.card.weights
        return locate(self.card, self.folder, wanted, otherwise="make one with vcbench train, and put it there")

    def _device(self) -> str:
        if _named_device() is None:
            return "cpu"
        from bench.metrics.network import device

        return str(device())


def _named_device() -> str | None:
    named = os.environ.get(DEVICE, "")
    return None if named in {"", "auto", "cpu"} else named
