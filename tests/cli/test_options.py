"""What --json prints: the text of json.dumps with an indent, strict, for every value that commands print."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from bench.cli.options import print_json

VALUES: list[Any] = [
    {},
    [],
    [[], {}, [[]], {"a": {}}],
    {"text": 'quote " backslash \\ tab \t line \n bell \x07 é 漢', "none": None, "yes": True, "no": False},
    {"é": 1, "numbers": [0, -3, 2**70, 0.1, -0.0, 1e-5, 1e16, 1.5e300, 5e-324, 123456789012345680.0, 100.0]},
    ({"nested": [{"deep": (1, [2, {"x": [3]}])}]}, "end"),
    "alone",
    3,
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_it_is_the_text_of_json_dumps(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_json(value)
    assert capsys.readouterr().out == json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def test_infinite_numbers_are_words_and_bytes_of_file_names_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ends": [math.inf, -math.inf], "caf\udce9": "caf\udce9.y4m", 1: None})
    expected = {"ends": ["Infinity", "-Infinity"], "caf\\xe9": "caf\\xe9.y4m", "1": None}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize("value", [math.nan, object()])
def test_what_is_no_json_is_an_error(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        print_json([value])
