"""From small pictures to large ones, a few frames at a time: what a decoder does behind the base stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from bench.neural.codecs.restoration.network import STRIDE, Facts, Restoration
from bench.neural.codecs.restoration.options import RestorationOptions
from bench.neural.coding.temporal_filter import TemporalFilter, along_motion, motion, moved

Item = TypeVar("Item")

CHUNK = 6
"""Frames that are restored together, beside those that their features come from."""

LOBES = 3
"""Of the Lanczos kernel."""

SAME = 0.5
"""How far motion must be relied on for noise to move along it; elsewhere it is drawn anew."""


@dataclass(frozen=True)
class Known:
    """What a decoder knows of a stream: types of its frames, CRF and scale of the base, and the seed of the noise."""

    types: Sequence[int]
    crf: int
    scale: int
    seed: int = 0


def restored(
    network: Restoration,
    small: Iterable[Tensor],
    known: Known,
    options: RestorationOptions,
    device: str | torch.device = "cpu",
) -> Iterator[Tensor]:
    """Pictures 1 x 3 x H x W of small ones, in order, -1 to 1, on the CPU; the temporal filter behind them.

    What a frame becomes depends on no more than a few frames around it (with ``before``, on those shown before).
    """
    steady = TemporalFilter(options.temporal_filter)
    for picture, guide in _pairs(network, small, known, options, device):
        yield steady(picture, guide)


def _pairs(
    network: Restoration,
    small: Iterable[Tensor],
    known: Known,
    options: RestorationOptions,
    device: str | torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures with what was sent of them, made as large by a cubic."""
    if options.restore == "lanczos":
        for picture in small:
            yield lanczos(picture, known.scale), larger(picture, known.scale)
    elif network.config.before and not {"before", "semantic"} <= set(options.without):
        yield from _one_by_one(network, small, known, options, device)
    else:
        reach = 0 if "exchange" in options.without else len(network.config.exchanges)
        network = network.to(device)
        noise = _noise(network, known, options)
        drawn = ((picture, guide := larger(picture, known.scale), noise and noise(guide)) for picture in small)
        for first, window, count, at in windows(drawn, CHUNK, reach):
            pictures, guides, noises = zip(*window, strict=True)
            noisy = torch.stack(noises, dim=1).to(device) if noise else None
            found, _ = apply(network, torch.stack(pictures, dim=1).to(device), at, known, options, noisy=noisy)
            for index in range(first - at, first - at + count):
                yield found[:, index].clamp(-1, 1).cpu(), guides[index]


def windows(items: Iterable[Item], length: int, reach: int) -> Iterator[tuple[int, list[Item], int, int]]:
    """Rows of up to ``length`` items with up to ``reach`` before and after them.

    Number of the row's first item, the items with those around, the row's length, number of the first of those.
    """
    kept: list[Item] = []
    begin = first = 0
    source = iter(items)
    while True:
        while len(kept) < first - begin + length + reach and (item := next(source, None)) is not None:
            kept.append(item)
        count = min(length, len(kept) - (first - begin))
        if count <= 0:
            return
        yield first, kept[: first - begin + count + reach], count, begin
        first += count
        drop = max(0, first - reach - begin)
        kept, begin = kept[drop:], begin + drop


def apply(
    network: Restoration,
    small: Tensor,
    first: int,
    known: Known,
    options: RestorationOptions,
    *,
    noisy: Tensor | None = None,
    **more: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What `Restoration` gives for frames B x T x 3 x h x w, of which the first has a number in the stream."""
    config, frames = network.config, small.shape[1]
    if known.scale != STRIDE and not config.half:
        # a network for a quarter of the size alone gives twice the size, which is made smaller
        video, shows = network(small, STRIDE)
        return functional.avg_pool2d(video.flatten(0, 1), STRIDE // known.scale).unflatten(0, video.shape[:2]), shows
    types = torch.tensor([known.types[first : first + frames]], device=small.device)
    time = torch.full(types.shape, 0.0 if noisy is None else 1.0, device=small.device)
    facts = None if "facts" in options.without else Facts(types, torch.full_like(types, known.crf), time)
    found: tuple[Tensor, Tensor] = network(
        small, known.scale, facts, noisy=noisy, exchange="exchange" not in options.without, **more
    )
    return found


class Noise:
    """The noise that the frames of a video start from, in order: one for all, or ``moving`` with the picture.

    What stays where it is does not flicker, and grain that moves with what it lies on does not look like a dirty pane.
    """

    def __init__(self, seed: int, *, moving: bool) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._moving = moving
        self._noise: Tensor | None = None
        self._guide: Tensor | None = None

    def __call__(self, guide: Tensor) -> Tensor:
        """Noise for the next frame, of the size of what is known of it, 1 x 3 x H x W."""
        if self._noise is None:
            self._noise = torch.randn(guide.shape, generator=self._generator)
        elif self._moving and self._guide is not None:
            flow, certain = motion(self._guide, guide)
            fresh = torch.randn(guide.shape, generator=self._generator)
            self._noise = torch.where(certain > SAME, moved(self._noise, flow, "nearest"), fresh)
        self._guide = guide
        return self._noise


def _noise(network: Restoration, known: Known, options: RestorationOptions) -> Noise | None:
    """The noise that a network draws from, None for one that draws from none."""
    if not network.config.noise or "diffusion" in options.without:
        return None
    return Noise(known.seed, moving=network.config.moving and "moving" not in options.without)


def _one_by_one(
    network: Restoration,
    small: Iterable[Tensor],
    known: Known,
    options: RestorationOptions,
    device: str | torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames one after the other, each with the one before it, moved along."""
    network = network.to(device)
    noise = _noise(network, known, options)
    shown = guide = meaning = None
    for number, picture in enumerate(small):
        here = larger(picture, known.scale)
        before = torch.zeros(1, 1, 4, *here.shape[-2:])
        if "before" not in options.without and shown is not None and guide is not None:
            before = torch.cat(along_motion(shown, guide, here), dim=1)[:, None]
        guided = meaning is not None and "semantic" not in options.without
        more = {"before": before.to(device), "meaning": meaning if guided else None}
        noisy = noise(here)[:, None].to(device) if noise else None
        found, shows = apply(network, picture[:, None].to(device), number, known, options, noisy=noisy, **more)
        shown, guide = found[:, 0].clamp(-1, 1).cpu(), here
        meaning = following(meaning, shows[:, 0])
        yield shown, here


def following(meaning: Tensor | None, shows: Tensor) -> Tensor:
    """What the frames up to one show, B x width: the later ones count for more."""
    return shows if meaning is None else 0.5 * (meaning + shows)


def larger(small: Tensor, scale: int) -> Tensor:
    """A picture ``scale`` times as large, by a cubic."""
    return functional.interpolate(small, scale_factor=scale, mode="bicubic").clamp(-1, 1)


def lanczos(small: Tensor, scale: int) -> Tensor:
    """A picture ``scale`` times as large, by a Lanczos kernel of `LOBES` lobes, separable, its edges repeated."""
    places = torch.arange(scale, dtype=torch.float64)
    phase = (places + 0.5) / scale - 0.5
    taps = torch.arange(-LOBES, LOBES + 1, dtype=torch.float64)
    away = phase[:, None] - taps
    weight = torch.sinc(away) * torch.sinc(away / LOBES) * (away.abs() < LOBES)
    weight = (weight / weight.sum(1, keepdim=True)).float()
    count = small.shape[1]
    x = functional.pad(small, (LOBES,) * 4, mode="replicate")
    x = functional.conv2d(x, weight[:, None, :, None].repeat(count, 1, 1, 1), groups=count)
    x = x.unflatten(1, (count, scale)).permute(0, 1, 3, 2, 4).flatten(2, 3)
    x = functional.conv2d(x, weight[:, None, None, :].repeat(count, 1, 1, 1), groups=count)
    return x.unflatten(1, (count, scale)).permute(0, 1, 3, 4, 2).flatten(3, 4).clamp(-1, 1)
