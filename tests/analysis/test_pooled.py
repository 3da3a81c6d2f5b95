"""Values of whole datasets: in the table, in comparisons, in the terminal and in reports."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from command_line import Vcbench

import bench
from bench.analysis.compare import compare
from bench.analysis.pooled import dataset_curves, is_pooled
from bench.engine.store.folder import Store
from bench.errors import UnknownNameError, UsageError
from bench.records.cell import CellResult
from bench.report import build_report
from bench.results.result_set import ResultSet

RATES = (22, 27, 32, 37)
SEQUENCES = ("akiyo", "bus")
FRAMES = {"akiyo": 40, "bus": 60}

Features = Mapping[str, np.ndarray]


def features(sequence: str, rate: int, scale: float = 1.0) -> Features:
    """Features of 8 dimensions: the decoded ones lie the farther from the source's, the coarser the rate."""
    seed = SEQUENCES.index(sequence) if sequence in SEQUENCES else 9
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((FRAMES.get(sequence, 50), 8)) + 3 * seed
    shift = 0.05 * scale * (rate - 12)
    return {
        "reference": source.astype(np.float32),
        "decoded": (source * (1 + shift / 4) + shift + 0.1 * rng.standard_normal(source.shape)).astype(np.float32),
    }


def frechet(reference: np.ndarray, decoded: np.ndarray) -> float:
    """The definition, with SciPy's square root of a matrix."""
    root = scipy.linalg.sqrtm(np.cov(reference, rowvar=False) @ np.cov(decoded, rowvar=False)).real
    means = reference.mean(axis=0) - decoded.mean(axis=0)
    return float(means @ means + np.trace(np.cov(reference, rowvar=False) + np.cov(decoded, rowvar=False) - 2 * root))


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Builder:
    """A result set on disk, as the engine writes it."""

    def __init__(self, root: Path) -> None:
        self.store = Store.create(root)
        self.root = root

    def cell(
        self,
        codec: str = "x265",
        rate: int = 22,
        sequence: str = "akiyo",
        *,
        dataset: str = "set",
        status: str = "ok",
        scale: float = 1.0,
        size: int | None = None,
        psnr: float | None = 40.0,
        fid: Features | None = None,
        video: float | None = 1.0,
        key: str = "fid",
        sha256: str = "a" * 64,
        name: str | None = None,
    ) -> Builder:
        done = status == "ok"
        names = self.store.keep_features(fid or {}) if done else {}
        measurements: dict[str, Any] = {}
        if psnr is not None:
            measurements["psnr_y"] = {
                "key": sha256_of("psnr"),
                "status": "ok",
                "value": psnr,
                "provenance": {"pooling": "mean"},
            }
        if fid is not None:
            measurements["fid"] = {
                "key": sha256_of(key),
                "status": "ok" if video is not None else "undefined",
                "value": video,
                "reason": None if video is not None else "fid: 1 frame in the video",
                "provenance": {"pooling": "video"},
                "features": names,
            }
        cost = {"seconds": 1.0, "cpu_s": 1.0, "peak_rss_bytes": 1, "timing": "alone"}
        frames = FRAMES.get(sequence, 50)
        bits = size if size is not None else round(scale * frames * 200_000 * 2 ** (-rate / 6))
        self.store.write(
            CellResult.model_validate(
                {
                    "name": name or f"{codec}_{rate}_{dataset}_{sequence}",
                    "key": sha256_of(f"{codec}{rate}{dataset}{sequence}{name}"),
                    "status": status,
                    "reason": None if done else "timeout",
                    "message": None if done else "took too long",
                    "codec": {
                        "name": codec, "title": codec, "kind": "classical", "rate_kind": "bitstream",
                        "card": {}, "tool": {},
                    },
                    "rate": {"parameter": "qp", "value": rate},
                    "sequence": {
                        "name": sequence, "dataset": dataset, "file": f"{sequence}.y4m", "sha256": sha256, "start": 0,
                        "frames": frames, "width": 352, "height": 288, "fps": "30", "pix_fmt": "yuv420p",
                        "matrix": "bt709", "full_range": False, "siting": "left", "conversion": None,
                    },
                    "bitstream": {"file": "b.bin", "bytes": bits, "sha256": "b" * 64} if done else None,
                    "encode": cost if done else None,
                    "decode": cost if done else None,
                    "measurements": measurements if done else {},
                }
            )
        )  # fmt: skip
        return self

    def curves(self, codecs: Mapping[str, float], sequences: Iterable[str] = SEQUENCES, **more: Any) -> Builder:
        """Cells of codecs that need so many times the rate; FID per video is another thing than over the dataset."""
        for codec, scale in codecs.items():
            for sequence in sequences:
                for rate in RATES:
                    video = rate / 10 + SEQUENCES.index(sequence)
                    fid = features(sequence, rate)
                    self.cell(codec, rate, sequence, scale=scale, fid=fid, video=video, psnr=60.0 - rate / 2, **more)
        return self

    @property
    def results(self) -> ResultSet:
        return bench.load(self.root)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Builder]:
    return lambda name="set": Builder(tmp_path / name)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x265, and a codec that needs half of its rate, on two sequences."""
    return Builder(tmp_path_factory.mktemp("sets") / "half").curves({"x265": 1.0, "half": 0.5}).root


def only_row(results: ResultSet, metric: str, **where: Any) -> dict[str, Any]:
    table = results.datasets(metric)
    for column, value in where.items():
        table = table[table[column] == value]
    (row,) = table.to_dict("records")
    return row


def test_which_metrics_have_values_of_their_own() -> None:
    assert is_pooled("fid")
    assert is_pooled("fid:antialias")
    assert not is_pooled("psnr_y")
    assert not is_pooled("nobody:knows")


class TestMeans:
    def test_value_and_rate_are_means_and_frames_the_sum(self, build: Callable[..., Builder]) -> None:
        results = build().cell(psnr=30.0, size=1000).cell(sequence="bus", psnr=40.0, size=4000).results
        row = only_row(results, "psnr_y")
        assert (row["value"], row["status"], row["pooling"]) == (35.0, "ok", "mean over sequences")
        assert (row["sequences"], row["frames"]) == (2, 100)
        assert row["bpp"] == pytest.approx((8000 / 40 + 32000 / 60) / 2 / (352 * 288), rel=1e-12)
        assert row["kbps"] == pytest.approx((8000 / 40 + 32000 / 60) / 2 * 30 / 1000, rel=1e-12)

    def test_an_infinite_value_makes_an_infinite_mean(self, build: Callable[..., Builder]) -> None:
        assert only_row(build().cell(psnr=math.inf).cell(sequence="bus").results, "psnr_y")["value"] == math.inf

    def test_datasets_are_kept_apart(self, build: Callable[..., Builder]) -> None:
        results = build().cell(psnr=30.0).cell(dataset="other", psnr=20.0).results
        assert results.datasets("psnr_y")[["dataset", "value"]].values.tolist() == [["other", 20.0], ["set", 30.0]]

    def test_unknown_metric(self, build: Callable[..., Builder]) -> None:
        with pytest.raises(UnknownNameError, match="did you mean psnr_y"):
            build().cell().results.datasets("psnr-y")


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"status": "failed"}, "bus: failed (timeout)"),
    ({"psnr": None, "fid": {}}, "bus: not measured"),
]


class TestGaps:
    def test_a_sequence_that_another_codec_has(self, build: Callable[..., Builder]) -> None:
        results = build().cell().cell("x264").cell("x264", sequence="bus").results
        row = only_row(results, "psnr_y", codec="x265")
        assert (row["status"], row["reason"]) == ("undefined", "no result of bus")
        assert math.isnan(row["value"])
        assert math.isnan(row["bpp"])
        assert only_row(results, "psnr_y", codec="x264")["status"] == "ok"
        assert only_row(results.only(["x265"]), "psnr_y")["status"] == "ok"

    @pytest.mark.parametrize(("how", "reason"), REASONS)
    def test_a_sequence_without_a_value(self, build: Callable[..., Builder], how: dict[str, Any], reason: str) -> None:
        row = only_row(build().cell().cell(sequence="bus", **how).results, "psnr_y")
        assert (row["status"], row["reason"]) == ("undefined", reason)

    def test_a_value_that_is_not_defined(self, build: Callable[..., Builder]) -> None:
        results = build().cell(fid={}, video=None).cell(sequence="bus", fid=features("bus", 22)).results
        assert only_row(results, "fid")["reason"] == "akiyo: undefined (fid: 1 frame in the video)"

    def test_two_results_of_one_name(self, build: Callable[..., Builder]) -> None:
        row = only_row(build().cell().cell(name="again").results, "psnr_y")
        assert row["reason"] == "akiyo: 2 results under one name"


class TestDistributions:
    def test_all_frames_are_one_set(self, half: Path) -> None:
        parts = [features(sequence, 27) for sequence in SEQUENCES]
        row = only_row(bench.load(half), "fid", codec="x265", rate=27)
        together = frechet(*(np.concatenate([part[side] for part in parts]) for side in ("reference", "decoded")))
        assert row["value"] == pytest.approx(together, rel=1e-6)
        assert row["value"] != pytest.approx(np.mean([frechet(*part.values()) for part in parts]), rel=0.05)
        assert (row["status"], row["pooling"], row["frames"]) == ("ok", "pooled over the dataset", 100)

    def test_a_video_too_short_for_a_value_of_its_own_counts(self, build: Callable[..., Builder]) -> None:
        builder = build().cell(fid=features("akiyo", 22), video=None)
        results = builder.cell(sequence="bus", fid=features("bus", 22)).results
        assert only_row(results, "fid")["status"] == "ok"

    def test_too_few_frames_altogether(self, build: Callable[..., Builder]) -> None:
        one = {side: array[:1] for side, array in features("akiyo", 22).items()}
        row = only_row(build().cell(fid=one, video=None).results, "fid")
        assert row["status"] == "undefined"
        assert row["reason"].startswith("fid: ")

    def test_features_of_different_definitions_are_not_mixed(self, build: Callable[..., Builder]) -> None:
        builder = build().cell(fid=features("akiyo", 22))
        row = only_row(builder.cell(sequence="bus", fid=features("bus", 22), key="older").results, "fid")
        assert "measured by different definitions" in row["reason"]

    def test_features_in_several_folders(self, build: Callable[..., Builder]) -> None:
        first, second = build("one").cell(fid=features("akiyo", 22)), build("two")
        second.cell(sequence="bus", fid=features("bus", 22))
        together = build("both").cell(fid=features("akiyo", 22)).cell(sequence="bus", fid=features("bus", 22))
        value = only_row(bench.load(first.root, second.root), "fid")["value"]
        assert value == pytest.approx(only_row(together.results, "fid")["value"], rel=1e-12)

    def test_a_missing_file_is_named(self, build: Callable[..., Builder]) -> None:
        builder = build().cell(fid=features("akiyo", 22))
        gone = next((builder.root / "features").glob("*.npy"))
        gone.unlink()
        row = only_row(builder.results, "fid")
        assert row["status"] == "undefined"
        assert f"{gone}: is missing" in row["reason"]

    @pytest.mark.parametrize("kind", ["cut", "text", "empty", "pickle"])
    def test_a_damaged_file_is_named_and_never_executed(self, build: Callable[..., Builder], kind: str) -> None:
        builder = build().cell(fid=features("akiyo", 22))
        executed = builder.root / "executed"

        class Attack:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (executed,)

        for path in (builder.root / "features").glob("*.npy"):
            content = {
                "cut": path.read_bytes()[:200], "text": b"hello", "empty": b"", "pickle": pickle.dumps(Attack())
            }[kind]  # fmt: skip
            path.write_bytes(content)
        row = only_row(builder.results, "fid")
        assert row["status"] == "undefined"
        assert "cannot be read" in row["reason"]
        assert str(builder.root / "features") in row["reason"]
        assert not executed.exists()

    def test_a_metric_that_is_not_installed_has_no_mean_instead(self, build: Callable[..., Builder]) -> None:
        builder = build().cell(fid=features("akiyo", 22))
        cell = builder.results.cells[0]
        renamed = cell.model_copy(update={"measurements": {"plugin_fid": cell.measurements["fid"]}})
        row = only_row(ResultSet((builder.root,), [renamed]), "plugin_fid")
        assert "plugin_fid is not installed here" in row["reason"]


def compared(results: ResultSet, metric: str = "fid", **more: Any) -> Any:
    pooled = results.datasets(metric) if is_pooled(metric) else None
    settings = {"higher_is_better": metric != "fid", "pooled": pooled, **more}
    return compare(results.to_pandas(), "x265", "half", metric, **settings)


class TestComparison:
    def test_overall_is_of_the_pooled_values_and_sequences_of_the_videos(self, half: Path) -> None:
        found = compared(bench.load(half))
        table = bench.load(half).datasets("fid")
        anchor, test = (table[table["codec"] == name] for name in ("x265", "half"))
        direct = bench.bd_rate(anchor["bpp"], anchor["value"], test["bpp"], test["value"], higher_is_better=False)
        assert found.convention == found.bd_rate.convention == "dataset"
        assert found.bd_rate.value == pytest.approx(direct.value, abs=1e-9)
        assert found.bd_rate.value == pytest.approx(-50, abs=0.01)
        assert (found.bd_rate.sequences_used, found.bd_rate.sequences_total) == (2, 2)
        assert [result.sequence for result in found.per_sequence] == list(SEQUENCES)
        assert all(result.bd_rate.value == pytest.approx(-50, abs=0.01) for result in found.per_sequence)

    def test_there_is_no_interval_and_the_reason_says_why(self, half: Path) -> None:
        interval = compared(bench.load(half)).bd_rate.interval
        assert (interval.low, interval.high) == (None, None)
        assert "pooled over the dataset" in interval.reason

    def test_the_other_conventions_stay(self, half: Path) -> None:
        found = compared(bench.load(half))
        assert list(found.bd_rates) == ["per-sequence", "mean-curve", "dataset"]
        assert list(found.to_dict()["conventions"]) == ["per-sequence", "mean-curve", "dataset"]
        chosen = compared(bench.load(half), convention="per-sequence").bd_rate
        assert chosen.convention == "per-sequence"
        assert chosen.value == pytest.approx(-50, abs=0.01)

    def test_a_metric_without_such_values_has_no_such_convention(self, half: Path) -> None:
        assert list(compared(bench.load(half), "psnr_y").bd_rates) == ["per-sequence", "mean-curve"]
        with pytest.raises(UsageError, match=r"unknown convention 'dataset'.*for psnr_y"):
            compared(bench.load(half), "psnr_y", convention="dataset")

    def test_a_missing_sequence_leaves_it_undefined_with_the_reason(self, build: Callable[..., Builder]) -> None:
        found = compared(build().curves({"x265": 1.0}).curves({"half": 0.5}, ["akiyo"]).results)
        assert found.bd_rate.value is None
        assert found.bd_rate.reason == "half: no value (4 x no result of bus)"
        assert found.per_sequence[0].bd_rate.value is not None
        assert any("rate points without a value pooled over the dataset set: 4" in text for text in found.warnings)

    def test_curves_over_other_frames_are_not_compared(self, build: Callable[..., Builder]) -> None:
        found = compared(build().curves({"x265": 1.0}).curves({"half": 0.5}, sha256="c" * 64).results)
        assert found.bd_rate.value is None
        assert "100 frames of 2 sequences (source " in found.bd_rate.reason

    def test_several_datasets_give_the_mean_of_their_results(self, build: Callable[..., Builder]) -> None:
        builder = build().curves({"x265": 1.0, "half": 0.5})
        found = compared(builder.curves({"x265": 1.0, "half": 2.0}, ["akiyo"], dataset="other").results)
        assert found.bd_rate.value == pytest.approx((-50 + 100) / 2, abs=0.01)
        assert "mean over 2 datasets" in found.bd_rate.notes
        assert found.bd_rate.sequences_used == 3

    def test_curves_are_sorted_by_rate_and_keep_gaps(self, build: Callable[..., Builder]) -> None:
        builder = build().curves({"x265": 1.0}).cell(rate=50, sequence="akiyo")
        (curve,) = dataset_curves(builder.results.datasets("fid"), "kbps").values()
        assert [point.label for point in curve.points] == ["37", "32", "27", "22"]
        assert list(curve.rates) == sorted(curve.rates)
        assert [(point.label, point.status) for point in curve.excluded] == [("50", "undefined")]


class TestTerminal:
    def test_json(self, half: Path, vcbench: Vcbench) -> None:
        done = vcbench("compare", half, "--anchor", "x265", "--test", "half", "--metric", "fid", "--json")
        assert done.code == 0
        found = done.json
        assert found["bd_rate"]["convention"] == "dataset"
        assert found["bd_rate"]["value"] == pytest.approx(-50, abs=0.01)
        assert found["bd_rate"]["ci_reason"].startswith("values are pooled over the dataset")

    def test_text(self, half: Path, vcbench: Vcbench) -> None:
        done = vcbench("compare", half, "--anchor", "x265", "--metric", "fid,psnr_y")
        assert done.code == 0
        said = done.out
        assert "(pchip, pooled over the dataset)" in said
        assert "psnr_y: mean over sequences" in said

    def test_two_folders(self, build: Callable[..., Builder], vcbench: Vcbench) -> None:
        before, after = build("before").curves({"x265": 1.0}), build("after").curves({"x265": 0.5})
        arguments = ["compare", before.root, after.root, "--anchor", "x265", "--metric", "fid", "--json"]
        found = vcbench(*arguments).json
        assert (found["anchor"], found["test"]) == ("before:x265", "after:x265")
        assert found["bd_rate"]["value"] == pytest.approx(-50, abs=0.01)

    def test_one_of_several_datasets(self, build: Callable[..., Builder], vcbench: Vcbench) -> None:
        builder = build().curves({"x265": 1.0, "half": 0.5})
        builder.curves({"x265": 1.0, "half": 2.0}, ["akiyo"], dataset="other")
        arguments = ["--anchor", "x265", "--test", "half", "--metric", "fid", "--dataset", "other", "--json"]
        assert vcbench("compare", builder.root, *arguments).json["bd_rate"]["value"] == pytest.approx(100, abs=0.01)

    def test_validate_names_features_that_are_gone_or_changed(
        self, build: Callable[..., Builder], vcbench: Vcbench
    ) -> None:
        builder = build().cell(fid=features("akiyo", 22))
        first, second = sorted((builder.root / "features").glob("*.npy"))
        first.unlink()
        second.write_bytes(b"other")
        done = vcbench("validate", builder.root)
        assert done.code == 4
        said = done.out
        assert f"features/{first.name} is missing or not the file that was stored" in said
        assert f"features/{second.name} is missing or not the file that was stored" in said


@pytest.fixture(scope="module")
def report(half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(bench.load(half), tmp_path_factory.mktemp("report")).parent


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def site_data(folder: Path, name: str) -> Any:
    """What a data script hands to the pages."""
    text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f'vcbench.put("{name}",').removesuffix(");\n"))


class TestReport:
    def test_the_overall_curves_are_of_pooled_values(self, half: Path, report: Path) -> None:
        compared = site_data(report, "compare-0-1")
        row = only_row(bench.load(half), "fid", codec="x265", rate=22)
        points = dict(compared["curves"])[0]
        assert points[-1][:2] == pytest.approx([row["bpp"], row["value"]], rel=1e-5)
        assert compared["curvesOver"].startswith("Curves of values pooled over the dataset.")
        assert "fid: a distance between two sets of frames." in (report / "method.html").read_text(encoding="utf-8")

    def test_the_site_compares_pooled_values(self, report: Path) -> None:
        compared = site_data(report, "compare-0-1")
        assert compared["quality"]["value"][0][1] == pytest.approx(-50, abs=0.01)
        assert "pooled over the dataset" in compared["texts"][compared["quality"]["interval"][0][1]]

    def test_bd_rate(self, report: Path) -> None:
        (row,) = (row for row in read(report, "bd_rate.csv") if row["metric"] == "fid")
        assert row["convention"] == "dataset"
        assert float(row["bd_rate_percent"]) == pytest.approx(-50, abs=0.01)
        table = (report / "tables" / "bd_rate.md").read_text(encoding="utf-8")
        assert "For fid: of the values pooled over the dataset" in table

    def test_values_of_datasets_as_a_table(self, half: Path, report: Path) -> None:
        rows = read(report, "datasets.csv")
        assert [(row["metric"], row["pooling"]) for row in rows[::8]] == [
            ("psnr_y", "mean over sequences"),
            ("fid", "pooled over the dataset"),
        ]
        expected = bench.load(half).datasets("fid")["value"]
        assert [float(row["value"]) for row in rows[8:]] == pytest.approx(list(expected), rel=1e-12)

    def test_what_is_missing_is_listed(self, build: Callable[..., Builder], tmp_path: Path) -> None:
        results = build().curves({"x265": 1.0}).curves({"half": 0.5}, ["akiyo"]).results
        folder = build_report(results, tmp_path / "report").parent
        missing = [row for row in read(folder, "excluded.csv") if row["what"] == "value pooled over the dataset"]
        assert [(row["codec"], row["rate"], row["reason"]) for row in missing] == [
            ("half", str(rate), "no result of bus") for rate in RATES
        ]
        assert "Not drawn, because values are missing: half." in site_data(folder, "compare-0-1")["curvesOver"]

    def test_a_report_without_such_metrics_says_nothing_of_them(self, half: Path, tmp_path: Path) -> None:
        folder = build_report(bench.load(half), tmp_path / "report", metrics=["psnr_y"]).parent
        assert not any("pooled over the dataset" in path.read_text(encoding="utf-8") for path in folder.rglob("*.html"))


def test_names_with_a_colon_go_everywhere(build: Callable[..., Builder], vcbench: Vcbench, tmp_path: Path) -> None:
    """Variants such as ewarp:spynet: files, tables, the page, comparisons, per-frame values."""
    names = {"psnr_y": "ewarp:spynet", "fid": "fid:antialias"}
    builder = build().curves({"x265": 1.0, "half": 0.5})
    for cell in builder.results.cells:
        measurements = {names[name]: item for name, item in cell.measurements.items()}
        # what is stored of a cell stays when it is written again
        (builder.store.root / "cells" / f"{cell.name}.json").unlink()
        builder.store.write(cell.model_copy(update={"measurements": measurements}))
        builder.store.write_frames(cell.name, {"ewarp:spynet": (None, 0.5)})
    results = builder.results
    assert results.metrics == ["ewarp:spynet", "fid:antialias"]
    assert results.frames("ewarp:spynet")["value"].dropna().tolist() == [0.5] * len(results.cells)
    folder = build_report(results, tmp_path / "report").parent
    assert [metric["name"] for metric in site_data(folder, "index")["metrics"]] == list(names.values())
    assert not any(":" in path.name for path in folder.rglob("*"))
    assert {row["metric"] for row in read(folder, "bd_rate.csv")} == set(names.values())
    assert {"ewarp:spynet", "fid:antialias"} <= set(read(folder, "rd.csv")[0])
    arguments = ["--anchor", "x265", "--test", "half", "--metric", "ewarp:spynet,fid:antialias", "--json"]
    assert vcbench("compare", builder.root, *arguments).code == 0
