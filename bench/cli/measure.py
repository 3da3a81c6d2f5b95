"""vcbench measure: score video files against their source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, LocalPath, as_json, existing, print_json, print_table
from bench.cli.output import tell

if TYPE_CHECKING:
    from bench.metrics.base import Measurement


@click.command("measure", cls=Command, short_help="Score video files against their source.")
@click.argument("reference", type=existing())
@click.argument("files", nargs=-1, required=True, type=existing())
@click.option(
    "--metrics",
    type=CommaList(),
    default=(),
    help="Metrics or sets of metrics; +name adds to the default ones (vcbench ls metrics, vcbench ls sets).",
)
@click.option("--size", help="Size of raw yuv, such as 352x288.")
@click.option("--pix-fmt", help="Pixel format of raw yuv, such as yuv420p.")
@click.option("--fps", help="Frame rate of raw yuv or PNG, such as 30.")
@click.option(
    "--transfer",
    type=click.Choice(["pq", "hlg", "sdr"]),
    help="Transfer function, if the files do not state it; notes say which metrics are not made for it.",
)
@click.option(
    "--scaler",
    type=click.Choice(["lanczos", "bicubic", "bilinear", "spline", "area", "neighbor"]),
    help="Scale files of another size to the size of REFERENCE by this scaler of FFmpeg; without it they are refused.",
)
@click.option(
    "--film-grain",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Whether decoders synthesise the film grain that a stream describes, as players do.",
)
@click.option(
    "--frames-csv",
    type=LocalPath(dir_okay=False),
    help="Write the values of every frame as CSV: one row per file and frame, one column per metric.",
)
@click.option("--strict", is_flag=True, help="Exit with 6 if a metric cannot run here, instead of leaving it out.")
@as_json
def command(
    reference: Path,
    files: tuple[Path, ...],
    metrics: tuple[str, ...],
    scaler: str | None,
    film_grain: str,
    frames_csv: Path | None,
    strict: bool,
    json_output: bool,
    **given: Any,
) -> int:
    """Score video files against their source, in any container that FFmpeg reads, paired frame by frame.

    Frame count and chroma format must be equal, and so must range and matrix if both files state them. Other bit
    depths are brought to that of REFERENCE; a note says what was done. A file that does not fit has a reason
    instead of values, the others are measured, and the exit code is 6; so it is if a metric fails and, with --strict,
    if one cannot run here. Rates are not judged: use vcbench run for that.

    \b
    Examples:
      vcbench measure source.y4m encoded.mkv encoded.hevc --metrics psnr_y,vmaf
      vcbench measure source.y4m ladder/*.mp4 --scaler lanczos --frames-csv frames.csv
      vcbench measure source.y4m grainy.ivf --film-grain off
    """
    from bench.engine.run import resolve_metrics

    input_format = {key: value for key, value in given.items() if value is not None}
    names = resolve_metrics(metrics)
    how = {"input_format": input_format, "scaler": scaler, "film_grain": film_grain == "on"}
    scored = [_score(reference, path, names, how) for path in files]
    rows = [row for row, _ in scored]
    if frames_csv is not None:
        _write_frames(frames_csv, names, scored)
    if json_output:
        print_json(rows)
    else:
        lines = [line for row in rows for line in _lines(row)]
        header = ["file", "frames", "metric", "value", "unit", "5% low", "1% low", "reason"]
        print_table(f"against {reference}", header, lines, right=(1, 3, 5, 6))
        for row in rows:
            for note in row["notes"]:
                tell(f"note: {row['file']}: {note}")
    lacking = any(item["status"] == "unavailable" for row in rows for item in row["measurements"].values())
    return 6 if any(row["status"] != "ok" for row in rows) or (strict and lacking) else 0


def _score(
    reference: Path, path: Path, names: tuple[str, ...], how: dict[str, Any]
) -> tuple[dict[str, Any], list[Measurement]]:
    from bench.analysis.transfer import doubts
    from bench.engine.score import score_file
    from bench.errors import CellError, MediaError

    row: dict[str, Any] = {
        "file": str(path), "status": "ok", "reason": None, "frames": None, "notes": [], "measurements": {}
    }  # fmt: skip
    try:
        found = score_file(reference, path, names, **how)
    except (CellError, MediaError) as error:
        return {**row, "status": "failed", "reason": str(error)}, []
    measured = found.measurements
    lacking = [item.metric for item in measured if item.status in {"failed", "unavailable"}]
    return {
        **row,
        "status": "failed" if any(item.status == "failed" for item in measured) else "ok",
        "reason": f"not measured: {', '.join(lacking)}" if lacking else None,
        "frames": max(len(item.frames) for item in measured) or None,
        "notes": [*found.notes, *_models(measured), *doubts((item.metric for item in measured), found.transfer)],
        "measurements": {item.metric: _brief(item) for item in measured},
    }, measured


def _models(measured: list[Measurement]) -> list[str]:
    """The model of each metric that takes one by the clip."""
    return [
        f"{item.metric} is by the model {item.provenance['model']}, for {item.provenance['chosen_by']}"
        for item in measured
        if "chosen_by" in item.provenance
    ]


def _brief(item: Measurement) -> dict[str, Any]:
    from bench.registry import metric_class

    metric = metric_class(item.metric)
    return {
        "value": item.value,
        "unit": metric.unit,
        "status": item.status,
        "reason": item.reason,
        "low_5": _low(item, 5, metric.direction),
        "low_1": _low(item, 1, metric.direction),
        "pooled": dict(item.pooled),
    }


def _low(item: Measurement, percent: int, direction: str) -> float | None:
    """Value that this share of the frames is worse than, or as bad as."""
    from bench.metrics.base import percentile

    known = sorted(value for value in item.frames if value is not None)
    if not known or item.value is None:
        return None
    return percentile(known, percent if direction == "higher" else 100 - percent)


def _write_frames(path: Path, names: tuple[str, ...], scored: list[tuple[dict[str, Any], list[Measurement]]]) -> None:
    import csv

    from bench.errors import UsageError

    try:
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", "frame", *names])
            for row, measured in scored:
                columns = {item.metric: item.frames for item in measured}
                for frame in range(row["frames"] or 0):
                    values = [columns[name][frame] if frame < len(columns[name]) else None for name in names]
                    writer.writerow([row["file"], frame, *("" if value is None else repr(value) for value in values)])
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


def _lines(row: dict[str, Any]) -> list[list[str]]:
    if not row["measurements"]:
        return [[row["file"], "", "", row["status"], "", "", "", row["reason"]]]
    frames = "" if row["frames"] is None else str(row["frames"])
    return [
        [
            row["file"],
            frames,
            name,
            _shown(item["value"], item["status"]),
            item["unit"],
            _shown(item["low_5"], ""),
            _shown(item["low_1"], ""),
            item["reason"] or "",
        ]
        for name, item in row["measurements"].items()
    ]


def _shown(value: float | None, status: str) -> str:
    if value is None:
        return status
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.1 else f"{value:.4g}"
