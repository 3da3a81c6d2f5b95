"""ODFTE, one-step diffusion with frame type embedding: an intermediate sequence becomes the video.

Frame types go through a small network f_type; what it gives is added to the sequence as the video autoencoder's first
convolution has tokenised it. The rest of that encoder, one step of a diffusion transformer, and the decoder follow,
over a whole chunk of frames; at small scale a network at full resolution then mends the frames one by one. Nothing of
it is coded from: encoder and decoder need not agree on it to the bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core.quiet_import import imported
from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.stem import MOTION
from bench.neural.coding.latent_coder import FASTER
from bench.neural.networks.block_transform import TIME, BlockTransform, pad_video
from bench.neural.networks.blocks import zeroed
from bench.neural.networks.conv3d import ByFrames
from bench.neural.networks.refiner import Refiner

_WAN_AUTOENCODER = "diffusers.models.autoencoders.autoencoder_kl_wan"

SMALL_LOG_VARIANCE = -6.0
"""Of latents at the start: less noise than their smallest component has."""


class VideoAutoencoder(nn.Module):
    """diffusers' AutoencoderKLWan with a door after its first convolution, and a decoder that does not clamp.

    With ``transform``, the networks correct that linear map; they start from zero then. Videos B x 3 x T x H x W, -1 to
    1, T = 4 k + 1, sides multiples of 8.
    """

    def __init__(self, wan: nn.Module, transform: BlockTransform | None = None) -> None:
        super().__init__()
        self.wan, self.transform = wan, transform
        self.tokens: int = wan.encoder.conv_in.out_channels
        self._added: Tensor | None = None
        self._seen = 0
        self._decoded: list[Tensor] = []
        wan.encoder.conv_in.register_forward_hook(self._add)
        wan.decoder.register_forward_hook(self._keep)
        if transform is not None:
            zeroed(wan.encoder.conv_out)
            zeroed(wan.decoder.conv_out)
            nn.init.zeros_(wan.quant_conv.bias)
            nn.init.constant_(wan.quant_conv.bias[wan.config.z_dim :], SMALL_LOG_VARIANCE)

    def _add(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if self._added is None:
            return output
        frames = output.shape[2]
        part = self._added[:, :, self._seen : self._seen + frames]
        self._seen += frames
        return output + part

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._decoded.append(output)

    def encode(self, video: Tensor, added: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of a video's latents.

        ``added``: 1 x `tokens` x T x 1 x 1, added to the tokenised video.
        """
        self._added, self._seen = added, 0
        try:
            found = self.wan.encode(video).latent_dist
        finally:
            self._added = None
        mean: Tensor = found.mean.float()
        return mean if self.transform is None else mean + self.transform(video).float(), found.logvar.float()

    def decode(self, latents: Tensor) -> Tensor:
        """The video of latents; where it leaves -1 to 1 it has its gradient still."""
        self._decoded = []
        self.wan.decode(latents)
        video, self._decoded = torch.cat(self._decoded, dim=2).float(), []
        if self.wan.config.patch_size is not None:
            video = imported(_WAN_AUTOENCODER).unpatchify(video, self.wan.config.patch_size)
        return video if self.transform is None else video + self.transform.back(latents).float()


class FrameTypeEmbedding(nn.Module):
    """f_type: a map of frame types to what is added to the tokenised frames; gives zeros until it is trained.

    A type holds for all places of its frame, so f_type is computed once a frame. It sees the types of the frames
    before and after too.
    """

    def __init__(self, tokens: int, hidden: int = 32) -> None:
        super().__init__()
        self.mix = nn.Conv1d(MOTION + 1, hidden, 3, padding=1)
        self.out = nn.Linear(hidden, tokens)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, types: Sequence[int]) -> Tensor:
        """1 x tokens x T x 1 x 1 of T frame types."""
        device = self.out.weight.device
        one_hot = functional.one_hot(torch.tensor(types, device=device), MOTION + 1).float()
        mixed = functional.leaky_relu(self.mix(one_hot.T[None]), 0.1)
        embedded: Tensor = self.out(mixed[0].T)
        return embedded.T[None, :, :, None, None]


class Odfte(nn.Module):
    """The generator: video autoencoder, frame types, one step of a diffusion transformer, and (small) a refiner.

    ``rates``, for the small scale: rate indexes, each with a share of the generator's change that is shown (1 at the
    start). What is hardly wrong needs little mending, and a small generator cannot tell how wrong a picture is.
    """

    def __init__(
        self,
        vae: VideoAutoencoder,
        transformer: nn.Module,
        *,
        sigma: float,
        frame_types: bool,
        refiner: Refiner | None = None,
        rates: int = 0,
    ) -> None:
        super().__init__()
        self.vae, self.transformer, self.sigma, self.told_types = vae, transformer, sigma, frame_types
        self.refiner = refiner
        self.strength = nn.Parameter(torch.full((rates,), 1 / FASTER)) if rates else None
        self.frame_types = FrameTypeEmbedding(vae.tokens)
        latents = transformer.config.in_channels
        self.register_buffer("mean", torch.zeros(1, latents, 1, 1, 1))
        self.register_buffer("deviation", torch.ones(1, latents, 1, 1, 1))

    def forward(
        self, video: Tensor, types: Sequence[int], rate: Tensor, *, diffuse: bool = True, noise: Tensor | None = None
    ) -> Tensor:
        """The restored video (B x 3 x T x H x W, not clamped) of an intermediate one of the same size, any size.

        ``types``: of its T frames. ``rate``: B, its rate indexes. Without ``diffuse`` the latents go straight to the
        decoder, whose video is given.
        ``noise``: B x channels x H x W, in training; what `Refiner.pattern` says unless given.
        """
        _, _, frames, height, width = video.shape
        missing = (1 - frames) % TIME
        whole = pad_video(video, missing)
        added = self.frame_types([*types, *[types[-1]] * missing]) if self.told_types else None
        with ByFrames():
            latents, _ = self.vae.encode(whole, added)
            if diffuse:
                latents = self.step(latents)
            restored = self.vae.decode(latents)
            if diffuse and self.vae.transform is not None:
                restored = whole + restored - self._plain(whole)
        restored = restored[:, :, :frames, :height, :width]
        if not diffuse or self.refiner is None:
            return restored
        if noise is None:
            noise = self.refiner.pattern(height, width).to(video.device)
        pairs = zip(restored.unbind(2), video.unbind(2), strict=True)
        mended = torch.stack([self.refiner(picture, sent, noise) for picture, sent in pairs], dim=2)
        if self.strength is None:
            return mended
        return video + FASTER * self.strength[rate][:, None, None, None, None] * (mended - video)

    @torch.no_grad()
    def _plain(self, video: Tensor) -> Tensor:
        """What the decoder makes of a video's plain components.

        The generator's output is taken for a change of it, so that what a small autoencoder cannot hold stays as the
        intermediate sequence shows it.
        """
        assert self.vae.transform is not None
        return self.vae.decode(self.vae.transform(video).float())

    @torch.no_grad()
    def observe(self, latents: Tensor, share: float) -> None:
        """Let the normalisation follow the latents of this batch by a share."""
        over = (0, 2, 3, 4)
        self.mean.lerp_(latents.mean(over, keepdim=True), share)
        self.deviation.lerp_(latents.std(over, keepdim=True), share)

    def step(self, latents: Tensor) -> Tensor:
        """One step from noise level sigma to none, z0 = z - sigma v(z, 1000 sigma), on normalised latents."""
        config = self.transformer.config
        normal = (latents - self.mean) / self.deviation
        time = torch.full((len(latents),), 1000 * self.sigma, device=latents.device)
        text = torch.zeros(len(latents), 1, config.text_dim, device=latents.device)
        with warnings.catch_warnings():
            # its norms tell that they would be faster were their weights of bfloat16 too
            warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
            velocity = self.transformer(normal, time, encoder_hidden_states=text).sample.float()
        restored: Tensor = (normal - self.sigma * velocity) * self.deviation + self.mean
        return restored


def small_odfte(config: DiffSitConfig) -> Odfte:
    """The generator at small scale: Wan's classes with pictures folded 2 x 2, and a start that changes nothing."""
    latents = config.latent_channels
    wan = imported(_WAN_AUTOENCODER).AutoencoderKLWan(
        base_dim=config.vae_width,
        z_dim=latents,
        dim_mult=list(config.vae_multipliers),
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * latents,
        latents_std=[1.0] * latents,
        in_channels=12,
        out_channels=12,
        patch_size=2,
    )
    width = config.heads * config.head_width
    transformer = imported("diffusers.models.transformers.transformer_wan").WanTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        in_channels=latents,
        out_channels=latents,
        text_dim=16,
        freq_dim=64,
        ffn_dim=3 * width,
        num_layers=config.layers,
        rope_max_seq_len=512,
    )
    zeroed(transformer.proj_out)
    vae = VideoAutoencoder(wan, BlockTransform(latents))
    refiner = Refiner(config.refiner_width, config.refiner_blocks, config.refiner_noise)
    return Odfte(
        vae,
        transformer,
        sigma=config.sigma,
        frame_types=config.frame_types,
        refiner=refiner,
        rates=config.rates,
    )
