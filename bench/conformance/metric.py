"""What every metric is held to: what it declares is there, and what it declares is true of its values.

The material is generated, so that the check needs no file and no download. It takes a second for a fast metric, a
minute and more for a network.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from bench.conformance.material import Distortion, Plane, clip, none
from bench.core.files import canonical_json
from bench.engine.measure import DecodedVideo, MetricPass, measure_together
from bench.errors import UnavailableError, VcbenchError
from bench.metrics.base import DeferredMetric, Direction, FilterMetric, FramePair, Measurement, Metric
from bench.registry import FILE_MODULE, metric_class
from bench.video.formats import Chroma, VideoFormat
from bench.video.frame import CodingTransform, Frame

Level = Literal["error", "warning"]

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(:[A-Za-z0-9][\w.+-]*)*", re.ASCII)

USUAL = VideoFormat(208, 176)
"""Wide enough for every scale of MS-SSIM, small enough for a network on a CPU."""

LENGTHS = (6, 12, 24)
"""Frames of the clips: the fewest that the metric has a value for."""

MAX_HELD = 32
"""Pairs that a deferred metric may hold at once: a batch, or the window of a video network."""

HELD_BY_ENGINE = 3
"""Decoded frames in memory beside those that a metric holds: this pair's, the one before, the next."""

TOLERANCE = 1e-6
"""By how much rounding may carry a value beyond its bounds."""

SAME_AT_10_BIT = 0.05
"""By how much the value of the same picture at 10 bit may differ, relatively: its peak is 1023, not 4 times 255."""

HEAVY = ("torch", "torchvision", "tensorflow", "jax", "scipy", "pandas", "numba", "cv2", "skimage", "matplotlib")
"""What ``check`` must leave alone: it runs for every metric of a listing."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a metric ("error"), or deserves a look ("warning"), under the name of the rule."""

    rule: str
    level: Level
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


Findings = Iterator[Finding]
Pairs = Iterator[tuple[Frame, Frame]]


def check_metric(kind: type[Metric], *, name: str | None = None) -> list[Finding]:
    """Everything found wrong with a metric; ``name`` is the one that it is asked for by, if known.

    Where its declaration is wrong, or where it is not available, its values are not looked at. Nothing the metric
    raises gets out.
    """
    found = [*_declaration(kind, name)]
    if any(finding.level == "error" for finding in found):
        return found
    found += _start(kind)
    try:
        kind.check()
    except UnavailableError as error:
        reason = f"its values were not checked, because it is not available: {error}"
        return [*found, Finding("values", "warning", reason)]
    except Exception as error:
        return [*found, Finding("check", "error", f"raises {_told(error)}; only UnavailableError has a meaning there")]
    found += _identity(kind)
    with tempfile.TemporaryDirectory(prefix="vcbench-conformance-") as folder:
        trial = _Trial(kind, Path(folder))
        for rule in (_existence, _range, _order, _source, _repeat, _lockstep, _untouched, _memory, _formats, _depth):
            found += rule(trial)
    return found


def _declaration(kind: Any, name: str | None) -> Findings:
    for message in (*_wrong_names(kind, name), *_wrong_numbers(kind)):
        yield Finding("declaration", "error", message)
    if not _has_definition(kind):
        yield Finding("declaration", "warning", "has no docstring; reports show it as the metric's definition")


def _wrong_names(kind: Any, name: str | None) -> Iterator[str]:
    if kind.__abstractmethods__:
        yield f"does not define {', '.join(sorted(kind.__abstractmethods__))}"
    own = getattr(kind, "name", None)
    if not (isinstance(own, str) and NAME.fullmatch(own)):
        yield f"name is {own!r}; give letters, digits, dots, dashes and underscores, such as 'mae_y'"
    elif name is not None and name != own:
        yield f"name is {own!r}, but it is registered as {name!r}: values would be stored under a different name"
    for attribute in ("title", "needs", "headline"):
        text = getattr(kind, attribute, None)
        if not _is_text(text):
            yield f"{attribute} is {text!r}, not a text"
    if not isinstance(kind.unit, str):
        yield f"unit is {kind.unit!r}, not a text"
    if kind.direction not in get_args(Direction):
        yield f"direction is {kind.direction!r}, not 'higher' or 'lower'"
    for attribute in ("shares_reference", "fidelity"):
        if not isinstance(getattr(kind, attribute), bool):
            yield f"{attribute} is {getattr(kind, attribute)!r}, not True or False"
    variants = kind.variants
    if not (isinstance(variants, Mapping) and all(_is_text(part) for item in variants.items() for part in item)):
        yield f"variants is {variants!r}, not a table of option and meaning"
        return
    for option in variants:
        try:
            found = kind.variant((option,)).name
        except VcbenchError as error:
            found = f"an error: {error}"
        if found != f"{own}:{option}":
            yield f"variant {option!r} gives {found}, not {own}:{option}"


def _wrong_numbers(kind: Any) -> Iterator[str]:
    bounds = kind.bounds
    if not (isinstance(bounds, tuple) and len(bounds) == 2 and all(map(_is_limit, bounds))):
        yield f"bounds is {bounds!r}, not two numbers or None"
    elif None not in bounds and not bounds[0] < bounds[1]:
        yield f"bounds is {bounds!r}: the first is not below the second"
    for attribute in ("saturation", "cap"):
        if not _is_limit(getattr(kind, attribute)):
            yield f"{attribute} is {getattr(kind, attribute)!r}, not a finite number or None"
    if not (isinstance(kind.version, int) and kind.version >= 1):
        yield f"version is {kind.version!r}, not a whole number from 1 up"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_limit(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _has_definition(kind: type[Metric]) -> bool:
    general = {Metric, DeferredMetric, FilterMetric}
    return any(base.__doc__ for base in kind.__mro__ if issubclass(base, Metric) and base not in general)


def _start(kind: type[Metric]) -> Findings:
    """In a fresh interpreter, neither importing the class nor asking whether it is available loads heavy libraries."""
    source = _how_to_import(kind)
    if source is None:
        return
    code = (
        f"import sys\nsys.path[:] = {sys.path!r}\n{source}\n"
        f"try:\n    kind.check()\nexcept Exception:\n    pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        yield Finding("start", "error", f"cannot be imported in a fresh interpreter: {last[0]}")
    elif loaded := ", ".join(done.stdout.splitlines()[-1].split()):
        why = f"importing it and calling check() loads {loaded}, which every listing would wait for"
        remedy = "import where it is used, and let check() look with importlib.util.find_spec"
        yield Finding("start", "error", f"{why}; {remedy}")


def _how_to_import(kind: type[Metric]) -> str | None:
    """Code that makes ``kind`` in another interpreter; None for a class that no other interpreter can find."""
    with suppress(VcbenchError):
        if metric_class(kind.name) is kind:
            return f"from bench.registry import metric_class\nkind = metric_class({kind.name!r})"
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None or "<locals>" in kind.__qualname__:
        return None
    if kind.__module__.startswith(FILE_MODULE):
        name = f"{file}:{kind.__qualname__}"
        return f"from bench.registry import metric_from_file\nkind = metric_from_file({name!r}, trust=True)"
    return None


def _identity(kind: type[Metric]) -> Findings:
    try:
        first, second = (canonical_json(kind.identity()) for _ in range(2))
    except Exception as error:
        yield Finding("identity", "error", f"identity() gives no strict JSON: {_told(error)}")
        return
    if first != second:
        yield Finding("identity", "error", f"identity() changes from call to call: {first} and {second}")
    if kind.identity().get("name") != kind.name or "version" not in kind.identity():
        yield Finding("identity", "error", "identity() lacks the name or the version; extend super().identity()")


class _Trial:
    """A metric and its values on the clips that the rules look at, each measured once.

    ``noisy`` is measured alone; ``identical`` and ``series`` side by side, as the rate points of a codec are.
    """

    def __init__(self, kind: type[Metric], folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self.frames, self.noisy = self._first()

    def measure(
        self, *distortions: Distortion, fmt: VideoFormat = USUAL, frames: int = 0, seed: int = 0
    ) -> list[Measurement]:
        """Measurements of distorted versions of the clip, in one pass; ``seed`` picks another clip as the source."""
        frames = frames or self.frames
        return self._measured(clip(fmt, frames, seed=seed), [clip(fmt, frames, change) for change in distortions], fmt)

    def compare(self, source: Iterable[Frame], decoded: Iterable[Frame]) -> Measurement:
        """Measurement of frames of 10 bit."""
        return self._measured(iter(source), [iter(decoded)], replace(USUAL, bit_depth=10))[0]

    def _measured(self, source: Iterator[Frame], videos: list[Iterator[Frame]], fmt: VideoFormat) -> list[Measurement]:
        transform = CodingTransform.fit(fmt)
        outcomes = measure_together(
            source, [DecodedVideo(frames, [self.kind], transform, self._new_folder()) for frames in videos]
        )
        measured = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # not of the metric: what that raises is a measurement
                raise outcome
            measured += outcome
        return measured

    def feed(self, pairs: Pairs, look: Callable[[], int] = lambda: 0) -> list[int]:
        """Feed pairs as the engine does, and look after each."""
        work = MetricPass([self.kind], USUAL, self._new_folder())
        seen = []
        try:
            pair = None
            for index, (source, decoded) in enumerate(pairs):
                pair = FramePair(index, source, decoded, pair)
                work.push(pair)
                seen.append(look())
            work.finish()
        finally:
            work.close()
        return seen

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _first(self) -> tuple[int, Measurement]:
        """As many frames as the metric needs, if that can be had, and the measurement of so many."""
        for frames in LENGTHS:
            measured = self.measure(NOISE[1], frames=frames)[0]
            if measured.status != "undefined":
                break
        return frames, measured

    @cached_property
    def _beside(self) -> list[Measurement]:
        return self.measure(none, *(change for strengths in SERIES.values() for change in strengths))

    @property
    def identical(self) -> Measurement:
        return self._beside[0]

    @property
    def series(self) -> dict[str, list[Measurement]]:
        """Measurements by kind of distortion, from weak to strong."""
        found = iter(self._beside[1:])
        return {what: [next(found) for _ in strengths] for what, strengths in SERIES.items()}

    def step(self, better: float, worse: float) -> float:
        """How much worse the second value is than the first; 0 for two equal infinities."""
        if better == worse:
            return 0.0
        return better - worse if self.kind.direction == "higher" else worse - better


def _existence(trial: _Trial) -> Findings:
    """There is a value, or a reason why the definition gives none, whatever the distortion."""
    series = {f"{what} {step}": m for what, strengths in trial.series.items() for step, m in enumerate(strengths, 1)}
    for what, measured in {"identical frames": trial.identical, **series}.items():
        yield from _wrong_types(what, measured)
        if measured.status == "failed" or "not a number" in (measured.reason or ""):
            why = _shortened(measured.reason)
            yield Finding("values", "error", f"{what}: {why}; raise MetricError if there is no value")
            return
        if measured.status != "ok" and trial.noisy.status == "ok":
            yield Finding("values", "error", f"{what}: {measured.reason}, although another distortion has a value")
    if trial.noisy.status == "undefined":
        clips = f"{trial.frames} frames of {USUAL.describe()}"
        yield Finding("values", "warning", f"not checked: there are none on {clips}: {trial.noisy.reason}")


def _wrong_types(what: str, measured: Measurement) -> Findings:
    for where, values in (("of frames", measured.frames), ("pooled", measured.pooled.values())):
        strange = {type(value).__name__ for value in values if not isinstance(value, float | int | None)}
        if strange:
            yield Finding("values", "error", f"{what}: values {where} are {', '.join(sorted(strange))}; give float")
            return
    try:
        canonical_json(dict(measured.provenance))
    except (TypeError, ValueError) as error:
        yield Finding("provenance", "error", f"provenance() gives no strict JSON: {error}")


def _range(trial: _Trial) -> Findings:
    for measured in [trial.identical, *(m for series in trial.series.values() for m in series)]:
        for problem in _out_of_range(trial.kind, measured):
            yield Finding("range", "error", problem)
            return


def _out_of_range(kind: type[Metric], measured: Measurement) -> Iterator[str]:
    low, high = (
        limit if limit is not None else side * math.inf for limit, side in zip(kind.bounds, (-1, 1), strict=True)
    )
    values = [*measured.frames, measured.value]
    known = [float(value) for value in values if isinstance(value, float | int)]
    for value in known:
        if not low - TOLERANCE <= value <= high + TOLERANCE:
            yield f"the value {value:.6g} is outside the bounds {kind.bounds}"
        if math.isinf(value) and kind.cap is None:
            yield f"the value {value} has no cap: declare what it counts as in BD-rate, or give a finite one"


def _order(trial: _Trial) -> Findings:
    """Identical frames are best, and more distortion is worse, in the declared direction."""
    if trial.noisy.value is None or trial.identical.value is None:
        return
    level: Level = "error" if trial.kind.fidelity else "warning"
    for what, series in trial.series.items():
        values = [trial.identical.value, *(m.value for m in series if m.value is not None)]
        steps = [trial.step(*pair) for pair in pairwise(values)]
        if not all(step > 0 for step in steps):
            told = ", ".join(f"{value:.6g}" for value in values)
            yield Finding(
                "order",
                level,
                f"the source itself and {what} of rising strength have {told}; {trial.kind.direction} is better",
            )
    best = trial.kind.bounds[1 if trial.kind.direction == "higher" else 0]
    if trial.kind.fidelity and best is not None and abs(trial.identical.value - best) > TOLERANCE:
        yield Finding(
            "best", "warning", f"identical frames have {trial.identical.value:.6g}, the best of the bounds is {best:g}"
        )


def _source(trial: _Trial) -> Findings:
    """A metric about closeness to the source has another value against another source."""
    if trial.noisy.status == "ok" and trial.kind.fidelity:
        other = trial.measure(NOISE[1], seed=1)[0]
        if other.value == trial.noisy.value:
            yield Finding("source", "error", "values do not depend on the source: declare fidelity = False")


def _repeat(trial: _Trial) -> Findings:
    if trial.noisy.status == "ok":
        yield from _differing("repeat", "measured twice", trial, trial.measure(NOISE[1])[0])


def _lockstep(trial: _Trial) -> Findings:
    """Several decoded versions share their source frames, and what is derived from these."""
    if trial.noisy.status == "ok":
        hint = "; keep with a source frame only what depends on it alone, under a key that says everything else"
        beside = trial.series["noise"][1]
        yield from _differing("lockstep", "measured beside other versions of the source", trial, beside, hint)


def _differing(rule: str, how: str, trial: _Trial, measured: Measurement, hint: str = "") -> Findings:
    alone = trial.noisy
    if (alone.value, alone.frames, dict(alone.pooled)) != (measured.value, measured.frames, dict(measured.pooled)):
        yield Finding(rule, "error", f"{how}, {alone.value} becomes {measured.value or measured.reason}{hint}")


def _untouched(trial: _Trial) -> Findings:
    pairs = list(zip(clip(USUAL, LENGTHS[0]), clip(USUAL, LENGTHS[0], NOISE[1]), strict=True))
    before = [(source.data.copy(), decoded.data.copy()) for source, decoded in pairs]
    trial.feed(iter(pairs))
    for what, side in (("source", 0), ("decoded", 1)):
        if any((pair[side].data != kept[side]).any() for pair, kept in zip(pairs, before, strict=True)):
            yield Finding("frames", "error", f"writes into the {what} frames, which other metrics see too")


def _memory(trial: _Trial) -> Findings:
    """Decoded frames that are still in memory after each pair, over more pairs than the metric may hold."""
    if issubclass(trial.kind, FilterMetric):
        return
    allowed = MAX_HELD if issubclass(trial.kind, DeferredMetric) else HELD_BY_ENGINE
    count = allowed + 4
    alive: list[weakref.ref[Frame]] = []

    def pairs() -> Pairs:
        for source, decoded in zip(clip(USUAL, count), clip(USUAL, count, NOISE[1]), strict=True):
            alive.append(weakref.ref(decoded))
            yield source, decoded

    held = max(trial.feed(pairs(), lambda: sum(frame() is not None for frame in alive)))
    if held > allowed:
        yield Finding("memory", "error", f"holds {held} of {count} decoded frames; at most {allowed} are allowed")


def _formats(trial: _Trial) -> Findings:
    """A value or MetricError for every format, size and length; never a value out of range."""
    failing: dict[str, str] = {}
    for fmt in FORMATS:
        frames = 1 if fmt == USUAL else 2
        measured = trial.measure(NOISE[1], fmt=fmt, frames=frames)[0]
        what = f"{'one frame' if frames == 1 else f'{frames} frames'} of {fmt.width}x{fmt.height} {fmt.pix_fmt}"
        if measured.status == "failed":
            failing[what] = _shortened(measured.reason)
        for problem in _out_of_range(trial.kind, measured):
            failing.setdefault(what, problem)
    if failing:
        (first, why), *more = failing.items()
        also = f" (the same or other trouble with {', '.join(what for what, _ in more)})" if more else ""
        yield Finding("formats", "error", f"{first}: {why}{also}; raise MetricError if there is no value")


def _depth(trial: _Trial) -> Findings:
    """The same samples at 10 bit have about the same value, and differences of under one step of 8 bit are seen."""
    shallow = trial.noisy.value
    if shallow is None:
        return
    source = [_deepened(frame) for frame in clip(USUAL, trial.frames)]
    noisy = [_deepened(frame) for frame in clip(USUAL, trial.frames, NOISE[1])]
    deep = trial.compare(source, noisy)
    if deep.value is None:
        yield Finding("depth", "warning", f"no value at 10 bit: {deep.reason}")
    elif abs(deep.value - shallow) > SAME_AT_10_BIT * max(abs(deep.value), abs(shallow)):
        yield Finding(
            "depth",
            "error",
            f"the same picture has {shallow:.6g} at 8 bit and {deep.value:.6g} at 10: look at format.peak",
        )
    elif trial.kind.fidelity and trial.compare(source, map(_fine_change, source)).value == trial.identical.value:
        yield Finding("depth", "warning", "differences of less than one step of 8 bit are not seen at 10 bit")


def _noise(strength: float) -> Distortion:
    """White Gaussian noise; ``strength`` is its standard deviation, white is 1."""
    return lambda plane, frame: plane + strength * np.random.default_rng(frame).standard_normal(plane.shape)


def _blur(strength: float) -> Distortion:
    """Gaussian blur; ``strength`` is its standard deviation in samples."""

    def apply(plane: Plane, _: int) -> Plane:
        import cv2

        blurred: Plane = cv2.GaussianBlur(plane, (0, 0), strength)
        return blurred

    return apply


NOISE = tuple(map(_noise, (0.01, 0.03, 0.09)))
BLUR = tuple(map(_blur, (0.8, 1.6, 3.2)))
SERIES = {"noise": NOISE, "blur": BLUR}

CHROMAS: tuple[Chroma, ...] = get_args(Chroma)
SIZES = ((209, 177), (300, 40), (16, 16), (5, 3), (1, 1))
FORMATS = (
    USUAL,
    *(replace(USUAL, chroma=chroma, bit_depth=depth) for chroma in CHROMAS for depth in (8, 10)),
    replace(USUAL, bit_depth=12),
    *(VideoFormat(*size, chroma=chroma) for size in SIZES for chroma in ("420", "444")),
)


def _deepened(frame: Frame) -> Frame:
    """A frame of 8 bit at 10 bit, the picture unchanged."""
    return Frame(replace(frame.format, bit_depth=10), frame.data.astype("<u2") << 2)


def _fine_change(frame: Frame) -> Frame:
    """Every other sample one step up, a quarter of a step of 8 bit."""
    return Frame(frame.format, frame.data + (np.arange(frame.data.size) % 2).astype(frame.data.dtype))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _shortened(reason: str | None) -> str:
    """A reason in one line; of a long one, such as a command with its output, the beginning and the end."""
    text = " ".join((reason or "no reason given").split())
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-100:]}"
