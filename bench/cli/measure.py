"""vcbench measure: score video files against their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.options import CommaList, as_json, print_json, print_table


@click.command("measure")
@click.argument("reference", type=click.Path(exists=True, path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--metrics", type=CommaList(), default=(), help="Metrics; +name adds to the default ones (vcbench ls metrics)."
)
@click.option("--size", help="Size of raw yuv, such as 352x288.")
@click.option("--pix-fmt", help="Pixel format of raw yuv, such as yuv420p.")
@click.option("--fps", help="Frame rate of raw yuv or PNG, such as 30.")
@as_json
def command(reference: Path, files: tuple[Path, ...], metrics: tuple[str, ...], json_output: bool, **given: Any) -> int:
    """Measure files that exist already: any container FFmpeg reads, paired with REFERENCE frame by frame.

    Frame count, size and format must be equal. The rate is not judged here: that takes ``vcbench run``.

    \b
    Example:
      vcbench measure source.y4m encoded.mkv encoded.hevc --metrics psnr_y,vmaf
    """
    from bench.engine.run import resolve_metrics
    from bench.engine.score import score

    input_format = {key: value for key, value in given.items() if value is not None}
    names = resolve_metrics(metrics)
    scores = {str(path): score(reference, path, names, input_format=input_format) for path in files}
    if json_output:
        print_json(
            {
                path: {
                    item.metric: {"value": _finite(item.value), "status": item.status, "reason": item.reason}
                    for item in items
                }
                for path, items in scores.items()
            }
        )
    else:
        rows = [
            [path, item.metric, "" if item.value is None else f"{item.value:.4f}", item.reason or ""]
            for path, items in scores.items()
            for item in items
        ]
        print_table(f"against {reference}", ["file", "metric", "value", "reason"], rows, right=(2,))
    return 0


def _finite(value: float | None) -> float | str | None:
    return str(value) if value is not None and value in (float("inf"), float("-inf")) else value
