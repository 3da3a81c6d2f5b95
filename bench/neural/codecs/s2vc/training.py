"""How S2VC is trained: the paper's loss terms, stage by stage, with a growing number of frames.

Loss of a sequence, mean over its frames: lambda R + L1 + deep-feature distance + alpha |teacher - P(s)|
+ beta |flow(x) - flow(x_hat)|, with R in bits per pixel. Where the paper has LPIPS and DINOv3, SqueezeNet's features
stand in; the model card says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.neural.codecs.s2vc.model import STRIDE, Picture, S2vc, State, resample_tokens, teacher_grid
from bench.neural.coding.pictures import psnr
from bench.neural.networks.backbones import to_latent, to_picture
from bench.neural.networks.blocks import pad_to
from bench.neural.networks.perceptual_loss import DeepFeatures, downsampled, feature_distance
from bench.neural.training.clips import Pictures
from bench.neural.training.loop import Figures, Stage, scaled, to_batch

LAMBDAS = (24.0, 0.5)
"""Weight of the rate (bits per pixel) at the lowest and the highest rate index; between them evenly in logarithm.

The paper's 5.2 to 0.2 belong to its distances, LPIPS above all; with ours they would give several times its rates.
"""

INTRA_SHARE = 1 / 4
"""What of that weight an intra frame's rate has: more frames live on its quality than training sees."""

LED_IN = 3 / 4
"""Share of the steps of a stage with a lead that begin amid a sequence, as most frames of a stream are."""

CODEC_DISTANCE = 3.0
"""Weight of L1 where the codec learns alone and no other distance stands beside it."""

DISTILLATION, FLOW, FEATURES = 0.01, 0.1, 0.15
"""alpha (of a sum over the teacher's channels), beta, weight of the deep-feature distance (a sum over depths)."""

Flow = Callable[[Tensor, Tensor], Tensor]
"""Motion between pictures N x 3 x H x W, -1 to 1, from the first to the second."""

ENCODER = ("vae.encoder.", "vae.to_latent.")
"""What of the autoencoder is of no use to a decoder, and learns in its own stage alone."""

CODEC = ("intra.", "inter.", "previewer.")
"""What learns where the conditional codec learns alone."""


def lambdas(rates: int) -> Tensor:
    """Weight of the rate of each rate index."""
    first, last = LAMBDAS
    return first * (last / first) ** torch.linspace(0, 1, rates)


def small_stages(scale: float = 1.0) -> list[Stage]:
    """The stages of the small scale; ``scale`` multiplies their steps."""
    stages = [
        Stage("autoencoder", 200, 5e-4, 8, 128, 1),
        Stage("intra", 1500, 4e-4, 8, 128, 1, {"latent": 0.1}),
        Stage("inter", 3000, 3e-4, 4, 128, 2),
        Stage("codec", 3000, 3e-4, 6, 128, 6, {"codec": True}),
        Stage("codec-long", 1500, 2e-4, 4, 128, 6, {"codec": True}, lead=12),
        Stage("cascade-4", 800, 1e-4, 2, 128, 4, lead=12),
        Stage("cascade-6", 300, 5e-5, 2, 128, 6, {"flow": True}, lead=12),
    ]
    return scaled(stages, scale)


def half_size(flow: Callable[[Tensor, Tensor], Tensor]) -> Flow:
    """A network's flow (RGB with white 1) on pictures of half the size, at a quarter of the cost; in half pixels."""
    return lambda first, second: flow(*(downsampled(picture) / 2 + 0.5 for picture in (first, second)))


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
        self._learning = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._only_autoencoder = False

    def begin(self, stage: Stage) -> None:
        """Let learn what the stage is for; the autoencoder's decoder goes on learning with the whole."""
        self._only_autoencoder = stage.name == "autoencoder"
        for name, parameter in self._learning.items():
            if self._only_autoencoder:
                learns = name.startswith("vae.")
            elif stage.options.get("codec"):
                learns = name.startswith(CODEC)
            else:
                learns = not name.startswith((*ENCODER, "previewer."))
            parameter.requires_grad_(learns)

    def loss(self, batch: Tensor, stage: Stage, step: int) -> tuple[Tensor, Figures]:
        """Loss of a batch of sequences, each item at a rate index of its own."""
        if stage.name == "autoencoder":
            return self._autoencoder_loss(batch[:, 0])
        rate = torch.randint(self._s2vc.config.rates, (len(batch),), device=batch.device)
        weight = lambdas(self._s2vc.config.rates).to(batch.device)[rate]
        state, batch = self._led_in(batch, rate, stage)
        if stage.options.get("codec"):
            return self._codec_loss(batch, rate, weight, state)
        sums: dict[str, Tensor] = {}
        bpps: dict[str, list[Tensor]] = {"bpp_i": [], "bpp_p": []}
        pictures = []
        frames = batch.shape[1]
        for target in batch.unbind(1):
            decoded = self._s2vc(target, state, rate)
            bpp = decoded.coded.bits / (target.shape[-1] * target.shape[-2])
            dear = weight * INTRA_SHARE if state is None else weight
            for name, term in {**self._terms(target, decoded, stage), "rate": (dear * bpp).mean()}.items():
                sums[name] = sums.get(name, 0) + term / frames
            bpps["bpp_i" if state is None else "bpp_p"].append(bpp.detach().mean())
            state = decoded.state
            pictures.append(decoded.picture)
        if stage.options.get("flow") and self._flow is not None and frames > 1:
            sums["flow"] = FLOW * (frames - 1) / frames * self._flow_distance(batch, torch.stack(pictures, 1))
        figures = {name: term.detach() for name, term in sums.items()} | _means(bpps)
        return torch.stack(list(sums.values())).sum(), figures

    @torch.no_grad()
    def _led_in(self, batch: Tensor, rate: Tensor, stage: Stage) -> tuple[State | None, Tensor]:
        """The state after a random number of frames, up to the stage's lead, coded without gradients; and what follows.

        Errors pile up over a stream's frames. Gradients through so many would cost too much; this is what a codec that
        must mend them needs to have seen.
        """
        lead = batch.shape[1] - stage.frames
        first = int(torch.randint(1, lead + 1, ())) if lead > 0 and float(torch.rand(())) < LED_IN else 0
        state: State | None = None
        for number in range(first):
            coded, features = self._s2vc.code(batch[:, number], state, rate)
            if number == first - 1 and not stage.options.get("codec"):
                state = self._s2vc.render(coded, features, state).state
            else:
                state = self._s2vc.advance(coded, features, state)
        # older torch would use what was cast to bfloat16 here again, and nothing would learn by it
        torch.clear_autocast_cache()
        return state, batch[:, first : first + stage.frames]

    def _codec_loss(self, batch: Tensor, rate: Tensor, weight: Tensor, state: State | None) -> tuple[Tensor, Figures]:
        """Rate and distance of the conditional codec alone, at a sixth of the cost of a whole frame."""
        distances, costs = [], []
        bpps: dict[str, list[Tensor]] = {"bpp_i": [], "bpp_p": []}
        for target in batch.unbind(1):
            coded, features = self._s2vc.code(target, state, rate)
            bpp = coded.bits / (target.shape[-1] * target.shape[-2])
            distances.append((self._s2vc.preview(features) - target).abs().mean())
            costs.append(((weight * INTRA_SHARE if state is None else weight) * bpp).mean())
            bpps["bpp_i" if state is None else "bpp_p"].append(bpp.detach().mean())
            state = self._s2vc.advance(coded, features, state)
        distance, cost = CODEC_DISTANCE * torch.stack(distances).mean(), torch.stack(costs).mean()
        return distance + cost, {"l1": distance.detach(), "rate": cost.detach()} | _means(bpps)

    def _flow_distance(self, targets: Tensor, pictures: Tensor) -> Tensor:
        """Mean difference of the motion of decoded and source sequences (B x T x 3 x H x W), all pairs at once."""
        assert self._flow is not None
        with torch.no_grad():
            truth = self._flow(targets[:, :-1].flatten(0, 1), targets[:, 1:].flatten(0, 1))
        found = self._flow(pictures[:, :-1].flatten(0, 1), pictures[:, 1:].flatten(0, 1))
        return (found - truth).abs().mean()

    def _terms(self, target: Tensor, decoded: Picture, stage: Stage) -> dict[str, Tensor]:
        with torch.no_grad():
            wanted = self._features(target)
        got = self._features(decoded.picture)
        terms = {
            "l1": (decoded.picture - target).abs().mean(),
            "features": FEATURES * feature_distance(wanted, got).mean(),
        }
        if self._s2vc.config.semantic_guidance:
            terms["distillation"] = DISTILLATION * self._distillation(decoded.tokens, wanted[-1], target)
        if stage.options.get("latent"):
            with torch.no_grad():
                encoded = to_latent(self._s2vc.vae, target)
            pull = (decoded.adapted - encoded).abs().mean() + (decoded.latent - encoded).abs().mean()
            terms["latent"] = stage.options["latent"] * pull
        return terms

    def _distillation(self, tokens: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        height, width = (side // 32 for side in target.shape[-2:])
        wanted = teacher_grid(nn.functional.normalize(teacher, dim=1), height, width)
        projected = resample_tokens(self._s2vc.guide.project(tokens), height, width)
        return (projected - wanted).abs().sum(1).mean()

    def _autoencoder_loss(self, target: Tensor) -> tuple[Tensor, Figures]:
        latent = to_latent(self._s2vc.vae, target)
        picture = to_picture(self._s2vc.vae, latent)
        terms = {
            "l1": (picture - target).abs().mean(),
            "features": FEATURES * feature_distance(self._features(target), self._features(picture)).mean(),
            "size": 1e-3 * latent.square().mean(),
        }
        return torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR of RGB and bits per pixel at the lowest and highest rate, on the first frames of clips held out.

        The autoencoder's stage gives the PSNR of the autoencoder alone. Empty where no clip is held out.
        """
        device = next(self._s2vc.parameters()).device
        clips = [pad_to(to_batch(clip[None, :4], device)[0], STRIDE) for clip in self._held_out[:4]]
        if not clips:
            return {}
        if self._only_autoencoder:
            pictures = [to_picture(self._s2vc.vae, to_latent(self._s2vc.vae, clip)) for clip in clips]
            return {"psnr_autoencoder": psnr(pictures, clips)}
        found: dict[str, float] = {}
        for index in (0, self._s2vc.config.rates - 1):
            rate = torch.tensor([index], device=device)
            coded = [self._coded(clip, rate) for clip in clips]
            found[f"psnr_{index}"] = psnr([pictures for pictures, _ in coded], clips)
            found[f"bpp_{index}"] = sum(bits for _, bits in coded) / sum(clip[:, 0].numel() for clip in clips)
        return found

    def _coded(self, clip: Tensor, rate: Tensor) -> tuple[Tensor, float]:
        """A clip's pictures (T x 3 x H x W) as decoded one after the other, and what they cost in bits."""
        state: State | None = None
        pictures, bits = [], 0.0
        for target in clip.split(1):
            decoded = self._s2vc(target, state, rate)
            state = decoded.state
            pictures.append(decoded.picture)
            bits += float(decoded.coded.bits.sum())
        return torch.cat(pictures), bits


def _means(bpps: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Bits per pixel of intra and inter frames, where there were any."""
    return {name: torch.stack(list(found)).mean() for name, found in bpps.items() if found}
