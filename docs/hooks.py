"""What the site needs beyond the pages in docs/: notebooks, and files of the repository, as pages or as links.

A notebook becomes a page of Markdown, so that its links are checked and its text is found like any other's.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
CODE = re.compile(r"^( *)(```+|~~~+).*?^\1\2[ ]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie beside docs/, where a forge looks for them."""
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            book = json.loads(file.content_string)
            files.append(File.generated(config, as_page(file.src_uri), content="\n\n".join(map(_cell, book["cells"]))))
    return files


def as_page(path: str) -> str:
    """The page that a notebook becomes; any other path as it is."""
    return path.removesuffix(".ipynb") + ".md" if path.endswith(".ipynb") else path


def _cell(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return text
    return "\n\n".join([f"```python\n{text}\n```", *map(_output, cell["outputs"])])


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="Figure" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        page = re.sub(r"\n\s*", "\n", "".join(data["text/html"]))
        return f'<div class="notebook">{re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)}</div>'
    return f"```text\n{''.join(output.get('text', data.get('text/plain', ''))).rstrip()}\n```"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links that leave docs/ to the forge, where ``repo_url`` names one; without it their text remains."""
    source = page.file.src_uri
    folder = posixpath.dirname(source if source in PAGES else f"docs/{source}")

    def lead(match: re.Match[str]) -> str:
        picture, text, path, anchor = match.group(1), match.group(2), match.group(3), match.group(4) or ""
        target = posixpath.normpath(posixpath.join(folder, path))
        inside = target if target in PAGES else target.removeprefix("docs/") if target.startswith("docs/") else None
        inside = as_page(inside) if inside else None
        if inside is not None and files.get_file_from_path(inside) is not None:
            return f"{picture}[{text}]({posixpath.relpath(inside, posixpath.dirname(source) or '.')}{anchor})"
        if not (ROOT / target).exists():
            raise PluginError(f"{source}: the link to {path} leads nowhere")
        if target.startswith("docs/") and (ROOT / target).is_file():
            return match.group(0)
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{target}{anchor})" if config.repo_url else text

    kept = 0
    parts: list[str] = []
    for block in CODE.finditer(markdown):
        parts += [LINK.sub(lead, markdown[kept : block.start()]), block.group(0)]
        kept = block.end()
    return "".join([*parts, LINK.sub(lead, markdown[kept:])])
