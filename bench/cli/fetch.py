"""vcbench fetch: datasets, verified."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.cli.options import CommaList, as_json, print_json, search_path


@click.command("fetch", short_help="Download datasets, verified.")
@click.argument("datasets", nargs=-1, required=True)
@click.option("--sequences", type=CommaList(), help="Only these sequences or subsets.")
@click.option(
    "--to", "root", type=click.Path(path_type=Path), help="Folder for the data; default VCBENCH_DATA or the cache."
)
@search_path
@as_json
def command(
    datasets: tuple[str, ...],
    sequences: tuple[str, ...] | None,
    root: Path | None,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Download datasets whose owners allow it, resumed and verified; say what to do by hand for the others.

    \b
    Examples:
      vcbench fetch xiph-cif --sequences foreman,akiyo
      VCBENCH_DATA=/data vcbench fetch uvg
    """
    from bench.catalog import Catalog
    from bench.fetch import fetch_dataset
    from bench.manifests import load_manifest

    catalog = Catalog(paths)
    rows: list[dict[str, Any]] = []
    for name in datasets:
        manifest = load_manifest(catalog.find("datasets", name))
        for file in fetch_dataset(manifest, sequences=sequences, root=root, progress=_progress()):
            rows.append(
                {
                    "dataset": name,
                    "sequence": file.sequence,
                    "path": str(file.path),
                    "sha256": file.sha256,
                    "status": file.status,
                }
            )
    if json_output:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['dataset']}/{row['sequence']}: {row['status']}: {row['path']}")
    return 0


def _progress() -> Any:
    """Show bytes on a terminal; elsewhere the finished files are enough."""
    if not sys.stderr.isatty():
        return None

    def show(file: str, done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        click.echo(f"\r{file}: {done / 1e6:.1f}{of} MB", err=True, nl=False)
        if total is not None and done >= total:
            click.echo(err=True)

    return show
