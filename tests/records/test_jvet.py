"""JVET's Excel sheet: what is written is read again, its formulas give our BD-rates, and other sheets are read."""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from command_line import Vcbench

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")

from bench.analysis.bd import bd_rate  # noqa: E402
from bench.errors import UsageError  # noqa: E402
from bench.records import jvet  # noqa: E402
from bench.records.cell import CellResult  # noqa: E402

QPS = (22, 27, 32, 37)
RANDOM_ACCESS = "random access: up to 4 B frames"


def cell(codec: str, qp: float, bits: float, y: float, *, sequence: str = "BQMall", **more: Any) -> CellResult:
    cost = {"seconds": 20 / qp, "cpu_s": 1, "peak_rss_bytes": 1, "timing": "alone", "commands": []}
    values = {"psnr_y": y, "psnr_u": y + 2 + 0.01 * qp, "psnr_v": y + 3}
    key = hashlib.sha256(repr((codec, qp, sequence)).encode()).hexdigest()
    return CellResult.model_validate(
        {
            "name": f"{codec}_{qp}_{sequence}",
            "key": key,
            "status": "ok",
            "codec": {
                "name": codec, "title": codec, "kind": "classical", "rate_kind": "bitstream",
                "card": {"gop": more.get("gop", RANDOM_ACCESS)}, "tool": {},
            },
            "rate": {"parameter": "qp", "value": qp},
            "sequence": {
                "name": sequence, "dataset": more.get("dataset", "hevc-c"), "file": f"{sequence}.yuv",
                "sha256": "a" * 64, "start": 0, "frames": 600, "width": 832, "height": 480, "fps": "60",
                "pix_fmt": "yuv420p", "matrix": "bt709", "full_range": False, "siting": "left", "conversion": None,
            },
            "bitstream": {"file": "b.bin", "bytes": round(bits), "sha256": "b" * 64},
            "encode": cost,
            "decode": cost,
            "measurements": {
                name: {"key": "c" * 64, "status": "ok", "value": value, "provenance": {}}
                for name, value in values.items()
            },
        }
    )  # fmt: skip


def cells(sequence: str = "BQMall", shift: float = 0.9, **more: Any) -> list[CellResult]:
    """Two codecs, the second with curves that cross PCHIP's cases: unequal steps, a bend, ends that would overshoot."""
    old = zip(QPS, (4e6, 1.9e6, 0.8e6, 0.41e6), (41.2, 38.3, 35.1, 32.4), strict=True)
    new = zip(QPS, (3.3e6, 1.2e6, 0.79e6, 0.3e6), (41.0, 37.0, 36.8, 31.0), strict=True)
    return [
        *(cell("ref", qp, bits, y, sequence=sequence, **more) for qp, bits, y in old),
        *(cell("new", qp, shift * bits, y, sequence=sequence, **more) for qp, bits, y in new),
    ]


def evaluated(book: Any, sheet: str, place: str) -> Any:
    """A cell as a spreadsheet would show it: the formulas' few functions, written anew in Python."""

    def condition(test: Any, yes: Any, no: Any) -> Any:
        return yes() if test() else no()

    def guarded(value: Any, otherwise: Any) -> Any:
        try:
            return value()
        except (ArithmeticError, ValueError):
            return otherwise()

    def numbers(*parts: Any) -> list[float]:
        flat = [v for part in parts for v in (part if isinstance(part, list) else [part])]
        return [v for v in flat if isinstance(v, int | float)]

    names = {
        "LN": math.log, "EXP": math.exp, "ABS": abs, "MIN": min, "MAX": max,
        "AND": lambda *tests: all(tests), "IF": condition, "IFERROR": guarded,
        "AVERAGE": lambda *p: math.fsum(numbers(*p)) / len(numbers(*p)),
        "GEOMEAN": lambda *p: math.exp(math.fsum(map(math.log, numbers(*p))) / len(numbers(*p))),
    }  # fmt: skip

    @cache
    def value(sheet: str, place: str) -> Any:
        found = book[sheet][place].value
        if not (isinstance(found, str) and found.startswith("=")):
            return found
        names["ref"] = lambda where, one, last=None: (
            value(where or sheet, one)
            if last is None
            else [value(where or sheet, c.coordinate) for row in book[where or sheet][f"{one}:{last}"] for c in row]
        )
        text = re.sub(
            r"(?:'([^']+)'!)?\b([A-Z]{1,2}\d+)(?::([A-Z]{1,2}\d+))?",
            lambda m: f"ref({m[1] or sheet!r},{m[2]!r}" + (f",{m[3]!r})" if m[3] else ")"),
            found[1:],
        )
        return eval(lazily(text.replace("^", "**")), {**names})

    return value(sheet, place)


def lazily(text: str) -> str:
    """Arguments of IF and IFERROR as functions without arguments, so that only the branch taken is worked out."""
    out, stack, at = "", [], 0
    while at < len(text):
        called = re.match(r"(IFERROR|IF|\w*)\(", text[at:])
        if called:
            lazy = called[1] in {"IF", "IFERROR"}
            stack.append(lazy)
            out += called[0] + ("lambda:" if lazy else "")
            at += len(called[0])
            continue
        sign = text[at]
        if sign == ")":
            stack.pop()
        out += sign + ("lambda:" if sign == "," and stack and stack[-1] else "")
        at += 1
    return re.sub(r"(?<![<>])(<|>)(?!=)", r"\1", out)


def our_bd_rate(found: list[CellResult], metric: str) -> float:
    def curve(codec: str) -> tuple[list[float], list[float]]:
        own = [c for c in found if c.codec.name == codec]
        return [c.kbps or 0 for c in own], [float(c.measurements[metric].value or 0) for c in own]

    value = bd_rate(*curve("ref"), *curve("new")).value
    assert value is not None
    return value


@pytest.mark.parametrize("place", range(3))
def test_formulas_give_our_bd_rates(tmp_path: Path, place: int) -> None:
    found = cells()
    jvet.write(tmp_path / "a.xlsx", found, "ref", "new")
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    shown = evaluated(book, "RA-Main10", f"{'PQR'[place]}3")
    assert 100 * shown == pytest.approx(our_bd_rate(found, jvet.PLANES[place]), abs=1e-9)
    assert evaluated(book, "RA-Main10", "S3") == pytest.approx(1)
    assert evaluated(book, "Summary", f"{'BCD'[place]}4") == pytest.approx(shown)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = [*cells(), *cells("FourPeople", dataset="hevc-e", gop="low delay: P frames only")]
    assert jvet.write(tmp_path / "a.xlsx", found, "ref", "new") == 8
    again = jvet.read(tmp_path / "a.xlsx")
    points = {(curve.codec, curve.dataset, curve.sequence, curve.metric): dict(curve.points) for curve in again.curves}
    assert {key[0] for key in points} == {"ref RA", "new RA", "ref LP", "new LP"}
    for one in found:
        short = "RA" if one.sequence.dataset == "hevc-c" else "LP"
        for metric in jvet.PLANES:
            read = points[f"{one.codec.name} {short}", one.sequence.dataset, one.sequence.name, metric]
            (value,) = [v for rate, v in read.items() if rate == pytest.approx(one.bpp)]
            assert value == pytest.approx(one.measurements[metric].value, rel=1e-12)
    assert all(curve.coded is not None and curve.coded.frames == 600 for curve in again.curves)


def test_a_sheet_of_others_is_read_by_its_headings(tmp_path: Path) -> None:
    """As the templates have it: merged titles, a class's name once, more columns, no sizes; all intra is subsampled."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "AI-Main10"
    sheet.append(["All intra", None, None, "VTM-23.0", *[None] * 6, "Proposal"])
    sheet.append(["", "", "QP", *["kbps", "Y psnr", "U psnr", "V psnr", "YUV psnr", "Enc T [s]", "Dec T [s]"] * 2])
    for n, qp in enumerate(QPS):
        names = ["Class C", "RaceHorses"] if n == 0 else [None, None]
        sheet.append(
            [*names, qp, 8000 / 2**n, 42 - 3 * n, 44, 45, 43, 1, 1, 7600 / 2**n, 42.1 - 3 * n, 44, 45, 43, 1, 1]
        )
    sheet.append([None, None, "#NUM!"])
    book.create_sheet("Notes").append(["kbps"])
    book.save(tmp_path / "theirs.xlsx")
    found = jvet.read(tmp_path / "theirs.xlsx")
    assert {curve.codec for curve in found.curves} == {"VTM-23.0 AI", "Proposal AI"}
    curve = next(c for c in found.curves if c.codec == "Proposal AI" and c.metric == "psnr_y")
    assert curve.coded is not None
    assert (curve.dataset, curve.coded.frames, curve.coded.width, curve.coded.fps) == ("hevc-c", 38, 832, "15/4")
    assert curve.points[-1] == (pytest.approx(7.6e6 / (832 * 480 * 3.75)), 42.1)
    named = jvet.read(tmp_path / "theirs.xlsx", ("A", "B"))
    assert {curve.codec for curve in named.curves} == {"A AI", "B AI"}


def test_files_that_are_no_such_sheet(tmp_path: Path) -> None:
    (tmp_path / "text.xlsx").write_text("kbps")
    with pytest.raises(UsageError, match="is no Excel workbook"):
        jvet.read(tmp_path / "text.xlsx")
    book = openpyxl.Workbook()
    book.save(tmp_path / "empty.xlsx")
    with pytest.raises(UsageError, match="has no results in sheets named like AI-Main10"):
        jvet.read(tmp_path / "empty.xlsx")
    book.active.title = "RA"
    book.active.append(["Class", "Sequence", "QP", "kbps", "Y psnr", "U psnr", "V psnr"])
    book.active.append(["X", "Unheard", 22, 1, 2, 3, 4])
    book.save(tmp_path / "unknown.xlsx")
    with pytest.raises(UsageError, match="'Unheard' of class X is no sequence of JVET's"):
        jvet.read(tmp_path / "unknown.xlsx")
    with pytest.raises(UsageError, match="no sequence has three rate points"):
        jvet.write(tmp_path / "out.xlsx", cells()[:6], "ref", "new")


def test_curves_that_do_not_rise_have_no_bd_rate(tmp_path: Path) -> None:
    found = cells()
    found[1] = cell("ref", 27, 1.9e6, 43.0)
    jvet.write(tmp_path / "a.xlsx", found, "ref", "new")
    assert evaluated(openpyxl.load_workbook(tmp_path / "a.xlsx"), "RA-Main10", "P3") == ""


def test_the_commands(tmp_path: Path, vcbench: Vcbench) -> None:
    (tmp_path / "set" / "cells").mkdir(parents=True)
    for one in cells():
        (tmp_path / "set" / "cells" / f"{one.name}.json").write_text(one.model_dump_json())
    sheet, out = tmp_path / "a.xlsx", tmp_path / "published"
    told = ("compare", tmp_path / "set", "--anchor", "ref", "--test", "new", "--metric", "psnr_y")
    ours = vcbench(*told, "--jvet", sheet, "--json").json["bd_rate"]["value"]
    assert vcbench("import", "jvet", sheet, "--names", "A,B", "--out", out, "--json").json["curves"] == 6
    told = ("compare", out, "--anchor", "jvet:A RA", "--test", "jvet:B RA", "--metric", "psnr_y", "--json")
    assert vcbench(*told).json["bd_rate"]["value"] == pytest.approx(ours, abs=1e-6)
