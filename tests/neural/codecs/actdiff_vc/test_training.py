"""ActDiff-VC's training on random clips: what learns and what rests, all stages, a start that is a transform."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from needed import needed
from untrained import batch_of, moving_clip

torch = pytest.importorskip("torch")
needed("compressai", "diffusers", "torchvision")

from bench.neural.codecs.actdiff_vc.config import ActDiffConfig  # noqa: E402
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, small  # noqa: E402
from bench.neural.codecs.actdiff_vc.motion import FEWEST, MOST, random_tracks  # noqa: E402
from bench.neural.codecs.actdiff_vc.recipe import start_as_transform  # noqa: E402
from bench.neural.codecs.actdiff_vc.training import (  # noqa: E402
    LEARNS,
    ActDiffTask,
    small_stages,
)
from bench.neural.coding.pictures import psnr  # noqa: E402
from bench.neural.networks.perceptual_loss import DeepFeatures  # noqa: E402
from bench.neural.training.clips import Pictures  # noqa: E402
from bench.neural.training.loop import Stage, Training, to_batch  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = ActDiffConfig(
    width=16, deep=16, y_channels=16, hyper_channels=4, rates=3, latent_channels=16, heads=2, head_width=8, layers=1,
    refiner_width=8, refiner_blocks=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def clips() -> list[Pictures]:
    return [moving_clip(seed, 9) for seed in range(3)]


@pytest.fixture(scope="module")
def started(clips: list[Pictures]) -> dict[str, torch.Tensor]:
    """State of a model that starts from transforms fitted to the clips."""
    torch.manual_seed(0)
    model = small(CONFIG)
    start_as_transform(model, clips)
    return model.state_dict()


def model_of(state: dict[str, torch.Tensor]) -> ActDiffVc:
    model = small(CONFIG)
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize(
    ("part", "frames"), [("intra", 1), ("expectation", 5), ("refiner", 5), ("flow", 5), ("pictures", 6)]
)
def test_gradients_reach_what_should_learn_and_nothing_else(
    started: dict[str, torch.Tensor], features: DeepFeatures, clips: list[Pictures], part: str, frames: int
) -> None:
    model = model_of(started)
    with torch.no_grad():  # zeros hide what is behind them
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    of = ActDiffTask(model, features, [])
    stage = Stage("any", 1, 1e-3, 2, 64, frames, {"part": part})
    of.begin(stage)
    loss, figures = of.loss(batch_of(clips, frames), stage, 0)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert all(math.isfinite(float(value)) for value in figures.values())
    for name, parameter in model.named_parameters():
        if not name.startswith(LEARNS[part]):
            assert parameter.grad is None, name
        elif not any(idle in name for idle in ("bottleneck", "norm", "text_embedder", "attn2")):
            assert parameter.grad is not None, name


def test_every_stage_names_a_part() -> None:
    stages = small_stages()
    assert all(stage.options["part"] in LEARNS for stage in stages)
    assert len({stage.name for stage in stages}) == len(stages)
    assert [stage.frames for stage in stages if stage.options["part"] == "flow"][-1] == 49


def test_a_training_goes_through_all_stages(
    tmp_path: Path, started: dict[str, torch.Tensor], features: DeepFeatures, clips: list[Pictures]
) -> None:
    parts = [("intra", 1), ("expectation", 5), ("refiner", 5), ("flow", 5), ("pictures", 5)]
    stages = [Stage(part, 1, 1e-3, 1, 64, frames, {"part": part}) for part, frames in parts]
    small_clips = [clip[:, :64, :64] for clip in clips]
    lines: list[str] = []
    training = Training(ActDiffTask(model_of(started), features, small_clips[2:]), stages, small_clips[:2], tmp_path)
    assert training.run(progress=lines.append)
    found = " ".join(lines)
    for name in ("bpp", "bpp_0", "psnr_warped_2", "features_0", "nll", "velocity", "changes", "l1"):
        assert f" {name} " in found, name
    assert all(torch.isfinite(value).all() for value in training.model.state_dict().values())


def test_a_new_model_predicts_and_its_latents_are_of_unit_size(
    started: dict[str, torch.Tensor], clips: list[Pictures], features: DeepFeatures
) -> None:
    """On clips that move as a whole, warped keyframes are nearer than the first one standing still."""
    model = model_of(started)
    of = ActDiffTask(model, features, [])
    batch = to_batch(np.stack(clips), torch.device("cpu"))
    seen = of._conditions(batch, CONFIG.rates - 1, seed=0)
    video = batch.transpose(1, 2)
    still = video[:, :, :1].expand_as(video)
    assert psnr([seen.predicted], [video]) > psnr([still], [video]) + 3
    with torch.no_grad():
        latents = model.generator.latents.encode(video, seen)
    assert 0.2 < float(latents.square().mean().sqrt()) < 5


def test_the_refiner_learns_what_keyframes_lack(
    started: dict[str, torch.Tensor], features: DeepFeatures, clips: list[Pictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without those terms that would have it draw texture; the critic learns beside it."""
    for term in ("TEXTURE", "ADVERSARIAL"):
        monkeypatch.setattr(f"bench.neural.codecs.actdiff_vc.training.{term}", 0.0)
    of = ActDiffTask(model_of(started), features, [])
    stage = Stage("refiner", 1, 1e-3, 2, 64, 5, {"part": "refiner"})
    of.begin(stage)
    optimizer = torch.optim.Adam([p for p in of.model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(12):
        torch.manual_seed(0)  # one batch, one choice of everything: what falls is what was learned
        optimizer.zero_grad()
        loss, terms = of.loss(batch_of(clips, 5), stage, step)
        loss.backward()
        optimizer.step()
        losses.append({name: float(term) for name, term in terms.items()})
    first, last = losses[0], losses[-1]
    assert last["l1"] + last["features"] < 0.9 * (first["l1"] + first["features"])
    assert last["critic"] < first["critic"]


def test_what_to_expect_is_learned(
    started: dict[str, torch.Tensor], features: DeepFeatures, clips: list[Pictures]
) -> None:
    """On one batch, what is left becomes likelier than the best spread could make it that is one for all places."""
    of = ActDiffTask(model_of(started), features, [])
    stage = Stage("expectation", 1, 1e-3, 2, 64, 5, {"part": "expectation"})
    of.begin(stage)
    optimizer = torch.optim.Adam([p for p in of.model.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss, _ = of.loss(batch_of(clips, 5), stage, step)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    torch.manual_seed(0)
    batch = batch_of(clips, 5)
    with torch.no_grad():
        left = of.model.generator.latents.residual(batch.transpose(1, 2), of._conditions(batch))
    best = 1 + math.log(math.sqrt(2) * float(left.abs().mean()))  # at a spread of sqrt(2) times the mean magnitude
    assert losses[-1] < best - 0.1


def test_random_tracks_are_those_of_the_motion(clips: list[Pictures]) -> None:
    """Of a clip that moves left and up by two pixels per frame: up to the bound by chance, and no more than tell it."""
    clip = to_batch(clips[0][None], torch.device("cpu"))[0]
    counts = []
    for seed in range(6):
        positions, visible = random_tracks(clip, torch.Generator().manual_seed(seed))
        moved = (positions[:, 3] - positions[:, 0])[visible[:, 3]]
        assert (moved.median(dim=0).values + 6).abs().max() <= 1
        counts.append(len(positions))
    assert 1 <= min(counts) < FEWEST * 128**2 < max(counts) <= MOST * 128**2 + 1
