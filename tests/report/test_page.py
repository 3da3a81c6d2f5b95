"""The pages as they are written; what their scripts do with them is in test_browser.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.report.site.pages import pages

VOID = {"meta", "img", "br", "link", "hr", "input"}
NAMES = list(pages())


class Page(HTMLParser):
    """What a page opens, closes, links to and fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.events: list[str] = []
        self.text: list[str] = []
        self.labels = 0
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.events += [name for name in values if name.startswith("on")]
        if tag in {"h1", "h2", "h3", "h4"}:
            self.headings.append(int(tag[1]))
        if tag in {"select", "input"}:
            assert "label" in self.open, f"{values.get('id')} has no label"
            self.labels += 1
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if values.get("href"):
            (self.links if tag == "a" else self.sources).append(str(values["href"]))
        self.sources += [str(values[name]) for name in ("src", "srcset", "data", "poster") if values.get(name)]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(params=["usual_report", "hostile_report"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.fixture(params=NAMES)
def page(folder: Path, request: pytest.FixtureRequest) -> Page:
    return Page(folder / request.param)


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_scripts_and_styles_are_files_of_the_report(folder: Path, page: Page) -> None:
    assert not {"iframe", "object", "embed", "base"} & set(page.tags)
    assert page.events == []
    for source in page.sources:
        if source == "data:,":  # no icon, so that none is looked for on a server
            continue
        assert not urlsplit(source).scheme and not source.startswith("//")
        assert (folder / source).is_file(), source


def test_nothing_may_be_loaded_from_elsewhere(folder: Path) -> None:
    for name in NAMES:
        text = (folder / name).read_text(encoding="utf-8")
        assert "default-src 'none'; script-src 'self' file:;" in text
        assert "http:" not in re.findall(r'Content-Security-Policy" content="([^"]*)', text)[0]


def test_links_lead_to_files_sections_or_the_web(folder: Path, page: Page) -> None:
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = Page(folder / parts.path) if parts.path.endswith(".html") else page
        assert not parts.path or (folder / parts.path).is_file(), link
        assert not parts.fragment or parts.fragment in target.ids, link
        assert ".." not in link


def test_sections_have_one_name_each(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_headings_go_down_one_level_at_a_time(page: Page) -> None:
    assert page.headings.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(page.headings, page.headings[1:], strict=False))


def test_hostile_text_is_shown_as_text(hostile_report: Path) -> None:
    for name in NAMES:
        page = Page(hostile_report / name)
        assert "<script>alert(1)</script>" in "".join(page.text)
        assert not [link for link in page.links if "javascript" in link]


def test_data_have_nothing_that_ends_a_script(hostile_report: Path) -> None:
    scripts = list((hostile_report / "data").glob("*.js"))
    assert len(scripts) > 5
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        assert not {"<", ">", "&", "\u2028", "\u202e", "\x07"} & set(text), path.name


def test_a_report_stays_in_its_folder(hostile_report: Path) -> None:
    assert [path.name for path in hostile_report.parent.iterdir()] == ["out"]
    inside = sorted(path.name for path in hostile_report.iterdir())
    assert inside == sorted([*NAMES, "assets", "data", "tables", "vcbench.json"])


def test_it_says_what_was_measured_and_how(usual_report: Path) -> None:
    text = " ".join("".join(Page(usual_report / "method.html").text).split())
    for told in (
        "x265, the default anchor",
        "half, a codec of the tests",
        "low delay",
        "Apache-2.0",
        "ffmpeg 8.0",
        "352x288",
        "a" * 64,
        "bt709, limited range",
        "10 log10(peak^2 / MSE)",
        "peak 255, pooling mean",
        "infinite counts as 99.9",
        "qp 22, 27, 32, 37",
        "enc half",
        "PCHIP",
        "bootstrap",
        "a processor",
        "0.1.0",
    ):
        assert told in text, told


def test_any_anchor_any_metric(usual_report: Path, site_data: Callable[[Path, str], Any]) -> None:
    """half needs half the rate of x265, double twice as much."""
    index = site_data(usual_report, "index")
    assert [codec["name"] for codec in index["codecs"]] == ["x265", "double", "half"]
    for number in range(len(index["metrics"])):
        value = site_data(usual_report, f"compare-0-{number}")["quality"]["value"]
        flat = [cell for row in value for cell in row]
        assert flat == pytest.approx([None, 100, -50, -50, None, -75, 100, 300, None], abs=0.01)


def test_a_cell_has_everything_that_is_known_of_it(usual_report: Path, site_data: Callable[[Path, str], Any]) -> None:
    data = site_data(usual_report, "sequence-0")
    cell = next(cell for cell in data["cells"] if (cell["codec"], cell["rate"]) == (2, 27))
    assert cell["bytes"] == 40_000 and cell["sha256"] == "b" * 64 and len(cell["key"]) == 64
    assert cell["encode"]["commands"] == ["enc half"]
    assert "pooling mean" in data["texts"][cell["recorded"][0]]
    assert data["texts"][cell["tool"]] == "ffmpeg 8.0"
    assert cell["bpp"] * data["kbpsPerBpp"] == pytest.approx(cell["kbps"], rel=1e-5)


def test_templates_are_where_the_wheel_or_the_checkout_has_them() -> None:
    from bench.report.page import template_folders

    package, checkout = template_folders()
    assert (package.parent.name, checkout.parent.name) == ("_data", "reports")
    assert [folder for folder in (package, checkout) if (folder / "base.html.j2").is_file()]


def test_infinity_is_strict_json(tmp_path: Path) -> None:
    from bench.report.site.data_script import write_script

    write_script(tmp_path, "x", {"a": float("inf"), "b": float("nan"), "c": "</script>\u2028"})
    text = (tmp_path / "x.js").read_text(encoding="utf-8")
    value = json.loads(text.removeprefix('vcbench.put("x",').removesuffix(");\n"))
    assert value == {"a": "Infinity", "b": None, "c": "</script>\ufffd"}
    assert "</script>" not in text and "\u2028" not in text


def test_the_example_is_small_and_shown() -> None:
    root = Path(__file__).resolve().parents[2]
    files = list((root / "reports" / "example").iterdir())
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert "(reports/example/overview.webp)" in (root / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\((example/[^)]*)\)", (root / "reports" / "README.md").read_text(encoding="utf-8")):
        assert (root / "reports" / link).is_file(), link
