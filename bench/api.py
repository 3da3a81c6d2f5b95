"""The main job as one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.engine import run as engine
from bench.engine.store import Store
from bench.results import ResultSet, load


def run(
    codecs: Sequence[str],
    *,
    out: str | Path,
    inputs: Iterable[str | Path] = (),
    datasets: Iterable[str] = (),
    metrics: Iterable[str] = (),
    rates: Iterable[float] | None = None,
    frames: int | None = None,
    jobs: int = 1,
    timing: bool = False,
    time_limit: float | None = None,
    paths: Iterable[str | Path] = (),
    progress: Callable[[engine.Progress], None] | None = None,
    **input_format: Any,
) -> ResultSet:
    """Run codecs over clips and datasets into the folder ``out`` and load it; what is measured already is kept.

    ``input_format`` may have size, pix_fmt and fps for raw inputs. With ``jobs`` over 1 the calling script must be
    importable (guard it by ``if __name__ == "__main__"``). Raises UsageError and its kin before any work where
    something cannot be run; a cell that fails is a result with status "failed".
    """
    options = engine.RunOptions(
        codecs=tuple(codecs),
        datasets=tuple(datasets),
        inputs=tuple(map(Path, inputs)),
        input_format=input_format,
        metrics=tuple(metrics),
        rates=None if rates is None else tuple(rates),
        frames=frames,
        paths=tuple(map(Path, paths)),
    )
    store = Store.create(Path(out))
    engine.run(
        engine.plan(options),
        store,
        jobs=jobs,
        timing=timing,
        time_limit=time_limit,
        command=["bench.run"],
        progress=progress,
    )
    return load(out)
