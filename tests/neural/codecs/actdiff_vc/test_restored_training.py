"""Training of the network behind tracks: it sees what a decoder would show it, and its weights are the codec's."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytest.importorskip("compressai")

from bench.neural.codecs.actdiff_vc import restored, restored_recipe  # noqa: E402
from bench.neural.codecs.restoration import av1  # noqa: E402
from bench.neural.codecs.restoration.pairs import Pair, as_tensor  # noqa: E402
from bench.neural.training.recipe import Options  # noqa: E402


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """A texture that moves by a pixel a frame, and at the fifth frame another picture."""
    drawn = np.random.default_rng(0).integers(0, 255, (2, 12, 14, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    return np.stack([np.roll(drawn[number // 4], number, 1) for number in range(8)])


@pytest.fixture(scope="module")
def known(clip: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(restored_recipe, "RATES", [7])
        first = list(restored_recipe.pairs([clip]))
        patch.setattr(restored_recipe, "_warped", None)  # a second time nothing is coded
        again = list(restored_recipe.pairs([clip]))
    assert all((one.small == two.small).all() for one, two in zip(first, again, strict=True))
    return first


def test_segments_are_paired_with_their_own_frames(known: list[Pair], clip: np.ndarray) -> None:
    assert len(known) > 1, "the cut ends a segment"
    assert sum(len(pair.clip) - 1 for pair in known) <= len(clip) - 1
    for pair in known:
        assert list(pair.types[[0, -1]]) == [av1.KEY, av1.KEY]
        assert set(pair.types[1:-1]) <= {av1.LEAF}
        smaller = restored.smaller(as_tensor(pair.clip), restored.SCALE)
        assert smaller.shape[-2:] == pair.small.shape[1:3]
        assert (smaller - as_tensor(pair.small)).abs().mean() < 0.2


def test_a_step_teaches_the_network_that_the_codec_loads(known: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restored_recipe, "pairs", lambda clips: known)
    monkeypatch.setattr(
        restored_recipe.weights, "load", lambda name: torchvision.models.squeezenet1_0(weights=None).state_dict()
    )
    options = Options({"width": "8", "depth": "8", "exchanges": "2"})
    task = restored_recipe.build(options, [], [], torch.device("cpu"))
    (stage,) = restored_recipe.stages(options)
    task.begin(stage)
    small = type(stage)(**{**vars(stage), "size": 32})
    loss, _ = task.loss(task.draw(small, 0, 0), small, 0)
    loss.backward()
    learned = {name for name, value in task.model.named_parameters() if value.grad is not None}
    assert "generator.network.entry_half.weight" in learned
    stored = {name for name in task.model.state_dict() if restored.is_stored(name)}
    assert stored == set(restored.build(vars(restored_recipe.config(options))).state_dict())
