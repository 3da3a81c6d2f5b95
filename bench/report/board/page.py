"""A leaderboard written down: one HTML page, Markdown, CSV and JSON that say the same."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.analysis.bd import Cause, legend, marks
from bench.core.folders import rewritten
from bench.errors import StoreError
from bench.report.board.details import Details
from bench.report.board.leaderboard import Board, Leaderboard, Row
from bench.report.escape import markdown, write_csv
from bench.report.measured import dataset_text
from bench.report.page import template_folders, templates
from bench.report.preamble import Preamble
from bench.report.text.tables import markdown_table

_COLUMNS = (
    *(
        "dataset",
        "metric",
        "anchor",
        "rank",
        "entry",
        "submission",
        "rate_kind",
        "bd_rate_percent",
        "ci_low",
        "ci_high",
    ),
    *("sequences_used", "sequences_total", "flags", "ties", "points", "verified", "encoded", "verified_on"),
    *("encode_s_per_frame", "decode_s_per_frame", "encode_here_to_claimed", "timing", "measured_on", "remark"),
)
_HEADINGS = (
    *("Rank", "Entry", "BD-rate", "95 % interval", "Sequences", "Points verified", "Coded again"),
    *("Encode, s/frame claimed", "Decode, s/frame claimed", "Ties with", "Submission", "Remark"),
)
_ALIGN = "rlrrrlrrrlll"
WIDTH, HEIGHT = 320, 180


@dataclass(frozen=True)
class _Cell:
    """A table cell: its text, and a number to sort by where it has one."""

    text: str
    sort: float | None = None


def write_leaderboard(board: Leaderboard, out: Path) -> Path:
    """Write ``index.html``, ``leaderboard.md``, ``.csv`` and ``.json`` into a folder; the page is returned.

    Raises StoreError where the folder cannot be written, or holds something else than a leaderboard.
    """
    try:
        with rewritten(out, "leaderboard") as folder:
            text = json.dumps(board.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
            (folder.path / "leaderboard.json").write_text(f"{text}\n", encoding="utf-8")
            (folder.path / "leaderboard.md").write_text(_markdown(board), encoding="utf-8")
            write_csv(folder.path / "leaderboard.csv", _COLUMNS, _csv_rows(board))
            (folder.path / "index.html").write_text(_html(board), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written: {error.strerror or error}; name a folder that can be written"
        ) from error
    return out / "index.html"


def _html(board: Leaderboard) -> str:
    assets = next(path for path in template_folders() if path.is_dir()) / "assets"
    script = (assets / "leaderboard.js").read_text(encoding="utf-8")
    # the page runs this script and nothing else: a name that held one would not
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        templates()
        .get_template("leaderboard.html.j2")
        .render(
            board=board,
            preamble=_preamble(board),
            style=(assets / "site.css").read_text(encoding="utf-8"),
            script=script,
            script_hash=f"sha256-{digest}",
            table=[
                (one, [(row, _cells(row, board)) for row in one.rows], [*_legend(one), *one.notes])
                for one in board.boards
            ],
            headings=_HEADINGS,
            align=_ALIGN,
            dataset_text=dataset_text,
            plot=_plot,
            facts=_facts,
            signed=_signed,
        )
    )


def _preamble(board: Leaderboard) -> Preamble:
    return Preamble(board.title, board.rule)


def _legend(board: Board) -> list[str]:
    """What the marks of a board mean."""
    return legend(Cause(flag) for row in board.rows for flag in row.flags)


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.2f} %".replace("-", "−")


def _cells(row: Row, board: Leaderboard) -> tuple[_Cell, ...]:
    recorded = board.recorded
    mark = {"measured": "", "estimated": " (rate estimated)", "published": " (published)"}[row.rate_kind]
    interval = "none"
    if row.ci_low is not None and row.ci_high is not None:
        interval = f"{row.ci_low:+.2f} to {row.ci_high:+.2f} %".replace("-", "−")
    own = row.details or Details()
    return (
        _Cell("not ranked" if row.rank is None else f"{row.rank}{'=' if row.ties else ''}", row.rank),
        _Cell(board.label(row.entry) + mark),
        _Cell(f"{_signed(row.bd_rate_percent)} {marks(map(Cause, row.flags))}".rstrip(), row.bd_rate_percent),
        _Cell(interval, row.ci_low),
        _Cell(f"{row.sequences_used} of {row.sequences_total}", row.sequences_used),
        _Cell(_verified(row, recorded), row.verified if recorded else None),
        _Cell(f"{row.encoded} of {row.points}" if recorded and row.points and not row.is_anchor else "", row.encoded),
        _time(own.encode_s_per_frame, own.encode_here_to_claimed),
        _time(own.decode_s_per_frame, None),
        _Cell(", ".join(map(board.label, row.ties)) or ("none" if row.rank else "")),
        _Cell(row.submission),
        _Cell(row.remark or ""),
    )


def _verified(row: Row, recorded: bool) -> str:
    """What the column says: the keeper's anchor needs no record, and a curve of a paper can have none."""
    if row.is_anchor:
        return "keeper's own"
    if row.rate_kind == "published":
        return "published"
    return f"{row.verified} of {row.points}" if recorded else "as claimed"


def _time(seconds: float | None, here: float | None) -> _Cell:
    """Seconds per frame as claimed, and how many times that the keeper's encoder took."""
    if seconds is None:
        return _Cell("")
    return _Cell(f"{seconds:.3g}" + (f"; here × {here:.2f}" if here is not None else ""), seconds)


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    """What is worth knowing of an entry, as its submission says it unless it is marked otherwise."""
    own = row.details or Details()
    yield "codec", own.title
    yield "rate points", own.rates
    yield "GOP", own.gop
    yield "settings", "; ".join(own.settings)
    yield "tool", own.tool
    yield "measured on", own.measured_on or ""
    yield "verified", f"{row.verified} of {row.points} points, {own.signed_off}" if own.signed_off else ""
    ratios = [(own.encode_ratio, "encoding"), (own.decode_ratio, "decoding")]
    yield "time over the anchor's", ", ".join(f"{step} {ratio:.3g}" for ratio, step in ratios if ratio is not None)
    yield "timed", {"alone": "alone", "shared": "with other cells at work"}.get(own.timing or "", own.timing or "")


def _plot(board: Board, row: Row) -> dict[str, Any] | None:
    """An RD curve and the anchor's as points of an SVG; None where nothing can be drawn. Rates are on a log axis."""
    anchor = next((other for other in board.rows if other.is_anchor), None)
    curves = [
        [(math.log(point.bpp), point.value) for point in one.details.curve if point.bpp > 0]
        for one in dict.fromkeys([anchor, row])
        if one is not None and one.details is not None
    ]
    points = [point for curve in curves for point in curve]
    if not points or not any(curves[-1:]):
        return None
    (left, right), (low, high) = [(min(axis), max(axis)) for axis in zip(*points, strict=True)]
    spans = (right - left or 1, high - low or 1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = (point[0] - left) / spans[0], (point[1] - low) / spans[1]
        return round(8 + x * (WIDTH - 16), 1), round(HEIGHT - 8 - y * (HEIGHT - 16), 1)

    return {
        "width": WIDTH,
        "height": HEIGHT,
        "curves": [[place(point) for point in curve] for curve in curves],
        "rates": (math.exp(left), math.exp(right)),
        "qualities": (low, high),
        "alone": len(curves) == 1,
    }


def _markdown(board: Leaderboard) -> str:
    parts = [_preamble(board).markdown()]
    for one in board.boards:
        rows = ([markdown(cell.text) for cell in _cells(row, board)] for row in one.rows)
        table = markdown_table(list(map(markdown, _HEADINGS)), _ALIGN, rows)
        names = f"{len(one.sequences)} sequences: {', '.join(one.sequences)}"
        title = f"{one.title} ({one.metric}) on {dataset_text(one.dataset)}"
        below = "".join(f"- {markdown(text)}\n" for text in (*_legend(one), *one.notes))
        table += f"\n{below}" if below else ""
        parts.append(f"## {markdown(title)}\n\n{markdown(names)}\n\n{table}")
    if board.refused:
        lines = [
            f"- {markdown(item.submission)}, {markdown(item.what)}: {markdown(item.reason)}" for item in board.refused
        ]
        parts.append("## Left out\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _csv_rows(board: Leaderboard) -> Iterator[dict[str, Any]]:
    for one in board.boards:
        for row in one.rows:
            yield {
                **asdict(row),
                **(asdict(row.details) if row.details else {}),
                "dataset": one.dataset,
                "metric": one.metric,
                "anchor": board.anchor,
                "ties": ", ".join(row.ties),
                "flags": ", ".join(row.flags),
            }
