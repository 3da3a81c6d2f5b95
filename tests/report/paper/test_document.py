"""Figures, tables and captions for papers: sizes, intervals, reasons, and text that cannot break LaTeX."""

from __future__ import annotations

import csv
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.looks import looks
from bench.errors import StoreError, UnknownNameError, UsageError
from bench.records.cell import CellResult
from bench.records.published import committed
from bench.report.escape import latex
from bench.report.paper import figures
from bench.report.paper.document import PaperOptions, build_paper
from bench.results.result_set import ResultSet, load

pytestmark = pytest.mark.slow

COMMAND = re.compile(r"\\(?:[{}$&#%_]|[a-zA-Z]+\{\}|ensuremath\{[^{}]*\})|(?<=[-',])\{\}|\{\[\}")
HOSTILE = (
    r"\input{/etc/passwd}",
    "=cmd|' /C calc'!A0",
    "a|b&c",
    "<script>x</script>",
    "$x^2_3$ 50% #~",
    "日本 “q” --''",
)


@pytest.fixture
def paper(tmp_path: Path) -> Callable[..., Path]:
    """Writes the paper's files of cells and gives their folder."""

    def build(cells: list[CellResult], **options: Any) -> Path:
        results = ResultSet((Path("results/run"),), cells)
        return build_paper(results, tmp_path / "paper", PaperOptions(**options)).parent

    return build


@pytest.fixture(scope="session")
def usual_paper(usual: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's files of four sequences; only to be read."""
    results = ResultSet((Path("results/run"),), usual)
    return build_paper(results, tmp_path_factory.mktemp("paper"), PaperOptions()).parent


@given(st.text())
def test_no_text_is_a_command_of_latex(text: str) -> None:
    assert not re.search(r"[\\{}$&#%_^~`]", COMMAND.sub("", latex(text)))
    assert "\n" not in latex(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b", r"a\_b"),
        ("--fast", "-{}-fast"),
        ("10−3", r"10\ensuremath{-}3"),
        ("Café", "Café"),
        ("日", "{[}U+65E5]"),
        ("a\n\n b", "a b"),
        ("\x07", "{[}U+FFFD]"),
    ],
)
def test_text_in_latex(text: str, written: str) -> None:
    assert latex(text) == written


def png_size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize(
    ("style", "inches", "names"),
    [
        ("single-column", 3.5, {"rd_set_psnr_y", "rd_set_ssim"}),
        ("double-column", 7.16, {"rd_set"}),
        ("ieee-column", 252 / 72.27, {"rd_set_psnr_y", "rd_set_ssim"}),
        ("ieee-page", 7.14, {"rd_set"}),
        ("slides", 10.0, {"rd_set_psnr_y", "rd_set_ssim"}),
    ],
)
def test_a_style_has_its_width_and_its_panels(
    usual: list[CellResult], paper: Callable[..., Path], style: str, inches: float, names: set[str]
) -> None:
    folder = paper(usual, style=style) / "figures"
    assert {path.stem for path in folder.iterdir()} == names
    for name in names:
        assert {path.suffix for path in folder.glob(f"{name}.*")} == {".svg", ".pdf", ".png"}
        assert png_size(folder / f"{name}.png")[0] == round(inches * figures.PNG_DPI)
        assert b"/Type3" not in (folder / f"{name}.pdf").read_bytes()


def test_the_rate_axis_is_linear_unless_it_is_asked_to_be_logarithmic(usual: list[CellResult]) -> None:
    from bench.analysis.curves import curves

    found = curves(ResultSet((), usual).to_pandas(), "psnr_y")
    lines = [figures.Line(looks(["x265"])["x265"], next(iter(found.values())))]
    axis = figures.Axis("PSNR", "dB", "higher")
    for log in (False, True):
        look = figures.LOOKS["single-column"]
        with figures.style(look):
            (axes,) = figures.paper_figure([(axis, lines)], look, log_rate=log).axes
        assert axes.get_xscale() == ("log" if log else "linear")
        assert ("log scale" in axes.get_xlabel()) == log


def test_codecs_can_be_told_apart_without_colour(usual: list[CellResult]) -> None:
    from bench.analysis.curves import curves

    found = curves(ResultSet((), usual).to_pandas(), "psnr_y").values()
    drawn_as = looks(["x265", "vvenc", "svt-av1"]).values()
    lines = [figures.Line(look, c) for look, c in zip(drawn_as, list(found)[:3], strict=True)]
    look = figures.LOOKS["single-column"]
    with figures.style(look):
        figure = figures.paper_figure([(figures.Axis("PSNR", "dB", "higher"), lines)], look, log_rate=False)
    drawn = figure.axes[0].get_lines()
    assert len({line.get_marker() for line in drawn}) == 3


def test_tables_have_the_known_values_and_their_intervals(usual_paper: Path) -> None:
    text = (usual_paper / "tables" / "bd_rate_set.md").read_text()
    assert "| half | **−50.00** \\[−50.00, −50.00\\]" in text
    assert "| double | +100.00 \\[+100.00, +100.00\\]" in text
    written = (usual_paper / "tables" / "bd_rate_set.tex").read_text()
    assert r"\toprule" in written and r"\bottomrule" in written
    assert r"\textbf{\textminus{}50.00}" in written and r"\underline{0}" in written
    assert r"\scriptsize[\textminus{}50.00, \textminus{}50.00]" in written
    with (usual_paper / "tables" / "bd_rate.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["test"]: round(float(row["bd_rate_percent"]), 6) for row in rows} == {"half": -50, "double": 100}


def test_why_a_value_is_undefined_stands_in_a_lettered_note(cell: Any, curve: Any, paper: Callable[..., Path]) -> None:
    cells = [*curve("x265"), *curve("half", scale=0.5), *curve("short")[:2], *curve("far", shift=40.0)]
    text = (paper(cells) / "tables" / "bd_rate_set.tex").read_text()
    letters = {re.search(rf"{name} & --\\textsuperscript\{{(\w)\}}", text)[1] for name in ("short", "far")}
    assert len(letters) == 2
    assert "short: 2 points; at least 3 are needed (1 sequence)" in text
    assert "no quality in common" in text and "vcbench" not in text


def test_one_sequence_has_no_interval_and_says_so(curve: Any, paper: Callable[..., Path]) -> None:
    text = (paper([*curve("x265"), *curve("half", scale=0.5)]) / "tables" / "bd_rate_set.md").read_text()
    assert "| half | −50.00 {−50.00, −50.00} (a) |" in text.replace("**", "")
    assert "no interval: an interval needs at least 3 sequences" in text


def test_the_captions_say_how_to_repeat_it(usual_paper: Path) -> None:
    for suffix in ("md", "tex"):
        text = (usual_paper / f"captions.{suffix}").read_text()
        for fact in ("qp 22, 27, 32, 37", "enc", "352x288", "yuv420p", "bt709, limited range", "PCHIP", "peak 255"):
            assert fact in re.sub(r"\\allowbreak\{\}", "", text), (suffix, fact)
        assert "0.1.0" in text and "2000 resamples" in text and "ffmpeg 8.0" in text
        assert "a" * 64 in re.sub(r"\\allowbreak\{\}", "", text)


def test_every_file_of_the_document_is_there(usual_paper: Path) -> None:
    text = (usual_paper / "paper.tex").read_text()
    figures_named = re.findall(r"\\includegraphics(?:\[[^]]*\])?\{([^}]*)\}", text)
    assert figures_named and all((usual_paper / f"{name}.pdf").is_file() for name in figures_named)
    inputs = re.findall(r"\\input\{([^}]*)\}", text)
    assert set(inputs) == {"tables/bd_rate_set", "tables/speed_set", "captions"}
    assert all((usual_paper / f"{name}.tex").is_file() for name in inputs)


def compiled(folder: Path) -> str:
    """What pdflatex says, shell escapes off."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("there is no pdflatex here")
    argv = [program, "-interaction=nonstopmode", "-no-shell-escape", "-halt-on-error", "paper.tex"]
    return subprocess.run(argv, cwd=folder, capture_output=True, check=False).stdout.decode(errors="replace")


def test_hostile_names_are_printed_and_do_nothing(curve: Any, paper: Callable[..., Path]) -> None:
    cells = [
        cell
        for number, name in enumerate(HOSTILE)
        for cell in curve(name, name, scale=1 + number / 10, dataset=f"../{name}", card={"gop": name, "note": name})
    ]
    folder = paper(cells)
    for path in [*folder.glob("*.tex"), *folder.glob("tables/*.tex")]:
        text = path.read_text()
        assert r"\input{/etc" not in text and "<script>" not in text
    assert "<script>" not in "".join(path.read_text() for path in folder.rglob("*.md"))
    with (folder / "tables" / "bd_rate.csv").open() as file:
        assert not [value for row in csv.reader(file) for value in row if re.match(r"[=+@]|-(?!\d|\.)", value)]
    assert "Output written on paper.pdf" in compiled(folder)


@pytest.mark.parametrize("style", ["single-column", "ieee-page", "slides"])
def test_a_document_compiles_and_fits_its_page(usual: list[CellResult], paper: Callable[..., Path], style: str) -> None:
    said = compiled(paper(usual, style=style))
    if "File `IEEEtran.cls' not found" in said:
        pytest.skip("LaTeX has no IEEEtran here")
    assert "Output written on paper.pdf" in said
    assert "Undefined control sequence" not in said
    assert "Overfull" not in said


def test_equal_results_give_equal_files(usual: list[CellResult], usual_paper: Path, paper: Callable[..., Path]) -> None:
    again = paper(list(usual))
    for path in usual_paper.rglob("*.*"):
        assert (again / path.relative_to(usual_paper)).read_bytes() == path.read_bytes(), path.name


def test_what_is_not_drawn_again_is_removed(usual: list[CellResult], paper: Callable[..., Path]) -> None:
    folder = paper(usual)
    (folder / "figures" / "mine.pdf").touch()
    assert {path.name for path in paper(usual, metrics=["ssim"]).glob("figures/*.pdf")} == {
        "rd_set_ssim.pdf",
        "mine.pdf",
    }


def test_published_curves_are_marked(tmp_path: Path) -> None:
    results = load(committed()["diff-sit"]).only(dataset="hevc-b")
    folder = build_paper(results, tmp_path, PaperOptions("diff-sit:HM16.25", ["dists"])).parent
    table = (folder / "tables" / "bd_rate_hevc-b.md").read_text()
    assert "diff-sit:Diff-SIT (published) | **−45" in table and "diff-sit:VTM17.0 (published) | <u>−3" in table
    assert "MainResult" in (folder / "captions.md").read_text()
    svg = (folder / "figures" / "rd_hevc-b_dists.svg").read_text()
    assert "stroke-dasharray" in svg


def test_what_cannot_be_made_is_refused(usual: list[CellResult], paper: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown metric 'psnr'"):
        paper(usual, metrics=["psnr"])
    with pytest.raises(UnknownNameError, match="unknown codec 'x256'"):
        paper(usual, anchor="x256")
    with pytest.raises(UsageError, match="has no results"):
        paper([])
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name a folder"):
        build_paper(ResultSet((Path("r"),), usual), tmp_path / "file" / "x", PaperOptions())


def test_doubts_stand_in_lettered_notes(doubtful: list[CellResult], paper: Callable[..., Path]) -> None:
    folder = paper(doubtful)
    text = (folder / "tables" / "bd_rate_set.md").read_text()
    near = next(line for line in text.splitlines() if line.startswith("| near"))
    assert near.startswith("| near | **−87.50** \\[−87.50, −87.50\\] {−87.50, −87.50} (") and "undefined" not in near
    assert "partial: others in the table lack it (1 sequence)" in text
    assert "less than 75 % of the anchor's curve is compared" in text
    assert "| Codec | PSNR-Y | SSIM (dB) |" in text
    assert "SSIM (dB)" in (folder / "figures" / "rd_set_ssim.svg").read_text()
    assert "SSIM: of curves in dB, −10 log10(1 − value)" in text


def test_a_paper_may_ask_for_a_least_overlap(doubtful: list[CellResult], paper: Callable[..., Path]) -> None:
    folder = paper(doubtful, min_overlap=0.75, metrics=["psnr_y"])
    assert "is under the 75 % asked for" in (folder / "tables" / "bd_rate_set.md").read_text()
    assert "less than 75 % of the anchor's curve has no value here" in (folder / "captions.md").read_text()


def test_a_metric_that_nothing_was_measured_by_is_named_once(cell: Any, paper: Callable[..., Path]) -> None:
    cells = [
        cell("x265", rate, f"clip{n}", values={"psnr_y": 60.0 - rate, "lpips_alex": None},
             statuses={"lpips_alex": "unavailable"}, size=10_000 - 100 * rate)
        for rate in (22, 27, 32, 37) for n in range(2)
    ]  # fmt: skip
    folder = paper(cells)
    text = (folder / "captions.md").read_text().replace("\\", "")
    assert "Left out, because no cell has a value: LPIPS (Alex) (unavailable)." in text
    assert text.count("LPIPS") == 1
    assert not [path.name for path in folder.rglob("*") if "lpips" in path.name]
    assert "LPIPS" not in "".join(path.read_text() for path in (folder / "tables").iterdir())


def test_speed_stands_beside_quality(cell: Any, paper: Callable[..., Path]) -> None:
    """Twice the time of the anchor: half the frames per second; times under load say so."""
    cells = [
        cell(codec, rate, values={"psnr_y": 60.0 - rate}, size=round(scale * 2e6 * 2 ** (-rate / 6)), seconds=seconds,
             timing=timing)
        for codec, scale, seconds, timing in (("x265", 1, 2.0, "alone"), ("slow", 0.8, 4.0, "shared"))
        for rate in (22, 27, 32, 37)
    ]  # fmt: skip
    text = (paper(cells, style="ieee-page") / "tables" / "speed_set.md").read_text()
    assert "| x265 | 0 | 5.00 | 1.00× | 5.00 | 1.00× |" in text
    assert re.search(r"\| slow \(a\) \| .*−20\.00.* \| 2\.50 \| 2\.00× \| 2\.50 \| 2\.00× \|", text)
    assert "- (a) timed while other cells ran: not fit for ranking" in text


def test_definitions_are_of_values_not_of_classes() -> None:
    from bench.registry import metric_names
    from bench.report.measured import metric_facts

    for name in metric_names():
        definition = metric_facts([], name).definition
        assert not re.search(r"`|\bA (metric|distance|structural)|\(None:", definition), (name, definition)
