"""Which values of a rate parameter bring a codec to given levels, found by few trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bench.cards import Rates

MAX_TRIALS = 8
"""Trials of one target at most, beside the two that all targets begin with."""

_INTERPOLATIONS = 4
_DECADES = 3
_DIGITS = 4

Value = int | float
_Point = tuple[float, float]


@dataclass(frozen=True)
class Reached:
    """What the search found for a target: the nearest value tried, its level less the target, and why no nearer."""

    status: Literal["reached", "nearest", "none"]
    value: Value | None
    distance: float | None
    reason: str | None


class LevelSearch:
    """Searches the values of a rate parameter at which a codec has given levels: log rates, or qualities.

    Levels rise or fall with the parameter, which the trials tell. ``tolerance`` is in the unit of levels. All targets
    share what is known of the curve: it begins with the first and last of the card's rate points (with ``inner``, those
    in the middle, so that no trial lies far outside of the targets), and each further trial is where interpolation
    through the nearest points, or extrapolation, expects a target; from the fifth trial of a target on its bracket is
    halved. The parameter is looked at by its logarithm where its range spans three decades, as of bitrates; where it
    need not be whole, values have four significant digits.

    The search knows nothing of encodes: ``propose`` says which values to try, ``observe`` takes what came of one.
    """

    def __init__(self, rates: Rates, targets: Sequence[float], tolerance: float, *, inner: bool = False) -> None:
        self.targets = tuple(targets)
        self._rates = rates
        self._tolerance = tolerance
        self._inner = inner
        self._levels: dict[Value, float] = {}
        self._failed: dict[Value, str] = {}
        self._trials = dict.fromkeys(self.targets, 0)
        self._ended: dict[float, str] = {}
        self._geometric = rates.minimum > 0 and rates.maximum >= 10**_DECADES * rates.minimum

    @property
    def tried(self) -> tuple[Value, ...]:
        """Every value that was tried, in ascending order."""
        return tuple(sorted({*self._levels, *self._failed}))

    def observe(self, value: Value, level: float | None, failure: str = "") -> None:
        """Take the level at a value, or why there is none."""
        if level is None or not math.isfinite(level):
            self._failed[value] = failure or "its level is not finite"
        else:
            self._levels[value] = level

    def propose(self) -> list[Value]:
        """Distinct values to try next; none when every target is reached or cannot be."""
        if not self.tried:
            return self._first() if self.targets else []
        found: dict[Value, None] = {}
        for target in self.targets:
            value = self._next(target)
            if value is not None:
                self._trials[target] += 1
                found[value] = None
        return list(found)

    def outcome(self, target: float) -> Reached:
        """The nearest that was found for a target so far."""
        if not self._levels:
            reasons = dict.fromkeys(self._failed.values())
            return Reached("none", None, None, "; ".join(reasons) or "nothing was tried")
        value = min(self._levels, key=lambda value: (abs(self._levels[value] - target), value))
        distance = self._levels[value] - target
        if abs(distance) <= self._tolerance:
            return Reached("reached", value, distance, None)
        return Reached("nearest", value, distance, self._ended.get(target, "the search has not ended"))

    def _first(self) -> list[Value]:
        values = sorted(self._rates.values)
        skipped = (len(values) - 1) // 3 if self._inner else 0
        ends = dict.fromkeys((values[skipped], values[-1 - skipped]))
        return [self._rates.check(value) for value in ends]

    def _next(self, target: float) -> Value | None:
        if target in self._ended or self.outcome(target).status != "nearest":
            return None
        value, why = self._guess(target)
        if value in self._failed:
            why = f"{self._rates.parameter}={value:g} failed: {self._failed[value]}"
        elif self._trials[target] >= MAX_TRIALS:
            why = why or f"{MAX_TRIALS} trials came no nearer"
        if why:
            self._ended[target] = why
        return None if why else value

    def _guess(self, target: float) -> tuple[Value | None, str]:
        """The next value for a target, or why there is none."""
        points = sorted((self._axis(value), level) for value, level in self._levels.items())
        brackets = [
            pair for pair in pairwise(points) if min(pair[0][1], pair[1][1]) <= target <= max(pair[0][1], pair[1][1])
        ]
        if brackets:
            left, right = min(brackets, key=lambda pair: pair[1][0] - pair[0][0])
            return self._between(left, right, points, target)
        return self._beyond(points, target)

    def _between(self, left: _Point, right: _Point, points: list[_Point], target: float) -> tuple[Value | None, str]:
        if self._trials[target] < _INTERPOLATIONS:
            guess = _interpolated(left, right, points, target)
        else:
            guess = (left[0] + right[0]) / 2
        low, high = self._value(left[0]), self._value(right[0])
        value = min(max(self._value(guess), low + self._step(low)), high - self._step(high))
        value = self._value(self._axis(value))
        if not low < value < high:
            kind = "takes whole numbers" if self._rates.integer else f"has {_DIGITS} digits"
            return None, f"{self._rates.parameter} {kind}, and {low:g} and {high:g} lie on either side"
        return value, ""

    def _beyond(self, points: list[_Point], target: float) -> tuple[Value | None, str]:
        """A value outside those tried, on the side where the target lies."""
        if len(points) == 1:
            return self._from_one(points[0])
        (first, first_level), (last, last_level) = points[0], points[-1]
        if first_level == last_level:
            return None, f"{self._rates.parameter} makes no difference"
        rising = last_level > first_level
        upwards = (target > max(first_level, last_level)) == rising
        end, other = (points[-1], points[-2]) if upwards else (points[0], points[1])
        limit = self._rates.maximum if upwards else self._rates.minimum
        if self._value(end[0]) == limit:
            return None, f"{self._named(limit)} is the end of its range"
        slope = (end[1] - other[1]) / (end[0] - other[0])
        if slope == 0 or (slope > 0) != rising:
            slope = (last_level - first_level) / (last - first)
        reach = 2 * (last - first)
        guess = min(max(end[0] + (target - end[1]) / slope, first - reach), last + reach)
        value, step = self._value(guess), self._step(self._value(end[0]))
        value = max(value, self._value(end[0]) + step) if upwards else min(value, self._value(end[0]) - step)
        return self._value(self._axis(min(max(value, self._rates.minimum), self._rates.maximum))), ""

    def _from_one(self, point: _Point) -> tuple[Value | None, str]:
        """With one point known the direction is not: half-way to the farther end of the range."""
        ends = [self._axis(self._rates.minimum), self._axis(self._rates.maximum)]
        farther = max(ends, key=lambda end: abs(end - point[0]))
        value = self._value((point[0] + farther) / 2)
        return (value, "") if value not in self._levels else (None, f"{self._rates.parameter} has no other value")

    def _axis(self, value: Value) -> float:
        return math.log(value) if self._geometric else float(value)

    def _value(self, x: float) -> Value:
        """The parameter's value at a place of the axis: whole, or of four digits, and in its range."""
        value = math.exp(x) if self._geometric else x
        value = float(round(value)) if self._rates.integer else float(f"{value:.{_DIGITS}g}")
        return self._rates.check(min(max(value, self._rates.minimum), self._rates.maximum))

    def _step(self, value: Value) -> float:
        """Distance of a value to the next one that can be told from it."""
        if self._rates.integer:
            return 1
        scale = abs(value) or self._rates.maximum - self._rates.minimum
        return float(10.0 ** (math.floor(math.log10(scale)) - _DIGITS + 1))

    def _named(self, value: Value) -> str:
        return f"{self._rates.parameter}={value:g}"


def _interpolated(left: _Point, right: _Point, points: Sequence[_Point], target: float) -> float:
    """Where a level is expected between two points: by a parabola through a third, or the chord if that leaves them.

    The parabola is of the place as a function of the level, in Newton's form.
    """
    if left[1] == right[1]:
        return (left[0] + right[0]) / 2
    slope = (right[0] - left[0]) / (right[1] - left[1])
    chord = left[0] + slope * (target - left[1])
    others = [point for point in points if point not in (left, right) and point[1] not in (left[1], right[1])]
    if not others:
        return chord
    third = min(others, key=lambda point: abs(point[1] - target))
    bend = ((third[0] - right[0]) / (third[1] - right[1]) - slope) / (third[1] - left[1])
    curved = chord + bend * (target - left[1]) * (target - right[1])
    return curved if left[0] < curved < right[0] else chord
