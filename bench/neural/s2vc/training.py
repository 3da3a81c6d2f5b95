"""How S2VC is trained: the paper's loss terms, stage by stage, with a growing number of frames.

Loss of a sequence, mean over its frames: lambda R + L1 + deep-feature distance + alpha |teacher - P(s)|
+ beta |flow(x) - flow(x_hat)|, with R in bits a pixel. Where the paper has LPIPS and DINOv3, SqueezeNet's features
stand in; the model card says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.neural.blocks import pad_to
from bench.neural.clips import Pictures
from bench.neural.perceptual_loss import DeepFeatures, feature_distance
from bench.neural.s2vc.model import STRIDE, Picture, S2vc, State, resample_tokens, teacher_grid
from bench.neural.training import Stage, to_batch

LAMBDAS = (5.2, 0.2)
"""Weight of the rate at the lowest and the highest rate index, as in the paper; between them evenly in logarithm."""

DISTILLATION, FLOW, FEATURES = 0.01, 0.1, 0.25
"""alpha (of a sum over the teacher's channels), beta, weight of the deep-feature distance (a sum over depths)."""

Flow = Callable[[Tensor, Tensor], Tensor]


def lambdas(rates: int) -> Tensor:
    """Weight of the rate of each rate index."""
    first, last = LAMBDAS
    return first * (last / first) ** torch.linspace(0, 1, rates)


def small_stages(scale: float = 1.0) -> list[Stage]:
    """The stages of the small scale; ``scale`` multiplies their steps."""

    def steps(count: int) -> int:
        return max(1, round(count * scale))

    return [
        Stage("autoencoder", steps(300), 5e-4, 8, 128, 1),
        Stage("intra", steps(2500), 5e-4, 8, 128, 1, {"latent": 0.1}),
        Stage("inter", steps(4500), 4e-4, 4, 128, 2),
        Stage("cascade-4", steps(2000), 2e-4, 2, 128, 4),
        Stage("cascade-6", steps(800), 1e-4, 2, 128, 6, {"flow": True}),
    ]


class S2vcTask:
    """The model and its loss. ``flow`` gives the motion between two pictures, differentiably, where a stage asks."""

    def __init__(
        self, model: S2vc, features: DeepFeatures, held_out: Sequence[Pictures], flow: Flow | None = None
    ) -> None:
        self.model: nn.Module = model
        self._s2vc = model
        self._features = features
        self._held_out = held_out
        self._flow = flow
        self._lambdas = lambdas(model.config.rates)

    def begin(self, stage: Stage) -> None:
        """The autoencoder's stage trains the autoencoder alone; later its decoder goes on learning with the rest."""
        only_vae = stage.name == "autoencoder"
        for name, parameter in self._s2vc.named_parameters():
            vae = name.startswith("vae.")
            parameter.requires_grad_(vae if only_vae else not name.startswith("vae.encoder"))

    def loss(self, batch: Tensor, stage: Stage, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch of sequences, each item at a rate index of its own."""
        if stage.name == "autoencoder":
            return self._autoencoder_loss(batch[:, 0])
        rate = torch.randint(self._s2vc.config.rates, (len(batch),))
        state: State | None = None
        total = batch.new_zeros(())
        sums: dict[str, float] = {}
        before: tuple[Tensor, Tensor] | None = None
        frames = batch.shape[1]
        for index in range(frames):
            target = batch[:, index]
            decoded = self._s2vc(target, state, rate)
            terms = self._terms(target, decoded, stage)
            if stage.options.get("flow") and self._flow is not None and before is not None:
                with torch.no_grad():
                    truth = self._flow(before[0], target)
                terms["flow"] = FLOW * (self._flow(before[1], decoded.picture) - truth).abs().mean()
            bpp = decoded.coded.bits / (target.shape[-1] * target.shape[-2])
            terms["rate"] = (self._lambdas.to(bpp.device)[rate] * bpp).mean()
            total = total + torch.stack(list(terms.values())).sum() / frames
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / frames
            kind = "bpp_p" if index else "bpp_i"
            sums[kind] = sums.get(kind, 0.0) + float(bpp.detach().mean()) / (frames - 1 if index else 1)
            state, before = decoded.state, (target, decoded.picture)
        return total, sums

    def _terms(self, target: Tensor, decoded: Picture, stage: Stage) -> dict[str, Tensor]:
        with torch.no_grad():
            wanted = self._features(target)
        got = self._features(decoded.picture)
        height, width = (side // 32 for side in target.shape[-2:])
        teacher = teacher_grid(nn.functional.normalize(wanted[-1], dim=1), height, width)
        projected = resample_tokens(self._s2vc.guide.project(decoded.tokens), height, width)
        terms = {
            "l1": (decoded.picture - target).abs().mean(),
            "features": FEATURES * feature_distance(wanted, got).mean(),
            "distillation": DISTILLATION * (projected - teacher).abs().sum(1).mean(),
        }
        if stage.options.get("latent"):
            vae: Any = self._s2vc.vae
            with torch.no_grad():
                encoded = vae.encode(target).latents
            pull = (decoded.adapted - encoded).abs().mean() + (decoded.latent - encoded).abs().mean()
            terms["latent"] = stage.options["latent"] * pull
        return terms

    def _autoencoder_loss(self, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        vae: Any = self._s2vc.vae
        latent = vae.encode(target).latents
        picture = vae.decode(latent).sample
        terms = {
            "l1": (picture - target).abs().mean(),
            "features": FEATURES * feature_distance(self._features(target), self._features(picture)).mean(),
            "size": 1e-3 * latent.square().mean(),
        }
        return torch.stack(list(terms.values())).sum(), {name: float(value.detach()) for name, value in terms.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean squared error as PSNR of RGB and bits a pixel at the lowest and highest rate, on the held-out clips."""
        found: dict[str, float] = {}
        rates = self._s2vc.config.rates
        for rate in (0, rates - 1):
            errors, bits, pixels = [], 0.0, 0
            for clip in self._held_out[:4]:
                batch = pad_to(to_batch(clip[None, :4], torch.device("cpu"))[0], STRIDE)
                state: State | None = None
                for target in batch.split(1):
                    decoded = self._s2vc(target, state, torch.tensor([rate]))
                    state = decoded.state
                    errors.append(float((decoded.picture.clamp(-1, 1) - target).square().mean()) / 4)
                    bits += float(decoded.coded.bits.sum())
                    pixels += target.shape[-1] * target.shape[-2]
            mean = sum(errors) / max(1, len(errors))
            found[f"psnr_{rate}"] = -10 * torch.log10(torch.tensor(max(mean, 1e-12))).item()
            found[f"bpp_{rate}"] = bits / max(1, pixels)
        return found
