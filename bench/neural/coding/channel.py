"""What latents go through: an encoder's payloads, a decoder's, or training's estimate of both.

A codec described on channels is described once, for training, encoding and decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

from bench.neural.coding.latent_coder import Coded, LatentCoder


class Channel(Protocol):
    """Takes latents one after the other and gives back what the decoder has of them."""

    @property
    def indexes(self) -> Tensor:
        """The rate index of each item of a batch."""

    def code(self, coder: LatentCoder, latent: Callable[[], Tensor], context: Tensor, before: Tensor | None) -> Coded:
        """Code a latent; it is made only where there is a source to make it of."""


class TrainingChannel:
    """Latents of a batch, each item at its rate index; differentiable. ``rdoq`` as `LatentCoder.encode` says."""

    def __init__(self, rate: Tensor, rdoq: float = 0.0) -> None:
        self.indexes = rate
        self.rdoq = rdoq

    def code(self, coder: LatentCoder, latent: Callable[[], Tensor], context: Tensor, before: Tensor | None) -> Coded:
        """See `Channel`."""
        coded: Coded = coder(latent(), context, before, self.indexes, self.rdoq)
        return coded


class EncoderChannel:
    """Latents to bytes, collected in ``payloads``; ``rdoq`` as `LatentCoder.encode` says."""

    def __init__(self, rate: int, rdoq: float = 0.0) -> None:
        self.rate = rate
        self.indexes = torch.tensor([rate])
        self.rdoq = rdoq
        self.payloads: list[bytes] = []

    def code(self, coder: LatentCoder, latent: Callable[[], Tensor], context: Tensor, before: Tensor | None) -> Coded:
        """See `Channel`."""
        coded: Coded
        data, coded = coder.encode(latent(), context, before, self.rate, self.rdoq)
        self.payloads.append(data)
        return coded


class DecoderChannel:
    """Latents from payloads, in the order of their coding."""

    def __init__(self, rate: int, payloads: Iterable[bytes]) -> None:
        self.rate = rate
        self.indexes = torch.tensor([rate])
        self._payloads = iter(payloads)

    def code(self, coder: LatentCoder, latent: Callable[[], Tensor], context: Tensor, before: Tensor | None) -> Coded:
        """See `Channel`."""
        coded: Coded = coder.decode(next(self._payloads), context, before, self.rate)
        return coded
