"""A history written down: one HTML page with its picture, and the same numbers as CSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from bench.analysis.history import History, Point
from bench.core.folders import rewritten
from bench.errors import StoreError
from bench.report.escape import write_csv
from bench.report.history.figure import draw_history
from bench.report.page import template_folders, templates

COLUMNS = ("revision", "gate", "codec", "quantity", "reference", "change_percent", "low", "high", "exact", "reason")
PICTURE = "history.png"


def write_history(history: History, out: Path, title: str | None = None, looks: Path | None = None) -> Path:
    """Write ``index.html``, ``history.png``, ``.csv`` and ``.json`` into a folder; the page is returned.

    `looks` is a file of one's own on how codecs are drawn, see `bench.analysis.looks.looks`.

    Raises StoreError where the folder cannot be written, or holds something else than a history.
    """
    try:
        with rewritten(out, "history") as folder:
            draw_history(history, folder.path / PICTURE, looks)
            text = json.dumps(history.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
            (folder.path / "history.json").write_text(f"{text}\n", encoding="utf-8")
            write_csv(folder.path / "history.csv", COLUMNS, _rows(history))
            (folder.path / "index.html").write_text(_html(history, title or "History"), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written: {error.strerror or error}; name a folder that can be written"
        ) from error
    return out / "index.html"


def change_text(point: Point) -> str:
    """A change for a table: "+1.23 %", "0 (identical)", or "undefined"."""
    if point.value is None:
        return "undefined"
    if point.exact:
        return "0 (identical)"
    return f"{point.value:+.2f} %".replace("-", "−")


def bounds_text(point: Point) -> str:
    """The bounds of a change, or what is to know of it in their place."""
    if point.value is None:
        return point.reason
    if point.exact:
        return "exact"
    if point.low is None or point.high is None:
        return "no bounds"
    return f"{point.low:+.2f} to {point.high:+.2f} %".replace("-", "−")


def _html(history: History, title: str) -> str:
    assets = next(path for path in template_folders() if path.is_dir()) / "assets"
    return (
        templates()
        .get_template("history.html.j2")
        .render(
            title=title,
            history=history,
            style=(assets / "site.css").read_text(encoding="utf-8"),
            picture=PICTURE,
            newest_first=range(len(history.revisions) - 1, -1, -1),
            change_text=change_text,
            bounds_text=bounds_text,
        )
    )


def _rows(history: History) -> list[dict[str, object]]:
    return [
        {
            "revision": revision.label,
            "gate": "" if revision.verdict is None else revision.verdict.word,
            "codec": track.codec,
            "quantity": track.quantity,
            "reference": track.reference,
            "change_percent": point.value,
            "low": point.low,
            "high": point.high,
            "exact": point.exact,
            "reason": point.reason,
        }
        for number, revision in enumerate(history.revisions)
        for track in history.tracks
        for point in [track.points[number]]
    ]
