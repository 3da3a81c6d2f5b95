"""Text from outside made harmless in each format that a report is written in."""

from __future__ import annotations

import csv
import hashlib
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Controls, carriage returns among them, and marks of direction: a name with them reads as another one.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
# What a spreadsheet takes for the beginning of a formula, in the width of East Asian keyboards too.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_LATEX = {
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}"},
    **{"−": r"\ensuremath{-}", "×": r"\ensuremath{\times}", "≈": r"\ensuremath{\approx}", "…": r"\ldots{}"},
    **{"≤": r"\ensuremath{\le}", "≥": r"\ensuremath{\ge}", "→": r"\ensuremath{\to}", "∞": r"\ensuremath{\infty}"},
    **{"“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "–": r"\textendash{}", "—": r"\textemdash{}"},
    # After the end of a row, a bracket would be read as an option of it.
    "[": "{[}",
    **{"‘": r"\textquoteleft{}", "’": r"\textquoteright{}", "°": r"\ensuremath{^\circ}"},
}
# What T1 fonts have beyond ASCII, and LaTeX therefore prints.
_T1_LETTERS = frozenset(map(chr, (*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100))))
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


# What the csv module itself writes as `csv_cell` does.
_AS_THEY_ARE = {int, float, type(None)}


def printable(text: object) -> str:
    """The text with control characters, direction marks and what UTF-8 cannot hold replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", str(text).replace("\r\n", "\n")).encode("utf-8", "replace").decode("utf-8")


def csv_cell(value: object) -> str:
    """A CSV field: numbers exactly, None as nothing, text that a spreadsheet would run as a formula behind a '."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(value))
    return _csv_text(str(value))


@lru_cache(maxsize=1 << 14)
def _csv_text(text: str) -> str:
    """Remembered, since names repeat in every row of a long table."""
    shown = printable(text)
    return f"'{shown}" if text.startswith(_FORMULA) and not _is_number(text) else shown


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows by column name; a column that a row lacks is empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(csv_cell(column) for column in columns)
        writer.writerows(
            [value if type(value) in _AS_THEY_ARE else csv_cell(value) for value in map(row.get, columns)]
            for row in rows
        )


def markdown(text: object) -> str:
    """Text for a line or a table cell of Markdown: no markup, no HTML, no line break of its own."""
    flat = " ".join(printable(text).split())
    return html.escape(_MARKDOWN.sub(r"\\\g<0>", flat), quote=False)


def latex(text: object) -> str:
    """Text for a line or a table cell of LaTeX with T1 fonts: no command, no line break; other signs as [U+65E5]."""
    signs = "".join(map(_latex_sign, " ".join(printable(text).split())))
    # Two of these in a row would become one other sign.
    return re.sub(r"([-',<>])(?=\1)", r"\1{}", signs)


def _latex_sign(sign: str) -> str:
    if sign in _LATEX:
        return _LATEX[sign]
    return sign if (sign.isascii() and sign.isprintable()) or sign in _T1_LETTERS else f"{{[}}U+{ord(sign):04X}]"


def slug(name: str) -> str:
    """A file name for a name: its letters, digits, dots, dashes, underscores, and a digest if that loses anything."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60]
    return (
        safe
        if safe == name and safe
        else f"{safe}-{hashlib.sha256(printable(name).encode()).hexdigest()[:8]}".strip("-")
    )


def web_address(text: object) -> str | None:
    """The address, if it leads to the web by http or https; None for anything else, such as a script."""
    try:
        parts = urlsplit(str(text).strip())
    except ValueError:
        return None
    return str(text).strip() if parts.scheme in {"http", "https"} and parts.netloc else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf", text) is not None
