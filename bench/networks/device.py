"""What metrics on neural networks share: the device, threads, and frames as tensors."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from bench.core.one_thread import hold_torch
from bench.errors import UsageError
from bench.video.colour import rgb_of
from bench.video.frame import Frame

if TYPE_CHECKING:
    import torch

DEVICE = "VCBENCH_DEVICE"


def device() -> torch.device:
    """Device that networks run on: the one named by VCBENCH_DEVICE, else the first CUDA device, else the CPU.

    Raises UsageError for a device that torch does not have here.
    """
    chosen = _device()
    hold_torch()  # which may be imported only now
    return chosen


@cache
def _device() -> torch.device:
    import torch

    named = os.environ.get(DEVICE, "auto")
    if named == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(named)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"{DEVICE}={named}: {str(error).splitlines()[0]}") from None
    return chosen


def rgb_tensor(frame: Frame) -> torch.Tensor:
    """A frame as float32 tensor 1 x 3 x H x W of RGB with white 1 on the device, made once."""

    def make() -> torch.Tensor:
        import torch

        picture = torch.from_numpy(rgb_of(frame)).to(device())
        # to float before the axes move: a copy of whole pixels is the faster one
        planes = picture.to(torch.float32).permute(2, 0, 1).unsqueeze(0)
        return planes.contiguous().div_(frame.format.peak)

    return frame.derived("rgb tensor", make)
