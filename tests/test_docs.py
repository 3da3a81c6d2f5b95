"""The documentation: links lead to files and headings, code blocks are code, and generated parts are up to date."""

from __future__ import annotations

import ast
import functools
import http.server
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from bench.cli import vcbench as group
from bench.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "reports/README.md", "results/README.md")
PAGES = [*(ROOT / name for name in TOP), *sorted(DOCS.rglob("*.md"))]
NOTEBOOK = DOCS / "tutorial" / "notebook.ipynb"
BLOCK = re.compile(r"^(?P<fence>```+)(?P<kind>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", BLOCK.sub("", text))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as forges make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(anchor if anchor not in found else f"{anchor}-{sum(a.startswith(anchor) for a in found)}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def blocks(*kinds: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if block["kind"] in kinds:
                yield name(page), block["text"]


def test_code_blocks_are_read_by_their_languages() -> None:
    kinds = {block["kind"] for page in PAGES for block in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert kinds <= {"", "sh", "python", "toml", "yaml", "json", "mermaid"}
    count = 0
    for _, text in blocks("python"):
        ast.parse(text)
        count += 1
    for _, text in blocks("toml"):
        tomllib.loads(text)
        count += 1
    for _, text in blocks("json"):  # messages of the worker protocol, one per line
        assert all(map(json.loads, text.splitlines()))
    assert count > 20


def test_commands_of_code_blocks_parse() -> None:
    """Every vcbench line of a shell block has the options there are, whether or not its files are here."""
    found = 0
    for page, text in blocks("sh"):
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            for command in re.split(r" &&(?: |$)| \|\| |; ", line):
                words = shlex.split(re.split(r" > | \| ", command)[0], comments=True)
                while words and re.match(r"\w+=", words[0]):
                    words.pop(0)
                if not words or Path(words[0]).name != "vcbench" or len(words) < 2 or words[1] not in group.commands:
                    continue
                found += 1
                try:
                    group.commands[words[1]].make_context(words[1], words[2:])
                except UsageError as error:
                    assert "there is no such" in str(error), f"{page}: {line}"
                except click.UsageError as error:
                    pytest.fail(f"{page}: {line}: {error.message}")
    assert found > 80


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generator: ModuleType) -> None:
    """If this fails: python docs/generate.py."""
    pages = generator.pages()
    assert {page.name for page in pages} >= {"cli.md", "cards.md", "manifests.md"}
    assert [page.name for page in pages if generator.generated(page) != page.read_text(encoding="utf-8")] == []


def test_every_key_of_a_card_and_a_manifest_has_a_meaning(generator: ModuleType) -> None:
    empty = [
        (kind, row)
        for kind in generator.MODELS
        for part in re.split(r"^### ", generator.model(kind), flags=re.MULTILINE)
        if not part.startswith(("Configuration", "Grain", "Temporal"))  # Configuration's are the card's
        for row in re.findall(r"^\| (`\w+`) .* \|  \|$", part, flags=re.MULTILINE)
    ]
    assert empty == []


RUN = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
NotebookClient(book, timeout=600, resources={"metadata": {"path": "."}}).execute()
nbformat.write(book, sys.argv[2])
"""


@pytest.mark.slow
def test_the_notebook_runs_and_says_what_its_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="the group docs is not installed")
    pytest.importorskip("ipykernel", reason="the group docs is not installed")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK), "run.ipynb"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown, found = (json.loads(path.read_text(encoding="utf-8")) for path in (NOTEBOOK, tmp_path / "run.ipynb"))
    assert outputs(found) == outputs(shown)
    assert "<svg" in "".join(outputs(found, "text/html"))


def outputs(book: dict[str, Any], kind: str = "text/plain") -> list[str]:
    """What the cells of a notebook print, and what they show as one kind of text, but for addresses of objects."""
    parts = [output for cell in book["cells"] for output in cell.get("outputs", ())]
    texts = ["".join(part["text"] if "text" in part else part["data"].get(kind, "")) for part in parts]
    return [re.sub(r"0x[0-9a-f]+", "", text) for text in texts]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation site, built without a warning."""
    pytest.importorskip("mkdocs", reason="the group docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_in_its_navigation(site: Path) -> None:
    for page in sorted(DOCS.rglob("*.md")):
        path = page.relative_to(DOCS).with_suffix("")
        path = path.parent if path.name == "README" else path
        assert (site / path / "index.html").exists()
    notebook = (site / "tutorial" / "notebook" / "index.html").read_text(encoding="utf-8")
    assert "<svg" in notebook
    assert "../../explanation/bd-rate/" in notebook
    assert "result set" in (site / "CHANGELOG" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_search_for_overlap_finds_why_a_bd_rate_is_flagged(site: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    browser = next((path for path in map(shutil.which, ("chromium", "google-chrome")) if path), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_api.sync_playwright() as playwright:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.fill("input.md-search__input", "overlap")
            first = page.locator(".md-search-result__item a.md-search-result__link").first
            first.wait_for(state="attached")
            assert "/explanation/bd-rate/" in (first.get_attribute("href") or "")
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""
