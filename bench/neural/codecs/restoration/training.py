"""How the restoration network is trained: on pairs of a clip and its decoded base stream.

Parts, of which a recipe takes some: ``restoration`` (pictures from small ones: L1, distances of deep features and of
their contrast), ``diffusion`` (pictures from small ones and from these pictures mixed with noise, at any share of it:
the squared error of the velocity), ``distillation`` (the diffusion's several steps become one, which starts from
noise alone: nearness to what the steps give, the terms of ``restoration``, and a critic), ``generation`` (pictures as
they are shown, behind the temporal filter: less error, more of the critic, and the mean of deep features over a
picture), and ``recurrence`` (each frame with what was made of the one before it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.codecs.restoration import base
from bench.neural.codecs.restoration.network import Facts, NetworkConfig, Restoration
from bench.neural.codecs.restoration.pairs import Batch, Pair, PairCuts, as_tensor
from bench.neural.codecs.restoration.restore import Noise, following, larger
from bench.neural.coding.pictures import psnr
from bench.neural.coding.temporal_filter import Flow, along_motion, motion
from bench.neural.networks.critic import Critic
from bench.neural.networks.perceptual_loss import (
    CHANNELS,
    DeepFeatures,
    feature_distance,
    texture_distance,
)
from bench.neural.training.likeness import likeness
from bench.neural.training.loop import Figures, Stage

FEATURES, TEXTURE, CHANGES, ADVERSARIAL, NEARNESS = 0.25, 1.0, 0.5, 0.15, 0.3
"""Weights of distances of deep features and of their contrast, frames' changes, the critic's eye, and of nearness to
what the diffusion's steps give, against the mean absolute error."""

STEPS = 4
"""Steps of the diffusion that are distilled into one."""

LEAST = 0.15
"""Time below which the weight of the diffusion's error no longer grows."""

SHARE = 0.7
"""Of the temporal filter that pictures are shown behind in ``generation``."""

SHOWN = {"error": 0.5, "changes": 0.5, "features": 0.5, "texture": 2.0, "adversarial": 3.0, "moments": 1.0}
"""What ``generation`` multiplies these terms by; ``moments`` are the distance of deep features' means."""

JUDGED = ("distillation", "generation", "recurrence")
"""Parts in which the critic learns."""

LOOKED_AT = 6
"""Frames of a batch whose deep features are compared."""


class Trained(Restoration):
    """The network, with what training alone has: a critic, and the diffusion that is distilled."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.critic = Critic(CHANNELS)
        self.teacher = Restoration(config) if config.noise else None
        self.register_buffer("taught", torch.zeros(()))

    def teach(self) -> None:
        """Have the teacher be what the network is now; it stays so, however often this is called."""
        if self.teacher is not None and not bool(self.taught):
            own = self.state_dict()
            self.teacher.load_state_dict({name: own[name] for name in self.teacher.state_dict()})
            self.taught.fill_(1)


class RestorationTask:
    """The network and its losses, one for each part of the training."""

    def __init__(
        self, network: Trained, features: DeepFeatures, pairs: Sequence[Pair], held_out: Sequence[Pair]
    ) -> None:
        self.trained = network
        self.model: nn.Module = network
        self._features = features
        self._pairs = pairs
        self._held_out = held_out
        self._part = "restoration"

    def begin(self, stage: Stage) -> None:
        """What the stage is not for rests; the teacher is what the diffusion has become."""
        self._part = str(stage.options["part"])
        trained = self.trained
        if self._part == "distillation":
            trained.teach()
        for name, parameter in trained.named_parameters():
            parameter.requires_grad_(
                self._part in JUDGED if name.startswith("critic.") else not name.startswith("teacher.")
            )

    def draw(self, stage: Stage, seed: int, step: int) -> Batch:
        """The batch of a step, in place of cuts of clips."""
        cuts = PairCuts(self._pairs, stage.size, stage.frames, seed, stage.options.get("structure"))
        return cuts.at(step, stage.batch)

    def loss(self, batch: Any, stage: Stage, step: int) -> tuple[Tensor, Figures]:
        """Loss of a batch of pairs in the part of the training that the stage belongs to."""
        terms = {
            "restoration": self._restoration_terms,
            "diffusion": self._diffusion_terms,
            "distillation": self._distillation_terms,
            "generation": self._generation_terms,
            "recurrence": self._recurrence_terms,
        }[self._part](batch)
        return torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}

    def _restoration_terms(self, batch: Batch) -> dict[str, Tensor]:
        found, _ = self.trained(batch.small, batch.scale, facts_of(batch))
        return self._likeness(found, batch.pictures)

    def _diffusion_terms(self, batch: Batch) -> dict[str, Tensor]:
        count, frames = batch.small.shape[:2]
        time = torch.rand(count)[:, None].expand(-1, frames)
        noisy = mixed(batch.pictures, self._noise(batch), time)
        found, _ = self.trained(batch.small, batch.scale, facts_of(batch, time), noisy=noisy)
        errors = (found - batch.pictures).square().mean((2, 3, 4))
        return {
            "velocity": (errors / time.clamp_min(LEAST).square()).mean(),
            "error": 0.5 * (found - batch.pictures).abs().mean(),
        }

    def _distillation_terms(self, batch: Batch) -> dict[str, Tensor]:
        trained = self.trained
        assert trained.teacher is not None
        noise = self._noise(batch)
        with torch.no_grad():
            target = sample(trained.teacher, batch, noise, STEPS)
        found, _ = trained(batch.small, batch.scale, facts_of(batch, torch.ones(batch.types.shape)), noisy=noise)
        nearness = (found - target).abs().mean()
        return {"nearness": NEARNESS * nearness, **self._likeness(found, batch.pictures, judged=True)}

    def _generation_terms(self, batch: Batch) -> dict[str, Tensor]:
        noisy = self._noise(batch) if self.trained.config.noise else None
        time = torch.full(batch.types.shape, 0.0 if noisy is None else 1.0)
        found, _ = self.trained(batch.small, batch.scale, facts_of(batch, time), noisy=noisy)
        shown = steadied(found, guides_of(batch), SHARE)
        terms = self._likeness(shown, batch.pictures, judged=True)
        return {name: SHOWN.get(name, 1.0) * term for name, term in terms.items()}

    def _noise(self, batch: Batch) -> Tensor:
        """Noise for the pictures of a batch, as decoders draw it."""
        seeds = torch.randint(1 << 62, batch.crf.shape)
        draws = [Noise(int(seed), moving=self.trained.config.moving) for seed in seeds]
        frames = [
            [draw(guide) for draw, guide in zip(draws, frame.split(1), strict=True)] for frame in guides_of(batch)
        ]
        return torch.stack([torch.cat(each) for each in frames], dim=1)

    def _recurrence_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Frames one after the other, each with what was made of the one before, as a decoder has it."""
        network = self.trained
        noisy = self._noise(batch) if network.config.noise else None
        time = torch.full(batch.types.shape, 0.0 if noisy is None else 1.0)
        facts = facts_of(batch, time)
        guides = guides_of(batch)
        pictures: list[Tensor] = []
        meaning: Tensor | None = None
        for index, guide in enumerate(guides):
            before = guide.new_zeros(len(guide), 1, 4, *guide.shape[-2:])
            if pictures:
                shown, earlier = pictures[-1].detach().clamp(-1, 1), guides[index - 1]
                moved = [
                    along_motion(a, b, c)
                    for a, b, c in zip(*(x.split(1) for x in (shown, earlier, guide)), strict=True)
                ]
                before = torch.cat([torch.cat(both, dim=1) for both in moved])[:, None]
            now = slice(index, index + 1)
            found, shows = network(
                batch.small[:, now],
                batch.scale,
                Facts(facts.types[:, now], facts.crf[:, now], facts.time[:, now]),
                noisy=None if noisy is None else noisy[:, now],
                before=before,
                meaning=meaning,
            )
            pictures.append(found[:, 0])
            meaning = following(meaning, shows[:, 0].detach())
        return self._likeness(torch.stack(pictures, dim=1), batch.pictures, judged=True)

    def _likeness(self, found: Tensor, wanted: Tensor, *, judged: bool = False) -> dict[str, Tensor]:
        terms = {"error": (found - wanted).abs().mean()}
        if found.shape[1] > 1:
            terms["changes"] = CHANGES * (found.diff(dim=1) - wanted.diff(dim=1)).abs().mean()
        ours, theirs = found.flatten(0, 1), wanted.flatten(0, 1)
        if len(ours) > LOOKED_AT:
            some = torch.randperm(len(ours))[:LOOKED_AT]
            ours, theirs = ours[some], theirs[some]
        return terms | likeness(
            self._features,
            ours,
            theirs,
            features=FEATURES,
            texture=TEXTURE,
            of_pixels=False,
            moments=float(self._part == "generation"),
            critic=self.trained.critic if judged else None,
            adversarial=ADVERSARIAL,
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR and distances of deep features and texture on pairs of the clips held out, of one frame each."""
        generator = torch.Generator().manual_seed(0)
        draws = self.trained.config.noise and self._part != "restoration"
        found, wanted, distances, textures = [], [], [], []
        for pair in self._held_out[::2]:
            batch = whole(pair, 5)
            noisy, time = None, torch.zeros(batch.types.shape)
            if draws:
                noisy = torch.randn(batch.pictures[:, :1].shape, generator=generator).expand_as(batch.pictures)
                time = torch.ones(batch.types.shape)
            video, _ = self.trained(batch.small, batch.scale, facts_of(batch, time), noisy=noisy)
            middle = video.shape[1] // 2
            picture, real = video[:, middle].clamp(-1, 1), batch.pictures[:, middle]
            found.append(picture)
            wanted.append(real)
            ours, theirs = self._features(picture), self._features(real)
            distances.append(float(feature_distance(ours, theirs)))
            textures.append(float(texture_distance(ours, theirs)))
        if not found:
            return {}
        count = len(distances)
        return {
            "held_psnr": psnr(found, wanted),
            "held_features": sum(distances) / count,
            "held_texture": sum(textures) / count,
        }


def guides_of(batch: Batch) -> list[Tensor]:
    """The frames of a batch as decoders know them, made large, each B x 3 x H x W."""
    return [larger(frame, batch.scale) for frame in batch.small.unbind(1)]


def steadied(video: Tensor, guides: Sequence[Tensor], share: float) -> Tensor:
    """B x T x 3 x H x W behind the temporal filter, with gradients through the frames before."""
    shown = [video[:, 0]]
    for index in range(1, video.shape[1]):
        known = [motion(a, b) for a, b in zip(guides[index - 1].split(1), guides[index].split(1), strict=True)]
        places = torch.cat([_places(flow) for flow, _ in known])
        certain = torch.cat([each for _, each in known])
        before = functional.grid_sample(
            shown[-1].float(), places, mode="bicubic", padding_mode="border", align_corners=True
        )
        shown.append(video[:, index] + share * certain * (before - video[:, index]))
    return torch.stack(shown, dim=1)


def _places(flow: Flow) -> Tensor:
    """Where `functional.grid_sample` reads for a flow, 1 x H x W x 2."""
    height, width = flow.shape[:2]
    grid = torch.stack([torch.arange(width).expand(height, -1), torch.arange(height)[:, None].expand(-1, width)], -1)
    sides = torch.tensor([max(width - 1, 1), max(height - 1, 1)])
    return ((grid + torch.from_numpy(flow)) * 2 / sides - 1)[None]


def mixed(pictures: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Pictures B x T x ... mixed with noise: none of it at time 0, nothing but it at 1."""
    share = time[..., None, None, None]
    return (1 - share) * pictures + share * noise


def sample(network: Restoration, batch: Batch, noise: Tensor, steps: int) -> Tensor:
    """Pictures from noise by so many steps along the velocity that the network tells."""
    noisy = noise
    for step in range(steps, 0, -1):
        now, then = step / steps, (step - 1) / steps
        time = torch.full(batch.types.shape, now)
        found, _ = network(batch.small, batch.scale, facts_of(batch, time), noisy=noisy)
        noisy = found + (then / now) * (noisy - found)
    return noisy


def facts_of(batch: Batch, time: Tensor | None = None) -> Facts:
    """What the network is told of a batch."""
    crf = batch.crf[:, None].expand(batch.types.shape)
    return Facts(batch.types, crf, torch.zeros(batch.types.shape) if time is None else time)


def whole(pair: Pair, frames: int) -> Batch:
    """Up to so many frames from the middle of a pair, uncut but for what sides exceed a multiple of 8, as a batch."""
    height, width = (side // base.STRIDE * base.STRIDE for side in pair.clip.shape[1:3])
    first = max(0, (len(pair.clip) - frames) // 2)
    time = slice(first, first + frames)
    return Batch(
        as_tensor(pair.clip[time, :height, :width])[None],
        as_tensor(pair.small[time, : height // pair.scale, : width // pair.scale])[None],
        torch.from_numpy(pair.types[time])[None],
        torch.tensor([pair.crf]),
        pair.scale,
    )
