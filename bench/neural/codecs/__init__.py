"""Our codecs, a package each, and the table of what each offers. Importing this imports none of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class OwnCodec:
    """Where a codec has its parts, each a "module" or "module:name" below this package.

    coding: a `bench.neural.own_codecs.Coding`. options: what a card may choose beside the rate, a
    `bench.neural.own_codecs.CodecOptions` of its ``settings.options``; None for nothing. recipe: how it is trained, a
    `bench.neural.training.recipe.Recipe`; None for a codec that ``vcbench train`` does not train.
    """

    coding: str
    options: str | None = None
    recipe: str | None = None


OWN_CODECS = {
    "actdiff-vc": OwnCodec("actdiff_vc.coding", "actdiff_vc.options:ActDiffOptions", "actdiff_vc.recipe:RECIPE"),
    "actdiff-vc-restored": OwnCodec(
        "actdiff_vc.restored", "actdiff_vc.options:RestoredOptions", "actdiff_vc.restored_recipe"
    ),
    "diff-sit": OwnCodec("diff_sit.coding", "diff_sit.config:DiffSitOptions", "diff_sit.recipe:RECIPE"),
    "restoration": OwnCodec("restoration.coding", "restoration.options:RestorationOptions", "restoration.recipe"),
    "s2vc": OwnCodec("s2vc.coding", recipe="s2vc.recipe:RECIPE"),
}


def offered(part: str) -> Any:
    """A part of a codec, imported."""
    module, _, name = part.partition(":")
    found = import_module(f"{__name__}.{module}")
    return getattr(found, name) if name else found
