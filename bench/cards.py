"""Codec cards and dataset manifests: found by name, validated, listed.

A folder of the user's (``--path``, VCBENCH_PATH, the working directory) comes before what the package brings, so
that a card of the same name replaces ours. Reading a card never runs code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from bench.core.files import digest_of
from bench.core.schema import ConfiguredName, Digest, InnerPath, Model, Name, Number, explain, read_toml
from bench.errors import CardError, UnknownNameError, UsageError

ENVIRONMENT = "VCBENCH_PATH"
Kind = Literal["codecs", "datasets"]
CodecKind = Literal["classical", "learned", "overfitted", "diffusion"]


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) != len(values):
        raise ValueError("each rate value may appear only once")
    return values


class DepthRates(Model):
    """Default rate points at one bit depth, and the range there where it differs."""

    values: Annotated[tuple[Number, ...], AfterValidator(_distinct)] = Field(
        min_length=1, description="default rate points"
    )
    minimum: Number | None = Field(default=None, description="least value; absent: the card's")
    maximum: Number | None = Field(default=None, description="greatest value; absent: the card's")


class Rates(Model):
    """The rate control: one number, its default values in ascending order of the parameter, and its range.

    ``bit_depths``: values for an encoder whose scale shifts with the depth of the video it is given, as x264's does.
    """

    parameter: Name = Field(description="what the number is: qp, crf, quality, index, kbps")
    values: Annotated[tuple[Number, ...], AfterValidator(_distinct)] = Field(
        min_length=1, description="default rate points"
    )
    minimum: Number = Field(description="least value that the codec takes")
    maximum: Number = Field(description="greatest value that the codec takes")
    integer: bool = Field(default=True, description="whether values must be whole numbers")
    bit_depths: dict[Literal["8", "10", "12"], DepthRates] = Field(
        default={}, description="rates by bit depth of the encoder's input, if they differ from those above"
    )

    @model_validator(mode="after")
    def _check(self) -> Rates:
        for rates in (self, *map(self.at, self.bit_depths)):
            for value in rates.values:
                rates.check(value)
        return self

    def at(self, bit_depth: int | str) -> Rates:
        """The rates at a bit depth; these themselves where the card has none of its own for it."""
        change = self.bit_depths.get(str(bit_depth))  # type: ignore[call-overload]
        if change is None:
            return self
        changed = {key: value for key, value in change if value is not None}
        return self.model_copy(update={**changed, "bit_depths": {}})

    def check(self, value: float) -> int | float:
        """The value, if the codec takes it; ValueError saying what it takes otherwise."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{self.parameter} {value:g} is outside {self.minimum:g} to {self.maximum:g}")
        if self.integer and value != int(value):
            raise ValueError(f"{self.parameter} {value:g} is not a whole number")
        return int(value) if self.integer else value


class Input(Model):
    """What the codec takes as it is, and the reversible changes that are made to what it does not take."""

    chroma: tuple[Literal["gray", "420", "422", "444"], ...] = Field(
        default=("420",), min_length=1, description="chroma formats that the codec takes"
    )
    bit_depths: tuple[Literal[8, 10, 12], ...] = Field(
        default=(8,), min_length=1, description="bit depths of sources that the codec takes"
    )
    coding_bit_depth: Literal[10, 12] | None = Field(
        default=None, description="samples are shifted up to this depth before encoding and rounded back after decoding"
    )
    size_multiple: int = Field(
        default=1, ge=1, le=256, description="edges are repeated up to a multiple of it, and cropped after decoding"
    )
    minimum_size: int = Field(default=1, ge=1, description="smallest side in luma samples")


class Weights(Model):
    """A weight file of a learned codec."""

    file: InnerPath = Field(description="path below the card's folder")
    sha256: Digest = Field(description="digest of the file, checked before it is used")
    url: str | None = Field(default=None, description="where to get the file, named when it is missing")
    fetched: Name | None = Field(
        default=None, description="name of the weights for vcbench fetch weights, if the file is not ours"
    )


class Grain(Model):
    """Static grain: one picture of Gaussian noise, the same in every frame, added to the luma of what is decoded."""

    kind: Literal["grain"]
    sigma: float = Field(gt=0, le=64, description="standard deviation, in 8-bit levels")
    size: float = Field(default=0.7, ge=0, le=8, description="blur of the noise, standard deviation in pixels; 0: none")
    seed: int = Field(
        default=0,
        ge=0,
        lt=1 << 32,
        description="seed of the noise, which depends on it and on the size of the picture alone",
    )


class Temporal(Model):
    """Our codecs' recursive filter along motion, behind a decoder that has none."""

    kind: Literal["temporal"]
    share: float = Field(gt=0, lt=1, description="share of the previous, motion-compensated frame in each frame")


PostFilter = Annotated[Grain | Temporal, Field(discriminator="kind")]
"""What is done to decoded frames: a control of metrics, stated wherever the card is."""


class Scaling(Model):
    """The size at which a codec codes: frames are scaled before encoding, and back after decoding."""

    factor: float = Field(gt=0, lt=1, description="of both sides, which are rounded to even numbers")
    filter: Literal["lanczos", "bicubic"] = Field(default="lanczos", description="FFmpeg's scaler, down and back up")


class Needs(Model):
    """What a machine needs to run the codec. It decides where cells run, and no result depends on it."""

    gpu: bool = Field(default=False, description="whether it needs a GPU")
    memory_gb: float = Field(
        default=0, ge=0, description="peak memory of the codec's programs in GB (10^9 bytes), if it is large"
    )


class Configuration(Model):
    """What a named configuration replaces of its card. Tables in ``settings`` are changed key by key."""

    title: str | None = None
    gop: str | None = None
    rates: Rates | None = None
    input: Input | None = None
    licence: str | None = None
    note: str | None = None
    weights: tuple[Weights, ...] | None = None
    post_filters: tuple[PostFilter, ...] | None = None
    settings: dict[str, Any] = Field(default={})
    settings_alone: bool = Field(
        default=False, description="replace all settings of the card, instead of changing them key by key"
    )


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Settings with some changed: a table key by key, anything else as a whole."""
    merged = {**base}
    for key, value in change.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def decodes_exactly(kind: CodecKind, exact: object = None) -> bool:
    """Whether the streams of a codec decode to the same samples everywhere; ``exact`` is what its card says, if so."""
    return exact if isinstance(exact, bool) else kind in {"classical", "overfitted"}


def draws(kind: CodecKind, restores: object = False) -> bool:
    """Whether a codec's decoder sharpens or draws detail; ``restores`` is what its card says, if anything."""
    return kind == "diffusion" or restores is True


class Card(Model):
    """One codec: everything that changes what it writes, and what a reader wants to know about it."""

    name: ConfiguredName = Field(description="the file's name without .toml")
    title: str = Field(description="name and version for readers")
    adapter: str = Field(
        description="ffmpeg, neural, compressai, worker, the name of a plug-in, command, or file.py:Class beside the "
        "card; programs and Python files of your own cards need --trust"
    )
    kind: CodecKind = Field(default="classical", description="group of the codec in lists")
    licence: str = Field(description="licence of the codec's code and weights")
    homepage: str | None = Field(default=None, description="address of the project")
    paper: str | None = Field(default=None, description="the paper that describes it")
    note: str | None = Field(default=None, description="what a reader must know; shown with its results")
    gop: str = Field(description="GOP structure in words: random access or low delay, intra period, references")
    extension: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,8}$")] = Field(
        description="file suffix of its bitstreams"
    )
    rate_kind: Literal["bitstream", "estimate"] = Field(
        default="bitstream", description="whether rates are sizes of files, or the codec's own figures"
    )
    container: Literal["ivf", "ogg"] | None = Field(
        default=None, description="container of the stream, if any; its bytes do not count as rate"
    )
    deterministic: bool = Field(default=True, description="whether encoding twice gives the same bytes")
    exact: bool | None = Field(
        default=None,
        description="whether a stream decodes to the same samples on every machine; false: last bits may differ. "
        "Left out: true for classical and overfitted codecs, whose decoders count in integers",
    )
    restores: bool = Field(
        default=False,
        description="whether the decoder sharpens or draws detail, which VMAF rewards; vmaf_neg is then measured "
        "beside vmaf by default, as it is for every codec of the kind diffusion",
    )
    tool_version: str | None = Field(default=None, description="required version of the tool, such as >=7.0")
    rates: Rates = Field(description="the rate parameter, its default values and its range")
    input: Input = Field(default=Input(), description="formats that the codec takes")
    weights: tuple[Weights, ...] = Field(default=(), description="weight files")
    needs: Needs = Field(default=Needs(), description="what a machine needs to run it")
    post_filters: tuple[PostFilter, ...] = Field(
        default=(), description="filters after the decoder, in order: controls that are not part of the codec"
    )
    settings: dict[str, Any] = Field(default={}, description="table of the adapter, below")
    configurations: dict[Name, Configuration] = Field(
        default={}, description="variants by name, run as name@configuration"
    )
    scaling: Scaling | None = Field(default=None, description="size at which it codes, as run --scales sets it")

    def configured(self, configuration: str | None) -> Card:
        """The card with one of its configurations applied; its name becomes name@configuration."""
        if configuration is None:
            return self
        if configuration not in self.configurations:
            raise UnknownNameError(f"configuration of {self.name}", configuration, self.configurations)
        change = self.configurations[configuration]
        changed = {
            key: value
            for key in ("title", "gop", "rates", "input", "licence", "note", "weights", "post_filters")
            if (value := getattr(change, key)) is not None
        }
        return self.model_copy(
            update={
                **changed,
                "name": f"{self.name}@{configuration}",
                "settings": _merged({} if change.settings_alone else self.settings, change.settings),
                "configurations": {},
            }
        )

    @property
    def decodes_exactly(self) -> bool:
        """Whether a stream decodes to the same samples on every machine."""
        return decodes_exactly(self.kind, self.exact)

    @property
    def draws(self) -> bool:
        """Whether the decoder sharpens or draws detail, which VMAF rewards."""
        return draws(self.kind, self.restores)

    def rates_at(self, bit_depth: int) -> Rates:
        """The rates for a source of a bit depth: those of the depth that the encoder is given."""
        return self.rates.at(self.input.coding_bit_depth or bit_depth)

    def identity(self) -> dict[str, Any]:
        """What a result depends on, for the cell's key."""
        return {
            "name": self.name,
            "adapter": self.adapter,
            "settings": self.settings,
            "input": self.input.model_dump(mode="json"),
            "parameter": self.rates.parameter,
            "weights": [weights.sha256 for weights in self.weights],
            "rate_kind": self.rate_kind,
            **({"container": self.container} if self.container else {}),
            **({"post_filters": [each.model_dump() for each in self.post_filters]} if self.post_filters else {}),
            **({"scaling": self.scaling.model_dump()} if self.scaling else {}),
        }

    def digest(self) -> str:
        """SHA-256 (hex) of ``identity``."""
        return digest_of(self.identity())


def load_card(path: Path) -> Card:
    """Read and validate one card; CardError names the file, the key and the remedy."""
    try:
        card = Card.model_validate(read_toml(path, CardError))
    except ValidationError as error:
        raise CardError(f"{path}:\n  {explain(error)}") from None
    try:
        for configuration in (None, *card.configurations):
            card.configured(configuration).digest()
    except (TypeError, ValueError) as problem:
        raise CardError(f"{path}: settings: {problem}; write numbers, texts, lists and tables") from None
    if "@" in card.name:
        raise CardError(f"{path}: name: is {card.name!r}; what follows @ names a configuration, give the card another")
    if card.name != path.stem:
        raise CardError(f"{path}: name: is {card.name!r}; name the file {card.name}.toml, or the card {path.stem!r}")
    return card


def is_ours(folder: Path) -> bool:
    """Whether a folder of cards is one that comes with vcbench; what any other card runs needs the user's trust."""
    return folder.resolve() in {path.resolve() for path in brought("codecs")}


def brought(kind: Kind) -> tuple[Path, Path]:
    """Folders of what vcbench brings, of which one is there: that of a wheel, and that of a checkout."""
    package = Path(__file__).parent
    return package / "_data" / kind, package.parent / kind


def parted(codec: str) -> tuple[str, str | None]:
    """A codec as it is named: its card, by name or path, and the configuration; None where none is named.

    >>> parted("x265@fast"), parted("dir@lab/mine.toml"), parted("dir@lab/mine.toml@fast")
    (('x265', 'fast'), ('dir@lab/mine.toml', None), ('dir@lab/mine.toml', 'fast'))
    """
    base, at, configuration = codec.rpartition("@")
    if not at or "/" in configuration or configuration.endswith(".toml"):
        return codec, None
    return base, configuration or None


@dataclass(frozen=True)
class Catalog:
    """Cards and manifests in the order of their folders; the first of a name is taken."""

    paths: tuple[Path, ...] = ()

    def folders(self, kind: Kind) -> Iterator[Path]:
        """Folders that are searched: the user's, the working directory's, the package's."""
        named = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
        for root in (*self.paths, *named):
            if not root.is_dir():
                raise UsageError(f"{root}: no such folder; --path and {ENVIRONMENT} name folders that hold {kind}/")
            yield root / kind if (root / kind).is_dir() else root
        yield Path.cwd() / kind
        yield from brought(kind)

    def files(self, kind: Kind) -> dict[str, Path]:
        """Path of each card or manifest by name."""
        marker = {"codecs": b"adapter", "datasets": b"sequences"}[kind]
        found: dict[str, Path] = {}
        for folder in self.folders(kind):
            for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
                if path.is_file() and (folder.name == kind or marker in path.read_bytes()):
                    found.setdefault(path.stem, path)
        return dict(sorted(found.items()))

    def find(self, kind: Kind, name: str) -> Path:
        """Path of a card or manifest by name, or of the file itself; UnknownNameError if there is none."""
        if name.endswith(".toml"):
            path = Path(name)
            if not path.is_file():
                raise UsageError(f"{path}: no such file")
            return path
        return self.named(kind, name)

    def named(self, kind: Kind, name: str) -> Path:
        """Path of a card or manifest by a name that a file states, which is never taken for a path.

        Raises UnknownNameError if there is none.
        """
        files = self.files(kind)
        if name not in files:
            raise UnknownNameError(kind.removesuffix("s"), name, files)
        return files[name]

    def codec(self, name: str) -> tuple[Card, Path]:
        """Card of a codec, and the folder that it lies in.

        The codec is given by name, by name@configuration, or by path (``dir/card.toml`` or
        ``dir/card.toml@configuration``).
        """
        base, configuration = parted(name)
        path = self.find("codecs", base)
        return load_card(path).configured(configuration), path.parent

    def card(self, name: str) -> Card:
        """Card of a codec, as `codec` finds it."""
        return self.codec(name)[0]
