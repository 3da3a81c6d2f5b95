"""The training loop on a task of two weights: resuming, averaging, what is skipped, what is refused."""

from __future__ import annotations

import copy
import json
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.errors import TrainingError, UsageError  # noqa: E402
from bench.neural.training import loop as training  # noqa: E402
from bench.neural.training.log import TrainingLog  # noqa: E402
from bench.neural.training.loop import (  # noqa: E402
    Stage,
    Training,
    alone,
    groups,
    scaled,
    weights_of,
    without_cascade,
)

pytestmark = pytest.mark.slow

CLIPS = [np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)]
STAGES = [Stage("first", 5, 1e-2, 2, 16, 1), Stage("second", 7, 1e-2, 1, 16, 2, {"noise": True})]


class Tiny:
    """A convolution that learns to be the identity; ``spoiled`` steps give no finite gradient."""

    def __init__(self, spoiled: range = range(0)) -> None:
        torch.manual_seed(7)
        self.model: Any = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1))
        self.spoiled = spoiled
        self.visited: list[dict[str, Any]] = []

    def begin(self, stage: Stage) -> None:
        self.model[0].requires_grad_(stage.name == "second")

    def loss(self, batch: Any, stage: Stage, step: int) -> tuple[Any, dict[str, Any]]:
        self.visited.append({name: value.clone() for name, value in self.model.state_dict().items()})
        pictures = batch.flatten(0, 1)
        noise = torch.rand_like(pictures) if stage.options.get("noise") else 0
        loss = (self.model(pictures + noise) - pictures).square().mean()
        return (loss * float("nan") if step in self.spoiled else loss), {"l2": loss.detach()}

    def validate(self) -> dict[str, float]:
        return {"held": float(self.model[1].weight.detach().sum())}


def trained(folder: Path, task: Tiny | None = None, *, steps: int | None = None, **settings: Any) -> Training:
    """A training of so many steps, or of all."""
    run = Training(task or Tiny(), settings.pop("stages", STAGES), CLIPS, folder, **settings)
    asked = count()
    run.run(stop=lambda: steps is not None and next(asked) >= steps, progress=lambda line: None)
    return run


@pytest.mark.parametrize("cuts", [[3], [5], [8], [2, 1, 4]])
def test_interrupted_and_resumed_is_bit_equal_to_undisturbed(tmp_path: Path, cuts: list[int]) -> None:
    """Within a stage, at its end, in the next one, several times; weights, their average and the log's end."""
    whole = trained(tmp_path / "whole")
    for steps in cuts:
        assert not trained(tmp_path / "cut", steps=steps).done
    resumed = trained(tmp_path / "cut")
    assert resumed.done
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
        assert torch.equal(whole.ema[name], resumed.ema[name])
    first, second = (TrainingLog(tmp_path / name / "log.csv").rows()[-1] for name in ("whole", "cut"))
    assert first["held"] == second["held"]


def test_the_state_at_a_cut_is_that_of_so_many_steps(tmp_path: Path) -> None:
    """A resumed run would be equal, too, if nothing were ever trained: it is not."""
    cut, whole = trained(tmp_path / "cut", steps=3), trained(tmp_path / "whole")
    assert cut.total_steps == 3
    assert not torch.equal(cut.model[1].weight, whole.model[1].weight)


def test_averaged_weights_are_the_closed_form(tmp_path: Path) -> None:
    """ema_n = d_n ema_(n-1) + (1 - d_n) w_n with d_n = min(0.999, (1 + n) / (10 + n)), in float64."""
    task = Tiny()
    run = trained(tmp_path, task)
    visited = [*task.visited, run.model.state_dict()]
    expected = visited[0]["1.weight"].double()
    for step, weights in enumerate(visited[1:]):
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights["1.weight"].double()
    assert torch.allclose(run.ema["1.weight"].double(), expected, atol=1e-6, rtol=0)
    assert not torch.equal(run.ema["1.weight"], run.model[1].weight)


def test_gradients_are_clipped_to_length_one(tmp_path: Path) -> None:
    seen = []

    class Watched(Tiny):
        def loss(self, batch: Any, stage: Stage, step: int) -> tuple[Any, dict[str, Any]]:
            loss, figures = super().loss(batch, stage, step)
            if grads := [value.grad for value in self.model.parameters() if value.grad is not None]:
                seen.append(float(torch.stack([grad.norm() for grad in grads]).norm()))
            return 1e4 * loss, figures

    trained(tmp_path, Watched())
    assert seen == pytest.approx([1.0] * len(seen), abs=1e-4)


def test_steps_without_finite_gradient_are_skipped_and_counted(tmp_path: Path) -> None:
    run = trained(tmp_path, Tiny(spoiled=range(2, 4)))
    assert run.skipped == 4
    assert all(bool(value.isfinite().all()) for value in run.model.state_dict().values())
    rows = [row for row in TrainingLog(tmp_path / "log.csv").rows() if "loss" in row]
    assert [row["skipped"] for row in rows] == ["2", "4"]
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_a_training_that_only_skips_ends(tmp_path: Path) -> None:
    stages = [Stage("lost", training.HOPELESS + 1, 1e-2, 1, 16, 1)]
    with pytest.raises(TrainingError, match="steps in a row of stage lost had no finite gradient"):
        trained(tmp_path, Tiny(spoiled=range(1000)), stages=stages)


def test_what_is_frozen_at_the_start_is_never_stored_nor_changed(tmp_path: Path) -> None:
    class WithGiven(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.model.append(torch.nn.Conv2d(3, 3, 1).requires_grad_(False))

    task = WithGiven()
    before = copy.deepcopy(task.model[2].state_dict())
    run = trained(tmp_path, task)
    assert all(torch.equal(value, run.model[2].state_dict()[name]) for name, value in before.items())
    assert sorted(weights_of(tmp_path)) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    with run.averaged() as model:
        assert torch.equal(model[0].weight, run.ema["0.weight"])


def test_a_run_starts_from_anothers_averaged_weights(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    second = Training(Tiny(), STAGES, CLIPS, tmp_path / "second")
    second.start_from(weights_of(tmp_path / "first"), "first")
    assert torch.equal(second.model[1].weight, first.ema["1.weight"])
    assert set(weights_of(tmp_path / "first" / "after-first.pt")) == set(first.ema)
    with pytest.raises(UsageError, match=r"somewhere: is of another model \(0.bias and 2"):
        second.start_from({"0.weight": torch.zeros(1)}, "somewhere")


def _other_model(task: Tiny) -> Tiny:
    task.model.append(torch.nn.Conv2d(3, 3, 1))
    return task


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, r"run.json: seed is now 1, the run was started with 0; go on with the same"),
        ({"stages": scaled(STAGES, 2)}, r"run.json: stages is now"),
        ({"about": {"codec": "other"}}, r'run.json: codec is now "other", the run was started with "tiny"'),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    trained(tmp_path, steps=6, about={"codec": "tiny"})
    with pytest.raises(UsageError, match=message):
        Training(Tiny(), settings.pop("stages", STAGES), CLIPS, tmp_path, **settings)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, steps=2)
    with pytest.raises(UsageError, match=r"checkpoint.pt: is of another model \(2.bias and 1 more"):
        trained(tmp_path, _other_model(Tiny()))


def test_stages_to_come_may_change(tmp_path: Path) -> None:
    trained(tmp_path, steps=3)
    longer = [STAGES[0], *scaled(STAGES[1:], 2)]
    assert trained(tmp_path, stages=longer).total_steps == 5 + 14
    assert [stage["steps"] for stage in json.loads((tmp_path / "run.json").read_text())["stages"]] == [5, 14]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04."])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"checkpoint.pt: is not a checkpoint of a training, or a damaged one; name"):
        Training(Tiny(), STAGES, CLIPS, tmp_path)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"checkpoint.pt: no such file; name the folder of a training"):
        weights_of(tmp_path)


class Hasty(torch.nn.Module):
    """Two equal weights, of which one learns eight times as fast."""

    FASTER: ClassVar[dict[str, float]] = {"quick": 8.0}

    def __init__(self) -> None:
        super().__init__()
        self.quick, self.slow = (torch.nn.Conv2d(3, 3, 1, bias=False) for _ in range(2))
        self.slow.load_state_dict(self.quick.state_dict())

    def forward(self, pictures: Any) -> Any:
        return self.quick(pictures) + self.slow(pictures)


def test_parts_learn_as_fast_as_their_module_says(tmp_path: Path) -> None:
    """Equal gradients make Adam's first steps equal but for the factor."""
    task = Tiny()
    task.model = torch.nn.Sequential(torch.nn.Identity(), Hasty())
    task.validate = dict  # type: ignore[method-assign]
    begun = copy.deepcopy(task.model.state_dict())
    run = trained(tmp_path / "run", task, stages=[Stage("second", 1, 1e-3, 2, 16, 1)])
    moved = {name: value - begun[name] for name, value in run.model.state_dict().items()}
    assert moved["1.slow.weight"].abs().min() > 0
    torch.testing.assert_close(moved["1.quick.weight"], 8 * moved["1.slow.weight"], rtol=1e-3, atol=5e-7)
    assert [group["faster"] for group in groups(task.model, task.model.parameters())] == [1.0, 8.0]


def test_a_checkpoint_of_other_groups_is_named(tmp_path: Path) -> None:
    trained(tmp_path / "run", steps=3)
    file = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    state["optimizer"]["param_groups"] *= 2
    torch.save(state, file)
    with pytest.raises(TrainingError, match=rf"{file}: is of another vcbench .*--from"):
        trained(tmp_path / "run")


def test_one_training_holds_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    with alone(out):
        with pytest.raises(TrainingError, match=f"{out}: another vcbench train uses this folder"), alone(out):
            pass
        with alone(tmp_path / "runs" / "two"):
            pass
    with alone(out):
        pass
    with pytest.raises(BlockingIOError, match="the task's own"), alone(tmp_path / "three"):
        raise BlockingIOError("the task's own")


def test_minutes_that_are_over_end_it_before_a_step(tmp_path: Path) -> None:
    run = Training(Tiny(), STAGES, CLIPS, tmp_path)
    assert not run.run(minutes=0, progress=lambda line: None)
    assert run.total_steps == 0
    assert (tmp_path / "checkpoint.pt").is_file()


def test_rows_after_the_checkpoint_are_logged_once(tmp_path: Path) -> None:
    """A process killed after logging and before saving logs these steps again."""
    trained(tmp_path / "run", steps=3)
    log = TrainingLog(tmp_path / "run" / "log.csv")
    log.append("first", 4, 1.0, {"loss": 1.0})
    log.append("second", 20, 2.0, {"loss": 1.0})
    trained(tmp_path / "run")
    assert [(row["stage"], row["step"]) for row in log.rows() if "loss" in row] == [("first", "5"), ("second", "7")]


def test_the_log_is_a_table_whose_columns_grow(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.csv")
    log.append("a", 1, 0.5, {"loss": 2.0})
    log.append("a", 2, 1.0, {"loss": 1.0, "flow": 0.25})
    log.append("b", 1, 1.5, {"loss": 0.5})
    import pandas as pd

    table = pd.read_csv(log.path)
    assert list(table.columns) == ["stage", "step", "seconds", "loss", "flow"]
    assert table["flow"].tolist()[1] == 0.25
    assert table["loss"].tolist() == [2.0, 1.0, 0.5]
    assert log.rows()[2] == {"stage": "b", "step": "1", "seconds": "1.5", "loss": "0.5"}


def test_a_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("loss,step\n1,2\n")
    with pytest.raises(UsageError, match=r"log.csv: is not the log of a training"):
        TrainingLog(path).rows()


def test_without_cascade_as_many_pictures_are_seen() -> None:
    stages = [Stage("intra", 10, 1e-3, 8, 128, 1), Stage("long", 10, 1e-3, 2, 128, 6)]
    flat = without_cascade(stages)
    assert [(stage.batch, stage.frames) for stage in flat] == [(8, 1), (6, 2)]


def test_a_lead_is_loaded_before_the_frames_and_stays_without_a_cascade(tmp_path: Path) -> None:
    stage = Stage("led", 2, 1e-2, 3, 16, 1, lead=2)
    assert without_cascade([Stage("led", 2, 1e-2, 3, 16, 4, lead=2)]) == [Stage("led", 2, 1e-2, 6, 16, 2, lead=2)]

    class Looking(Tiny):
        def loss(self, batch: Any, stage: Stage, step: int) -> tuple[Any, dict[str, Any]]:
            assert batch.shape[:2] == (3, 3)
            return super().loss(batch, stage, step)

    trained(tmp_path, Looking(), stages=[stage])


def test_a_figure_of_some_steps_is_their_mean(tmp_path: Path) -> None:
    class Sometimes(Tiny):
        def loss(self, batch: Any, stage: Stage, step: int) -> tuple[Any, dict[str, Any]]:
            loss, figures = super().loss(batch, stage, step)
            return loss, figures | ({"rare": float(step)} if step % 2 else {})

    trained(tmp_path, Sometimes(), stages=[Stage("only", 6, 1e-2, 1, 16, 1)])
    assert float(TrainingLog(tmp_path / "log.csv").rows()[0]["rare"]) == (1 + 3 + 5) / 3


def test_curves_are_drawn_with_every_figure_and_stage(drawn: None, tmp_path: Path) -> None:
    from bench.neural.training.curves import curves, draw

    trained(tmp_path)
    rows = TrainingLog(tmp_path / "log.csv").rows()
    assert (tmp_path / "curves.svg").is_file()
    found = curves(rows)
    assert found["loss and its terms, as weighted"]["l2"][-1] == (12, float(rows[-2]["l2"]))
    assert [at for at, _ in found["held-out clips: held"]["held"]] == [5, 12]
    first, again = (draw(rows, tmp_path / name, title="t").read_bytes() for name in ("a.svg", "b.svg"))
    assert first == again


def test_progress_is_a_line_for_each_log(tmp_path: Path) -> None:
    lines: list[str] = []
    Training(Tiny(), STAGES, CLIPS, tmp_path).run(progress=lines.append)
    assert [line.partition(":")[0].rsplit(" ", 2)[0] for line in lines] == [
        "first 5/5", "first 5/5", "second 7/7", "second 7/7",
    ]  # fmt: skip
