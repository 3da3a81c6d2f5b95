"""compressai is imported without what its point clouds need, and without its warnings."""

from __future__ import annotations

import sys

import pytest

from bench.core.quiet_import import imported

pytest.importorskip("compressai")


def test_models_are_there_and_point_clouds_are_not() -> None:
    before = set(sys.modules)
    assert (
        imported("compressai.zoo.video").model_architectures["ssf2020"].__module__ == "compressai.models.video.google"
    )
    assert not any(name.partition(".")[0] == "torch_geometric" for name in set(sys.modules) - before)


def test_finders_are_left_as_they_were() -> None:
    before = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError):
        imported("compressai.no_such_module")
    assert sys.meta_path == before
