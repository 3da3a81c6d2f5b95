"""Results that others publish sequence by sequence: read, compared with each other and with what is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

import bench
from bench.analysis.compare import compare
from bench.cli import main
from bench.errors import UsageError
from bench.records.anchors import aom_ctc, coolchic, dcvc
from bench.records.published import committed, read_published, write_published
from bench.results.result_set import load

# per video, PSNR_Y and MS-SSIM_Y, against AVM r4.0: PerVideoBdrate-Summary-AV1-vs-AV2.csv beside the imported tables
PUBLISHED = {
    ("BoxingPractice_3840x2160_5994fps_10bit_420", "AV2-v13 RA"): (-28.1705, -25.6049),
    ("Neon1224_3840x2160_2997fps", "AV2-v13 RA"): (-24.7773, -24.8165),
    ("OldTownCross_1920x1080p50", "AV1-3.12 RA"): (-19.7034, -17.7401),
    ("SolLevanteFace_1920x1080p24_hdr10", "AV2-v13 RA"): (-32.0252, -31.6833),
    # adaptive streaming: hulls across six sizes
    ("BoxingPractice", "AV2-v13 AS"): (-30.8812, -28.1913),
    ("BoxingPractice", "AV1-3.12 AS"): (-5.7429, -8.3805),
    ("NocturneDance", "AV2-v13 AS"): (-25.9151, -22.2879),
}
# docs/source/results/video.rst of Orange-OpenSource/Cool-Chic: BD-rate of Cool-chic 4.1.0 against 4.0
COOLCHIC = {"BasketballDrill": -17.5, "BQMall": -21.1, "PartyScene": -39.1, "RaceHorses": -16.8}
POINTS = ((22, 0.4, 40.0), (27, 0.2, 37.0), (32, 0.1, 34.0), (37, 0.05, 31.0))


def test_av1_and_av2_have_the_published_bd_rates() -> None:
    frame = load(committed()["aom-ctc"]).to_pandas()
    for (sequence, test), published in PUBLISHED.items():
        rows = frame[frame.sequence == sequence]
        for metric, value in zip(("psnr_y:aom", "ms_ssim:aom"), published, strict=True):
            anchor = f"aom-ctc:AVM-r4.0 {test[-2:]}"
            (only,) = compare(rows, anchor, f"aom-ctc:{test}", metric, resamples=100).per_sequence
            assert only.bd_rate.value == pytest.approx(value, abs=0.01)


def test_cool_chic_has_the_published_bd_rates() -> None:
    frame = load(committed()["cool-chic"]).to_pandas()
    rows = frame[frame.dataset == "hevc-c"]
    anchor, test = "cool-chic:Cool-Chic-4.0", "cool-chic:Cool-Chic-4.1"
    found = compare(rows, anchor, test, "psnr_yuv:ffmpeg", resamples=100)
    assert {r.sequence: round(r.bd_rate.value or 0, 1) for r in found.per_sequence} == COOLCHIC
    assert found.bd_rate.value == pytest.approx(-23.6, abs=0.05)


def test_cool_chic_tables_of_pictures_and_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "seq_name\tlmbda\trate_bpp\tn_pixels\th\tw\tn_frames\tpsnr_db"
    video = f"{head}\nD-BQSquare_416x240_60p_yuv420_8b\t0.1\t0.2\t{416 * 240 * 9}\t240\t416\t9\t30.5\n"
    picture = "lmbda\tseq_name\tn_pixels\tloss\tpsnr_db\trate_bpp\n0.1\tkodim04\t393216\t0.1\t33.5\t0.4\n"
    for name, text in (("video.tsv", video), ("picture.tsv", picture)):
        (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit) as ended:
        files = [str(tmp_path / name) for name in ("video.tsv", "picture.tsv")]
        main(["import", "cool-chic", *files, "--names", "CC,CC", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    assert "2 curves" in capsys.readouterr().out
    moving, still = read_published(tmp_path / "out").curves
    assert moving.coded is not None and still.coded is not None
    assert (moving.dataset, moving.sequence, moving.coded.frames, moving.metric) == (
        "hevc-d", "BQSquare", 9, "psnr_yuv:ffmpeg",
    )  # fmt: skip
    assert (still.dataset, still.coded.width, still.coded.height, still.points) == ("kodak", 512, 768, ((0.4, 33.5),))
    with pytest.raises(UsageError, match="pixels are not 9 frames"):
        coolchic({"CC": [video.replace(str(416 * 240 * 9), "7")]})
    with pytest.raises(UsageError, match="does not say its size"):
        coolchic({"CC": [picture.replace("kodim04", "somebody")]})
    with pytest.raises(UsageError, match="is not a result table of Cool-Chic: lacks 'seq_name'"):
        coolchic({"CC": ["a\tb\n1\t2\n"]})


@pytest.mark.slow
def test_a_measured_codec_meets_the_anchors_of_its_own_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_ffmpeg: Callable[..., bytes]
) -> None:
    """A stand-in for BQSquare, whose own file is not to be had: what is compared are name, dataset, frames and size."""
    clip = tmp_path / "data" / "hevc-d" / "BQSquare_416x240_60.yuv"
    clip.parent.mkdir(parents=True)
    monkeypatch.setenv("VCBENCH_DATA", str(tmp_path / "data"))
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=416x240:rate=60", "-frames:v", "9", "-pix_fmt", "yuv420p",
        "-f", "rawvideo", str(clip),
    )  # fmt: skip
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "hevc-d.toml").write_text(
        f"""
name = "hevc-d"
title = "Stand-in"
licence = "none"
download = "manual"
instructions = "none"
[[sequences]]
name = "BQSquare"
file = "{clip.name}"
width = 416
height = 240
fps = "60"
pix_fmt = "yuv420p"
frames = 9
"""
    )
    run = bench.run(
        "x265@low-delay", datasets="hevc-d", rates=(22, 27, 32, 37), metrics="psnr_y:dcvc", paths=tmp_path,
        out=tmp_path / "out",
    )  # fmt: skip
    assert {cell.status for cell in run.cells} == {"ok"}
    # the anchor has the measured points at half of the rate
    points = {
        str(cell.rate.value): {
            "i_frame_num": 1, "p_frame_num": 8, "ave_all_frame_bpp": (cell.bpp or 0) / 2,
            **{f"ave_all_frame_{name}": cell.measurements["psnr_y:dcvc"].value for name in
               ("psnr", "psnr_y", "psnr_u", "psnr_v")},
            "ave_all_frame_msssim": 0.9,
        }
        for cell in run.cells
    }  # fmt: skip
    published = dcvc({"HEVC_D": {"BQSquare_416x240_60.yuv": points}})
    write_published(tmp_path / "anchors", published)
    frame = load(tmp_path / "out", tmp_path / "anchors").to_pandas()
    found = compare(frame, "dcvc:VTM-17.0", "x265@low-delay", "psnr_y:dcvc", resamples=100)
    (only,) = found.per_sequence
    assert only.bd_rate.value == pytest.approx(100)


def test_vtm_anchors_are_those_of_the_file() -> None:
    found = read_published(committed()["dcvc"])
    curves = [curve for curve in found.curves if curve.metric == "psnr_y:dcvc"]
    assert len(curves) == 53
    assert len(found.curves) == 5 * 53
    (beauty,) = [curve for curve in curves if curve.sequence == "Beauty"]
    assert beauty.coded is not None
    assert (beauty.dataset, beauty.coded.frames, beauty.coded.width, beauty.coded.fps) == ("uvg", 600, 1920, "120")
    assert (0.057281, 39.919552) in beauty.points


def anchor(frames: int = 9) -> dict[str, Any]:
    points = {
        str(qp): {
            "i_frame_num": 1, "p_frame_num": frames - 1, "ave_all_frame_bpp": bpp, "ave_all_frame_psnr": y + 1,
            "ave_all_frame_psnr_y": y, "ave_all_frame_psnr_u": y, "ave_all_frame_psnr_v": y,
            "ave_all_frame_msssim": 0.9,
        }
        for qp, bpp, y in POINTS
    }  # fmt: skip
    return {"HEVC_D": {"BQSquare_416x240_60.yuv": points}}


def measured(frames: int) -> list[dict[str, Any]]:
    fixed = {
        "codec": "x265", "dataset": "hevc-d", "sequence": "BQSquare", "frames": frames, "width": 416, "height": 240,
        "fps": 60.0, "rate_kind": "bitstream", "metric": "psnr_y:dcvc", "status": "ok", "source": "abc",
    }  # fmt: skip
    return [{**fixed, "rate": qp, "bpp": 2 * bpp, "value": y} for qp, bpp, y in POINTS]


@pytest.mark.parametrize(("frames", "value"), [(9, 100.0), (8, None)])
def test_a_published_curve_meets_measured_ones_of_the_same_frames(frames: int, value: float | None) -> None:
    rows = [*dcvc(anchor()).rows(), *measured(frames)]
    frame = pd.DataFrame(rows).reindex(columns=[*rows[0], "reason", "encode_s", "decode_s"]).astype(object)
    frame = frame.where(frame.notna(), None)
    found = compare(frame, "dcvc:VTM-17.0", "x265", "psnr_y:dcvc", resamples=100)
    (only,) = found.per_sequence
    if value is None:
        assert only.bd_rate.value is None
        assert "protocols differ" in str(only.bd_rate.reason)
    else:
        assert only.bd_rate.value == pytest.approx(value)


def test_ladders_of_a_table_keep_their_sizes_and_dbs_stay(tmp_path: Path) -> None:
    head = "TestCfg,Class,Name,OrigRes,FPS,CodedRes,QP,Bitrate(kbps),PSNR_Y,MS-SSIM_Y(dB),VMAF_Y,VMAF_Y-NEG"
    row = "RA,A2,{name}.y4m,1920x1080,50.00,{coded},110,{kbps},40,20,90,89"
    rows = [
        row.format(name="one", coded="1920x1080", kbps=2000), row.format(name="one", coded="1920x1080", kbps=1000),
        row.format(name="two", coded="1920x1080", kbps=2000), row.format(name="two", coded="960x540", kbps=1000),
    ]  # fmt: skip
    found = aom_ctc({"AV2": "\n".join([head, *rows])})
    one, two = [curve for curve in found.curves if curve.metric == "ms_ssim:aom"]
    assert (one.sequence, one.scales, two.sequence, two.scales) == ("one", None, "two", (0.5, 1.0))
    assert one.points[0] == pytest.approx((1e6 / (1920 * 1080 * 50), 20))
    assert one.dataset == "aom-ctc-a2"
    write_published(tmp_path, found)
    frame = load(tmp_path).to_pandas()
    ladder = frame[(frame.sequence == "two") & (frame.metric == "vmaf")]
    assert list(zip(ladder.rate, ladder.scale, strict=True)) == [(1, 0.5), (1, 1.0)]
    with pytest.raises(ValidationError, match="there are 2, and 1 scales"):
        two.model_validate({**two.model_dump(), "scales": (0.5,)})


def test_other_files_are_refused() -> None:
    with pytest.raises(UsageError, match="not a result table"):
        aom_ctc({"AV2": "a,b\n1,2\n"})
    head = "TestCfg,Class,Name,OrigRes,FPS,CodedRes,QP,Bitrate(kbps),PSNR_Y,MS-SSIM_Y(dB),VMAF_Y,VMAF_Y-NEG"
    with pytest.raises(UsageError, match=r"AV2: is wrong:\n  points"):
        aom_ctc({"AV2": f"{head}\nRA,A2,one.y4m,64x64,50,64x64,110,-5,40,20,90,89\n"})
    with pytest.raises(UsageError, match="not an anchor file"):
        dcvc({"Kodak": {"BQSquare_416x240_60.yuv": {"22": {"i_frame_num": 1, "p_frame_num": 0}}}})
    with pytest.raises(UsageError, match="BQMall_832x480_60"):
        dcvc({"UVG": {"beauty": {}}})
    broken = anchor()
    broken["HEVC_D"]["BQSquare_416x240_60.yuv"]["22"]["i_frame_num"] = 3
    with pytest.raises(UsageError, match="different numbers of frames"):
        dcvc(broken)


def test_the_command_writes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "anchors.json"
    file.write_text(json.dumps(anchor()))
    with pytest.raises(SystemExit) as ended:
        main(["import", "dcvc", str(file), "--names", "VTM", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    assert "5 curves in" in capsys.readouterr().out
    assert {curve.codec for curve in read_published(tmp_path / "out").curves} == {"VTM"}
    with pytest.raises(SystemExit):
        main(["import", "dcvc", str(file), "--out", str(tmp_path / "again"), "--json"])
    assert json.loads(capsys.readouterr().out)["curves"] == 5
