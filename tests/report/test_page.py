from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

VOID = {"meta", "img", "br", "link", "hr", "input"}


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
        self.images: list[dict[str, str | None]] = []
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
        if tag == "img":
            self.images.append(values)
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


@pytest.fixture
def page(folder: Path) -> Page:
    return Page(folder / "index.html")


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_runs_and_nothing_is_fetched_from_the_net(folder: Path, page: Page) -> None:
    assert not {"script", "iframe", "object", "embed", "form", "link", "base"} & set(page.tags)
    assert page.events == []
    assert all(not urlsplit(source).scheme and not source.startswith("//") for source in page.sources)
    style = (folder / "index.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_links_lead_to_files_sections_or_the_web(folder: Path, page: Page) -> None:
    for link in page.links + page.sources:
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
        elif link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (folder / parts.path).is_file(), link
            assert ".." not in link


def test_sections_have_one_name_each(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_headings_go_down_one_level_at_a_time(page: Page) -> None:
    assert page.headings.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(page.headings, page.headings[1:], strict=False))


def test_figures_have_texts_and_sizes_instead(page: Page) -> None:
    assert page.images
    assert all(image["alt"] and image["width"] and image["height"] for image in page.images)


def test_every_table_has_a_caption(page: Page) -> None:
    assert page.tags.count("table") == page.tags.count("caption") > 3


def test_hostile_text_is_shown_as_text(hostile_report: Path) -> None:
    page = Page(hostile_report / "index.html")
    assert "<script>alert(1)</script>" in "".join(page.text)
    assert not [link for link in page.links if "javascript" in link]


def test_a_report_stays_in_its_folder(hostile_report: Path) -> None:
    assert [path.name for path in hostile_report.parent.iterdir()] == ["out"]
    assert sorted(path.name for path in hostile_report.iterdir()) == ["captions.md", "figures", "index.html", "tables"]


def test_it_says_what_was_measured_and_how(usual_report: Path) -> None:
    text = " ".join("".join(Page(usual_report / "index.html").text).split())
    captions = " ".join((usual_report / "captions.md").read_text(encoding="utf-8").split())
    for told in (
        "Anchor: x265, the default anchor",
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
        if told[:6] not in {"Anchor", "infini"}:
            assert told in captions, told
    assert "−50.00 %" in text and "+100.00 %" in text


def test_colours_follow_the_readers_choice(usual_report: Path) -> None:
    text = (usual_report / "index.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
