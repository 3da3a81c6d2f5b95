from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from bench.report.escape import csv_cell, markdown, printable, slug, web_address, write_csv


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-2-3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "+", "＝1", "-x265"])
def test_formulas_become_text(text: str) -> None:
    assert csv_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["-5", "+3.5e-2", "-inf", "-.5", "x265", "1-2", ""])
def test_numbers_and_plain_text_stay(text: str) -> None:
    assert csv_cell(text) == text


@pytest.mark.parametrize("value", [-1.5, 0.1, 1e-300, math.inf, -math.inf, 42.30000000000001])
def test_a_float_is_written_with_every_digit(value: float) -> None:
    assert float(csv_cell(value)) == value


def test_a_csv_file_is_read_back(tmp_path: Path) -> None:
    rows = [{"a": 'quo"te, comma', "b": "line\nbreak", "c": True}, {"a": None, "b": -1}]
    write_csv(tmp_path / "t.csv", ("a", "b", "c"), rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["a", "b", "c"],
            ['quo"te, comma', "line\nbreak", "true"],
            ["", "-1", ""],
        ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>", "&lt;script&gt;"),
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("two\nlines\r\nand\ttab", "two lines and tab"),
        ("[t](javascript:x)", r"\[t\](javascript:x)"),
        ("ms_ssim", "ms_ssim"),
        ("_em_ *b* ~s~ $m$", r"\_em\_ \*b\* \~s\~ \$m\$"),
        ("a & b \\", "a &amp; b \\\\"),
    ],
)
def test_markdown_has_no_markup_of_a_value(text: str, escaped: str) -> None:
    assert markdown(text) == escaped


def test_unprintable_signs_are_replaced() -> None:
    assert printable("a\x00b\u202ec\ud800") == "a\ufffdb\ufffdc?"
    assert printable("different\requal\x85\u2028\r\n") == "different\ufffdequal\ufffd\ufffd\n"
    printable("\ud800").encode("utf-8")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "a b", "..", "", "\u65e5\u672c", "x" * 300, "a\x00"])
def test_a_slug_is_a_plain_file_name(name: str) -> None:
    assert slug(name).strip(".-") and not set(slug(name)) - set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
    assert len(slug(name)) <= 80


def test_slugs_of_different_names_differ() -> None:
    names = ["a/b", "a b", "a-b", "a?b"]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("psnr_y") == "psnr_y"


@pytest.mark.parametrize(
    "text", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "https:", "http://[bad", ""]
)
def test_only_the_web_is_an_address(text: str) -> None:
    assert web_address(text) is None


def test_a_web_address_stays() -> None:
    assert web_address("https://www.x265.org") == "https://www.x265.org"
