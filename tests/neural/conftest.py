"""Trainings of a few steps, whose curves are drawn where a test looks at them."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def drawn() -> None:
    """Have trainings draw their curves after each stage, as they do outside of tests."""


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves without `drawn`: a figure takes longer than all steps of a tiny stage."""
    loop = sys.modules.get("bench.neural.training.loop")
    if loop is not None and "drawn" not in request.fixturenames:
        monkeypatch.setattr(loop.Training, "draw_curves", lambda self: None)
