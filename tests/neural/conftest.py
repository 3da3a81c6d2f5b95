"""Trainings of a few steps, whose curves are drawn where a test looks at them, and what they see pictures with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bench.neural.networks.perceptual_loss import DeepFeatures


@pytest.fixture(scope="session")
def features() -> DeepFeatures:
    """A seeded, untrained network to compare pictures by."""
    import torch
    from torchvision.models import squeezenet1_0

    from bench.neural.networks.perceptual_loss import DeepFeatures

    torch.manual_seed(0)
    return DeepFeatures(squeezenet1_0(weights=None).state_dict())


@pytest.fixture
def drawn() -> None:
    """Have trainings draw their curves after each stage, as they do outside of tests."""


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves without `drawn`: a figure takes longer than all steps of a tiny stage."""
    loop = sys.modules.get("bench.neural.training.loop")
    if loop is not None and "drawn" not in request.fixturenames:
        monkeypatch.setattr(loop.Training, "draw_curves", lambda self: None)
