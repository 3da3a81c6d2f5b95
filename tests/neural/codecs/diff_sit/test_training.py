"""Diff-SIT's training on random clips: what learns and what rests, motion found, a start that is a transform."""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path

import numpy as np
import pytest
from needed import needed
from untrained import batch_of, moving_clip

torch = pytest.importorskip("torch")
needed("compressai", "diffusers", "torchvision")

from bench.neural.codecs.diff_sit.config import DiffSitConfig  # noqa: E402
from bench.neural.codecs.diff_sit.model import DiffSit, small  # noqa: E402
from bench.neural.codecs.diff_sit.recipe import start_as_transform  # noqa: E402
from bench.neural.codecs.diff_sit.stem import INTER, INTRA  # noqa: E402
from bench.neural.codecs.diff_sit.training import (  # noqa: E402
    LEARNS,
    DiffSitTask,
    small_stages,
)
from bench.neural.coding.channel import TrainingChannel  # noqa: E402
from bench.neural.coding.pictures import psnr  # noqa: E402
from bench.neural.networks.perceptual_loss import DeepFeatures  # noqa: E402
from bench.neural.training.clips import Pictures  # noqa: E402
from bench.neural.training.loop import Stage, Training, to_batch  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = DiffSitConfig(
    width=16, deep=16, y_channels=16, hyper_channels=4, flow_width=8, motion_width=8, motion_components=3, rates=3,
    vae_width=4, latent_channels=8, heads=2, head_width=8, layers=1, chunk=9,
)  # fmt: skip


@pytest.fixture(scope="module")
def clips() -> list[Pictures]:
    return [moving_clip(seed) for seed in range(3)]


@functools.cache
def started() -> DiffSit:
    """A new model, started as a transform of the clips: once, since that takes longer than most of what is tested."""
    torch.manual_seed(0)
    model = small(CONFIG)
    start_as_transform(model, [moving_clip(seed) for seed in range(3)])
    return model


def task(features: DeepFeatures, held_out: list[Pictures] | None = None) -> DiffSitTask:
    model = copy.deepcopy(started())
    torch.manual_seed(0)
    return DiffSitTask(model, features, held_out or [])


def diff_sit(of: DiffSitTask) -> DiffSit:
    assert isinstance(of.model, DiffSit)
    return of.model


@pytest.mark.parametrize(
    ("part", "frames"), [("autoencoder", 5), ("intra", 1), ("motion", 4), ("stem", 7), ("generator", 6)]
)
def test_gradients_reach_what_should_learn_and_nothing_else(
    features: DeepFeatures, clips: list[Pictures], part: str, frames: int
) -> None:
    of = task(features)
    model = diff_sit(of)
    with torch.no_grad():  # zeros hide what is behind them
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    stage = Stage("any", 1, 1e-3, 2, 64, frames, {"part": part})
    of.begin(stage)
    loss, figures = of.loss(batch_of(clips, frames), stage, 0)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert all(math.isfinite(float(value)) for value in figures.values())
    for name, parameter in model.named_parameters():
        if not name.startswith(LEARNS[part]):
            assert parameter.grad is None, name
        elif "bottleneck" not in name and "norm" not in name:
            assert parameter.grad is not None or _is_idle(name, part), name
    if part == "generator":
        assert model.odfte.frame_types.out.weight.grad.abs().sum() > 0
        assert model.odfte.vae.wan.encoder.conv_in.weight.grad.abs().sum() > 0
        assert not any(parameter.requires_grad for parameter in model.odfte.vae.wan.decoder.parameters())


def _is_idle(name: str, part: str) -> bool:
    """What a batch of one or two groups cannot reach: the estimate at rest, attention to a prompt of zeros."""
    return part in {"stem", "generator"} and ("text_embedder" in name or "attn2.to_q" in name)


def test_every_stage_names_a_part_and_runs_long_enough(features: DeepFeatures) -> None:
    stages = small_stages()
    assert all(stage.options["part"] in LEARNS for stage in stages)
    assert len({stage.name for stage in stages}) == len(stages)
    assert [stage.steps for stage in small_stages(0.001)] == [max(1, round(s.steps / 1000)) for s in small_stages()]


def test_a_training_goes_through_all_stages_and_resumes(
    tmp_path: Path, features: DeepFeatures, clips: list[Pictures]
) -> None:
    parts = [("autoencoder", 5), ("intra", 1), ("motion", 4), ("stem", 6), ("generator", 5)]
    stages = [Stage(part, 2, 1e-3, 1, 64, frames, {"part": part}) for part, frames in parts]
    lines: list[str] = []
    *seen, held_out = (clip[:, :64, :64] for clip in clips)
    first = Training(task(features, [held_out]), stages, seen, tmp_path)
    asked = iter(range(100))
    assert not first.run(progress=lines.append, stop=lambda: next(asked) >= 5)
    again = Training(task(features, [held_out]), stages, seen, tmp_path)
    assert again.total_steps == first.total_steps == 5
    assert again.run(progress=lines.append)
    found = " ".join(lines)
    for name in ("psnr_autoencoder", "psnr_warped", "bpp_i", "bpp_p", "bpp_mv", "restored_features_2", "changes"):
        assert f" {name} " in found, name
    assert all(torch.isfinite(value).all() for value in again.model.state_dict().values())


def test_after_a_lead_groups_are_those_of_a_sequence_that_went_on(
    features: DeepFeatures, clips: list[Pictures]
) -> None:
    of = task(features)
    stem = diff_sit(of).stem.eval()
    clip, rate = batch_of(clips, 11), torch.tensor([0, 2])
    with torch.no_grad():
        whole = stem(clip, rate)
        first = stem(clip[:, :6], rate)
        rest = stem(clip[:, 6:], rate, after=first.state)
    assert first.types + rest.types == whole.types
    assert rest.types[1] == INTER
    torch.testing.assert_close(torch.cat([first.pictures, rest.pictures], dim=1), whole.pictures, atol=1e-5, rtol=0)

    stage = Stage("led", 1, 1e-3, 2, 64, 3, {"part": "stem"}, lead=6)
    of.begin(stage)
    leads = set()
    for seed in range(8):
        torch.manual_seed(seed)
        loss, figures = of.loss(batch_of(clips, stage.length), stage, 0)
        leads.add("bpp_i" not in figures)
        assert ("bpp_p" in figures) == ("bpp_i" not in figures)
        of.model.zero_grad()
        loss.backward()
        reached = {name for name, parameter in of.model.named_parameters() if parameter.grad is not None}
        assert any(name.startswith("stem.inter.") for name in reached) == ("bpp_p" in figures)
        assert any(name.startswith("stem.intra.") for name in reached) == ("bpp_i" in figures)
        if leads == {False, True}:
            return
    pytest.fail(f"of eight batches all were alike: {leads}")


def test_motion_is_learned(features: DeepFeatures, clips: list[Pictures]) -> None:
    """Pictures that move by two pixels per frame: after some steps their motion is found to half of that."""
    of = task(features)
    stage = Stage("motion", 50, 4e-3, 2, 64, 3, {"part": "motion"})
    of.begin(stage)
    flow = diff_sit(of).stem.flow
    optimizer = torch.optim.Adam(flow.parameters(), lr=stage.learning_rate)
    batch = batch_of(clips, 3)
    for step in range(stage.steps):
        optimizer.zero_grad()
        of.loss(batch, stage, step)[0].backward()
        optimizer.step()
    with torch.no_grad():
        field = flow(batch[:, 1], batch[:, 0])[-1]
    assert (field[:, :, 2:-2, 2:-2].mean((2, 3)) - 2.0).abs().max() < 1.0


def test_a_new_codec_is_a_transform_codec_already(features: DeepFeatures, clips: list[Pictures]) -> None:
    """Against principal components of blocks computed by numpy: the same error but for rounding at the finest step."""
    model = diff_sit(task(features))
    picture = to_batch(clips[0][None, :1], torch.device("cpu"))
    blocks = torch.nn.functional.pixel_unshuffle(picture[0], 16)[0].flatten(1).T.double().numpy()
    samples = np.concatenate(
        [
            torch.nn.functional.pixel_unshuffle(to_batch(clip[None], torch.device("cpu"))[0], 16)
            .permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
            for clip in clips
        ]
    )  # fmt: skip
    _, _, directions = np.linalg.svd(samples, full_matrices=False)
    kept = directions[: CONFIG.y_channels]
    ideal = float(np.mean((blocks @ kept.T @ kept - blocks) ** 2) / 4)
    with torch.no_grad():
        coded = DiffSitTask(model, features, [])._intra(picture, torch.tensor([CONFIG.rates - 1]))
    found = 10 ** (-psnr([coded.pictures], [picture]) / 10)
    assert ideal * 0.8 < found < 2 * ideal + 2e-4
    video = to_batch(clips[0][None, :5], torch.device("cpu")).transpose(1, 2)
    with torch.no_grad():
        restored = model.odfte(video, [2, 0, 2, 2, 1], torch.tensor([0]))
    assert psnr([restored], [video]) > 15


def test_a_new_p_frame_is_the_coded_difference_from_the_frame_before(
    features: DeepFeatures, clips: list[Pictures]
) -> None:
    """Of a still picture, at a higher rate, it codes what the I frame has lost, and the motion stays at rest."""
    model = diff_sit(task(features))
    still = to_batch(clips[0][None, :1], torch.device("cpu"))[:, 0]
    state, found = None, []
    with torch.no_grad():
        for rate in (0, 2):
            coded = model.stem.backbone(TrainingChannel(torch.tensor([rate])), still, state, (1, *still.shape[-2:]))
            state = coded.state
            found.append(coded)
    assert [coded.kind for coded in found] == [INTRA, INTER]
    first, second = (psnr([coded.picture], [still]) for coded in found)
    assert second > first + 1
    assert float(found[1].motion.abs().max()) < 0.5
    with torch.no_grad():
        assert model.stem(still[:, None].expand(-1, 6, -1, -1, -1), torch.tensor([2])).types == [2, 0, 2, 2, 1, 2]
    assert all((coded.bits > 0).all() for coded in found)
