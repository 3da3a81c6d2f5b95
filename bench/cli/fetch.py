"""vcbench fetch: datasets and weights, verified."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.cli.options import CommaList, Command, LocalPath, as_json, existing, print_json, print_table, search_path
from bench.cli.output import is_terminal, say, tell, tell_again
from bench.errors import UsageError


@click.command("fetch", cls=Command, short_help="Download datasets and weights, verified.")
@click.argument("names", nargs=-1, required=True)
@click.option("--sequences", type=CommaList(), help="Only these sequences or subsets of the datasets.")
@click.option(
    "--to",
    "root",
    type=LocalPath(),
    help="Folder for the files; default VCBENCH_DATA or the cache for datasets, the cache for weights.",
)
@click.option(
    "--from",
    "source",
    type=existing(),
    help="With weights: copy them from this file, folder or checkout of vcbench instead of downloading them.",
)
@search_path
@as_json
def command(
    names: tuple[str, ...],
    sequences: tuple[str, ...] | None,
    root: Path | None,
    source: Path | None,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Download datasets and weights, resumed and verified; say what to do for those that need to be fetched by hand.

    NAMES are datasets; or the word "weights", followed by names of weights, metrics or codecs. "weights" alone
    lists the weights and where they were found.

    \b
    Examples:
      vcbench fetch xiph-cif --sequences foreman,akiyo
      VCBENCH_DATA=/data vcbench fetch uvg
      vcbench fetch weights lpips dists
      vcbench fetch weights ssf2020
      vcbench fetch weights diff-sit-small --from ~/vcbench
      vcbench fetch weights
    """
    if names[0] == "weights":
        if sequences is not None:
            raise UsageError("--sequences is for datasets; weights are named")
        _weights(names[1:], root, source, paths, json_output)
    else:
        if source is not None:
            raise UsageError("--from is for weights; put clips of a dataset below its folder, which fetch names")
        _datasets(names, sequences, root, paths, json_output)
    return 0


def _datasets(
    names: tuple[str, ...],
    sequences: tuple[str, ...] | None,
    root: Path | None,
    paths: tuple[Path, ...],
    json_output: bool,
) -> None:
    from bench.cards import Catalog
    from bench.datasets.fetch import fetch_dataset
    from bench.datasets.manifest import load_manifest

    catalog = Catalog(paths)
    rows: list[dict[str, Any]] = []
    for name in names:
        manifest = load_manifest(catalog.find("datasets", name))
        for file in fetch_dataset(manifest, sequences=sequences, root=root, progress=_progress()):
            rows.append({"dataset": name, **_row(file, "sequence")})
    _print(rows, json_output, "{dataset}/{sequence}")


def _weights(
    names: tuple[str, ...], root: Path | None, source: Path | None, paths: tuple[Path, ...], json_output: bool
) -> None:
    from bench.cards import Catalog
    from bench.engine.fetch_weights import fetch_weights

    if names:
        files = fetch_weights(names, folder=root, progress=_progress(), catalog=Catalog(paths), source=source)
        _print([_row(file, "name") for file in files], json_output, "{name}")
        return
    rows = weights_rows()
    if json_output:
        print_json(rows)
        return
    columns = ("name", "title", "MB", "licence", "used by", "here")
    lines = [
        [
            row["name"],
            row["title"],
            f"{row['bytes'] / 1e6:.3g}",
            row["licence"],
            ", ".join(row["used_by"]),
            row["path"] or "no",
        ]
        for row in rows
    ]
    print_table(f"{len(rows)} weights", columns, lines, right=(2,))


def weights_rows() -> list[dict[str, Any]]:
    """What is known of every file of weights and whether it is here; files are not read."""
    from bench.errors import UnavailableError
    from bench.weights import files as weights

    rows = []
    for entry in weights.manifest().values():
        known = {key: getattr(entry, key) for key in ("title", "file", "bytes", "sha256", "licence", "source")}
        row = {"name": entry.name, **known, "url": entry.address, "used_by": list(entry.used_by)}
        try:
            rows.append({**row, "path": str(weights.available(entry.name)), "available": True, "reason": None})
        except UnavailableError as error:
            rows.append({**row, "path": None, "available": False, "reason": str(error)})
    return rows


def _row(file: Any, kind: str) -> dict[str, Any]:
    return {
        kind: getattr(file, kind),
        "path": str(file.path),
        "sha256": file.sha256,
        "status": file.status,
    }


def _print(rows: list[dict[str, Any]], json_output: bool, label: str) -> None:
    if json_output:
        print_json(rows)
        return
    for row in rows:
        say(f"{label.format(**row)}: {row['status']}: {row['path']}")


def _progress() -> Any:
    """Show bytes on a terminal; elsewhere the finished files are enough."""
    if not is_terminal(sys.stderr):
        return None

    def show(file: str, done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        tell_again(f"{file}: {done / 1e6:.1f}{of} MB")
        if total is not None and done >= total:
            tell()

    return show
