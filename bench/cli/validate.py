"""vcbench validate: cards, manifests, result sets, metrics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, as_json, print_json, search_path

if TYPE_CHECKING:
    from bench.published import PublishedSet


@click.command("validate", short_help="Check cards, manifests, result sets and metrics.")
@click.argument("targets", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "metrics",
    type=CommaList(),
    default=(),
    help="Check metrics: by name, or file.py:Class before it is installed (with --trust).",
)
@click.option("--schema", type=click.Choice(["codecs", "datasets", "results"]), help="Print the JSON Schema instead.")
@click.option("--trust", is_flag=True, help="Allow --metric to execute a Python file.")
@search_path
@as_json
def command(
    targets: tuple[Path, ...],
    metrics: tuple[str, ...],
    schema: str | None,
    trust: bool,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Check cards and manifests (TOML files), result sets (folders), and what metrics declare against their values.

    Without a target and a metric, every card and manifest.

    \b
    Examples:
      vcbench validate my-codec.toml
      vcbench validate results/mine
      vcbench validate --metric mae.py:Mae --trust
      vcbench validate --schema codecs
    """
    from bench.catalog import Catalog, json_schema

    if schema == "results":
        from bench.results import CellResult

        print_json(CellResult.model_json_schema())
        return 0
    if schema is not None:
        print_json(json_schema(schema))  # type: ignore[arg-type]
        return 0
    catalog = Catalog(paths)
    found: list[tuple[Path, str]] = [(path, _kind(path)) for path in targets]
    if not targets and not metrics:
        found = [(path, kind) for kind in ("codecs", "datasets") for path in catalog.files(kind).values()]
    rows = [_check(path, kind) for path, kind in found] + [_check_metric(name, trust) for name in metrics]
    if json_output:
        print_json(rows)
    else:
        for row in rows:
            _print(row)
    return 0 if all(row["valid"] for row in rows) else 4


def _print(row: dict[str, Any]) -> None:
    click.echo(f"{row['file']}: {'ok' if row['valid'] else 'wrong'}")
    for level in ("problems", "warnings"):
        for text in row[level]:
            click.echo(f"  {'warning: ' if level == 'warnings' else ''}{text}")


def _check_metric(name: str, trust: bool) -> dict[str, Any]:
    from bench.conformance import check_metric
    from bench.errors import VcbenchError
    from bench.registry import metric_class, metric_from_file

    row: dict[str, Any] = {"file": name, "kind": "metrics", "valid": False, "warnings": []}
    try:
        if ".py:" in name:
            found = check_metric(metric_from_file(name, trust=trust))
        else:
            found = check_metric(metric_class(name), name=name)
    except VcbenchError as error:
        return {**row, "problems": [str(error)]}
    problems = [str(finding) for finding in found if finding.level == "error"]
    warnings = [str(finding) for finding in found if finding.level == "warning"]
    return {**row, "valid": not problems, "problems": problems, "warnings": warnings}


def _kind(path: Path) -> str:
    from bench.errors import UsageError

    if path.is_dir():
        return "results"
    if path.suffix != ".toml":
        raise UsageError(f"{path}: is neither a card or manifest (.toml) nor a result folder")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return "datasets" if b"[[sequences]]" in path.read_bytes() else "codecs"


def _check(path: Path, kind: str) -> dict[str, Any]:
    from bench.catalog import load_card
    from bench.errors import UnavailableError, VcbenchError
    from bench.manifests import load_manifest
    from bench.registry import build

    problems: list[str] = []
    try:
        if kind == "results":
            problems = _check_results(path)
        elif kind == "datasets":
            load_manifest(path)
        else:
            card = load_card(path)
            for configuration in (None, *card.configurations):
                try:
                    build(card.configured(configuration), folder=path.parent)
                except UnavailableError as error:
                    # a card can be right although its codec is not here or not trusted
                    click.echo(f"{path}: its settings are not checked: {error}", err=True)
    except VcbenchError as error:
        problems = [str(error)]
    return {"file": str(path), "kind": kind, "valid": not problems, "problems": problems, "warnings": []}


def _unknown_metrics(published: Iterable[PublishedSet]) -> list[str]:
    from bench.errors import UnavailableError, UnknownNameError
    from bench.registry import metric_class

    problems = []
    for part in published:
        for name in sorted({curve.metric for curve in part.curves}):
            try:
                metric_class(name)
            except UnknownNameError as error:
                problems.append(f"{part.paper.name}: curves: metric: {error}")
            except UnavailableError:
                continue
    return problems


def _check_results(folder: Path) -> list[str]:
    """Problems of a result set: files that are unreadable, missing or changed since."""
    from bench.engine.store import Store
    from bench.results import load

    results = load(folder)
    store = Store(folder)
    problems = [*results.problems, *_unknown_metrics(results.published)]
    for cell in results.cells:
        if cell.bitstream is not None and not store.bitstream_is_whole(cell.bitstream):
            problems.append(
                f"{cell.name}: bitstreams/{cell.bitstream.file} is missing or not the file that was measured"
            )
        problems += [
            f"{cell.name}: features/{name} is missing or not the file that was stored; "
            f"delete cells/{cell.name}.json to measure it again"
            for measured in cell.measurements.values()
            for name in measured.features.values()
            if not store.features_are_whole(name)
        ]
        if cell.measurements and not store.frames_path(cell.name).is_file():
            problems.append(
                f"{cell.name}: frames/{cell.name}.parquet is missing; delete cells/{cell.name}.json to measure it again"
            )
    return problems
