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
from bench.adapters.compressai import CompressaiCodec
from bench.cards import Card, brought, load_card, parted
from bench.core.require import NEURAL, require, versions
from bench.errors import BitstreamError, CardError, DecodeError, EncodeError
from bench.networks.device import DEVICE
from bench.neural.codecs import OWN_CODECS
from bench.neural.own_codecs import CodecOptions, options_of
from bench.video.frame import Frame
from bench.video.sequence import Sequence
from bench.weights.files import Published

if TYPE_CHECKING:
    from bench.neural.coding.weight_file import Loaded

LIBRARIES = ("torch", "compressai", "diffusers", "safetensors")


def _known(codec: str) -> str:
    if codec not in OWN_CODECS:
        raise ValueError(f"{codec!r} is not one of vcbench's own codecs: {', '.join(sorted(OWN_CODECS))}")
    return codec


class NeuralSettings(Settings):
    """The ``settings`` table of a card with adapter = "neural"."""

    codec: Annotated[str, AfterValidator(_known)] = Field(description="which of vcbench's own codecs, such as s2vc")
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads; their number may change the bitstream")
    options: dict[str, Any] = Field(default_factory=dict, description="options of that codec, described on its page")

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
    runs_torch = True

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        if len(card.weights) != 1:
            raise CardError(f"card {card.name}: weights: the adapter neural takes one file, not {len(card.weights)}")
        self._prepared: Loaded | None = None
        self._options: CodecOptions = self.settings.chosen().get("options", CodecOptions())
        try:
            self._options.check_rates(int(card.rates.maximum) + 1)
        except ValueError as error:
            raise CardError(f"card {card.name}: settings.options.{error}") from None

    def check(self) -> None:
        require(*LIBRARIES, extra=NEURAL)
        self._weights()
        self._options.check_programs()
        named, images = self._options.image_card(), self._images()
        if named is not None and images is not None:
            for rate in self.card.rates.values:
                images.weight_file(named.qualities[int(rate)], asked_as=self.card.name)

    def tool(self) -> dict[str, str]:
        device = _named_device()
        images = self._images()
        return (
            versions(LIBRARIES)
            | self._options.programs()
            | ({images.card.name: images.card.digest()} if images else {})
            | ({"device": device} if device else {})
        )

    def published_weights(self) -> dict[float, Published]:
        """Those of the card that codes pictures for this one, by the rate index that takes them."""
        named, images = self._options.image_card(), self._images()
        if named is None or images is None:
            return {}
        files = images.published_weights()
        return {rate: files[quality] for rate, quality in enumerate(named.qualities) if quality in files}

    def prepare(self) -> None:
        # compiled, or loaded, when it is imported; and what frames are read with
        import bench.bitstream.range_decoder
        import bench.video.colour  # noqa: F401

        self._prepared = self._loaded(threads=1)

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        from bench.bitstream.container import StreamHeader

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
            chosen = self._chosen()
            loaded.coding.encode(loaded.model, frames, header, file, **chosen)
        models = [loaded.model]
        named = self._options.image_card()
        if named is not None:
            models.append(chosen["images"].coder(named.qualities[header.rate_index])[0].model)
        return EncodeInfo(parameters=sum(weight.numel() for model in models for weight in model.parameters()))

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
                    **self._chosen(),
                )
        except BitstreamError as error:
            raise DecodeError("bitstream", f"{bitstream.name}: {error}") from None

    def _loaded(self, threads: int | None = None) -> Loaded:
        import torch

        from bench.neural.coding.weight_file import load

        torch.set_num_threads(threads or self.settings.threads)
        if self._prepared is not None:
            return self._prepared
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

    def _chosen(self) -> dict[str, Any]:
        """Keywords of the codec's functions."""
        images = self._images()
        return self.settings.chosen() | ({"images": images} if images else {})

    def _images(self) -> CompressaiCodec | None:
        """What codes single pictures for this codec: of a card beside this one, or of vcbench's; CardError for none."""
        named = self._options.image_card()
        if named is None:
            return None
        base, configuration = parted(named.name)
        places = [folder / f"{base}.toml" for folder in (*([self.folder] if self.folder else []), *brought("codecs"))]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise CardError(
                f"card {self.card.name}: settings.options: names the card {base}, but there is no {base}.toml beside "
                "this card and none among vcbench's; copy it there"
            )
        card = load_card(path).configured(configuration)
        if card.adapter != "compressai":
            raise CardError(
                f"card {self.card.name}: settings.options: names {path}, whose adapter is {card.adapter}; name a "
                "card of the adapter compressai"
            )
        images = CompressaiCodec(card)
        images.folder = path.parent
        try:
            for quality in named.qualities:
                card.rates.check(quality)
        except ValueError as error:
            raise CardError(f"card {self.card.name}: settings.options.qualities: {error} of {card.name}") from None
        return images

    def _device(self) -> str:
        if _named_device() is None:
            return "cpu"
        from bench.networks.device import device

        return str(device())


def _named_device() -> str | None:
    named = os.environ.get(DEVICE, "")
    return None if named in {"", "auto", "cpu"} else named
