"""The pages, rendered from templates in which every value is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.escape import printable, web_address

if TYPE_CHECKING:
    from jinja2 import Environment


def template_folders() -> tuple[Path, Path]:
    """Where the templates are: in the wheel, or at the root of the repository."""
    package = Path(__file__).parents[1]
    return package / "_data" / "templates", package.parent / "reports" / "templates"


def render(path: Path, name: str, **values: Any) -> Path:
    """Write a page from the template NAME.html.j2."""
    path.write_text(templates().get_template(f"{name}.html.j2").render(**values), encoding="utf-8")
    return path


def templates() -> Environment:
    """The templates, in which every value is escaped for HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template_folders()),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else printable(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["web_address"] = web_address
    return environment
