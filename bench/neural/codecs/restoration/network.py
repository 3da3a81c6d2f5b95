"""The network that restores small pictures: a compact VGG-style stack that works at a quarter of the picture's size.

It has the layout of Real-ESRGAN's `realesr-animevideov3` (SRVGGNetCompact: Wang et al., "Real-ESRGAN", 2021), so that
it can begin with those weights; what is added beside begins as nothing, and leaves what they do unchanged:

- a second entry for bases of half the size,
- what is known of a frame (its type in the base stream, the rate, how noisy the input is) shifts and scales features,
- frames beside each other exchange features,
- an entry for more pictures: noise, from which a diffusion model draws, and a picture that was there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
"""Pixels along a side for each place of the network's features."""

EVERY = 4
"""Layers from one that is told the facts of a frame to the next."""

SCALES = (2, 4)
TYPES = 3
"""Frame types of `bench.neural.codecs.restoration.av1`."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and parts of the network.

    ``half``: whether it has an entry of its own for pictures of half the size. ``exchanges``: layers after which frames
    exchange features. ``facts``: whether it is told of frame types and the rate. ``noise``: whether it draws from
    noise, as a one-step diffusion does, and ``moving`` whether that noise moves with the picture. ``before``: whether
    it is given the frame that was shown before, moved along; ``semantic``: whether what earlier frames show shifts its
    features.
    """

    width: int = 64
    depth: int = 16
    half: bool = False
    exchanges: tuple[int, ...] = ()
    facts: bool = False
    noise: bool = False
    moving: bool = False
    before: bool = False
    semantic: bool = False
    rates: int = 8


@dataclass(frozen=True)
class Facts:
    """What is known of frames B x T: types (integers), CRF of the base (0 to 63), time of the diffusion (0 to 1)."""

    types: Tensor
    crf: Tensor
    time: Tensor

    def table(self) -> Tensor:
        """As numbers about 0 to 1, B x T x (TYPES + 2)."""
        kinds = functional.one_hot(self.types, TYPES).float()
        return torch.cat([kinds, self.crf[..., None].float() / 63, self.time[..., None].float()], dim=-1)


class Exchange(nn.Module):
    """Features of the frames before and after, by one convolution; nothing until it is trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, width, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Features (B T) x C x h x w; beyond the ends frames repeat."""
        video = x.unflatten(0, (-1, frames))
        before = torch.cat([video[:, :1], video[:, :-1]], dim=1).flatten(0, 1)
        after = torch.cat([video[:, 1:], video[:, -1:]], dim=1).flatten(0, 1)
        found: Tensor = x + self.conv(torch.cat([before, after], dim=1))
        return found


class Restoration(nn.Module):
    """Pictures from small ones. All pictures are -1 to 1."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.entry = nn.Conv2d(3, width, 3, padding=1)
        self.entry_half = nn.Conv2d(12, width, 3, padding=1) if config.half else None
        self.activations = nn.ModuleList(nn.PReLU(width) for _ in range(config.depth + 1))
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(config.depth))
        self.exit = nn.Conv2d(width, 3 * STRIDE**2, 3, padding=1)
        self.exchanges = nn.ModuleDict({str(layer): Exchange(width) for layer in config.exchanges})
        self.entry_noise = _nothing(nn.Conv2d(3 * STRIDE**2, width, 3, padding=1)) if config.noise else None
        self.entry_before = _nothing(nn.Conv2d(3 * STRIDE**2 + 1, width, 3, padding=1)) if config.before else None
        self.facts = (
            nn.Sequential(
                nn.Linear(TYPES + 2, width), nn.SiLU(), _nothing(nn.Linear(width, 2 * width * (config.depth // EVERY)))
            )
            if config.facts
            else None
        )
        self.semantic = _nothing(nn.Linear(width, 2 * width)) if config.semantic else None
        self.start_half()

    @torch.no_grad()
    def start_half(self) -> None:
        """Have the entry for half the size begin as the other one on the mean of each four pixels."""
        if self.entry_half is None:
            return
        self.entry_half.weight.copy_(self.entry.weight.repeat_interleave(4, dim=1) / 4)
        assert self.entry.bias is not None and self.entry_half.bias is not None
        self.entry_half.bias.copy_(self.entry.bias)

    def begin_with(self, pretrained: Mapping[str, Tensor]) -> None:
        """Take `realesr-animevideov3`'s weights (see `from_published`); KeyError, RuntimeError for others."""
        self.load_state_dict(from_published(pretrained), strict=False)
        self.start_half()

    def forward(
        self,
        small: Tensor,
        scale: int,
        facts: Facts | None = None,
        *,
        noisy: Tensor | None = None,
        before: Tensor | None = None,
        meaning: Tensor | None = None,
        exchange: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Pictures B x T x 3 x H x W of small ones at one over ``scale`` of their size, B x T x 3 x h x w; H and W are
        multiples of `STRIDE`. The second result is what the frames show, B x T x width, for ``meaning`` of later ones.

        ``noisy``: pictures B x T x 3 x H x W where the diffusion is; ``before``: the frame shown before, moved along,
        and how far it can be relied on, B x T x 4 x H x W; ``meaning``: what earlier frames show, B x width.
        """
        batch, frames = small.shape[:2]
        picture = (small.flatten(0, 1) + 1) / 2
        if scale == STRIDE:
            x = self.entry(picture)
        else:
            assert self.entry_half is not None
            x = self.entry_half(functional.pixel_unshuffle(picture, STRIDE // scale))
        if self.entry_noise is not None and noisy is not None:
            x = x + self.entry_noise(functional.pixel_unshuffle(noisy.flatten(0, 1), STRIDE))
        if self.entry_before is not None and before is not None:
            given = before.flatten(0, 1)
            trust = functional.avg_pool2d(given[:, 3:], STRIDE)
            moved = functional.pixel_unshuffle(given[:, :3], STRIDE) * trust
            x = x + self.entry_before(torch.cat([moved, trust], dim=1))
        changes = self._changes(facts, len(x))
        x = self.activations[0](x)
        for layer, conv in enumerate(self.body):
            if layer % EVERY == 0 and changes is not None:
                factor, shift = changes[layer // EVERY]
                x = x * (1 + factor) + shift
            if layer == len(self.body) // 2 and self.semantic is not None and meaning is not None:
                factor, shift = self.semantic(meaning).repeat_interleave(frames, 0)[..., None, None].chunk(2, dim=1)
                x = x * (1 + factor) + shift
            x = self.activations[layer + 1](conv(x))
            if exchange and str(layer) in self.exchanges:
                x = self.exchanges[str(layer)](x, frames)
        shows = x.mean((2, 3)).unflatten(0, (batch, frames))
        found = functional.pixel_shuffle(self.exit(x), STRIDE)
        found = found + functional.interpolate(picture, scale_factor=scale, mode="nearest")
        return (found * 2 - 1).unflatten(0, (batch, frames)), shows

    def _changes(self, facts: Facts | None, count: int) -> list[tuple[Tensor, Tensor]] | None:
        """Factor and shift of features for each of the layers that take one."""
        if self.facts is None or facts is None:
            return None
        found = self.facts(facts.table().flatten(0, 1))[..., None, None].chunk(2 * (self.config.depth // EVERY), dim=1)
        assert len(found[0]) == count
        return list(zip(found[::2], found[1::2], strict=True))


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a numbered stack (body.0.weight ...) of convolutions and PReLUs in turn, by our names.

    Raises KeyError for others.
    """
    last = max(int(name.split(".")[1]) for name in tensors)
    modules = {0: "entry", last: "exit"}
    modules |= {number: f"body.{number // 2 - 1}" for number in range(2, last, 2)}
    found = {
        f"{ours}.{part}": tensors[f"body.{n}.{part}"] for n, ours in modules.items() for part in ("weight", "bias")
    }
    return found | {f"activations.{n // 2}.weight": tensors[f"body.{n}.weight"] for n in range(1, last, 2)}


def _nothing(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
