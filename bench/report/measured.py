"""What was measured, and with what: codecs, sequences, metrics and machines of a result set, in words."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from bench.analysis.curves import SequenceKey
from bench.analysis.fooled import fooled_by
from bench.analysis.identity import told_apart
from bench.analysis.looks import Look, looks
from bench.analysis.options import CompareOptions, DeltaAxis
from bench.analysis.pooled import is_pooled
from bench.analysis.quality import QualityAxis, Scale
from bench.analysis.transfer import NAMES, taken_as
from bench.errors import UnavailableError, UnknownNameError, UsageError
from bench.metrics.base import definition
from bench.protocols import common
from bench.records.cell import CellResult, SequenceRecord
from bench.records.published import PublishedSet
from bench.results.result_set import ResultSet

NOT_RECORDED = "not recorded"
DEFAULT_ANCHOR = "x265"
SHORT_NAMES: Mapping[str, str] = {
    "psnr_y": "PSNR-Y",
    "psnr_u": "PSNR-U",
    "psnr_v": "PSNR-V",
    "psnr_rgb": "PSNR-RGB",
    "psnr_yuv": "PSNR-YUV",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "vmaf": "VMAF",
    "vmaf_neg": "VMAF NEG",
    "lpips_alex": "LPIPS (Alex)",
    "lpips_vgg": "LPIPS (VGG)",
    "niqe": "NIQE",
    "fd_squeezenet": "FD (SqueezeNet)",
    "kd_squeezenet": "KD (SqueezeNet)",
    "fd_squeezenet_256": "FD-256 (SqueezeNet)",
    "kd_squeezenet_256": "KD-256 (SqueezeNet)",
    "ewarp": "Warping error",
    "flicker": "Flicker",
    "tof": "tOF",
    "tlpips": "tLPIPS",
}
"""Names of metrics as papers write them, where these are shorter than the title."""


@dataclass(frozen=True)
class CodecFacts:
    """One codec as it was run; texts, empty where the card says nothing. `commands` are those of one cell."""

    name: str
    title: str
    kind: str
    estimated: bool
    gop: str
    licence: str
    homepage: str
    paper: str
    note: str
    tool: str
    rates: str
    settings: tuple[str, ...]
    weights: tuple[str, ...]
    changes: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    outcome: str


@dataclass(frozen=True)
class SequenceFacts:
    """One sequence as it was coded; texts."""

    dataset: str
    name: str
    file: str
    frames: str
    size: str
    fps: str
    format: str
    colour: str
    sha256: str


@dataclass(frozen=True)
class MetricFacts:
    """One metric: what its class says, and what its measurements recorded.

    direction: "higher", "lower", or None where the metric is not installed here and `problem` says why. unit: of its
    values. axis_unit, cap, saturation: on the axis of curves and BD-rate, which is in dB for SSIM. pooled: it has a
    value of its own for a dataset, beside those of the videos. fooled: tricks that it finds better and that help no
    viewer.
    """

    name: str
    title: str
    unit: str
    direction: str | None
    definition: str
    cap: float | None
    saturation: float | None
    provenance: tuple[str, ...]
    problem: str | None = None
    fooled: tuple[str, ...] = ()
    pooled: bool = False
    axis_unit: str = ""
    scale: Scale = "linear"

    @property
    def short(self) -> str:
        """Its name as papers write it: in headers of tables and on axes."""
        return SHORT_NAMES.get(self.name, self.title)

    @property
    def axis(self) -> DeltaAxis | None:
        """The axis of curves and BD-rate; None where it is not known which way is better."""
        if self.direction is None:
            return None
        return DeltaAxis(self.name, self.direction == "higher", self.cap, self.saturation)


@dataclass(frozen=True)
class Scope:
    """The sequences that are taken together: those of one dataset, or of all."""

    dataset: str | None

    @property
    def label(self) -> str:
        return "all datasets" if self.dataset is None else dataset_text(self.dataset)


@dataclass(frozen=True)
class Measured:
    """A result set as every output of it takes it: codecs told apart, the anchor chosen, the metrics described.

    codecs: the anchor first; of them published, those that were read from papers, with what they are of. remarks: which
    codecs stand under other names than their cards', and what else the result set itself says. looks_file:
    a file of one's own on how codecs are drawn.
    """

    results: ResultSet
    anchor: str
    anchor_reason: str
    codecs: tuple[str, ...]
    published: Mapping[str, str]
    metrics: tuple[MetricFacts, ...]
    remarks: tuple[str, ...] = ()
    options: CompareOptions = field(default_factory=CompareOptions)
    looks_file: Path | None = None

    @classmethod
    def of(
        cls,
        results: ResultSet,
        anchor: str | None = None,
        metrics: Sequence[str] | None = None,
        options: CompareOptions | None = None,
        looks_file: Path | None = None,
    ) -> Measured:
        """What there is in a result set: `metrics` of it, by default all, against `anchor`, by default a usual one.

        Raises UnknownNameError for an anchor or a metric that the results do not have, UsageError where they are none.
        """
        if not results.cells and not results.published:
            found = (
                f" ({len(results.problems)} files cannot be read: {results.problems[0]})" if results.problems else ""
            )
            folders = ", ".join(map(str, results.folders)) or "the result set"
            raise UsageError(f"{folders}: has no results to report{found}; make some with vcbench run")
        for name in metrics or ():
            if name not in results.metrics:
                raise UnknownNameError("metric", name, results.metrics)
        names = dict.fromkeys(results.metrics if metrics is None else metrics)
        cells, renamed = told_apart(results.cells)
        remarks = (*results.notes, *renamed)
        results = results.having(cells)
        published = {
            part.label(curve): f"{curve.codec} in {part.paper.title}"
            for part in results.published
            for curve in part.curves
        }
        chosen, why = choose_anchor(cells, anchor, published)
        codecs = tuple(sorted(results.codecs, key=lambda name: (name != chosen, name)))
        facts = tuple(metric_facts(cells, name) for name in names)
        options = _by_protocol(options or CompareOptions(), cells)
        return cls(results, chosen, why, codecs, published, facts, remarks, options, looks_file)

    @cached_property
    def found(self) -> dict[Scope, tuple[frozenset[str], frozenset[str]]]:
        """Names of the codecs and of the metrics that have any result in each scope."""
        return {scope: _names(self.results.only(dataset=scope.dataset)) for scope in self.scopes}

    @cached_property
    def estimated(self) -> frozenset[str]:
        """Codecs whose rate is an estimate, not the size of a bitstream."""
        return frozenset(cell.codec.name for cell in self.results.cells if cell.codec.rate_kind == "estimate")

    @cached_property
    def labels(self) -> dict[str, str]:
        """Names of the codecs with their presets, as legends and tables show them."""
        return {name: look.label for name, look in self.looks.items()}

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Each dataset, and all together where there are several."""
        return tuple(scopes(self.results.cells, self.results.published))

    @cached_property
    def looks(self) -> dict[str, Look]:
        """How each codec is drawn; raises UsageError where `looks_file` is not as `bench.analysis.looks.looks` says."""
        return looks(self.results.labels, self.looks_file)

    @cached_property
    def records(self) -> dict[SequenceKey, SequenceRecord]:
        """The sequences, in order."""
        found = {SequenceKey(cell.sequence.dataset, cell.sequence.name): cell.sequence for cell in self.results.cells}
        return {key: found[key] for key in sorted(found)}

    @cached_property
    def sequences(self) -> tuple[SequenceKey, ...]:
        """Keys of the sequences, in order."""
        return tuple(self.records)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(metric.name for metric in self.metrics)

    def codec_facts(self) -> list[CodecFacts]:
        """The codecs that were run here, the anchor first."""
        return [codec_facts(self.results.cells, name) for name in self.codecs if name not in self.published]

    def sequence_facts(self) -> list[SequenceFacts]:
        """The sequences as they were coded."""
        return [sequence_facts(record) for record in self.records.values()]

    def environment(self) -> list[tuple[str, list[str]]]:
        """Versions, machines and command lines: what, and its distinct values."""
        return environment(self.results, self.results.cells)


def _names(results: ResultSet) -> tuple[frozenset[str], frozenset[str]]:
    """Codecs that were run or published, and metrics that a finished cell or a published curve has."""
    measured = {name for cell in results.cells if cell.status == "ok" for name in cell.measurements}
    published = {curve.metric for part in results.published for curve in part.curves}
    return frozenset(results.codecs), frozenset(measured | published)


def _by_protocol(options: CompareOptions, cells: Iterable[CellResult]) -> CompareOptions:
    """The options with the convention and method of the protocol that all cells ran under, where none is asked for."""
    protocol = common(cell.provenance for cell in cells)
    if protocol is None or options.convention is not None:
        return options
    return replace(options, convention=protocol.convention, method=protocol.method)


def choose_anchor(cells: Sequence[CellResult], wanted: str | None, published: Iterable[str] = ()) -> tuple[str, str]:
    """The anchor, and why it is that one; a published codec only where it is wanted, or there is no other.

    Raises UnknownNameError for a wanted codec that has no cell and is not `published`.
    """
    names = {cell.codec.name for cell in cells} | set(published)
    if wanted is not None:
        if wanted not in names:
            raise UnknownNameError("codec", wanted, names)
        return wanted, "as asked for"
    usable = {cell.codec.name for cell in cells if cell.status == "ok"} or names
    if DEFAULT_ANCHOR in usable:
        return DEFAULT_ANCHOR, "the default anchor"
    return min(usable), f"the first codec by name, because there is no result for {DEFAULT_ANCHOR}"


def scopes(cells: Iterable[CellResult], published: Iterable[PublishedSet] = ()) -> list[Scope]:
    """Each dataset, and all together where there are several."""
    datasets = sorted(
        {cell.sequence.dataset for cell in cells} | {curve.dataset for part in published for curve in part.curves}
    )
    return [*map(Scope, datasets), *([Scope(None)] if len(datasets) > 1 else [])]


def codec_facts(cells: Sequence[CellResult], name: str) -> CodecFacts:
    """Facts of the codec `name` of the cells."""
    own = [cell for cell in cells if cell.codec.name == name]
    done = [cell for cell in own if cell.status == "ok"]
    record = own[0].codec
    card = record.card
    settings = card.get("settings")
    return CodecFacts(
        name=name,
        title=record.title,
        kind=record.kind,
        estimated=any(cell.codec.rate_kind == "estimate" for cell in own),
        gop=_text(card.get("gop")),
        licence=_text(card.get("licence")),
        homepage=_text(card.get("homepage")),
        paper=_text(card.get("paper")),
        note=_text(card.get("note")),
        tool="; ".join(_distinct(_pairs(cell.codec.tool) for cell in own)),
        rates="; ".join(_rates(own)),
        settings=tuple(f"{key}: {_text(value)}" for key, value in settings.items())
        if isinstance(settings, dict)
        else (),
        weights=tuple(
            f"{item.get('file')} (SHA-256 {item.get('sha256')})"
            for item in card.get("weights") or ()
            if isinstance(item, dict)
        ),
        changes=tuple(_distinct(change for cell in done for change in cell.changes)),
        commands=_commands(done),
        outcome=count_text(Counter(cell.status for cell in own)),
    )


def sequence_facts(record: SequenceRecord) -> SequenceFacts:
    """Facts of one sequence."""
    fps = f"{float(Fraction(record.fps)):.4g}" if len(record.fps) > len("30000/1001") else record.fps
    colour = f"{record.matrix}, {'full' if record.full_range else 'limited'} range, chroma siting {record.siting}"
    if record.transfer is not None:
        colour += f", {NAMES[record.transfer]}"
    return SequenceFacts(
        dataset=dataset_text(record.dataset),
        name=record.name,
        file=record.file,
        frames=f"{record.frames} (from {record.start})",
        size=f"{record.width}x{record.height}",
        fps="; ".join((fps, *record.remarks)),
        format=record.pix_fmt,
        colour=f"{colour}; converted: {record.conversion}" if record.conversion else colour,
        sha256=record.sha256,
    )


def metric_facts(cells: Sequence[CellResult], name: str) -> MetricFacts:
    """Facts of a metric; those of its class are missing, with the reason, where it is not installed here."""
    from bench.registry import metric_class

    measured = [cell.measurements[name] for cell in cells if name in cell.measurements]
    provenance = tuple(_distinct(_pairs(item.provenance) for item in measured if item.provenance))
    try:
        metric = metric_class(name)
    except (UnknownNameError, UnavailableError) as error:
        problem = f"{name} is not installed here, so which way is better is not known ({error})"
        return MetricFacts(name, name, "", None, NOT_RECORDED, None, None, provenance, problem)
    axis = QualityAxis.parse(name)
    return MetricFacts(
        name,
        f"{metric.title}{_taken_as(cells, name)}",
        metric.unit,
        metric.direction,
        definition(metric),
        axis.cap,
        axis.saturation,
        provenance,
        fooled=fooled_by(name),
        pooled=is_pooled(name),
        axis_unit=axis.unit,
        scale=axis.scale,
    )


def _taken_as(cells: Iterable[CellResult], name: str) -> str:
    """A mark for a metric that takes samples of some sequences for what they are not; empty where there are none."""
    sequences = {(c.sequence.dataset, c.sequence.name): c.sequence.transfer for c in cells if name in c.measurements}
    doubts = Counter(doubt for transfer in sequences.values() if (doubt := taken_as(name, transfer)))
    if not doubts:
        return ""
    share = "" if doubts.total() == len(sequences) else f" on {doubts.total()} of {len(sequences)} sequences"
    return f" ({' and '.join(doubts)}{share})"


def environment(results: ResultSet, cells: Sequence[CellResult]) -> list[tuple[str, list[str]]]:
    """Versions, machines and command lines that the cells came from: what, and its distinct values."""
    records = [cell.provenance for cell in cells if cell.provenance]

    def values(*keys: str) -> list[str]:
        return _distinct(_text(record[key]) for record in records for key in keys if record.get(key) is not None)

    started = sorted(values("started"))
    facts = [
        ("result sets", [folder.name or str(folder) for folder in results.folders]),
        ("command lines", _distinct(command_text(r["command"]) for r in records if isinstance(r.get("command"), list))),
        ("started", [started[0]] if len(started) == 1 else [f"{started[0]} to {started[-1]}"] if started else []),
        ("vcbench", _distinct(_versions(record) for record in records if record.get("vcbench"))),
        ("Python", values("python")),
        ("libraries", values("libraries")),
        ("system", values("platform")),
        ("processor", _distinct(_processor(record) for record in records if record.get("cpu"))),
        ("memory", _distinct(_memory(record["memory_bytes"]) for record in records if record.get("memory_bytes"))),
        ("GPU", _distinct(_text(record.get("gpu") or "none") for record in records)),
        ("parallel cells", _distinct(_jobs(record) for record in records if record.get("jobs"))),
    ]
    return [(name, found) for name, found in facts if found]


def machines(cells: Iterable[CellResult]) -> int:
    """On how many different machines the cells were timed, as far as processor and system tell them apart."""
    return len({(str(c.provenance.get("cpu")), str(c.provenance.get("platform"))) for c in cells if c.provenance})


def dataset_text(name: str) -> str:
    """A dataset's name for people; sequences given as files on the command line have none of their own."""
    return "input files" if name in {"", "input"} else name


def count_text(counts: Counter[str]) -> str:
    """Counted outcomes, such as "19 ok, 1 failed"."""
    return ", ".join(f"{counts[key]} {key}" for key in ("ok", "failed", "skipped") if counts[key]) or "none"


def _rates(cells: Iterable[CellResult]) -> list[str]:
    values: dict[str, set[float]] = {}
    for cell in cells:
        values.setdefault(cell.rate.parameter, set()).add(cell.rate.value)
    return [f"{parameter} {', '.join(f'{v:g}' for v in sorted(found))}" for parameter, found in sorted(values.items())]


def _commands(cells: Sequence[CellResult]) -> tuple[tuple[str, str], ...]:
    example = next((cell for cell in cells if cell.encode and cell.encode.commands), None)
    if example is None or example.encode is None:
        return ()
    where = f"{example.sequence.name} at {example.rate.parameter} {example.rate.value:g}"
    decode = example.decode.commands if example.decode else []
    steps = [("encode", example.encode.commands), ("decode", decode)]
    return tuple((f"{step} {where}", command_text(argv)) for step, commands in steps for argv in commands)


def command_text(argv: Iterable[object]) -> str:
    """A command line as a shell takes it, with paths cut to file names."""
    return " ".join(_word(str(part)) for part in argv)


@lru_cache(maxsize=1 << 12)
def _word(part: str) -> str:
    """A part of a command line; remembered, since most options are those of every cell."""
    # Where a program and a temporary file lay says nothing to another reader; what they are called does.
    return shlex.quote(re.sub(r"(^|(?<=[:=]))/(?:[^/]*/)+(?=[^/]+$)", "", part))


def _versions(record: dict[str, Any]) -> str:
    revision = record.get("vcbench_revision")
    return f"{record['vcbench']} (revision {revision})" if revision else str(record["vcbench"])


def _processor(record: dict[str, Any]) -> str:
    return f"{record['cpu']}, {record.get('cpus')} usable" if record.get("cpus") else str(record["cpu"])


def _memory(size: Any) -> str:
    return f"{size / 2**30:.1f} GiB" if isinstance(size, int | float) else str(size)


def _jobs(record: dict[str, Any]) -> str:
    return f"{record['jobs']} by {record.get('backend', NOT_RECORDED)}"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return _pairs(value)
    if isinstance(value, list | tuple):
        return shlex.join(map(str, value))
    return str(value)


def _pairs(record: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_text(value)}" for key, value in record.items())


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
