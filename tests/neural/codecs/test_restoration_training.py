"""Training of restoration networks: pairs that belong together, and each part of the training learns what it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("torchvision")

from bench.neural.codecs.restoration import coding, pairs, training  # noqa: E402
from bench.neural.codecs.restoration.network import NetworkConfig, Restoration  # noqa: E402
from bench.neural.codecs.restoration.pairs import Batch, PairCuts  # noqa: E402
from bench.neural.codecs.restoration.training import RestorationTask, Trained, mixed, sample  # noqa: E402
from bench.neural.coding.weight_file import About, begin_with, save  # noqa: E402
from bench.neural.networks.perceptual_loss import DeepFeatures  # noqa: E402
from bench.neural.training.loop import Stage  # noqa: E402

CONFIG = NetworkConfig(width=8, depth=8, half=True, facts=True, noise=True, before=True, semantic=True, exchanges=(2,))


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Pictures whose colour says where and when they are."""
    rows, columns = np.mgrid[:72, :88]
    return np.stack([np.dstack([rows * 3, columns * 2, np.full_like(rows, 20 * t)]) for t in range(6)]).astype(np.uint8)


@pytest.fixture(scope="module")
def known(clip: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[pairs.Pair]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(pairs, "CODED", ((4, "low-delay", (20,), 1), (2, "random-access", (20,), 1)))
        first = pairs.pairs([clip])
        patch.setattr(pairs.base, "BaseEncoder", None)  # a second time nothing is coded
        again = pairs.pairs([clip])
    assert all((one.small == two.small).all() for one, two in zip(first, again, strict=True))
    return first


def test_cuts_of_a_pair_show_the_same_place_and_time(known: list[pairs.Pair]) -> None:
    assert {(pair.scale, pair.crf, len(pair.types)) for pair in known} == {(4, 20, 6), (2, 20, 6)}
    seen = set()
    for step in range(8):
        batch = PairCuts(known, 32, 2).at(step, 2)
        seen.add(batch.scale)
        small = torch.nn.functional.avg_pool2d(batch.pictures.flatten(0, 1), batch.scale)
        assert (small - batch.small.flatten(0, 1)).abs().mean() < 0.05
    assert seen == {2, 4}
    one, two = (PairCuts(known, 32, 2, seed=4).at(7, 2) for _ in range(2))
    assert torch.equal(one.pictures, two.pictures)
    assert all(PairCuts(known, 32, 2, structure="low-delay").at(step, 1).scale == 4 for step in range(4))


@pytest.mark.parametrize("part", ["restoration", "diffusion", "distillation", "generation", "recurrence"])
def test_each_part_learns_from_its_terms(features: DeepFeatures, known: list[pairs.Pair], part: str) -> None:
    torch.manual_seed(0)
    task = RestorationTask(Trained(CONFIG), features, known, known)
    stage = Stage(part, 1, 1e-3, 2, 32, 2, {"part": part})
    task.begin(stage)
    loss, figures = task.loss(task.draw(stage, 0, 0), stage, 0)
    loss.backward()
    assert set(figures) >= {
        "diffusion": {"velocity"},
        "distillation": {"nearness", "critic", "texture"},
        "generation": {"moments", "critic"},
    }.get(part, {"error"})
    learned = {name for name, value in task.trained.named_parameters() if value.grad is not None}
    assert "entry.weight" in learned or "entry_half.weight" in learned
    assert any(name.startswith("critic.") for name in learned) == (part in training.JUDGED)
    assert not any(name.startswith("teacher.") for name in learned)
    if part == "recurrence":
        assert {"entry_before.weight", "semantic.weight"} <= learned
    assert all(np.isfinite(value) for value in task.validate().values())


def test_the_teacher_is_what_the_network_was_when_distillation_began(known: list[pairs.Pair]) -> None:
    trained = Trained(CONFIG)
    trained.teach()
    assert trained.teacher is not None
    torch.nn.init.zeros_(trained.entry.weight)
    trained.teach()
    assert trained.teacher.entry.weight.any()
    assert not coding.is_stored("teacher.entry.weight")


def test_steps_along_the_true_velocity_end_at_the_picture() -> None:
    """With a network that knows the picture, from any noise and by any number of steps."""
    picture, noise = torch.rand(1, 1, 3, 16, 16), torch.randn(1, 1, 3, 16, 16)
    batch = Batch(picture, torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 1, dtype=torch.int64), torch.tensor([50]), 4)

    def knowing(small: torch.Tensor, scale: int, facts: object, *, noisy: torch.Tensor) -> tuple[torch.Tensor, None]:
        seen.append(noisy)
        return picture, None

    for steps in (1, 4):
        seen: list[torch.Tensor] = []
        assert torch.allclose(sample(knowing, batch, noise, steps), picture, atol=1e-6)  # type: ignore[arg-type]
        for number, noisy in enumerate(seen):
            wanted = mixed(picture, noise, torch.tensor([[1 - number / steps]]))
            assert torch.allclose(noisy, wanted, atol=1e-6)


def test_a_training_begins_with_weights_of_fewer_parts(tmp_path: Path) -> None:
    from dataclasses import asdict, replace

    plain = replace(CONFIG, facts=False, noise=False, before=False, semantic=False, exchanges=())
    torch.manual_seed(1)
    small = Restoration(plain)
    save(tmp_path / "w.safetensors", About("restoration", asdict(plain)), small)
    model = Trained(CONFIG)
    begin_with(model, tmp_path / "w.safetensors", "restoration")
    assert torch.allclose(model.exit.weight, small.exit.weight, atol=1e-3)
