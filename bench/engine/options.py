"""The settings of a run, as the command line and notebooks give them: read and validated once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.paths import local_path
from bench.errors import UsageError
from bench.protocols import protocol_of
from bench.video.formats import Transfer

Names = str | Iterable[str]
"""A name, or several."""

Paths = str | Path | Iterable[str | Path]
"""A path, or several."""

INPUT_FORMAT = ("size", "pix_fmt", "fps", "transfer")
"""What may be said of clips that are given as files."""

RATE_TOLERANCE = 0.02
"""How far a rate may be from the one asked for, as a share of it."""

RANGE_TOLERANCE = 0.05
"""How far a quality may be from the anchor's, as a share of the anchor's range, where only the ranges must agree."""


@dataclass(frozen=True)
class Matching:
    """What the other codecs' rate points are to meet.

    anchor: the codec whose rate points are met, one of the run or of the result folder; None for ``bpps``, the same for
    every codec. by: "rate" meets each of the anchor's rates; "range" each of its qualities, loosely, so that the two
    curves cover one range and BD-rate has its overlap. tolerance: a share of the rate, or of the anchor's range.
    """

    anchor: str | None
    bpps: tuple[float, ...]
    by: Literal["rate", "range"]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Where and how the cells of a run are worked on.

    jobs: cells side by side; None: one for each CPU, or all of a cluster. backend: "loky", "threading", "dask" or
    "ray", or "auto" for what suits the plan (`bench.engine.plan.Plan.backend`), and scheduler the address of a running
    cluster (`bench.engine.pools.backends.open_pool`).
    copy_inputs: copy the clips into the result folder, for workers that lack them.
    timing: one cell at a time with nothing beside it, decoded once more for the clock alone.
    time_limit: seconds that one encode or decode may take.
    """

    jobs: int | None = 1
    backend: str = "auto"
    scheduler: str | None = None
    copy_inputs: bool = False
    timing: bool = False
    time_limit: float | None = None


@dataclass(frozen=True)
class RunOptions(ExecutionOptions):
    """What is run on which clips and measured by what; a single name or path stands for a list of one.

    codecs: by name, name@configuration, or card file. datasets: by name; sequences: only these, or subsets.
    inputs: clips, or folders of pictures; size ("352x288"), pix_fmt and fps describe those that are raw; transfer
    ("pq", "hlg" or "sdr"): how their samples become light, where files do not say it; start: their first frame.
    frames: the first N of each clip, or all it has.
    metrics: by name, "+name" adds to the default ones; none: the default ones.
    rates: values of the rate parameter in place of each card's. match_rate (the name of an anchor), target_bpp (bits
    per pixel) and rates "auto" search rate points, to within tolerance, a share (`bench.engine.rate_search.match`).
    scales: sizes at which each codec codes each rate, as factors of the clip's sides, such as (1, 0.75, 0.5), for a
    ladder; scale_filter: "lanczos" or "bicubic", by which frames are scaled down and back up.
    protocol: conditions by name (`bench.protocols`), which set the GOP structure of codecs named without a
    configuration, and frames and metrics where none are given.
    paths: further folders of cards and manifests. trust: cards there may run programs and Python files.
    sandbox: confine encoders and decoders (`bench.core.sandbox`).

    Raises UsageError for settings that contradict each other or would have no effect.
    """

    codecs: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    size: str | None = None
    pix_fmt: str | None = None
    fps: str | float | None = None
    transfer: Transfer | None = None
    start: int = 0
    frames: int | None = None
    metrics: tuple[str, ...] = ()
    rates: tuple[float, ...] | Literal["auto"] | None = None
    match_rate: str | None = None
    target_bpp: tuple[float, ...] = ()
    tolerance: float | None = None
    scales: tuple[float, ...] = ()
    scale_filter: Literal["lanczos", "bicubic"] = "lanczos"
    protocol: str | None = None
    paths: tuple[Path, ...] = ()
    trust: bool = False
    sandbox: bool = False

    def __post_init__(self) -> None:
        for name in ("codecs", "datasets", "sequences", "metrics"):
            self._set(name, names(getattr(self, name)))
        for name in ("inputs", "paths"):
            self._set(name, paths(getattr(self, name)))
        if self.protocol is not None:
            protocol = protocol_of(self.protocol)
            self._set("frames", self.frames or protocol.frames)
            self._set("metrics", self.metrics or (protocol.metrics,))
        self._set("target_bpp", tuple(dict.fromkeys(self.target_bpp or ())))
        if isinstance(self.rates, str):
            if self.rates != "auto":
                raise UsageError(f'rates are {self.rates!r}; give a list of numbers, or "auto"')
        elif self.rates is not None:
            self._set("rates", tuple(self.rates))
        of_inputs = [f"--{name.replace('_', '-')}" for name in (*INPUT_FORMAT, "start") if getattr(self, name)]
        if of_inputs and not self.inputs:
            raise UsageError(f"{', '.join(of_inputs)}: only for clips given by --input; manifests say it for datasets")
        if self.sequences and not self.datasets:
            raise UsageError("--sequences selects sequences of --datasets; give --datasets too")
        if not self.codecs:
            raise UsageError("no codec is named; give --codecs x265,vvenc or the like (vcbench ls codecs)")
        self._set("scales", tuple(dict.fromkeys(self.scales or ())))
        for scale in self.scales:
            if not 0 < scale <= 1:
                raise UsageError(f"--scales: {scale:g} is not a share of the size; give values up to 1, such as 0.5")
        if self.matching is not None and self.scales:
            raise UsageError(
                "--scales codes rate points that are given; leave --match-rate, --target-bpp and --rates auto out"
            )
        if not self.inputs and not self.datasets:
            raise UsageError("no video is named; give --input FILE... or --datasets NAME (vcbench ls datasets)")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def input_format(self) -> dict[str, Any]:
        """Those of `INPUT_FORMAT` that are given."""
        return {name: value for name in INPUT_FORMAT if (value := getattr(self, name)) is not None}

    @property
    def values(self) -> tuple[float, ...] | None:
        """Rate points that are given; None where they are the cards', or searched."""
        return None if isinstance(self.rates, str) else self.rates

    @property
    def matching(self) -> Matching | None:
        """What rate points are searched for; None where they are not."""
        bpps, tolerance, auto = self.target_bpp, self.tolerance, self.rates == "auto"
        if not (self.match_rate or bpps or auto):
            if tolerance is not None:
                raise UsageError(
                    "a tolerance is of a search; give --match-rate CODEC, --target-bpp N,N,N or --rates auto"
                )
            return None
        if tolerance is not None and not 0 < tolerance < 1:
            raise UsageError(f"a tolerance of {tolerance:g} is not a share; give one such as 2% (0.02 in Python)")
        if bpps:
            if self.match_rate or self.rates is not None:
                raise UsageError("--target-bpp searches rate points of every codec; leave --match-rate and --rates out")
            for bpp in bpps:
                if not 0 < bpp < math.inf:
                    raise UsageError(f"--target-bpp: {bpp:g} is not a rate; give bits per pixel above 0")
            return Matching(None, bpps, "rate", RATE_TOLERANCE if tolerance is None else tolerance)
        anchor = self.match_rate or self.codecs[0]
        if not any(name != anchor for name in self.codecs):
            raise UsageError(f"--codecs names only the anchor {anchor}; name the codecs to match with it too")
        default = RANGE_TOLERANCE if auto else RATE_TOLERANCE
        return Matching(anchor, (), "range" if auto else "rate", default if tolerance is None else tolerance)


def names(given: Names) -> tuple[str, ...]:
    """Names, each once."""
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))


def paths(given: Paths, *, distinct: bool = True) -> tuple[Path, ...]:
    """Paths of this machine, each once where they are to be distinct; UsageError for an address."""
    found = [local_path(path) for path in ([given] if isinstance(given, str | Path) else given)]
    return tuple(dict.fromkeys(found) if distinct else found)
