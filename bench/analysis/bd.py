"""Bjontegaard delta: the mean difference of two rate-quality curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.hull import upper_hull
from bench.errors import UsageError

METHODS = ("pchip", "akima", "cubic")
MIN_POINTS = 4
MIN_OVERLAP = 0.75

Status = Literal["ok", "undefined"]
Domain = Literal["quality", "rate"]
Numbers = Sequence[float] | NDArray[np.float64]
_Array = NDArray[np.float64]


class Cause(StrEnum):
    """Why a Bjontegaard delta is undefined, for programs; `BDResult.reason` says the same to people."""

    TOO_FEW_POINTS = "too_few_points"
    BAD_RATE = "bad_rate"
    NAN_QUALITY = "nan_quality"
    INFINITE_QUALITY = "infinite_quality"
    SATURATED = "saturated"
    DUPLICATE_RATE = "duplicate_rate"
    DUPLICATE_QUALITY = "duplicate_quality"
    NON_MONOTONE = "non_monotone"
    NO_OVERLAP = "no_overlap"
    LITTLE_OVERLAP = "little_overlap"
    ILL_CONDITIONED = "ill_conditioned"
    NOT_MEASURED = "not_measured"
    SOURCE_DIFFERS = "source_differs"
    PROTOCOL_DIFFERS = "protocol_differs"
    NO_SEQUENCE = "no_sequence"


@dataclass(frozen=True)
class BDResult:
    """One Bjontegaard delta, or why there is none.

    value: per cent for `bd_rate`, the metric's unit for `bd_metric`; None when undefined, finite otherwise.
    overlap: 0 to 1; None when the data have no range (empty or not finite).
    method: the interpolation, and the convex hull where one was taken.
    notes: what a reader must know beside the value, such as capped points.
    """

    value: float | None
    status: Status
    reason: str | None
    overlap: float | None
    method: str
    cause: Cause | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def undefined(cls, cause: Cause, reason: str, method: str, overlap: float | None = None) -> BDResult:
        """A result without a value."""
        return cls(None, "undefined", reason, overlap, method, cause)

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        return {
            "value": self.value,
            "status": self.status,
            "reason": self.reason,
            "overlap": self.overlap,
            "method": self.method,
            "cause": None if self.cause is None else str(self.cause),
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
    min_overlap: float = MIN_OVERLAP,
    cap: float | None = None,
    saturation: float | None = None,
    hull: bool = False,
) -> BDResult:
    """Mean rate difference of test against anchor at equal quality, in per cent; negative when test needs less rate.

    Each curve is the logarithm of rate as a function of quality; the difference of the two is integrated in closed form
    over the qualities both reach, and its mean m gives 100 * (exp(m) - 1).

    Rates are positive, in any unit common to both; points come in any order. `method` is "pchip", "akima" or "cubic"
    (one polynomial of degree three, by least squares when there are more than four points): the three differ by
    several per cent on real curves, so the result names the one used. With `higher_is_better=False` quality rises as
    the number falls (LPIPS, DISTS, NIQE, FID).

    Overlap is the length of the quality interval that both curves reach, divided by that of the longer curve: the share
    of either curve that is compared, whichever is less. A test curve inside half of the anchor's range scores 0.5;
    divided by the shorter curve it would score 1 and hide that half of the anchor was left out. Divided by the interval
    that either reaches, it would fall twice as fast with a mere shift of one curve, which is what a delta measures.

    `cap` replaces qualities beyond it (an infinite PSNR: 99.9 dB) and is named in the notes. `saturation` is the
    quality from which a metric no longer tells codecs apart (VMAF: 99.5). `hull` replaces each curve by its upper
    convex hull in the plane of log rate and quality.

    Undefined, with the reason: fewer than four points (left, with `hull`); a rate that is zero, negative or not finite;
    NaN or uncapped infinite quality; a point at or beyond `saturation`; two points of one rate or one quality; quality
    that does not rise with rate; no overlap, or less than `min_overlap`; points too close for floating-point numbers.

    Raises UsageError for an unknown method, rates and qualities of unequal number, or `min_overlap` outside 0 to 1.

    Sources: G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001 (cubic);
    ITU-T HSTP-VID-WPOM, 2020 (piecewise cubic); C. Herglotz et al., "Beyond Bjontegaard", ICIP 2022 (Akima).
    """
    settings = _Settings(method, min_overlap, cap, saturation, hull, higher_is_better)
    anchor = _Points.read("anchor", anchor_rate, anchor_quality, settings)
    return _delta(anchor, _Points.read("test", test_rate, test_quality, settings), "quality", settings)


def bd_metric(
    anchor_rate: Numbers,
    anchor_quality: Numbers,
    test_rate: Numbers,
    test_quality: Numbers,
    *,
    higher_is_better: bool = True,
    method: str = "pchip",
    min_overlap: float = MIN_OVERLAP,
    cap: float | None = None,
    saturation: float | None = None,
    hull: bool = False,
) -> BDResult:
    """Mean quality difference, test minus anchor, at equal rate, in the metric's own unit and direction.

    Positive is better for a metric that rises with quality (BD-PSNR) and worse for one that falls (BD-LPIPS). Each
    curve is quality as a function of the logarithm of rate, and overlap is that of the log-rate intervals. Arguments,
    undefined cases and errors are those of `bd_rate`.
    """
    settings = _Settings(method, min_overlap, cap, saturation, hull, higher_is_better)
    anchor = _Points.read("anchor", anchor_rate, anchor_quality, settings)
    return _delta(anchor, _Points.read("test", test_rate, test_quality, settings), "rate", settings)


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
class PreparedCurve:
    """One curve made ready to be compared with many others, or why it cannot be.

    low, high: ends of its range of `domain` (oriented so that more is better, or the logarithm of rate). integral: the
    antiderivative of the other axis over that range, for arrays; None with a `problem`, then the ends are NaN.
    """

    low: float
    high: float
    integral: Callable[[_Array], _Array] | None
    problem: tuple[Cause, str] | None = None


def prepare(
    name: str,
    rate: Numbers,
    quality: Numbers,
    domain: Domain,
    *,
    higher_is_better: bool = True,
    method: str = "pchip",
    cap: float | None = None,
    saturation: float | None = None,
) -> PreparedCurve:
    """A curve as `bd_rate` (domain "quality") or `bd_metric` ("rate") takes it; `name` begins its problem's reason.

    The mean difference m of test against anchor is that of their integrals over the common range, divided by its
    length: 100 * (exp(m) - 1) per cent, or m in the metric's oriented unit. `overlap_problem` says whether it counts.
    Raises UsageError as `bd_rate`.
    """
    settings = _Settings(method, MIN_OVERLAP, cap, saturation, hull=False, higher_is_better=higher_is_better)
    points, _ = _capped(_Points.read(name, rate, quality, settings), settings)
    try:
        x, y = _axes(_checked(points, settings), domain)
        with np.errstate(all="ignore"):
            return PreparedCurve(float(x[0]), float(x[-1]), _antiderivative(x, y, method))
    except _UndefinedError as problem:
        return PreparedCurve(math.nan, math.nan, None, (problem.cause, str(problem)))


def overlap_problem(overlap: float, domain: Domain, min_overlap: float = MIN_OVERLAP) -> tuple[Cause, str] | None:
    """Why two curves of this overlap have no delta; None where they have."""
    try:
        _require_overlap(overlap, min_overlap, domain)
    except _UndefinedError as problem:
        return problem.cause, str(problem)
    return None


class _UndefinedError(Exception):
    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True)
class _Settings:
    method: str
    min_overlap: float
    cap: float | None
    saturation: float | None
    hull: bool
    higher_is_better: bool

    def __post_init__(self) -> None:
        method_label(self.method, hull=self.hull)
        if not 0 <= self.min_overlap <= 1:
            raise UsageError(f"min_overlap is {self.min_overlap}; give a share from 0 to 1")

    @property
    def sign(self) -> float:
        return 1.0 if self.higher_is_better else -1.0

    @property
    def label(self) -> str:
        return method_label(self.method, hull=self.hull)


@dataclass(frozen=True)
class _Points:
    """The points of one side as given; `quality` is oriented so that more is better."""

    side: str
    rate: _Array
    quality: _Array

    @classmethod
    def read(cls, side: str, rate: Numbers, quality: Numbers, settings: _Settings) -> _Points:
        try:
            rates, qualities = np.asarray(rate, dtype=np.float64), np.asarray(quality, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{side}: rates and qualities are not numbers ({error})") from error
        if rates.ndim != 1 or rates.shape != qualities.shape:
            raise UsageError(
                f"{side}: {rates.size} rates and {qualities.size} qualities; give two flat lists of one length"
            )
        return cls(side, rates, settings.sign * qualities)


@dataclass(frozen=True)
class _Curve:
    """A checked curve: log rate and oriented quality both rise strictly."""

    log_rate: _Array
    quality: _Array


def _delta(anchor: _Points, test: _Points, domain: Domain, settings: _Settings) -> BDResult:
    anchor, anchor_notes = _capped(anchor, settings)
    test, test_notes = _capped(test, settings)
    notes = anchor_notes + test_notes
    overlap = _raw_overlap(anchor, test, domain)
    try:
        anchor_x, anchor_y = _axes(_checked(anchor, settings), domain)
        test_x, test_y = _axes(_checked(test, settings), domain)
        overlap = _overlap(anchor_x, test_x)
        _require_overlap(overlap, settings.min_overlap, domain)
        low, high = max(anchor_x[0], test_x[0]), min(anchor_x[-1], test_x[-1])
        # Overflow shows as a value that is not finite, and that is refused.
        with np.errstate(all="ignore"):
            ends = np.array([low, high])
            area = np.diff(_antiderivative(test_x, test_y, settings.method)(ends))[0]
            area -= np.diff(_antiderivative(anchor_x, anchor_y, settings.method)(ends))[0]
            value = _value(area / (high - low), domain, settings)
    except _UndefinedError as problem:
        return BDResult(None, "undefined", str(problem), overlap, settings.label, problem.cause, notes)
    if overlap < MIN_OVERLAP:
        notes += (f"overlap of {domain} {_per_cent(overlap)} is under {_per_cent(MIN_OVERLAP)}",)
    return BDResult(value, "ok", None, overlap, settings.label, None, notes)


def _capped(points: _Points, settings: _Settings) -> tuple[_Points, tuple[str, ...]]:
    cap = None if settings.cap is None else settings.sign * settings.cap
    quality, count = cap_quality(points.quality, cap)
    note = (f"{points.side}: {count} of {quality.size} qualities capped at {settings.cap:g}",) if count else ()
    return _Points(points.side, points.rate, quality), note


def _checked(points: _Points, settings: _Settings) -> _Curve:
    side, rate, quality = points.side, points.rate, points.quality
    _require_points(side, rate.size)
    bad = ~(np.isfinite(rate) & (rate > 0))
    if bad.any():
        raise _UndefinedError(Cause.BAD_RATE, f"{side}: rate {rate[bad][0]:g} is not a positive number")
    if np.isnan(quality).any():
        raise _UndefinedError(Cause.NAN_QUALITY, f"{side}: a quality is NaN, at rate {rate[np.isnan(quality)][0]:g}")
    if np.isinf(quality).any():
        at = rate[np.isinf(quality)][0]
        raise _UndefinedError(Cause.INFINITE_QUALITY, f"{side}: quality at rate {at:g} is infinite and not capped")
    _require_unsaturated(points, settings)
    order = np.argsort(rate, kind="stable")
    log_rate, quality = np.log(rate[order]), quality[order]
    if settings.hull:
        kept = upper_hull(log_rate, quality)
        _require_points(side, kept.size, f" on the convex hull of {quality.size}")
        log_rate, quality = log_rate[kept], quality[kept]
    _require_rising(side, log_rate, quality, settings.sign)
    return _Curve(log_rate, quality)


def _require_points(side: str, count: int, where: str = "") -> None:
    if count < MIN_POINTS:
        raise _UndefinedError(Cause.TOO_FEW_POINTS, f"{side}: {count} points{where}; at least {MIN_POINTS} are needed")


def _require_unsaturated(points: _Points, settings: _Settings) -> None:
    if settings.saturation is None:
        return
    saturated = points.quality >= settings.sign * settings.saturation
    if saturated.any():
        raise _UndefinedError(
            Cause.SATURATED,
            f"{points.side}: {np.count_nonzero(saturated)} of {saturated.size} points are saturated"
            f" (at or beyond {settings.saturation:g})",
        )


def _require_rising(side: str, log_rate: _Array, quality: _Array, sign: float) -> None:
    same_rate = np.diff(log_rate) == 0
    if same_rate.any():
        at = math.exp(log_rate[1:][same_rate][0])
        raise _UndefinedError(Cause.DUPLICATE_RATE, f"{side}: two points have the rate {at:g}")
    ascending = np.sort(quality)
    same_quality = np.diff(ascending) == 0
    if same_quality.any():
        value = sign * ascending[1:][same_quality][0]
        raise _UndefinedError(Cause.DUPLICATE_QUALITY, f"{side}: two points have the quality {value:g}")
    falls = np.flatnonzero(np.diff(quality) < 0)
    if falls.size:
        first, last = (math.exp(log_rate[index]) for index in (falls[0], falls[0] + 1))
        raise _UndefinedError(
            Cause.NON_MONOTONE,
            f"{side}: not monotone, quality worsens from {sign * quality[falls[0]]:g} to"
            f" {sign * quality[falls[0] + 1]:g} as rate rises from {first:g} to {last:g}",
        )


def _raw_overlap(anchor: _Points, test: _Points, domain: Domain) -> float | None:
    if domain == "quality":
        left, right = anchor.quality, test.quality
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            left, right = np.log(anchor.rate), np.log(test.rate)
    if not (left.size and right.size and np.isfinite(left).all() and np.isfinite(right).all()):
        return None
    return _overlap(left, right)


def _overlap(left: _Array, right: _Array) -> float:
    # Halved, because the length of an interval may overflow where the difference of the halves of its ends cannot.
    (left_low, left_high), (right_low, right_high) = ((x.min() / 2, x.max() / 2) for x in (left, right))
    common = min(left_high, right_high) - max(left_low, right_low)
    longer = max(left_high - left_low, right_high - right_low)
    return float(max(common, 0.0) / longer) if longer > 0 else 0.0


def _require_overlap(overlap: float, min_overlap: float, domain: Domain) -> None:
    if overlap == 0:
        raise _UndefinedError(Cause.NO_OVERLAP, f"the curves have no {domain} in common (overlap 0 %)")
    if overlap < min_overlap:
        raise _UndefinedError(
            Cause.LITTLE_OVERLAP, f"overlap {_per_cent(overlap)} is under {_per_cent(min_overlap)} (of {domain})"
        )


def _per_cent(share: float) -> str:
    # Rounded down to a tenth, so that 74.99 % never reads "75 % is under 75 %"; the epsilon undoes 0.29 * 100 < 29.
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


def _antiderivative(x: _Array, y: _Array, method: str) -> Callable[[_Array], _Array]:
    return _remembered(x.tobytes(), y.tobytes(), method)


@lru_cache(maxsize=1 << 16)
def _remembered(x_bytes: bytes, y_bytes: bytes, method: str) -> Callable[[_Array], _Array]:
    """The antiderivative of a curve; remembered (about 1 KB each), since an anchor's is wanted for every test codec."""
    x, y = np.frombuffer(x_bytes), np.frombuffer(y_bytes)
    if method == "cubic":
        polynomial: Any = np.polynomial.Polynomial  # untyped before NumPy 2
        fit, (_, rank, _, _) = polynomial.fit(x, y, 3, full=True)
        if rank < MIN_POINTS:
            raise _UndefinedError(Cause.ILL_CONDITIONED, "points lie too close together to fit a cubic polynomial")
        whole: Callable[[_Array], _Array] = fit.integ()
        return whole
    from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

    interpolate = PchipInterpolator if method == "pchip" else Akima1DInterpolator
    try:
        curve: Callable[[_Array], _Array] = interpolate(x, y).antiderivative()
    except ValueError as error:
        # The points are checked, so this is a slope that overflowed between two that nearly coincide.
        raise _UndefinedError(Cause.ILL_CONDITIONED, f"points lie too close together for {method}") from error
    return curve


def _axes(curve: _Curve, domain: Domain) -> tuple[_Array, _Array]:
    return (curve.quality, curve.log_rate) if domain == "quality" else (curve.log_rate, curve.quality)


def _value(mean: float, domain: Domain, settings: _Settings) -> float:
    try:
        value = 100.0 * math.expm1(mean) if domain == "quality" else settings.sign * mean
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _UndefinedError(Cause.ILL_CONDITIONED, "the integral leaves the floating-point range")
    return float(value)
