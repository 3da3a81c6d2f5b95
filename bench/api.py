"""The main jobs as calls, for notebooks and for the command line: run codecs, compare, gate, follow revisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.core.paths import local_path
from bench.core.signatures import takes
from bench.engine.options import Names, Paths, RunOptions, names, paths
from bench.errors import UnavailableError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from bench.analysis.compare import Comparison
    from bench.analysis.equal_rate import AtRate
    from bench.analysis.gate.judge import GateResult
    from bench.analysis.history import History
    from bench.analysis.options import CompareOptions
    from bench.engine.plan import Plan
    from bench.engine.progress import Progress
    from bench.engine.rate_search.match import Match
    from bench.records.cell import CellResult
    from bench.results.result_set import ResultSet


@dataclass(frozen=True)
class Listener:
    """Who hears how a run goes: of its plan, of each round of a search in words, of each finished cell."""

    planned: Callable[[Plan], object] = lambda _: None
    announce: Callable[[str], object] = lambda _: None
    progress: Callable[[Progress], object] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a run: ``results`` of the cells of ``planned`` in order, what a search found, and ``problems``:
    what was wrong with files of the result folder. One that has not begun had nothing to do, and left no folder."""

    planned: Plan
    results: list[CellResult]
    matches: list[Match] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    begun: bool = True


@takes(RunOptions)
def run(
    codecs: Names | RunOptions,
    *,
    out: str | Path,
    progress: Callable[[Progress], object] | None = None,
    **settings: Any,
) -> ResultSet:
    """Run codecs over clips and datasets into the folder ``out`` and load it; what is measured already is kept.

    The settings are those of `RunOptions`, as of ``vcbench run``; the options themselves may be given in place of
    codecs and settings. A search's pairs are shown by ``ResultSet.at_rate``. But for ``jobs`` 1 in processes of this
    machine, the calling script must be importable (guard it by ``if __name__ == "__main__"``). Result files that were
    damaged are set aside and named in ``problems``. Raises UsageError and its kin before any work where something
    cannot be run; a cell that fails is a result with status "failed".
    """
    from bench.results.result_set import ResultSet, load

    options = codecs if isinstance(codecs, RunOptions) else RunOptions(codecs, **settings)  # type: ignore[arg-type]
    folder = local_path(out)
    outcome = carry_out(options, folder, command=["bench.run"], listener=Listener(progress=progress))
    results = load(folder) if outcome.begun else ResultSet((folder,), [])
    results.problems += outcome.problems
    return results


def carry_out(options: RunOptions, folder: Path, *, command: list[str], listener: Listener | None = None) -> Outcome:
    """Plan a run, search rate points where they are to be found, run the cells, store.

    ``command`` is recorded in each result. Raises as `run`.
    """
    from bench.engine.pools.backends import open_pool

    hears = listener or Listener()
    open_workers = partial(open_pool, jobs=options.jobs, scheduler=options.scheduler, timing=options.timing)
    with ExitStack() as stack:
        # workers that are processes are under way while this process imports the rest
        pool = None if options.backend == "auto" else stack.enter_context(open_workers(options.backend))
        from bench.engine.run import Facts, plan
        from bench.engine.run import run as run_cells
        from bench.engine.store.folder import Store, check_writable

        check_writable(folder)
        facts = Facts(command)
        search = None
        if options.matching is not None:
            from bench.engine.rate_search.match import match, plan_match

            search = plan_match(options, options.matching)
        planned = plan(options) if search is None else search.planned
        if not planned.cells and search is None:
            return Outcome(planned, [], begun=False)
        if pool is None:
            pool = stack.enter_context(open_workers(planned.backend(options.backend)))
        hears.planned(planned)
        store = Store.create(folder)
        work = partial(run_cells, store=store, options=options, pool=pool, facts=facts, progress=hears.progress)
        matches: list[Match] = []
        if search is not None:
            planned, matches = match(search, store, work, hears.announce)
        return Outcome(planned, work(planned), matches, store.problems)


@dataclass(frozen=True)
class FolderComparison:
    """Codecs of result folders against anchors: ``pairs`` of (anchor, test), and each pair by each of ``metrics``.

    by_anchor: comparisons by anchor, metric and test. results: all that was compared, under the names of the pairs.
    left_out: metrics that were measured and cannot be compared here, with the reason.
    """

    results: ResultSet
    pairs: list[tuple[str, str]]
    metrics: list[str]
    by_anchor: dict[str, dict[str, dict[str, Comparison]]]
    left_out: list[str]

    @property
    def comparisons(self) -> list[Comparison]:
        """All of them, pair by pair."""
        return [self.by_anchor[anchor][metric][test] for anchor, test in self.pairs for metric in self.metrics]


def compare_folders(
    folders: Paths,
    *,
    anchor: str | None = None,
    test: str | None = None,
    metrics: Names = (),
    dataset: str | None = None,
    options: CompareOptions | None = None,
) -> FolderComparison:
    """Compare codecs of one result folder, or the same codecs of two, as ``vcbench compare`` does.

    In one folder, ``test`` or every other codec is compared with ``anchor``; published curves may be given beside it.
    Of two, the first has the anchors: the codecs that both have, or ``anchor`` and ``test``; names then have their
    folder's before them. ``metrics``: default all that were measured and are installed here. ``dataset``: only this
    one. Raises UsageError or UnknownNameError for what cannot be compared.
    """
    from bench.analysis.compare import compare_results
    from bench.analysis.options import USUAL
    from bench.core.garbage import garbage_kept

    with garbage_kept():
        results, pairs = _codec_pairs(paths(folders, distinct=False), anchor, test)
        results = _only(results, dataset)
        wanted, left_out = (list(names(metrics)), []) if metrics else _comparable_metrics(results)
        tests: dict[str, list[str]] = {}
        for name, other in pairs:
            tests.setdefault(name, []).append(other)
        how = options or USUAL
        found = {name: compare_results(results, name, others, wanted, how) for name, others in tests.items()}
    return FolderComparison(results, pairs, wanted, found, left_out)


def equal_rate(
    folders: Paths,
    targets: Iterable[float] | None = None,
    *,
    anchor: str | None = None,
    test: str | None = None,
    metrics: Names = (),
    dataset: str | None = None,
) -> tuple[ResultSet, list[AtRate]]:
    """The codecs' cells nearest to each target in bpp, or to each of the anchor's rates; the results they are of.

    Folders and codecs are chosen as by `compare_folders`; for the rest see `bench.analysis.equal_rate.at_rate`.
    """
    from bench.analysis.equal_rate import at_rate
    from bench.results.result_set import load

    given = paths(folders, distinct=False)
    if targets is None and anchor is None:
        raise UsageError("--at-rate anchor needs --anchor CODEC; or give the rates in bpp, --at-rate 0.05,0.1")
    if len(given) == 1:
        results, codecs = load(given[0]), [name for name in (anchor, test) if name and test]
    else:
        results, pairs = _codec_pairs(given, anchor, test)
        codecs = list(dict.fromkeys(name for pair in pairs for name in pair))
        anchor = pairs[0][0]
    results = _only(results, dataset)
    return results, at_rate(results, targets, anchor=anchor, metrics=names(metrics), codecs=codecs)


def _codec_pairs(
    folders: tuple[Path, ...], anchor: str | None, test: str | None
) -> tuple[ResultSet, list[tuple[str, str]]]:
    """The results to compare in, and the (anchor, test) pairs of codec names in them."""
    from bench.records.published import is_published
    from bench.results.result_set import ResultSet, load

    measured = [folder for folder in folders if not is_published(folder)]
    if len(measured) > 2:
        raise UsageError("compare takes one result folder or two, and folders of published curves")
    if len(measured) == 2 and len(folders) > 2:
        raise UsageError("published curves are compared with one result folder at a time")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(f"{folders[0]} is given twice; give it once and name --anchor and --test")
    loaded = [load(folder) for folder in measured] if len(measured) == 2 else [load(*folders)]
    if len(loaded) == 1:
        codecs = loaded[0].codecs
        if anchor is None:
            raise UsageError("compare needs --anchor CODEC (or two folders of measured results)")
        for name in filter(None, (anchor, test)):
            if several := [codec for codec in codecs if codec.startswith(f"{name} #")]:
                notes = " ".join(note for note in loaded[0].notes if note.startswith(f"{name} "))
                raise UsageError(f"{notes} Name one of {', '.join(map(repr, several))}")
            if name not in codecs:
                raise UnknownNameError(f"codec in {folders[0]}", name, codecs)
        tests = [test] if test else [codec for codec in codecs if codec != anchor]
        if not tests:
            raise UsageError(f"{folders[0]}: {anchor} is the only codec there; nothing to compare with it")
        return loaded[0], [(anchor, name) for name in tests]
    before, after = loaded
    shared = [anchor] if anchor else sorted({*before.codecs} & {*after.codecs})
    if not shared:
        raise UsageError(f"{folders[0]} and {folders[1]} have no codec in common; name --anchor and --test")
    labels = _labels(folders)
    cells = [_labelled(cell, label) for label, found in zip(labels, loaded, strict=True) for cell in found.cells]
    both = ResultSet(folders, cells, [*before.problems, *after.problems], notes=[*before.notes, *after.notes])
    pairs = [(labels[0] + name, labels[1] + (test or name)) for name in shared]
    for name in (codec for pair in pairs for codec in pair):
        if name not in both.codecs:
            raise UnknownNameError("codec", name, both.codecs)
    return both, pairs


def _labelled(cell: CellResult, label: str) -> CellResult:
    codec = cell.codec.model_copy(update={"name": label + cell.codec.name})
    return cell.model_copy(update={"codec": codec})


def _labels(folders: tuple[Path, ...]) -> list[str]:
    """What is put before the codecs of each folder: its own name, or its whole path where the names are equal."""
    own = [folder.resolve().name for folder in folders]
    return [f"{name}:" for name in (own if len(set(own)) == len(own) else map(str, folders))]


def _only(results: ResultSet, dataset: str | None) -> ResultSet:
    if not dataset:
        return results
    known = {cell.sequence.dataset for cell in results.cells}
    known |= {curve.dataset for part in results.published for curve in part.curves}
    if dataset not in known:
        raise UnknownNameError("dataset of these results", dataset, known)
    return results.only(dataset=dataset)


def _comparable_metrics(results: ResultSet) -> tuple[list[str], list[str]]:
    """The metrics that were measured and can be compared, and why the others cannot."""
    from bench.registry import metric_class

    able, left_out = [], []
    for metric in results.metrics:
        try:
            metric_class(metric)
        except (UnknownNameError, UnavailableError, UsageError):
            left_out.append(f"{metric} is not installed here, so which way is better is not known")
        else:
            able.append(metric)
    if not able:
        raise UsageError("no metric was measured; vcbench run --metrics adds some to these results")
    return able, left_out


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
    from bench.results.result_set import load

    sides = [paths(side, distinct=False) for side in (baseline, candidate)]
    seen: set[Path] = set()
    for folder in (folder for side in sides for folder in side):
        if folder.resolve() in seen:
            raise UsageError(f"{folder} is given twice; a run cannot be its own repetition")
        seen.add(folder.resolve())
    if not all(sides):
        raise UsageError("a gate needs a baseline and a candidate; name a result folder for each")
    rules = parse_rules(names(fail))
    old, new = ([load(folder, apart=False) for folder in side] for side in sides)
    return judge(
        old,
        new,
        rules,
        codecs=names(codecs),
        sequences=names(sequences),
        inconclusive=inconclusive,
        min_overlap=min_overlap,
    )


def history(
    folders: Paths,
    *,
    metrics: Names = (),
    codecs: Names = (),
    fail: Names = (),
    min_overlap: float = 0.0,
) -> History:
    """The codecs of result folders over time: one folder per revision, oldest first.

    A folder that holds result folders stands for these, in the order of their names. ``fail`` are rules of the gate:
    each revision is held against the one before it. Without them the verdict is read from ``gate.json`` in a revision's
    folder, the output of ``vcbench gate --json``. Raises StoreError for a folder that is no result set, UsageError for
    fewer than two revisions or one given twice, UnknownNameError for a metric or codec that was not measured.
    """
    from bench.analysis.gate.judge import judge
    from bench.analysis.gate.rules import parse_rules
    from bench.analysis.history import Revision
    from bench.analysis.history import history as compute
    from bench.records.gate_verdict import GateVerdict, read_verdict
    from bench.results.result_set import ResultSet, load

    found = [part for folder in paths(folders, distinct=False) for part in _result_folders(folder)]
    if len({folder.resolve() for folder in found}) < len(found):
        raise UsageError("a result folder is given twice; a history takes one folder per revision")
    if len(found) < 2:
        raise UsageError("a history needs two revisions or more; name a result folder for each")
    rules = parse_rules(names(fail))
    loaded = [load(folder, apart=False) for folder in found]
    labels = [folder.resolve().name for folder in found]
    if len(set(labels)) < len(labels):
        labels = [str(folder) for folder in found]
    revisions = []
    for number, (label, folder, results) in enumerate(zip(labels, found, loaded, strict=True)):
        verdict = None
        if not rules:
            verdict = read_verdict(folder)
        elif number:
            judged = judge([loaded[number - 1]], [results], rules, codecs=names(codecs), min_overlap=min_overlap)
            verdict = GateVerdict.model_validate(judged.to_dict())
        revisions.append(Revision(label, results, verdict))
    everything = ResultSet(tuple(found), [cell for results in loaded for cell in results.cells])
    wanted = names(metrics) or tuple(_comparable_metrics(everything)[0])
    return compute(revisions, wanted, names(codecs), min_overlap=min_overlap)


def _result_folders(folder: Path) -> list[Path]:
    """The folder itself, or the result folders in it."""
    if (folder / "cells").is_dir():
        return [folder]
    inside = sorted(path.parent for path in folder.glob("*/cells"))
    return inside or [folder]
