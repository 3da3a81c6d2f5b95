"""How ActDiff-VC is trained: keyframes, what to expect between them, the refiner, the flow, then both by the pictures.

Keyframes learn for rate and mean squared error, each item of a batch at a rate index of its own. What lies between
them is learned on segments whose keyframes are decoded at random rates and whose tracks are few: first the latents'
mean and spread, by their likelihood; the refiner, on the latents of the source with a little noise; then the flow,
whose loss is the mean squared error of the velocity, on segments of growing length; at last both, by the pictures that
one step from a random time gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.neural.codecs.actdiff_vc.denoiser import estimate, noisy
from bench.neural.codecs.actdiff_vc.latents import ResidualLatents, negative_log_likelihood
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, to_device
from bench.neural.codecs.actdiff_vc.motion import conditions_of
from bench.neural.codecs.actdiff_vc.render import Conditions
from bench.neural.coding.channel import TrainingChannel
from bench.neural.coding.picture_codec import STRIDE
from bench.neural.coding.pictures import psnr
from bench.neural.networks.blocks import pad_to
from bench.neural.networks.perceptual_loss import DeepFeatures
from bench.neural.own_codecs import RDOQ
from bench.neural.training.clips import Pictures
from bench.neural.training.likeness import likeness, mean_feature_distance, weights_of_error
from bench.neural.training.loop import Figures, Stage, scaled, to_batch

LAMBDAS = (0.00006, 0.02)
"""Weight of the mean squared error on a scale of 255 against bits per pixel, at the lowest and highest rate index."""

FEATURES, TEXTURE, CHANGES, FLOW, ADVERSARIAL = 0.25, 1.0, 0.5, 0.1, 0.3
"""Weights of distances of deep features and of their contrast, frames' changes, the velocity, and the critic's eye."""

LOOKED_AT = 4
"""Frames of a segment, in a row, whose pictures are compared in a step."""

DRAWS = 4
"""Noises and times for each segment where the flow alone learns: tracks and warping cost more than a step of it."""

ONE_SIDED = 0.1
"""Share of the steps in which the segment ends without a keyframe."""

LEARNS = {
    "intra": ("intra.",),
    "expectation": ("generator.latents.expectation.",),
    "refiner": ("generator.latents.refiner.", "critic."),
    "flow": ("generator.denoiser.",),
    "pictures": ("generator.denoiser.", "generator.latents.refiner.", "critic."),
}
"""What learns in each part of the training, by the beginning of its name."""

STEPS = 10
"""Denoising steps of the figures on clips held out."""


def small_stages(scale: float = 1.0) -> list[Stage]:
    """The stages of the small scale; ``scale`` multiplies their steps."""
    stages = [
        Stage("intra", 6000, 5e-4, 8, 128, 1, {"part": "intra"}),
        Stage("expectation", 1000, 2e-3, 8, 128, 9, {"part": "expectation"}),
        Stage("refiner", 1200, 5e-4, 4, 128, 9, {"part": "refiner"}),
        Stage("flow-9", 3000, 5e-4, 6, 128, 9, {"part": "flow"}),
        Stage("flow-21", 1500, 3e-4, 3, 128, 21, {"part": "flow"}),
        Stage("flow-49", 500, 1e-4, 1, 160, 49, {"part": "flow"}),
        Stage("pictures", 800, 1e-4, 2, 128, 17, {"part": "pictures"}),
    ]
    return scaled(stages, scale)


class ActDiffTask:
    """The model and its losses, one for each part of the training."""

    def __init__(self, model: ActDiffVc, features: DeepFeatures, held_out: Sequence[Pictures]) -> None:
        self.model: nn.Module = model
        self._codec = model
        self._features = features
        self._held_out = held_out
        self._learning = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._part = "flow"

    def begin(self, stage: Stage) -> None:
        """What the stage is not for rests."""
        self._part = str(stage.options["part"])
        for name, parameter in self._learning.items():
            parameter.requires_grad_(name.startswith(LEARNS[self._part]))

    def loss(self, batch: Tensor, stage: Stage, step: int) -> tuple[Tensor, Figures]:
        """Loss of a batch of clips in the part of the training that the stage belongs to."""
        if self._part == "intra":
            return self._intra_loss(batch[:, 0])
        terms = self._terms(batch.transpose(1, 2), self._conditions(batch))
        return torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}

    def _terms(self, video: Tensor, conditions: Conditions) -> dict[str, Tensor]:
        generator = self._codec.generator
        if self._part == "expectation":
            model = generator.latents
            return {"nll": negative_log_likelihood(model.residual(video, conditions), *model.expected(conditions))}
        latents = generator.latents.encode(video, conditions)
        if self._part == "refiner":
            found = latents + 0.3 * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device) * torch.randn_like(
                latents
            )
            return self._likeness(found, video, conditions)
        condition = generator.latents.condition(conditions)
        if self._part == "flow":
            latents, condition = (some.repeat_interleave(DRAWS, dim=0) for some in (latents, condition))
        time = _times(len(latents), latents.device)
        noise = torch.randn_like(latents)
        at = noisy(latents, noise, time)
        velocity = generator.denoiser(at, condition, time)
        wrong = (velocity - (noise - latents)).square().mean()
        if self._part == "flow":
            return {"velocity": wrong}
        return {**self._likeness(estimate(velocity, at, time), video, conditions), "velocity": FLOW * wrong}

    def _likeness(self, latents: Tensor, video: Tensor, conditions: Conditions) -> dict[str, Tensor]:
        """L1 of some frames in a row that latents give, distances of features and contrast, L1 of changes, the critic.

        The critic learns by it too.
        """
        model = self._codec.generator.latents
        assert isinstance(model, ResidualLatents)
        first = int(torch.randint(max(1, video.shape[2] - LOOKED_AT + 1), ()))
        chosen = slice(first, first + LOOKED_AT)
        base = model.base(latents, conditions)[:, :, chosen]
        predicted, target = conditions.predicted[:, :, chosen], video[:, :, chosen]
        flat, wanted = (some.transpose(1, 2).flatten(0, 1) for some in (base, target))
        noise = torch.randn(len(video), 1, model.refiner.noise, *flat.shape[2:], device=video.device)
        noise = noise.expand(-1, base.shape[2], -1, -1, -1).flatten(0, 1)  # one for all frames of a clip
        found = model.refine(flat, predicted.transpose(1, 2).flatten(0, 1), noise)
        likely = likeness(
            self._features,
            found,
            wanted,
            features=FEATURES,
            texture=TEXTURE,
            critic=self._codec.critic,
            adversarial=ADVERSARIAL,
        )
        together = found.unflatten(0, (len(video), -1))
        return {
            "l1": (found - wanted).abs().mean(),
            **likely,
            "changes": CHANGES * (together.diff(dim=1) - target.transpose(1, 2).diff(dim=1)).abs().mean(),
        }

    @torch.no_grad()
    def _conditions(self, batch: Tensor, rate: int | None = None, seed: int | None = None) -> Conditions:
        """What the decoder would see of clips, at random rates and now and then without the last keyframe."""
        draw = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())) if seed is None else seed)
        rates = self._rates(len(batch), batch.device) if rate is None else torch.full((len(batch),), rate)
        first, last = (self._coded(batch[:, index], rates)[0].clamp(-1, 1).cpu() for index in (0, -1))
        one_sided = seed is None and float(torch.rand((), generator=draw)) < ONE_SIDED
        with torch.autocast("cpu", enabled=False):
            conditions = conditions_of(batch.cpu(), first.float(), None if one_sided else last.float(), draw)
        return to_device(conditions, batch.device)

    def _coded(self, pictures: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Keyframes as decoded, and their bits."""
        height, width = pictures.shape[-2:]
        padded = pad_to(pictures, STRIDE)
        decoded, _, bits = self._codec.intra(TrainingChannel(rate, RDOQ), padded, torch.zeros_like(padded), None)
        return decoded[..., :height, :width], bits

    def _intra_loss(self, pictures: Tensor) -> tuple[Tensor, Figures]:
        """Rate and mean squared error, each item weighted so that all rate indexes count about the same."""
        rate = self._rates(len(pictures), pictures.device)
        weight = weights_of_error(LAMBDAS, self._codec.config.rates).to(pictures.device)[rate]
        decoded, bits = self._coded(pictures, rate)
        error = (decoded - pictures).square().mean((1, 2, 3)) / 4
        bpp = bits / (pictures.shape[-1] * pictures.shape[-2])
        loss = (bpp / weight.sqrt() + weight.sqrt() * error).mean()
        return loss, {"psnr": -10 * torch.log10(error.detach()).mean(), "bpp": bpp.detach().mean()}

    def _rates(self, count: int, device: torch.device) -> Tensor:
        return torch.randint(self._codec.config.rates, (count,), device=device)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Figures of the part just trained, on clips held out, at the lowest and highest rate; empty without any.

        Of keyframes PSNR of RGB and bits per pixel. Of segments of 17 frames PSNR and distance of deep features, of
        the warped keyframes and of what is made of them.
        """
        device = next(self._codec.parameters()).device
        clips = [to_batch(clip[None, :17], device) for clip in self._held_out[:3]]
        found: dict[str, float] = {}
        for index in (0, self._codec.config.rates - 1) if clips else ():
            found |= (
                self._keyframe_figures(index, clips) if self._part == "intra" else self._segment_figures(index, clips)
            )
        return found

    def _keyframe_figures(self, index: int, clips: Sequence[Tensor]) -> dict[str, float]:
        pictures = [clip[:, 0] for clip in clips]
        coded = [self._coded(picture, torch.tensor([index], device=picture.device)) for picture in pictures]
        pixels = sum(picture[:, 0].numel() for picture in pictures)
        return {
            f"psnr_{index}": psnr([decoded for decoded, _ in coded], pictures),
            f"bpp_{index}": sum(float(bits.sum()) for _, bits in coded) / pixels,
        }

    def _segment_figures(self, index: int, clips: Sequence[Tensor]) -> dict[str, float]:
        conditions = [self._conditions(clip, index, seed=0) for clip in clips]
        videos = [clip.transpose(1, 2) for clip in clips]
        latents = self._codec.generator.latents
        if self._part == "expectation":
            made = [
                latents.decode(torch.zeros_like(latents.residual(v, c)), c)
                for v, c in zip(videos, conditions, strict=True)
            ]
        elif self._part == "refiner":
            made = [latents.decode(latents.encode(v, c), c) for v, c in zip(videos, conditions, strict=True)]
        else:
            made = [self._codec.generator(one, steps=STEPS, seed=0) for one in conditions]
        predicted = [one.predicted for one in conditions]
        return {
            f"psnr_warped_{index}": psnr(predicted, videos),
            f"psnr_{index}": psnr(made, videos),
            f"features_warped_{index}": self._distance(predicted, videos),
            f"features_{index}": self._distance(made, videos),
        }

    def _distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
        ours = [_flat(video).clamp(-1, 1) for video in found]
        return mean_feature_distance(self._features, ours, [_flat(video) for video in wanted])


def _flat(video: Tensor) -> Tensor:
    return video.transpose(1, 2).flatten(0, 1)


def _times(count: int, device: torch.device) -> Tensor:
    """Times of a batch, dense in the middle, where the velocity is hardest to tell (Esser et al. 2024)."""
    return torch.sigmoid(torch.randn(count, device=device))
