"""Sets of metrics by name, as ``--metrics`` takes them: what a field or a paper reports together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricSet:
    """Metrics asked for by one name, and where they stand together."""

    title: str
    metrics: tuple[str, ...]


SETS = {
    "basic": MetricSet(
        "what is measured by default", ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "ssim", "ms_ssim", "vmaf")
    ),
    "aom-ctc": MetricSet(
        "AOM's common test conditions: libvmaf's --aom_ctc v7.0, weighted PSNR and APSNR",
        (
            "psnr_y:aom", "psnr_u:aom", "psnr_v:aom", "psnr_yuv:aom",
            "psnr_y:apsnr", "psnr_u:apsnr", "psnr_v:apsnr", "psnr_yuv:apsnr",
            "psnr_hvs", "ssim:aom", "ms_ssim:aom", "ciede2000", "vmaf", "vmaf_neg", "cambi",
        ),
    ),
    "perceptual": MetricSet(
        "full-reference models of perception",
        ("vmaf", "vmaf_neg", "vmaf_v1", "ssimulacra2", "cvvdp", "lpips_alex", "dists", "stlpips", "piq:haarpsi"),
    ),
    "temporal": MetricSet(
        "what moves: consistency, motion and video models",
        ("ewarp", "tof", "tlpips", "flolpips", "flicker", "cvvdp", "speed_qa", "strred", "pvcs", "fvd"),
    ),
    "jvet": MetricSet("JVET's common test conditions", ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "ms_ssim")),
    "hdr": MetricSet(
        "PQ material: JVET's HDR test conditions, PU21 and ColorVideoVDP",
        ("wpsnr_y", "wpsnr_u", "wpsnr_v", "deltae100", "pu_psnr", "pu_ssim", "deltae_itp", "cvvdp:standard_hdr_pq"),
    ),
    "dcvc": MetricSet(
        "evaluation code of the DCVC family",
        ("psnr_y:dcvc", "psnr_u:dcvc", "psnr_v:dcvc", "psnr_yuv:dcvc", "psnr_rgb:dcvc", "ms_ssim:dcvc",
         "ms_ssim:rgb:dcvc"),
    ),
    "s2vc": MetricSet(
        "the S2VC paper (Xue et al. 2026)",
        ("lpips_alex", "dists", "fid_256", "kid_256", "flolpips", "psnr_rgb", "ms_ssim:rgb"),
    ),
    "diff-sit": MetricSet("the Diff-SIT paper", ("lpips_alex", "dists", "clipiqa", "ewarp")),
    "actdiff-vc": MetricSet(
        "the ActDiff-VC paper's code",
        ("psnr_rgb", "ms_ssim:rgb", "lpips_alex", "niqe", "tlpips", "fid", "kid", "pvcs"),
    ),
}  # fmt: skip


def expanded(names: Iterable[str]) -> list[str]:
    """Names with each set replaced by its metrics; "+name" of a set adds each of them."""
    found: list[str] = []
    for name in names:
        sign, plain = ("+", name[1:]) if name.startswith("+") else ("", name)
        found += [f"{sign}{metric}" for metric in SETS[plain].metrics] if plain in SETS else [name]
    return found
