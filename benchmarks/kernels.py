"""Times of the metric kernels and, in the same run, of what else computes the same: `python benchmarks/kernels.py`.

Medians in milliseconds. A ratio above 1 says how many times as fast the kernel of vcbench is. The other libraries get
two threads, the kernels one; a library that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from bench.metrics.kernels import plane_sse, ssim_ms_ssim, warm_up
from bench.video.flow import dis_flow, ewarp_frame, warp_reference

SIZES = {"352x288": (288, 352), "1920x1080": (1080, 1920)}
Array = npt.NDArray[np.generic]


def main() -> None:
    """Print every comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="runs of each, of which the median is printed")
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    print_start_up()
    warm_up()
    missing = [name for name in ("torch", "pytorch_msssim", "piq") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    for name, shape in SIZES.items():
        for bit_depth in (8, 10):
            print_fidelity(f"{name}, {bit_depth} bit", *pair(shape, bit_depth), bit_depth, repeats)
        print_flow(name, *moving_pair(shape), repeats)


def print_start_up() -> None:
    """Time from import to the first value in a fresh process, with an empty numba cache and with a filled one."""
    program = "from bench.metrics.kernels import warm_up; import time; t = time.perf_counter(); warm_up()"
    program += "; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as cache:
        command = ["env", f"NUMBA_CACHE_DIR={cache}", sys.executable, "-c", program]
        cold, warm = (float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(2))
    print(f"warm_up: {cold:.2f} s with an empty cache, {warm:.2f} s with a filled one (numba's import included)")


def print_fidelity(title: str, a: Array, b: Array, bit_depth: int, repeats: int) -> None:
    """Squared error and SSIM + MS-SSIM of one pair of planes."""
    print(f"\n{title}")
    print(f"  plane_sse {median_ms(lambda: plane_sse(a, b), repeats):25.3f} ms")
    ours = median_ms(lambda: ssim_ms_ssim(a, b, bit_depth), repeats)
    value = ssim_ms_ssim(a, b, bit_depth).ms_ssim
    print(f"  ssim_ms_ssim {ours:22.3f} ms")
    for name, compute in others(a, b, (1 << bit_depth) - 1).items():
        theirs = median_ms(compute, repeats)
        print(f"  {name:20} {theirs:14.3f} ms  {theirs / ours:6.1f}x  differs by {abs(compute() - value):.1e}")


def print_flow(title: str, previous: Array, current: Array, repeats: int) -> None:
    """Flow and mask of a source pair, for each preset, and the error of one decoded pair."""
    print(f"\n{title}, E_warp, by OpenCV's threads")
    rgb = [np.repeat(plane[..., None], 3, axis=2) for plane in (previous, current)]
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        for preset in ("ultrafast", "fast", "medium"):
            reference = warp_reference(previous, current, preset=preset)
            flow = median_ms(lambda p=preset: dis_flow(current, previous, p), repeats)
            pair_ms = median_ms(lambda p=preset: warp_reference(previous, current, preset=p), repeats)
            luma = median_ms(lambda r=reference: ewarp_frame(previous, current, r, peak=255), repeats)
            colour = median_ms(lambda r=reference: ewarp_frame(*rgb, r, peak=255), repeats)
            print(
                f"  {threads} {preset:10} flow {flow:8.2f}  source pair {pair_ms:8.2f}  "
                f"decoded pair {luma:6.2f} luma {colour:6.2f} RGB  {1000 / (pair_ms + colour):7.1f} frames/s"
            )
    cv2.setNumThreads(1)


def others(a: Array, b: Array, peak: int) -> dict[str, Callable[[], float]]:
    """MS-SSIM of the same planes by the other implementations that are installed."""
    found: dict[str, Callable[[], float]] = {"OpenCV, separable": lambda: opencv_ms_ssim(a, b, peak)}
    if importlib.util.find_spec("torch") is None:
        return found
    import torch

    torch.set_num_threads(2)
    x, y = (torch.from_numpy(plane.astype(np.float32))[None, None] for plane in (a, b))
    if importlib.util.find_spec("pytorch_msssim"):
        import pytorch_msssim

        found["pytorch_msssim"] = lambda: pytorch_msssim.ms_ssim(x, y, data_range=peak).item()
    if importlib.util.find_spec("piq"):
        import piq

        found["piq"] = lambda: piq.multi_scale_ssim(x, y, data_range=peak).item()
    return found


def opencv_ms_ssim(a: Array, b: Array, peak: int) -> float:
    """MS-SSIM from OpenCV's separable filter: five blurs a scale, float32, whole planes in memory."""
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    window = cv2.getGaussianKernel(11, 1.5, cv2.CV_32F)

    def blur(plane: Array) -> Array:
        return cv2.sepFilter2D(plane, cv2.CV_32F, window, window)[5:-5, 5:-5]

    cv2.setNumThreads(2)
    x, y = a.astype(np.float32), b.astype(np.float32)
    value = 1.0
    for scale, weight in enumerate(weights):
        mean_x, mean_y = blur(x), blur(y)
        covariance = blur(x * y) - mean_x * mean_y
        variances = blur(x * x) + blur(y * y) - mean_x * mean_x - mean_y * mean_y
        structure = (2 * covariance + c2) / (variances + c2)
        if scale == len(weights) - 1:
            structure = structure * (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
        value *= max(0.0, float(structure.mean())) ** weight
        odd = [side % 2 for side in x.shape]
        x, y = (cv2.copyMakeBorder(plane, odd[0], 0, odd[1], 0, cv2.BORDER_CONSTANT) for plane in (x, y))
        half = (x.shape[1] // 2, x.shape[0] // 2)
        x, y = (cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in (x, y))
    cv2.setNumThreads(1)
    return value


def pair(shape: tuple[int, int], bit_depth: int) -> tuple[Array, Array]:
    """A textured plane and a noisy copy."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    plane = (np.sin(x / 9) + np.cos(y / 5) + np.sin((x + 2 * y) / 31) + 3) / 6 * ((1 << bit_depth) - 1)
    noise = np.random.default_rng(0).normal(0, 2 ** (bit_depth - 6), shape)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    limits = (0, (1 << bit_depth) - 1)
    return np.clip(plane, *limits).astype(dtype), np.clip(plane + noise, *limits).astype(dtype)


def moving_pair(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Two views of one texture, a few pixels apart."""
    height, width = shape
    noise = np.random.default_rng(1).normal(0, 1, (height + 8, width + 8)).astype(np.float32)
    texture = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1, 3, 9))
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).round().astype(np.uint8)
    return texture[:height, :width].copy(), texture[3 : height + 3, 5 : width + 5].copy()


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, in milliseconds, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
