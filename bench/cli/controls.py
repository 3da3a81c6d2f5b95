"""vcbench controls: which tricks fool which metrics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, NumberList, as_json, existing, print_json, print_table, search_path
from bench.cli.output import say, tell

if TYPE_CHECKING:
    from bench.conformance.controls import Controls, Effect


@click.command("controls", cls=Command, short_help="Play tricks on clips to see which metrics they fool.")
@click.option(
    "--metrics",
    type=CommaList(),
    default=(),
    help="Metrics or sets of metrics; default all that work here. psnr_y is always included.",
)
@click.option("--datasets", type=CommaList(), default=("quickstart",), help="Datasets by name; default quickstart.")
@click.option("--sequences", type=CommaList(), default=(), help="Only these sequences of the datasets.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=existing(),
    help="A clip of your own, instead of the datasets; may be repeated.",
)
@click.option(
    "--frames", type=click.IntRange(min=1), default=32, show_default=True, help="Use up to N frames of each clip."
)
@click.option("--codec", default="x265@low-delay", show_default=True, help="Codec for the clips.")
@click.option(
    "--rates",
    type=NumberList(),
    default=(32.0, 37.0),
    help="The rate point that the tricks are played on, and a worse one; default 32,37.",
)
@search_path
@as_json
def command(
    metrics: tuple[str, ...],
    datasets: tuple[str, ...],
    sequences: tuple[str, ...],
    inputs: tuple[Path, ...],
    frames: int,
    codec: str,
    rates: tuple[float, ...],
    paths: tuple[Path, ...],
    json_output: bool,
) -> int:
    """Play tricks that help no viewer on decoded clips, and show which metrics they fool.

    The tricks are static grain, blur, sharpening, a temporal filter, a shift by one sample and frozen frames. A
    change is given in rate steps, the distance between two rate points in that metric; above 0 is better. A metric
    is fooled (*) if it finds the tricked video better although luma PSNR says that it is no closer to the source.

    \b
    Examples:
      vcbench controls --metrics psnr_y,vmaf,vmaf_neg,niqe,ewarp
      vcbench controls --metrics perceptual,temporal --sequences astronaut,cat --frames 16
    """
    from bench.cards import Catalog
    from bench.conformance.controls import controls
    from bench.engine.options import RunOptions
    from bench.engine.plan import codec_entries
    from bench.engine.run import open_sequences
    from bench.errors import UsageError
    from bench.metrics.sets import expanded
    from bench.registry import metric_names

    if len(rates) != 2:
        raise UsageError(f"--rates takes two rate points, the tricked one and a worse one, not {len(rates)}")
    catalog = Catalog(paths)
    options = RunOptions(
        codecs=(codec,), datasets=() if inputs else datasets, inputs=inputs, sequences=sequences, frames=frames,
        paths=paths,
    )  # fmt: skip
    (entry,) = codec_entries(catalog, (codec,))
    names = dict.fromkeys(expanded(metrics)) if metrics else metric_names()
    found = controls(entry, (rates[0], rates[1]), open_sequences(options, catalog), names, progress=tell)
    if json_output:
        print_json(_as_json(found))
    else:
        _print(found)
    return 0


def _as_json(found: Controls) -> dict[str, Any]:
    return {
        "effects": [asdict(effect) for row in found.effects.values() for effect in row.values()],
        "helped": list(found.helped),
        "left_out": dict(found.left_out),
        "clips": list(found.clips),
    }


def _print(found: Controls) -> None:
    tricks = list(next(iter(found.effects.values())))
    rows = [[metric, *map(_cell, row.values())] for metric, row in found.effects.items()]
    title = f"rate steps that each trick moves a metric by, over {len(found.clips)} clips; * is fooled"
    print_table(title, ["metric", *tricks], rows, right=range(1, len(tricks) + 1))
    if found.helped:
        say(f"nearer to the source after all, and so no trick here: {', '.join(found.helped)}")
    for metric, reason in found.left_out.items():
        tell(f"left out: {metric}: {reason.splitlines()[0]}")


def _cell(effect: Effect) -> str:
    """Change in rate steps, or in the metric's unit where it does not tell the rate points apart."""
    amount = f"{effect.change:+.3g}u" if effect.steps is None else f"{effect.steps:+.2f}"
    return f"{amount}{'*' if effect.fooled else ''}"
