"""The training loop of our own codecs: stages, resuming, averaged weights, logs and curves as files.

A run is a folder: ``run.json`` (what is trained on what), ``log.csv`` (a line every so many steps), ``curves.svg``,
``checkpoint.pt`` (everything needed to go on; tensors and plain values, read without executing a pickle), and
``after-STAGE.pt`` (the averaged weights at the end of each stage, for others to start from).
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.files import write_atomically
from bench.core.folders import entries
from bench.errors import TrainingError, UsageError
from bench.neural.networks.blocks import channels_together
from bench.neural.training.clips import Pictures, RandomCrops
from bench.neural.training.log import TrainingLog

EMA_DECAY = 0.999
LOG_EVERY, SAVE_EVERY_S = 20, 120.0
WARM_STEPS = 100
HOPELESS = 100
"""So many steps in a row without finite gradients end a training."""

Figures = Mapping[str, Tensor | float]


@dataclass(frozen=True)
class Stage:
    """A stretch of training: so many steps on batches of ``frames`` pictures of ``size`` x ``size``.

    ``lead``: pictures before these, of which the task may make the state that they are coded from, without gradients.
    ``options`` are the task's own (weights of loss terms, what is frozen). The learning rate falls to a tenth over the
    stage by half a cosine.
    """

    name: str
    steps: int
    learning_rate: float
    batch: int
    size: int
    frames: int
    options: Mapping[str, Any] = field(default_factory=dict)
    lead: int = 0

    @property
    def length(self) -> int:
        """Pictures of an item of a batch."""
        return self.lead + self.frames


def scaled(stages: Sequence[Stage], factor: float) -> list[Stage]:
    """The stages with their steps multiplied, each of one step at least."""
    return [replace(stage, steps=max(1, round(stage.steps * factor))) for stage in stages]


def groups(model: nn.Module, learning: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Parameters by how many times the learning rate they have: what a module's ``FASTER`` says of its parts, or 1."""
    factors: dict[nn.Parameter, float] = {}
    for module in model.modules():
        for part, factor in getattr(module, "FASTER", {}).items():
            factors |= dict.fromkeys(module.get_submodule(part).parameters(), factor)
    found: dict[float, list[nn.Parameter]] = {}
    for parameter in learning:
        found.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    return [{"params": some, "faster": factor} for factor, some in sorted(found.items())]


def without_cascade(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with gradients through two frames at most, on as many pictures a step: the cascade's ablation."""
    return [
        replace(stage, batch=max(1, stage.batch * stage.frames // 2), frames=2) if stage.frames > 2 else stage
        for stage in stages
    ]


class Task(Protocol):
    """What is trained: a model, and its loss on a batch.

    Parameters that require no gradient when a training starts are a user's own network: they never learn, and are in no
    checkpoint.
    """

    model: nn.Module

    def begin(self, stage: Stage) -> None:
        """Prepare for a stage: freeze what does not learn in it."""

    def loss(self, batch: Tensor, stage: Stage, step: int) -> tuple[Tensor, Figures]:
        """Loss of a batch (B x T x 3 x H x W, -1 to 1) and the figures to be logged (numbers, or tensors of one)."""

    def validate(self) -> dict[str, float]:
        """Figures on clips that are not trained on."""


@runtime_checkable
class Drawing(Protocol):
    """A task that draws its own batches, of more than clips."""

    def draw(self, stage: Stage, seed: int, step: int) -> Any:
        """What ``loss`` is given at a step; depends on the arguments alone, so that a training can be resumed."""


def bf16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in known)


def to_batch(pictures: Pictures, device: torch.device) -> Tensor:
    """Pictures B x T x H x W x 3 of 8 bit as B x T x 3 x H x W, -1 to 1."""
    return torch.from_numpy(np.array(pictures)).to(device).permute(0, 1, 4, 2, 3).float().div_(127.5).sub_(1)


def check_own(folder: Path) -> None:
    """UsageError for a folder that is neither new, nor empty, nor of a training, whose files would be written over."""
    try:
        known = "stages" in json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, TypeError):
        known = False
    known |= all((folder / name).is_file() for name in ("run.json", "checkpoint.pt"))  # damaged, and told by whom reads
    if not known and (names := entries(folder)):
        raise UsageError(
            f"{folder}: holds files that are not a training of vcbench ({', '.join(names[:3])}); name a new folder"
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder, made where it is not there; TrainingError where another process holds it.

    Two trainings would write each other's checkpoint and log. The hold ends with the process, whatever happens to it.
    Raises UsageError for a folder with other files than a training's.
    """
    check_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{folder}: another vcbench train uses this folder; wait for it to end, or choose a different folder"
            ) from None
        yield
    finally:
        os.close(descriptor)


class Training:
    """A training run in a folder; ``run`` goes on from where the folder's last one stopped."""

    def __init__(
        self,
        task: Task,
        stages: Sequence[Stage],
        clips: Sequence[Pictures],
        folder: Path,
        *,
        seed: int = 0,
        device: torch.device | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.task, self.stages, self.clips, self.folder, self.seed = task, list(stages), clips, folder, seed
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._fixed = {name for name, value in task.model.named_parameters() if not value.requires_grad}
        self.model = channels_together(task.model.to(self.device))
        self.ema = {name: value.detach().clone() for name, value in self._own_state().items()}
        self.stage_index, self.step, self.seconds, self.skipped = 0, 0, 0.0, 0
        self.resumed = (folder / "checkpoint.pt").is_file()
        self._optimizer_state: dict[str, Any] | None = None
        self._tables: dict[str, Tensor] = {}
        self._skipped_in_a_row = 0
        self._log = TrainingLog(folder / "log.csv")
        folder.mkdir(parents=True, exist_ok=True)
        facts = {**(about or {}), "seed": seed, "stages": [asdict(stage) for stage in self.stages]}
        self._facts: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        if self.resumed:
            self._load(folder / "checkpoint.pt")
        self._log.keep(self._is_done)
        write_atomically(folder / "run.json", json.dumps(self._facts, indent=1).encode())

    @property
    def total_steps(self) -> int:
        """Steps done in all stages up to now."""
        return sum(stage.steps for stage in self.stages[: self.stage_index]) + self.step

    @property
    def done(self) -> bool:
        """Whether all stages are."""
        return self.stage_index == len(self.stages)

    def run(
        self,
        *,
        minutes: float | None = None,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[str], None] = print,
    ) -> bool:
        """Train until the stages are done (True), the minutes are over or ``stop`` says so (False).

        ``stop`` is asked before each step. Either way the folder has all that is needed to go on, to the bit.
        Raises TrainingError where gradients stay without finite values.
        """
        ends = math.inf if minutes is None else time.monotonic() + 60 * minutes

        def ending() -> bool:
            return time.monotonic() >= ends or stop()

        while not self.done:
            stage = self.stages[self.stage_index]
            if not self._run_stage(stage, ending, progress):
                self.save()
                return False
            if held_out := self.validated():
                self._record(stage, held_out, progress)
            self._save_to(self.folder / f"after-{stage.name}.pt", self.ema)
            self.stage_index, self.step, self._optimizer_state = self.stage_index + 1, 0, None
            self.save()
            self.draw_curves()
        return True

    def start_from(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Begin with the weights of another run; UsageError, naming ``origin``, where they do not fit."""
        self._load_own(weights, origin)
        self.ema = {name: value.detach().clone() for name, value in self._own_state().items()}

    def start_from_file(self, path: Path) -> None:
        """Begin with a weight file, which has the tables of the entropy coder and not what they were made of.

        So what is coded can only rest: UsageError, naming the file and the stage, where it would learn. What training
        alone has begins anew. Else raises as `bench.neural.coding.weight_file.begin_with` does.
        """
        from bench.neural.coding.weight_file import begin_with

        self._use(begin_with(self.model, path, str(self._facts.get("codec"))), path)
        self.ema = {name: value.detach().clone() for name, value in self._own_state().items()}

    def validated(self) -> dict[str, float]:
        """The task's figures on the clips held out, with the averaged weights."""
        with self.averaged():
            return self.task.validate()

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The model with its averaged weights, those to be used; afterwards it has the last step's again."""
        trained = {name: value.clone() for name, value in self._own_state().items()}
        self.model.load_state_dict(self.ema, strict=False)
        try:
            yield self.model
        finally:
            self.model.load_state_dict(trained, strict=False)

    def draw_curves(self) -> Path:
        """Draw the log into ``curves.svg``."""
        from bench.neural.training.curves import draw

        return draw(self._log.rows(), self.folder / "curves.svg", title=str(self._facts.get("codec", "training")))

    def _run_stage(self, stage: Stage, ending: Callable[[], bool], progress: Callable[[str], None]) -> bool:
        self.task.begin(stage)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            groups(self.model, learning), lr=stage.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        if self._optimizer_state is not None:
            try:
                optimizer.load_state_dict(self._optimizer_state)
            except ValueError as error:
                raise TrainingError(
                    f"{self.folder / 'checkpoint.pt'}: is of another vcbench ({error}); go on with that one, or start "
                    "anew from the last stage's after-STAGE.pt by --from"
                ) from None
        draw = self._drawing(stage)
        sums: dict[str, Tensor | float] = {}
        counted: Counter[str] = Counter()
        started = saved = time.monotonic()
        while self.step < stage.steps:
            if ending():
                self.seconds += time.monotonic() - started
                self._optimizer_state = optimizer.state_dict()
                return False
            figures = self._step(stage, draw, optimizer, learning)
            self.step += 1
            if figures is not None:
                counted.update(figures.keys())
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
            if self.step % LOG_EVERY == 0 or self.step == stage.steps:
                now = time.monotonic()
                self.seconds, started = self.seconds + now - started, now
                means = {name: float(value) / counted[name] for name, value in sums.items()}
                self._record(stage, means | ({"skipped": self.skipped} if self.skipped else {}), progress)
                sums, counted = {}, Counter()
                if now - saved > SAVE_EVERY_S:
                    self._optimizer_state = optimizer.state_dict()
                    self.save()
                    saved = now
        return True

    def _drawing(self, stage: Stage) -> Callable[[int], Any]:
        """What gives the batch of a step: the task where it draws its own, cuts of the clips otherwise."""
        seed = self.seed + self.stage_index
        if isinstance(self.task, Drawing):
            task = self.task
            return lambda step: task.draw(stage, seed, step)
        crops = RandomCrops(self.clips, stage.size, stage.length, seed)
        return lambda step: to_batch(crops.at(step, stage.batch), self.device)

    def _step(
        self,
        stage: Stage,
        draw: Callable[[int], Any],
        optimizer: torch.optim.Optimizer,
        learning: Sequence[nn.Parameter],
    ) -> Figures | None:
        """One step; what is to be logged of it, or None where its gradients were not finite and nothing was learned."""
        torch.manual_seed(hash((self.seed, self.stage_index, self.step)))
        batch = draw(self.step)
        for group in optimizer.param_groups:
            group["lr"] = group["faster"] * self._rate(stage)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16_pays(self.device)):
            loss, figures = self.task.loss(batch, stage, self.step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(learning, 1.0))
        if not math.isfinite(norm):
            self._skip(stage)
            return None
        self._skipped_in_a_row = 0
        optimizer.step()
        self._average()
        return {"loss": loss.detach(), "gradient": norm, **figures}

    def _skip(self, stage: Stage) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= HOPELESS:
            raise TrainingError(
                f"{self.folder}: {HOPELESS} steps in a row of stage {stage.name} had no finite gradient; "
                "look at log.csv, and start from an earlier stage's weights with a lower learning rate"
            )

    def _rate(self, stage: Stage) -> float:
        warm = min(1.0, (self.step + 1) / WARM_STEPS)
        fall = 0.55 + 0.45 * math.cos(math.pi * self.step / stage.steps)
        return stage.learning_rate * warm * fall

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(EMA_DECAY, (1 + self.total_steps) / (10 + self.total_steps))
        for name, value in self._own_state().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def _record(self, stage: Stage, figures: Mapping[str, float], progress: Callable[[str], None]) -> None:
        self._log.append(stage.name, self.step, self.seconds, figures)
        shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        progress(f"{stage.name} {self.step}/{stage.steps} {self.seconds:.0f} s: {shown}")

    def _is_done(self, stage: str, step: int) -> bool:
        names = [known.name for known in self.stages]
        index = names.index(stage) if stage in names else len(names)
        return index < self.stage_index or (index == self.stage_index and step <= self.step)

    def _own_state(self) -> dict[str, Tensor]:
        """What is stored: all but the parameters that a user's own network came with."""
        return {name: value for name, value in self.model.state_dict().items() if name not in self._fixed}

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "stage": self.stage_index,
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "model": self._own_state(),
            "ema": self.ema,
            "optimizer": self._optimizer_state,
            "tables": self._tables,
        }
        self._save_to(self.folder / "checkpoint.pt", state)

    @staticmethod
    def _save_to(target: Path, content: Mapping[str, Any]) -> None:
        partial = target.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)

    def _load(self, path: Path) -> None:
        state = read_checkpoint(path, self.device)
        if lacking := {"stage", "step", "seconds", "model", "ema", "optimizer"} - set(state):
            raise UsageError(f"{path}: is not a checkpoint to go on from (without {', '.join(sorted(lacking))})")
        self.stage_index, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self.skipped = state.get("skipped", 0)
        self._check_facts(self.folder / "run.json")
        self._load_own(state["model"], str(path))
        self.ema = state["ema"]
        self._optimizer_state = state["optimizer"]
        if tables := state.get("tables"):
            self._use(tables, path)

    def _load_own(self, weights: Mapping[str, Tensor], origin: str) -> None:
        own = self._own_state()
        odd = sorted(set(own) ^ set(weights)) or [name for name in own if own[name].shape != weights[name].shape]
        if odd:
            raise UsageError(
                f"{origin}: is of another model ({odd[0]} and {len(odd) - 1} more parameters differ); "
                "give the settings it was trained with, or train in another folder"
            )
        self.model.load_state_dict(dict(weights), strict=False)

    def _use(self, tables: Mapping[str, Tensor], origin: Path) -> None:
        """Code with tables whose model is not there, so that no stage may change what they were made of."""
        from bench.neural.coding.weight_file import coders, use_tables

        use_tables(self.model, tables)
        self._tables = dict(tables)
        for stage in self.stages:
            self.task.begin(stage)
            if any(value.requires_grad for _, coder in coders(self.model) for value in coder.parameters()):
                raise UsageError(
                    f"{origin}: stage {stage.name} trains the entropy coder, of which a weight file has only the "
                    "tables; name other stages by --stages, or an after-STAGE.pt by --from"
                )

    def _check_facts(self, path: Path) -> None:
        """What was done must have been done as it would be done now; stages to come may change."""
        if not path.is_file():
            return
        try:
            known = dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UsageError(f"{path}: is damaged ({error}); train in another folder") from None
        begun = self.stage_index + (self.step > 0)
        now = {**self._facts, "stages": self._facts["stages"][:begun]}
        before = {**known, "stages": known.get("stages", [])[:begun]}
        for key in sorted(now.keys() & before.keys()):
            if now[key] != before[key]:
                raise UsageError(
                    f"{path}: {key} is now {_short(now[key])}, the run was started with {_short(before[key])}; "
                    "go on with the same, or train in another folder"
                )
        self._facts = {**known, **self._facts}


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a file of a training run holds, read without executing it; UsageError for one that cannot be read."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # archive readers and unpicklers raise anything for damaged files; torch advises to trust them
        raise UsageError(
            f"{path}: is not a checkpoint of a training, or a damaged one; name the folder of a training, one of its "
            "after-STAGE.pt, or a weight file (.safetensors)"
        ) from None
    if not isinstance(state, dict):
        raise UsageError(f"{path}: is not a checkpoint of a training (holds a {type(state).__name__})")
    return state


def weights_of(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a run's folder, or of one of its files; UsageError where there are none."""
    file = path / "checkpoint.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{file}: no such file; name the folder of a training, or one of its after-STAGE.pt")
    state = read_checkpoint(file)
    weights = state.get("ema", state)
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{file}: is not a checkpoint of a training (holds more than weights)")
    return dict(weights)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
