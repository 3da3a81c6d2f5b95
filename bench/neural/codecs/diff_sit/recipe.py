"""How Diff-SIT's training is put together: model, losses and what they need, at either scale."""

from __future__ import annotations

from bench.neural.codecs.diff_sit import paper
from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.codecs.diff_sit.model import small
from bench.neural.codecs.diff_sit.training import (
    ADVERSARIAL,
    CHANGES,
    DIVERGENCE,
    FEATURES,
    LAMBDAS,
    SMOOTHNESS,
    TEXTURE,
    DiffSitTask,
    paper_stages,
    small_stages,
)
from bench.neural.codecs.diff_sit.transform import start_as_transform
from bench.neural.training.recipe import PaperRecipe

RECIPE = PaperRecipe(
    title="Diff-SIT",
    paper="Efficient Video Diffusion with Sparse Information Transmission (arXiv 2603.18501)",
    substitutions={
        "LPIPS": "distance of SqueezeNet's features, unweighted, and of their contrast",
        "embedding of the empty prompt": "zeros",
    },
    loss={
        "lambda": LAMBDAS,
        "features": FEATURES,
        "texture": TEXTURE,
        "changes": CHANGES,
        "adversarial": ADVERSARIAL,
        "divergence": DIVERGENCE,
        "smoothness of motion": SMOOTHNESS,
    },
    networks=paper.WAN,
    check_networks=paper.check,
    sizes=lambda options: paper.SIZES if options.scale == "paper" else DiffSitConfig(),
    schedule={"small": small_stages, "paper": paper_stages},
    model={"small": lambda config, _: small(config), "paper": paper.build},
    start=start_as_transform,
    task=lambda model, features, held_out, _: DiffSitTask(model, features, held_out),
)
