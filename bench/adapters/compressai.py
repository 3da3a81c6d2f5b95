"""CompressAI's models by card: scale-space flow, and the image models as all-intra codecs.

One weight file a rate point. Everything runs on the CPU, in float32, with the card's number of threads: the indexes by
which tables of probabilities are chosen come from networks in floating point, so that encoder and decoder must compute
alike to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.adapters.base import Codec, EncodeInfo, RatePoint, Settings
from bench.adapters.card_weights import locate
from bench.cards import Card
from bench.core.files import file_digest
from bench.core.require import NEURAL, require, versions
from bench.datasets.manifest import Url
from bench.errors import BitstreamError, CardError, DecodeError, UnavailableError
from bench.video.frame import Frame
from bench.video.sequence import Sequence
from bench.weights import files as weights

if TYPE_CHECKING:
    from bench.networks.compressai_models import FrameCoder

LIBRARIES = ("torch", "compressai")

_KEPT_BYTES = 400 << 20
"""Weight files that are loaded before they are asked for: those of more rate points would take too much memory."""

ModelName = Literal[
    "ssf2020",
    "bmshj2018-factorized",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "mbt2018",
    "cheng2020-anchor",
    "cheng2020-attn",
]


class CompressaiSettings(Settings):
    """The ``settings`` table of a card with adapter = "compressai".

    Weight files, from the lowest rate on, are those of the card's ``weights`` where it has some, else ``files``.
    """

    model: ModelName = Field(description="name in CompressAI's zoo")
    url: Url | None = Field(default=None, description="address of the folder with the published files")
    files: tuple[weights.TorchHubName, ...] = Field(
        default=(), description="published files, each with the start of its SHA-256 in its name"
    )
    intra_period: int = Field(
        default=0, ge=0, description="frames from one I frame to the next; 0: only the first frame is one"
    )
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads; their number may change the bitstream")


class CompressaiCodec(Codec):
    """Streams carry the source's format and name the weights; frames are coded as RGB at their own bit depth."""

    settings_model = CompressaiSettings
    settings: CompressaiSettings
    runs_torch = True

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self._kept: dict[int, tuple[FrameCoder, bytes]] = {}
        rates = card.rates
        if not rates.integer or rates.minimum < 0:
            raise CardError(f"card {card.name}: rates: count weight files; make them whole numbers from 0 or 1 up")
        what, found = ("weights", card.weights) if card.weights else ("settings.files", self.settings.files)
        wanted = int(rates.maximum - rates.minimum) + 1
        if len(found) != wanted:
            raise CardError(
                f"card {card.name}: {what}: are {len(found)}, and {rates.parameter} {rates.minimum:g} to "
                f"{rates.maximum:g} are {wanted} rate points; name one file for each, from the lowest rate on"
            )
        if not card.weights and self.settings.url is None:
            raise CardError(f"card {card.name}: settings.url: is missing; say where settings.files are published")
        if self.settings.intra_period and self.settings.model != "ssf2020":
            raise CardError(
                f"card {card.name}: settings.intra_period: {self.settings.model} is all intra, leave it out"
            )

    def check(self) -> None:
        require(*LIBRARIES, extra=NEURAL)
        for rate in self.card.rates.values:
            self.weight_file(int(rate), asked_as=self.card.name)

    def tool(self) -> dict[str, str]:
        return versions(LIBRARIES)

    def published_weights(self) -> dict[float, weights.Published]:
        lowest = int(self.card.rates.minimum)
        return {
            lowest + number: weights.Published(file, f"{self.settings.url}/{file}")
            for number, file in enumerate(() if self.card.weights else self.settings.files)
        }

    def prepare(self) -> None:
        import torch

        # compiled, or loaded, when they are imported
        import bench.bitstream.range_decoder
        import bench.video.colour  # noqa: F401
        from bench.adapters import compressai_stream  # noqa: F401

        torch.set_num_threads(1)
        lowest, rates = int(self.card.rates.minimum), int(self.card.rates.maximum - self.card.rates.minimum) + 1
        files = {}
        for quality in range(lowest, lowest + rates):
            with suppress(UnavailableError):  # it is not asked for, or whoever asks is told
                files[quality] = self.weight_file(quality)
        if sum(path.stat().st_size for path in files.values()) <= _KEPT_BYTES:
            self._kept = {quality: self.coder(quality) for quality in files}

    def encode(self, source: Sequence, rate: RatePoint, bitstream: Path) -> EncodeInfo:
        from bench.adapters.compressai_stream import encode
        from bench.bitstream.container import StreamHeader

        transform = self.transform(source.format)
        quality = int(rate.value)
        self._set_threads()
        coder, digest = self.coder(quality)
        header = StreamHeader(self.settings.model, digest, transform.coded, source.frames, rate_index=quality)
        frames = map(transform.forward, source.read())
        with bitstream.open("wb") as file:
            encode(coder, frames, header, file, self.settings.intra_period)
        return EncodeInfo(parameters=sum(weight.numel() for weight in coder.model.parameters()))

    def decode(self, bitstream: Path) -> Iterator[Frame]:
        from bench.adapters.compressai_stream import decode
        from bench.bitstream.container import StreamReader

        self._set_threads()
        try:
            with bitstream.open("rb") as file:
                reader = StreamReader(file)
                quality, rates = reader.header.rate_index, self.card.rates
                if quality < rates.minimum:
                    raise BitstreamError(f"header: rate index {quality}, the card's begin at {rates.minimum}")
                reader.header.expect(self.settings.model, reader.header.weights, int(rates.maximum) + 1)
                coder, digest = self.coder(quality)
                reader.header.expect(self.settings.model, digest, int(rates.maximum) + 1)
                yield from decode(coder, reader)
        except BitstreamError as error:
            raise DecodeError("bitstream", f"{bitstream.name}: {error}") from None

    @property
    def model(self) -> str:
        """Name in CompressAI's zoo."""
        return self.settings.model

    def coder(self, quality: int) -> tuple[FrameCoder, bytes]:
        """The network of a rate point, and the digest by which its streams name it."""
        if quality in self._kept:
            return self._kept[quality]
        from bench.bitstream.container import DIGEST_BYTES
        from bench.networks.compressai_models import build

        path = self.weight_file(quality)
        try:
            coder = build(self.settings.model, weights.read_tensors(path))
        except (KeyError, RuntimeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise UnavailableError(
                f"{path}: holds no {self.settings.model} ({reason}); name a state dict of that model of CompressAI's"
            ) from None
        return coder, bytes.fromhex(file_digest(path))[:DIGEST_BYTES]

    def weight_file(self, quality: int, *, asked_as: str | None = None) -> Path:
        """The verified weight file of a rate point; UnavailableError saying what to do.

        ``asked_as``: what is to be fetched where it is missing, if not the one file.
        """
        if not self.card.weights:
            return self.published_weights()[quality].locate(weights.folders(), asked_as=asked_as)
        wanted = self.card.weights[quality - int(self.card.rates.minimum)]
        return locate(self.card, self.folder, wanted, otherwise="put it there")

    def _set_threads(self) -> None:
        import torch

        torch.set_num_threads(self.settings.threads)
