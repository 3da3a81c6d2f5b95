"""ActDiff-VC on restoration: keyframes by a classical encoder, trajectories between them, and our network behind both.

The stream is `bench.neural.codecs.actdiff_vc.codec`'s. Its generator is the restoration network: what it restores is
not a decoded base but the keyframes, warped along the trajectories and made smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.codecs.actdiff_vc import codec
from bench.neural.codecs.actdiff_vc.codec import encode
from bench.neural.codecs.actdiff_vc.options import RestoredOptions
from bench.neural.codecs.actdiff_vc.render import Conditions
from bench.neural.codecs.restoration import av1, coding
from bench.neural.codecs.restoration.network import STRIDE, NetworkConfig, Restoration
from bench.neural.codecs.restoration.options import RestorationOptions
from bench.neural.codecs.restoration.restore import Known, restored
from bench.video.frame import Frame

SCALE = 2
"""What warped keyframes are made smaller by, where the network has an entry for it."""

CRF = 60
"""What the network is told of the quality of its input; keyframes of other qualities hardly differ to it."""


class TrackedGenerator(nn.Module):
    """The restoration network in the place of a generator of ActDiff-VC's."""

    def __init__(self, network: Restoration) -> None:
        super().__init__()
        self.network = network
        self.options = RestorationOptions()

    def forward(self, moved: Conditions, *, steps: int, seed: int, strength: float = 1.0) -> Tensor:
        """Pictures B x 3 x T x H x W of one segment; it draws them in one step, whatever ``steps`` says.

        ``strength``: below 1, a share of the warped keyframes themselves.
        """
        video = moved.predicted.transpose(1, 2)[0]
        height, width = video.shape[-2:]
        scale = SCALE if self.network.config.half else STRIDE
        known = Known(types(moved), CRF, scale, seed)
        small = iter(smaller(video, scale).cpu().split(1))
        found = torch.cat(list(restored(self.network, small, known, self.options, video.device)))
        drawn = found[..., :height, :width].to(video.device)
        return (strength * drawn + (1 - strength) * video).transpose(0, 1)[None]


def smaller(video: Tensor, scale: int) -> Tensor:
    """Warped keyframes T x 3 x H x W made smaller, sides repeated to what the network takes."""
    height, width = video.shape[-2:]
    missing = (0, -width % (2 * STRIDE), 0, -height % (2 * STRIDE))
    padded = functional.pad(video, missing, mode="replicate")
    size = [side // scale for side in padded.shape[-2:]]
    return functional.interpolate(padded, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


def types(moved: Conditions) -> list[int]:
    """Types of a segment's frames: the keyframes at its ends, what is warped between them."""
    found = [av1.LEAF] * moved.predicted.shape[2]
    found[0] = av1.KEY
    if bool(moved.closed):
        found[-1] = av1.KEY
    return found


class Tracked(nn.Module):
    """What `bench.neural.codecs.actdiff_vc.codec` takes for a model: no part of it codes keyframes."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = TrackedGenerator(Restoration(config))


def decode(model: Tracked, file: BinaryIO, *, options: RestoredOptions | None = None, **others: Any) -> Iterator[Frame]:
    """See `bench.neural.codecs.actdiff_vc.codec.decode`."""
    chosen = options or RestoredOptions()
    model.generator.options = RestorationOptions(without=chosen.without)
    return codec.decode(model, file, options=chosen, **others)


def build(config: Mapping[str, Any]) -> Tracked:
    """The network, untrained."""
    return Tracked(NetworkConfig(**config))


def gop(config: Mapping[str, Any]) -> str:
    """How frames depend on each other, in words for a card."""
    return "segments of content's own length that share their keyframes, which are I frames; trajectories between them"


def is_stored(tensor: str) -> bool:
    """Everything but what training alone has."""
    return coding.is_stored(tensor.removeprefix("generator.network."))


__all__ = ["build", "decode", "encode", "gop", "is_stored"]
