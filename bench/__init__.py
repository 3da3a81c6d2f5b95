"""vcbench: run video codecs fairly, measure, compare.

>>> import bench
>>> results = bench.run(["x264", "x265"], datasets=["quickstart"], out="results/mine", jobs=2)  # doctest: +SKIP
>>> results.to_pandas()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench._version import __version__

if TYPE_CHECKING:
    from bench.analysis.bd import bd_metric, bd_rate
    from bench.analysis.compare import compare
    from bench.analysis.options import CompareOptions
    from bench.api import compare_folders, gate, history, run
    from bench.engine.options import RunOptions
    from bench.engine.score import score
    from bench.results.result_set import ResultSet, load

# Imported at first use, so that the command line starts at once.
_HOMES = {
    "CompareOptions": "bench.analysis.options",
    "ResultSet": "bench.results.result_set",
    "RunOptions": "bench.engine.options",
    "bd_metric": "bench.analysis.bd",
    "bd_rate": "bench.analysis.bd",
    "compare": "bench.analysis.compare",
    "compare_folders": "bench.api",
    "gate": "bench.api",
    "history": "bench.api",
    "load": "bench.results.result_set",
    "run": "bench.api",
    "score": "bench.engine.score",
}

__all__ = [
    "CompareOptions",
    "ResultSet",
    "RunOptions",
    "__version__",
    "bd_metric",
    "bd_rate",
    "compare",
    "compare_folders",
    "gate",
    "history",
    "load",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
