"""What a cell's result file holds.

A result set is a folder: ``cells/`` has one strict-JSON file per cell, ``bitstreams/`` the files that were decoded,
``frames/`` the per-frame values (Parquet). Everything else is derived from them. Curves of papers are a folder too,
with nothing but ``published.json``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from bench.cards import CodecKind
from bench.core.paths import readable
from bench.core.schema import ConfiguredName, Digest, FileName, MetricName, Name, explain
from bench.core.untrusted import parse_json, read_text
from bench.errors import StoreError, UsageError
from bench.video.formats import MAX_SIDE, Matrix, Siting, Transfer, VideoFormat, parse_fps

SCHEMA_VERSION = 1
_PRESET = re.compile(r"\b(?:preset|cpu-used|speed(?: level)?|complexity) (?P<value>[\w.-]+)")
"""How a card's title names the preset, in the words of its encoder."""


def _number(value: float) -> float:
    if math.isnan(value):
        raise ValueError("is not a number")
    return value


@lru_cache(maxsize=1024)
def _rate(value: str) -> str:
    try:
        parse_fps(value)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return value


@lru_cache(maxsize=1024)
def _fps(value: str) -> Fraction:
    """Frames per second of a record; a result set has few, in thousands of cells."""
    return Fraction(value)


@lru_cache(maxsize=1024)
def _format_problem(width: int, height: int, fps: str, pix_fmt: str) -> str | None:
    """Why there is no such format."""
    try:
        VideoFormat(width, height, fps=Fraction(fps)).with_pix_fmt(pix_fmt)
    except UsageError as error:
        return str(error)
    return None


Number = Annotated[float, AfterValidator(_number)]
# Bounds that no video reaches: beyond them a damaged file's numbers leave what floats can hold.
Count = Annotated[int, Field(ge=1, lt=1 << 62)]
Whole = Annotated[int, Field(ge=0, lt=1 << 62)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
RateValue = Annotated[int | float, Field(gt=-1e300, lt=1e300)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
FeaturesFile = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}\.npy$")]


def _readable(value: Any) -> Any:
    """A value in which every text is one that JSON can hold: a name of a file need not be."""
    match value:
        case str():
            return value if value.isascii() else readable(value)
        case dict():
            return {_readable(key): _readable(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(_readable, value))
        case _:
            return value


_READABLE = object()
"""The context of a validation whose data holds no other texts: to look at each takes as long as all else."""


class Model(BaseModel):
    """Base of a result file's parts. Infinite values are written as the strings "Infinity" and "-Infinity"."""

    # built when the first result is read or made, by when an encoder is at work
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _readable(cls, data: Any, info: ValidationInfo) -> Any:
        return data if info.context is _READABLE else _readable(data)


def codec_label(name: str, title: str) -> str:
    """A codec's name with the preset that its title names, unless the name says it already.

    >>> codec_label("x265", "x265, preset medium, constant QP")
    'x265 (preset medium)'
    >>> codec_label("x265@veryslow", "x265, preset veryslow, constant QP")
    'x265@veryslow'
    """
    preset = _PRESET.search(title)
    said = preset is None or re.search(rf"@.*\b{re.escape(preset['value'])}\b", name)
    return name if preset is None or said else f"{name} ({preset[0]})"


class CodecRecord(Model):
    """The codec of a cell: its resolved card and what wrote the bits."""

    name: ConfiguredName
    title: str
    kind: CodecKind
    rate_kind: Literal["bitstream", "estimate"]
    card: dict[str, Any]
    tool: dict[str, str]

    @property
    def label(self) -> str:
        """The name with the preset that the title names, for legends and tables; see `codec_label`."""
        return codec_label(self.name, self.title)


class RateRecord(Model):
    parameter: Name
    value: RateValue


class SequenceRecord(Model):
    """The frames that were coded. ``transfer``: how samples become light; None where it is not known, and in files of
    vcbench before it stored this."""

    name: FileName
    dataset: Name
    file: FileName
    sha256: Digest
    start: Whole
    frames: Count
    width: Side
    height: Side
    fps: Annotated[str, AfterValidator(_rate)]
    pix_fmt: str
    matrix: Matrix
    full_range: bool
    siting: Siting
    transfer: Transfer | None = None
    conversion: str | None
    remarks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_a_format(self) -> SequenceRecord:
        problem = _format_problem(self.width, self.height, self.fps, self.pix_fmt)
        if problem is not None:
            raise ValueError(problem)
        return self


class BitstreamRecord(Model):
    """``contents``: bytes by what they are (pictures, parameters, messages, delimiters, filler, container); empty for a
    format that `bench.bitstream.units` does not know, and in files of vcbench before it stored this."""

    file: FileName
    bytes: Whole
    sha256: Digest
    contents: dict[str, Whole] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_no_smaller_than_its_container(self) -> BitstreamRecord:
        if self.contents.get("container", 0) > self.bytes:
            raise ValueError(f"contents: a container of {self.contents['container']} bytes in a file of {self.bytes}")
        return self


class DecodedRecord(Model):
    """What the decoder gave: ``frames`` frames of ``pix_fmt`` whose raw planar bytes, one after the other, have the
    SHA-256. It is the digest of what ``ffmpeg -i BITSTREAM -f rawvideo`` writes, before padding or a shift is undone.
    """

    frames: Whole
    pix_fmt: str
    sha256: Digest


class CostRecord(Model):
    """Cost of an encode or a decode. ``timing`` "alone": nothing else of the run was at work; else "shared".

    A shared decode feeds the metrics, which may hold it up; its ``seconds`` are then a lower bound, the larger of its
    CPU time and of the time its frames were waited for. ``start_s``: seconds of CPU time that importing and loading the
    networks took, once for all cells of a codec in a worker, and which are not among the others; None where each encode
    and decode starts for itself, within its own times.

    ``macs``: multiply-accumulates of the networks over the whole clip, as `bench.networks.complexity` counts them; None
    for a codec without networks, for one whose networks run in another interpreter, and in files of vcbench before it
    counted them. `CellResult.kmac_per_pixel` is what papers give. ``energy_j``: joules that the machine's processors
    took from start to end; None unless ``timing`` is "alone" on a machine that tells (RAPL).
    """

    seconds: Seconds
    cpu_s: Seconds
    peak_rss_bytes: Whole
    timing: Literal["alone", "shared"]
    start_s: Seconds | None = None
    macs: Whole | None = None
    energy_j: Seconds | None = None
    commands: list[list[str]] = Field(default_factory=list)
    notes: dict[str, Any] = Field(default_factory=dict)


class MeasurementRecord(Model):
    key: Digest
    status: Literal["ok", "undefined", "unavailable", "failed"]
    value: Number | None = None
    reason: str | None = None
    pooled: dict[str, Number] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    features: dict[Name, FeaturesFile] = Field(default_factory=dict)


class CellResult(Model):
    """One cell's result file.

    ``estimated_bits`` is the rate of a codec that gives an estimate (rate_kind "estimate"): its file holds what its
    decoder needs, and is no measure of a rate. ``parameters``: numbers in the weights of the networks at this rate
    point, of encoder and decoder together; None as for ``macs`` of a `CostRecord`.
    """

    schema_version: Literal[1] = 1
    name: FileName
    key: Digest
    status: Literal["ok", "failed", "skipped"]
    reason: str | None = None
    message: str | None = None
    codec: CodecRecord
    rate: RateRecord
    sequence: SequenceRecord
    bitstream: BitstreamRecord | None = None
    estimated_bits: Whole | None = None
    parameters: Whole | None = None
    encode: CostRecord | None = None
    decode: CostRecord | None = None
    decoded: DecodedRecord | None = None
    changes: list[str] = Field(default_factory=list)
    measurements: dict[MetricName, MeasurementRecord] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @property
    def scale(self) -> float:
        """At which share of the sequence's size it was coded."""
        scaling = self.codec.card.get("scaling")
        factor = scaling.get("factor") if isinstance(scaling, dict) else None
        return float(factor) if isinstance(factor, int | float) and 0 < factor < 1 else 1.0

    @property
    def point(self) -> str:
        """The rate point as it is shown: "qp 27", or "qp 27 at 0.5x"."""
        return f"{self.rate.parameter} {self.rate.value:g}{self.at}"

    @property
    def at(self) -> str:
        """The size at which it was coded, where that is a part of the sequence's: " at 0.5x"."""
        return "" if self.scale == 1 else f" at {self.scale:g}x"

    @property
    def bits(self) -> int | None:
        """The rate of the cell: bits of the bitstream file, headers included, but those of a container that the card
        names; of a codec whose card says that its rate is an estimate, that estimate."""
        if self.bitstream is None:
            return None
        if self.codec.rate_kind == "estimate" and self.estimated_bits is not None:
            return self.estimated_bits
        container = self.bitstream.contents.get("container", 0) if self.codec.card.get("container") else 0
        return 8 * (self.bitstream.bytes - container)

    @property
    def rate_bytes(self) -> int | None:
        """``bits`` in whole bytes."""
        return None if self.bits is None else -(-self.bits // 8)

    @property
    def bpp(self) -> float | None:
        """``bits`` for each luma sample of the source's original size."""
        return None if self.bits is None else self.bits / self._luma_samples

    @property
    def kbps(self) -> float | None:
        """Kilobits (1000) of ``bits`` a second."""
        if self.bits is None:
            return None
        fps = _fps(self.sequence.fps)
        # of whole numbers the quotient is rounded once
        return self.bits * fps.numerator / (fps.denominator * self.sequence.frames * 1000)

    def kmac_per_pixel(self, cost: CostRecord | None) -> float | None:
        """Thousands of multiply-accumulates for each luma sample of the source's original size, of the cell's
        ``encode`` or ``decode``; None where they were not counted."""
        if cost is None or cost.macs is None:
            return None
        return cost.macs / self._luma_samples / 1000

    @property
    def _luma_samples(self) -> int:
        return self.sequence.frames * self.sequence.width * self.sequence.height

    def rows(self, poolings: Iterable[str] = (), metrics: Collection[str] | None = None) -> Iterable[dict[str, Any]]:
        """One row per metric for the table; a cell that failed, was skipped or has no metric gives one row without.

        ``poolings`` are keys of a measurement's pooled values, each a further column. ``metrics``: these alone, of the
        cells that have any.
        """
        measured = {name: found for name, found in self.measurements.items() if metrics is None or name in metrics}
        if self.status == "ok" and self.measurements and not measured:
            return
        shared = {
            "codec": self.codec.name,
            "rate": self.rate.value,
            "dataset": self.sequence.dataset,
            "sequence": self.sequence.name,
            "frames": self.sequence.frames,
            "width": self.sequence.width,
            "height": self.sequence.height,
            "fps": float(_fps(self.sequence.fps)),
            "bytes": self.rate_bytes,
            "bpp": self.bpp,
            "kbps": self.kbps,
            "rate_kind": self.codec.rate_kind,
            "encode_s": self.encode.seconds if self.encode else None,
            "decode_s": self.decode.seconds if self.decode else None,
            "timing": self.decode.timing if self.decode else None,
            "parameter": self.rate.parameter,
            "source": f"{self.sequence.sha256[:12]}+{self.sequence.start}",
            "cell": self.name,
            "scale": self.scale,
            "encode_kmac_per_pixel": self.kmac_per_pixel(self.encode),
            "decode_kmac_per_pixel": self.kmac_per_pixel(self.decode),
            "parameters": self.parameters,
            "encode_energy_j": self.encode.energy_j if self.encode else None,
            "decode_energy_j": self.decode.energy_j if self.decode else None,
        }
        if self.status != "ok" or not self.measurements:
            status, reason = (
                (self.status, f"{self.reason}: {self.message}")
                if self.status != "ok"
                else ("undefined", "no metric was measured; vcbench run --metrics adds some")
            )
            outcome = {"metric": None, "value": None, "status": status, "reason": reason}
            yield {**shared, **outcome, "pooling": None, "value_capped": None}
            return
        for name, found in measured.items():
            yield {
                **shared,
                "metric": name,
                "value": found.value,
                "status": found.status,
                "reason": found.reason,
                "pooling": found.provenance.get("pooling"),
                "value_capped": found.pooled.get("mean_capped"),
                **{name: found.pooled.get(name) for name in poolings},
            }


class NewerSchemaError(StoreError):
    """A result file written by a later vcbench."""


def parse_cell(text: str, where: str) -> CellResult:
    """Result of a file's text; StoreError naming the file when it is damaged, NewerSchemaError when too new."""
    try:
        data = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: is not strict JSON: {error}") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{where}: has schema version {version}, this vcbench reads up to {SCHEMA_VERSION}; "
            "update vcbench, or work in another folder"
        )
    try:
        # a file is UTF-8, so that only an escape can name what is no character
        return CellResult.model_validate(data, context=None if "\\u" in text else _READABLE)
    except ValidationError as error:
        raise StoreError(f"{where}: is not a result file:\n  {explain(error)}") from None


def read_cell(path: Path) -> CellResult:
    """Result in a file; StoreError naming it when it is damaged or under another cell's name.

    Raises NewerSchemaError when a later vcbench wrote it, and OSError when it cannot be read at all.
    """
    cell = parse_cell(read_text(path, path.parent.parent), str(path))
    if cell.name != path.stem:
        raise StoreError(f"{path}: holds the cell {cell.name}; a result file is named as its cell")
    return cell
