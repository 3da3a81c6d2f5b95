"""BD-rate on curves as papers publish them: few points, short overlaps, some not monotone."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.bd import METHODS, bd_rate

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "published_rd.json"
HIGHER_IS_BETTER = {"CLIPIQA": True, "LPIPS": False, "DISTS": False, "FID": False, "NIQE": False, "KID": False}


@pytest.fixture(scope="module")
def panels() -> dict[tuple[str, str], dict[str, Any]]:
    if not PUBLISHED.is_file():
        pytest.skip("the published curves are not beside the repository")
    diff_sit = json.loads(PUBLISHED.read_text())["diff_sit"]
    return {
        (dataset, metric): codecs
        for dataset, metrics in diff_sit.items()
        for metric, codecs in metrics.items()
        if metric in HIGHER_IS_BETTER
    }


def test_every_pair_of_published_curves_has_a_value_or_a_reason(panels: dict[tuple[str, str], dict[str, Any]]) -> None:
    values = 0
    for (_, metric), codecs in panels.items():
        for (anchor, test), method in itertools.product(itertools.permutations(codecs.values(), 2), METHODS):
            result = bd_rate(
                *zip(*anchor, strict=True),
                *zip(*test, strict=True),
                higher_is_better=HIGHER_IS_BETTER[metric],
                method=method,
            )
            assert (result.value is None) == bool(result.reason)
            values += result.value is not None
    assert values > 20


def test_vtm_saves_rate_over_hm_in_dists_whatever_the_method(panels: dict[tuple[str, str], dict[str, Any]]) -> None:
    codecs = panels["HEVCB", "DISTS"]
    hm, vtm = (list(zip(*codecs[name], strict=True)) for name in ("HM16.25", "VTM17.0"))
    values = [bd_rate(*hm, *vtm, higher_is_better=False, method=method).value for method in METHODS]
    assert all(value is not None and value < 0 for value in values)
