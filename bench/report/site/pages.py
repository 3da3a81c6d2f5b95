"""The site: pages that open from the file system or any web server and ask the network for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.compare import USUAL
from bench.analysis.curves import SequenceKey
from bench.analysis.options import CompareOptions
from bench.core.folders import Rewriting
from bench.errors import UnavailableError
from bench.records.cell import CellResult
from bench.report.measured import MetricFacts
from bench.report.page import Content, template_folders, write_page
from bench.report.site import frame_values, payload
from bench.report.site.data_script import write_script
from bench.report.site.payload import Names
from bench.report.site.pictures import PictureOptions, write_pictures
from bench.results.result_set import ResultSet

if TYPE_CHECKING:
    import pandas as pd

START_PAGE = "index.html"
PAGES = (
    (START_PAGE, "Overview"),
    ("sequences.html", "Sequences"),
    ("frames.html", "Frames"),
    ("gaps.html", "Gaps"),
    ("method.html", "Method"),
)


@dataclass(frozen=True)
class Measured:
    """What the pages are made of: the result set with names that are distinct, its table, and values of datasets."""

    results: ResultSet
    frame: pd.DataFrame
    datasets: Mapping[str, pd.DataFrame]
    metrics: Sequence[MetricFacts]
    names: Names
    options: CompareOptions = USUAL


def write_comparisons(out: Path, measured: Measured) -> list[Mapping[str, Any]]:
    """Write every codec against every other into the data of the site; rows of what overall curves leave out.

    Raises OSError when `out` cannot be written.
    """
    data = out / "data"
    data.mkdir()
    left_out: list[Mapping[str, Any]] = []
    for number, metric in enumerate(measured.metrics):
        on_scopes = payload.metric_comparisons(
            measured.names,
            measured.frame,
            measured.datasets[metric.name],
            metric,
            measured.options,
        )
        for scope, on_scope in enumerate(on_scopes):
            left_out += on_scope.pop("leftOut")
            write_script(data, f"compare-{scope}-{number}", on_scope)
    return left_out


def write_site(
    folder: Rewriting, measured: Measured, content: Content, gaps: Sequence[Mapping[str, Any]], pictures: PictureOptions
) -> None:
    """Write pages, assets and the other data into a folder.

    `gaps` are the rows of what has no value. Raises OSError when the folder cannot be written.
    """
    out = folder.path
    data = out / "data"
    names, cells = measured.names, _by_sequence(measured)
    index = payload.index(names, measured.results.cells, measured.metrics, content.title)
    with_frames = _write_sequences(data, measured, cells)
    for number, sequence in enumerate(index["sequences"]):
        sequence["framesData"] = number in with_frames
    write_script(data, "index", {**index, **_frames_note(with_frames, index)})
    write_script(data, "gaps", payload.gaps(gaps))
    (out / "pictures").mkdir()
    shown = write_pictures(measured.results, cells, names, folder, pictures)
    write_script(data, "pictures", shown)
    _write_assets(out / "assets")
    for file, _ in PAGES:
        write_page(out / file, content, page=file, pages=PAGES, scripts=_scripts(file))


def _scripts(page: str) -> tuple[str, ...]:
    if page == "method.html":
        return ()
    own = {"index.html": "overview"}.get(page, page.removesuffix(".html"))
    return ("assets/site.js", "data/index.js", f"assets/{own}.js")


def _by_sequence(measured: Measured) -> dict[SequenceKey, list[CellResult]]:
    """Cells of each sequence in the order of the pages."""
    numbers = {name: number for number, name in enumerate(measured.names.codecs)}
    cells: dict[SequenceKey, list[CellResult]] = {key: [] for key in measured.names.sequences}
    for cell in sorted(measured.results.cells, key=lambda c: (numbers[c.codec.name], c.rate.value, c.name)):
        cells[SequenceKey(cell.sequence.dataset, cell.sequence.name)].append(cell)
    return cells


def _write_sequences(data: Path, measured: Measured, cells: Mapping[SequenceKey, Sequence[CellResult]]) -> set[int]:
    """Write the data of each sequence; the numbers of those that have per-frame values are returned."""
    room = frame_values.MOST_VALUES
    with_frames = set()
    for number, key in enumerate(measured.names.sequences):
        own = cells[key]
        write_script(data, f"sequence-{number}", payload.sequence_cells(measured.names, key, own, measured.metrics))
        count = frame_values.count(own)
        if count > room:
            continue
        values = frame_values.of_sequence(measured.results, own, measured.names.metrics)
        if values is not None:
            write_script(data, f"frames-{number}", values)
            with_frames.add(number)
            room -= count
    return with_frames


def _frames_note(with_frames: set[int], index: Mapping[str, Any]) -> dict[str, str]:
    total = len(index["sequences"])
    return {
        "framesNote": f"Values of single frames are shown for {len(with_frames)} of {total} sequences;"
        " this one's, if it has any, stand in frames/ of the result set."
    }


def _write_assets(folder: Path) -> None:
    folder.mkdir()
    own = next(path for path in template_folders() if path.is_dir()) / "assets"
    for path in own.iterdir():
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(_plotly(), folder / "plotly.min.js")


def _plotly() -> Path:
    """The script that the plotly package brings; the package itself is not imported."""
    spec = find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise UnavailableError("plotly.min.js is not on this machine; run: pip install plotly")
