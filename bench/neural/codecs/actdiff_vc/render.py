"""What a decoder knows of a segment, as pictures: both keyframes warped along the trajectories, and maps beside them.

Between the tracks, motion is interpolated as the encoder expects when it chooses them, by radial basis functions.
Everything is computed backwards, from a place in a frame to where it is found in a keyframe, so that no frame has
holes; how near a visible track is tells how much a place can be relied on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

STRIDE = 8
"""Pixels for each place of a motion field or map, along each side."""

SMOOTHING = 1.0
"""Of the interpolation, in pixels: tracks are rounded, and some meet."""

REACH, SPOT = 24.0, 6.0
"""Pixels from a track at which it can hardly be relied on any more, and radius of a track in its map."""

MAPS = 8
"""Reliability by each keyframe, tracks, motion to each keyframe (x, y), and place in time."""

_FAST = 32.0
_NOTHING = 1e-3


@dataclass(frozen=True)
class Conditions:
    """What the generator sees of a batch of segments of T frames.

    ``predicted``: B x 3 x T x H x W, the keyframes warped and blended; ``difference``: the last keyframe warped minus
    the first; ``maps``: B x `MAPS` x T x H/8 x W/8, rounded up, about -1 to 1; ``closed``: B, whether the segment ends
    with a keyframe.
    """

    predicted: Tensor
    difference: Tensor
    maps: Tensor
    closed: Tensor


def render(first: Tensor, last: Tensor | None, positions: Tensor, visible: Tensor) -> Conditions:
    """Conditions of one segment.

    ``first``, ``last``: keyframes 1 x 3 x H x W, -1 to 1; the segment ends without one where ``last`` is None.
    ``positions``: N x T x 2 (x, y) in pixels; ``visible``: N x T; N may be 0.
    """
    frames = visible.shape[1]
    pictures, differences, maps = [], [], []
    for index in range(frames):
        time = index / max(1, frames - 1)
        seen = visible[:, index]
        here = positions[seen, index]
        to_first, near_first = _motion(here, positions[seen, 0] - here, first)
        both = visible[:, index] & visible[:, -1]
        there = positions[both, index]
        to_last, near_last = _motion(there, positions[both, -1] - there, first)
        from_first = warped(first, to_first)
        if last is None:
            near_last, picture, difference = torch.zeros_like(near_last), from_first, torch.zeros_like(first)
        else:
            from_last = warped(last, to_last)
            weight = (1 - time) * (near_first + _NOTHING) + _NOTHING**2
            other = time * (near_last + _NOTHING) + _NOTHING**2
            share = _enlarged(weight / (weight + other), first)
            picture = share * from_first + (1 - share) * from_last
            difference = from_last - from_first
        pictures.append(picture)
        differences.append(difference)
        beside = [near_first, near_last, _near(here, first, SPOT), to_first / _FAST, to_last / _FAST]
        maps.append(torch.cat([*beside, torch.full_like(near_first, time)], dim=1))
    predicted, difference, beside_them = (torch.stack(found, dim=2) for found in (pictures, differences, maps))
    return Conditions(predicted, difference, beside_them, torch.tensor([last is not None]))


def warped(picture: Tensor, field: Tensor) -> Tensor:
    """A picture (1 x 3 x H x W) as it is found at each place plus a field (1 x 2 x H/8 x W/8, x and y in pixels)."""
    height, width = picture.shape[-2:]
    motion = _enlarged(field, picture)
    x = (torch.arange(width) + motion[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (torch.arange(height)[:, None] + motion[:, 1]) * (2 / max(height - 1, 1)) - 1
    return functional.grid_sample(picture, torch.stack([x, y], dim=-1), padding_mode="border", align_corners=True)


def _motion(places: Tensor, motion: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The field (1 x 2 x h x w) that tracks' motion at their places (N x 2) gives, and how near they are (0 to 1)."""
    grid = _grid(like)
    if not len(places):
        return torch.zeros(1, 2, *grid.shape[:2]), torch.zeros(1, 1, *grid.shape[:2])
    away = torch.cdist(grid.flatten(0, 1), places)
    field = interpolated(places, motion, away).T.reshape(1, 2, *grid.shape[:2])
    nearest = away.amin(dim=1)
    return field, torch.exp(-nearest.square() / (2 * REACH**2)).reshape(1, 1, *grid.shape[:2])


def interpolated(places: Tensor, values: Tensor, away: Tensor) -> Tensor:
    """Values (N x C) known at places (N x 2), at others (M x C) whose distances to these are M x N.

    A constant and a sum of -|x - place|: scipy's RBFInterpolator with the kernel "linear", degree 0 and `SMOOTHING`.
    """
    count = len(places)
    system = torch.ones(count + 1, count + 1, dtype=torch.float64)
    exact = places.double()
    system[:count, :count] = SMOOTHING * torch.eye(count) - torch.cdist(exact, exact)
    system[count, count] = 0
    known = torch.cat([values.double(), torch.zeros(1, values.shape[1], dtype=torch.float64)])
    weights = torch.linalg.solve(system, known).to(values.dtype)
    return weights[count] - away @ weights[:count]


def _near(places: Tensor, like: Tensor, radius: float) -> Tensor:
    """A spot at each track, 1 x 1 x h x w."""
    grid = _grid(like)
    if not len(places):
        return torch.zeros(1, 1, *grid.shape[:2])
    squared = torch.cdist(grid.flatten(0, 1), places).amin(dim=1).square()
    return torch.exp(-squared / (2 * radius**2)).reshape(1, 1, *grid.shape[:2])


def _grid(like: Tensor) -> Tensor:
    """Middles of the blocks of a picture, h x w x 2 (x, y)."""
    rows, columns = (-(-side // STRIDE) for side in like.shape[-2:])
    y, x = (torch.arange(count) * STRIDE + (STRIDE - 1) / 2 for count in (rows, columns))
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)


def _enlarged(field: Tensor, like: Tensor) -> Tensor:
    """Values at the blocks' middles, at every pixel."""
    height, width = like.shape[-2:]
    large = functional.interpolate(field, scale_factor=STRIDE, mode="bilinear")
    return large[..., :height, :width]
