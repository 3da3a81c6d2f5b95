"""What a package index shows of vcbench: the README, with links that lead somewhere from there.

`repository` in pyproject.toml, below [tool.hatch.metadata.hooks.custom], is the address of vcbench's repository. With
it links become addresses of the release's tag there, and the package names it as its source. Without it the texts of
links stay and the links go: a broken link helps nobody.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>(?:[^][]|\[[^]]*\]\([^)]*\))*)\]\((?P<target>[^)\s]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Gives the package its README and its addresses."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add `readme` and `urls`."""
        repository = str(self.config.get("repository", "")).rstrip("/")
        version = re.search('__version__ = "(.+)"', (Path(self.root) / "bench/_version.py").read_text(encoding="utf-8"))
        assert version is not None
        tag = f"v{version[1]}"
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": shown(text, repository, tag)}
        if repository:
            metadata["urls"] = {
                "Source": repository,
                "Documentation": f"{repository}/blob/{tag}/docs/README.md",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }


def shown(text: str, repository: str, tag: str) -> str:
    """Markdown whose links into the repository lead to its files at a tag; without an address only their texts stay."""

    def link(match: re.Match[str]) -> str:
        picture, words, target = match["picture"], _LINK.sub(link, match["text"]), match["target"]
        if re.match(r"[a-z]+:|#", target):
            return f"{picture}[{words}]({target})"
        if not repository:
            return "" if picture else words
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/{tag}/{target})"

    return _LINK.sub(link, text)
