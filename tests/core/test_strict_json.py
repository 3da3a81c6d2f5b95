"""Whatever is said, it is strict JSON afterwards, of a size that can be read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.core.strict_json import MOST_CHARACTERS, MOST_LEVELS, MOST_VALUES, plain, plain_text
from bench.core.untrusted import MOST_JSON, parse_json

NESTED: list[object] = []
for _ in range(5000):
    NESTED = [NESTED]
ROUND: dict[str, object] = {}
ROUND["itself"] = ROUND


@pytest.mark.parametrize(
    "value",
    [
        {"name": "\ud800"}, {"\udfff": 1}, NESTED, ROUND, {"n": 10**400}, {"n": float("nan")}, {"n": float("-inf")},
        {1: 2}, {"a": {1, 2}}, {"p": Path("x")}, {"b": b"\xff"}, {"t": "x" * (1 << 26)}, {"l": list(range(10**6))},
        {"x": ["y" * 1000] * 10**6}, {"array": np.zeros(3)}, {"f": np.float32(0.5)}, {"i": np.int64(-3)},
    ],
    ids=lambda value: str(type(next(iter(value.values())))) if isinstance(value, dict) else "nested",
)  # fmt: skip
def test_anything_can_be_stored_and_read_again(value: object) -> None:
    made = plain(value)
    text = json.dumps(made, ensure_ascii=False, allow_nan=False)
    assert len(text.encode()) < MOST_JSON / 4
    assert parse_json(text) == made


def test_what_is_plain_stays_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "é\n"], "b": {"c": {"d": -(1 << 63)}}}
    assert plain(value) == value
    assert plain({"f": np.float32(0.5), "i": np.int64(-3)}) == {"f": 0.5, "i": -3}


def test_what_is_left_out_is_said() -> None:
    assert f"more than {MOST_LEVELS} levels" in json.dumps(plain(NESTED))
    assert plain(list(range(2 * MOST_VALUES)))[-1] == "(left out: there was too much of it)"
    assert plain_text("x" * (MOST_CHARACTERS + 7)).endswith("x (7 more characters were left out)")
    assert plain_text("\ud800name\udfff") == "\ufffdname\ufffd"
