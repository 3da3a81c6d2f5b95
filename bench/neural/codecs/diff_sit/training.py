"""How Diff-SIT is trained: a video autoencoder, the sparse temporal encoder, then the generator on what that leaves.

The paper's two stages after an autoencoder of our own. Its first is several here: intra frames, motion, then groups of
growing number, each item of a batch at a rate index of its own, for rate and mean squared error. In its second, the
decoder is frozen; the autoencoder's encoder, the transformer and f_type learn on intermediate sequences at random
rates, from L1, distances of deep features and of their contrast, and that of the differences between frames. The
sparse temporal encoder rests then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.neural.codecs.diff_sit.model import DiffSit
from bench.neural.codecs.diff_sit.motion import warp
from bench.neural.codecs.diff_sit.stem import GROUP, INTER, INTRA, MOTION, Intermediate, State
from bench.neural.coding.channel import TrainingChannel
from bench.neural.coding.picture_codec import STRIDE
from bench.neural.coding.pictures import psnr
from bench.neural.networks.block_transform import TIME, pad_video
from bench.neural.networks.blocks import pad_to
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.own_codecs import RDOQ
from bench.neural.training.clips import Pictures
from bench.neural.training.likeness import likeness, mean_feature_distance, weights_of_error
from bench.neural.training.loop import Figures, Stage, scaled, to_batch

LAMBDAS = (0.00006, 0.02)
"""Weight of the mean squared error on a scale of 255 against bits per pixel, at the lowest and highest rate index.

Those that HEVC's test model has for about QP 55 and 30, by its rule 0.85 x 2^((QP - 12) / 3).
"""

FEATURES, TEXTURE, CHANGES, DIVERGENCE, ADVERSARIAL = 0.25, 1.0, 0.5, 1e-5, 0.3
"""Weights of distances of deep features and of their contrast, frames' changes, KL divergence, and the critic's eye."""

LED_IN = 3 / 4
"""Share of the steps of a stage with a lead that begin amid a sequence, as most groups of a stream do."""

LOOKED_AT = 3
"""Frames of a video whose deep features are compared in a step, chosen at random."""

HELD_OUT = 21
"""Frames of each clip held out that are looked at after a stage: enough for errors to pile up."""

SMOOTHNESS = 0.005
"""Weight of the mean difference of neighbouring motion vectors, in pixels."""

LEARNS = {
    "autoencoder": ("odfte.vae.",),
    "intra": ("stem.intra.",),
    "motion": ("stem.flow.",),
    "stem": ("stem.",),
    "generator": (
        "odfte.vae.wan.encoder.", "odfte.vae.wan.quant_conv.", "odfte.transformer.", "odfte.frame_types.",
        "odfte.refiner.", "odfte.strength", "critic.",
    ),
}  # fmt: skip
"""What learns in each part of the training, by the beginning of its name."""


def small_stages(scale: float = 1.0) -> list[Stage]:
    """The stages of the small scale; ``scale`` multiplies their steps."""
    stages = [
        Stage("autoencoder", 2000, 1e-3, 4, 96, 5, {"part": "autoencoder"}),
        Stage("intra", 2500, 5e-4, 8, 128, 1, {"part": "intra"}),
        Stage("motion", 1500, 5e-4, 4, 128, 4, {"part": "motion"}),
        Stage("stem-6", 2500, 4e-4, 4, 128, 6, {"part": "stem"}),
        Stage("stem-long", 1500, 2e-4, 3, 128, 6, {"part": "stem"}, lead=15),
        Stage("generator", 3000, 5e-4, 2, 128, 9, {"part": "generator"}),
        Stage("generator-21", 800, 2e-4, 1, 128, 21, {"part": "generator"}),
    ]
    return scaled(stages, scale)


class DiffSitTask:
    """The model and its losses, one for each part of the training."""

    def __init__(self, model: DiffSit, features: DeepFeatures, held_out: Sequence[Pictures]) -> None:
        self.model: nn.Module = model
        self._diff_sit = model
        self._features = features
        self._held_out = held_out
        self._part = "stem"

    def begin(self, stage: Stage) -> None:
        """What the stage is not for rests."""
        self._part = str(stage.options["part"])
        for name, parameter in self._diff_sit.named_parameters():
            parameter.requires_grad_(name.startswith(LEARNS[self._part]))

    def loss(self, batch: Tensor, stage: Stage, step: int) -> tuple[Tensor, Figures]:
        """Loss of a batch of clips in the part of the training that the stage belongs to."""
        if self._part == "autoencoder":
            terms = self._autoencoder_terms(batch)
        elif self._part == "motion":
            terms = self._motion_terms(batch)
        elif self._part == "generator":
            terms = self._generator_terms(batch)
        else:
            return self._coding_loss(batch, stage)
        return torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}

    def _autoencoder_terms(self, batch: Tensor) -> dict[str, Tensor]:
        odfte = self._diff_sit.odfte
        target = pad_video(batch.transpose(1, 2), (1 - batch.shape[1]) % TIME)
        mean, log_variance = odfte.vae.encode(target)
        odfte.observe(mean, 0.02)
        found = odfte.vae.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return {**self._likeness(found, target), "divergence": DIVERGENCE * divergence}

    def _generator_terms(self, batch: Tensor) -> dict[str, Tensor]:
        target = batch.transpose(1, 2)
        rate = self._rates(len(batch), batch.device)
        with torch.no_grad():
            stem = self._diff_sit.stem(pad_clip(batch), rate)
        video = pictures_of(stem, batch).transpose(1, 2).clamp(-1, 1)
        found = self._diff_sit.odfte(video, stem.types, rate, noise=self._noise(video))
        changes = (found.diff(dim=2) - target.diff(dim=2)).abs().mean() if target.shape[2] > 1 else found.new_zeros(())
        return {**self._likeness(found, target, judged=True), "changes": CHANGES * changes}

    def _noise(self, video: Tensor) -> Tensor | None:
        """Noise for the refiner, drawn anew: it shall not learn the one pattern that decoders use."""
        refiner = self._diff_sit.odfte.refiner
        if refiner is None:
            return None
        return torch.randn(len(video), refiner.noise, *video.shape[3:], device=video.device)

    def _likeness(self, found: Tensor, target: Tensor, *, judged: bool = False) -> dict[str, Tensor]:
        """L1 of videos, and on a few of their frames the distances of deep features and of contrast.

        ``judged``: the critic looks at these too, and learns.
        """
        chosen = torch.randperm(target.shape[2], device=target.device)[:LOOKED_AT]
        ours, theirs = (video[:, :, chosen].transpose(1, 2).flatten(0, 1) for video in (found, target))
        critic = self._diff_sit.critic if judged else None
        terms = likeness(
            self._features,
            ours,
            theirs,
            features=FEATURES,
            texture=TEXTURE,
            critic=critic,
            adversarial=ADVERSARIAL,
        )
        return {"l1": (found - target).abs().mean(), **terms}

    def _motion_terms(self, batch: Tensor) -> dict[str, Tensor]:
        """How far pictures are from their neighbours warped by the estimated motion, on every level of the estimate."""
        frames = batch.shape[1]
        pairs = [(0, 1), (min(2, frames - 1), 1), (frames - 1, 0)]
        targets, references = (torch.cat([batch[:, pair[side]] for pair in pairs]) for side in (0, 1))
        fields = self._diff_sit.stem.flow(targets, references)
        distances, roughness = [], []
        for level, field in enumerate(reversed(fields)):
            distances.append(0.5**level * (warp(references, field) - targets).abs().mean())
            roughness.append((field.diff(dim=2).abs().sum() + field.diff(dim=3).abs().sum()) / field.numel())
        return {"warped": torch.stack(distances).sum(), "rough": SMOOTHNESS * torch.stack(roughness).mean()}

    def _coding_loss(self, batch: Tensor, stage: Stage) -> tuple[Tensor, Figures]:
        """Rate and mean squared error, each item weighted so that all rate indexes count about the same."""
        rate = self._rates(len(batch), batch.device)
        weight = weights_of_error(LAMBDAS, self._diff_sit.config.rates).to(batch.device)[rate]
        before, batch = self._led_in(batch, rate, stage)
        target = pad_clip(batch)
        stem = self._diff_sit.stem
        coded: Intermediate = self._intra(target, rate) if self._part == "intra" else stem(target, rate, after=before)
        error = (pictures_of(coded, batch) - batch).square().mean((1, 2, 3, 4)) / 4
        pixels = batch.shape[1] * batch.shape[-1] * batch.shape[-2]
        loss = (coded.bits.sum(0) / pixels / weight.sqrt() + weight.sqrt() * error).mean()
        figures = {"psnr": -10 * torch.log10(error.detach()).mean()}
        for name, kind in (("bpp_i", INTRA), ("bpp_p", INTER), ("bpp_mv", MOTION)):
            count = coded.types.count(kind)
            if count:
                figures[name] = coded.bits[kind].detach().mean() * batch.shape[1] / count / pixels
        return loss, figures

    @torch.no_grad()
    def _led_in(self, batch: Tensor, rate: Tensor, stage: Stage) -> tuple[State | None, Tensor]:
        """The state after a random number of groups, up to the stage's lead, coded without gradients; what follows."""
        groups = (batch.shape[1] - stage.frames) // GROUP
        if groups < 1 or float(torch.rand(())) >= LED_IN:
            return None, batch[:, : stage.frames]
        first = GROUP * int(torch.randint(1, groups + 1, ()))
        state = self._diff_sit.stem(pad_clip(batch[:, :first]), rate).state
        # older torch would use what was cast to bfloat16 here again, and nothing would learn by it
        torch.clear_autocast_cache()
        return state, batch[:, first : first + stage.frames]

    def _intra(self, clip: Tensor, rate: Tensor) -> Intermediate:
        """The first frames of clips as I frames."""
        batch, _, _, height, width = clip.shape
        coded = self._diff_sit.stem.backbone(TrainingChannel(rate, RDOQ), clip[:, 0], None, (batch, height, width))
        bits = coded.bits[None] * torch.eye(MOTION + 1, 1, device=clip.device)
        return Intermediate(coded.picture[:, None], [INTRA], bits)

    def _rates(self, count: int, device: torch.device) -> Tensor:
        return torch.randint(self._diff_sit.config.rates, (count,), device=device)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Figures of the part just trained, on the first frames of clips held out; empty where there are none.

        PSNR of RGB: of the autoencoder; of warped pictures; or of the intermediate sequence at the lowest and highest
        rate, with its bits per pixel, and of the restored one, with its distance of deep features.
        """
        device = next(self._diff_sit.parameters()).device
        clips = [to_batch(clip[None, :HELD_OUT], device) for clip in self._held_out[:3]]
        if not clips:
            return {}
        if self._part == "autoencoder":
            vae = self._diff_sit.odfte.vae
            videos = [pad_video(clip.transpose(1, 2), (1 - clip.shape[1]) % TIME) for clip in clips]
            return {"psnr_autoencoder": psnr([vae.decode(vae.encode(video)[0]) for video in videos], videos)}
        if self._part == "motion":
            pairs = [pad_to(clip[0, :2], STRIDE) for clip in clips]
            warped = [warp(pair[:1], self._diff_sit.stem.flow(pair[1:], pair[:1])[-1]) for pair in pairs]
            return {
                "psnr_warped": psnr(warped, [pair[1:] for pair in pairs]),
                "psnr_still": psnr([pair[:1] for pair in pairs], [pair[1:] for pair in pairs]),
            }
        found: dict[str, float] = {}
        for index in (0, self._diff_sit.config.rates - 1):
            found |= self._figures_at(index, clips)
        return found

    def _figures_at(self, index: int, clips: Sequence[Tensor]) -> dict[str, float]:
        rate = torch.tensor([index], device=clips[0].device)
        if self._part == "intra":
            clips = [clip[:, :1] for clip in clips]
            coded = [self._intra(pad_clip(clip), rate) for clip in clips]
        else:
            coded = [self._diff_sit.stem(pad_clip(clip), rate) for clip in clips]
        pictures = [pictures_of(sequence, clip).clamp(-1, 1) for sequence, clip in zip(coded, clips, strict=True)]
        bits = sum(float(sequence.bits.sum()) for sequence in coded)
        found = {
            f"psnr_{index}": psnr(pictures, clips),
            f"bpp_{index}": bits / sum(clip[:, :, 0].numel() for clip in clips),
        }
        if self._part == "generator":
            restored = [
                self._diff_sit.odfte(some.transpose(1, 2), sequence.types, rate).transpose(1, 2).clamp(-1, 1)
                for some, sequence in zip(pictures, coded, strict=True)
            ]
            found[f"restored_{index}"] = psnr(restored, clips)
            flat = [clip.flatten(0, 1) for clip in clips]
            for name, some in (("features", pictures), ("restored_features", restored)):
                ours = [video.flatten(0, 1) for video in some]
                found[f"{name}_{index}"] = mean_feature_distance(self._features, ours, flat)
        return found


def pad_clip(clip: Tensor) -> Tensor:
    """A clip B x T x 3 x H x W with sides that the sparse temporal encoder takes."""
    return pad_to(clip.flatten(0, 1), STRIDE).unflatten(0, clip.shape[:2])


def pictures_of(coded: Intermediate, clip: Tensor) -> Tensor:
    """Decoded pictures without the padding that the clip did not have."""
    return coded.pictures[..., : clip.shape[-2], : clip.shape[-1]]
