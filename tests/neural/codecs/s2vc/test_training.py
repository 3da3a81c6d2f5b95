"""S2VC's loss and stages on tiny networks: what learns, what each term is, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers", "torchvision")

from bench.networks.flow import SpyNet  # noqa: E402
from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig  # noqa: E402
from bench.neural.codecs.s2vc.training import LAMBDAS, S2vcTask, half_size, lambdas, small_stages  # noqa: E402
from bench.neural.codecs.s2vc.transform import PatchAutoencoder  # noqa: E402
from bench.neural.networks.backbones import small_unet  # noqa: E402
from bench.neural.networks.perceptual_loss import DeepFeatures  # noqa: E402
from bench.neural.training import loop  # noqa: E402
from bench.neural.training.log import TrainingLog  # noqa: E402
from bench.neural.training.loop import Stage, Training, to_batch  # noqa: E402
from bench.weights import files as weights  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = S2vcConfig(
    width=16, deep=16, latent_channels=8, y_channels=16, hyper_channels=8, guidance=16, unet_widths=(16, 16),
    vae_width=8, rates=3,
)  # fmt: skip


def tiny(**changes: Any) -> S2vc:
    torch.manual_seed(0)
    config = replace(CONFIG, **changes)
    vae = PatchAutoencoder(config.latent_channels, config.vae_width)
    return S2vc(config, vae, small_unet(config.latent_channels, config.unet_widths, config.guidance))


def moving(frames: int = 4, size: int = 64) -> np.ndarray:
    """A smooth pattern that moves to the right by two pixels per frame."""
    y, x = np.mgrid[0:size, 0:size]
    planes = [[np.sin((x - 2 * t) / 7 + c) * np.cos(y / (5 + c)) for c in range(3)] for t in range(frames)]
    return (np.array(planes).transpose(0, 2, 3, 1) * 100 + 128).astype(np.uint8)


def batch(frames: int = 2) -> Any:
    return to_batch(moving(frames)[None], torch.device("cpu"))


def constant_flow(first: Any, second: Any) -> Any:
    """A stand-in for motion: how much the mean level changes."""
    return (second - first).mean((1, 2, 3), keepdim=True)


def test_the_weight_of_the_rate_falls_evenly_in_its_logarithm() -> None:
    found = lambdas(8)
    assert (found[0], found[-1]) == pytest.approx(LAMBDAS, rel=1e-5)
    ratios = found[1:] / found[:-1]
    assert torch.allclose(ratios, ratios[0].expand(7))


def test_stages_grow_in_length_and_the_last_has_the_flow_term() -> None:
    stages = small_stages()
    lengths = [stage.frames for stage in stages if not stage.options.get("codec")]
    assert lengths == sorted(lengths)
    assert [stage.name for stage in stages if stage.options.get("flow")] == [stages[-1].name]


def test_the_loss_is_the_sum_of_its_terms(features: DeepFeatures) -> None:
    task = S2vcTask(tiny(), features, [], constant_flow)
    stage = Stage("any", 1, 1e-3, 1, 64, 3, {"flow": True, "latent": 0.1})
    loss, figures = task.loss(batch(3), stage, 0)
    terms = {"l1", "features", "distillation", "latent", "rate", "flow"}
    assert set(figures) == terms | {"bpp_i", "bpp_p"}
    assert float(loss.detach()) == pytest.approx(sum(float(figures[name]) for name in terms), rel=1e-5)


def test_the_flow_term_is_the_mean_over_frames_of_the_motions_difference(features: DeepFeatures) -> None:
    """Of three frames two have one before them: beta (|d1| + |d2|) / 3 with what the stand-in sees of the motion."""
    model = tiny()
    task = S2vcTask(model, features, [], constant_flow)
    given = batch(3)
    torch.manual_seed(3)
    _, figures = task.loss(given, Stage("any", 1, 1e-3, 1, 64, 3, {"flow": True}), 0)
    torch.manual_seed(3)
    rate = torch.randint(CONFIG.rates, (1,))
    state, levels = None, []
    for target in given.unbind(1):
        decoded = model(target, state, rate)
        state = decoded.state
        levels.append(float((decoded.picture - target).mean().detach()))
    expected = 0.1 * sum(abs(b - a) for a, b in pairwise(levels)) / 3
    assert float(figures["flow"]) == pytest.approx(expected, rel=1e-4)


def test_the_flow_term_is_there_only_where_a_stage_asks(features: DeepFeatures) -> None:
    task = S2vcTask(tiny(), features, [], constant_flow)
    assert "flow" not in task.loss(batch(2), Stage("any", 1, 1e-3, 1, 64, 2), 0)[1]
    assert "flow" not in task.loss(batch(1), Stage("any", 1, 1e-3, 1, 64, 1, {"flow": True}), 0)[1]


def test_a_flow_on_half_the_size_sees_half_the_motion(shared_weights: Path) -> None:
    """The pattern moves by two pixels, which are one of half the size, and SpyNet says so for a batch of pairs."""
    flow = half_size(SpyNet.of(weights.load("spynet")))
    pictures = batch(4)[0]
    with torch.inference_mode():
        found = flow(pictures[:-1], pictures[1:])
    assert found.shape == (3, 2, 32, 32)
    assert found[:, 0, 8:24, 8:24].mean().item() == pytest.approx(1.0, abs=0.25)
    assert found[:, 1, 8:24, 8:24].abs().mean().item() < 0.25


def learns(model: S2vc, task: S2vcTask, stage: Stage) -> set[str]:
    """Names of the parameters that a step on this stage reaches."""
    task.begin(stage)
    model.zero_grad(set_to_none=True)
    task.loss(batch(stage.frames), stage, 0)[0].backward()
    return {name for name, value in model.named_parameters() if value.grad is not None}


def test_each_stage_reaches_what_it_should(features: DeepFeatures) -> None:
    model = tiny()
    task = S2vcTask(model, features, [])
    autoencoder = learns(model, task, Stage("autoencoder", 1, 1e-3, 1, 64, 1))
    assert {name.partition(".")[0] for name in autoencoder} == {"vae"}
    intra = learns(model, task, Stage("intra", 1, 1e-3, 1, 64, 1, {"latent": 0.1}))
    assert not any(name.startswith(("vae.encoder", "vae.to_latent", "inter.", "adapters.1")) for name in intra)
    inter = learns(model, task, Stage("inter", 1, 1e-3, 1, 64, 2))
    for part in (
        "intra.",
        "inter.",
        "adapters.0",
        "adapters.1",
        "guide.",
        "diffusion.unet",
        "diffusion.guides",
        "vae.dec",
    ):
        assert any(name.startswith(part) for name in inter), part


def test_where_the_codec_learns_alone_an_intra_frames_rate_counts_a_quarter(features: DeepFeatures) -> None:
    model = tiny()
    task = S2vcTask(model, features, [])
    stage = Stage("codec", 1, 1e-3, 1, 64, 3, {"codec": True})
    assert {name.partition(".")[0] for name in learns(model, task, stage)} == {"intra", "inter", "previewer"}
    torch.manual_seed(5)
    loss, figures = task.loss(batch(3), stage, 0)
    torch.manual_seed(5)
    weight = float(lambdas(CONFIG.rates)[torch.randint(CONFIG.rates, (1,))])
    rate = weight * (float(figures["bpp_i"]) / 4 + 2 * float(figures["bpp_p"])) / 3
    assert float(figures["rate"]) == pytest.approx(rate, rel=1e-5)
    assert float(loss.detach()) == pytest.approx(rate + float(figures["l1"]), rel=1e-5)


@pytest.mark.parametrize("options", [{"codec": True}, {}])
def test_after_a_lead_frames_are_those_of_a_stream_that_went_on(
    features: DeepFeatures, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    model = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    task = S2vcTask(model, features, [])
    stage = Stage("led", 1, 1e-3, 1, 64, 2, options, lead=3)
    seen: list[Any] = []
    code = model.code

    def watched(picture: Any, state: Any, rate: Any) -> Any:
        found = code(picture, state, rate)
        seen.append((picture, found[1], torch.is_grad_enabled(), rate))
        return found

    monkeypatch.setattr(model, "code", watched)
    leads = set()
    for step in range(12):
        seen.clear()
        torch.manual_seed(step)
        loss, figures = task.loss(batch(5), stage, 0)
        loss.backward()
        lead = [graded for *_, graded, _ in seen].count(False)
        leads.add(lead)
        assert [graded for *_, graded, _ in seen] == [False] * lead + [True, True]
        assert ("bpp_i" in figures) == (lead == 0)
        state = None
        with torch.no_grad():
            for picture, features_then, _, rate in seen:
                coded, expected = code(picture, state, rate)
                assert torch.allclose(features_then.detach(), expected, atol=1e-5)
                state = model.advance(coded, expected, state)
    assert leads == {0, 1, 2, 3}


def test_weights_used_in_a_lead_learn_in_bfloat16_too(features: DeepFeatures) -> None:
    model = tiny()
    task = S2vcTask(model, features, [])
    torch.manual_seed(1)  # a lead of frames
    with torch.autocast("cpu", torch.bfloat16):
        loss, figures = task.loss(batch(5), Stage("led", 1, 1e-3, 1, 64, 2, {"codec": True}, lead=3), 0)
    loss.backward()
    assert "bpp_i" not in figures
    assert all(parameter.grad is not None for parameter in model.inter.join_synthesis.parameters())


@pytest.mark.parametrize(
    ("switch", "part"), [("semantic_guidance", "guide."), ("temporal_guidance", "diffusion.guides.")]
)
def test_a_guidance_switched_off_learns_nothing(features: DeepFeatures, switch: str, part: str) -> None:
    model = tiny(**{switch: False})
    reached = learns(model, S2vcTask(model, features, []), Stage("inter", 1, 1e-3, 1, 64, 2))
    assert not any(name.startswith(part) for name in reached)


def test_ablations_have_the_same_parameters_so_that_they_start_from_one_checkpoint() -> None:
    full = {name: value.shape for name, value in tiny().state_dict().items()}
    for switch in ("semantic_guidance", "temporal_guidance"):
        assert {name: value.shape for name, value in tiny(**{switch: False}).state_dict().items()} == full


def test_a_short_training_learns_one_clip(
    features: DeepFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 steps on one clip: over the last twelve the loss is less than three quarters of what it was."""
    monkeypatch.setattr(loop, "LOG_EVERY", 12)
    stage = Stage("inter", 24, 8e-3, 1, 64, 2)
    run = Training(S2vcTask(tiny(), features, []), [stage], [moving()], tmp_path)
    run.run(progress=lambda line: None)
    first, last = (float(row["loss"]) for row in TrainingLog(tmp_path / "log.csv").rows())
    start = S2vcTask(tiny(), features, []).loss(batch(2), stage, 0)[0]
    assert last < first
    assert last < 0.75 * float(start.detach())


def test_held_out_figures_are_those_of_the_whole_clips(features: DeepFeatures) -> None:
    model = tiny()
    task = S2vcTask(model, features, [moving(), moving(2)])
    task.begin(Stage("inter", 1, 1e-3, 1, 64, 2))
    found = task.validate()
    assert set(found) == {"psnr_0", "bpp_0", "psnr_2", "bpp_2"}
    errors, bits = [], 0.0
    for clip in (moving(), moving(2)):
        state, squares = None, []
        for target in to_batch(clip[None], torch.device("cpu"))[0].split(1):
            with torch.no_grad():
                torch.manual_seed(0)
                decoded = model(target, state, torch.tensor([2]))
            state = decoded.state
            squares.append(((decoded.picture.clamp(-1, 1) - target) * 127.5).square().mean())
            bits += float(decoded.coded.bits)
        errors.append(float(torch.stack(squares).mean()))
    assert found["psnr_2"] == pytest.approx(10 * np.log10(255**2 / np.mean(errors)), abs=1e-3)
    assert found["bpp_2"] == pytest.approx(bits / (6 * 64 * 64), rel=0.05)  # bits are estimated with noise


def test_without_clips_held_out_there_are_no_figures(features: DeepFeatures) -> None:
    assert S2vcTask(tiny(), features, []).validate() == {}


def test_the_autoencoders_stage_ends_with_its_own_psnr(features: DeepFeatures) -> None:
    task = S2vcTask(tiny(), features, [moving()])
    task.begin(Stage("autoencoder", 1, 1e-3, 1, 64, 1))
    assert list(task.validate()) == ["psnr_autoencoder"]
