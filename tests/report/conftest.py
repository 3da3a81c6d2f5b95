"""Result sets made in code: curves of a known shape, so that every BD-rate is known beforehand."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.records.cell import CellResult
from bench.report import build_report
from bench.results.result_set import ResultSet

RATES = (22, 27, 32, 37)
Cells = Callable[..., list[CellResult]]


def make_cell(
    codec: str = "x265",
    rate: int = 22,
    sequence: str = "clip",
    *,
    dataset: str = "set",
    size: int = 10_000,
    values: Mapping[str, float | None] | None = None,
    status: str = "ok",
    message: str | None = None,
    rate_kind: str = "bitstream",
    seconds: float = 2.0,
    timing: str = "alone",
    sha256: str = "a" * 64,
    frames: int = 10,
    tool: Mapping[str, str] | None = None,
    card: Mapping[str, Any] | None = None,
    statuses: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> CellResult:
    """One cell of 352x288 at 30 fps; a value of None is a measurement without a value.

    Codec, sequence and dataset may have names that no result file may have: what shows them must not rely on that.
    """
    done = status == "ok"
    cost = {
        "seconds": seconds,
        "cpu_s": seconds,
        "peak_rss_bytes": 1,
        "timing": timing,
        "commands": [["/x/enc", codec]],
    }
    statuses = statuses or {}
    measurements = {
        name: {
            "key": hashlib.sha256(name.encode()).hexdigest(),
            "status": statuses.get(name, "undefined" if value is None else "ok"),
            "value": value,
            "reason": "no frame has a value" if value is None else None,
            "provenance": {"peak": 255, "pooling": "mean"},
        }
        for name, value in (values or {}).items()
    }
    key = hashlib.sha256(repr((codec, rate, sequence, dataset, sha256, frames, tool)).encode()).hexdigest()
    cell = CellResult.model_validate(
        {
            "name": f"{codec}_{rate}_{sequence}_{key[:12]}".replace("/", "-").replace("\\", "-"),
            "key": key,
            "status": status,
            "reason": None if done else "timeout",
            "message": message if not done else None,
            "codec": {
                "name": "codec",
                "title": f"{codec}, a codec of the tests",
                "kind": "classical",
                "rate_kind": rate_kind,
                "card": dict(card or {"gop": "low delay", "licence": "Apache-2.0", "homepage": "https://example.org/"}),
                "tool": dict(tool or {"ffmpeg": "8.0"}),
            },
            "rate": {"parameter": "qp", "value": rate},
            "sequence": {
                "name": "sequence",
                "dataset": "dataset",
                "file": "clip.y4m",
                "sha256": sha256,
                "start": 0,
                "frames": frames,
                "width": 352,
                "height": 288,
                "fps": "30",
                "pix_fmt": "yuv420p",
                "matrix": "bt709",
                "full_range": False,
                "siting": "left",
                "conversion": None,
            },
            "bitstream": {"file": "b.bin", "bytes": size, "sha256": "b" * 64} if done else None,
            "encode": cost if done else None,
            "decode": cost if done else None,
            "measurements": measurements if done else {},
            "provenance": dict(provenance if provenance is not None else {"vcbench": "0.1.0", "cpu": "a processor"}),
        }
    )
    named = {"name": sequence, "dataset": dataset, "file": f"{sequence}.y4m"}
    return cell.model_copy(
        update={
            "codec": cell.codec.model_copy(update={"name": codec}),
            "sequence": cell.sequence.model_copy(update=named),
        }
    )


def make_curve(
    codec: str,
    sequence: str = "clip",
    *,
    scale: float = 1.0,
    metrics: Sequence[str] = ("psnr_y",),
    shift: float = 0.0,
    **more: Any,
) -> list[CellResult]:
    """The cells of one RD curve: quality rises by 2 dB as the rate of 20000 * `scale` bytes doubles.

    SSIM is what it is in dB, as its curves are.
    """
    cells = []
    for step, rate in enumerate(RATES):
        size = round(160_000 * scale) >> step
        quality = 34 + shift + 2 * math.log2(size / scale / 20_000)
        values = {name: 1 - 10 ** (-quality / 10) if name == "ssim" else quality for name in metrics}
        cells.append(make_cell(codec, rate, sequence, size=size, values=values, **more))
    return cells


@pytest.fixture
def cell() -> Callable[..., CellResult]:
    return make_cell


@pytest.fixture
def curve() -> Cells:
    return make_curve


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Path]:
    """Builds the report of cells and gives its folder."""

    def build(cells: list[CellResult], *, problems: Sequence[str] = (), name: str = "report", **more: Any) -> Path:
        results = ResultSet((Path("results/run"),), cells, list(problems))
        return build_report(results, tmp_path / name, **more).parent

    return build


@pytest.fixture(scope="session")
def site_data() -> Callable[[Path, str], Any]:
    """What a data script of a report's site hands to the pages: ``site_data(folder, "index")``."""

    def read(folder: Path, name: str) -> Any:
        text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
        head = f'vcbench.put("{name}",'
        assert text.startswith(head) and text.endswith(");\n")
        return json.loads(text[len(head) : -3])

    return read


@pytest.fixture(scope="session")
def usual() -> list[CellResult]:
    """Three codecs on four sequences by two metrics: `half` needs half the rate of x265, `double` twice as much."""
    cells: list[CellResult] = []
    for number, sequence in enumerate(("akiyo", "bus", "crew", "duck")):
        for codec, scale, seconds in (("x265", 1.0, 2.0), ("half", 0.5, 6.0), ("double", 2.0, 1.0)):
            cells += make_curve(
                codec, sequence, scale=scale, seconds=seconds, metrics=("psnr_y", "ssim"), shift=float(number)
            )
    return cells


@pytest.fixture(scope="session")
def usual_report(usual: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its report; only to be read."""
    return build_report(ResultSet((Path("results/run"),), usual), tmp_path_factory.mktemp("usual")).parent


@pytest.fixture(scope="session")
def doubtful() -> list[CellResult]:
    """Against x265 on four sequences: `part` lacks crew, `few` has akiyo alone; `near` compares little; `far` nothing.

    `near` needs half the rate and reaches 4 dB above x265, whose curve is 6 dB high: a third of it is compared.
    """
    cells: list[CellResult] = []
    for sequence in ("akiyo", "bus", "crew", "duck"):
        for codec, scale, shift in (("x265", 1.0, 0.0), ("part", 0.5, 0.0), ("near", 0.5, 4.0), ("far", 1.0, 50.0)):
            if (codec, sequence) != ("part", "crew"):
                cells += make_curve(codec, sequence, scale=scale, shift=shift, metrics=("psnr_y", "ssim"))
    return [*cells, *make_curve("few", "akiyo", scale=2.0, metrics=("psnr_y", "ssim"))]


@pytest.fixture(scope="session")
def doubtful_report(doubtful: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its report; only to be read."""
    return build_report(ResultSet((Path("results/run"),), doubtful), tmp_path_factory.mktemp("doubtful")).parent


HOSTILE = ("<script>alert(1)</script>", "=cmd|' /C calc'!A0", "a|b`c`\n| d", "_\u202eevil & \u65e5\u672c $x$ \x07")


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report in which codecs, sequences, datasets, cards and messages are attacks; only to be read."""
    cells = []
    for number, name in enumerate(HOSTILE):
        card = {"homepage": "javascript:alert(2)", "gop": name, "licence": name, "settings": {name: [name]}}
        for sequence in HOSTILE:
            cells += make_curve(
                name, sequence, scale=1 + number / 10, dataset=f"../{name if sequence == name else 'd'}", card=card
            )
        cells.append(make_cell(name, 50, HOSTILE[0], status="failed", message=f"{name}\n\n-- \t<b>", card=card))
    folder = tmp_path_factory.mktemp("hostile")
    results = ResultSet((Path(HOSTILE[0]),), cells, [f"cells/{HOSTILE[2]}.json: is not JSON"])
    return build_report(results, folder / "out", title=HOSTILE[0]).parent
