"""The site: its pages, their data, and the tables beside it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from bench.errors import UnavailableError
from bench.report.page import render, template_folders
from bench.report.site.data_script import write_script
from bench.report.site.section import Report, sections
from bench.report.text.tables import write_tables

START_PAGE = "index.html"


def pages() -> dict[str, str]:
    """Files of the pages with their titles; the first is the start page."""
    return {_file(number, name): section.title for number, (name, section) in enumerate(sections().items())}


def write_site(report: Report) -> None:
    """Write pages, data, assets and tables into the report's folder. Raises OSError where it cannot be written."""
    report.data.mkdir()
    found = sections()
    for section in found.values():
        section.write(report)
    write_script(report.data, "index", report.index)
    tables = [table for section in found.values() for table in section.tables(report)]
    report.files.extend(write_tables(report.out / "tables", tables, report.forks))
    assets = _write_assets(report.out / "assets")
    for number, (name, section) in enumerate(found.items()):
        file = _file(number, name)
        scripts = ("assets/site.js", "data/index.js", f"assets/{name}.js") if f"{name}.js" in assets else ()
        render(
            report.out / file,
            name,
            **{"title": report.preamble.title, "page": file, "pages": pages(), "scripts": scripts},
            **section.values(report),
        )


def _file(number: int, name: str) -> str:
    return f"{name}.html" if number else START_PAGE


def _write_assets(folder: Path) -> set[str]:
    """Copy scripts and styles; their names."""
    folder.mkdir()
    own = next(path for path in template_folders() if path.is_dir()) / "assets"
    for path in own.iterdir():
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(_plotly(), folder / "plotly.min.js")
    return {path.name for path in folder.iterdir()}


def _plotly() -> Path:
    """The script that the plotly package brings; the package itself is not imported."""
    spec = find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise UnavailableError("plotly.min.js is not on this machine; run: pip install plotly")
