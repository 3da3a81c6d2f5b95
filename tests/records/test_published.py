"""Curves of papers: the committed ones say what the papers say, and stay apart from what is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bjontegaard
import numpy as np
import pytest

import bench
from bench.errors import StoreError, UsageError
from bench.records.published import AS_PUBLISHED, committed, read_published, write_published
from bench.records.published_import import import_curves

DIGITISED = Path(__file__).parents[3] / "shared" / "reference" / "published_rd.json"
DIFF_SIT, ACTDIFF = (committed()[name] for name in ("diff-sit", "actdiff-vc"))


@pytest.fixture(scope="module")
def results() -> bench.results.result_set.ResultSet:
    return bench.load(DIFF_SIT, ACTDIFF)


@pytest.fixture(scope="module")
def points(results: bench.results.result_set.ResultSet) -> Callable[[str, str, str], list[tuple[float, float]]]:
    """(bpp, value) of a codec on a dataset by a metric."""
    table = results.to_pandas()

    def of(codec: str, dataset: str, metric: str) -> list[tuple[float, float]]:
        rows = table[(table.codec == codec) & (table.dataset == dataset) & (table.metric == metric)]
        return list(zip(rows.bpp, rows.value, strict=True))

    return of


def test_the_committed_files_are_the_digitised_points() -> None:
    if not DIGITISED.is_file():
        pytest.skip("the digitised points are not beside the checkout")
    data = json.loads(DIGITISED.read_text())
    assert import_curves(data) == [read_published(DIFF_SIT), read_published(ACTDIFF)]
    count = sum(len(points) for panels in data["diff_sit"].values() for c in panels.values() for points in c.values())
    count += sum(len(points) for codecs in data["actdiff"].values() for points in codecs.values())
    assert len(bench.load(DIFF_SIT, ACTDIFF).to_pandas()) == count == 684


def test_the_papers_own_claims_follow_from_the_points(points: Any) -> None:
    """What ActDiff-VC's text says of its figure, each to the digits given there."""
    ours, rival = "actdiff-vc:ActDiff-VC", "actdiff-vc:DCVC-FM"

    def saved(new: float, old: float) -> float:
        return round(100 * (1 - new / old), 1)

    for dataset, at, needs, percent in (("uvg", 0.0164, 0.0372, 55.9), ("mcl-jcv", 0.0276, 0.0780, 64.6)):
        (rate, niqe), *_ = points(ours, dataset, "niqe")
        rates, values = zip(*points(rival, dataset, "niqe"), strict=True)
        assert rate == at and round(niqe, 2) == {"uvg": 5.08, "mcl-jcv": 5.10}[dataset]
        # where the rival's curve, read in a straight line between its points, has the same NIQE
        matched = np.interp(-niqe, np.negative(values), rates)
        assert matched == pytest.approx(needs, abs=3e-4)
        assert saved(at, needs) == percent
    claims = {("uvg", "kid"): 64.6, ("mcl-jcv", "kid"): 58.0, ("uvg", "fid"): 37.7, ("mcl-jcv", "fid"): 22.8}
    for (dataset, metric), percent in claims.items():
        (_, new), (_, old) = points(ours, dataset, metric)[0], points(rival, dataset, metric)[0]
        assert saved(new, old) == pytest.approx(percent, abs=0.3)


def test_two_papers_disagree_about_one_codec(points: Any) -> None:
    """Why published values are not mixed: DCVC-FM's LPIPS on UVG near 0.024 bpp."""
    here = dict(points("diff-sit:DCVC-FM", "uvg", "lpips_alex"))
    there = points("actdiff-vc:DCVC-FM", "uvg", "lpips_alex")
    assert here[0.0241] == 0.2567
    assert np.interp(0.0241, *zip(*there, strict=True)) == pytest.approx(0.1473, abs=5e-4)


def test_no_frame_byte_or_sequence_is_claimed(results: bench.results.result_set.ResultSet) -> None:
    table = results.to_pandas()
    assert set(table.rate_kind) == {"published"}
    assert set(table.sequence) == {AS_PUBLISHED}
    assert table[["bytes", "kbps", "frames", "width", "height", "fps", "encode_s", "decode_s"]].isna().all().all()


def bd_rate(vcbench: Any, *arguments: object) -> dict[str, Any]:
    outcome = vcbench("compare", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return {**outcome.json["bd_rate"], "warnings": outcome.json["warnings"]}


def test_curves_of_one_paper_are_compared(vcbench: Any, points: Any) -> None:
    anchor, test = "diff-sit:HM16.25", "diff-sit:VTM17.0"
    found = bd_rate(vcbench, DIFF_SIT, "--anchor", anchor, "--test", test, "--metric", "dists", "--dataset", "hevc-b")
    curves = [np.transpose(points(codec, "hevc-b", "dists")) for codec in (anchor, test)]
    (anchor_rate, anchor_value), (test_rate, test_value) = curves
    reference = bjontegaard.bd_rate(
        anchor_rate, -anchor_value, test_rate, -test_value, method="pchip", require_matching_points=False
    )
    assert found["value"] == pytest.approx(reference, abs=1e-6)
    assert found["value"] < 0
    assert found["ci_low"] is None and "cannot be drawn again" in found["ci_reason"]
    assert any("not measured here" in warning for warning in found["warnings"])


def test_two_papers_are_not_compared(vcbench: Any) -> None:
    pair = ("--anchor", "diff-sit:DCVC-DC", "--test", "actdiff-vc:DCVC-DC", "--metric", "lpips_alex")
    refused = bd_rate(vcbench, DIFF_SIT, ACTDIFF, *pair, "--dataset", "uvg")
    assert (refused["value"], refused["cause"]) == (None, "protocol_differs")
    assert "protocols differ" in refused["reason"]
    mixed = bd_rate(vcbench, DIFF_SIT, ACTDIFF, *pair, "--dataset", "uvg", "--mix-published")
    assert mixed["cause"] == "no_overlap"
    assert any("0.257" in warning and "0.15" in warning for warning in mixed["warnings"])


@pytest.fixture
def like_the_clip(tmp_path: Path) -> Callable[[Path], Path]:
    """A paper whose curve needs exactly half the rate that x264 was measured to need."""

    def write(measured: Path) -> Path:
        published = read_published(DIFF_SIT)
        table = bench.load(measured).datasets("psnr_y")
        points = [[rate / 2, value] for rate, value in sorted(zip(table.bpp, table.value, strict=True))]
        curve = {**published.curves[0].model_dump(), "codec": "half", "dataset": "input", "metric": "psnr_y"}
        data = {**published.model_dump(), "curves": [{**curve, "points": points}]}
        folder = tmp_path / "paper"
        write_published(folder, type(published).model_validate(data))
        return folder

    return write


def test_a_published_curve_meets_measured_ones_only_by_a_flag(
    vcbench: Any, tmp_path: Path, tiny_clip: Callable[..., Path], like_the_clip: Callable[[Path], Path]
) -> None:
    measured = tmp_path / "measured"
    bench.run("x264", inputs=[tiny_clip(), tiny_clip(80, 64)], metrics=["psnr_y"], out=measured)
    paper = like_the_clip(measured)
    arguments = (measured, paper, "--anchor", "x264", "--test", "diff-sit:half", "--metric", "psnr_y")
    refused = bd_rate(vcbench, *arguments)
    assert (refused["value"], refused["cause"]) == (None, "protocol_differs")
    assert "x264 is measured here" in refused["reason"]
    mixed = bd_rate(vcbench, *arguments, "--mix-published")
    assert mixed["value"] == pytest.approx(-50)
    assert any("protocols are mixed" in warning for warning in mixed["warnings"])


@pytest.mark.parametrize("folder", [DIFF_SIT, ACTDIFF], ids=lambda folder: folder.name)
def test_the_committed_files_are_valid(vcbench: Any, folder: Path) -> None:
    outcome = vcbench("validate", folder)
    assert outcome.code == 0, outcome.out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"points": [[0.1, 0.2], [0.1, 0.3]]}, "by rising rate"),
        ({"points": [[0.0, 0.2]]}, "greater than 0"),
        ({"points": [[0.1, "NaN"]]}, "finite"),
        ({"points": []}, "points"),
        ({"metric": "lpips_alec"}, "did you mean lpips_alex"),
        ({"frames": 96}, "frames"),
    ],
)
def test_what_is_wrong_is_named(vcbench: Any, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    data = json.loads((DIFF_SIT / "published.json").read_text())
    data["curves"] = [{**data["curves"][0], **change}]
    (tmp_path / "published.json").write_text(json.dumps(data))
    outcome = vcbench("validate", tmp_path)
    assert outcome.code == 4
    assert says in outcome.out


def test_a_torn_file_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "published.json").write_text("{")
    results = bench.load(tmp_path)
    assert str(tmp_path / "published.json") in results.problems[0]
    with pytest.raises(StoreError, match="is not strict JSON"):
        read_published(tmp_path)


def test_one_codec_has_one_curve_of_a_metric_on_a_dataset(tmp_path: Path) -> None:
    data = json.loads((DIFF_SIT / "published.json").read_text())
    data["curves"] *= 2
    (tmp_path / "published.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match="has two curves"):
        read_published(tmp_path)


def test_points_of_an_unknown_dataset_are_not_imported() -> None:
    data = {"_provenance": {"diff_sit": "x", "actdiff": "x"}, "diff_sit": {"Kodak": {"LPIPS": {"a": [[1, 2]]}}}}
    with pytest.raises(UsageError, match="Kodak"):
        import_curves({**data, "actdiff": {}})


def test_the_papers_are_listed_with_their_folders(vcbench: Any) -> None:
    rows = {row["name"]: row for row in vcbench("ls", "published", "--json").json}
    assert rows["diff-sit"]["curves"] == 84 and rows["actdiff-vc"]["curves"] == 64
    assert Path(rows["diff-sit"]["folder"]) == DIFF_SIT
