"""Three-dimensional convolutions on a CPU as sums of two-dimensional ones, which torch computes faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Numbers = int | Sequence[int]


class ByFrames(TorchFunctionMode):
    """Within it, convolutions over time on a CPU go frame by frame; what is no such convolution, or elsewhere, stays.

    torch takes its slow way for three-dimensional convolutions of few channels and small pictures. Sums are taken in
    another order, so that results differ by rounding.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv3d and args[0].device.type == "cpu":
            return by_frames(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def by_frames(
    video: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv3d of videos B x C x T x H x W: for each frame, the kernel's slices on the frames around it, summed.

    A padding by name, a dilated kernel, and a video without a batch go to torch.conv3d.
    """
    if isinstance(padding, str) or video.dim() != 5 or set(_three(dilation)) != {1}:
        return torch.conv3d(video, weight, bias, stride, padding, dilation, groups)
    (step, *steps), (margin, *margins) = _three(stride), _three(padding)
    frames = functional.pad(video, (0, 0, 0, 0, margin, margin)).transpose(1, 2)
    count = (frames.shape[1] - weight.shape[2]) // step + 1
    total: Tensor | None = None
    for at, part in enumerate(weight.unbind(2)):
        seen = frames[:, at : at + (count - 1) * step + 1 : step].flatten(0, 1)
        found = functional.conv2d(seen, part, bias if total is None else None, steps, margins, 1, groups)
        total = found if total is None else total.add_(found)
    assert total is not None
    return total.unflatten(0, (len(video), count)).transpose(1, 2)


def _three(numbers: Numbers) -> tuple[int, ...]:
    return (numbers,) * 3 if isinstance(numbers, int) else tuple(numbers)
