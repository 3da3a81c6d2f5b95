"""Forward splatting: a keyframe's pixels put where its points are in a later frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.neural.codecs.actdiff_vc.tracks import Grid, Mask, Picture, Points

OCCUPIED = 0.1
"""Weight from which on a pixel counts as covered."""


@dataclass(frozen=True)
class Splat:
    """A splatted picture. ``picture``: RGB uint8 H x W x 3, black in the holes. ``covered``: bool H x W."""

    picture: Picture
    covered: Mask

    @property
    def coverage(self) -> float:
        """Share of the frame's pixels that the keyframe accounts for, 0 to 1."""
        return float(self.covered.mean())


def splat(keyframe: Picture, grid: Grid, positions: Points, visible: Mask) -> Splat:
    """The keyframe moved to where the grid's points are in another frame (points x 2 pixels; visible: points).

    Pixels between the points move with them, interpolated bilinearly, as far as the nearest point is visible. Each
    weighs on the four pixels around its new place, and where several meet they are averaged. Gaps of a pixel or two, as
    an enlargement tears them, are closed from around.
    """
    import cv2

    shown = grid.nearest(visible)
    places = grid.at_pixels(positions - grid.points())[shown] + _pixels_of(shown)
    colours = keyframe[shown].astype(np.float64)
    size = shown.size
    weight, sums = np.zeros(size), np.zeros((3, size))
    for index, share in _corners(places, *shown.shape):
        weight += np.bincount(index, share, size)
        for channel in range(3):
            sums[channel] += np.bincount(index, share * colours[:, channel], size)
    layers = np.concatenate([sums, weight[None]]).T.reshape(*shown.shape, 4)
    covered = layers[..., 3] > OCCUPIED
    closed = cv2.morphologyEx(covered.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).astype(bool)
    around = cv2.boxFilter(layers, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    filled = np.where(covered[..., None], layers, around)
    picture = np.where(closed[..., None], filled[..., :3] / np.maximum(filled[..., 3:], OCCUPIED), 0)
    return Splat(np.rint(picture).clip(0, 255).astype(np.uint8), closed)


def _pixels_of(mask: Mask) -> Points:
    y, x = np.nonzero(mask)
    return np.stack([x, y], axis=-1).astype(np.float32)


def _corners(places: Points, height: int, width: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Of each of the four pixels around the places: its index in the frame, and its bilinear share (0 if outside)."""
    low = np.floor(places).astype(np.int64)
    part = places.astype(np.float64) - low
    found = []
    for right in (0, 1):
        for below in (0, 1):
            x, y = low[:, 0] + right, low[:, 1] + below
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            share = np.abs(1 - right - part[:, 0]) * np.abs(1 - below - part[:, 1])
            found.append((np.where(inside, y * width + x, 0), np.where(inside, share, 0)))
    return found
