"""CompressAI's models by name: a picture (RGB, 0 to 1) to strings of bytes and back, one at a time.

Everything runs on the CPU, in float32. Strings are those that the model's own ``compress`` gives; a payload holds those
of one picture, each but the last after its length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from bench.bitstream.container import PayloadReader, varint
from bench.bitstream.entropy import SymbolDecoder, Tables
from bench.core.quiet_import import imported
from bench.errors import BitstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VIDEO_MODEL = "ssf2020"


class FrameCoder(ABC):
    """A model that codes one frame at a time.

    ``padded_to``: sides are padded to multiples of it. ``reduction``: how often a side of the last latent, whose size
    the decoder must know, goes into the picture's.
    """

    padded_to: int
    reduction: int
    strings: tuple[int, int]
    """How many strings an intra frame has, and an inter frame: 0 where every frame is an intra frame."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def padded(self, picture: Tensor) -> Tensor:
        """A picture N x C x H x W as the model takes it: with zeros around, as CompressAI's own evaluation pads."""
        height, width = picture.shape[-2:]
        below, right = _multiple(height, self.padded_to) - height, _multiple(width, self.padded_to) - width
        left, top = right // 2, below // 2
        return functional.pad(picture, (left, right - left, top, below - top))

    def cut(self, padded: Tensor, height: int, width: int) -> Tensor:
        """The picture that was padded."""
        left, top = ((_multiple(side, self.padded_to) - side) // 2 for side in (width, height))
        return padded[..., top : top + height, left : left + width]

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the last latent of a picture."""
        return _multiple(height, self.padded_to) // self.reduction, _multiple(width, self.padded_to) // self.reduction

    @abstractmethod
    def encode(self, picture: Tensor, reference: Tensor | None) -> tuple[list[bytes], Tensor | None]:
        """Strings of a padded picture, and what the next one is coded from: None where that is nothing."""

    @abstractmethod
    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Tensor | None) -> Tensor:
        """The padded picture of some strings, which may exceed 0 to 1; ``shape`` is that of the last latent."""


class ImageCoder(FrameCoder):
    """An image model: every frame on its own."""

    padded_to = 64

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.reduction = model.downsampling_factor
        self.strings = (1 if type(model).__name__ == "FactorizedPrior" else 2, 0)

    def encode(self, picture: Tensor, reference: Tensor | None) -> tuple[list[bytes], None]:
        return [part[0] for part in self.model.compress(picture)["strings"]], None

    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Tensor | None) -> Tensor:
        picture: Tensor = self.model.decompress([[part] for part in strings], shape)["x_hat"]
        return picture


class ScaleSpaceFlowCoder(FrameCoder):
    """Scale-space flow: an inter frame is motion and residual against the picture before it."""

    padded_to = reduction = 128
    strings = (2, 4)

    def encode(self, picture: Tensor, reference: Tensor | None) -> tuple[list[bytes], Tensor]:
        decoded: Tensor
        if reference is None:
            decoded, coded = self.model.encode_keyframe(picture)
            parts = coded["strings"]
        else:
            decoded, coded = self.model.encode_inter(picture, reference)
            parts = [*coded["strings"]["motion"], *coded["strings"]["residual"]]
        return [part[0] for part in parts], decoded

    def decode(self, strings: list[bytes], shape: tuple[int, int], reference: Tensor | None) -> Tensor:
        parts = [[part] for part in strings]
        picture: Tensor
        if reference is None:
            picture = self.model.decode_keyframe(parts, shape)
        else:
            both = {"motion": parts[:2], "residual": parts[2:]}
            picture = self.model.decode_inter(reference, both, dict.fromkeys(both, shape))
        return picture


class CheckedDecoder:
    """Stands for compressai's ``RansDecoder``, with its calls and its symbols; stays within the bytes it is given.

    Raises BitstreamError for bytes that no encoder wrote. ``tables``: those that it is going to be given, made once.
    """

    def __init__(self, tables: Tables | None = None) -> None:
        self._tables = tables

    def decode_with_indexes(self, encoded: bytes, indexes: list[int], *tables: list[Any]) -> list[int]:
        """All symbols of some bytes; ``tables`` are CDFs, their sizes and offsets."""
        self.set_stream(encoded)
        symbols = self.decode_stream(indexes, *tables)
        with _told():
            self._decoder.end()
        return symbols

    def set_stream(self, encoded: bytes) -> None:
        """Take the bytes that `decode_stream` gives the symbols of."""
        with _told():
            self._decoder = SymbolDecoder(encoded)

    def decode_stream(self, indexes: list[int], *tables: list[Any]) -> list[int]:
        """The next symbols."""
        if self._tables is None:  # an autoregressive model gives the same lists for each place of its latent
            self._tables = _tables(*tables)
        with _told():
            symbols: list[int] = self._decoder.take(np.array(indexes, np.int32), self._tables).tolist()
        return symbols


@contextmanager
def _told() -> Iterator[None]:
    """These models choose tables in floating point: bytes that decode badly may be right."""
    try:
        yield
    except BitstreamError as error:
        raise BitstreamError(
            f"{error}; or other tables were chosen than by the encoder: the arithmetic of the two machines differs"
        ) from None


def _tables(cdfs: list[list[int]], sizes: list[int], offsets: list[int]) -> Tables:
    return Tables(tuple(map(tuple, cdfs)), tuple(sizes), tuple(offsets))


def build(model: str, tensors: Mapping[str, Tensor]) -> FrameCoder:
    """The coder of a model of CompressAI's zoo from its state dict, on the CPU, ready to code.

    Raises KeyError, RuntimeError or ValueError for tensors that are not that model's, and for tables of probabilities
    that a coder would follow out of its memory. Tables are made where the state dict holds none, as that of a training
    does. The model decodes by `CheckedDecoder`.
    """
    imported("compressai.models.google").RansDecoder = CheckedDecoder
    zoo = imported("compressai.zoo.video" if model == VIDEO_MODEL else "compressai.zoo.image")
    renamed = imported("compressai.zoo.pretrained").load_pretrained(dict(tensors))
    network = zoo.model_architectures[model].from_state_dict(renamed).eval().requires_grad_(False)
    network.update()
    kind = imported("compressai.entropy_models").EntropyModel
    for part in (part for part in network.modules() if isinstance(part, kind)):
        tables = _tables(part.quantized_cdf.tolist(), part.cdf_length.tolist(), part.offset.tolist())
        part.entropy_coder._decoder = CheckedDecoder(tables)
    return ScaleSpaceFlowCoder(network) if model == VIDEO_MODEL else ImageCoder(network)


def pack_strings(strings: Sequence[bytes]) -> bytes:
    """The payload of a picture's strings."""
    *first, last = strings
    return b"".join(varint(len(part)) + part for part in first) + last


def unpack_strings(payload: PayloadReader, count: int) -> list[bytes]:
    """So many strings, which are the rest of a payload; BitstreamError where it does not hold them."""
    return [payload.take(payload.varint()) for _ in range(count - 1)] + [payload.rest()]


def _multiple(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
