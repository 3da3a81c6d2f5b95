"""How each of our own codecs is trained: a table from its name to the module that builds what is trained.

Such a module offers what `Recipe` says. This one imports no network, so that the command line can list the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, get_type_hints

from bench.core.require import NEURAL, require
from bench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import torch

    from bench.neural.training.clips import Pictures
    from bench.neural.training.loop import Stage, Task

RECIPES = {
    "actdiff-vc": "bench.neural.codecs.actdiff_vc.recipe",
    "diff-sit": "bench.neural.codecs.diff_sit.recipe",
    "restoration": "bench.neural.codecs.restoration.recipe",
    "s2vc": "bench.neural.codecs.s2vc.recipe",
}
SCALES = ("small", "paper")


@dataclass(frozen=True)
class Options:
    """What a user chose: scale, changed settings of the model by name, a folder with networks, a seed."""

    scale: str = "small"
    settings: Mapping[str, str] = field(default_factory=dict)
    backbone: Path | None = None
    seed: int = 0


class Recipe(Protocol):
    """What a codec's training module offers."""

    def check(self, options: Options) -> None:
        """Raise UnavailableError or UsageError, saying what to do, for whatever would stop ``build``; reads no clip."""

    def stages(self, options: Options) -> list[Stage]:
        """The stages of a training at that scale."""

    def about(self, options: Options) -> dict[str, Any]:
        """What a run is, for its ``run.json``: the model's settings, what stands in for what; equal for equal runs."""

    def build(
        self,
        options: Options,
        clips: Sequence[Pictures],
        held_out: Sequence[Pictures],
        device: torch.device,
    ) -> Task:
        """The model as it starts, with its loss, on a device. ``clips`` may decide how it starts."""


def recipe(codec: str) -> Recipe:
    """The recipe of a codec. Raises UnknownNameError where it has none, UnavailableError where training cannot run."""
    if codec not in RECIPES:
        raise UnknownNameError("codec to train", codec, RECIPES)
    require("torch", "compressai", "diffusers", extra=NEURAL)
    return cast(Recipe, import_module(RECIPES[codec]))


def with_settings(config: Any, settings: Mapping[str, str]) -> Any:
    """A dataclass with some fields changed by their texts (true, 64, 48,80,96); the field's type reads them.

    Raises UnknownNameError or UsageError, naming the setting.
    """
    from dataclasses import replace

    types = get_type_hints(type(config))
    changed = {}
    for name, text in settings.items():
        if name not in types:
            raise UnknownNameError("setting", name, types)
        changed[name] = _parsed(name, text, types[name])
    return replace(config, **changed)


_WANTED: dict[Any, str] = {int: "a whole number", float: "a number"}


def _parsed(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text not in {"true", "false"}:
            raise UsageError(f"--set {name}={text}: is true or false")
        return text == "true"
    try:
        return kind(text) if kind in _WANTED else tuple(int(part) for part in text.split(","))
    except ValueError:
        wanted = _WANTED.get(kind, "whole numbers separated by commas")
        raise UsageError(f"--set {name}={text}: takes {wanted}") from None
