"""Bjontegaard delta: the mean difference of two rate-quality curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.hull import upper_hull
from bench.analysis.interpolation import Antiderivative
from bench.errors import UsageError

METHODS = ("pchip", "akima", "cubic")
SPREAD_METHODS = ("pchip", "akima", "linear")
"""Interpolations through every point: how far they differ is what the choice among them is worth."""

MIN_POINTS = 3
FEW_POINTS = 4
LITTLE_OVERLAP = 0.75
DISAGREEMENT = 0.01
"""Rate that methods may differ by without a flag, as a share; or a tenth of the value, where that is more."""

Status = Literal["ok", "partial", "undefined"]
Domain = Literal["quality", "rate"]
DOMAINS: tuple[Domain, ...] = ("quality", "rate")
UNITS: Mapping[Domain, str] = {"quality": " %", "rate": ""}
"""What stands behind a delta in a sentence."""

Numbers = Sequence[float] | NDArray[np.float64]
_Array = NDArray[np.float64]
_Integral = Callable[[_Array], _Array]


class Cause(StrEnum):
    """Why a Bjontegaard delta is undefined, or what its value is in doubt for; `reason` and `notes` say it in words."""

    # There is no value.
    TOO_FEW_POINTS = "too_few_points"
    BAD_RATE = "bad_rate"
    NAN_QUALITY = "nan_quality"
    INFINITE_QUALITY = "infinite_quality"
    NO_OVERLAP = "no_overlap"
    ILL_CONDITIONED = "ill_conditioned"
    NOT_MEASURED = "not_measured"
    SOURCE_DIFFERS = "source_differs"
    PROTOCOL_DIFFERS = "protocol_differs"
    NO_SEQUENCE = "no_sequence"
    # There is a value, and a doubt; too little overlap leaves none where a minimum is asked for.
    LITTLE_OVERLAP = "little_overlap"
    SATURATED = "saturated"
    CAPPED = "capped"
    POINTS_LEFT_OUT = "points_left_out"
    NON_MONOTONE = "non_monotone"
    THREE_POINTS = "three_points"
    METHODS_DISAGREE = "methods_disagree"
    FIT_FALLS = "fit_falls"
    PARTIAL = "partial"


FLAG_TEXTS: Mapping[Cause, str] = {
    Cause.LITTLE_OVERLAP: f"less than {100 * LITTLE_OVERLAP:g} % of the anchor's curve is compared",
    Cause.SATURATED: "points beyond the metric's saturation, where it no longer distinguishes codecs",
    Cause.CAPPED: "infinite qualities counted as the metric's cap",
    Cause.POINTS_LEFT_OUT: "rate points without a value are left out",
    Cause.NON_MONOTONE: "quality does not rise with rate; points are left out if one of lower rate is at least as good",
    Cause.THREE_POINTS: "a curve of three points",
    Cause.METHODS_DISAGREE: "PCHIP, Akima and linear interpolation disagree",
    Cause.FIT_FALLS: "the cubic fit falls inside the interval; the value is not averaged",
    Cause.PARTIAL: "a mean over some of the sequences only",
}
"""One line on each flag, for legends; a result's notes have the figures."""

FLAG_MARKS: Mapping[Cause, str] = {
    Cause.LITTLE_OVERLAP: "o",
    Cause.SATURATED: "s",
    Cause.CAPPED: "c",
    Cause.POINTS_LEFT_OUT: "x",
    Cause.NON_MONOTONE: "m",
    Cause.THREE_POINTS: "3",
    Cause.METHODS_DISAGREE: "i",
    Cause.FIT_FALLS: "f",
    Cause.PARTIAL: "p",
}
"""The mark of each flag, to stand beside a value; the same in every output."""


OUT_OF_RANGE = (Cause.ILL_CONDITIONED, "the integral leaves the floating-point range")
"""Why curves that meet have no delta."""


@dataclass(frozen=True)
class BDResult:
    """One Bjontegaard delta with its doubts, or why there is none.

    value: per cent for `bd_rate`, the metric's unit for `bd_metric`; None when undefined, finite otherwise.
    status: "ok" or "undefined"; "partial" only for a mean that rests on a part of the sequences.
    overlap: the share of the anchor's interval that is compared, 0 to 1; None when that interval is not known.
    compared: that interval, of quality in the metric's unit (`bd_rate`) or of rate (`bd_metric`), low end first.
    method: the interpolation, and the convex hull where one was taken.
    by_method: the value by each of `SPREAD_METHODS` that has one.
    flags: the doubts by type; notes: each with its figures, and whatever else a reader must know beside the value.
    """

    value: float | None
    status: Status
    reason: str | None
    overlap: float | None
    method: str
    cause: Cause | None = None
    flags: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    compared: tuple[float, float] | None = None
    by_method: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def undefined(cls, cause: Cause, reason: str, method: str, overlap: float | None = None) -> BDResult:
        """A result without a value."""
        return cls(None, "undefined", reason, overlap, method, cause)

    @classmethod
    def of(
        cls,
        value: float,
        overlap: float,
        method: str,
        doubts: Sequence[Doubt],
        compared: tuple[float, float],
        by_method: Mapping[str, float],
    ) -> BDResult:
        """A value with its doubts."""
        flags = tuple(dict.fromkeys(doubt.flag for doubt in doubts))
        notes = tuple(doubt.text for doubt in doubts)
        return cls(value, "ok", None, overlap, method, None, flags, notes, compared, by_method)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The least and the greatest value over `by_method`, in the unit of `value`."""
        return (min(self.by_method.values()), max(self.by_method.values())) if self.by_method else None

    @property
    def averageable(self) -> bool:
        """Whether the value may enter a mean: it exists, and its curve does not fall where quality rises."""
        return self.value is not None and Cause.FIT_FALLS not in self.flags

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return {
            "value": self.value,
            "status": self.status,
            "reason": self.reason,
            "overlap": self.overlap,
            "compared": None if self.compared is None else list(self.compared),
            "method": self.method,
            "by_method": dict(self.by_method),
            "spread": None if self.spread is None else list(self.spread),
            "cause": None if self.cause is None else str(self.cause),
            "flags": [str(flag) for flag in self.flags],
            "notes": list(self.notes),
        }


def bd_rate(
    anchor_rate: Numbers,
    anchor_quality: Numbers,
    test_rate: Numbers,
    test_quality: Numbers,
    *,
    higher_is_better: bool = True,
    method: str = "pchip",
    min_overlap: float = 0.0,
    cap: float | None = None,
    saturation: float | None = None,
    hull: bool = False,
) -> BDResult:
    """Mean rate difference of test against anchor at equal quality, in per cent; negative when test needs less rate.

    Each curve is the logarithm of rate as a function of quality; the difference of the two is integrated in closed form
    over the qualities both reach, and its mean m gives 100 * (exp(m) - 1). There is a value wherever the curves share
    an interval of quality; what makes it doubtful stands in `flags`, with figures in `notes`.

    Rates are positive, in any unit common to both; points come in any order. `method` is "pchip", "akima" or "cubic"
    (one polynomial of degree three, by least squares when there are more than four points): the three differ by
    several per cent on real curves, so the result names the one used, and has the value by PCHIP, Akima and linear
    interpolation beside it. With `higher_is_better=False` quality rises as the number falls (LPIPS, DISTS, NIQE, FID).

    Overlap is the share of the anchor's interval that is compared; a test curve that reaches further takes nothing from
    it. Under `LITTLE_OVERLAP` it is flagged, under `min_overlap` there is no value.

    Which points count: identical ones once; of several at one rate the best; of a curve that is not monotone the
    envelope, which leaves out points that a cheaper one equals or betters (`bd_metric` takes all points where the
    envelope has under three). `cap` replaces qualities beyond it (an
    infinite PSNR: 99.9 dB). `saturation` is the quality from which a metric no longer tells codecs apart (VMAF: 99.5):
    points there count, flagged, until they no longer rise; the points from there on are left out, as by the AOM CTC.
    `hull` keeps of each curve the upper convex hull in the plane of rate and quality.

    Undefined, with the reason: no common interval; under three usable points; a rate that is zero, negative or not
    finite; NaN or uncapped infinite quality; points too close for floating-point numbers.

    Raises UsageError for an unknown method, rates and qualities of unequal number, or `min_overlap` outside 0 to 1.

    Sources: G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001 (cubic);
    ITU-T HSTP-VID-WPOM, 2020 (piecewise cubic); C. Herglotz et al., "Beyond Bjontegaard", ICIP 2022 (Akima); AOM Common
    Test Conditions (saturated VMAF, convex hull).
    """
    settings = CurveSettings(method, cap, saturation, hull, higher_is_better)
    anchor = prepare("anchor", anchor_rate, anchor_quality, "quality", settings)
    return delta(anchor, prepare("test", test_rate, test_quality, "quality", settings), settings, min_overlap)


def bd_metric(
    anchor_rate: Numbers,
    anchor_quality: Numbers,
    test_rate: Numbers,
    test_quality: Numbers,
    *,
    higher_is_better: bool = True,
    method: str = "pchip",
    min_overlap: float = 0.0,
    cap: float | None = None,
    saturation: float | None = None,
    hull: bool = False,
) -> BDResult:
    """Mean quality difference, test minus anchor, at equal rate, in the metric's own unit and direction.

    Positive is better for a metric that rises with quality (BD-PSNR) and worse for one that falls (BD-LPIPS). Each
    curve is quality as a function of the logarithm of rate, and overlap is that of the log-rate intervals. Arguments,
    undefined cases and errors are those of `bd_rate`.
    """
    settings = CurveSettings(method, cap, saturation, hull, higher_is_better)
    anchor = prepare("anchor", anchor_rate, anchor_quality, "rate", settings)
    return delta(anchor, prepare("test", test_rate, test_quality, "rate", settings), settings, min_overlap)


def marks(flags: Iterable[Cause]) -> str:
    """The marks of a value, such as "o,p"; empty where there is no doubt."""
    given = set(flags)
    return ",".join(mark for flag, mark in FLAG_MARKS.items() if flag in given)


def legend(flags: Iterable[Cause]) -> list[str]:
    """What the marks of these flags mean, in the order of the marks, such as "3: a curve of three points"."""
    given = set(flags)
    return [f"{mark}: {FLAG_TEXTS[flag]}" for flag, mark in FLAG_MARKS.items() if flag in given]


def cap_quality(quality: _Array, cap: float | None, *, higher_is_better: bool = True) -> tuple[_Array, int]:
    """Qualities with those better than `cap` replaced by it, and how many were; `cap=None` changes nothing."""
    if cap is None:
        return quality, 0
    beyond = quality > cap if higher_is_better else quality < cap
    return np.where(beyond, cap, quality), int(np.count_nonzero(beyond))


def method_label(method: str, *, hull: bool = False) -> str:
    """What a result says of its method: "pchip", or "pchip, convex hull". Raises UsageError for an unknown method."""
    if method not in METHODS:
        raise UsageError(f"unknown BD method {method!r}; there are: {', '.join(METHODS)}")
    return f"{method}, convex hull" if hull else method


@dataclass(frozen=True)
class CurveSettings:
    """How points become a curve; see `bd_rate`. Raises UsageError for an unknown method."""

    method: str = "pchip"
    cap: float | None = None
    saturation: float | None = None
    hull: bool = False
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        method_label(self.method, hull=self.hull)

    @property
    def sign(self) -> float:
        """Makes a quality one of which more is better."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def label(self) -> str:
        """The method in words."""
        return method_label(self.method, hull=self.hull)


@dataclass(frozen=True)
class Doubt:
    """A flag, and its sentence with the figure."""

    flag: Cause
    text: str


@dataclass(frozen=True)
class PreparedCurve:
    """One curve made ready to be compared with many others, or why it cannot be.

    low, high: ends of its range of `domain` (oriented so that more is better, or the logarithm of rate), NaN with a
    `problem`. slope: mean change of the other axis over that range. integrals: the antiderivative of the other axis,
    for arrays, by the method chosen and by each of `SPREAD_METHODS` that has one. derivative: that of a cubic fit.
    """

    domain: Domain
    low: float
    high: float
    slope: float = math.nan
    integrals: Mapping[str, _Integral] = field(default_factory=dict)
    derivative: Any = None
    doubts: tuple[Doubt, ...] = ()
    problem: tuple[Cause, str] | None = None


def prepare(
    name: str, rate: Numbers, quality: Numbers, domain: Domain, settings: CurveSettings | None = None
) -> PreparedCurve:
    """A curve as `bd_rate` (domain "quality") or `bd_metric` ("rate") takes it; `name` begins its reason and notes.

    Raises UsageError as `bd_rate`.
    """
    settings = settings or CurveSettings()
    points = _Points.read(name, rate, quality, settings)
    return _prepared(name, points.rate.tobytes(), points.quality.tobytes(), domain, settings)


@lru_cache(maxsize=1 << 13)
def _prepared(name: str, rate: bytes, quality: bytes, domain: Domain, settings: CurveSettings) -> PreparedCurve:
    """A curve made ready, from arrays of float64; remembered, since an anchor's is wanted for every test codec."""
    points = _Points(name, np.frombuffer(rate), np.frombuffer(quality))
    doubts: list[Doubt] = []
    try:
        log_rate, oriented = _usable(points, settings, domain, doubts)
        x, y = (oriented, log_rate) if domain == "quality" else (log_rate, oriented)
        with np.errstate(all="ignore"):
            integrals, derivative = _integrals(x, y, settings.method)
            slope = float((y[-1] - y[0]) / (x[-1] - x[0]))
        return PreparedCurve(domain, float(x[0]), float(x[-1]), slope, integrals, derivative, tuple(doubts))
    except _UndefinedError as problem:
        return PreparedCurve(domain, math.nan, math.nan, doubts=tuple(doubts), problem=(problem.cause, str(problem)))


def delta(anchor: PreparedCurve, test: PreparedCurve, settings: CurveSettings, min_overlap: float = 0.0) -> BDResult:
    """The Bjontegaard delta of two prepared curves of one domain and settings; see `bd_rate`."""
    check_min_overlap(min_overlap)
    doubts = [*anchor.doubts, *test.doubts]
    problem = anchor.problem or test.problem
    overlap = None
    if problem is None:
        low, high = max(anchor.low, test.low), min(anchor.high, test.high)
        overlap = overlap_of(anchor.low, anchor.high, test.low, test.high)
        problem = overlap_problem(overlap, anchor.domain, min_overlap)
    values: dict[str, float] = {}
    if problem is None:
        for name in test.integrals.keys() & anchor.integrals.keys():
            of_test, of_anchor = (_area(one.integrals[name], low, high) for one in (test, anchor))
            value = _value((of_test - of_anchor) / (high - low), anchor.domain, settings)
            if value is not None:
                values[name] = value
        if settings.method not in values:
            problem = OUT_OF_RANGE
    if problem is not None:
        return replace(BDResult.undefined(*problem, settings.label, overlap), notes=tuple(d.text for d in doubts))
    assert overlap is not None
    by_method = {name: values[name] for name in SPREAD_METHODS if name in values}
    tolerance = 100 * DISAGREEMENT if anchor.domain == "quality" else DISAGREEMENT * abs(anchor.slope)
    doubts += little_overlap(overlap, anchor.domain)
    doubts += disagreement(values[settings.method], by_method, tolerance, UNITS[anchor.domain])
    doubts += falling(anchor, test, low, high)
    compared = _compared(low, high, anchor.domain, settings)
    return BDResult.of(values[settings.method], overlap, settings.label, doubts, compared, by_method)


def check_min_overlap(min_overlap: float) -> None:
    """Raise UsageError for a least overlap that is no share."""
    if not 0 <= min_overlap <= 1:
        raise UsageError(f"min_overlap is {min_overlap:g}; give a share from 0 to 1, such as 0.75 (75%)")


def overlap_of(anchor_low: float, anchor_high: float, test_low: float, test_high: float) -> float:
    """The share of the anchor's interval that the test's reaches, 0 to 1."""
    # Halved, because the length of an interval may overflow where the difference of the halves of its ends cannot.
    common = min(anchor_high / 2, test_high / 2) - max(anchor_low / 2, test_low / 2)
    whole = anchor_high / 2 - anchor_low / 2
    return max(common, 0.0) / whole if whole > 0 else 0.0


def overlap_problem(overlap: float, domain: Domain, min_overlap: float = 0.0) -> tuple[Cause, str] | None:
    """Why two curves of this overlap have no delta; None where they have."""
    if overlap == 0:
        axis = "quality" if domain == "quality" else "rate"
        return Cause.NO_OVERLAP, f"the curves have no {axis} in common (overlap 0 %)"
    if overlap < min_overlap:
        text = f"overlap {per_cent(overlap)} is under the {per_cent(min_overlap)} asked for (of {domain})"
        return Cause.LITTLE_OVERLAP, text
    return None


def _area(integral: _Integral, low: float, high: float) -> float:
    if isinstance(integral, Antiderivative):
        return integral.at(high) - integral.at(low)
    with np.errstate(all="ignore"):
        return float(np.diff(integral(np.array([low, high])))[0])


def falling(anchor: PreparedCurve, test: PreparedCurve, low: float, high: float) -> list[Doubt]:
    """The doubt of cubic fits that fall somewhere between two ends."""
    names = [
        name
        for name, curve in (("anchor", anchor), ("test", test))
        if curve.derivative is not None and _falls(curve.derivative, low, high)
    ]
    text = f"the cubic fit of {' and '.join(names)} falls instead of rising; use --method pchip"
    return [Doubt(Cause.FIT_FALLS, text)] if names else []


def little_overlap(overlap: float, domain: Domain) -> list[Doubt]:
    """A doubt where two curves meet over little of the anchor's."""
    if overlap >= LITTLE_OVERLAP:
        return []
    return [Doubt(Cause.LITTLE_OVERLAP, f"{per_cent(overlap)} of the anchor's {domain} is compared")]


def disagreement(value: float, by_method: Mapping[str, float], tolerance: float, unit: str = "") -> list[Doubt]:
    """A doubt where the methods differ by more than the tolerance and a tenth of the value."""
    all_values = [value, *by_method.values()]
    if max(all_values) - min(all_values) <= max(tolerance, 0.1 * abs(value)):
        return []
    listed = ", ".join(f"{name} {one:+.3g}{unit}" for name, one in by_method.items())
    return [Doubt(Cause.METHODS_DISAGREE, f"the value depends on the interpolation: {listed}")]


def per_cent(share: float) -> str:
    """A share as text, rounded down to a tenth, so that 74.99 % never reads as 75 %."""
    # The epsilon undoes 0.29 * 100 < 29.
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


class _UndefinedError(Exception):
    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True)
class _Points:
    """The points of one curve as given; `quality` is oriented so that more is better."""

    name: str
    rate: _Array
    quality: _Array

    @classmethod
    def read(cls, name: str, rate: Numbers, quality: Numbers, settings: CurveSettings) -> _Points:
        try:
            rates, qualities = np.asarray(rate, dtype=np.float64), np.asarray(quality, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name}: rates and qualities are not numbers ({error})") from error
        if rates.ndim != 1 or rates.shape != qualities.shape:
            raise UsageError(
                f"{name}: {rates.size} rates and {qualities.size} qualities; give two flat lists of one length"
            )
        return cls(name, rates, settings.sign * qualities)


def _usable(points: _Points, settings: CurveSettings, domain: Domain, doubts: list[Doubt]) -> tuple[_Array, _Array]:
    """Log rates and oriented qualities of the points that count, by rising rate; doubts are appended.

    Qualities rise strictly too, but for a curve of domain "rate" that falls so much that its envelope has too few
    points: as a function of rate it is defined all the same.
    """
    name, sign = points.name, settings.sign
    cap = None if settings.cap is None else sign * settings.cap
    rates, qualities = points.rate.tolist(), points.quality.tolist()
    # Of the few points of a curve, lists cost a fraction of what arrays cost.
    if cap is not None and (capped := sum(quality > cap for quality in qualities)):
        doubts.append(Doubt(Cause.CAPPED, f"{name}: {capped} of {len(rates)} qualities capped at {settings.cap:g}"))
        qualities = [cap if quality > cap else quality for quality in qualities]
    for rate in rates:
        if not 0 < rate < math.inf:
            raise _UndefinedError(Cause.BAD_RATE, f"{name}: rate {rate:g} is not a positive number")
    for rate, quality in zip(rates, qualities, strict=True):
        if math.isnan(quality):
            raise _UndefinedError(Cause.NAN_QUALITY, f"{name}: a quality is NaN, at rate {rate:g}")
    for rate, quality in zip(rates, qualities, strict=True):
        if math.isinf(quality):
            text = f"{name}: quality at rate {rate:g} is infinite and not capped"
            raise _UndefinedError(Cause.INFINITE_QUALITY, text)
    # The better one of equal rates comes first, so that the envelope takes it.
    given = sorted(set(zip(rates, qualities, strict=True)), key=lambda point: (point[0], -point[1]))
    count = len(given)
    if settings.saturation is not None:
        doubts += _saturated(name, [quality for _, quality in given], settings)
    for level in (cap, None if settings.saturation is None else sign * settings.saturation):
        if level is not None:
            given = given[: _end_of_rise([quality for _, quality in given], level)]
    rising = _envelope([quality for _, quality in given])
    kept = upper_hull(*np.array(given).reshape(-1, 2).T).tolist() if settings.hull else rising
    left = sorted(set(range(len(given))).difference(rising))
    best_of_rate = [at for at, (rate, _) in enumerate(given) if not at or rate != given[at - 1][0]]
    if domain == "rate" and len(kept) < MIN_POINTS <= len(best_of_rate) and not settings.hull:
        kept = best_of_rate
        text = f"{name}: not monotone, {len(left)} of {count} points are no better than one of lower rate; all count"
        doubts.append(Doubt(Cause.NON_MONOTONE, text))
    elif left:
        told = ", ".join(f"{sign * given[i][1]:g} at rate {given[i][0]:g}" for i in left[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        text = f"{name}: not monotone, {len(left)} of {count} points left out, as one of lower rate is at least as good"
        doubts.append(Doubt(Cause.NON_MONOTONE, f"{text}: {told}{more}"))
    _require_points(name, len(kept), len(rates), hull=settings.hull)
    if len(kept) < FEW_POINTS:
        where = " on the convex hull" if settings.hull else ""
        doubts.append(Doubt(Cause.THREE_POINTS, f"{name}: three points{where}; four or more make a safer curve"))
    log_rate, chosen = np.log([given[i][0] for i in kept]), np.array([given[i][1] for i in kept])
    if any(after <= before for before, after in pairwise(log_rate.tolist())):
        raise _UndefinedError(Cause.ILL_CONDITIONED, f"{name}: rates are too close together to be distinguished")
    return log_rate, chosen


def _saturated(name: str, quality: Sequence[float], settings: CurveSettings) -> Iterable[Doubt]:
    assert settings.saturation is not None
    level = settings.sign * settings.saturation
    beyond = sum(one >= level for one in quality)
    if not beyond:
        return
    text = f"{name}: {beyond} of {len(quality)} points saturated (at or beyond {settings.saturation:g})"
    left = len(quality) - _end_of_rise(quality, level)
    yield Doubt(Cause.SATURATED, f"{text}, {left} left out as they no longer rise" if left else text)


def _end_of_rise(quality: Sequence[float], level: float) -> int:
    """How many points there are, by rising rate, before one at or beyond `level` that is not above the one before."""
    flat = (at for at, (before, after) in enumerate(pairwise(quality), start=1) if level <= after <= before)
    return next(flat, len(quality))


def _envelope(quality: Sequence[float]) -> list[int]:
    """Indices of the points that are better than every one before."""
    best, found = -math.inf, []
    for at, one in enumerate(quality):
        if one > best:
            best = one
            found.append(at)
    return found


def _require_points(name: str, count: int, given: int, *, hull: bool) -> None:
    if count < MIN_POINTS:
        usable = f"{count} points" if count == given else f"{count} usable points of {given}"
        where = " on the convex hull" if hull else ""
        raise _UndefinedError(
            Cause.TOO_FEW_POINTS,
            f"{name}: {usable}{where}; at least {MIN_POINTS} are needed: measure more rates (--rates)",
        )


def _integrals(x: _Array, y: _Array, method: str) -> tuple[dict[str, _Integral], Any]:
    """Antiderivatives by the method asked for and by each of `SPREAD_METHODS`, and the derivative of a cubic fit."""
    found: dict[str, _Integral] = {}
    for name in dict.fromkeys((method, *SPREAD_METHODS)):
        try:
            found[name] = _fitted(x, y) if name == "cubic" else _antiderivative(x.tolist(), y.tolist(), name)
        except _UndefinedError:
            if name == method:
                raise
    derivative = found["cubic"].deriv(2) if method == "cubic" else None  # type: ignore[attr-defined]
    return found, derivative


def _fitted(x: _Array, y: _Array) -> _Integral:
    polynomial: Any = np.polynomial.Polynomial  # untyped before NumPy 2
    degree = min(3, x.size - 1)
    fit, (_, rank, _, _) = polynomial.fit(x, y, degree, full=True)
    if rank <= degree:
        raise _UndefinedError(Cause.ILL_CONDITIONED, "points lie too close together to fit a cubic polynomial")
    whole: _Integral = fit.integ()
    return whole


def _antiderivative(x: list[float], y: list[float], method: str) -> _Integral:
    try:
        return Antiderivative(x, y, method)
    except ValueError as error:
        # The points are checked, so this is a slope that overflowed between two that nearly coincide.
        raise _UndefinedError(Cause.ILL_CONDITIONED, f"points lie too close together for {method}") from error


def _falls(derivative: Any, low: float, high: float) -> bool:
    """Whether a polynomial of which this is the derivative falls anywhere between two ends."""
    turns = [root.real for root in derivative.roots() if abs(root.imag) < 1e-12 and low < root.real < high]
    ends = np.array([low, *sorted(turns), high])
    return bool((derivative((ends[1:] + ends[:-1]) / 2) < 0).any())


def _value(mean: float, domain: Domain, settings: CurveSettings) -> float | None:
    """A mean difference in the unit that is reported; None where it leaves the floating-point range."""
    try:
        value = 100.0 * math.expm1(mean) if domain == "quality" else settings.sign * mean
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _compared(low: float, high: float, domain: Domain, settings: CurveSettings) -> tuple[float, float]:
    """The interval in the unit of what was given."""
    ends = (settings.sign * low, settings.sign * high) if domain == "quality" else (math.exp(low), math.exp(high))
    return min(ends), max(ends)
