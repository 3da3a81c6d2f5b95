"""Result sets: what `bench.load` gives, with what the analysis makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.garbage import garbage_kept
from bench.core.paths import local_path
from bench.errors import StoreError
from bench.records.cell import CellResult, read_cell
from bench.records.cell_set import CellSet
from bench.records.published import PublishedSet, is_published, read_published

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class ResultSet(CellSet):
    """The cells of one or more result folders, curves of papers among them, and what could not be read.

    notes: which names were changed, since they stood for different codecs.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def _summary(self) -> str:
        counts = Counter(cell.status for cell in self.cells)
        shown = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        return f"{len(self.cells)} cells of {len(self.codecs)} codecs: {shown}"

    def _repr_html_(self) -> str:
        """The set as a notebook shows it: its cells by status, curves, and mean rate and qualities per rate point.

        The curves are of up to three metrics, as `plot` draws them. Means in the table are over the sequences that
        have a value, so that a codec with a gap shows another mean: `bench.compare` compares over common sequences.
        """
        parts = [f"<p>{self._summary()}</p>"]
        frame = self.to_pandas()
        known = frame[frame["value"].notna() & (frame["rate_kind"] != "published")].astype({"value": float})
        if len(known):
            from bench.results.plot import as_svg

            by = ["codec", "parameter", "rate"]
            table = known.pivot_table(index=by, columns="metric", values="value", aggfunc="mean")
            table.insert(0, "bpp", known.groupby(by)["bpp"].mean())
            table.insert(1, "sequences", known.groupby(by)["sequence"].nunique())
            parts.append(as_svg(self.plot(*dict.fromkeys(known["metric"]), most=3)))
            parts.append(table.to_html(float_format="{:.4g}".format, na_rep=""))
        parts += [f"<p>left out: {escape(problem)}</p>" for problem in self.problems]
        return "".join(parts)

    def plot(self, *metrics: str, most: int | None = None) -> Figure:
        """RD curves as a matplotlib figure: one panel per metric, one mean curve per codec.

        Each codec's mean is over the sequences that have all of its rate points. ``metrics`` are names as
        `bench.compare` takes them, such as "vmaf@p5"; without any, all that were measured. ``most`` bounds the number
        of panels. Raises UnknownNameError for a metric that was not measured.
        """
        from bench.analysis.quality import QualityAxis
        from bench.results.plot import rd_figure

        poolings = {QualityAxis.parse(metric).pooling for metric in metrics}
        frame = self.to_pandas(pooling for pooling in poolings if pooling)
        return rd_figure(frame, (metrics or tuple(frame["metric"].dropna().unique()))[:most])

    def datasets(self, metric: str) -> pd.DataFrame:
        """Values of whole datasets: codec, rate, dataset, sequences, frames, bpp, metric, value, status, reason ...

        One row per codec, rate point and dataset. ``value`` is the metric's over all frames of the dataset as one set
        where it is defined so (FID), the mean of the sequences' values otherwise; ``pooling`` says which. ``bpp`` and
        ``kbps`` are means over sequences, ``frames`` the sum. A row is "undefined", with the reason, unless every
        sequence that any codec of this result set has of the dataset is measured. Raises UnknownNameError for a metric
        that was not measured.
        """
        from bench.analysis.pooled import dataset_table

        return dataset_table(self, metric)

    def at_rate(
        self, targets: Iterable[float] | None = None, *, anchor: str | None = None, metrics: Iterable[str] = ()
    ) -> pd.DataFrame:
        """Codecs at equal rate: one row per sequence, target and codec, with the codec's nearest measured cell.

        Columns: dataset, sequence, target_bpp, codec, parameter, rate, bpp, distance (bpp over target less 1), cell,
        reason, and one per metric. ``targets`` are in bpp; without them they are the rates of ``anchor``. Raises what
        `bench.analysis.equal_rate.at_rate` raises.
        """
        import pandas as pd

        from bench.analysis.equal_rate import at_rate

        rows = [row.to_dict() for row in at_rate(self, targets, anchor=anchor, metrics=metrics)]
        return pd.DataFrame([{**row, **row.pop("values")} for row in rows])


def load(*folders: str | Path, apart: bool = True) -> ResultSet:
    """Load one or more result sets. Damaged result files are left out and named in ``problems``.

    A cell that several of the folders have is taken from the first that measured it. Codecs of one name and different
    cards or tools get names of their own ("x265 #1"), which ``notes`` list; with ``apart=False`` the cells are as they
    are stored. Raises StoreError for a folder without results.
    """
    paths = tuple(map(local_path, folders))
    with garbage_kept():
        return _loaded(paths, apart=apart)


def _loaded(paths: tuple[Path, ...], *, apart: bool) -> ResultSet:
    cells: dict[tuple[str, str], CellResult] = {}
    problems: list[str] = []
    published: list[PublishedSet] = []
    for folder in paths:
        if is_published(folder):
            try:
                published.append(read_published(folder))
            except StoreError as error:
                problems.append(str(error))
        elif not (folder / "cells").is_dir():
            raise StoreError(
                f"{folder}: is not a result set (it has no folder cells/); give the folder that run --out named"
            )
        for path in sorted((folder / "cells").glob("*.json"), key=str):
            try:
                cell = read_cell(path)
            except StoreError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{path}: cannot be read: {error.strerror or error}")
            else:
                # one clip under two names is one key and two cells
                known = cells.get((cell.key, cell.name))
                if known is None or (known.status != "ok" and cell.status == "ok"):
                    cells[cell.key, cell.name] = cell
    found = list(cells.values())
    if not apart:
        return ResultSet(paths, found, problems, published)
    from bench.analysis.identity import codecs_apart

    renamed, notes = codecs_apart(found)
    return ResultSet(paths, renamed, problems, published, notes)
