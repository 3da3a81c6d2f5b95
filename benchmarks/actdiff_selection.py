"""Trajectories of ActDiff-VC, found, chosen and coded: `python benchmarks/actdiff_selection.py CLIP...`.

For each clip, CPU seconds in one thread over its first 49 frames: dense tracks, keyframe scores, and the selection of
300 tracks, beside one DIS flow of the same frames, so that ratios hold on a busy machine. Then what the chosen tracks
take, against zlib at its highest level on the same integers (16 bit, visibility as bits), and how far the motion that
scipy interpolates from them is from the dense tracks, at equal tracks and at equal bits, for every method.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

from bench.neural.codecs.actdiff_vc.perceptual import measure_named
from bench.neural.codecs.actdiff_vc.segments import segments
from bench.neural.codecs.actdiff_vc.selection import METHODS, select, sketch
from bench.neural.codecs.actdiff_vc.tracks import Mask, Points, dense_tracks
from bench.neural.codecs.actdiff_vc.trajectories import Trajectories, quantised
from bench.neural.codecs.actdiff_vc.trajectory_coding import decode_trajectories, encode_trajectories
from bench.video import colour
from bench.video.flow import dis_flow
from bench.video.sequence import open_sequence

FRAMES, TRACKS, BITS = 49, 300, 12_000
MEASURED_POINTS = 2500
Found = TypeVar("Found")


def main() -> None:
    """Print the figures of every clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="clips, y4m or anything FFmpeg reads")
    cv2.setNumThreads(1)
    for clip in parser.parse_args().clips:
        print_clip(clip)


def print_clip(clip: Path) -> None:
    """Speed, sizes and errors of one clip."""
    frames = [colour.to_rgb(frame).astype(np.uint8) for frame in islice(open_sequence(clip).read(), FRAMES)]
    size: tuple[int, int] = frames[0].shape[:2]
    print(f"\n{clip.stem}: {len(frames)} frames of {size[1]}x{size[0]}")
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:2]]
    dis_flow(grey[0], grey[1])
    flow, _ = timed(lambda: dis_flow(grey[0], grey[1]))
    tracking, (positions, visible) = timed(lambda: dense_tracks(frames))
    edges = sketch(frames[0])
    choosing, chosen = timed(lambda: select(positions, visible, edges, size=size, tracks=TRACKS))
    print(f"  one flow {flow:.4f} s; {len(positions)} dense tracks {tracking:.2f} s, {tracking / flow:.0f} flows")
    print(f"  selection of {len(chosen)} tracks {choosing:.2f} s, {choosing / flow:.0f} flows")
    for name in ("structural", "squeezenet"):
        print_segments(frames, name)
    for per_pixel in (1, 2):
        print_sizes(quantised(positions[chosen], visible[chosen], per_pixel), size)
    for method in METHODS:
        for title, weights in (("sketch", edges), ("no sketch", None)) if method == "greedy" else (("", None),):
            errors = [
                f"{len(found)} tracks, {8 * len(coded(found, positions, visible, size))} bits: "
                f"{error(found, positions, visible):.2f} px"
                for found in (
                    select(positions, visible, weights, size=size, tracks=TRACKS, method=method),
                    select(positions, visible, weights, size=size, bits=BITS, method=method),
                )
            ]
            print(f"  {method} {title}: {'; '.join(errors)}")


def print_segments(frames: list[npt.NDArray[np.uint8]], name: str) -> None:
    """Where keyframes go by one perceptual measure, and the time that takes."""
    measure = measure_named(name)
    seconds, found = timed(lambda: list(segments(frames, measure=measure)))
    where = ", ".join(f"{part.length} ({part.why})" for part in found)
    print(f"  segments, {name}: {where}; {seconds:.2f} s")


def print_sizes(tracks: Trajectories, size: tuple[int, int]) -> None:
    """Bytes of trajectories by our coder and by zlib."""
    encode_trajectories(tracks, *size)
    encoding, data = timed(lambda: encode_trajectories(tracks, *size))
    decoding, _ = timed(lambda: decode_trajectories(data, *size))
    flags = np.packbits(tracks.visible).tobytes()
    second = np.diff(tracks.positions, n=2, axis=1, prepend=np.zeros((tracks.tracks, 2, 2), np.int32))
    plain = len(zlib.compress(tracks.positions.astype("<i2").tobytes() + flags, 9))
    steady = len(zlib.compress(second.transpose(2, 0, 1).astype("<i2").tobytes() + flags, 9))
    print(
        f"  1/{tracks.per_pixel} px: {len(data)} bytes; zlib {plain} ({plain / len(data):.1f} times), of second "
        f"differences {steady} ({steady / len(data):.1f} times); {encoding:.3f} s to code, {decoding:.3f} s back"
    )


def coded(chosen: npt.NDArray[np.int64], positions: Points, visible: Mask, size: tuple[int, int]) -> bytes:
    """The chosen tracks at whole pixels."""
    return encode_trajectories(quantised(positions[chosen], visible[chosen], 1), *size)


def error(chosen: npt.NDArray[np.int64], positions: Points, visible: Mask) -> float:
    """Mean distance in pixels of visible tracks from what the chosen ones tell, at five frames."""
    points = np.arange(0, len(positions), max(1, len(positions) // MEASURED_POINTS))
    distances = []
    for frame in np.linspace(0, positions.shape[1] - 1, 6).astype(int)[1:]:
        known, seen = chosen[visible[chosen, frame]], points[visible[points, frame]]
        if len(known) < 2 or not len(seen):
            continue
        motion = positions[:, frame] - positions[:, 0]
        told = RBFInterpolator(positions[known, 0], motion[known], kernel="linear", degree=0)(positions[seen, 0])
        distances.append(np.linalg.norm(told - motion[seen], axis=1).mean())
    return float(np.mean(distances)) if distances else float("nan")


def timed(call: Callable[[], Found]) -> tuple[float, Found]:
    """CPU seconds of a call, and what it gave."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


if __name__ == "__main__":
    main()
