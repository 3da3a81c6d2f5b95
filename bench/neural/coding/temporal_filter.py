"""A recursive filter along motion, which makes generated detail move with the picture. Nothing coded knows of it.

A generator that draws each frame's texture anew flickers, the more the finer its detail. A decoder has the frame before
as it was shown, and can find where each place of it went; what it draws may differ from that only as much as what was
sent does. After Dubois and Sabri 1984, "Noise Reduction in Image Sequences Using Motion-Compensated Temporal
Filtering".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from bench.video.flow import MIN_SIDE, dis_flow

Flow = npt.NDArray[np.float32]

TOLERANCE = 0.25
"""Deviation of the guide from itself along motion, -1 to 1, at which the frame before counts for 0.61 of its share."""

WINDOW = 5
"""Pixels along a side over which that deviation is taken."""


class TemporalFilter:
    """Frames in order of time, each mixed with the one shown before it, moved along the guide's optical flow (DIS).

    ``share``: of the frame before, 0 (nothing) to below 1, where the guide is the same; in noise that is independent
    from frame to frame it leaves (1 - share) / (1 + share) of the variance. Pictures with a side below 32 pixels have
    no flow and stay as they are. The state is one frame and its guide.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._shown: Tensor | None = None
        self._guide: Tensor | None = None

    def __call__(self, picture: Tensor, guide: Tensor) -> Tensor:
        """The picture as it is to be shown.

        Both 1 x 3 x H x W, -1 to 1, on the CPU; the guide is what was sent of it.
        """
        if not self.share or min(picture.shape[-2:]) < MIN_SIDE:
            return picture
        shown = picture
        if self._shown is not None and self._guide is not None:
            before, certain = along_motion(self._shown, self._guide, guide)
            shown = (picture + self.share * certain * (before - picture)).clamp(-1, 1)
        # copies: a view of a chunk of frames would keep the whole of it
        self._shown, self._guide = shown.clone(), guide.clone()
        return shown


def along_motion(shown: Tensor, guide_before: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """The picture shown before, moved to where its parts are now, and how far it can be relied on there (0 to 1).

    Motion is that of the guides, which also say where the two differ. Pictures 1 x 3 x H x W, -1 to 1; sides of 32
    pixels or more have a flow, smaller ones are taken to be at rest.
    """
    flow, certain = motion(guide_before, guide)
    return moved(shown, flow, "sharp"), certain


def motion(guide_before: Tensor, guide: Tensor) -> tuple[Flow, Tensor]:
    """Where each place was in the picture before (H x W x 2, x and y in pixels away), and how far that can be relied on
    (1 x 1 x H x W, 0 to 1); see `along_motion`."""
    if min(guide.shape[-2:]) < MIN_SIDE:
        flow = np.zeros((*guide.shape[-2:], 2), np.float32)
    else:
        flow = dis_flow(_grey(guide), _grey(guide_before))
    change = (moved(guide_before, flow) - guide).square().mean(1, keepdim=True)
    margin = (WINDOW // 2,) * 4
    change = functional.avg_pool2d(functional.pad(change, margin, mode="replicate"), WINDOW, 1)
    return flow, torch.exp(-change / (2 * TOLERANCE**2))


def _grey(picture: Tensor) -> npt.NDArray[np.uint8]:
    grey: npt.NDArray[np.uint8] = ((picture[0].clamp(-1, 1).mean(0) + 1) * 127.5).round().to(torch.uint8).numpy()
    return grey


def moved(picture: Tensor, flow: Flow, kind: Literal["smooth", "sharp", "nearest"] = "smooth") -> Tensor:
    """A picture (1 x 3 x H x W) read at each place plus the flow: bilinear; ``sharp``, by eight samples each way, since
    what is moved again and again would be blurred each time; or ``nearest``, the sample that is there."""
    import cv2

    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    how = {"smooth": cv2.INTER_LINEAR, "sharp": cv2.INTER_LANCZOS4, "nearest": cv2.INTER_NEAREST}[kind]
    planes = np.ascontiguousarray(picture[0].permute(1, 2, 0).numpy())
    found = cv2.remap(planes, columns + flow[..., 0], rows + flow[..., 1], how, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(found).permute(2, 0, 1)[None]
