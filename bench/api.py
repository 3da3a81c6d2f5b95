"""The main jobs as calls: run codecs, gate a candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.core.paths import local_path
from bench.engine import run as engine
from bench.engine.pools.backends import open_pool
from bench.engine.store.folder import Store, check_writable
from bench.errors import UsageError
from bench.results.result_set import ResultSet, load

if TYPE_CHECKING:
    from bench.analysis.gate.judge import GateResult

Names = str | Iterable[str]
Paths = str | Path | Iterable[str | Path]


def run(
    codecs: Names,
    *,
    out: str | Path,
    inputs: Paths = (),
    size: str | None = None,
    pix_fmt: str | None = None,
    fps: str | float | None = None,
    datasets: Names = (),
    sequences: Names = (),
    metrics: Names = (),
    rates: Iterable[float] | Literal["auto"] | None = None,
    match_rate: str | None = None,
    target_bpp: Iterable[float] = (),
    tolerance: float | None = None,
    start: int = 0,
    frames: int | None = None,
    jobs: int | None = 1,
    backend: str = "loky",
    scheduler: str | None = None,
    copy_inputs: bool = False,
    timing: bool = False,
    time_limit: float | None = None,
    paths: Paths = (),
    trust: bool = False,
    sandbox: bool = False,
    progress: Callable[[engine.Progress], None] | None = None,
) -> ResultSet:
    """Run codecs over clips and datasets into the folder ``out`` and load it; what is measured already is kept.

    The settings are those of ``vcbench run``: ``size``, ``pix_fmt`` and ``fps`` describe raw inputs, ``rates`` are
    values of the rate parameter, ``time_limit`` is in seconds. ``match_rate``, ``target_bpp`` and ``rates="auto"``
    search rate points to within ``tolerance``, a share (`bench.engine.rate_search.match`); ``ResultSet.at_rate`` shows
    the pairs. ``backend``, ``scheduler`` and ``jobs`` say where cells run (`bench.engine.pools.backends.open_pool`);
    but for ``jobs`` 1 in processes of this machine, the calling script must be importable (guard it by
    ``if __name__ == "__main__"``).
    ``copy_inputs`` copies the clips into ``out`` for workers that lack them. ``sandbox`` confines encoders and decoders
    (`bench.core.sandbox`). Result files that were damaged are set
    aside and named in ``problems``. Raises UsageError and its kin before any work where something cannot be run; a cell
    that fails is a result with status "failed".
    """
    from bench.core.sandbox import required
    from bench.engine.rate_search.match import match, matching_of, plan_match

    given = {"size": size, "pix_fmt": pix_fmt, "fps": fps}
    if isinstance(rates, str) and rates != "auto":
        raise UsageError(f'rates are {rates!r}; give a list of numbers, or "auto"')
    wanted = rates if rates is None or isinstance(rates, str) else tuple(rates)
    matching = matching_of(_names(codecs), wanted, match_rate, target_bpp, tolerance)
    options = engine.RunOptions(
        codecs=_names(codecs),
        datasets=_names(datasets),
        inputs=_paths(inputs),
        input_format={key: value for key, value in given.items() if value is not None},
        sequences=_names(sequences),
        metrics=_names(metrics),
        rates=None if isinstance(wanted, str) else wanted,
        frames=frames,
        start=start,
        paths=_paths(paths),
        trust=trust,
        sandbox=required() if sandbox else None,
    )
    folder = local_path(out)
    check_writable(folder)
    with open_pool(backend, jobs, scheduler=scheduler, timing=timing) as pool:
        prepared = None if matching is None else plan_match(options, matching)
        planned = engine.plan(options) if prepared is None else prepared.planned
        store = Store.create(folder)
        how: dict[str, Any] = {
            "pool": pool,
            "copy_inputs": copy_inputs,
            "timing": timing,
            "time_limit": time_limit,
            "command": ["bench.run"],
            "progress": progress,
        }
        if prepared is not None:
            planned, _ = match(prepared, store, **how)
        engine.run(planned, store, **how)
    results = load(folder)
    results.problems += store.problems
    return results


def gate(
    baseline: Paths,
    candidate: Paths,
    *,
    fail: Names,
    codecs: Names = (),
    sequences: Names = (),
    inconclusive: Literal["pass", "fail"] = "pass",
    min_overlap: float = 0.0,
) -> GateResult:
    """Hold the results of a candidate against those of a baseline: ``passed``, and a check for each rule and codec.

    ``fail`` are rules such as "bd_rate(psnr_y)>0.5%"; several folders on a side are repeated runs of the same cells.
    ``min_overlap`` is the share of the baseline's curve that a BD-rate must compare, 0 to 1. How a verdict is reached:
    `bench.analysis.gate.judge.judge`. Raises RuleError for a rule that cannot be read,
    StoreError for a folder that is no result set, UsageError for one given twice.
    """
    from bench.analysis.gate.judge import judge
    from bench.analysis.gate.rules import parse_rules

    sides = [_paths(baseline), _paths(candidate)]
    seen: set[Path] = set()
    for folder in (folder for side in sides for folder in side):
        if folder.resolve() in seen:
            raise UsageError(f"{folder} is given twice; a run is no repetition of itself")
        seen.add(folder.resolve())
    if not all(sides):
        raise UsageError("a gate needs a baseline and a candidate; name a result folder for each")
    rules = parse_rules(_names(fail))
    old, new = ([load(folder, apart=False) for folder in side] for side in sides)
    return judge(
        old,
        new,
        rules,
        codecs=_names(codecs),
        sequences=_names(sequences),
        inconclusive=inconclusive,
        min_overlap=min_overlap,
    )


def _names(given: Names) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _paths(given: Paths) -> tuple[Path, ...]:
    return (local_path(given),) if isinstance(given, str | Path) else tuple(map(local_path, given))
