"""The Excel sheet in which JVET's engineers exchange results: read as published curves, and written from cells.

A workbook has a sheet for each of JVET's configurations (all intra, random access, low-delay B and P). A row is a rate
point: class, sequence and QP, then kbps, PSNR of Y, U and V and seconds of encoder and decoder, of the reference and of
the tested codec; beside a sequence's first row stand its BD-rates. Sources: JVET-T2010 (configurations, sequences,
PCHIP as the interpolation of BD-rate); the layout is that of the templates for HM and VTM, the sheet our own.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from bench.core.require import require
from bench.core.schema import explain
from bench.errors import StoreError, UsageError
from bench.records.cell import CellResult
from bench.records.published import Coded, Paper, PublishedCurve, PublishedSet

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

EXTRA = "jvet"
SHEETS = {"AI": "all intra", "RA": "random access", "LB": "low delay B", "LP": "low delay P"}
PLANES = ("psnr_y", "psnr_u", "psnr_v")
HEADINGS = ("kbps", "Y psnr", "U psnr", "V psnr", "EncT [s]", "DecT [s]")
_FIRST, _LETTERS = 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CODED = ("frames", "width", "height", "fps")
_ALL_INTRA_STEP = 8
"""Under all intra every eighth frame is coded."""
_MOST_BYTES = 256 << 20
_FULL = {"A1", "A2", "B", "C", "E"}
"""The classes of JVET's overall mean."""


class _Size(NamedTuple):
    width: int
    height: int
    fps: int
    frames: int


# JVET-T2010, tables 1 to 7
_SEQUENCES: dict[str, dict[str, _Size]] = {
    "A1": {
        "Tango2": _Size(3840, 2160, 60, 294),
        "FoodMarket4": _Size(3840, 2160, 60, 300),
        "Campfire": _Size(3840, 2160, 30, 300),
    },
    "A2": {
        "CatRobot": _Size(3840, 2160, 60, 300),
        "DaylightRoad2": _Size(3840, 2160, 60, 300),
        "ParkRunning3": _Size(3840, 2160, 50, 300),
    },
    "B": {
        "MarketPlace": _Size(1920, 1080, 60, 600),
        "RitualDance": _Size(1920, 1080, 60, 600),
        "Cactus": _Size(1920, 1080, 50, 500),
        "BasketballDrive": _Size(1920, 1080, 50, 500),
        "BQTerrace": _Size(1920, 1080, 60, 600),
    },
    "C": {
        "BasketballDrill": _Size(832, 480, 50, 500),
        "BQMall": _Size(832, 480, 60, 600),
        "PartyScene": _Size(832, 480, 50, 500),
        "RaceHorses": _Size(832, 480, 30, 300),
    },
    "D": {
        "BasketballPass": _Size(416, 240, 50, 500),
        "BQSquare": _Size(416, 240, 60, 600),
        "BlowingBubbles": _Size(416, 240, 50, 500),
        "RaceHorses": _Size(416, 240, 30, 300),
    },
    "E": {
        "FourPeople": _Size(1280, 720, 60, 600),
        "Johnny": _Size(1280, 720, 60, 600),
        "KristenAndSara": _Size(1280, 720, 60, 600),
    },
    "F": {
        "ArenaOfValor": _Size(1920, 1080, 60, 600),
        "BasketballDrillText": _Size(832, 480, 50, 500),
        "SlideEditing": _Size(1280, 720, 30, 300),
        "SlideShow": _Size(1280, 720, 20, 500),
    },
}


def read(path: Path, names: tuple[str, str] | None = None) -> PublishedSet:
    """The curves of a workbook: PSNR of Y, U and V of the reference and of the tested codec.

    ``names`` of the two; by default what stands above their columns. Sheets of other names are passed over, and so are
    rows without numbers. Bits per pixel are of kbps, size and frame rate: those that the sheet states (as ours does),
    else JVET's of the sequence. Raises UsageError for a file that is no such workbook, or a sequence of unknown size.
    """
    require("openpyxl", extra=EXTRA)
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(path) as packed:
            if sum(item.file_size for item in packed.infolist()) > _MOST_BYTES:
                raise UsageError(f"{path}: unpacks to more than {_MOST_BYTES >> 20} MiB; a sheet of results is smaller")
        book = load_workbook(path, data_only=True, read_only=False)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is no Excel workbook (.xlsx, .xlsm): {error}") from None
    curves: list[PublishedCurve] = []
    for sheet in book.worksheets:
        configuration = _configuration(sheet.title)
        if configuration is not None:
            curves += _read_sheet(path, sheet, configuration, names)
    if not curves:
        wanted = ", ".join(f"{short}-Main10" for short in SHEETS)
        raise UsageError(
            f"{path}: has no results in sheets named like {wanted}, with the columns {', '.join(HEADINGS)}"
        )
    try:
        return PublishedSet(
            paper=Paper(
                name="jvet", title=f"JVET's reporting template, {path.name}", address="https://jvet-experts.org"
            ),
            extraction="Taken over digit for digit from the workbook; bits per pixel by its bitrates and frame rates.",
            protocol=(
                "JVET's common test conditions as the workbook's sheets name them: AI, RA, LB, LP. PSNR is the mean"
                " over the frames.",
            ),
            curves=tuple(curves),
        )
    except ValidationError as error:
        raise UsageError(f"{path}: the sheet is wrong:\n  {explain(error)}") from None


def _configuration(title: str) -> str | None:
    found = re.match(r"(AI|RA|LD-?B|LB|LD-?P|LP)\b", title.strip(), re.IGNORECASE)
    return None if found is None else {"LDB": "LB", "LDP": "LP"}.get(name := found[1].upper().replace("-", ""), name)


@dataclass(frozen=True)
class _Columns:
    """Where a sheet has what, by 0-based column; ``codecs``: kbps and the three PSNR of each codec."""

    header: int
    qp: int
    sequence: int
    group: int | None
    codecs: tuple[tuple[str, tuple[int, ...]], ...]
    coded: tuple[int, ...] | None


def _read_sheet(
    path: Path, sheet: Worksheet, configuration: str, names: tuple[str, str] | None
) -> Iterator[PublishedCurve]:
    rows = [tuple(row) for row in sheet.iter_rows(values_only=True)]
    columns = _columns(rows, names)
    if columns is None:
        return
    group = sequence = ""
    found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows[columns.header + 1 :]:
        if columns.group is not None and row[columns.group]:
            group = re.sub(r"^class\s*", "", str(row[columns.group]).strip(), flags=re.IGNORECASE)
        if row[columns.sequence]:
            sequence = str(row[columns.sequence]).strip()
        if sequence and _is_number(row[columns.qp]):
            found.setdefault((group, sequence), []).append(row)
    for (group, sequence), points in found.items():
        coded = _coded(path, sheet.title, configuration, group, sequence, points, columns)
        for codec, (kbps, *planes) in columns.codecs:
            for metric, column in zip(PLANES, planes, strict=True):
                pairs = sorted(
                    (1000 * row[kbps] / (coded.width * coded.height * float(Fraction(coded.fps))), row[column])
                    for row in points
                    if _is_number(row[kbps]) and _is_number(row[column]) and row[kbps] > 0
                )
                if pairs:
                    yield PublishedCurve(
                        codec=f"{codec} {configuration}",
                        dataset=_dataset(group),
                        sequence=sequence,
                        coded=coded,
                        metric=metric,
                        printed_metric=HEADINGS[1 + PLANES.index(metric)],
                        figure=f"{sheet.title}, {sequence}",
                        points=tuple((float(rate), float(value)) for rate, value in pairs),
                    )


def _columns(rows: Sequence[tuple[Any, ...]], names: tuple[str, str] | None) -> _Columns | None:
    """Where the row of headings is, the first with kbps and PSNR in it; None where there is none."""
    for number, row in enumerate(rows):
        texts = ["" if cell is None else " ".join(str(cell).lower().split()) for cell in row]
        starts = [n for n, text in enumerate(texts) if text.startswith(("kbps", "bitrate"))][:2]
        codecs = []
        for place, start in enumerate(starts):
            end = starts[place + 1] if place + 1 < len(starts) else len(texts)
            planes = [
                next((n for n in range(start, end) if re.match(rf"{plane}[ -]*psnr|psnr[ -]*{plane}$", texts[n])), None)
                for plane in ("y", "u", "v")
            ]
            if None not in planes:
                above = next((r[start] for r in reversed(rows[:number]) if start < len(r) and r[start]), None)
                usual = str(above or ("reference", "tested")[place]).split(":", 1)[-1].strip()
                codecs.append((names[place] if names else usual, (start, *(n for n in planes if n is not None))))
        if codecs and "qp" in texts[: starts[0]]:
            qp = texts.index("qp")
            extra = [texts.index(name) for name in _CODED if name in texts]
            sequence = max(qp - 1, 0)
            return _Columns(
                number,
                qp,
                sequence,
                sequence - 1 if sequence else None,
                tuple(codecs),
                tuple(extra) if len(extra) == len(_CODED) else None,
            )
    return None


def _coded(
    path: Path,
    title: str,
    configuration: str,
    group: str,
    sequence: str,
    rows: Sequence[tuple[Any, ...]],
    columns: _Columns,
) -> Coded:
    if columns.coded is not None and all(rows[0][column] is not None for column in columns.coded):
        frames, width, height, fps = (rows[0][column] for column in columns.coded)
        return Coded(frames=int(frames), width=int(width), height=int(height), fps=str(fps))
    alike = re.sub(r"[^a-z0-9]", "", sequence.lower())
    size = next(
        (
            size
            for known, sequences in _SEQUENCES.items()
            for name, size in sequences.items()
            if known in {group.upper(), ""} and alike.startswith(re.sub(r"[^a-z0-9]", "", name.lower()))
        ),
        None,
    )
    if size is None:
        raise UsageError(
            f"{path}: sheet {title}: {sequence!r} of class {group or 'none'} is no sequence of JVET's common test"
            f" conditions, so its size is not known; add the columns {', '.join(_CODED)} with its values"
        )
    if configuration == "AI":
        frames, fps = -(-size.frames // _ALL_INTRA_STEP), str(Fraction(size.fps, _ALL_INTRA_STEP))
        return Coded(frames=frames, width=size.width, height=size.height, fps=fps)
    return Coded(frames=size.frames, width=size.width, height=size.height, fps=str(size.fps))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _dataset(group: str) -> str:
    """A class's dataset as manifests name it: B to F are HEVC's, the others JVET's."""
    name = group.lower().replace(" ", "-")
    return f"hevc-{name}" if re.fullmatch("[b-f]", name) else f"jvet-{name}" if re.fullmatch("a[12]?", name) else name


def _class(dataset: str) -> str:
    found = re.fullmatch(r"(?:hevc|jvet)-([a-f][12]?)", dataset)
    return found[1].upper() if found else dataset


def write(path: Path, cells: Iterable[CellResult], reference: str, tested: str) -> int:
    """Write a workbook of two codecs' cells, in JVET's columns; how many rate points it has.

    A sequence is in where both codecs coded the same frames at equally many rate points, three or more, with PSNR of
    Y, U and V. Its sheet follows from the tested codec's GOP structure. BD-rates and the ratios of time are formulas
    of Excel's own, no macros: PCHIP, as JVET has it, worked out in a hidden sheet. Raises UsageError where no sequence
    is in, StoreError where the file cannot be written.
    """
    require("openpyxl", extra=EXTRA)
    from openpyxl import Workbook

    by_sheet = _by_sheet(list(cells), reference, tested)
    if not by_sheet:
        raise UsageError(
            f"{path}: no sequence has three rate points or more of both {reference} and {tested}, equally many, with"
            f" {', '.join(PLANES)}; measure them with vcbench run --metrics {','.join(f'+{name}' for name in PLANES)}"
        )
    book = Workbook()
    summary = book.active
    assert summary is not None
    summary.title = "Summary"
    count = 0
    ranges: dict[str, dict[str, list[int]]] = {}
    for short, pairs in by_sheet.items():
        sheet, workings = book.create_sheet(f"{short}-Main10"), book.create_sheet(f"{short} BD-rate")
        workings.sheet_state = "hidden"
        ranges[short] = _write_sheet(sheet, workings, pairs, reference, tested)
        count += sum(len(one) for one, _ in pairs)
    _write_summary(summary, ranges, reference, tested)
    try:
        book.save(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error
    return count


_Points = list[CellResult]


def _by_sheet(cells: list[CellResult], reference: str, tested: str) -> dict[str, list[tuple[_Points, _Points]]]:
    """Of each sheet, the sequences that both codecs have, by class and name; points by falling rate."""
    found: dict[tuple[str, str, str, int], dict[str, _Points]] = {}
    for cell in cells:
        known = all((m := cell.measurements.get(name)) is not None and m.value is not None for name in PLANES)
        if cell.status == "ok" and cell.bits and known and cell.scale == 1:
            s = cell.sequence
            key = (_class(s.dataset), s.name, f"{s.sha256}+{s.start}", s.frames)
            found.setdefault(key, {}).setdefault(cell.codec.name, []).append(cell)
    sheets: dict[str, list[tuple[_Points, _Points]]] = {}
    for key in sorted(found):
        one, other = (
            sorted(found[key].get(name, []), key=lambda cell: -(cell.bits or 0)) for name in (reference, tested)
        )
        if len(one) == len(other) >= 3:
            sheets.setdefault(_sheet_of(other[0]), []).append((one, other))
    return {short: sheets[short] for short in SHEETS if short in sheets}


def _sheet_of(cell: CellResult) -> str:
    gop = str(cell.codec.card.get("gop", ""))
    if gop.startswith("all intra"):
        return "AI"
    if gop.startswith("random access"):
        return "RA"
    return "LP" if "P frames only" in gop else "LB"


def _write_sheet(
    sheet: Worksheet, workings: Worksheet, pairs: Sequence[tuple[_Points, _Points]], reference: str, tested: str
) -> dict[str, list[int]]:
    """Fill one configuration's sheet; the first row of each sequence by class."""
    wide = len(HEADINGS)
    starts = (_FIRST, _FIRST + wide)
    bd = _FIRST + 2 * wide
    head = [
        "Class",
        "Sequence",
        "QP",
        *HEADINGS,
        *HEADINGS,
        "BD-rate Y",
        "BD-rate U",
        "BD-rate V",
        "EncT",
        "DecT",
        *_CODED,
    ]
    top: list[str | None] = [None] * len(head)
    top[starts[0]], top[starts[1]], top[bd] = f"Reference: {reference}", f"Tested: {tested}", "BD-rate (PCHIP), time"
    sheet.append(top)
    sheet.append(head)
    rows_of: dict[str, list[int]] = {}
    for one, other in pairs:
        first = sheet.max_row + 1
        sequence = one[0].sequence
        rows_of.setdefault(_class(sequence.dataset), []).append(first)
        for index, (old, new) in enumerate(zip(one, other, strict=True)):
            facts = [_class(sequence.dataset), sequence.name] if index == 0 else [None, None]
            sheet.append([*facts, old.rate.value, *_point(old), *_point(new)])
        last = first + len(one) - 1
        for plane in range(3):
            columns = [(_column(start), _column(start + 1 + plane)) for start in starts]
            formula = _bd_formula(workings, sheet.title, columns, first, last)
            _percent(sheet, first, bd + plane, formula)
        for step in range(2):
            before, after = (
                f"{_column(start + 4 + step)}{first}:{_column(start + 4 + step)}{last}" for start in starts
            )
            _percent(sheet, first, bd + 3 + step, f'=IFERROR(GEOMEAN({after})/GEOMEAN({before}),"")')
        for place, name in enumerate(_CODED):
            sheet.cell(first, bd + 6 + place, getattr(sequence, name))
    sheet.freeze_panes = "D3"
    return rows_of


def _point(cell: CellResult) -> list[float | None]:
    values = [cell.measurements[name].value for name in PLANES]
    shown = [None if value is None or not math.isfinite(value) else float(value) for value in values]
    times = [cost.seconds if cost else None for cost in (cell.encode, cell.decode)]
    return [cell.kbps, *shown, *times]


def _percent(sheet: Worksheet, row: int, column: int, formula: str) -> None:
    cell = sheet.cell(row, column + 1, formula)
    cell.number_format = "0.00%"


def _column(number: int) -> str:
    return _LETTERS[number] if number < 26 else _LETTERS[number // 26 - 1] + _LETTERS[number % 26]


def _bd_formula(workings: Worksheet, title: str, columns: Sequence[tuple[str, str]], first: int, last: int) -> str:
    """The formula of one BD-rate, of rows of falling rate; its terms go into a row of the sheet of workings.

    Of each curve, by rising quality x and y = ln rate: x, y, steps h, slopes s, PCHIP's derivatives d (as Fritsch and
    Butland have them), the integral over what both reach. Undefined where quality does not fall with the rate.
    """
    row = workings.max_row + 1 if workings.max_row > 1 or workings["A1"].value is not None else 1
    count = last - first + 1
    cells: list[str] = []

    def put(formula: str) -> str:
        cells.append(f"={formula}")
        return f"{_column(len(cells) - 1)}{row}"

    sheet = f"'{title}'!"
    curves = []
    for rate, quality in columns:
        order = range(last, first - 1, -1)
        x = [put(f"{sheet}{quality}{number}") for number in order]
        y = [put(f"LN({sheet}{rate}{number})") for number in order]
        curves.append((x, y))
    low = put(f"MAX({curves[0][0][0]},{curves[1][0][0]})")
    high = put(f"MIN({curves[0][0][-1]},{curves[1][0][-1]})")
    integrals, rising = [], []
    for x, y in curves:
        h = [put(f"{b}-{a}") for a, b in pairwise(x)]
        s = [put(f"({b}-{a})/{step}") for (a, b), step in zip(pairwise(y), h, strict=True)]
        d = [put(_end(h[0], h[1], s[0], s[1]))]
        for k in range(1, count - 1):
            w1, w2 = f"(2*{h[k]}+{h[k - 1]})", f"({h[k]}+2*{h[k - 1]})"
            d.append(put(f"IF({s[k - 1]}*{s[k]}<=0,0,({w1}+{w2})/({w1}/{s[k - 1]}+{w2}/{s[k]}))"))
        d.append(put(_end(h[-1], h[-2], s[-1], s[-2])))
        parts = []
        for k in range(count - 1):
            a = put(f"MAX(0,MIN({h[k]},{low}-{x[k]}))")
            b = put(f"MAX(0,MIN({h[k]},{high}-{x[k]}))")
            square = put(f"(3*{s[k]}-2*{d[k]}-{d[k + 1]})/{h[k]}")
            cube = put(f"({d[k]}+{d[k + 1]}-2*{s[k]})/{h[k]}^2")
            terms = ((y[k], 1), (d[k], 2), (square, 3), (cube, 4))
            parts.append(put("+".join(f"{term}*({b}^{n}-{a}^{n})/{n}" for term, n in terms)))
        integrals.append(put("+".join(parts)))
        rising += [f"{step}>0" for step in h]
    for number, formula in enumerate(cells, start=1):
        workings.cell(row, number, formula)
    here = f"'{workings.title}'!"
    old, new = integrals
    difference = f"EXP(({here}{new}-{here}{old})/({here}{high}-{here}{low}))-1"
    own = ",".join(here + test for test in (*rising, f"{high}>{here}{low}"))
    return f'=IFERROR(IF(AND({own}),{difference},""),"")'


def _end(h0: str, h1: str, s0: str, s1: str) -> str:
    """PCHIP's derivative at an end: three points' parabola, kept from overshooting."""
    d = f"((2*{h0}+{h1})*{s0}-{h0}*{s1})/({h0}+{h1})"
    return f"IF(({d})*{s0}<=0,0,IF(AND({s0}*{s1}<=0,ABS({d})>3*ABS({s0})),3*{s0},{d}))"


def _write_summary(summary: Worksheet, ranges: dict[str, dict[str, list[int]]], reference: str, tested: str) -> None:
    summary.append([f"{tested} against {reference}", *(None for _ in range(5))])
    bd = _FIRST + 2 * len(HEADINGS)
    for short, classes in ranges.items():
        summary.append([])
        summary.append([f"{short}: {SHEETS[short]}", "Y", "U", "V", "EncT", "DecT"])
        whole = [row for name, rows in classes.items() if name in _FULL for row in rows]
        every = [row for rows in classes.values() for row in rows]
        lines = [(f"Class {name}" if len(name) < 3 else name, rows) for name, rows in classes.items()]
        lines.append(("Overall" if whole else "All sequences", whole or every))
        for label, rows in lines:
            summary.append([label])
            for place in range(5):
                cells = ",".join(f"'{short}-Main10'!{_column(bd + place)}{row}" for row in rows)
                mean = "AVERAGE" if place < 3 else "GEOMEAN"
                _percent(summary, summary.max_row, place + 1, f'=IFERROR({mean}({cells}),"")')
    summary.append([])
    summary.append(
        ["Overall: classes A1, A2, B, C and E. BD-rates: PCHIP, mean over sequences. Times: geometric means."]
    )
