"""vcbench gate: a candidate's results against a baseline's -> exit code, JUnit XML, Markdown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, LocalPath, PerCent, as_json, existing, print_json, print_table
from bench.cli.output import say, tell

if TYPE_CHECKING:
    from bench.analysis.gate.judge import GateResult


@click.command("gate", cls=Command, short_help="Pass or fail a candidate against a baseline, for CI.")
@click.option(
    "--baseline",
    multiple=True,
    type=existing(folder=True),
    help="Result set that counts as good. Repeat the option for repeated runs, whose costs are taken together.",
)
@click.option(
    "--candidate",
    multiple=True,
    required=True,
    type=existing(folder=True),
    help="Result set to judge. Repeat the option for repeated runs.",
)
@click.option(
    "--fail",
    "fail",
    multiple=True,
    metavar="RULE",
    help="Rule that fails the candidate, such as 'bd_rate(psnr_y)>0.5%'; may be repeated. Replaces the rules of "
    "the configuration.",
)
@click.option("--codecs", type=CommaList(), help="Only these codecs; default all of both sides.")
@click.option("--sequences", type=CommaList(), help="Only these sequences.")
@click.option(
    "--inconclusive",
    type=click.Choice(["pass", "fail"]),
    help="What to do about a change beyond its threshold that may be chance; default pass.",
)
@click.option(
    "--min-overlap", type=PerCent(), help="Least share of the baseline's curve that a BD-rate must compare; default 0%."
)
@click.option(
    "--config",
    type=LocalPath(exists=True, dir_okay=False),
    help="TOML file with the table [tool.vcbench.gate]; default pyproject.toml of the working directory.",
)
@click.option(
    "--junit",
    type=LocalPath(dir_okay=False),
    help="Write JUnit XML, one test case per rule and codec. A file that the gate did not write is not replaced.",
)
@click.option(
    "--markdown",
    type=LocalPath(dir_okay=False),
    help="Write a summary in Markdown. It replaces an earlier summary and follows any other content of the file.",
)
@as_json
def command(**options: Any) -> int:
    """Pass or fail a candidate against a baseline, for CI. The exit code is 1 if the candidate fails.

    Rules include bd_rate(METRIC)>N%, bd_metric(METRIC)<-N, METRIC<-N at equal rate points, bytes>N%, encode_s>N%,
    decode_s>N% and failed_cells>N; "worst" before a rule takes the worst sequence instead of the mean. METRIC@POOLING
    takes another pooling of the frames than the mean, such as vmaf@p5. The candidate must also have every cell of the
    baseline, of the same frames, and none may have failed.

    \b
    Examples:
      vcbench gate --baseline results/main --candidate results/branch --fail 'bd_rate(psnr_y)>0.5%'
      vcbench gate --candidate results/branch --config gate.toml --junit gate.xml --markdown summary.md
    """
    from bench.analysis.gate.settings import load_settings
    from bench.api import gate
    from bench.errors import UsageError
    from bench.report.gate.junit import write_junit
    from bench.report.gate.text import write_markdown

    defaults = load_settings(options["config"])
    baseline = options["baseline"] or defaults.baseline
    if not baseline:
        raise UsageError("no baseline is given; name it by --baseline, or as baseline in [tool.vcbench.gate]")
    if options["junit"]:
        _refuse_others(options["junit"])
    result = gate(
        baseline,
        options["candidate"],
        fail=options["fail"] or defaults.fail,
        codecs=options["codecs"] or defaults.codecs,
        sequences=options["sequences"] or defaults.sequences,
        inconclusive=options["inconclusive"] or defaults.inconclusive,
        min_overlap=defaults.min_overlap if options["min_overlap"] is None else options["min_overlap"],
    )
    if options["junit"]:
        _written(options["junit"], lambda path: write_junit(path, result))
    if options["markdown"]:
        _written(options["markdown"], lambda path: write_markdown(path, result))
    if options["json_output"]:
        print_json(result.to_dict())
    else:
        _print(result)
    if not result.checks:
        return 5
    return 0 if result.passed else 1


def _refuse_others(path: Path) -> None:
    """UsageError for a file that is no JUnit XML of a gate: a name that was mistaken must not cost anybody a file."""
    from bench.errors import UsageError
    from bench.report.gate.junit import is_junit

    if not is_junit(path):
        raise UsageError(f"{path}: is there, and vcbench gate did not write it; remove it, or name another file")


def _written(path: Path, write: Callable[[Path], None]) -> None:
    from bench.errors import UsageError

    try:
        write(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}; name another file") from None


def _print(result: GateResult) -> None:
    from bench.report.gate.text import change_text, headline, interval_text

    rows = [
        [check.verdict, check.codec, check.rule, change_text(check), interval_text(check), check.reason]
        for check in result.checks
    ]
    for warning in result.warnings:
        tell(warning)
    if rows:
        header = ["verdict", "codec", "rule", "change", "95 % bounds", "why"]
        print_table(f"{', '.join(result.candidate)} against {', '.join(result.baseline)}", header, rows, right=(3,))
    say(headline(result))
