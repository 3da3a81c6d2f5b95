"""Writes what the reference takes from the program: commands from click, keys of cards and manifests from their models.

``python docs/generate.py`` rewrites the parts of pages between ``<!-- generated: WHAT -->`` and ``<!-- end -->``. They
are committed, so that a forge shows them; a test says when they are out of date.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from bench.cli import vcbench as group

DOCS = Path(__file__).resolve().parent
PART = re.compile(r"(<!-- generated: ([^>\n]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
# what is code in a help text: commands, options, variables, names with an underscore, folders, placeholders
CODE = re.compile(
    r"(?<![\w`/.<-])("
    r"vcbench (?:ls (?:codecs|datasets|metrics|sets)|fetch weights|verify --record|report --leaderboard --records"
    r"|gate --json|doctor|gate|run|verify)\b"
    r"|\w+(?:\(METRIC\))?[<>]-?N%?|--?[a-z][a-z-]*\b|VCBENCH_\w+|[a-z]+(?:_[a-z0-9]+)+|\w+@\w[\w-]*|file\.py:Class|tcp://host:port|host:port"
    r"|(?:codecs|datasets|results|report|paper|DIRECTORY)/(?:DATASET|NAME|input)?(?:\.json)?|\[tool[\w.]+\]|\{[\w<>]+\})"
)


def pages() -> list[Path]:
    """Pages with parts that are generated."""
    return [page for page in sorted(DOCS.rglob("*.md")) if "<!-- generated: " in page.read_text(encoding="utf-8")]


def generated(page: Path) -> str:
    """The text of a page with its generated parts as they should be."""

    def fill(match: re.Match[str]) -> str:
        kind, _, name = match.group(2).partition(" ")
        return f"{match.group(1)}\n{KINDS[kind](name)}\n\n{match.group(3)}"

    return PART.sub(fill, page.read_text(encoding="utf-8"))


def commands(_: str) -> str:
    """Table of all commands, in the order of their definition."""
    rows = [
        (f"[`vcbench {name}`](#vcbench-{name})", command.short_help or "") for name, command in group.commands.items()
    ]
    return table(("command", "what it does"), rows)


def command(name: str) -> str:
    """What ``vcbench NAME --help`` says: text, examples and options."""
    found = group.commands[name]
    text, examples = prose(inspect.cleandoc(found.help or ""))
    context = click.Context(found, info_name=f"vcbench {name}")
    rows = [
        (option_name(option), option_help(option))
        for option in found.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    usage = " ".join([f"vcbench {name}", *found.collect_usage_pieces(context)])
    return "\n\n".join([text, f"```sh\n{examples}\n```", f"    {usage}", table(("option", "meaning"), rows)])


def prose(help_text: str) -> tuple[str, str]:
    """Paragraphs of a help text, and its examples."""
    paragraphs = [part for part in re.split(r"\n\s*\n", help_text) if part.strip()]
    examples = [
        line.strip() for part in paragraphs if "\b" in part for line in part.split("\n") if line.startswith("  ")
    ]
    text = [" ".join(part.split()) for part in paragraphs if "\b" not in part]
    return "\n\n".join(textwrap.fill(marked(part), 120, break_on_hyphens=False) for part in text), "\n".join(examples)


def option_name(option: click.Option) -> str:
    """Spellings of an option with what it takes, as code."""
    spelled = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
    if option.is_flag:
        return spelled
    return f"{spelled} {value_of(option)}"


def value_of(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " \\| ".join(f"`{choice}`" for choice in option.type.choices)
    if isinstance(option.type, click.IntRange | click.FloatRange) and option.metavar is None:
        return "`N`"
    return f"`{option.make_metavar(click.Context(click.Command('x')))}`".replace("|AUTO", "\\|auto").replace(
        "|ANCHOR", "\\|anchor"
    )


def option_help(option: click.Option) -> str:
    default = option.default if option.show_default else None
    notes = ["Required."] if option.required else [f"Default {default}."] if default is not None else []
    return " ".join([marked(option.help or ""), *notes])


def model(name: str) -> str:
    """Tables of a model's keys, with those of the models it is made of."""
    schema = MODELS[name]().model_json_schema()
    parts = {name: schema, **schema.get("$defs", {})}
    shown = []
    for title, part in parts.items():
        if "properties" not in part:
            continue
        required = set(part.get("required", ()))
        rows = [
            (
                f"`{key}`",
                type_of(value),
                "required" if key in required else default_of(value),
                marked(value.get("description", "")),
            )
            for key, value in part["properties"].items()
        ]
        about = " ".join(part.get("description", "").split("\n\n")[0].split())
        head = [] if title == name else [f"### {title}"]
        shown.append("\n\n".join([*head, marked(about), table(("key", "type", "default", "meaning"), rows)]))
    return "\n\n".join(shown)


def type_of(value: dict[str, Any]) -> str:
    """A JSON Schema's type in a few words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value:
        return " \\| ".join(f"`{item}`" for item in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in value:
            kinds = [type_of(kind) for kind in value[key] if kind.get("type") != "null"]
            return "number" if kinds == ["integer", "number"] else " or ".join(kinds)
    if value.get("type") == "array":
        return f"list of {type_of(value['items'])}" if "items" in value else "list"
    if value.get("type") == "object":
        inner = value.get("additionalProperties", next(iter(value.get("patternProperties", {}).values()), True))
        return f"table of {type_of(inner)}" if isinstance(inner, dict) and inner else "table"
    return {"string": "text", "boolean": "true or false"}.get(value.get("type", ""), value.get("type", "any"))


def default_of(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ({}, [], ""):
        return ""
    return (
        f"`{default}`".replace("True", "true").replace("False", "false").replace("'", '"')
        if not isinstance(default, dict)
        else ""
    )


def marked(text: str) -> str:
    """A help text as Markdown: options, names and files as code."""
    return CODE.sub(lambda match: f"`{match.group(0)}`", text.replace("|", "\\|").replace("*.y4m", r"\*.y4m"))


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), ["---"] * len(list(header)), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _card() -> type[BaseModel]:
    from bench.cards import Card

    return Card


def _manifest() -> type[BaseModel]:
    from bench.datasets.manifest import Manifest

    return Manifest


def _settings(module: str, name: str) -> Callable[[], type[BaseModel]]:
    from importlib import import_module

    return lambda: getattr(import_module(f"bench.adapters.{module}"), name)


MODELS: dict[str, Callable[[], type[BaseModel]]] = {
    "card": _card,
    "manifest": _manifest,
    "ffmpeg": _settings("ffmpeg", "FFmpegSettings"),
    "command": _settings("command", "CommandSettings"),
    "neural": _settings("neural", "NeuralSettings"),
    "compressai": _settings("compressai", "CompressaiSettings"),
    "worker": _settings("worker", "WorkerFileSettings"),
}
KINDS: dict[str, Callable[[str], str]] = {"commands": commands, "command": command, "model": model}

if __name__ == "__main__":
    for path in pages():
        path.write_text(generated(path), encoding="utf-8")
        print(path.relative_to(DOCS.parent))
