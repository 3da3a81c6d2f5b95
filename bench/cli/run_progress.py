"""What a run says while it goes on: a line per cell in a log; on a terminal, results above a live line."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bench.cli.options import counted, pace
from bench.cli.output import escaped_line, is_terminal, tell

if TYPE_CHECKING:
    from rich.table import Table

    from bench.engine.run import Progress
    from bench.records.cell import CellResult

_SHOWN = 2
"""Metrics on the line of a result."""

_WORKING_S = 1.0
"""Seconds between two looks at which cells are being worked on."""


class Reporter(AbstractContextManager["Reporter"]):
    """Hears of each finished cell; this one says nothing (--quiet)."""

    def __call__(self, progress: Progress) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def reporter(out: Path, *, quiet: bool = False, verbose: bool = False) -> Reporter:
    """What suits the terminal, or the lack of one. out: folder of the results. verbose: with every cell and metric."""
    if quiet:
        return Reporter()
    if is_terminal(sys.stderr):
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_dumb_terminal:
            return LiveReporter(out, verbose=verbose)
    return LogReporter(verbose=verbose)


class LogReporter(Reporter):
    """A line per finished cell, for logs."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose

    def __call__(self, progress: Progress) -> None:
        if progress.result is None:
            tell(_begun(progress))
            return
        told = [f"{progress.failed} failed"] if progress.failed else []
        left = pace(progress.rate, progress.left_s, at_least=progress.at_least)
        told += [left] if left and progress.done < progress.total else []
        line = f"[{progress.done}/{progress.total}] {_cell(progress.result, verbose=self._verbose)}"
        tell(f"{line} ({', '.join(told)})" if told else line)


class LiveReporter(Reporter):
    """For a terminal: a line per finished curve (a codec's rate points on a sequence) above a live one.

    The live line has the cells done and running, the pace and the time left, as far as the terminal is wide.
    """

    def __init__(self, out: Path, *, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live

        self._out, self._verbose = out, verbose
        self._console = Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._heard = self._looked = time.monotonic()
        self._running = 0
        self._live = Live(console=self._console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def __call__(self, progress: Progress) -> None:
        self._progress, self._heard = progress, time.monotonic()
        if progress.result is None:
            if progress.done:
                self._print(_begun(progress))
        elif self._verbose:
            self._print(_cell(progress.result, verbose=True))
        elif progress.curve:
            for line in self._curve(progress.curve):
                self._print(line)

    def __enter__(self) -> LiveReporter:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._console.print(Text(escaped_line(line)), soft_wrap=self._verbose)

    def _curve(self, found: Sequence[CellResult]) -> list[str]:
        """What came of a codec on a sequence: the ends of its curve, as much as fits, and what failed."""
        ok = [result for result in found if result.status == "ok"]
        what = f"{found[0].codec.name} {found[0].sequence.name}"
        lines = [_cell(result) for result in found if result.status != "ok"]
        if ok:
            parts = [counted(len(ok), "rate point"), _ends([result.bpp for result in ok], "bpp")]
            parts += [
                f"{name} {_ends([result.measurements[name].value for result in ok], _unit(name))}"
                for name in _main_metrics(ok)
            ]
            # the second metric goes first where there is no room, then the count
            while len(parts) > 1 and len(f"{what}: {', '.join(parts)}") > self._console.width:
                parts.pop(0 if len(parts) == 3 else -1)
            lines.append(f"{what}: {', '.join(parts)}")
        return lines

    def _line(self) -> Table | str:
        """The live line."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        progress, now = self._progress, time.monotonic()
        if progress is None or progress.done == progress.total:
            return ""
        if now - self._looked > _WORKING_S:  # one file per worker is read
            from bench.engine.progress import at_work

            self._running, self._looked = len(at_work(self._out)), now
        waited = now - self._heard
        # what has kept us waiting for so long is likely to take as long again
        left = None if progress.left_s is None else max(progress.left_s - waited, waited)
        done = f"{progress.done}/{progress.total} cells"
        parts = [f"{progress.failed} failed"] if progress.failed else []
        parts += [f"{self._running} running"] if self._running else []
        told = pace(progress.rate, left, at_least=progress.at_least).split(", ")
        while told and len(", ".join([done, *parts, *told])) >= self._console.width:
            told.pop(0)
        text = ", ".join(filter(None, [*parts, *told]))
        room = self._console.width - len(done) - len(text) - 4
        line = Table.grid(padding=(0, 1))
        bar = [ProgressBar(total=progress.total, completed=progress.done, width=min(room, 30))] if room >= 10 else []
        line.add_row(done, *bar, text)
        return line


def _begun(progress: Progress) -> str:
    already = f", {progress.done} measured already" if progress.done else ""
    return f"{counted(progress.total, 'cell')}{already}"


def _cell(result: CellResult, *, verbose: bool = False) -> str:
    """A cell in a line: what it is of, rate and main metrics; all metrics and the times where `verbose`."""
    what = f"{result.codec.name} {result.rate.parameter}={result.rate.value:g}{result.at} {result.sequence.name}"
    if result.status != "ok":
        return f"{what}: {result.status}: {result.reason}"
    names = [name for name, one in result.measurements.items() if one.value is not None]
    values = [
        f"{name} {result.measurements[name].value:.4g} {_unit(name)}".rstrip()
        for name in (names if verbose else _main_metrics([result]))
    ]
    if verbose:
        values += [
            f"{what} {cost.seconds:.3g} s, {cost.peak_rss_bytes / 2**20:.0f} MiB"
            for what, cost in (("encode", result.encode), ("decode", result.decode))
            if cost is not None
        ]
    return f"{what}: " + ", ".join([f"{result.bpp:.4g} bpp", *values])


def _main_metrics(results: Sequence[CellResult]) -> list[str]:
    """The metrics that a line has room for, of those that all results have a value of."""
    from bench.cli.comparison_table import summary_metrics

    measured = [
        name
        for name in results[0].measurements
        if all((one := result.measurements.get(name)) and one.value is not None for result in results)
    ]
    return summary_metrics(measured)[:_SHOWN]


def _unit(metric: str) -> str:
    from bench.registry import metric_class

    return metric_class(metric).unit


def _ends(values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    low, high = (f"{end:.4g}" for end in (min(known), max(known)))
    return f"{low if low == high else f'{low} to {high}'} {unit}".rstrip()
