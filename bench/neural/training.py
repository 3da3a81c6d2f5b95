"""The training loop of our own codecs: stages, resuming, averaged weights, logs and curves as files.

A run is a folder: ``run.json`` (what is trained on what), ``log.csv`` (a line every so many steps), ``curves.svg``,
``checkpoint.pt`` (everything needed to go on; tensors and plain values, read without executing a pickle).
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bench.digests import write_atomically
from bench.errors import UsageError
from bench.neural.clips import Pictures, RandomCrops

EMA_DECAY = 0.999
LOG_EVERY, SAVE_EVERY_S = 20, 120.0


@dataclass(frozen=True)
class Stage:
    """A stretch of training: so many steps on batches of ``frames`` pictures of ``size`` x ``size``.

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


class Task(Protocol):
    """What is trained: a model, and its loss on a batch."""

    model: nn.Module

    def begin(self, stage: Stage) -> None:
        """Prepare for a stage: freeze what does not learn in it."""

    def loss(self, batch: Tensor, stage: Stage, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch (B x T x 3 x H x W, -1 to 1) and the figures to be logged."""

    def validate(self) -> dict[str, float]:
        """Figures on clips that are not trained on."""


def bf16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in known)


def to_batch(pictures: Pictures, device: torch.device) -> Tensor:
    """Pictures B x T x H x W x 3 of 8 bit as B x T x 3 x H x W, -1 to 1."""
    return torch.from_numpy(np.array(pictures)).to(device).permute(0, 1, 4, 2, 3).float().div_(127.5).sub_(1)


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
        # convolutions on a CPU take half the time when channels lie together
        self.model = task.model.to(self.device, memory_format=torch.channels_last)
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.stage_index, self.step, self.seconds = 0, 0, 0.0
        self._optimizer_state: dict[str, Any] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._load()
        facts = {**(about or {}), "seed": seed, "stages": [asdict(stage) for stage in self.stages]}
        write_atomically(folder / "run.json", json.dumps(facts, indent=1, default=str).encode())

    @property
    def total_steps(self) -> int:
        """Steps done in all stages up to now."""
        return sum(stage.steps for stage in self.stages[: self.stage_index]) + self.step

    def run(self, *, minutes: float | None = None, progress: Callable[[str], None] = print) -> bool:
        """Train until the stages are done (True) or the minutes are over (False); the folder has all that is needed."""
        ends = None if minutes is None else time.monotonic() + 60 * minutes
        while self.stage_index < len(self.stages):
            if not self._run_stage(self.stages[self.stage_index], ends, progress):
                self.save()
                return False
            self._log(self.stages[self.stage_index], self.validated(), progress)
            self.stage_index, self.step, self._optimizer_state = self.stage_index + 1, 0, None
            self.save()
        return True

    def validated(self) -> dict[str, float]:
        """The task's figures on the clips held out, with the averaged weights."""
        trained = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.ema)
        try:
            return self.task.validate()
        finally:
            self.model.load_state_dict(trained)

    def _run_stage(self, stage: Stage, ends: float | None, progress: Callable[[str], None]) -> bool:
        self.task.begin(stage)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=stage.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, stage.steps, 0.1 * stage.learning_rate)
        schedule.last_epoch = self.step
        crops = RandomCrops(self.clips, stage.size, stage.frames, self.seed + self.stage_index)
        use_bf16 = bf16_pays(self.device)
        sums: dict[str, float] = {}
        started = saved = time.monotonic()
        while self.step < stage.steps:
            if ends is not None and time.monotonic() > ends:
                self._optimizer_state = optimizer.state_dict()
                return False
            torch.manual_seed(hash((self.seed, self.stage_index, self.step)))
            batch = to_batch(crops.at(self.step, stage.batch), self.device)
            for group in optimizer.param_groups:
                group["lr"] = self._rate(stage)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=use_bf16):
                loss, figures = self.task.loss(batch, stage, self.step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = float(nn.utils.clip_grad_norm_(learning, 1.0))
            if math.isfinite(norm):  # a step on what is not a number would be the last
                optimizer.step()
                self._average()
            self.step += 1
            for name, value in {"loss": float(loss.detach()), "gradient": norm, **figures}.items():
                sums[name] = sums.get(name, 0.0) + value
            if self.step % LOG_EVERY == 0 or self.step == stage.steps:
                count = (self.step - 1) % LOG_EVERY + 1
                now = time.monotonic()
                self.seconds += now - started
                started = now
                self._log(stage, {name: value / count for name, value in sums.items()}, progress)
                sums = {}
                if now - saved > SAVE_EVERY_S:
                    self._optimizer_state = optimizer.state_dict()
                    self.save()
                    saved = now
        return True

    def _rate(self, stage: Stage) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        fall = 0.55 + 0.45 * math.cos(math.pi * self.step / stage.steps)
        return stage.learning_rate * warm * fall

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(EMA_DECAY, (1 + self.total_steps) / (10 + self.total_steps))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def _log(self, stage: Stage, figures: Mapping[str, float], progress: Callable[[str], None]) -> None:
        row = {"stage": stage.name, "step": self.step, "seconds": round(self.seconds, 1), **figures}
        path = self.folder / "log.csv"
        known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        columns = known[0].split(",") if known else list(row)
        missing = [name for name in row if name not in columns]
        if missing:
            columns += missing
            known = [",".join(columns), *known[1:]]
            write_atomically(path, ("\n".join(known) + "\n").encode())
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, columns, restval="").writerow(
                {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
            )
        shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        progress(f"{stage.name} {self.step}/{stage.steps} {self.seconds:.0f} s: {shown}")

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights, those to be used."""
        return {name: value.cpu() for name, value in self.ema.items()}

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "stage": self.stage_index,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self._optimizer_state,
        }
        target = self.folder / "checkpoint.pt"
        partial = target.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(target)

    def _load(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise UsageError(
                f"{path}: is of another model ({str(error).splitlines()[0]}); train in another folder"
            ) from None
        self.ema = state["ema"]
        self.stage_index, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self._optimizer_state = state["optimizer"]
