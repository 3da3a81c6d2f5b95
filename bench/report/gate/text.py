"""The gate's checks in words: a summary in Markdown, and the cells of its tables."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from bench.analysis.gate.judge import Check, GateResult
from bench.report.escape import markdown, printable
from bench.report.preamble import Preamble

MAX_BYTES = 1_000_000
"""GitHub refuses a step summary of more than 1 MiB."""

_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "error": "❌"}
_LEAST = 10_000
_BEGINNING = "## Gate "
_NOTES = 20
_LENGTH = 400


def change_text(check: Check) -> str:
    """A check's change with its unit, or why there is none."""
    if check.change is None:
        return "none"
    if check.unit == "cells":
        return f"{check.change:.0f}"
    return f"{check.change:+.4g} {check.unit}".rstrip() if check.change else f"0 {check.unit}".rstrip()


def interval_text(check: Check) -> str:
    """A check's interval, in the unit of its change."""
    if check.exact:
        return "exact"
    if check.low is None or check.high is None:
        return "none"
    return f"{check.low:+.3g} to {check.high:+.3g}"


def headline(result: GateResult) -> str:
    """The outcome in one line."""
    if not result.checks:
        return "Gate failed: there is nothing to judge"
    kinds: tuple[tuple[str, int], ...] = (
        ("failed", result.count("fail")),
        ("not comparable", result.count("error")),
        ("inconclusive", result.count("inconclusive")),
        ("passed", result.count("pass")),
    )
    counts = ", ".join(f"{count} {what}" for what, count in kinds if count)
    return f"Gate {'passed' if result.passed else 'failed'}: {counts}"


def write_markdown(path: Path, result: GateResult) -> None:
    """Write the summary for a CI's step page, under 1 MB: what blocks in full, the rest folded, and cut if need be.

    A file that begins with something else keeps it, and the summary follows: GitHub's step page takes what all commands
    of a step write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.is_file() else b""
    if not before or before.startswith(_BEGINNING.encode()):
        path.write_text(summary(result), encoding="utf-8")
        return
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + summary(result, max(MAX_BYTES - len(before), _LEAST)))


def summary(result: GateResult, most: int = MAX_BYTES) -> str:
    """The summary in Markdown, of up to ``most`` bytes."""
    order = {"fail": 0, "error": 1, "inconclusive": 2, "pass": 3}
    checks = sorted(result.checks, key=lambda check: order[check.verdict])
    first = [check for check in checks if check.verdict != "pass"]
    parts = [Preamble(headline(result), _sides(result)).markdown(level=2)]
    if first:
        parts.append("\n" + _table(first))
    parts += _folded(f"{result.count('pass')} passed", _rows(check for check in checks if check.verdict == "pass"))
    for check in first:
        parts += _folded(f"{check.codec}: {check.rule}", _details(check))
    parts += _folded(f"{len(result.warnings)} warnings", [f"- {_short(text)}\n" for text in result.warnings])
    return _within(parts, most)


def _sides(result: GateResult) -> str:
    return f"Candidate {', '.join(result.candidate)} against baseline {', '.join(result.baseline)}."


def _table(checks: Iterable[Check]) -> str:
    return "".join([*_HEAD, *(_row(check) for check in checks)])


_HEAD = (
    "| | codec | rule | change | 95 % bounds | why |\n",
    "|---|---|---|---:|---|---|\n",
)


def _rows(checks: Iterable[Check]) -> list[str]:
    rows = [_row(check) for check in checks]
    return [*_HEAD, *rows] if rows else []


def _row(check: Check) -> str:
    cells = (check.codec, check.rule, change_text(check), interval_text(check), check.reason)
    return f"| {_MARKS[check.verdict]} {check.verdict} | {' | '.join(map(_short, cells))} |\n"


def _details(check: Check) -> list[str]:
    lines = []
    for item in check.per_sequence:
        value = item.reason if item.change is None else f"{item.change:+.4g} {check.unit}"
        name = f"{item.dataset}/{item.sequence}" if item.dataset else item.sequence
        lines.append(f"- {_short(name)}: {_short(value or '')}\n")
    notes = list(dict.fromkeys(check.notes))
    lines += [f"- {_short(note)}\n" for note in notes[:_NOTES]]
    return lines + ([f"- and {len(notes) - _NOTES} more\n"] if len(notes) > _NOTES else [])


def _folded(title: str, lines: list[str]) -> list[str]:
    """Lines that open at a click, as parts that belong together; none if there is nothing to show."""
    if not lines:
        return []
    # the blank line makes Markdown of what stands inside
    return [f"\n<details><summary>{html.escape(_flat(title), quote=False)}</summary>\n\n{''.join(lines)}\n</details>\n"]


def _short(text: str) -> str:
    """Text for a line of Markdown, cut before it is escaped so that no mark of the escape is cut."""
    return markdown(_cut_text(text))


def _flat(text: str) -> str:
    """Text inside a tag, where Markdown is not read."""
    return " ".join(printable(_cut_text(text)).split())


def _cut_text(text: str) -> str:
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]} …"


def _within(parts: list[str], most: int) -> str:
    """The first parts that fit, and how many do not; a part too long on its own is cut at a line."""
    kept: list[str] = []
    room = most - 200
    for number, part in enumerate(parts):
        size = len(part.encode())
        if size > room:
            left = len(parts) - number
            kept.append(_cut(part, room) if not kept or number < 2 else "")
            kept.append(f"\n{left} parts do not fit into {most:,} bytes; --json has everything.\n")
            break
        kept.append(part)
        room -= size
    return "".join(kept)


def _cut(part: str, room: int) -> str:
    """Whole lines of a part, as many as fit."""
    lines, size = [], 0
    for line in part.splitlines(keepends=True):
        size += len(line.encode())
        if size > room:
            break
        lines.append(line)
    return "".join(lines)
