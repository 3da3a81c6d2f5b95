"""How ActDiff-VC's training is put together: model, losses and what they need, at either scale."""

from __future__ import annotations

from bench.neural.codecs.actdiff_vc import paper
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.model import small
from bench.neural.codecs.actdiff_vc.training import (
    ADVERSARIAL,
    CHANGES,
    FEATURES,
    FLOW,
    LAMBDAS,
    TEXTURE,
    ActDiffTask,
    paper_stages,
    small_stages,
)
from bench.neural.codecs.actdiff_vc.transform import start_as_transform
from bench.neural.training.recipe import PaperRecipe

RECIPE = PaperRecipe(
    title="ActDiff-VC",
    paper="Active Sampling for Ultra-Low-Bit-Rate Video Compression (arXiv 2605.02849)",
    substitutions={
        "LPIPS": "distance of SqueezeNet's features, unweighted, and of their contrast",
        "point tracker": "optical flow by DIS, chained from frame to frame",
        "HED's edge sketch": "blurred Sobel gradients",
        "pretrained video diffusion model": "a small transformer, trained on the same clips as all else",
    },
    real=("pretrained video diffusion model",),
    loss={
        "lambda": LAMBDAS,
        "features": FEATURES,
        "texture": TEXTURE,
        "changes": CHANGES,
        "flow": FLOW,
        "adversarial": ADVERSARIAL,
    },
    networks=paper.WAN_VACE,
    check_networks=paper.check,
    sizes=lambda options: paper.SIZES if options.scale == "paper" else ActDiffConfig(),
    schedule={"small": small_stages, "paper": paper_stages},
    model={"small": lambda config, _: small(config), "paper": paper.build},
    start=start_as_transform,
    task=lambda model, features, held_out, _: ActDiffTask(model, features, held_out),
    adapters=True,
)
