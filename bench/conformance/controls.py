"""Every metric against tricks that help no viewer: by how much each trick moves it, and which metrics it fools.

A clip is coded at two rate points. Each trick is played on the decoded frames of the better one, and measured beside
both, in one pass. Changes are in rate steps: the distance between the two rate points in that metric.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.adapters.base import RatePoint, copy_alone
from bench.conformance.tricks import TRICKS, Trick
from bench.core.process import cpu_count
from bench.engine.cell import external
from bench.engine.measure import DecodedVideo, measure_together
from bench.engine.plan import CodecEntry
from bench.errors import UnavailableError, UsageError
from bench.metrics.base import Measurement
from bench.registry import metric_class
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence as Clip
from bench.video.sequence import read_raw_frames

FIDELITY = "psnr_y"
"""Says whether a trick brings frames nearer to the source after all; always measured."""

OFTEN = 0.75
"""Share of the clips on which a metric must find the tricked video better, to be called fooled."""

LEAST_STEPS = 0.05
"""By how many rate steps at least it must find it better in the mean."""


@dataclass(frozen=True)
class Effect:
    """What a trick does to a metric: its mean ``change`` over ``clips``, in the metric's unit and direction (above 0 is
    better), in rate ``steps`` (None where the metric does not tell the two rate points apart), and on how many clips
    it is ``better``. ``fooled``: the metric rewards what is no nearer to the source."""

    metric: str
    trick: str
    change: float
    steps: float | None
    better: int
    clips: int
    fooled: bool


@dataclass(frozen=True)
class Controls:
    """Effects by metric and trick; ``helped``: tricks that bring frames nearer to the source on most clips, and so fool
    nobody; ``left_out``: metrics without values here, with the reason."""

    effects: Mapping[str, Mapping[str, Effect]]
    helped: tuple[str, ...]
    left_out: Mapping[str, str]
    clips: tuple[str, ...]


Values = dict[str, dict[str, float]]
"""Value of each metric, by what was played."""


def controls(
    codec: CodecEntry,
    rates: tuple[float, float],
    clips: Sequence[Clip],
    metrics: Iterable[str],
    *,
    tricks: Iterable[str] = tuple(TRICKS),
    progress: Callable[[str], object] = lambda _: None,
) -> Controls:
    """Play tricks on decoded clips and measure them. ``rates``: the one that is tricked, and a worse one.

    Metrics that are unavailable or have no value here are left out, with the reason. Raises what encoding raises.
    """
    chosen = {name: TRICKS[name] for name in tricks}
    wanted, left_out = _available([FIDELITY, *metrics])
    if not clips:
        raise UsageError("no clip is named to play tricks on")
    found: dict[str, Values] = {}
    for clip in clips:
        progress(f"{clip.name}: {len(wanted)} metrics, {len(chosen)} tricks")
        found[clip.name] = _played(codec, rates, clip, wanted, chosen, left_out)
    return judged(found, left_out)


def judged(found: Mapping[str, Values], left_out: Mapping[str, str] | None = None) -> Controls:
    """Effects of what was measured on each clip: values by metric, under "decoded", "worse" and the tricks' names."""
    names = list(dict.fromkeys(metric for values in found.values() for metric in values))
    tricks = [name for name in TRICKS if all(name in values[FIDELITY] for values in found.values())]
    helped = tuple(trick for trick in tricks if _better(FIDELITY, trick, found) >= OFTEN * len(found))
    effects = {
        metric: {trick: _effect(metric, trick, found, helped=trick in helped) for trick in tricks} for metric in names
    }
    return Controls(effects, helped, dict(left_out or {}), tuple(found))


def _effect(metric: str, trick: str, found: Mapping[str, Values], *, helped: bool) -> Effect:
    known = [values[metric] for values in found.values() if metric in values]
    sign = 1 if metric_class(metric).direction == "higher" else -1
    change = fmean(sign * (values[trick] - values["decoded"]) for values in known)
    step = fmean(sign * (values["decoded"] - values["worse"]) for values in known)
    steps = change / step if step > 0 else None
    better = _better(metric, trick, found)
    enough = change > 0 and (steps is None or steps >= LEAST_STEPS)
    fooled = enough and better >= OFTEN * len(known) and not helped
    return Effect(metric, trick, change, steps, better, len(known), fooled)


def _better(metric: str, trick: str, found: Mapping[str, Values]) -> int:
    sign = 1 if metric_class(metric).direction == "higher" else -1
    return sum(
        sign * (values[metric][trick] - values[metric]["decoded"]) > 0 for values in found.values() if metric in values
    )


def _available(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    wanted, left_out = [], {}
    for name in dict.fromkeys(names):
        try:
            metric_class(name).check()
        except UnavailableError as error:
            left_out[name] = str(error)
        else:
            wanted.append(name)
    return wanted, left_out


def _played(
    codec: CodecEntry,
    rates: tuple[float, float],
    clip: Clip,
    metrics: list[str],
    tricks: Mapping[str, Trick],
    left_out: dict[str, str],
) -> Values:
    """Values of a clip's metrics, decoded at both rates and under each trick."""
    kinds = [metric_class(name) for name in metrics]
    with tempfile.TemporaryDirectory(prefix="vcbench-controls-") as name, ExitStack() as stack:
        folder = Path(name)
        coded = {what: _coded(codec, rate, clip, folder / what) for what, rate in zip(KINDS, rates, strict=True)}

        def frames(what: str) -> Iterator[Frame]:
            path, transform = coded[what]
            stream = stack.enter_context(path.open("rb"))
            return map(transform.inverse, read_raw_frames(stream, transform.coded, path.name))

        lanes = {what: frames(what) for what in KINDS}
        lanes |= {trick: played.play(frames(KINDS[0])) for trick, played in tricks.items()}
        videos = []
        for what, played_frames in lanes.items():
            (folder / f"lane-{what}").mkdir()
            same = CodingTransform(clip.format, clip.format)
            videos.append(DecodedVideo(played_frames, kinds, same, folder / f"lane-{what}"))
        outcomes = dict(zip(lanes, measure_together(clip.read(), videos, threads=cpu_count()), strict=True))
    return _values(outcomes, left_out)


KINDS = ("decoded", "worse")


def _values(outcomes: Mapping[str, list[Measurement] | Exception], left_out: dict[str, str]) -> Values:
    """Values of the metrics that have one of every video."""
    values: Values = {}
    for what, measured in outcomes.items():
        if isinstance(measured, Exception):
            raise measured
        for item in measured:
            if item.value is None:
                left_out.setdefault(item.metric, item.reason or item.status)
            else:
                values.setdefault(item.metric, {})[what] = item.value
    return {metric: found for metric, found in values.items() if len(found) == len(outcomes)}


def _coded(codec: CodecEntry, rate: float, clip: Clip, folder: Path) -> tuple[Path, CodingTransform]:
    """Decoded frames of a clip as a file of raw samples."""
    folder.mkdir()
    program = external(codec, None)
    stream = folder / f"bitstream.{codec.card.extension}"
    program.encode(clip, RatePoint(codec.card.rates.parameter, codec.card.rates.check(rate)), stream)
    transform = program.transform(clip.format)
    kept = folder / "decoded.raw"
    alone = copy_alone(stream, folder / "decode")
    with kept.open("wb") as file, program.open_decoder(alone, transform.coded) as decoder:
        for frame in decoder.frames():
            file.write(frame.data.data)
    return kept, transform
