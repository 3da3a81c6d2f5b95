"""The rules of the gate: which change of a candidate against its baseline is a regression."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from bench.analysis.quality import QualityAxis
from bench.errors import RuleError, UnknownNameError, UsageError
from bench.registry import metric_names

Kind = Literal["bd_rate", "bd_metric", "value", "bytes", "cost", "failed_cells"]
Scope = Literal["mean", "worst"]

COSTS = {
    "encode_s": "encode time",
    "decode_s": "decode time",
    "encode_cpu_s": "encode CPU time",
    "decode_cpu_s": "decode CPU time",
    "encode_memory": "encode memory",
    "decode_memory": "decode memory",
}
"""What an encode or decode costs, by the name a rule uses; measured, so never twice the same."""

_DELTAS: dict[str, Kind] = {"bd_rate": "bd_rate", "bd_metric": "bd_metric"}
_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z_][\w:.+@-]*)|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))|(?P<sign>[()<>%]))")


@dataclass(frozen=True)
class Rule:
    """One rule: a candidate whose change goes beyond ``threshold`` in the direction of worse is a regression.

    kind: what is compared. name: the metric or its quality axis (vmaf@p5), or the cost; "" for bytes and failed cells.
    scope: the mean over sequences, or the worst of them. threshold: per cent for rates, bytes and costs, the metric's
    unit for ``bd_metric`` and values, a number of cells for ``failed_cells``; the change that is tolerated, with its
    sign. sign: 1 where a rise is worse, -1 where a fall is.
    """

    text: str
    kind: Kind
    name: str
    scope: Scope
    sign: Literal[1, -1]
    threshold: float

    @property
    def unit(self) -> str:
        """Unit of threshold and change: "%", the metric's, or "cells"."""
        if self.kind in {"bd_metric", "value"}:
            return self.axis.unit
        return "cells" if self.kind == "failed_cells" else "%"

    @property
    def axis(self) -> QualityAxis:
        """Metric, pooling and scale; a rule on values is linear unless its name says otherwise, as tables are."""
        axis = QualityAxis.parse(self.name)
        return replace(axis, scale="linear") if self.kind == "value" and ":db" not in self.name else axis

    def is_beyond(self, change: float) -> bool:
        """Whether a change is worse than the one tolerated."""
        return self.sign * change > self.sign * self.threshold

    def is_worse(self, change: float) -> bool:
        """Whether a change is for the worse at all."""
        return self.sign * change > 0


def parse_rule(text: str) -> Rule:
    """Rule of a text such as ``bd_rate(psnr_y)>0.5%``, ``worst bd_metric(vmaf)<-1``, ``psnr_y<-0.1``, ``encode_s>10%``.

    In full: ``[worst] QUANTITY > THRESHOLD`` or ``<``. QUANTITY is ``bd_rate(METRIC)``, ``bd_metric(METRIC)``, the name
    of a metric (its value at equal rate points), ``bytes``, ``failed_cells`` or one of `COSTS`. THRESHOLD is how much
    worse the candidate may be: per cent for rates, bytes and costs, else the metric's unit. Blanks do not matter.

    Raises RuleError with the column of what is wrong.
    """
    return _Parser(text).rule()


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Rules of several texts; RuleError for one that is given twice, however it is written."""
    rules: dict[tuple[Kind, str, Scope], Rule] = {}
    for text in texts:
        rule = parse_rule(text)
        key = (rule.kind, rule.name, rule.scope)
        if key in rules:
            raise RuleError(text, 0, f"the same is bounded by {rules[key].text!r} already; keep one of the two")
        rules[key] = rule
    return tuple(rules.values())


class _Parser:
    """Reads one rule from left to right; ``at`` is the column of what is looked at."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read())
        self._next = 0

    def rule(self) -> Rule:
        scope: Scope = "mean"
        if self._kind() == "word" and self._value() == "worst":
            scope, self._next = "worst", self._next + 1
        start = self._column()
        kind, name = self._quantity()
        if scope == "worst" and kind in {"cost", "failed_cells"}:
            raise self._wrong(f"the worst {name or kind} would be that of noise; leave 'worst' out", 0)
        higher = kind in {"bd_metric", "value"} and QualityAxis.parse(name).kind.direction == "higher"
        sign: Literal[1, -1] = -1 if higher else 1
        self._operator(sign, self._text[start : self._column()].strip())
        threshold = self._threshold(sign, per_cent=kind in {"bd_rate", "bytes", "cost"})
        if self._next < len(self._tokens):
            raise self._wrong("nothing may follow the threshold; give each rule by an option of its own")
        if kind == "failed_cells" and threshold != int(threshold):
            raise self._wrong("a number of cells is whole", self._column(self._next - 1))
        return Rule(" ".join(self._text.split()), kind, name, scope, sign, threshold)

    def _quantity(self) -> tuple[Kind, str]:
        column, word = self._column(), self._take("word", "a quantity, such as bd_rate(psnr_y) or encode_s")
        if word in _DELTAS:
            self._take("(", f"'(' and a metric, {word}(psnr_y),")
            column, name = self._column(), self._take("word", "the name of a metric, such as psnr_y")
            self._metric(name, column, ())
            self._take(")", "')'")
            return _DELTAS[word], name
        if word in COSTS:
            return "cost", word
        if word in {"bytes", "failed_cells"}:
            return ("bytes" if word == "bytes" else "failed_cells"), ""
        self._metric(word, column, (*_DELTAS, *COSTS, "bytes", "failed_cells"))
        return "value", word

    def _metric(self, name: str, column: int, also: Iterable[str]) -> None:
        try:
            _ = QualityAxis.parse(name).kind
        except UnknownNameError as error:
            if "@" in name and error.kind != "metric":
                raise self._wrong(str(error), column) from None
            near = get_close_matches(name, [*also, *metric_names()], n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "vcbench ls metrics lists the metrics"
            quantities = f"; quantities are {', '.join(also)}, or a metric" if also else ""
            raise self._wrong(f"{name!r} is not known; {hint}{quantities}", column) from None
        except UsageError as error:
            raise self._wrong(str(error), column) from None

    def _operator(self, sign: int, what: str) -> None:
        column, found = self._column(), self._value()
        if found not in {"<", ">"}:
            raise self._wrong("expected '>' or '<' here, then the threshold")
        worse = ">" if sign > 0 else "<"
        if found != worse:
            falls = "a rise is worse" if sign > 0 else "a fall is worse"
            raise self._wrong(f"of {what} {falls}; write {worse} for what fails", column)
        self._next += 1

    def _threshold(self, sign: int, *, per_cent: bool) -> float:
        column, number = self._column(), float(self._take("number", "a number, the change that is tolerated"))
        if not math.isfinite(number) or sign * number < 0:
            side = "0 or more" if sign > 0 else "0 or less"
            raise self._wrong(f"a threshold says how much worse is tolerated; here that is {side}", column)
        marked = self._value() == "%"
        if marked and not per_cent:
            raise self._wrong("no % here: the threshold is in the unit of what is compared")
        if per_cent and not marked:
            raise self._wrong("the threshold is per cent; write a % behind the number")
        self._next += marked
        return number

    def _read(self) -> Iterable[tuple[str, str, int]]:
        at, end = 0, len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at)
            if match is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                raise RuleError(self._text, at, f"{self._text[at]!r} has no meaning in a rule")
            kind = str(match.lastgroup)
            yield (match[kind] if kind == "sign" else kind), match[kind], match.start(kind)
            at = match.end()

    def _take(self, kind: str, expected: str) -> str:
        if self._kind() != kind:
            raise self._wrong(f"expected {expected} here")
        self._next += 1
        return self._tokens[self._next - 1][1]

    def _kind(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else "end"

    def _value(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _column(self, index: int | None = None) -> int:
        index = self._next if index is None else index
        return self._tokens[index][2] if index < len(self._tokens) else len(self._text.rstrip())

    def _wrong(self, message: str, column: int | None = None) -> RuleError:
        return RuleError(self._text, self._column() if column is None else column, message)
