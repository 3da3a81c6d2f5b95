"""vcbench ls: codecs, datasets, metrics, results, published curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.options import Command, as_json, counted, existing, print_json, print_table, search_path

_TABLE_WIDTH = 80


@click.command("ls", cls=Command, short_help="List codecs, datasets, metrics, results or published curves.")
@click.argument("kind", type=click.Choice(["codecs", "datasets", "metrics", "results", "published"]))
@click.argument("folders", nargs=-1, type=existing(folder=True))
@search_path
@as_json
def command(kind: str, folders: tuple[Path, ...], paths: tuple[Path, ...], json_output: bool) -> int:
    """List what there is, whether it works on this machine, and what to do where it does not.

    FOLDERS are result sets; by default those in the folder results/ of the working directory.

    \b
    Examples:
      vcbench ls codecs
      vcbench ls results results/*
    """
    from bench.catalog import Catalog
    from bench.errors import UsageError

    if folders and kind != "results":
        raise UsageError(f"ls {kind} takes no folder; --path names a folder with cards and manifests of your own")
    catalog = Catalog(paths)
    if kind == "codecs":
        rows = [_codec(catalog, name) for name in catalog.files("codecs")]
    elif kind == "datasets":
        rows = [_dataset(path) for path in catalog.files("datasets").values()]
    elif kind == "metrics":
        rows = _metrics()
    elif kind == "published":
        rows = _published()
    else:
        rows = [
            _result_set(folder) for folder in folders or sorted(path.parent for path in Path("results").glob("*/cells"))
        ]
    if json_output:
        print_json(rows)
    else:
        _print(kind, rows)
    return 0


def _print(kind: str, rows: list[dict[str, Any]]) -> None:
    columns = {
        "codecs": ("name", "title", "rate_points", "configurations", "available"),
        "datasets": ("name", "title", "sequences", "available"),
        "metrics": ("name", "title", "direction", "unit", "variants", "available"),
        "results": ("folder", "ok", "failed", "skipped", "codecs", "sequences", "metrics", "readable"),
        "published": ("name", "title", "curves", "datasets", "metrics", "folder", "available"),
    }[kind]
    lines = []
    for row in rows:
        shown = {
            key: ", ".join(map(str, value)) if isinstance(value, list | dict) else str(value)
            for key, value in row.items()
        }
        shown["available"] = shown["readable"] = "yes" if row["available"] else f"no: {brief_reason(row, _TABLE_WIDTH)}"
        lines.append([shown.get(column, "") for column in columns])
    title = {"results": "result set", "published": "paper"}.get(kind, kind.removesuffix("s"))
    print_table(counted(len(rows), title), [column.replace("_", " ") for column in columns], lines)


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


def _codec(catalog: Any, name: str) -> dict[str, Any]:
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
        card = catalog.card(name)
        row |= {
            "title": card.title,
            "kind": card.kind,
            "adapter": card.adapter,
            "rate_kind": card.rate_kind,
            "parameter": card.rates.parameter,
            "rate_points": list(card.rates.values),
            "configurations": list(card.configurations),
            "gop": card.gop,
        }
        build(card, folder=catalog.find("codecs", name).parent).check()
    except VcbenchError as error:
        return {**row, "reason": str(error)}
    return {**row, "available": True}


def _dataset(path: Path) -> dict[str, Any]:
    from bench.errors import VcbenchError
    from bench.manifests import find, how_to_get, load_manifest

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


def _metrics() -> list[dict[str, Any]]:
    from bench.errors import VcbenchError
    from bench.registry import DEFAULT_METRICS, metric_class, metric_names

    rows = []
    for name in metric_names():
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
        except VcbenchError as error:
            rows.append({**row, "reason": str(error)})
        else:
            rows.append({**row, "available": True})
    return rows


def _published() -> list[dict[str, Any]]:
    from bench.errors import VcbenchError
    from bench.published import committed, read_published

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
    from bench.results import load

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
