"""vcbench validate: cards, manifests, result sets, metrics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, LocalPath, as_json, existing, print_json, search_path
from bench.cli.output import say, tell

if TYPE_CHECKING:
    from bench.cards import Catalog


@click.command("validate", cls=Command, short_help="Check cards, manifests, result sets, metrics and codecs.")
@click.argument("targets", nargs=-1, type=LocalPath())
@click.option(
    "--metric",
    "metrics",
    type=CommaList(),
    default=(),
    help="Check metrics: by name, or file.py:Class for one that is not installed yet (with --trust).",
)
@click.option(
    "--run",
    "codec",
    metavar="CARD",
    help="Encode and decode small clips with this codec (name, name@configuration or card file) and check it rule "
    "by rule.",
)
@click.option("--input", "clip", type=existing(), help="A clip of your own for --run, instead of the generated ones.")
@click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), default=600, show_default=True,
    help="Seconds that each process of --run may take.",
)  # fmt: skip
@click.option("--schema", type=click.Choice(["codecs", "datasets", "results"]), help="Print the JSON Schema instead.")
@click.option("--trust", is_flag=True, help="Let --metric and --run run programs and Python files.")
@search_path
@as_json
def command(
    targets: tuple[Path, ...],
    metrics: tuple[str, ...],
    codec: str | None,
    clip: Path | None,
    time_limit: float,
    schema: str | None,
    trust: bool,
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Check cards and manifests (TOML files), result sets (folders), metrics and codecs.

    Without TARGETS, every card and manifest that is found is checked. A problem names the file, the key and the remedy,
    and the exit code is 4. With --run, the exit code is 6 if the codec breaks a rule.

    \b
    Examples:
      vcbench validate my-codec.toml
      vcbench validate results/mine
      vcbench validate --metric vmaf,ewarp
      vcbench validate --metric mae.py:Mae --trust
      vcbench validate --run x265@low-delay --input clip.y4m
      vcbench validate --run codecs/my-codec.toml --trust
      vcbench validate --schema codecs > card.schema.json
    """
    from bench.cards import Catalog

    if schema is not None:
        print_json(_schema(schema))
        return 0
    catalog = Catalog(paths)
    if codec is not None:
        if targets or metrics:
            raise click.UsageError("--run takes neither targets nor --metric: give them in a command of their own")
        return _run_codec(catalog, codec, clip, trust=trust, time_limit=time_limit, json_output=json_output)
    if clip is not None:
        raise click.UsageError("--input is for --run CARD")
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


def _run_codec(
    catalog: Catalog, name: str, clip: Path | None, *, trust: bool, time_limit: float, json_output: bool
) -> int:
    from bench.conformance import check_codec
    from bench.engine.plan import CodecEntry
    from bench.video.sequence import open_sequence

    entry = CodecEntry(*catalog.codec(name), trust)
    source = open_sequence(clip) if clip is not None else None
    checks = []
    for check in check_codec(entry, source=source, time_limit=time_limit):
        checks.append(check)
        if not json_output:
            say(f"{check.outcome:<14}  {check.name:<11}  {check.message}")
    failed = [check.name for check in checks if check.outcome == "failed"]
    if json_output:
        print_json({"codec": entry.card.name, "passed": not failed, "checks": [asdict(check) for check in checks]})
    else:
        verdict = f"failed: {', '.join(failed)}" if failed else "keeps the contract"
        say(f"{entry.card.name}: {verdict}")
    return 6 if failed else 0


def _print(row: dict[str, Any]) -> None:
    say(f"{row['file']}: {'ok' if row['valid'] else 'wrong'}")
    for level in ("problems", "warnings"):
        for text in row[level]:
            say(f"  {'warning: ' if level == 'warnings' else ''}{text}")


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
        raise UsageError(f"{path}: is not a card, a manifest (.toml) or a result folder")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return "datasets" if b"[[sequences]]" in path.read_bytes() else "codecs"


def _check(path: Path, kind: str) -> dict[str, Any]:
    from bench.cards import load_card
    from bench.datasets.manifest import load_manifest
    from bench.errors import UnavailableError, VcbenchError
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
                    tell(f"{path}: its settings are not checked: {error}")
    except VcbenchError as error:
        problems = [str(error)]
    return {"file": str(path), "kind": kind, "valid": not problems, "problems": problems, "warnings": []}


def _check_results(folder: Path) -> list[str]:
    from bench.engine.verify.integrity import result_problems
    from bench.results.result_set import load

    return result_problems(folder, load(folder, apart=False))


def _schema(of: str) -> dict[str, Any]:
    """JSON Schema of a card, a manifest or a result file."""
    if of == "results":
        from bench.records.cell import CellResult

        return CellResult.model_json_schema()
    if of == "datasets":
        from bench.datasets.manifest import Manifest

        return Manifest.model_json_schema()
    from bench.registry import card_schema

    return card_schema()
