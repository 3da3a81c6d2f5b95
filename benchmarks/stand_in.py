"""Networks with random weights where the real ones are not on this machine, to see what metrics cost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.files import file_digest
from bench.errors import UnavailableError
from bench.weights import files as weights


def offer_stand_ins(folder: Path) -> None:
    """Write a seeded stand-in of each file of weights that is missing, and have vcbench find them for this process.

    A value measured with them means nothing: their manifest has its own SHA-256, so that no stored value can be
    taken for a real one.
    """
    import torch

    folder.mkdir(parents=True)
    entries = []
    for name, entry in weights.manifest().items():
        try:
            weights.available(name)
        except UnavailableError:
            if name not in NETWORKS:
                continue
            torch.manual_seed(0)
            file = folder / f"{name}.pth"
            torch.save(NETWORKS[name](), file)
            entries.append(
                f'[[weights]]\nname = "{name}"\ntitle = "random stand-in of: {entry.title}"\nfile = "{file.name}"\n'
                f'made = "random numbers"\nsha256 = "{file_digest(file)}"\nbytes = {file.stat().st_size}\n'
                'licence = "none"\nsource = "random numbers"\n'
            )
    if entries:
        (folder / weights.MANIFEST).write_text("\n".join(entries), encoding="utf-8")
        known = os.environ.get(weights.ENVIRONMENT)
        os.environ[weights.ENVIRONMENT] = os.pathsep.join([str(folder), *([known] if known else [])])


def _torchvision(name: str) -> dict[str, Any]:
    import torchvision

    state: dict[str, Any] = torchvision.models.get_model(name, weights=None).state_dict()
    return state


def _inception() -> dict[str, Any]:
    import io

    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        """As it is before its weights come; the class can be made in no other way."""

        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Keep the random numbers."""

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    state: dict[str, Any] = Unloaded("random", ["2048"], nothing).state_dict()
    return state


def _dists() -> dict[str, Any]:
    import torch

    both = torch.rand(2, 1475, 1, 1)
    alpha, beta = (both / both.sum()).split(1)
    return {"alpha": alpha.clone(), "beta": beta.clone()}


NETWORKS: dict[str, Callable[[], dict[str, Any]]] = {
    "alexnet": lambda: _torchvision("alexnet"),
    "inception-fid": _inception,
    "vgg16": lambda: _torchvision("vgg16"),
    "dists": _dists,
    "raft-large": lambda: _torchvision("raft_large"),
    "raft-small": lambda: _torchvision("raft_small"),
}
