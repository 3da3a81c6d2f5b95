"""A page of the site is one file and its template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.cell import CellResult
from bench.report import page
from bench.report.site import sections as package
from bench.report.site.section import sections

SECTION = """
from bench.report.site.data_script import write_script
from bench.report.site.section import Section
from bench.report.text.tables import Table


def write(report):
    write_script(report.data, "bytes", sum(cell.rate_bytes for cell in report.measured.results.cells))


SECTION = Section(
    "Bytes",
    order=3,
    write=write,
    values=lambda report: {"codecs": report.measured.codecs},
    tables=lambda report: [Table("bytes", "bytes of each codec", ("codec",), ({"codec": "a|b"},))],
)
"""
TEMPLATE = """{% extends "base.html.j2" %}
{% block main %}
<h1>{{ codecs | join(" & ") }}</h1>
{% endblock %}
"""


def test_pages_stand_in_their_order() -> None:
    assert list(sections()) == ["overview", "sequences", "frames", "gaps", "method"]


def test_a_new_page_takes_one_file_and_its_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: Callable[..., list[CellResult]], report: Callable[..., Path]
) -> None:
    for name, text in (("size.py", SECTION), ("size.html.j2", TEMPLATE)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    own = next(folder for folder in page.template_folders() if folder.is_dir())
    monkeypatch.setattr(page, "template_folders", lambda: (own, tmp_path))
    folder = report([*curve("x265"), *curve("half", scale=0.5)], pictures=0)
    text = (folder / "size.html").read_text()
    assert "<h1>x265 &amp; half</h1>" in text
    assert '<a href="size.html" aria-current="page">Bytes</a>' in text
    assert "<script" not in text
    assert '<a href="size.html">Bytes</a>' in (folder / "index.html").read_text()
    assert "tables/bytes.csv</a>: bytes of each codec" in (folder / "method.html").read_text()
    assert (folder / "tables" / "bytes.csv").read_text().splitlines() == ["codec", "a|b"]
    assert (folder / "data" / "bytes.js").is_file()
