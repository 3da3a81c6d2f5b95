"""What a page of the site is, and what it is made from.

A new page takes two files, sections/NAME.py with its `SECTION` and the template NAME.html.j2; what is drawn on it by a
script, assets/NAME.js too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from bench.analysis.curves import SequenceKey
from bench.analysis.pooled import dataset_tables
from bench.core.folders import Rewriting
from bench.records.cell import CellResult
from bench.report.comparisons import Compared, Speed, speeds
from bench.report.measured import Measured
from bench.report.preamble import Preamble, no_comparison
from bench.report.site.payload import index
from bench.report.site.pictures import PictureOptions
from bench.report.text.tables import Row, Table, excluded_rows

if TYPE_CHECKING:
    import pandas as pd

FEW_MEASUREMENTS = 20_000
"""How many are done before another process has begun."""


@dataclass(frozen=True)
class Report:
    """What sections are made from: the result set, what is computed of it once, and the folder that is written.

    compared, left_out: every codec against the anchor, and what overall curves lack; complete once the overview is
    written. files: names of the tables that are written, with what they hold.
    """

    measured: Measured
    folder: Rewriting
    pictures: PictureOptions = field(default_factory=PictureOptions)
    title: str | None = None
    compared: list[Compared] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The folder of the site."""
        return self.folder.path

    @property
    def data(self) -> Path:
        """The folder of what pages load."""
        return self.out / "data"

    @property
    def forks(self) -> int | None:
        """How many processes its work is shared out to; None: one a CPU."""
        few = len(self.measured.results.cells) * len(self.measured.metrics) <= FEW_MEASUREMENTS
        return 1 if few else None

    @cached_property
    def speeds(self) -> Sequence[Speed]:
        """The times of every codec."""
        return speeds(self.measured, self.compared)

    @cached_property
    def preamble(self) -> Preamble:
        """What stands before the numbers."""
        return Preamble.of(self.measured, self.title, compared=self.compared, speeds=self.speeds)

    @property
    def no_comparison(self) -> str | None:
        """Why nothing can be compared, if so."""
        return no_comparison(self.measured.codecs, self.measured.metric_names)

    @cached_property
    def datasets(self) -> Mapping[str, pd.DataFrame]:
        """Values of whole datasets by metric."""
        return dataset_tables(self.measured.results, self.measured.metric_names)

    @cached_property
    def excluded(self) -> Sequence[Row]:
        """What has no value, with the reason."""
        results = self.measured.results
        names = self.measured.metric_names
        return excluded_rows(results.cells, results.problems, names, self.compared, self.left_out)

    @cached_property
    def cells(self) -> Mapping[SequenceKey, list[CellResult]]:
        """Cells of each sequence, by codec and rate in the order of the pages."""
        numbers = {name: number for number, name in enumerate(self.measured.codecs)}
        found: dict[SequenceKey, list[CellResult]] = {key: [] for key in self.measured.sequences}
        for cell in sorted(self.measured.results.cells, key=lambda c: (numbers[c.codec.name], c.rate.value, c.name)):
            found[SequenceKey(cell.sequence.dataset, cell.sequence.name)].append(cell)
        return found

    @cached_property
    def index(self) -> dict[str, Any]:
        """The names that all data refer to; sections add what their pages must know at once."""
        return index(self.measured, self.preamble.title)


@dataclass(frozen=True)
class Section:
    """A page of the site.

    title: in the menu, where sections stand by `order`. write: its data, into ``report.data``; called in this order.
    values: what its template takes beside what every page has. tables: those that go with it, beside the site.
    """

    title: str
    order: int
    write: Callable[[Report], object] = lambda _: None
    values: Callable[[Report], Mapping[str, Any]] = lambda _: {}
    tables: Callable[[Report], Iterable[Table]] = lambda _: ()


def sections() -> dict[str, Section]:
    """Every section by name, in order."""
    from bench.report.site import sections as package

    found = {
        module.name: import_module(f"{package.__name__}.{module.name}").SECTION
        for module in iter_modules(package.__path__)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].order))
