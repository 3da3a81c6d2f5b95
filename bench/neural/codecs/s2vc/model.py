"""The networks of S2VC at any scale: conditional codec, content adapter, both guidances, one-step U-Net.

After "S2VC: Single-step Diffusion-based Video Coding with Semantic-Temporal Guidance" (arXiv 2512.07480), written from
its description. y_t is all that is sent; f_t, what the decoder makes of it and of the buffer's features, goes into the
feature buffer, is adapted to the diffusion latent, refined by one U-Net step under both guidances, and decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.coding.latent_coder import Coded, LatentCoder
from bench.neural.networks.backbones import INTER, INTRA, GuidedUnet, to_picture
from bench.neural.networks.blocks import Down, stack

FEATURE_LIMIT = 16.0
"""Features are cut to it, either way: twice what streams of good weights have, so that errors cannot grow for ever."""

STRIDE = 64
"""Sides of a coded picture are multiples of it: 16 of the latent y times 4 of its hyper latent."""


@dataclass(frozen=True)
class S2vcConfig:
    """Sizes of the networks. The three guidances can be switched off, for the ablation."""

    width: int = 64
    deep: int = 80
    latent_channels: int = 16
    y_channels: int = 64
    hyper_channels: int = 32
    guidance: int = 64
    unet_widths: tuple[int, ...] = (48, 80, 96)
    vae_width: int = 32
    teacher_channels: int = 512
    rates: int = 8
    reanchor_every: int = 32
    semantic_guidance: bool = True
    temporal_guidance: bool = True


@dataclass(frozen=True)
class State:
    """What is carried from frame to frame: features, symbols and the U-Net's features of the frame before.

    ``anchor``: features of the last intra frame; ``since``: inter frames since the last anchoring.
    """

    features: Tensor
    symbols: Tensor
    anchor: Tensor
    buffer: list[Tensor] | None = None
    since: int = 0


@dataclass(frozen=True)
class Picture:
    """One frame decoded: latents before and after diffusion, guidance tokens, picture -1 to 1, cost, the next state."""

    coded: Coded
    adapted: Tensor
    latent: Tensor
    tokens: Tensor
    picture: Tensor
    state: State = field(repr=False)


class FrameCodec(nn.Module):
    """Picture and context features to y and back to features; the context is the buffer's, or a learned one (intra)."""

    def __init__(self, config: S2vcConfig, *, inter: bool) -> None:
        super().__init__()
        width, deep, y = config.width, config.deep, config.y_channels
        self.inter = inter
        self.analysis_in = nn.Sequential(nn.PixelUnshuffle(8), nn.Conv2d(192, width, 1), stack(width, 2))
        self.join_analysis = nn.Sequential(nn.Conv2d(2 * width, width, 1), stack(width, 3))
        self.analysis_out = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * width, deep, 1), stack(deep, 2), nn.Conv2d(deep, y, 3, padding=1)
        )
        self.synthesis_in = nn.Sequential(
            nn.Conv2d(y, deep, 3, padding=1), stack(deep, 2), nn.Conv2d(deep, 4 * width, 1), nn.PixelShuffle(2)
        )
        self.join_synthesis = nn.Sequential(nn.Conv2d(2 * width, width, 1), stack(width, 4))
        self.context = stack(width, 3) if inter else None
        self.context_down = Down(width, y)
        self.constant = nn.Parameter(torch.zeros(1, width, 1, 1)) if not inter else None
        self.coder = LatentCoder(y, config.hyper_channels, y, config.rates, temporal=inter)

    def context_of(self, features: Tensor | None, like: Tensor) -> Tensor:
        """Context features at stride 8, for a picture (or anything) of stride 1 ``like``."""
        if self.context is not None:
            assert features is not None
            context: Tensor = self.context(features)
            return context
        assert self.constant is not None
        height, width = like.shape[-2] // 8, like.shape[-1] // 8
        return self.constant.expand(like.shape[0], -1, height, width)

    def analyse(self, picture: Tensor, context: Tensor) -> Tensor:
        """Latent y at stride 16."""
        y: Tensor = self.analysis_out(self.join_analysis(torch.cat([self.analysis_in(picture), context], dim=1)))
        return y

    def synthesise(self, y: Tensor, context: Tensor) -> Tensor:
        """Features f at stride 8 of a decoded latent."""
        features: Tensor = self.join_synthesis(torch.cat([self.synthesis_in(y), context], dim=1))
        return features.clamp(-FEATURE_LIMIT, FEATURE_LIMIT)


class SemanticGuide(nn.Module):
    """Contextual semantic guidance: tokens of the features of this frame and the one before.

    ``project`` brings the tokens to the teacher's features, for distillation alone.
    """

    def __init__(self, config: S2vcConfig) -> None:
        super().__init__()
        width, tokens = config.width, config.guidance
        self.trunk = nn.Sequential(
            nn.Conv2d(2 * width, width, 1),
            Down(width, width),
            stack(width, 1),
            Down(width, 2 * width),
            stack(2 * width, 1),
        )
        self.attention = nn.MultiheadAttention(2 * width, 4, batch_first=True)
        self.norm = nn.LayerNorm(2 * width)
        self.out = nn.Linear(2 * width, tokens)
        self.projection = nn.Linear(tokens, config.teacher_channels)
        nn.init.normal_(self.projection.weight, std=1e-3)

    def forward(self, features: Tensor, before: Tensor) -> Tensor:
        """B x tokens x guidance channels; a token for each 32 x 32 pixels, row by row."""
        grid = self.trunk(torch.cat([features, before], dim=1))
        tokens = grid.flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        out: Tensor = self.out(tokens)
        return out

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens in the teacher's space: B x tokens x teacher channels."""
        projected: Tensor = self.projection(tokens)
        return projected


class S2vc(nn.Module):
    """The whole codec. ``vae`` and ``unet`` are diffusers networks, built small or loaded from a folder."""

    def __init__(self, config: S2vcConfig, vae: nn.Module, unet: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.intra = FrameCodec(config, inter=False)
        self.inter = FrameCodec(config, inter=True)
        self.adapters = nn.ModuleList(
            nn.Sequential(stack(config.width, 1), nn.Conv2d(config.width, config.latent_channels, 3, padding=1))
            for _ in (INTRA, INTER)
        )
        self.guide = SemanticGuide(config)
        self.no_guidance = nn.Parameter(torch.zeros(1, 1, config.guidance))
        self.diffusion = GuidedUnet(unet)
        self.vae = vae
        self.previewer = nn.Conv2d(config.width, 3 * 8**2, 1)

    def codec(self, state: State | None) -> FrameCodec:
        """The frame codec for a frame after ``state``: intra where there is none."""
        return self.intra if state is None else self.inter

    def reference(self, state: State | None) -> Tensor | None:
        """Features that the next frame is coded from: those before, or the anchor's every so many frames."""
        if state is None:
            return None
        anchored = state.since > 0 and state.since % self.config.reanchor_every == 0
        return state.anchor if anchored else state.features

    def forward(self, picture: Tensor, state: State | None, rate: Tensor, *, diffuse: bool = True) -> Picture:
        """Training: a frame (B x 3 x H x W, -1 to 1, sides multiples of `STRIDE`) after a state, at rate indexes B."""
        coded, features = self.code(picture, state, rate)
        return self.render(coded, features, state, diffuse=diffuse)

    def code(self, picture: Tensor, state: State | None, rate: Tensor) -> tuple[Coded, Tensor]:
        """Training: what is coded of a frame, and the features that the decoder makes of it."""
        codec = self.codec(state)
        context = codec.context_of(self.reference(state), picture)
        y = codec.analyse(picture, context)
        before = state.symbols if state is not None else None
        coded = codec.coder(y, codec.context_down(context), before, rate)
        return coded, codec.synthesise(coded.latent, context)

    def preview(self, features: Tensor) -> Tensor:
        """The picture that one linear map makes of features; the codec learns by it where it learns alone."""
        return functional.pixel_shuffle(self.previewer(features), 8)

    def advance(self, coded: Coded, features: Tensor, state: State | None) -> State:
        """The state after a frame, but for the U-Net's features."""
        if state is None:
            return State(features, coded.symbols, features)
        return replace(state, features=features, symbols=coded.symbols, since=state.since + 1)

    def render(self, coded: Coded, features: Tensor, state: State | None, *, diffuse: bool = True) -> Picture:
        """From features to the picture: adapter, guidance, one diffusion step, VAE decoder."""
        kind = INTRA if state is None else INTER
        adapted = self.adapters[kind](features)
        tokens = self.guide(features, features if state is None else state.features)
        after = self.advance(coded, features, state)
        latent = adapted
        if diffuse:
            guidance = (
                tokens
                if self.config.semantic_guidance
                else self.no_guidance.to(features.device).expand(len(features), -1, -1)
            )
            before = state.buffer if state is not None and self.config.temporal_guidance else None
            step, buffer = self.diffusion(adapted, guidance, before, kind)
            latent = adapted + step
            after = replace(after, buffer=buffer)
        picture = to_picture(self.vae, latent)
        return Picture(coded, adapted, latent, tokens, picture, after)


def resample_tokens(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B x N x C, row by row of a grid height x width) as a map B x C x height x width."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)


def teacher_grid(features: Tensor, height: int, width: int) -> Tensor:
    """A teacher's feature map averaged onto the tokens' grid."""
    return functional.adaptive_avg_pool2d(features, (height, width))
