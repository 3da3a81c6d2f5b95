"""Training's trajectories: some of the tracks of a batch, chosen as an encoder would, or by chance.

How many is drawn anew each time, so that the generator learns to make do with whatever budget it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from bench.neural.codecs.actdiff_vc.render import Conditions, render
from bench.neural.codecs.actdiff_vc.selection import select, sketch
from bench.neural.codecs.actdiff_vc.tracks import Grid, dense_tracks

FEWEST, MOST = 1 / 4000, 1 / 160
"""Tracks for each pixel, between which their number is drawn, evenly in its logarithm."""

BY_CHANCE = 0.5
"""Share of the clips whose tracks are taken at random."""

SPACING = 4
"""Pixels between the points that tracks are chosen among."""


def conditions_of(batch: Tensor, first: Tensor, last: Tensor | None, generator: torch.Generator) -> Conditions:
    """Conditions of clips (B x T x 3 x H x W, -1 to 1) with decoded keyframes (B x 3 x H x W), on the CPU."""
    found = []
    for index, clip in enumerate(batch):
        positions, visible = random_tracks(clip, generator)
        end = None if last is None else last[index : index + 1]
        found.append(render(first[index : index + 1], end, positions, visible))
    return joined(found)


def random_tracks(clip: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions (N x T x 2, whole pixels) and visibility (N x T) of some tracks of a clip (T x 3 x H x W)."""
    frames = ((clip + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()
    grid = Grid(frames.shape[1], frames.shape[2], SPACING)
    positions, visible = dense_tracks(iter(np.ascontiguousarray(frames)), grid)
    span = math.log(MOST / FEWEST)
    share, luck = torch.rand(2, generator=generator).tolist()
    count = max(1, round(FEWEST * math.exp(span * share) * grid.height * grid.width))
    if luck < BY_CHANCE:
        chosen = torch.randperm(len(positions), generator=generator)[:count]
    else:
        size = (grid.height, grid.width)
        chosen = torch.from_numpy(select(positions, visible, sketch(frames[0]), size=size, tracks=count))
    return torch.from_numpy(positions)[chosen].round(), torch.from_numpy(visible)[chosen]


def joined(conditions: Sequence[Conditions]) -> Conditions:
    """Conditions of several segments of one length and size as one batch."""
    return Conditions(*(torch.cat([getattr(one, field.name) for one in conditions]) for field in fields(Conditions)))
