"""The site in a browser: Chromium opens it from the file system and from a server, and a reader uses it."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bench
import bench.records.cell
from bench.records.cell import CellResult
from bench.report import build_report
from bench.report.board.leaderboard import Board, Leaderboard, Row
from bench.report.board.page import write_leaderboard
from bench.results.result_set import ResultSet

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
PAGES = ("index", "sequences", "frames", "gaps", "method")


class Watched:
    """A tab that writes down what goes wrong in it and what it asks for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not on this machine")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        running.contexts  # noqa: B018 - a browser that died at once says so here
        yield running
        running.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Opens a tab; what went wrong in one fails its test at the end."""
    opened: list[tuple[Any, Watched]] = []

    def open_tab(address: str, **settings: Any) -> Watched:
        context = browser.new_context(**settings)
        context.set_default_timeout(120_000)
        watched = Watched(context.new_page())
        opened.append((context, watched))
        watched.page.goto(address)
        return watched

    yield open_tab
    for context, watched in opened:
        context.close()
        assert watched.problems == []


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Callable[..., Path]) -> Path:
    """The report of real encodes of one clip, with pictures."""
    folder = tmp_path_factory.mktemp("real")
    clip = tiny_clip(96, 80, noise=4)
    results = bench.run(["x264", "x265"], inputs=[clip], metrics=["psnr_y", "ssim"], out=folder / "set")
    return build_report(results, folder / "report", clips=[clip]).parent


@pytest.fixture
def server(usual_report: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(usual_report))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_every_page_opens_from_the_file_system(usual_report: Path, tab: Callable[..., Watched]) -> None:
    for name in PAGES:
        watched = tab((usual_report / f"{name}.html").as_uri())
        if name in {"index", "sequences"}:
            watched.page.wait_for_selector("#rd-plot .main-svg .scatterlayer .trace")
        assert all(url.startswith(usual_report.as_uri()) for url in watched.requests)
        assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_overview_opens_from_a_server(server: str, tab: Callable[..., Watched]) -> None:
    watched = tab(f"{server}/index.html")
    watched.page.wait_for_selector("#rd-plot .main-svg .scatterlayer .trace")
    assert watched.page.locator("#comparison tbody tr:not(.inner)").count() == 3
    assert all(url.startswith((server, "data:", "blob:")) for url in watched.requests)


def test_another_anchor_and_metric_change_the_numbers(usual_report: Path, tab: Callable[..., Watched]) -> None:
    """half needs half the rate of x265, double twice as much."""
    page = tab((usual_report / "index.html").as_uri()).page
    page.wait_for_selector("#comparison td.better")
    value = "#comparison tr:has-text('half') td.better"
    assert page.inner_text(value) == "−50.00 %"
    page.select_option("#anchor", label="double")
    page.wait_for_selector("#comparison-title:text('against double')")
    assert page.inner_text(value) == "−75.00 %"
    page.select_option("#metric", label="SSIM")
    page.wait_for_selector("#comparison-about:text('SSIM on set')")
    assert "anchor=double&metric=ssim" in page.url
    page.click("#comparison tr:has-text('half') button")
    assert page.locator("#comparison tr.inner:not([hidden]) tbody tr").count() == 4
    page.reload()
    page.wait_for_selector("#comparison td.better")
    assert page.input_value("#anchor") == "1", "the address keeps what was chosen"


def test_a_point_leads_to_its_cell(usual_report: Path, tab: Callable[..., Watched]) -> None:
    page = tab((usual_report / "index.html").as_uri()).page
    page.wait_for_selector("#rd-plot .main-svg .points path")
    page.select_option("#curves-of", label="bus")
    page.wait_for_selector("#rd-caption:text('bus: a point is one bitstream')")
    page.wait_for_selector("#rd-plot .points path >> nth=5")
    # Plotly listens on a layer above the points.
    page.locator("#rd-plot .points path").nth(5).hover(force=True)
    page.wait_for_selector("#rd-plot .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/sequences.html*")
    page.wait_for_selector("#cell:not([hidden])")
    assert "SHA-256" in page.inner_text("#cell-facts") and "enc double" in page.inner_text("#cell-facts")


def test_the_keyboard_is_enough(usual_report: Path, tab: Callable[..., Watched]) -> None:
    page = tab((usual_report / "index.html").as_uri()).page
    page.wait_for_selector("#comparison tbody")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#tab-ranking")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#tab-metrics:focus")
    page.wait_for_selector("#comparison thead :text('SSIM')")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#tab-pairs:focus")
    page.wait_for_selector("#comparison-about:text('anchor of the column')")
    assert page.locator("#comparison td:text-is('anchor')").count() == 3


def test_the_viewer_shows_different_frames(real: Path, tab: Callable[..., Watched]) -> None:
    page = tab((real / "frames.html").as_uri()).page
    page.wait_for_selector("#viewer:not([hidden])")

    def picture(side: str) -> str:
        """Address of the picture that is shown, once it is."""
        shown = (
            "async (id) => { const i = document.getElementById(id); await i.decode(); return [i.src, i.naturalWidth]; }"
        )
        address, width = page.evaluate(shown, f"image-{side}")
        assert width == 96
        return str(address)

    left, right = picture("left"), picture("right")
    files = [real / "pictures" / Path(address).name for address in (left, right)]
    assert files[0].read_bytes() != files[1].read_bytes()
    assert "x265" in page.inner_text("#tag-left") and "x264" in page.inner_text("#tag-right")
    assert page.locator("#left option").all_inner_texts()[0] == "source"
    page.focus("#stage")
    page.keyboard.press("2")
    assert page.get_attribute("#stage", "data-mode") == "flip"
    assert not page.is_visible("#layer-right")
    page.keyboard.press("Space")
    assert not page.is_visible("#layer-left")
    before = page.inner_text("#zoom")
    page.keyboard.press("+")
    assert page.inner_text("#zoom") != before
    page.keyboard.press("4")
    assert page.evaluate("getComputedStyle(document.getElementById('layer-right')).mixBlendMode") == "difference"
    page.keyboard.press("]")
    assert picture("left") != left
    without = picture("left")
    page.keyboard.press("w")
    assert picture("left") == without.replace(".webp", "-warp.webp")
    assert "warping error" in page.inner_text("#tag-right") and "maps=1" in page.url
    page.keyboard.press("w")
    assert picture("left") == without


def test_pictures_are_the_decoded_frames(
    real: Path, tiny_clip: Callable[..., Path], run_ffmpeg: Callable[..., bytes], site_data: Any
) -> None:
    """As FFmpeg decodes clip and bitstreams, converted by the matrix that the page names."""
    import numpy as np
    from PIL import Image

    from bench.video import colour
    from bench.video.frame import Frame
    from bench.video.sequence import open_sequence

    shown = site_data(real, "pictures")
    assert "bt709 limited range" in shown["about"]
    (entry,) = shown["sequences"]
    bitstreams = [bench.records.cell.read_cell(path).bitstream for path in (real.parent / "set" / "cells").iterdir()]
    files = {record.sha256: real.parent / "set" / "bitstreams" / record.file for record in bitstreams if record}
    assert len(entry["videos"]) == 1 + len(files) == 9
    fmt = open_sequence(tiny_clip(96, 80, noise=4)).format
    for video in entry["videos"]:
        path = tiny_clip(96, 80, noise=4) if video["codec"] is None else files[video["sha256"]]
        raw = np.frombuffer(run_ffmpeg("-i", path, "-f", "rawvideo", "-"), "u1").reshape(9, -1)
        for number, name in zip(entry["frames"], video["files"], strict=True):
            picture = np.asarray(Image.open(real / "pictures" / name))
            assert (picture == colour.to_rgb(Frame(fmt, raw[number]))).all()


def test_maps_are_the_warping_error_along_the_sources_motion(
    real: Path, tiny_clip: Callable[..., Path], run_ffmpeg: Callable[..., bytes], site_data: Any
) -> None:
    """Worked out anew from what FFmpeg decodes, within what lossy WebP changes."""
    import numpy as np
    from PIL import Image

    from bench.report.site.pictures import MAP_HIDDEN, MAP_WHITE
    from bench.video import colour
    from bench.video.flow import ewarp_map, warp_reference
    from bench.video.frame import Frame
    from bench.video.sequence import open_sequence

    clip = tiny_clip(96, 80, noise=4)
    source = list(open_sequence(clip).read())
    bitstreams = [bench.records.cell.read_cell(path).bitstream for path in (real.parent / "set" / "cells").iterdir()]
    files = {record.sha256: real.parent / "set" / "bitstreams" / record.file for record in bitstreams if record}
    (entry,) = site_data(real, "pictures")["sequences"]
    seen = 0
    for video in entry["videos"]:
        path = clip if video["codec"] is None else files[video["sha256"]]
        raw = np.frombuffer(run_ffmpeg("-i", path, "-f", "rawvideo", "-"), "u1").reshape(9, -1)
        for number, name in zip(entry["frames"], video["maps"], strict=True):
            reference = warp_reference(source[number - 1].planes[0], source[number].planes[0])
            assert (name is None) == (reference.reason is not None)
            if name is None:
                continue
            before, after = (colour.to_rgb(Frame(source[0].format, raw[index])) for index in (number - 1, number))
            errors = ewarp_map(before, after, reference, peak=255)
            picture = np.asarray(Image.open(real / "pictures" / name)).astype(float)
            grey = np.clip(np.nan_to_num(errors) * 255**2 / MAP_WHITE, 0, 255)
            expected = np.where(np.isnan(errors)[..., None], MAP_HIDDEN, grey[..., None])
            assert np.abs(picture - expected).mean() < 8
            seen += 1
    assert seen >= 9


def test_hostile_names_are_inert(hostile_report: Path, tab: Callable[..., Watched]) -> None:
    for name in ("index", "sequences", "gaps"):
        watched = tab((hostile_report / f"{name}.html").as_uri())
        page = watched.page
        page.wait_for_selector("main table")
        if name != "gaps":
            page.wait_for_selector("#rd-plot .main-svg .scatterlayer .trace")
        assert page.locator("main script, main b, main img[src]").count() == 0
        assert "<script>alert(1)</script>" in page.inner_text("main")


def test_estimated_and_measured_are_told_apart(
    curve: Callable[..., list[CellResult]], tmp_path: Path, tab: Callable[..., Watched]
) -> None:
    cells = [*curve("x265"), *curve("learned", scale=0.5, rate_kind="estimate")]
    page = tab(build_report(ResultSet((), cells), tmp_path / "report").as_uri()).page
    page.wait_for_selector("#rd-plot .legendtext:text('learned (≈ estimated)')")
    assert "≈ −50.00 %" in page.inner_text("#comparison")
    assert "open markers, dashed" in page.inner_text("#marks")


def test_a_phone_in_the_dark(usual_report: Path, tab: Callable[..., Watched]) -> None:
    size = {"width": 375, "height": 700}
    for name in ("index", "frames", "method"):
        page = tab((usual_report / f"{name}.html").as_uri(), viewport=size, color_scheme="dark").page
        if name == "index":
            page.wait_for_selector("#rd-plot .main-svg .scatterlayer .trace")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, name
        red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert max(red, green, blue) < 64


def test_a_report_without_its_data_says_so(usual_report: Path, tmp_path: Path, browser: Any) -> None:
    copy = tmp_path / "index.html"
    copy.write_bytes((usual_report / "index.html").read_bytes())
    (tmp_path / "assets").mkdir()
    for path in (usual_report / "assets").glob("*.js"):
        if path.name != "plotly.min.js":
            (tmp_path / "assets" / path.name).write_bytes(path.read_bytes())
    page = browser.new_page()
    page.goto(copy.as_uri())
    page.wait_for_selector("#problem:not([hidden])")
    assert "data/index.js is not there; copy the report's folder as a whole" in page.inner_text("#problem")
    page.close()


def test_doubts_are_seen_beside_the_values(doubtful_report: Path, tab: Callable[..., Watched]) -> None:
    page = tab((doubtful_report / "index.html").as_uri()).page
    page.wait_for_selector("#comparison td.better")
    rows = page.locator("#comparison tbody tr:not(.inner)").all_inner_texts()
    order = [next(name for name in ("x265", "part", "near", "few", "far", "Over other") if name in row) for row in rows]
    assert order == ["x265", "near", "part", "Over other", "few", "far"]
    assert "o p 3/4" in rows[1] and "3 of 4" in rows[1]
    assert "undefined" in rows[-1] and not any("undefined" in row for row in rows[:-1])
    assert page.get_attribute("#comparison tr:has-text('near') td.better sup", "title") == (
        "less than 75 % of the anchor's curve is compared; a mean over some of the sequences only: 3 of 4 sequences"
    )
    assert "o less than 75 % of the anchor's curve" in page.inner_text("#marks")
    page.click("#comparison tr:has-text('near') button")
    told = page.inner_text("#comparison tr.inner:not([hidden])")
    for text in (
        "Partial: a mean over 3 of 4 sequences. Left out: others in the table lack it",
        "PCHIP, Akima and linear interpolation give −87.50 to −87.50 %",
        "compared 38 to 40 dB",
        "less than 75 % of the anchor's curve is compared (4 of 4 sequences: akiyo, bus, crew and 1 more)",
    ):
        assert text in told, text
    page.click("#tab-metrics")
    page.wait_for_selector("#comparison thead :text('SSIM')")
    assert page.locator("#comparison sup.flag:text('p 3/4')").count() == 4


def test_who_is_best_is_seen_first_with_whether_the_lead_is_clear(
    usual_report: Path, doubtful_report: Path, tab: Callable[..., Watched]
) -> None:
    """half needs half the rate of x265 on every sequence; of the doubtful, near leads by less than the curves show."""
    page = tab((usual_report / "index.html").as_uri()).page
    page.wait_for_selector("#glance tbody tr")
    assert page.inner_text("#glance-about") == (
        "Fewest bits for equal quality on set: half by 2 of 2 metrics (2 clearly)."
    )
    best = page.locator("#glance tbody tr").all_inner_texts()
    assert [text.split() for text in best] == [
        [name, "half", "−50.00", "%", "x265", "−50.00", "%", "−50.0", "to", "−50.0", "%", "clear"]
        for name in ("PSNR-Y", "SSIM")
    ]
    page.select_option("#anchor", label="half")
    page.wait_for_selector("#glance td:text-is('anchor')")
    costs = page.locator("#costs tr").all_inner_texts()
    assert [text.split("\t")[1:] for text in costs][:2] == [
        ["Encoding, s/frame", "Decoding, s/frame", "Encoder memory, MiB", "Decoder memory, MiB"],
        ["0.2", "0.2", "9.54e−7", "9.54e−7"],
    ]
    page.click("#glance button:text-is('SSIM')")
    page.wait_for_selector("#comparison-about:text('SSIM on set')")
    page = tab((doubtful_report / "index.html").as_uri()).page
    page.wait_for_selector("#glance tbody tr")
    row = page.locator("#glance tbody tr").first.inner_text()
    assert "near" in row and "o p 3/4" in row and "far [1]" in row
    assert "the curves have no quality in common" in page.inner_text("#glance ol")


def test_a_lead_that_a_trick_explains_does_not_count(
    cell: Callable[..., CellResult], tmp_path: Path, tab: Callable[..., Watched]
) -> None:
    """x265 is best in truth. sharp leads by VMAF, which VMAF NEG denies, and grainy by NIQE."""

    def values(step: int, psnr: float, vmaf: float, niqe: float) -> dict[str, float]:
        fidelity = {"psnr_y": 30.0 + 2 * step + psnr, "ms_ssim": 0.8 + 0.04 * step + psnr / 100}
        steady = {"niqe": 8.0 - step - niqe, "ewarp": (5.0 - step - psnr) / 1e4}
        return fidelity | steady | {"vmaf": 50.0 + 10 * step + vmaf, "vmaf_neg": 50.0 + 10 * step + psnr}

    cells = [
        cell(codec, rate, sequence, size=4000 << step, values=values(step, *shifts))
        for codec, *shifts in (("x265", 1.0, 0.0, 0.0), ("sharp", 0.0, 5.0, 0.0), ("grainy", -0.5, -1.0, 0.8))
        for sequence in ("akiyo", "bus", "crew")
        for step, rate in enumerate((37, 32, 27, 22))
    ]
    results = ResultSet((Path("results/run"),), cells)
    page = tab((build_report(results, tmp_path / "report", anchor="x265").parent / "index.html").as_uri()).page
    page.wait_for_selector("#glance tbody tr")
    said = page.inner_text("#glance-about")
    assert "x265 by 4 of 6 metrics" in said
    assert "Not counted: " in said and "sharp by VMAF (fooled by sharpen; VMAF NEG sees no lead)" in said
    assert "grainy by NIQE (fooled by grain, sharpen, filter; no lead by PSNR-Y, MS-SSIM)" in said
    assert page.locator("#glance td:has-text('not counted')").count() == 2


def test_a_lead_that_the_direct_comparison_denies_does_not_count(
    cell: Callable[..., CellResult], tmp_path: Path, tab: Callable[..., Watched]
) -> None:
    """Fine saves most against the anchor, at its fine end alone, where coarse saves more."""
    sizes = {"x265": (4000, 8000, 16000, 32000, 64000), "fine": (12800, 25600, 51200, 102400, 204800),
             "coarse": (4400, 8400, 15000, 22000, 32000)}  # fmt: skip
    first = {"x265": 30.0, "fine": 34.0, "coarse": 30.0}
    cells = [
        cell(codec, 40 - step, sequence, size=size, values={"psnr_y": first[codec] + 2 * step})
        for codec in sizes
        for sequence in ("akiyo", "bus", "crew")
        for step, size in enumerate(sizes[codec])
    ]
    report = build_report(ResultSet((Path("results/run"),), cells), tmp_path / "report", anchor="x265")
    page = tab((report.parent / "index.html").as_uri()).page
    page.wait_for_selector("#glance tbody tr")
    assert "Not counted: fine needs more bits than coarse where the two meet (PSNR-Y)." in page.inner_text(
        "#glance-about"
    )
    assert page.locator("#glance td:has-text('not counted')").count() == 1


def test_cells_open_by_their_rate_point_and_say_why_a_value_is_missing(
    cell: Callable[..., CellResult], tmp_path: Path, tab: Callable[..., Watched]
) -> None:
    cells = [
        cell("x265", 22, values={"psnr_y": 40.0, "ssim": 0.9, "vmaf": None}, timing="shared"),
        cell("x265", 27, values={"psnr_y": 38.0, "ssim": None, "vmaf": None}, timing="shared"),
        cell("x265", 32, status="failed", message="broken"),
    ]
    page = tab(build_report(ResultSet((), cells), tmp_path / "report").with_name("sequences.html").as_uri()).page
    page.wait_for_selector("#cells tbody tr")
    headings = page.locator("#cells thead th").all_inner_texts()
    assert headings[-2:] == ["PSNR-Y, dB", "SSIM"], "vmaf has no value at all"
    rows = page.locator("#cells tbody tr").all_inner_texts()
    assert "2 *" in rows[0] and "undefined[1]" in rows[1] and "failed[2]" in rows[2]
    assert page.locator("#cells ol li").all_inner_texts() == ["SSIM: no frame has a value", "timeout: broken"]
    assert "No cell of this sequence has a value of VMAF (no frame has a value)." in page.inner_text("#cells")
    page.select_option("#metric", label="SSIM")
    page.wait_for_selector("#cells thead th:nth-child(7):text-is('SSIM')")
    page.click("#cells button:text-is('qp 22')")
    assert "enc x265" in page.inner_text("#cell-facts")


def test_all_of_a_wide_table_and_of_long_titles_is_in_sight(usual_report: Path, tab: Callable[..., Watched]) -> None:
    for width in (1280, 390):
        page = tab((usual_report / "sequences.html").as_uri(), viewport={"width": width, "height": 900}).page
        page.wait_for_selector("#rd-plot .main-svg .ytitle")
        for title in ("xtitle", "ytitle"):
            box, plot = page.locator(f"#rd-plot .{title}").bounding_box(), page.locator("#rd-plot").bounding_box()
            assert plot["x"] <= box["x"] and box["x"] + box["width"] <= plot["x"] + plot["width"] + 1, (width, title)
            assert plot["y"] <= box["y"] and box["y"] + box["height"] <= plot["y"] + plot["height"] + 1, (width, title)
        if width == 1280:
            inner, outer = page.evaluate(
                "[...document.querySelectorAll('#cells .scroll')].map(e => [e.scrollWidth, e.clientWidth])[0]"
            )
            assert inner <= outer


def test_ssim_is_drawn_in_db(doubtful_report: Path, tab: Callable[..., Watched]) -> None:
    for name in ("index", "sequences"):
        page = tab((doubtful_report / f"{name}.html").as_uri() + "#metric=ssim").page
        page.wait_for_selector("#rd-plot .main-svg .scatterlayer .trace")
        if name == "index":
            page.select_option("#curves-of", label="akiyo")
            page.wait_for_selector("#rd-caption:text('akiyo: a point is one bitstream')")
        assert "SSIM of luma (dB)" in page.evaluate("document.getElementById('rd-plot').layout.yaxis.title.text")
        assert "SSIM of luma is drawn in dB" in page.inner_text("#rd-caption")
        trace = page.evaluate("document.getElementById('rd-plot').data[0]")
        assert trace["y"] == pytest.approx([34, 36, 38, 40], abs=1e-6)
        assert trace["hovertext"][0].endswith("ssim 34 dB")


def test_a_leaderboard_is_sorted_by_its_one_script(tab: Callable[..., Watched], tmp_path: Path) -> None:
    """The page's policy lets that script run, by its digest, and no other."""
    rates = {"<b>one</b>": -5.0, "two": 12.0, "three": None}
    rows = tuple(
        Row(name, "folder", "measured", rate, None, None, 1, 1, rank=number if rate is not None else None)
        for number, (name, rate) in enumerate(rates.items(), start=1)
    )
    board = Leaderboard("Title", "x265", "rule", (Board("set", "psnr_y", "PSNR", ("clip",), rows),), ())
    found = tab(write_leaderboard(board, tmp_path / "board").as_uri())

    def order() -> list[str]:
        return found.page.locator("table.sortable tbody th").all_inner_texts()

    assert order() == ["<b>one</b>", "two", "three"]
    for expected in (["<b>one</b>", "two", "three"], ["two", "<b>one</b>", "three"]):  # without a value: always last
        found.page.get_by_role("button", name="BD-rate").click()
        assert order() == expected
    assert found.page.locator("th[aria-sort=descending]").inner_text().startswith("BD-rate")
    found.page.get_by_role("button", name="Entry").click()
    assert order() == ["<b>one</b>", "three", "two"]
    assert all(address.startswith("file:") for address in found.requests)
