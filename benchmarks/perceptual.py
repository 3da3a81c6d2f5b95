"""LPIPS and DISTS over four rate points of one sequence, beside the packages that define them.

    python benchmarks/perceptual.py [--sizes 352x288,1920x1080] [--runs 7]

One frame of source and four decoded ones. The packages get each of the four pairs as tensors made beforehand and are
called as their READMEs say, under ``torch.no_grad``; ours start from frames, the conversion from YUV included.
Contenders take turns, over and over, so that a machine whose speed drifts slows all of them; printed are medians in ms
of wall and of CPU time, and of the ratios run by run. piq shrinks larger frames to a short side of 256, which is what
``dists:256`` is for; ``dists`` is beside the same without the shrinking. The weights are random where the real ones are
missing, so values are not shown, only how far the worst of the four is from the package's in float64: ours, and its own
in float32 (which loses digits where frames are alike).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import numpy.typing as npt
import piq
import torch
from piq.perceptual import ContentLoss
from stand_in import offer_stand_ins

from bench.metrics.base import FramePair
from bench.registry import metric_class
from bench.video import colour
from bench.video.formats import VideoFormat, parse_size
from bench.video.frame import Frame
from bench.weights import files as weights

RATE_POINTS = 4
TARGET = 0.6
LARGE = 1000
COLUMNS = {"ours": 10, "cpu": 10, "package": 10, "cpu ": 10, "ratio": 9, "of cpu": 9, "error": 11, "theirs": 11}

Network = Any
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seconds:
    wall: float
    cpu: float


class Dists(piq.DISTS):  # type: ignore[misc]
    """piq's, on weights that are here rather than downloaded."""

    def __init__(self) -> None:
        import torchvision

        features = torchvision.models.vgg16(weights=None).features
        state = weights.load("vgg16")
        features.load_state_dict({key.removeprefix("features."): state[key] for key in state if "features" in key})
        parts = [3, 64, 128, 256, 512, 512]
        state = {key: tensor.double() for key, tensor in weights.load("dists").items()}
        total = sum(tensor.sum() for tensor in state.values())
        ContentLoss.__init__(
            self,
            features,
            layers=["3", "8", "15", "22", "29"],
            weights=[part for key in ("alpha", "beta") for part in torch.split(state[key] / total, parts, dim=1)],
            replace_pooling=True,
            allow_layers_weights_mismatch=True,
        )

    def to(self, *arguments: Any, **options: Any) -> Dists:
        for layer in self.model:
            layer.kernel = None  # piq's pooling makes it anew, in the type of its input
        return super().to(*arguments, **options)


class DistsAtOriginalSize(Dists):
    """The same without the shrinking."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 1 - ContentLoss.forward(self, x, y)


def package_lpips(net: str, backbone: str) -> Any:
    """LPIPS of the package on the weights that vcbench has; its own constructor would download them."""
    with warnings.catch_warnings():  # it calls torchvision by a name of its past
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = weights.load(backbone)
    network.net.load_state_dict({name: state[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()})
    return network


def contenders() -> dict[str, tuple[Network, float, float]]:
    """By name of the metric: what it is compared with, and the scale and offset of its input."""
    return {
        "lpips_alex": (package_lpips("alex", "alexnet"), 2, -1),
        "lpips_vgg": (package_lpips("vgg", "vgg16"), 2, -1),
        "dists:256": (Dists(), 1, 0),
        "dists": (DistsAtOriginalSize(), 1, 0),
    }


def frames(fmt: VideoFormat) -> tuple[Frame, list[Frame]]:
    """A source frame of smooth noise, and decoded ones."""
    rng = np.random.default_rng(0)
    source = np.clip(128 + 40 * np.cumsum(rng.normal(0, 0.05, fmt.samples_per_frame)), 0, 255)
    decoded = [source + rng.normal(0, 4 * step, source.shape) for step in range(1, RATE_POINTS + 1)]
    made = [Frame(fmt, np.clip(samples, 0, 255).astype(np.uint8)) for samples in (source, *decoded)]
    return made[0], made[1:]


def ours(name: str, source: Frame, decoded: Sequence[Frame]) -> list[float]:
    """Values of the rate points, from frames that nothing is known of yet."""
    reference = Frame(source.format, source.data)
    values = []
    for frame in decoded:
        metric: Any = metric_class(name)(source.format)
        metric.push(FramePair(0, reference, Frame(frame.format, frame.data)))
        values += metric.finish()[0]
    return values


def theirs(network: Network, source: torch.Tensor, decoded: Sequence[torch.Tensor]) -> list[float]:
    """Values of the rate points by a package."""
    with torch.no_grad():
        return [float(network(source, tensor)) for tensor in decoded]


def timed(compute: Callable[[], list[float]]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    compute()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def print_comparison(name: str, network: Network, scale: float, offset: float, fmt: VideoFormat, runs: int) -> None:
    """One metric and its package in turns."""
    source, decoded = frames(fmt)
    inputs = [
        torch.from_numpy(colour.to_rgb(frame) / np.float32(255)).permute(2, 0, 1)[None].contiguous() * scale + offset
        for frame in (source, *decoded)
    ]
    both = [lambda: ours(name, source, decoded), lambda: theirs(network, inputs[0], inputs[1:])]
    values = [np.array(compute()) for compute in both]
    turns = [[timed(compute) for compute in both] for _ in range(runs)]
    columns = [
        f"{1e3 * statistics.median(getattr(turn[which], clock) for turn in turns):10.0f}"
        for which in (0, 1)
        for clock in ("wall", "cpu")
    ]
    ratios = [
        f"{statistics.median(getattr(mine, clock) / getattr(other, clock) for mine, other in turns):9.2f}"
        for clock in ("wall", "cpu")
    ]
    errors = [f"{error:11.0e}" for error in errors_of(values, network, inputs)] if fmt.width < LARGE else []
    print(f"  {name:12}{''.join(columns + ratios + errors)}", flush=True)


def errors_of(values: Sequence[Array], network: Network, inputs: Sequence[torch.Tensor]) -> list[float]:
    """Largest relative difference of each from the package in float64; at 1080p that takes minutes."""
    source, *decoded = (tensor.double() for tensor in inputs)
    exact = np.array(theirs(network.to(torch.float64), source, decoded))
    network.to(torch.float32)
    return [float(np.max(np.abs(found / exact - 1))) for found in values]


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="352x288,1920x1080")
    parser.add_argument(
        "--runs", type=int, default=7, help="turns of each; a third of them, and two at least, at 1080p"
    )
    parser.add_argument("--metrics", default="lpips_alex,lpips_vgg,dists:256,dists")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        offer_stand_ins(Path(folder) / "weights")
        packages = contenders()
        for size in arguments.sizes.split(","):
            fmt = VideoFormat(*parse_size(size))
            runs = arguments.runs if fmt.width < LARGE else max(2, arguments.runs // 3)
            print(f"\n{size}, ms for {RATE_POINTS} rate points; target {TARGET}, {torch.get_num_threads()} threads")
            print(f"  {'':12}" + "".join(f"{title:>{width}}" for title, width in COLUMNS.items()))
            for name in arguments.metrics.split(","):
                print_comparison(name, *packages[name], fmt, runs)


if __name__ == "__main__":
    main()
