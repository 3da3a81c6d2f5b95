"""vcbench measure: score video files against their source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, as_json, existing, print_json, print_table

if TYPE_CHECKING:
    from bench.metrics.base import Measurement


@click.command("measure", cls=Command, short_help="Score video files against their source.")
@click.argument("reference", type=existing())
@click.argument("files", nargs=-1, required=True, type=existing())
@click.option(
    "--metrics", type=CommaList(), default=(), help="Metrics; +name adds to the default ones (vcbench ls metrics)."
)
@click.option("--size", help="Size of raw yuv, such as 352x288.")
@click.option("--pix-fmt", help="Pixel format of raw yuv, such as yuv420p.")
@click.option("--fps", help="Frame rate of raw yuv or PNG, such as 30.")
@as_json
def command(reference: Path, files: tuple[Path, ...], metrics: tuple[str, ...], json_output: bool, **given: Any) -> int:
    """Measure files that exist already: any container FFmpeg reads, paired with REFERENCE frame by frame.

    Frame count, size and format must be equal; a file that differs has the reason instead of values, and the exit code
    is 6. The rate is not judged here: that takes vcbench run.

    \b
    Example:
      vcbench measure source.y4m encoded.mkv encoded.hevc --metrics psnr_y,vmaf
    """
    from bench.engine.run import resolve_metrics

    input_format = {key: value for key, value in given.items() if value is not None}
    names = resolve_metrics(metrics)
    rows = [_score(reference, path, names, input_format) for path in files]
    if json_output:
        print_json(rows)
    else:
        lines = [line for row in rows for line in _lines(row)]
        print_table(f"against {reference}", ["file", "frames", "metric", "value", "reason"], lines, right=(1, 3))
    return 0 if all(row["status"] == "ok" for row in rows) else 6


def _score(reference: Path, path: Path, names: tuple[str, ...], input_format: dict[str, Any]) -> dict[str, Any]:
    from bench.engine.score import score
    from bench.errors import CellError, MediaError

    row: dict[str, Any] = {"file": str(path), "status": "ok", "reason": None, "frames": None, "measurements": {}}
    try:
        found = score(reference, path, names, input_format=input_format)
    except (CellError, MediaError) as error:
        return {**row, "status": "failed", "reason": str(error)}
    failed = [item.metric for item in found if item.status in {"failed", "unavailable"}]
    return {
        **row,
        "status": "failed" if failed else "ok",
        "reason": f"not measured: {', '.join(failed)}" if failed else None,
        "frames": max(len(item.frames) for item in found) or None,
        "measurements": {item.metric: _brief(item) for item in found},
    }


def _brief(item: Measurement) -> dict[str, Any]:
    return {"value": item.value, "status": item.status, "reason": item.reason, "pooled": dict(item.pooled)}


def _lines(row: dict[str, Any]) -> list[list[str]]:
    if not row["measurements"]:
        return [[row["file"], "", "", row["status"], row["reason"]]]
    frames = "" if row["frames"] is None else str(row["frames"])
    return [
        [row["file"], frames, name, _shown(item["value"], item["status"]), item["reason"] or ""]
        for name, item in row["measurements"].items()
    ]


def _shown(value: float | None, status: str) -> str:
    if value is None:
        return status
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.1 else f"{value:.4g}"
