"""Colour, marker and line of a codec: by its name, the same in every figure and on every page."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import StringConstraints, TypeAdapter, ValidationError

from bench.core.schema import Model, explain, read_toml
from bench.errors import UsageError

ENVIRONMENT = "VCBENCH_LOOKS"

# Okabe and Ito, "Color universal design", 2008, without the yellow that white paper swallows; beside each a lighter one
# for dark pages.
COLOURS: Mapping[str, str] = {
    "#000000": "#e9edf1",
    "#D55E00": "#ff8a3d",
    "#0072B2": "#5aaeea",
    "#009E73": "#2fc79c",
    "#CC79A7": "#e79cc8",
    "#E69F00": "#f3b73b",
    "#56B4E9": "#9ad6fa",
}
Marker = Literal[
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x",
    "triangle-left", "triangle-right", "pentagon", "hexagon",
]  # fmt: skip
LineStyle = Literal["solid", "longdashdot", "dot", "longdash"]
MARKERS: tuple[Marker, ...] = get_args(Marker)
LINES: tuple[LineStyle, ...] = get_args(LineStyle)
Hex = Annotated[str, StringConstraints(pattern="^#[0-9A-Fa-f]{6}$")]

# One row per colour, a codec per marker in their order. A name keeps its place: append, never reorder.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "#000000": ("x265", "hm", "x265-ldp-fast", "x265-cli", "kvazaar", "kvazaar-cli",
                "hevc-nvenc", "hevc-qsv", "hevc-vaapi"),
    "#D55E00": ("dcvc-rt", "dcvc-fm", "s2vc", "diff-sit-small", "actdiff-vc", "dcvc-dc",
                "diff-sit", "dcvc-tcm", "dcvc", "svt-av1-sr", "dcvc-uf"),
    "#0072B2": ("avm", "rav1e", "svtav1encapp", "aomenc", "svt-av1", "av1-nvenc", "libaom", "av1-qsv", "av1-vaapi"),
    "#009E73": ("vtm", "ecm", "vvenc", "vvencapp", "uvg266", "vvenc-sr", "dcvc-hem", "sevc", "glc-video"),
    "#CC79A7": ("cool-chic", "ssf2020", "mbt2018", "mbt2018-mean", "bmshj2018-hyperprior", "bmshj2018-factorized",
                "cheng2020-anchor", "s2vc-small", "cheng2020-attn", "coolchic"),
    "#E69F00": ("openh264", "x264", "h264-nvenc", "h264-qsv", "h264-vaapi", "ehvc", "yoda"),
    "#56B4E9": ("theora", "apv", "mpeg2", "vp8", "xavs2", "actdiff-vc-small", "uavs3e", "vpxenc", "vp9"),
}  # fmt: skip
# Configurations that many codecs have; the base's colour, and one of the other markers and lines each.
_CONFIGURATIONS = (
    *("low-delay", "random-access", "all-intra", "ip32", "ip96", "no-diffusion", "no-filter", "lanczos", "tuned"),
    *("learned", "grain", "ctc", "ms-ssim", "no-refiner", "no-fte", "no-tcg", "no-csg", "filter", "444", "no-noise"),
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"),
)


@dataclass(frozen=True)
class Look:
    """How a codec is drawn. colour: on paper; dark: on a dark page. label: its name in legends and tables."""

    colour: str
    dark: str
    marker: Marker
    line: LineStyle
    label: str


class _Own(Model):
    """What a file of one's own says of a codec; what it leaves out stays as it is."""

    colour: Hex | None = None
    marker: Marker | None = None
    line: LineStyle | None = None
    label: Annotated[str, StringConstraints(min_length=1, max_length=80)] | None = None


def looks(names: Iterable[str] | Mapping[str, str], own: Path | None = None) -> dict[str, Look]:
    """How each codec of a figure is drawn, by name; `names` may be a mapping to what legends call each.

    vcbench's own codecs have a place in a table. Any other name gets one from its SHA-256, and a configuration
    (``x265@slow``) keeps its codec's colour, with another marker and line. Only where two names of `names` would look
    the same does the later one in the alphabet take the next free look. `own` is a TOML file with a table per codec
    (``colour = "#rrggbb"``, ``marker``, ``line``, ``label``), by default the one named in VCBENCH_LOOKS.

    Raises UsageError where that file is not as it should be.
    """
    wanted = _read(own or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None))
    labels = names if isinstance(names, Mapping) else {}
    taken: set[tuple[str, Marker, LineStyle]] = set()
    found: dict[str, Look] = {}
    # those with a place of their own first, so that no other name moves them
    for name in sorted(set(names), key=lambda name: (name not in wanted, name not in _TABLE, name)):
        said = wanted.get(name, _Own())
        colour, marker, line = _free(name, taken)
        colour, marker, line = said.colour or colour, said.marker or marker, said.line or line
        taken.add((colour, marker, line))
        found[name] = Look(colour, COLOURS.get(colour, colour), marker, line, said.label or labels.get(name, name))
    return found


_TABLE = {name: (colour, MARKERS[n], LINES[0]) for colour, row in _PLACES.items() for n, name in enumerate(row)}


def _free(name: str, taken: Collection[tuple[str, Marker, LineStyle]]) -> tuple[str, Marker, LineStyle]:
    """The look that a name asks for, or the next that nobody has."""
    if name in _TABLE:
        return _TABLE[name]
    base, _, configuration = name.replace(" #", "@", 1).partition("@")
    if not configuration:
        every = list(product(COLOURS, MARKERS, LINES[:1]))
        first = _number(name) % len(every)
    else:
        colour, marker, _ = _TABLE.get(base) or _free(base, ())
        others = [MARKERS[(MARKERS.index(marker) + step) % len(MARKERS)] for step in range(1, len(MARKERS))]
        every = [(colour, other, line) for line in LINES[1:] for other in others]
        known = configuration in _CONFIGURATIONS
        first = (_CONFIGURATIONS.index(configuration) if known else _number(configuration)) % len(every)
    return next((look for look in every[first:] + every[:first] if look not in taken), every[first])


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:4])


def _read(path: Path | None) -> dict[str, _Own]:
    if path is None:
        return {}
    content = read_toml(path, UsageError)
    try:
        return TypeAdapter(dict[str, _Own]).validate_python(content)
    except ValidationError as error:
        raise UsageError(
            f'{path}: {explain(error)}\n  a table per codec, such as [x265], may have colour = "#0072B2", '
            f"marker ({', '.join(MARKERS)}), line ({', '.join(LINES)}) and label"
        ) from None
