"""Digitised points of two papers' figures made files of published curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.core.schema import explain
from bench.errors import UsageError
from bench.records.published import Paper, PublishedCurve, PublishedSet, write_published

_METRICS = {
    "LPIPS": "lpips_alex",
    "DISTS": "dists",
    "CLIPIQA": "clipiqa",
    "Ewarp": "ewarp",
    "FID": "fid",
    "KID": "kid",
    "NIQE": "niqe",
}
_DATASETS = {"HEVCB": "hevc-b", "MCLJCV": "mcl-jcv", "UVG": "uvg", "MCL": "mcl-jcv"}

_DIFF_SIT: dict[str, Any] = {
    "paper": Paper(
        name="diff-sit",
        title="Efficient Video Diffusion with Sparse Information Transmission for Video Compression",
        address="https://github.com/MingdeZhou/Diff-SIT",
    ),
    "protocol": (
        "Values of whole datasets. What is here of the paper does not say which frames were coded, at which size, how"
        " colours were converted, or how values were pooled.",
        "HM 16.25 and VTM 17.0 are the classical anchors; their configurations are not recorded here.",
    ),
}
_ACTDIFF: dict[str, Any] = {
    "paper": Paper(
        name="actdiff-vc",
        title="Active Sampling for Ultra-Low-Bit-Rate Video Compression via Conditional Controlled Diffusion",
        address="https://openreview.net/forum?id=zER4e4GfZH",
    ),
    "protocol": (
        "Values of whole datasets. Videos were processed at 720x480 samples.",
        "The authors' programs measure LPIPS on AlexNet, NIQE by pyiqa, and FID and KID by torchmetrics on the frames"
        " of each video.",
    ),
}
_METRIC_NOTES = {
    ("diff-sit", "lpips_alex"): "the backbone is not stated; listed as AlexNet, the usual one",
    ("diff-sit", "ewarp"): "flow network, mask and scale are not stated; the scale is not ours, where white is 1",
    ("actdiff-vc", "fid"): "of the frames of each video, then averaged; not of the dataset as one set",
    ("actdiff-vc", "kid"): "of the frames of each video, then averaged; not of the dataset as one set",
}
_CLIPPED = "the last point is clipped at the edge of the axis"


def import_curves(data: Mapping[str, Any]) -> list[PublishedSet]:
    """The curves of Diff-SIT's and ActDiff-VC's figures, out of their digitised points.

    `data` has the keys ``diff_sit`` (dataset, metric, codec, points), ``actdiff`` ("DATASET METRIC", codec, points) and
    ``_provenance``, how the points were read. Raises UsageError for a dataset or metric that has no name here.
    """
    try:
        told = data["_provenance"]
        diff_sit = [
            _curve("diff-sit", dataset, metric, codec, points, f"MainResult{dataset}, panel {metric}")
            for dataset, panels in data["diff_sit"].items()
            for metric, codecs in panels.items()
            for codec, points in codecs.items()
        ]
        actdiff = [
            _curve("actdiff-vc", dataset, metric, codec, points, f"metrics_vs_bpp, panel {dataset} {metric}")
            for panel, codecs in data["actdiff"].items()
            for dataset, metric in [panel.split()]
            for codec, points in codecs.items()
        ]
        return [
            PublishedSet(**_DIFF_SIT, extraction=told["diff_sit"], curves=tuple(diff_sit)),
            PublishedSet(**_ACTDIFF, extraction=told["actdiff"], curves=tuple(actdiff)),
        ]
    except KeyError as error:
        raise UsageError(f"the digitised points lack {error}, or it has no name of ours yet") from None
    except ValidationError as error:
        raise UsageError(f"the digitised points are wrong:\n  {explain(error)}") from None


def _curve(paper: str, dataset: str, printed: str, codec: str, points: Any, figure: str) -> PublishedCurve:
    metric = _METRICS[printed]
    clipped = paper == "diff-sit" and (dataset, printed) == ("HEVCB", "Ewarp") and codec in {"DCVC-DC", "DVC-P"}
    notes = [note for note in (_METRIC_NOTES.get((paper, metric)), _CLIPPED if clipped else None) if note]
    return PublishedCurve(
        codec=codec,
        dataset=_DATASETS[dataset],
        metric=metric,
        printed_metric=printed,
        figure=figure,
        points=tuple((rate, value) for rate, value in points),
        notes=tuple(notes),
    )


def main(arguments: list[str]) -> None:
    """``python -m bench.records.published_import POINTS.json FOLDER`` writes a folder of curves for each paper."""
    if len(arguments) != 2:
        sys.exit(f"usage: python -m {__spec__.name} POINTS.json FOLDER")
    points, folder = map(Path, arguments)
    for published in import_curves(json.loads(points.read_text(encoding="utf-8"))):
        print(write_published(folder / published.paper.name, published))


if __name__ == "__main__":
    main(sys.argv[1:])
