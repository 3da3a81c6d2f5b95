"""Score a video file that exists already against its source, brought to the source's format where it has another."""

from __future__ import annotations

import math
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.transfer import NAMES
from bench.core.paths import local_path
from bench.core.process import cpu_count
from bench.engine.measure import check_format, measure
from bench.errors import MismatchError, NoVideoError, UsageError
from bench.metrics.base import EncodedAs, Measurement
from bench.metrics.kernels import plane_sse
from bench.metrics.sets import expanded
from bench.registry import DEFAULT_METRICS, metric_class
from bench.video.formats import Transfer, VideoFormat
from bench.video.frame import CodingTransform, Frame, Samples, sample_dtype
from bench.video.scale import filter_text, rescaled
from bench.video.sequence import RawSource, Sequence, open_sequence

SHIFTS = (-3, -2, -1, 1, 2, 3)
"""Numbers of frames by which a video is tried to be shifted against its source."""

SHIFT_GAIN_DB = 6.0
"""By how much a shifted video must fit better before it is said."""


@dataclass(frozen=True)
class Score:
    """Measurements of a file, and ``notes``: what was done to its frames, and what is doubtful about the pair.

    ``transfer``: how samples of both become light, where either says it.
    """

    measurements: list[Measurement]
    notes: tuple[str, ...] = ()
    transfer: Transfer | None = None


def score(
    reference: str | Path,
    distorted: str | Path,
    metrics: Iterable[str] = DEFAULT_METRICS,
    *,
    input_format: Mapping[str, Any] | None = None,
    film_grain: bool = True,
    scaler: str | None = None,
) -> list[Measurement]:
    """Measurements of ``score_file``, which has notes too."""
    how: dict[str, Any] = {"input_format": input_format, "film_grain": film_grain, "scaler": scaler}
    return score_file(reference, distorted, metrics, **how).measurements


def score_file(
    reference: str | Path,
    distorted: str | Path,
    metrics: Iterable[str] = DEFAULT_METRICS,
    *,
    input_format: Mapping[str, Any] | None = None,
    film_grain: bool = True,
    scaler: str | None = None,
) -> Score:
    """Measure a file frame by frame against its source, by index, never by timestamp.

    ``input_format`` has size, pix_fmt and fps where either is raw, and transfer where neither says it. Samples of
    another bit depth are brought to the source's; ``scaler`` (a name of ``bench.video.scale.SCALERS``) brings frames of
    another size to the source's, which else is a mismatch; ``film_grain`` says whether grain is synthesised where the
    stream describes it. Raises MismatchError, naming the file, unless frame count, chroma format and what both say of
    range and matrix are equal; MediaError for a file that cannot be read; UnknownNameError for a metric.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    kinds = [metric_class(name) for name in dict.fromkeys(expanded(names))]
    settings = dict(input_format or {})
    source = open_sequence(local_path(reference), **settings)
    other = _open_distorted(local_path(distorted), source, settings, film_grain=film_grain)
    try:
        fmt, colour_notes = _common_colour(source, other)
        frames, fitted, notes = _fitted(other.read(), other.format, fmt, scaler)
        check_format(fitted, fmt)
        watch = _ShiftWatch()
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(
                watch.references(Frame(fmt, frame.data, frame.rgb) for frame in source.read()),
                watch.distorted(frames),
                kinds,
                CodingTransform(fmt, fmt),
                Path(folder),
                threads=cpu_count(),
                encoded=_encoded(other.format, fmt),
            )
    except MismatchError as error:
        hint = "; give --scaler lanczos to compare at the source's size" if error.reason == "frame_size" else ""
        edits = "".join(f"; {remark}" for remark in other.remarks if error.reason == "frame_count")
        raise MismatchError(error.reason, f"{distorted} against {reference}: {error}{hint}{edits}") from None
    transfer, said = _common_transfer(source, other)
    return Score(measured, (*other.remarks, *colour_notes, *said, *notes, *watch.notes), transfer)


def _encoded(coded: VideoFormat, fmt: VideoFormat) -> EncodedAs | None:
    """What was encoded, where it was smaller, or of fewer bits, than what is measured."""
    if coded.width * coded.height >= fmt.width * fmt.height and coded.bit_depth >= fmt.bit_depth:
        return None
    return EncodedAs(min(coded.width, fmt.width), min(coded.height, fmt.height), min(coded.bit_depth, fmt.bit_depth))


def _open_distorted(path: Path, source: Sequence, settings: dict[str, Any], *, film_grain: bool) -> Sequence:
    if isinstance(source.source, RawSource):
        # what describes a raw reference need not be true of a stream
        own = {key: value for key, value in settings.items() if key == "fps"}
        with suppress(NoVideoError, UsageError):
            return open_sequence(path, film_grain=film_grain, **own)
    return open_sequence(path, film_grain=film_grain, **settings)


def _common_colour(source: Sequence, other: Sequence) -> tuple[VideoFormat, list[str]]:
    """The format of both, with the range and the matrix that either states; MismatchError where they state different
    ones."""
    fmt, notes = source.format, []
    for fact, word in (("full_range", _range_of), ("matrix", _matrix_of)):
        ours, theirs = getattr(source.format, fact), getattr(other.format, fact)
        if ours == theirs or "rgb" in {source.source.format.chroma, other.source.format.chroma}:
            continue
        said = f"the file is in {word(other.format)}, the reference in {word(source.format)}"
        if fact in source.source.stated and fact in other.source.stated:
            raise MismatchError(
                "colour", f"{said}, as both say; convert one of them, or correct the tag that is wrong (FFmpeg: -bsf:v)"
            )
        if fact in other.source.stated:
            fmt = replace(fmt, **{fact: theirs})
            notes.append(f"the file states {word(other.format)}, the reference nothing; it is taken for both")
        elif fact in source.source.stated:
            notes.append(f"the reference states {word(source.format)}, the file nothing; it is taken for both")
    return fmt, notes


def _common_transfer(source: Sequence, other: Sequence) -> tuple[Transfer | None, list[str]]:
    """How samples become light as either says it, the source first; a note where they say different things."""
    ours, theirs = source.transfer, other.transfer
    if ours is None or theirs in {None, ours}:
        return ours or theirs, []
    return ours, [f"the file states {NAMES[theirs]} samples, the reference {NAMES[ours]}, as which both are taken"]


def _range_of(fmt: VideoFormat) -> str:
    return f"{'full' if fmt.full_range else 'limited'} range"


def _matrix_of(fmt: VideoFormat) -> str:
    return f"matrix {fmt.matrix}"


def _fitted(
    frames: Iterator[Frame], coded: VideoFormat, fmt: VideoFormat, scaler: str | None
) -> tuple[Iterator[Frame], VideoFormat, list[str]]:
    """Frames as near to the source's format as is allowed, their format then, and what was done."""
    notes = []
    if fmt.chroma == "gray" and coded.chroma not in {"gray", "rgb"}:
        frames, coded = map(_luma, frames), replace(coded, chroma="gray")
        notes.append("its chroma planes are neutral; luma alone is compared with the grey reference")
    if scaler is not None and (coded.width, coded.height) != (fmt.width, fmt.height):
        notes.append(
            f"{coded.width}x{coded.height} is scaled to {fmt.width}x{fmt.height} by "
            f"{filter_text(fmt.width, fmt.height, scaler)}"
        )
        frames = rescaled(frames, coded, fmt.width, fmt.height, scaler)
        coded = replace(coded, width=fmt.width, height=fmt.height)
    if coded.bit_depth != fmt.bit_depth and coded.chroma == fmt.chroma:
        same = replace(fmt, width=coded.width, height=coded.height)
        if coded.bit_depth > fmt.bit_depth:
            notes.append(f"its {coded.bit_depth}-bit samples are rounded to {fmt.bit_depth} bit")
            frames = map(CodingTransform(same, replace(same, bit_depth=coded.bit_depth)).inverse, frames)
        else:
            how = "scaled" if fmt.full_range else "shifted"
            notes.append(f"its {coded.bit_depth}-bit samples are {how} to {fmt.bit_depth} bit")
            frames = (_deeper(frame, same) for frame in frames)
        coded = replace(coded, bit_depth=fmt.bit_depth)
    return (Frame(fmt, frame.data, frame.rgb) if coded_like(coded, fmt) else frame for frame in frames), coded, notes


def coded_like(coded: VideoFormat, fmt: VideoFormat) -> bool:
    """Whether frames have the same samples in the same places."""
    return (coded.plane_shapes, coded.bit_depth) == (fmt.plane_shapes, fmt.bit_depth)


def _luma(frame: Frame) -> Frame:
    middle = 1 << (frame.format.bit_depth - 1)
    if any((plane != middle).any() for plane in frame.planes[1:]):
        raise MismatchError("frame_format", f"decoded frames are {frame.format.pix_fmt} with colour, expected grey")
    return Frame(replace(frame.format, chroma="gray"), np.ascontiguousarray(frame.planes[0]).ravel())


def _deeper(frame: Frame, target: VideoFormat) -> Frame:
    """Samples at a higher bit depth: black and white stay black and white."""
    samples: Samples = frame.data.astype(np.uint32)
    if target.full_range:
        low = frame.format.peak
        samples = (samples * target.peak + low // 2) // low
    else:
        samples <<= target.bit_depth - frame.format.bit_depth
    return Frame(target, samples.astype(sample_dtype(target)))


class _ShiftWatch:
    """Whether another frame of the source than the one of equal index is the one that a frame shows."""

    _MOST = 300

    def __init__(self) -> None:
        reach = max(SHIFTS)
        self._references: deque[tuple[int, Any]] = deque(maxlen=2 * reach + 1)
        self._shown: deque[tuple[int, Any]] = deque(maxlen=reach + 1)
        self._errors: dict[int, list[int]] = {shift: [0, 0] for shift in SHIFTS}

    def references(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for index, frame in enumerate(frames):
            if index < self._MOST:
                self._references.append((index, frame.planes[0]))
            yield frame

    def distorted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for index, frame in enumerate(frames):
            if index < self._MOST:
                self._shown.append((index, frame.planes[0]))
                self._compare(index)
            yield frame

    def _compare(self, newest: int) -> None:
        """Add the errors of the frame whose neighbours on both sides have been seen."""
        middle = newest - max(SHIFTS)
        references = dict(self._references)
        shown = dict(self._shown).get(middle)
        if shown is None or not all(middle + shift in references for shift in SHIFTS):
            return
        if any(reference.shape != shown.shape for reference in references.values()):
            return
        own = plane_sse(references[middle], shown)
        for shift, sums in self._errors.items():
            sums[0] += own
            sums[1] += plane_sse(references[middle + shift], shown)

    @property
    def notes(self) -> list[str]:
        gains = {shift: _gain(*sums) for shift, sums in self._errors.items()}
        shift = max(gains, key=lambda shift: gains[shift])
        if gains[shift] < SHIFT_GAIN_DB:
            return []
        away = f"{abs(shift)} frame{'' if abs(shift) == 1 else 's'} {'later' if shift > 0 else 'earlier'}"
        better = f"{gains[shift]:.1f} dB better" if math.isfinite(gains[shift]) else "exactly"
        return [f"its frames fit those of the reference {away} {better}: one of the two seems to lack or repeat frames"]


def _gain(own: int, shifted: int) -> float:
    if own == 0:
        return 0.0
    return math.inf if shifted == 0 else 10 * math.log10(own / shifted)
