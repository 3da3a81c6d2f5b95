"""Results that codecs' authors publish sequence by sequence, made files of published curves.

Sources: microsoft/DCVC, anchors/vtm_17.0_yuv420_LB_allf_ip0.json (MIT); AOMediaCodec/avm,
tools/convexhull_framework/ctc_result (BSD-3-Clause-Clear); Orange-OpenSource/Cool-Chic, results (BSD-3-Clause).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from bench.core.schema import explain
from bench.errors import UsageError
from bench.records.published import Coded, Paper, PublishedCurve, PublishedSet

_DCVC_METRICS = {
    "psnr_y": "psnr_y:dcvc",
    "psnr_u": "psnr_u:dcvc",
    "psnr_v": "psnr_v:dcvc",
    "psnr": "psnr_yuv:dcvc",
    "msssim": "ms_ssim:dcvc",
}
_DCVC_DATASETS = {
    "UVG": "uvg", "MCL-JCV": "mcl-jcv", "HEVC_B": "hevc-b", "HEVC_C": "hevc-c", "HEVC_D": "hevc-d", "HEVC_E": "hevc-e",
}  # fmt: skip
_DCVC_NAME = re.compile(r"(?P<name>.+?)_(?P<width>\d+)x(?P<height>\d+)_(?P<fps>\d+)(?:fps)?(?:_.*)?\.(?:yuv|y4m)")

_AOM_METRICS = {
    "PSNR_Y": "psnr_y:aom",
    "MS-SSIM_Y(dB)": "ms_ssim:aom",
    "VMAF_Y": "vmaf",
    "VMAF_Y-NEG": "vmaf_neg",
}
_AOM_FRAMES = {"RA": 130, "LD": 130, "AS": 130, "AI": 30, "STILL": 1}
_COOLCHIC_VIDEO = re.compile(r"(?P<set>[A-F]\d?)-(?P<name>.+)_(?P<width>\d+)x(?P<height>\d+)_(?P<fps>\d+)p_yuv420_\d+b")
_COOLCHIC_KODAK = re.compile(r"kodim(?P<number>\d\d)")
# Of Kodak's 24 pictures of 768x512 these stand upright.
_UPRIGHT = {"04", "09", "10", "17", "18", "19"}


def dcvc(data: Mapping[str, Any], codec: str = "VTM-17.0", of: str = "the anchor JSON") -> PublishedSet:
    """The curves of an anchor JSON of the DCVC family: dataset, sequence, rate point, averages over all frames.

    Raises UsageError for a file with another structure, or with a dataset or a name that is not known here.
    """
    with _reading(of, "an anchor file of the DCVC family"):
        found = [
            _dcvc_curve(codec, dataset, file, printed, metric, points, of)
            for dataset, sequences in data.items()
            for file, points in sequences.items()
            for printed, metric in _DCVC_METRICS.items()
        ]
        return PublishedSet(
            paper=Paper(
                name="dcvc",
                title="anchors of microsoft/DCVC (MIT)",
                address="https://github.com/microsoft/DCVC/tree/main/anchors",
            ),
            extraction="Taken over digit for digit from the JSON file; rates in bits per pixel of the coded frames.",
            protocol=(
                "VTM-17.0, encoder_lowdelay_vtm.cfg, 8-bit 4:2:0 input, 10-bit internal depth, all frames of each"
                " sequence, one I frame; DCVC's evaluation code measured it.",
            ),
            curves=tuple(found),
        )


@contextmanager
def _reading(of: str, what: str) -> Iterator[None]:
    """Raises UsageError for a file of another structure, and for one with values that no curve has."""
    try:
        yield
    except ValidationError as error:
        raise UsageError(f"{of}: is wrong:\n  {explain(error)}") from None
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        missing = f"lacks {error}" if isinstance(error, KeyError) else error
        raise UsageError(f"{of}: is not {what}: {missing}") from None


def _dcvc_curve(
    codec: str, dataset: str, file: str, printed: str, metric: str, points: Mapping[str, Any], of: str
) -> PublishedCurve:
    name = _DCVC_NAME.fullmatch(file)
    if name is None:
        raise UsageError(f"{of}: {file!r} is not a name such as BQMall_832x480_60.yuv")
    frames = {point["i_frame_num"] + point["p_frame_num"] for point in points.values()}
    if len(frames) != 1:
        raise UsageError(f"{of}: {file}: its rate points are of different numbers of frames: {sorted(frames)}")
    pairs = sorted((point["ave_all_frame_bpp"], point[f"ave_all_frame_{printed}"]) for point in points.values())
    return PublishedCurve(
        codec=codec,
        dataset=_DCVC_DATASETS[dataset],
        sequence=name["name"],
        coded=Coded(frames=frames.pop(), width=int(name["width"]), height=int(name["height"]), fps=name["fps"]),
        metric=metric,
        printed_metric=printed,
        figure=of,
        points=tuple(pairs),
    )


def aom_ctc(tables: Mapping[str, str]) -> PublishedSet:
    """The curves of result tables of AOM's common test conditions: the CSV text of each by the codec's name.

    Rates are of the table's own bitrate and frame rate. Raises UsageError for a table with other columns.
    """
    found: list[PublishedCurve] = []
    for codec, text in tables.items():
        rows = list(csv.DictReader(io.StringIO(text)))
        with _reading(codec, "a result table of AOM's common test conditions"):
            for name in dict.fromkeys(row["Name"] for row in rows):
                found += _aom_curves(codec, [row for row in rows if row["Name"] == name])
    return PublishedSet(
        paper=Paper(
            name="aom-ctc",
            title="results of AOM's common test conditions (AOMediaCodec/avm, BSD-3-Clause-Clear)",
            address="https://gitlab.com/AOMediaCodec/avm/-/tree/main/tools/convexhull_framework/ctc_result",
        ),
        extraction="Taken over digit for digit from the CSV tables; bits per pixel by their bitrate and frame rate.",
        protocol=(
            "AOM's common test conditions: cpu-used 0, 130 frames (random access, low delay), libvmaf's metrics; the"
            " constant QPs of each table. Adaptive streaming (AS): random access at six sizes, scaled by a Lanczos"
            " filter and measured at the full size.",
        ),
        curves=tuple(found),
    )


def _aom_curves(codec: str, rows: Sequence[Mapping[str, str]]) -> Iterable[PublishedCurve]:
    first = rows[0]
    width, height = map(int, first["OrigRes"].split("x"))
    coded = Coded(frames=_AOM_FRAMES[first["TestCfg"]], width=width, height=height, fps=first["FPS"])
    for printed, metric in _AOM_METRICS.items():
        points = sorted(
            (
                1000 * float(row["Bitrate(kbps)"]) / (width * height * float(first["FPS"])),
                float(row[printed]),
                round(int(row["CodedRes"].split("x")[0]) / width, 4),
            )
            for row in rows
        )
        scales = tuple(scale for *_, scale in points)
        yield PublishedCurve(
            codec=f"{codec} {first['TestCfg']}",
            dataset=f"aom-ctc-{first['Class']}".lower(),
            sequence=first["Name"].removesuffix(".y4m"),
            coded=coded,
            metric=metric,
            printed_metric=printed,
            figure=f"{first['TestCfg']}, class {first['Class']}",
            points=tuple((rate, value) for rate, value, _ in points),
            scales=scales if len(set(scales)) > 1 else None,
        )


def coolchic(tables: Mapping[str, Sequence[str]]) -> PublishedSet:
    """The curves of Cool-Chic's result tables: the TSV texts of each codec by its name.

    Tables of videos name their frames; those of pictures are of one frame each, Kodak's or the first of a JVET
    sequence. Raises UsageError for a table with other columns, or with names whose size is not known.
    """
    found: list[PublishedCurve] = []
    for name, texts in tables.items():
        for text in texts:
            rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
            with _reading(name, "a result table of Cool-Chic"):
                for sequence in sorted({row["seq_name"] for row in rows}):
                    found.append(_coolchic_curve(name, sequence, [row for row in rows if row["seq_name"] == sequence]))
    return PublishedSet(
        paper=Paper(
            name="cool-chic",
            title="results of Cool-Chic (Orange-OpenSource/Cool-Chic, BSD-3-Clause)",
            address="https://github.com/Orange-OpenSource/Cool-Chic/tree/main/results",
        ),
        extraction="Taken over digit for digit from the TSV tables; rates in bits per pixel of the coded frames.",
        protocol=(
            "The authors' own encoder, one network per picture or video, whose weights are in the rate; videos in"
            " random access with an I frame every 32 frames, all frames; pictures: Kodak's in RGB, and the first frame"
            " of JVET's sequences in YUV 4:2:0. PSNR is that of the error over the samples of all planes.",
        ),
        curves=tuple(found),
    )


def _coolchic_curve(codec: str, sequence: str, rows: Sequence[Mapping[str, str]]) -> PublishedCurve:
    frames = int(rows[0].get("n_frames") or 1)
    if of_jvet := _COOLCHIC_VIDEO.fullmatch(sequence):
        width, height, fps = int(of_jvet["width"]), int(of_jvet["height"]), of_jvet["fps"]
        letter = of_jvet["set"].lower()
        dataset = f"hevc-{letter}" if "n_frames" in rows[0] else f"jvet-{letter}-first-frame"
        name, metric = of_jvet["name"], "psnr_yuv:ffmpeg"
    elif of_kodak := _COOLCHIC_KODAK.fullmatch(sequence):
        width, height = (512, 768) if of_kodak["number"] in _UPRIGHT else (768, 512)
        dataset, name, metric, fps = "kodak", sequence, "psnr_rgb", "1"
    else:
        raise ValueError(f"{sequence!r} does not say its size, as BQMall_832x480_60p_yuv420_8b and kodim01 do")
    if int(rows[0]["n_pixels"]) != width * height * frames:
        raise ValueError(f"{sequence}: {rows[0]['n_pixels']} pixels are not {frames} frames of {width}x{height}")
    return PublishedCurve(
        codec=codec,
        dataset=dataset,
        sequence=name,
        coded=Coded(frames=frames, width=width, height=height, fps=fps),
        metric=metric,
        printed_metric="psnr_db",
        figure=f"{'video' if 'n_frames' in rows[0] else 'image'}, {sequence}",
        points=tuple(sorted((float(row["rate_bpp"]), float(row["psnr_db"])) for row in rows)),
        notes=("how frames are pooled is not stated",) if frames > 1 else (),
    )
