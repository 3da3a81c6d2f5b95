"""vcbench ls: codecs, datasets, metrics and sets of them, results, published curves."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from bench.cli.options import Command, as_json, counted, print_json, print_table, search_path
from bench.cli.output import say

_TABLE_WIDTH = 80
_LIST_WIDTH = 100
_LEAST_WIDTH = 12
_CUT = {"datasets": (1, 3), "results": (5, 6, 4, 7), "published": (4, 3, 1)}
"""Columns of a table whose texts may be shortened, the first first."""


@click.command("ls", cls=Command, short_help="List codecs, datasets, metrics, result sets and published curves.")
@click.argument("kind", type=click.Choice(["codecs", "datasets", "metrics", "sets", "results", "published"]))
@click.argument("names", nargs=-1)
@click.option("--available", is_flag=True, help="Only what works on this machine.")
@click.option(
    "--kind",
    "codec_kind",
    type=click.Choice(["classical", "learned", "overfitted", "diffusion"]),
    help="With codecs: only codecs of this kind.",
)
@click.option("--trust", is_flag=True, help="With codecs NAME: let cards of your own run programs and Python files.")
@search_path
@as_json
def command(
    kind: str,
    names: tuple[str, ...],
    available: bool,
    codec_kind: str | None,
    trust: bool,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """List what there is, whether it works on this machine and, if not, what to do.

    NAMES are codecs (name, name@configuration or card file), shown with their cards and the versions and files that
    their results depend on; metrics, shown with their definitions and variants; or result sets, by default those in
    ./results. "sets" are the sets of metrics that --metrics takes by name; "published" are the curves of papers that
    come with vcbench. No code of your cards runs without --trust.

    \b
    Examples:
      vcbench ls codecs
      vcbench ls codecs --available --kind classical
      vcbench ls codecs x265 my-codec --trust
      vcbench ls metrics psnr_y vmaf_v1
      vcbench ls results results/* --json
    """
    from bench.cards import Catalog, parted
    from bench.core.paths import existing_path, local_path
    from bench.errors import UsageError

    if available and names:
        raise UsageError("--available lists what works here; without names")
    if codec_kind and (names or kind != "codecs"):
        raise UsageError("--kind is for ls codecs; without names")
    if names and kind not in ("codecs", "metrics", "results"):
        raise UsageError(f"ls {kind} takes no names; --path names a folder with cards and manifests of your own")
    if trust and not (names and kind == "codecs"):
        raise UsageError("--trust is for ls codecs NAME, which looks at what a codec is made of")
    catalog = Catalog(paths)
    if kind == "codecs" and names:
        rows = [_identified(catalog, name, trust=trust) for name in names]
        if json_output:
            print_json(rows)
        else:
            _print_identities(rows)
            for name in names:
                _print_card(catalog.find("codecs", parted(name)[0]))
        return 0
    if kind == "codecs":
        rows = _codecs(catalog)
    elif kind == "datasets":
        rows = [_dataset(path) for path in catalog.files("datasets").values()]
    elif kind == "metrics":
        rows = _metrics(names)
    elif kind == "sets":
        rows = _sets()
    elif kind == "published":
        rows = _published()
    else:
        given = [existing_path(local_path(name), folder=True) for name in names]
        folders = given or sorted(path.parent for path in Path("results").glob("*/cells"))
        rows = [_result_set(folder) for folder in folders]
    if available:
        rows = [row for row in rows if row["available"]]
    if codec_kind:
        rows = [row for row in rows if row.get("kind") == codec_kind]
    if json_output:
        print_json(rows)
    elif kind == "codecs":
        _print_codecs(rows)
    elif kind == "sets":
        _print_sets(rows)
    elif kind == "metrics":
        (_print_definitions if names else _print_metrics)(rows)
    else:
        _print(kind, rows)
    return 0


def _print_codecs(rows: list[dict[str, Any]]) -> None:
    """A table per kind, of up to 100 columns; the rest of a card is shown where its codec is named."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row.get("kind", "unreadable cards"), []).append(row)
    say(f"{counted(len(rows), 'codec')}; vcbench ls codecs NAME shows a card whole, vcbench doctor what is missing")
    for kind in sorted(groups):
        lines = [
            [row["name"], "yes" if row["available"] else "no", str(row["title"] or row["reason"])]
            for row in groups[kind]
        ]
        _print_fitted(f"{kind}, {len(lines)}", ["name", "available", "title"], lines, cut=(2,))


def _print_metrics(rows: list[dict[str, Any]]) -> None:
    """A table of those measured by default, one of the others that work here, and one of what is missing."""
    say(f"{counted(len(rows), 'metric')}; vcbench ls metrics NAME shows a definition, --metrics +NAME measures it")
    header = ["name", "title", "better", "unit", "variants"]
    for title, default in (("by default", True), ("on request", False)):
        lines = [
            [row["name"], row["title"], row["direction"], row["unit"], " ".join(_options(row))]
            for row in rows
            if row["available"] and row["default"] == default
        ]
        if lines:
            _print_fitted(f"{title}, {len(lines)}", header, lines, cut=(3, 4, 1))
    missing = [row for row in rows if not row["available"]]
    if missing:
        lines = [[row["name"], row["title"], brief_reason(row).rpartition("run: ")[2]] for row in missing]
        _print_fitted(f"not available here, {len(lines)}", ["name", "title", "what to do"], lines, cut=(1, 2))


def _options(row: dict[str, Any]) -> list[str]:
    return [name.removeprefix(row["name"]) for name in row["variants"]]


def _print_definitions(rows: list[dict[str, Any]]) -> None:
    from bench.metrics.base import definition
    from bench.registry import metric_class

    for row in rows:
        say(f"{row['name']}: {row['title']}")
        if row["title"]:
            unit = f"; unit: {row['unit']}" if row["unit"] else ""
            default = "; measured by default" if row["default"] else ""
            _print_wrapped(definition(metric_class(row["name"])))
            _print_wrapped(f"{row['direction'].capitalize()} is better{unit}{default}. Needs {row['needs']}.")
        for name, what in row["variants"].items():
            _print_wrapped(f"{name}: {what}")
        if not row["available"]:
            _print_wrapped(f"not available: {brief_reason(row)}")


def _print_sets(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        say(f"{row['name']}: {row['title']}")
        _print_wrapped(", ".join(row["metrics"]))
        if not row["available"]:
            _print_wrapped(f"not available: {', '.join(row['missing'])} (vcbench ls metrics NAME says why)")


def _print_wrapped(text: str) -> None:
    for line in textwrap.wrap(text, _LIST_WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        say(f"  {line}")


def _print_fitted(title: str, header: list[str], rows: list[list[str]], cut: tuple[int, ...]) -> None:
    """A table of up to 100 columns: texts of the columns ``cut`` are shortened, of the first of them first."""
    rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    for index in cut:
        excess = sum(widths) + 2 * len(widths) - _LIST_WIDTH
        widths[index] = max(min(widths[index], _LEAST_WIDTH), widths[index] - max(excess, 0))
    shown = [
        [cell if len(cell) <= width else f"{cell[: width - 1]}…" for cell, width in zip(row, widths, strict=True)]
        for row in rows
    ]
    print_table(title, header, shown)


def _print_card(path: Path) -> None:
    say(f"  The card, {path}:")
    say(path.read_text(encoding="utf-8").rstrip())


def _print(kind: str, rows: list[dict[str, Any]]) -> None:
    columns = {
        "datasets": ("name", "title", "sequences", "available"),
        "results": ("folder", "ok", "failed", "skipped", "codecs", "sequences", "metrics", "readable"),
        "published": ("name", "title", "curves", "datasets", "metrics", "available"),
    }[kind]
    lines = []
    for row in rows:
        shown = {
            key: ", ".join(map(str, value)) if isinstance(value, list | dict) else str(value)
            for key, value in row.items()
        }
        shown["available"] = "yes" if row["available"] else f"no: {brief_reason(row, _TABLE_WIDTH)}"
        shown["readable"] = "yes" if row["available"] else "no, see below"
        lines.append([shown.get(column, "") for column in columns])
    title = counted(len(rows), {"results": "result set", "published": "paper"}.get(kind, kind.removesuffix("s")))
    if kind == "published" and rows:
        title += f" in {Path(rows[0]['folder']).parent}"
    _print_fitted(title, list(columns), lines, cut=_CUT[kind])
    for row in rows:
        if kind == "results" and not row["available"]:
            say(f"  {row['folder']}: {brief_reason(row)}")  # in one line, to copy the command from


def brief_reason(row: dict[str, Any], width: int | None = None) -> str:
    """Why something is not available, in a line; what is longer than ``width`` is cut, and doctor has the whole."""
    if row.get("problems"):
        return f"{counted(len(row['problems']), 'file')} cannot be read; vcbench validate {row['folder']} names them"
    if row.get("download"):
        return f"{row['here']} of {row['sequences']} here; vcbench fetch {row['name']}"
    reason = " ".join(str(row["reason"]).split())
    if width is None or len(reason) <= width:
        return reason
    return f"{reason[:width].rsplit(' ', 1)[0]} ... (vcbench doctor)"


def _identified(catalog: Any, name: str, *, trust: bool) -> dict[str, Any]:
    """A codec's row with what its results' keys are made of: the card's digest, tools, and files with digests."""
    from bench.core.files import file_digest
    from bench.engine.plan import CodecEntry
    from bench.errors import VcbenchError

    card, folder = catalog.codec(name)
    row: dict[str, Any] = {**_codec(catalog, name, trust=trust), "identity": None}
    try:
        codec = CodecEntry(card, folder, trust).build()
        codec.check()
        identity, made_of = codec.identity(), codec.made_of()
    except VcbenchError as error:
        return {**row, "available": False, "reason": str(error)}
    files = [
        {"role": role, "path": str(path), "sha256": file_digest(path)}
        for role, found in made_of.items()
        for path in found
    ]
    card_part = {"sha256": card.digest(), "settings": card.identity()}
    return {**row, "identity": {"card": card_part, "tool": identity, "files": files}}


def _print_identities(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        say(f"{row['name']}: {row['title']}")
        identity = row["identity"]
        if identity is None:
            say(f"  not available: {brief_reason(row)}")
            continue
        say("  A result is measured anew when any of these changes:")
        say(f"  card   {identity['card']['sha256'][:16]}  its settings, input formats, weights, kind of rate")
        for name, value in identity["tool"].items():
            if not name.endswith("_sha256"):
                say(f"  {name}   {value}")
        for file in identity["files"]:
            say(f"  file   {file['sha256'][:16]}  {file['role']}: {file['path']}")


def _codecs(catalog: Any) -> list[dict[str, Any]]:
    """All codecs, side by side: encoders in hardware are tried, and what is waited for is mostly their drivers."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda name: _codec(catalog, name), catalog.files("codecs")))


def _codec(catalog: Any, name: str, *, trust: bool = False) -> dict[str, Any]:
    from bench.errors import VcbenchError
    from bench.registry import build

    row: dict[str, Any] = {
        "name": name,
        "title": "",
        "adapter": "",
        "available": False,
        "reason": None,
        "rate_points": [],
    }
    try:
        card, folder = catalog.codec(name)
        row |= {
            "name": card.name,
            "title": card.title,
            "kind": card.kind,
            "adapter": card.adapter,
            "rate_kind": card.rate_kind,
            "parameter": card.rates.parameter,
            "rate_points": list(card.rates.values),
            "rate_points_by_bit_depth": {depth: list(rates.values) for depth, rates in card.rates.bit_depths.items()},
            "configurations": list(card.configurations),
            "gop": card.gop,
        }
        build(card, folder=folder, trust=trust).check()
    except VcbenchError as error:
        return {**row, "reason": str(error)}
    return {**row, "available": True}


def _dataset(path: Path) -> dict[str, Any]:
    from bench.datasets.manifest import find, how_to_get, load_manifest
    from bench.errors import VcbenchError

    row: dict[str, Any] = {
        "name": path.stem,
        "title": "",
        "sequences": 0,
        "here": 0,
        "available": False,
        "reason": None,
    }
    try:
        manifest = load_manifest(path)
        entries = manifest.select()
        here = [entry for entry in entries if find(manifest, entry) is not None]
    except VcbenchError as error:
        return {**row, "reason": str(error)}
    row |= {"title": manifest.title, "licence": manifest.licence, "sequences": len(entries), "here": len(here)}
    row |= {"subsets": list(manifest.subsets), "download": manifest.download}
    if manifest.download == "generated" or len(here) == len(entries):
        return {**row, "available": True}
    missing = [entry for entry in entries if entry not in here]
    first = how_to_get(manifest, missing).splitlines()[0]
    return {**row, "reason": f"{len(missing)} of {len(entries)} sequences are not here: {first}"}


def _metrics(names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    from bench.errors import UnknownNameError, VcbenchError
    from bench.registry import DEFAULT_METRICS, metric_class, metric_names

    rows = []
    for name in names or metric_names():
        row: dict[str, Any] = {
            "name": name,
            "title": "",
            "available": False,
            "reason": None,
            "variants": {},
            "default": name in DEFAULT_METRICS,
        }
        try:
            kind = metric_class(name)
            row |= {"title": kind.title, "direction": kind.direction, "unit": kind.unit, "needs": kind.needs}
            row["variants"] = {f"{name}:{option}": what for option, what in kind.variants.items()}
            kind.check()
        except UnknownNameError:
            raise
        except VcbenchError as error:
            rows.append({**row, "reason": str(error)})
        else:
            rows.append({**row, "available": True})
    return rows


def _sets() -> list[dict[str, Any]]:
    from bench.errors import VcbenchError
    from bench.metrics.sets import SETS
    from bench.registry import metric_class

    rows = []
    for name, found in SETS.items():
        missing = {}
        for metric in found.metrics:
            try:
                metric_class(metric).check()
            except VcbenchError as error:
                missing[metric] = str(error)
        reason = "; ".join(f"{metric}: {why}" for metric, why in missing.items()) or None
        rows.append(
            {"name": name, "title": found.title, "metrics": list(found.metrics), "available": not missing,
             "missing": list(missing), "reason": reason}
        )  # fmt: skip
    return rows


def _published() -> list[dict[str, Any]]:
    from bench.errors import VcbenchError
    from bench.records.published import committed, read_published

    rows = []
    for name, folder in committed().items():
        row: dict[str, Any] = {"name": name, "folder": str(folder), "title": "", "available": False, "reason": None}
        try:
            found = read_published(folder)
        except VcbenchError as error:
            rows.append({**row, "reason": str(error)})
            continue
        row |= {"title": found.paper.title, "address": found.paper.address, "curves": len(found.curves)}
        for key in ("codec", "dataset", "metric"):
            row[f"{key}s"] = list(dict.fromkeys(getattr(curve, key) for curve in found.curves))
        rows.append({**row, "available": True})
    return rows


def _result_set(folder: Path) -> dict[str, Any]:
    from bench.errors import VcbenchError
    from bench.results.result_set import load

    try:
        results = load(folder)
    except VcbenchError as error:
        return {"folder": str(folder), "cells": 0, "available": False, "reason": str(error), "problems": []}
    counts = {status: sum(cell.status == status for cell in results.cells) for status in ("ok", "failed", "skipped")}
    return {
        "folder": str(folder),
        "cells": len(results.cells),
        **counts,
        "codecs": results.codecs,
        "sequences": sorted({cell.sequence.name for cell in results.cells}),
        "metrics": results.metrics,
        "available": not results.problems,
        "reason": "; ".join(results.problems) or None,
        "problems": results.problems,
    }
