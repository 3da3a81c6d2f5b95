"""STEM, the sparse temporal encoder: groups of three frames, of which the middle one alone is coded as a picture.

After "Efficient Video Diffusion with Sparse Information Transmission" (arXiv 2603.18501), written from its description.
The middle frame is the backbone: the first is an intra frame (I), each later one is predicted from the backbone before
(P). The frames beside it (MV) are that backbone, warped by a coded motion field, and nothing else is sent of them. The
result is the intermediate sequence. A group that the clip's end cuts short keeps its backbone: of two frames the
second, of one that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.motion import FIELD_STRIDE, FlowNet, MotionCodec, warp
from bench.neural.coding.channel import Channel, TrainingChannel
from bench.neural.coding.picture_codec import PictureCodec
from bench.neural.own_codecs import RDOQ

GROUP = 3
INTRA, INTER, MOTION = 0, 1, 2
"""Types of a frame: I, P, MV."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class State:
    """What is carried from group to group: the decoded backbone, and the symbols that scales follow.

    ``symbols``: of the last P frame; ``motion``: of its motion; ``sides``: of the last motion to the frames beside.
    """

    picture: Tensor
    symbols: Tensor | None = None
    motion: Tensor | None = None
    sides: Tensor | None = None


@dataclass(frozen=True)
class Backbone:
    """A backbone frame as decoded: its type, its motion from the backbone before (none: zeros), its cost in bits."""

    kind: int
    motion: Tensor
    bits: Tensor
    state: State

    @property
    def picture(self) -> Tensor:
        """The frame, B x 3 x H x W."""
        return self.state.picture


@dataclass(frozen=True)
class Intermediate:
    """The intermediate sequence of a batch in training: B x T x 3 x H x W, frame types (T), bits by type (3 x B).

    ``state``: what the next group would be coded from.
    """

    pictures: Tensor
    types: list[int]
    bits: Tensor
    state: State | None = None


def centre(frames: int) -> int:
    """Which frame of a group is its backbone."""
    return frames // 2


class Stem(nn.Module):
    """The whole encoder and decoder of intermediate sequences. Pictures -1 to 1, sides multiples of `STRIDE`."""

    def __init__(self, config: DiffSitConfig) -> None:
        super().__init__()
        self.intra = PictureCodec(config, inter=False)
        self.inter = PictureCodec(config, inter=True)
        self.flow = FlowNet(config.flow_width)
        self.chain_motion = MotionCodec(1, config)
        self.side_motion = MotionCodec(2, config)

    def backbone(
        self, channel: Channel, picture: Tensor | None, before: State | None, size: tuple[int, int, int]
    ) -> Backbone:
        """Code a backbone frame: I where there is no state before, P otherwise. ``size``: batch, height, width.

        ``picture`` is None in a decoder.
        """
        batch, height, width = size
        still = torch.zeros(batch, 2, height // FIELD_STRIDE, width // FIELD_STRIDE, device=self.device)
        if before is None:
            grey = torch.zeros(batch, 3, height, width, device=self.device)
            decoded, _, bits = self.intra(channel, picture, grey, None)
            return Backbone(INTRA, still, bits, State(decoded))
        motion, moved = self.chain_motion(
            channel, lambda: self._measure([picture], before.picture), still, before.motion
        )
        decoded, symbols, bits = self.inter(channel, picture, warp(before.picture, motion), before.symbols)
        state = replace(before, picture=decoded, symbols=symbols, motion=moved.symbols)
        return Backbone(INTER, motion, bits + moved.bits, state)

    def sides(
        self, channel: Channel, pictures: Sequence[Tensor | None], backbone: Backbone
    ) -> tuple[list[Tensor], Tensor, State]:
        """Code the frames beside a backbone, before it and (unless the clip ends there) after it.

        Returns them, their bits, and the state for the next group.
        """
        # halfway between two backbones motion goes on as it did, in thirds
        predicted = torch.cat([-backbone.motion / 3, backbone.motion / 3], dim=1)
        count = len(pictures)

        def measured() -> Tensor:
            return torch.cat([self._measure(pictures, backbone.picture), predicted[:, 2 * count :]], dim=1)

        fields, coded = self.side_motion(channel, measured, predicted, backbone.state.sides)
        warped = [warp(backbone.picture, field) for field in fields.split(2, dim=1)[:count]]
        return warped, coded.bits, replace(backbone.state, sides=coded.symbols)

    def _measure(self, pictures: Sequence[Tensor | None], reference: Tensor) -> Tensor:
        """Fields by which the reference becomes each of the pictures, side by side as channels."""
        known = [picture for picture in pictures if picture is not None]
        stacked: Tensor = self.flow(torch.cat(known), torch.cat([reference.detach()] * len(known)))[-1]
        return torch.cat(stacked.chunk(len(known)), dim=1)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, clip: Tensor, rate: Tensor, *, chain: int = 0, after: State | None = None) -> Intermediate:
        """Training: the intermediate sequence of clips B x T x 3 x H x W at rate indexes B.

        ``chain``: backbone frames from one I to the next; 0 for one I alone. ``after``: the state left by the whole
        groups before, where the clips go on amid their sequences.
        """
        channel = TrainingChannel(rate, RDOQ)
        batch, _, _, height, width = clip.shape
        state = after
        pictures: list[Tensor] = []
        types: list[int] = []
        bits = clip.new_zeros(3, batch)
        for index, group in enumerate(clip.split(GROUP, dim=1)):
            frames = list(group.unbind(1))
            middle = frames.pop(centre(len(frames)))
            before = None if starts_chain(index, chain) and (index or after is None) else state
            backbone = self.backbone(channel, middle, before, (batch, height, width))
            bits = add_to(bits, backbone.kind, backbone.bits)
            state = backbone.state
            warped: list[Tensor] = []
            if frames:
                warped, side_bits, state = self.sides(channel, frames, backbone)
                bits = add_to(bits, MOTION, side_bits)
            pictures += in_order(backbone.picture, warped)
            types += in_order(backbone.kind, [MOTION] * len(warped))
        return Intermediate(torch.stack(pictures, dim=1), types, bits, state)


def starts_chain(group: int, chain: int) -> bool:
    """Whether the backbone of that group is an I frame, with so many backbone frames from I to I (0: one I alone)."""
    return group == 0 or (chain > 0 and group % chain == 0)


def in_order(backbone: Item, sides: list[Item]) -> list[Item]:
    """A group's frames as they are shown: the one before the backbone, the backbone, the one after it."""
    return [*sides[:1], backbone, *sides[1:]]


def add_to(bits: Tensor, kind: int, more: Tensor) -> Tensor:
    """Bits by frame type with those of a frame added."""
    return bits + functional.one_hot(torch.tensor(kind, device=bits.device), len(bits))[:, None] * more
