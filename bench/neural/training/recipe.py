"""How our own codecs are trained: what a recipe offers, and what recipes share.

This imports no network, so that the command line can list those that can be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, cast, get_type_hints

from bench.core.require import NEURAL, require
from bench.errors import UnknownNameError, UsageError
from bench.neural.codecs import OWN_CODECS, offered

if TYPE_CHECKING:
    import torch

    from bench.neural.networks.perceptual_loss import DeepFeatures
    from bench.neural.training.clips import Pictures
    from bench.neural.training.loop import Stage, Task

RECIPES = {name: codec.recipe for name, codec in OWN_CODECS.items() if codec.recipe is not None}


@dataclass(frozen=True)
class Options:
    """What a user chose: changed settings of the model by name, a seed."""

    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


class Recipe(Protocol):
    """What a codec offers for its training, a module or an object."""

    def check(self, options: Options) -> None:
        """Raise UnavailableError or UsageError, saying what to do, for whatever would stop ``build``; reads no clip."""

    def stages(self, options: Options) -> list[Stage]:
        """The stages of a training."""

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


@dataclass(frozen=True, kw_only=True)
class CodecRecipe:
    """The recipe of a codec after a paper.

    substitutions: what stands in for what the paper has. loss: its weights. sizes: the model's configuration, a
    dataclass. start: how a new model begins. weights: those that losses look through.
    """

    title: str
    paper: str
    substitutions: Mapping[str, str]
    loss: Mapping[str, Any]
    sizes: Any
    schedule: Callable[[], list[Stage]]
    model: Callable[[Any], Any]
    start: Callable[[Any, Sequence[Pictures], int], None]
    task: Callable[[Any, DeepFeatures, Sequence[Pictures], torch.device], Task]
    weights: tuple[str, ...] = ("squeezenet",)

    def check(self, options: Options) -> None:
        """See `Recipe`."""
        from bench.weights import files as weights

        require("torchvision", extra="perceptual")
        for name in self.weights:
            weights.path(name)
        self.config(options)

    def config(self, options: Options) -> Any:
        """Sizes and switches of the networks, with the user's changes."""
        return with_settings(self.sizes, options.settings)

    def stages(self, options: Options) -> list[Stage]:
        """See `Recipe`."""
        return self.schedule()

    def about(self, options: Options) -> dict[str, Any]:
        """See `Recipe`."""
        return {
            "title": f"{self.title}, our own, small scale",
            "paper": self.paper,
            "config": asdict(self.config(options)),
            "substitutions": dict(self.substitutions),
            "loss": dict(self.loss),
        }

    def build(
        self, options: Options, clips: Sequence[Pictures], held_out: Sequence[Pictures], device: torch.device
    ) -> Task:
        """See `Recipe`."""
        import torch

        from bench.neural.networks.perceptual_loss import DeepFeatures
        from bench.weights import files as weights

        torch.manual_seed(options.seed)
        model = self.model(self.config(options))
        self.start(model, clips, options.seed)
        features = DeepFeatures(weights.load("squeezenet")).to(device, memory_format=torch.channels_last)
        return self.task(model, features, held_out, device)


def recipe(codec: str) -> Recipe:
    """The recipe of a codec. Raises UnknownNameError where it has none, UnavailableError where training cannot run."""
    if codec not in RECIPES:
        raise UnknownNameError("codec to train", codec, RECIPES)
    require("torch", "compressai", "diffusers", extra=NEURAL)
    return cast(Recipe, offered(RECIPES[codec]))


def with_settings(config: Any, settings: Mapping[str, str]) -> Any:
    """A dataclass with some fields changed by their texts (true, 64, 48,80,96); the field's type reads them.

    Raises UnknownNameError or UsageError, naming the setting.
    """
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
