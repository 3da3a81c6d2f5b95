"""Whether a metric takes samples as the light that they stand for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bench.errors import VcbenchError
from bench.registry import metric_class
from bench.video.formats import Transfer

NAMES: dict[Transfer, str] = {"pq": "PQ", "hlg": "HLG", "sdr": "SDR"}

_MADE_FOR: dict[Transfer, str] = {
    "pq": "--metrics hdr has those made for PQ",
    "hlg": "pu_psnr:hlg, pu_ssim:hlg, deltae100:hlg and cvvdp:standard_hdr_hlg are made for HLG",
    "sdr": "they mean nothing here",
}


def taken_as(metric: str, transfer: Transfer | None) -> str | None:
    """What a metric's value is of, where it takes samples for what they are not, such as "PQ code values".

    None where it takes them as they are, or where either is not known. PSNR, SSIM, VMAF and the like are made for
    samples of an SDR display: of PQ and HLG they measure code values.
    """
    if transfer is None:
        return None
    try:
        taken = metric_class(metric).transfer
    except VcbenchError:  # of a plug-in that is not here
        return None
    if taken == transfer:
        return None
    return f"{NAMES[transfer]} code values" if taken == "sdr" else f"{NAMES[transfer]} samples taken as {NAMES[taken]}"


def doubts(metrics: Iterable[str], transfer: Transfer | None) -> list[str]:
    """What some metrics are of that take a clip's samples for what they are not, and which are made for them."""
    found: dict[str, list[str]] = defaultdict(list)
    for metric in metrics:
        if transfer is not None and (doubt := taken_as(metric, transfer)):
            found[f"{doubt}; {_MADE_FOR[transfer]}"].append(metric)
    return [f"{', '.join(names)}: of {doubt}" for doubt, names in found.items()]
