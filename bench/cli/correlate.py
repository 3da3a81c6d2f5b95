"""vcbench correlate: metrics against the order of rates and against people's scores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import CommaList, Command, as_json, counted, existing, print_json, print_table
from bench.cli.output import tell

if TYPE_CHECKING:
    from bench.analysis.agreement import Agreement, Order, Statistic


@click.command(
    "correlate", cls=Command, short_help="Compare metrics with the order of rates and with subjective scores."
)
@click.argument("folders", nargs=-1, required=True, type=existing(folder=True))
@click.option(
    "--scores",
    type=existing(),
    help="CSV with the columns sequence, codec, rate (value of the rate parameter) and mos; optionally dataset, "
    "and interval (half the width of the score's confidence interval).",
)
@click.option("--metrics", type=CommaList(), default=(), help="Only these metrics; default all that were measured.")
@as_json
def command(folders: tuple[Path, ...], scores: Path | None, metrics: tuple[str, ...], json_output: bool) -> int:
    """Show how well metrics keep the order of rates and, given subjective scores, how well they agree with them.

    The order needs no scores: of two rate points of one codec on one sequence, the one with more bits should be better.

    \b
    Examples:
      vcbench correlate results/mine
      vcbench correlate results/mine --scores mos.csv --metrics vmaf,ssim,psnr_y
    """
    from bench.analysis.agreement import agreement, matched, order_kept, read_scores
    from bench.errors import UsageError
    from bench.results.result_set import load

    cells = load(*folders).cells
    wanted = metrics or None
    orders = order_kept(cells, wanted)
    given = None if scores is None else read_scores(scores)
    pairs, lost = ([], []) if given is None else matched(cells, given)
    if given is not None and not pairs:
        first = given[0]
        raise UsageError(
            f"{scores}: none of the scores belongs to a cell of these results; the first is for "
            f"{first.codec} at rate {first.rate:g} on {first.sequence}"
        )
    found = agreement(pairs, wanted)
    if json_output:
        print_json(
            {"order": [asdict(order) for order in orders], "agreement": [asdict(one) for one in found],
             "scores": len(pairs), "scores_without_a_cell": [asdict(score) for score in lost]}
        )  # fmt: skip
        return 0
    rows = [_order_row(order) for order in sorted(orders, key=lambda order: -order.kept)]
    print_table("order of rates kept", ["metric", "kept", "95%", "reversal", "pairs"], rows, right=(1, 2, 3, 4))
    if found:
        _print_agreement(found)
    if lost:
        tell(f"{counted(len(lost), 'score')} of {len(lost) + len(pairs)} have no cell, such as {lost[0]}")
    return 0


def _order_row(order: Order) -> list[str]:
    interval = order.interval
    ends = "" if interval.low is None or interval.high is None else f"{interval.low:.1%} to {interval.high:.1%}"
    return [order.metric, f"{order.kept:.1%}", ends, f"{order.reversal:.1%}", str(order.pairs)]


def _print_agreement(found: list[Agreement]) -> None:
    def key(one: Agreement) -> float:
        value = one.across["spearman"].value
        return -1.0 if value is None else -value

    header = ["metric", "points", "Pearson", "Spearman", "Kendall", "RMSE", "within: Spearman", "Kendall", "fit"]
    rows = [
        [
            one.metric,
            str(one.points),
            *(_shown(one.across[name]) for name in ("pearson", "spearman", "kendall", "rmse")),
            *(_shown(one.within[name]) for name in ("spearman", "kendall")),
            one.fit,
        ]
        for one in sorted(found, key=key)
    ]
    print_table("against people's scores, with 95% intervals", header, rows, right=range(1, 8))


def _shown(statistic: Statistic) -> str:
    if statistic.value is None:
        return "undefined"
    low, high = statistic.interval.low, statistic.interval.high
    return f"{statistic.value:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")
