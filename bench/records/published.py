"""Files of curves that papers print.

A folder of published curves has one file, ``published.json``. It is no run of anything: there are no bitstreams, no
sequences and no frames, only rates and qualities of whole datasets as they were read from a paper's figures.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from bench.core.files import write_atomically
from bench.core.schema import explain
from bench.core.untrusted import parse_json, read_text
from bench.errors import StoreError

FILE = "published.json"
AS_PUBLISHED = "as published"
"""What stands for the sequence, and for the pooling, of a value that a paper prints for a dataset."""

Text = Annotated[str, StringConstraints(min_length=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Value = Annotated[float, Field(allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, le=1)]


class Model(BaseModel):
    """Base of the parts of a file of published curves."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paper(Model):
    """Where the curves stand. ``name`` comes before each codec, as in "diff-sit:VTM17.0"."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Text
    address: Text


class Coded(Model):
    """The frames that a curve of one sequence is of, from its first."""

    frames: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    fps: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+|/[1-9]\d*)?$")]


class PublishedCurve(Model):
    """One codec's curve: ``points`` are (bit per pixel, value) by rising rate.

    ``sequence`` and ``coded`` are there where the curve is of one sequence, and not of a whole dataset. ``scales``: of
    a ladder, the size of each point as a share of the full one's sides.
    ``metric`` is our name of what the paper calls ``printed_metric``; ``notes`` say what is not known of the two.
    """

    codec: Text
    dataset: Text
    sequence: Text | None = None
    coded: Coded | None = None
    metric: Text
    printed_metric: Text
    figure: Text
    points: Annotated[tuple[tuple[Rate, Value], ...], Field(min_length=1)]
    notes: tuple[Text, ...] = ()
    scales: tuple[Scale, ...] | None = None

    @model_validator(mode="after")
    def _rising(self) -> PublishedCurve:
        if self.scales is not None and len(self.scales) != len(self.points):
            raise ValueError(f"points of {self.codec}: there are {len(self.points)}, and {len(self.scales)} scales")
        rates = [rate for rate, _ in self.points]
        if any(later <= earlier for earlier, later in itertools.pairwise(rates)):
            raise ValueError(f"points of {self.codec}: give them by rising rate, each rate once")
        return self


class PublishedSet(Model):
    """The content of a ``published.json``."""

    schema_version: Literal[1] = 1
    kind: Literal["published"] = "published"
    paper: Paper
    extraction: Text
    protocol: tuple[Text, ...]
    curves: tuple[PublishedCurve, ...]

    @model_validator(mode="after")
    def _distinct(self) -> PublishedSet:
        keys = Counter(
            (curve.codec, curve.dataset, curve.sequence or AS_PUBLISHED, curve.metric) for curve in self.curves
        )
        if double := next((key for key, times in keys.items() if times > 1), None):
            raise ValueError(f"{', '.join(double)}: has two curves; leave one")
        return self

    def label(self, curve: PublishedCurve) -> str:
        """Name of a curve's codec among the results of others: one name in two papers is two codecs."""
        return f"{self.paper.name}:{curve.codec}"

    def source(self, curve: PublishedCurve) -> str:
        """What a curve is of; curves that differ in it are not comparable."""
        return f"{self.paper.name}: {curve.dataset}"

    def rows(self) -> Iterable[dict[str, Any]]:
        """One row per point, with the columns of a result table that a published value has."""
        for curve in self.curves:
            coded = curve.coded.model_dump() if curve.coded else {}
            if coded:
                coded["fps"] = float(Fraction(coded["fps"]))
            numbers: Counter[float] = Counter()
            for (rate, value), scale in zip(curve.points, curve.scales or itertools.repeat(1.0), strict=False):
                numbers[scale] += 1
                yield {
                    "codec": self.label(curve),
                    "rate": numbers[scale],
                    "parameter": "point",
                    "dataset": curve.dataset,
                    "sequence": curve.sequence or AS_PUBLISHED,
                    **coded,
                    **({"kbps": rate * coded["width"] * coded["height"] * coded["fps"] / 1000} if coded else {}),
                    "bpp": rate,
                    "rate_kind": "published",
                    "metric": curve.metric,
                    "value": value,
                    "status": "ok",
                    "pooling": None if curve.sequence else AS_PUBLISHED,
                    "source": self.source(curve),
                    "scale": scale,
                }

    def dataset_rows(self) -> Iterable[dict[str, Any]]:
        """Those of ``rows`` that are of whole datasets."""
        return (row for row in self.rows() if row["sequence"] == AS_PUBLISHED)

    def only(self, codecs: set[str] | None, dataset: str | None) -> PublishedSet:
        """The curves of these codecs, by label, and of this dataset; of all where one is not given."""
        curves = tuple(
            curve
            for curve in self.curves
            if (codecs is None or self.label(curve) in codecs) and dataset in {None, curve.dataset}
        )
        return self.model_copy(update={"curves": curves})


def is_published(folder: Path) -> bool:
    """Whether a folder has published curves."""
    return (folder / FILE).exists()


def read_published(folder: Path) -> PublishedSet:
    """The published curves of a folder; StoreError naming the file and the key that is wrong."""
    path = folder / FILE
    try:
        return PublishedSet.model_validate(parse_json(read_text(path, folder)))
    except ValidationError as error:
        raise StoreError(f"{path}: is not a file of published curves:\n  {explain(error)}") from None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: is not strict JSON: {error}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None


def write_published(folder: Path, published: PublishedSet) -> Path:
    """Write a folder of published curves, one line per curve; its path is returned."""
    head = published.model_dump(mode="json", exclude={"curves"})
    lines = [
        json.dumps(curve.model_dump(mode="json", exclude_none=True), ensure_ascii=False) for curve in published.curves
    ]
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    folder.mkdir(parents=True, exist_ok=True)
    joined = ",\n  ".join(lines)
    write_atomically(folder / FILE, f'{text},\n "curves": [\n  {joined}\n ]\n}}\n'.encode())
    return folder / FILE


def committed() -> dict[str, Path]:
    """Folders of the published curves that come with vcbench, by the paper's name."""
    package = Path(__file__).parents[1]
    for root in (package / "_data" / "published", package.parent / "results" / "published"):
        if root.is_dir():
            return {path.name: path for path in sorted(root.iterdir()) if is_published(path)}
    return {}
