"""vcbench doctor: what works on this machine and how to get the rest."""

from __future__ import annotations

import platform
from typing import Any

import click

from bench.cli.options import Command, as_json, print_json, search_path
from bench.cli.output import say


@click.command("doctor", cls=Command, short_help="Say what works on this machine, and how to get the rest.")
@search_path
@as_json
def command(paths: tuple[Any, ...], json_output: bool) -> int:
    """Check FFmpeg, the cache, every codec, metric, weight file and dataset, and say how to get what is missing.

    The exit code is 4 if FFmpeg or the cache folder does not work, since then nothing does; otherwise 0.

    \b
    Example:
      vcbench doctor
    """
    from bench.cards import Catalog
    from bench.cli.fetch import weights_rows
    from bench.cli.ls import _codec, _dataset, _metrics, brief_reason

    catalog = Catalog(paths)
    groups = {
        "machine": _machine(),
        "codecs": [_codec(catalog, name) for name in catalog.files("codecs")],
        "metrics": _metrics(),
        "weights": weights_rows(),
        "datasets": [_dataset(path) for path in catalog.files("datasets").values()],
    }
    if json_output:
        print_json(groups)
    else:
        for title, rows in groups.items():
            say(f"{title}:")
            for row in rows:
                mark = "ok " if row["available"] else "-- "
                detail = row.get("detail") or (row.get("title", "") if row["available"] else brief_reason(row))
                say(f"  {mark} {row['name']}: {detail}")
    return 0 if all(row["available"] for row in groups["machine"]) else 4


def _machine() -> list[dict[str, Any]]:
    from bench._version import __version__
    from bench.core import sandbox
    from bench.engine.provenance import cpu_model, gpu_model

    return [
        _row("vcbench", True, __version__),
        _row("python", True, platform.python_version()),
        _row("cpu", True, cpu_model()),
        _row("gpu", True, gpu_model() or "none found; nothing here needs one"),
        _ffmpeg(),
        _cache(),
        _row("sandbox", True, sandbox.describe()),
    ]


def _row(name: str, available: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "available": available, "detail": detail, "reason": None if available else detail}


def _ffmpeg() -> dict[str, Any]:
    from bench.errors import UnavailableError
    from bench.video import ffmpeg

    try:
        return _row("ffmpeg", True, f"{ffmpeg.version()} at {ffmpeg.executable()}")
    except UnavailableError as error:
        return _row("ffmpeg", False, str(error))


def _cache() -> dict[str, Any]:
    import tempfile

    from bench.core.files import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return _row(
            "cache", False, f"{folder} cannot be written ({error.strerror}); set VCBENCH_CACHE to a folder that can"
        )
    return _row("cache", True, str(folder))
