"""Frames as the networks see them, RGB from -1 to 1, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype


def to_tensor(frame: Frame) -> Tensor:
    """A frame as 1 x 3 x H x W, RGB -1 to 1."""
    rgb = torch.from_numpy(colour.to_rgb(frame).astype(np.float32))
    return rgb.permute(2, 0, 1)[None].contiguous() * (2 / frame.format.peak) - 1


def to_frame(picture: Tensor, fmt: VideoFormat) -> Frame:
    """The frame of a picture 1 x 3 x H x W, -1 to 1, cut to the format's size."""
    cut = picture[0, :, : fmt.height, : fmt.width].permute(1, 2, 0)
    rgb = torch.round((cut + 1) * (fmt.peak / 2)).clamp(0, fmt.peak).numpy().astype(sample_dtype(fmt))
    frame = colour.from_rgb(np.ascontiguousarray(rgb), fmt)
    return Frame(fmt, frame.data)


def psnr(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """PSNR of the mean squared error over all items, of pictures -1 to 1."""
    errors = [(a.clamp(-1, 1) - b).square().mean() / 4 for a, b in zip(found, wanted, strict=True)]
    return float(-10 * torch.log10(torch.stack(errors).mean().clamp_min(1e-12)))
