"""PQ and HLG clips: what each metric's values are of, from the probe of a file to its result and its notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.analysis.transfer import doubts, taken_as
from bench.engine.options import ExecutionOptions
from bench.engine.run import RunOptions, plan, run, unfinished
from bench.engine.store.folder import Store
from bench.records.cell import CellResult, SequenceRecord
from bench.report.measured import metric_facts, sequence_facts
from bench.report.preamble import _transfers
from bench.video.formats import Transfer
from bench.video.sequence import open_sequence, sequence_from_json, sequence_to_json

RunFFmpeg = Callable[..., bytes]
METRICS = ("psnr_y", "pu_psnr")

TO_LIGHT = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=100,"
    "format=gbrpf32le,zscale=p=2020,zscale=t={curve}:m=2020_ncl:r=limited:npl=203,format=yuv420p10le"
)
NAMED = {"pq": "smpte2084", "hlg": "arib-std-b67", "sdr": "bt2020-10"}


@pytest.fixture
def hdr(run_ffmpeg: RunFFmpeg, tmp_path: Path) -> Callable[[Transfer], Path]:
    """A clip converted to light, and by a curve to samples, coded losslessly with that curve stated."""

    def make(transfer: Transfer) -> Path:
        path, curve = tmp_path / f"{transfer}.mkv", NAMED[transfer]
        run_ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", "3", "-vf", TO_LIGHT.format(curve=curve),
            "-color_primaries", "bt2020", "-color_trc", curve, "-colorspace", "bt2020nc", "-c:v", "libx265",
            "-x265-params", f"lossless=1:log-level=none:transfer={curve}:colormatrix=bt2020nc:colorprim=bt2020", path,
        )  # fmt: skip
        return path

    return make


@pytest.mark.parametrize("transfer", ["pq", "hlg", "sdr"])
def test_a_file_says_how_its_samples_become_light(hdr: Callable[[Transfer], Path], transfer: Transfer) -> None:
    clip = open_sequence(hdr(transfer))
    assert clip.transfer == transfer
    assert sequence_from_json(sequence_to_json(clip)).transfer == transfer
    assert open_sequence(clip.path, transfer="hlg").transfer == "hlg"


def test_what_is_not_stated_is_not_known(tiny_clip: Callable[..., Path], run_ffmpeg: RunFFmpeg, tmp_path: Path) -> None:
    assert open_sequence(tiny_clip()).transfer is None
    silent = tmp_path / "silent.mkv"
    run_ffmpeg("-i", tiny_clip(), "-c:v", "ffv1", silent)
    assert open_sequence(silent).transfer is None


@pytest.mark.parametrize(
    ("metric", "transfer", "says"),
    [
        ("psnr_y", "pq", "PQ code values"),
        ("vmaf", "hlg", "HLG code values"),
        ("psnr_y", "sdr", None),
        ("psnr_y", None, None),
        ("pu_psnr", "pq", None),
        ("pu_psnr", "hlg", "HLG samples taken as PQ"),
        ("pu_psnr:hlg", "hlg", None),
        ("wpsnr_y", "sdr", "SDR samples taken as PQ"),
        ("cvvdp", "pq", "PQ code values"),
        ("cvvdp:standard_hdr_pq", "pq", None),
        ("cvvdp:standard_hdr_hlg", "hlg", None),
        ("somebodys", "pq", None),
    ],
)
def test_what_a_metrics_values_are_of(metric: str, transfer: Transfer | None, says: str | None) -> None:
    assert taken_as(metric, transfer) == says
    assert len(doubts([metric], transfer)) == (says is not None)


@pytest.mark.slow
def test_a_result_of_a_pq_clip_is_marked_and_one_that_lacked_the_mark_gets_it(
    hdr: Callable[[Transfer], Path], run_ffmpeg: RunFFmpeg, tmp_path: Path
) -> None:
    def measured(path: Path, folder: str, transfer: Transfer | None = None) -> CellResult:
        options = RunOptions(codecs=("x265",), inputs=(path,), metrics=METRICS, rates=(37,), transfer=transfer)
        (found,) = run(plan(options), Store.create(tmp_path / folder), ExecutionOptions())
        return found

    found = measured(hdr("pq"), "stated")
    assert found.sequence.transfer == "pq"
    assert found.measurements["psnr_y"].provenance["transfer"] == "PQ code values"
    assert "transfer" not in found.measurements["pu_psnr"].provenance
    assert metric_facts([found], "psnr_y").title == "PSNR of luma (PQ code values)"
    assert metric_facts([found], "pu_psnr").title == "PU21-PSNR"
    assert sequence_facts(found.sequence).colour.endswith(", PQ")
    (note,) = _transfers([found], METRICS)
    assert note.startswith("On 1 PQ sequence, psnr_y: of PQ code values; --metrics hdr")

    y4m = tmp_path / "silent.y4m"
    run_ffmpeg("-i", tmp_path / "pq.mkv", "-strict", "-1", y4m)
    silent = measured(y4m, "silent")
    assert silent.sequence.transfer is None
    assert not list(_transfers([silent], METRICS))
    told = measured(y4m, "silent", "pq")
    assert told.sequence.transfer == "pq"
    assert (told.bitstream, told.measurements) == (silent.bitstream, silent.measurements)
    # and a later run that is not told leaves it
    later = RunOptions(codecs=("x265",), inputs=(y4m,), metrics=("ssim",), rates=(37,))
    (kept,) = run(plan(later), Store.create(tmp_path / "silent"), ExecutionOptions())
    assert kept.sequence.transfer == "pq"
    assert set(kept.measurements) == {*METRICS, "ssim"}
    assert not unfinished(plan(later), Store.create(tmp_path / "silent"))


def test_results_of_before_are_read(tmp_path: Path) -> None:
    old = {
        "name": "clip", "dataset": "set", "file": "clip.y4m", "sha256": "a" * 64, "start": 0, "frames": 3, "width": 64,
        "height": 48, "fps": "25", "pix_fmt": "yuv420p", "matrix": "bt709", "full_range": False, "siting": "left",
        "conversion": None,
    }  # fmt: skip
    assert SequenceRecord.model_validate(old).transfer is None
