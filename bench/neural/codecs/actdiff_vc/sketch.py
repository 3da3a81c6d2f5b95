"""Edge sketch of a picture: where its structure is, which trajectories are to hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.neural.codecs.actdiff_vc.tracks import Picture

Sketch = npt.NDArray[np.float32]

BLUR = 2.0
"""Sigma in pixels of the blur, so that a point beside an edge counts too."""

STRONG = 95.0
"""Percentile of the gradients that is as strong as an edge gets."""

FLOOR = 0.1
"""Weight of flat ground: where it moves by itself, a point there can still be worth its bits."""


def sketch(picture: Picture) -> Sketch:
    """Weights float32 H x W, from `FLOOR` to 1, of an RGB picture uint8 H x W x 3: its blurred Sobel gradient."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edges = cv2.GaussianBlur(cv2.magnitude(across, down), (0, 0), BLUR)
    strength = np.clip(edges / max(float(np.percentile(edges, STRONG)), 1.0), 0, 1)
    weights: Sketch = (FLOOR + (1 - FLOOR) * strength).astype(np.float32)
    return weights
