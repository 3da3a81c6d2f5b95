"""vcbench verify on real bitstreams: equal ones pass, and whatever was changed since is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.cards import Card

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Callable[..., Path]) -> Path:
    """A clip that some tests lose: a copy of its own."""
    return Path(shutil.copy(tiny_clip(64, 48, frames=4), tmp_path_factory.mktemp("source") / "clip.y4m"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """Results of x265 in a configuration of its card, and of VVenC, which codes 8 bit as 10. Only to be read."""
    folder = tmp_path_factory.mktemp("sets") / "original"
    for codec in ("x265@low-delay", "vvenc"):
        bench.run(codec, inputs=source, rates=[37], metrics=["psnr_y", "ssim"], out=folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "results")


def result_file(folder: Path, codec: str = "x265") -> Path:
    return next((folder / "cells").glob(f"{codec}*.json"))


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def checks(outcome: Any, codec: str = "x265") -> dict[str, dict[str, Any]]:
    (cell,) = [cell for cell in outcome.json["checked"] if cell["cell"].startswith(codec)]
    return {check["what"]: check for check in cell["checks"]}


def test_the_stored_digest_is_that_of_ffmpegs_raw_video(original: Path, run_ffmpeg: Callable[..., bytes]) -> None:
    for path in (original / "cells").glob("*.json"):
        cell = json.loads(path.read_text())
        bitstream = original / "bitstreams" / cell["bitstream"]["file"]
        raw = run_ffmpeg("-i", bitstream, "-f", "rawvideo", "-pix_fmt", cell["decoded"]["pix_fmt"], "-")
        assert hashlib.sha256(raw).hexdigest() == cell["decoded"]["sha256"]
        assert cell["decoded"]["frames"] == 4
        assert cell["decoded"]["pix_fmt"] == ("yuv420p10le" if path.name.startswith("vvenc") else "yuv420p")


def test_unchanged_results_are_equal_without_their_source(vcbench, folder: Path, source: Path) -> None:
    hidden = source.rename(source.with_name("hidden"))
    try:
        outcome = vcbench("verify", folder, "--json")
    finally:
        hidden.rename(source)
    assert outcome.code == 0
    assert outcome.json["outcomes"] == {"equal": 6, "different": 0, "unchecked": 0, "claimed": 4}


def test_values_are_measured_again_from_a_clip_found_by_its_bytes(vcbench, folder: Path, source: Path) -> None:
    other = source.with_name("other.y4m")
    other.write_bytes(source.read_bytes()[:-1] + b"x")
    outcome = vcbench("verify", folder, "--metrics", "--input", other, source, "--json")
    assert outcome.code == 0
    assert outcome.json["outcomes"]["equal"] == 12
    assert checks(outcome)["psnr_y"]["found"] == checks(outcome)["psnr_y"]["stored"]


def test_a_value_that_was_improved_is_named(vcbench, folder: Path, source: Path) -> None:
    change(result_file(folder), lambda cell: cell["measurements"]["psnr_y"].update(value=99.0))
    outcome = vcbench("verify", folder, "--metrics", "--input", source, "--json")
    assert outcome.code == 6
    assert checks(outcome)["psnr_y"]["outcome"] == "different"
    assert checks(outcome)["ssim"]["outcome"] == "equal"
    assert checks(outcome)["psnr_y"]["reason"].startswith("value differs by -")


def test_values_are_unchecked_without_the_source(vcbench, folder: Path) -> None:
    outcome = vcbench("verify", folder, "--metrics")
    assert outcome.code == 6
    assert "psnr_y: unchecked" in outcome.out and "give your copy with --input" in outcome.out
    assert "checks: 6 equal, 0 different, 6 unchecked, 4 claimed" in outcome.out


def test_a_bitstream_with_another_byte_is_not_decoded(vcbench, folder: Path) -> None:
    path = next((folder / "bitstreams").glob("x265*"))
    path.write_bytes(path.read_bytes() + b"\0")
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6
    assert checks(outcome)["bitstream"]["outcome"] == "different"
    assert checks(outcome)["frames"]["outcome"] == "unchecked"
    assert checks(outcome, "vvenc")["frames"]["outcome"] == "equal"


def test_a_missing_bitstream_is_different(vcbench, folder: Path) -> None:
    next((folder / "bitstreams").glob("x265*")).unlink()
    outcome = vcbench("verify", folder)
    assert outcome.code == 6
    assert "is missing" in outcome.out


def test_a_bitstream_swapped_with_its_digest_decodes_to_other_frames(vcbench, folder: Path, source: Path) -> None:
    bench.run("x265@low-delay", inputs=source, rates=[45], metrics=["psnr_y"], out=folder.parent / "worse")
    worse = next((folder.parent / "worse" / "bitstreams").iterdir())
    path = result_file(folder)
    stored = json.loads(path.read_text())["bitstream"]
    shutil.copy(worse, folder / "bitstreams" / stored["file"])
    digest = hashlib.sha256(worse.read_bytes()).hexdigest()
    change(path, lambda cell: cell["bitstream"].update(bytes=worse.stat().st_size, sha256=digest))
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6
    assert checks(outcome)["bitstream"]["outcome"] == "equal"
    assert checks(outcome)["frames"]["reason"] == "the bitstream decodes to other frames"


@pytest.mark.parametrize(("exact", "outcome"), [(True, "different"), (False, "claimed")])
def test_other_last_bits_are_no_fault_of_a_codec_that_says_so(
    vcbench, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, exact: bool, outcome: str
) -> None:
    """Values are then compared more loosely: a tenth of a per mille off is what rounding does, one per cent is not."""
    monkeypatch.setattr(Card, "decodes_exactly", property(lambda card: exact))

    def verified(factor: float) -> Any:
        change(
            result_file(folder),
            lambda cell: (
                cell["decoded"].update(sha256="0" * 64),
                cell["measurements"]["psnr_y"].update(value=cell["measurements"]["psnr_y"]["value"] * factor),
            ),
        )
        return checks(vcbench("verify", folder, "--metrics", "--input", source, "--json"))

    found = verified(1.0001)
    assert found["frames"]["outcome"] == outcome
    assert found["psnr_y"]["outcome"] == ("different" if exact else "equal")
    assert verified(1.01)["psnr_y"]["outcome"] == "different"


def test_a_stream_that_cannot_be_decoded_says_so(vcbench, folder: Path) -> None:
    path = result_file(folder)
    stored = json.loads(path.read_text())["bitstream"]
    (folder / "bitstreams" / stored["file"]).write_bytes(b"no stream")
    digest = hashlib.sha256(b"no stream").hexdigest()
    change(path, lambda cell: cell["bitstream"].update(bytes=9, sha256=digest))
    found = checks(vcbench("verify", folder, "--json"))["frames"]
    assert found["outcome"] == "different"
    assert "exit" in found["reason"]


def test_the_card_of_a_result_file_is_never_run(vcbench, folder: Path, tmp_path: Path) -> None:
    """Whoever submits a result file writes its card too."""
    ran = tmp_path / "ran"
    settings = {"encode": {"program": "touch", "arguments": [str(ran)]}}
    change(result_file(folder), lambda cell: cell["codec"]["card"].update(adapter="command", settings=settings))
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6
    assert checks(outcome)["frames"]["outcome"] == "unchecked"
    assert checks(outcome)["frames"]["reason"].startswith("the card ")
    assert not ran.exists()


def test_a_result_without_a_digest_of_frames_is_unchecked(vcbench, folder: Path) -> None:
    change(result_file(folder), lambda cell: cell.pop("decoded"))
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6
    assert "older vcbench" in checks(outcome)["frames"]["reason"]
    assert len(checks(outcome)["frames"]["found"]) == 64


def test_an_unreadable_result_file_does_not_pass(vcbench, folder: Path) -> None:
    result_file(folder, "vvenc").write_text("{")
    outcome = vcbench("verify", folder)
    assert outcome.code == 6
    assert "unreadable: " in outcome.out


def test_a_sample_is_smaller(vcbench, folder: Path) -> None:
    outcome = vcbench("verify", folder, "--sample", "1", "--json")
    assert outcome.code == 0
    assert len(outcome.json["checked"]) == 1 and outcome.json["cells"] == 2


def test_nothing_to_verify_is_no_success(vcbench, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    outcome = vcbench("verify", tmp_path)
    assert outcome.code == 4
    assert "no cell has a bitstream" in outcome.err


def test_estimated_bits_of_a_measured_codec_are_no_rate(vcbench, folder: Path) -> None:
    def halve(cell: dict[str, Any]) -> None:
        cell["estimated_bits"] = 4 * cell["bitstream"]["bytes"]

    change(result_file(folder), halve)
    assert "estimated_bits is given, but the rate of x265@low-delay is measured" in vcbench("validate", folder).out
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6
    assert checks(outcome)["rate"]["outcome"] == "different"
    assert checks(outcome)["rate"]["found"] == 2 * checks(outcome)["rate"]["stored"]
    (cell,) = [cell for cell in bench.load(folder).cells if cell.codec.name.startswith("x265")]
    assert cell.bits == 8 * cell.bitstream.bytes


def test_the_rate_kind_is_that_of_the_card_here(vcbench, folder: Path) -> None:
    def estimate(cell: dict[str, Any]) -> None:
        cell["codec"]["rate_kind"] = "estimate"
        cell["estimated_bits"] = 8

    change(result_file(folder), estimate)
    assert "codec.rate_kind is 'estimate'" in vcbench("validate", folder).out
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6
    assert "the rate kind is bitstream by the card here" in checks(outcome)["rate"]["reason"]


MANIFEST = """
name = "{name}"
title = "t"
licence = "l"
root = "clips"
[[sequences]]
name = "clip"
file = "clip.y4m"
width = 64
height = 48
"""


@pytest.mark.parametrize("named", ["by path", "by name", "by --input"])
def test_the_source_is_never_taken_from_the_results(
    vcbench, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """A stranger's source would make any stream perfect; and looking for it writes nothing beside it."""
    (folder / "datasets" / "clips").mkdir(parents=True)
    shutil.copy(source, folder / "datasets" / "clips" / "clip.y4m")
    (folder / "datasets" / "theirs.toml").write_text(MANIFEST.format(name="theirs"))
    dataset = str(folder / "datasets" / "theirs.toml") if named == "by path" else "theirs"
    for path in (folder / "cells").iterdir():
        change(path, lambda cell: cell["sequence"].update(dataset=dataset, name="clip"))
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    more = ["--input", "datasets/clips/clip.y4m"] if named == "by --input" else []
    outcome = vcbench("verify", ".", "--metrics", "--json", *more)
    assert outcome.code == 6
    if named == "by path":
        assert not outcome.json["checked"]
        assert all("sequence.dataset: " in problem for problem in outcome.json["problems"])
        return
    assert checks(outcome)["source"]["outcome"] == checks(outcome)["psnr_y"]["outcome"] == "unchecked"
    assert sorted(folder.rglob("*")) == before
    elsewhere = shutil.copytree(folder / "datasets", folder.parent / "keeper" / "datasets")
    (elsewhere / "theirs.toml").write_text(MANIFEST.format(name="theirs"))
    monkeypatch.chdir(folder.parent)
    honest = vcbench("verify", folder, "--metrics", "--json", "--path", elsewhere)
    assert checks(honest)["source"]["outcome"] == "equal"


def test_a_card_is_never_taken_from_the_results(vcbench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Path(__file__).parents[2] / "codecs" / "x265.toml"
    (folder / "codecs").mkdir()
    shutil.copy(card, folder / "codecs" / "x265.toml")
    monkeypatch.chdir(folder)
    outcome = vcbench("verify", ".", "--json")
    assert outcome.code == 6
    assert "is inside the results" in checks(outcome)["frames"]["reason"]
    change(result_file(folder), lambda cell: cell["codec"].update(name=f"{folder / 'codecs' / 'x265.toml'}@low-delay"))
    monkeypatch.chdir(folder.parent)
    outcome = vcbench("verify", folder, "--json")
    assert outcome.code == 6 and "codec.name: " in outcome.json["problems"][0]  # a path is no name
    change(result_file(folder), lambda cell: cell["codec"].update(name="x265.toml@low-delay"))
    monkeypatch.chdir(folder / "codecs")
    assert "unknown codec" in checks(vcbench("verify", folder, "--json"))["frames"]["reason"]


@pytest.mark.parametrize("field", ["status", "pooled", "frames"])
def test_everything_of_a_measurement_is_computed_again(vcbench, folder: Path, source: Path, field: str) -> None:
    """A point marked as undefined leaves the curve, pooled values are shown, and so are those of frames."""
    path = result_file(folder)
    if field == "frames":
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = folder / "frames" / f"{path.stem}.parquet"
        columns = pq.read_table(table).to_pydict()
        pq.write_table(pa.table({**columns, "psnr_y": [value + 1 for value in columns["psnr_y"]]}), table)
    else:
        edit = {"status": {"status": "undefined", "value": None, "reason": "no frame"}, "pooled": {"pooled": {}}}[field]
        change(path, lambda cell: cell["measurements"]["psnr_y"].update(edit))
    outcome = vcbench("verify", folder, "--metrics", "--input", source, "--json")
    assert outcome.code == 6
    assert checks(outcome)["psnr_y"]["outcome"] == "different"
    expected = {"status": "stored as undefined", "pooled": "pooled.maximum", "frames": "frame 0 differs"}[field]
    assert expected in checks(outcome)["psnr_y"]["reason"]
    assert checks(outcome)["ssim"]["outcome"] == "equal"


def test_encoding_again_gives_the_same_bytes_or_says_not(vcbench, folder: Path, source: Path) -> None:
    outcome = vcbench("verify", folder, "--encode", "--input", source, "--json")
    assert outcome.code == 0
    assert checks(outcome)["encode"]["outcome"] == checks(outcome, "vvenc")["encode"]["outcome"] == "equal"
    assert checks(outcome)["encode_s"]["outcome"] == "claimed" and checks(outcome)["encode_s"]["found"] > 0
    # bits, frames and values are right, but another encoder than the card's made them: here that of another rate
    change(result_file(folder), lambda cell: cell["rate"].update(value=38))
    outcome = vcbench("verify", folder, "--encode", "--input", source, "--json")
    assert outcome.code == 6
    assert "gives other bytes than the stored bitstream" in checks(outcome)["encode"]["reason"]
    change(result_file(folder), lambda cell: cell["codec"]["tool"].update(ffmpeg="another"))
    outcome = vcbench("verify", folder, "--encode", "--encode-cells", "1", "--input", source, "--json")
    assert (outcome.code, checks(outcome)["encode"]["outcome"]) == (0, "claimed")
