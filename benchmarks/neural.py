"""Speed and size of our own codecs: `python benchmarks/neural.py CARD... --clip clip.y4m [--threads 2] [--rates 0,7]`.

For each card: parameters by part; multiplications and additions a pixel (MACs), counted by torch over real encodes and
decodes, of the first frame alone and of each later one; bytes by frame; and frames a second of encoding and decoding
with the given CPU threads, model loading apart, each run once to warm up. Machines differ: compare within one run.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.adapters.neural import NeuralCodec
from bench.bitstream.container import StreamHeader
from bench.cards import Catalog
from bench.neural.coding.weight_file import Loaded
from bench.video.frame import Frame
from bench.video.sequence import open_sequence

Done = TypeVar("Done")


def main() -> None:
    """Print the figures of every card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cards", nargs="+")
    parser.add_argument("--clip", required=True, type=Path)
    parser.add_argument("--frames", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rates", default="0,4,7")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    frames = list(islice(open_sequence(options.clip).read(), options.frames))
    print(f"{options.clip.name}, {len(frames)} frames of {frames[0].format.width}x{frames[0].format.height}")
    for name in options.cards:
        print_card(name, frames, options)


class Coder:
    """A card's codec in this process."""

    def __init__(self, name: str) -> None:
        catalog = Catalog()
        codec = NeuralCodec(catalog.card(name))
        codec.folder = catalog.find("codecs", name.partition("@")[0]).parent
        self.loaded: Loaded = codec._loaded()
        self.options: dict[str, Any] = codec.settings.chosen()
        self.name = codec.settings.codec

    def encode(self, frames: list[Frame], rate: int) -> bytes:
        """The stream of frames."""
        file = io.BytesIO()
        header = StreamHeader(self.name, self.loaded.digest, frames[0].format, len(frames), rate_index=rate)
        self.loaded.coding.encode(self.loaded.model, iter(frames), header, file, **self.options)
        return file.getvalue()

    def frames(self, stream: bytes) -> Iterator[Frame]:
        """The frames of a stream."""
        model, coding = self.loaded.model, self.loaded.coding
        return coding.decode(
            model, io.BytesIO(stream), name=self.name, weights=self.loaded.digest, device="cpu", **self.options
        )

    def decode(self, stream: bytes) -> int:
        """Decode all frames; returns their number."""
        return sum(1 for _ in self.frames(stream))


def print_card(name: str, frames: list[Frame], options: argparse.Namespace) -> None:
    """Parameters, MACs and speed of one card."""
    coder = Coder(name)
    torch.set_num_threads(options.threads)
    parts: Counter[str] = Counter()
    for parameter, value in coder.loaded.model.named_parameters():
        parts[".".join(parameter.split(".")[:2])] += value.numel()
    print(f"\n{name}: {sum(parts.values()) / 1e6:.2f} M parameters")
    for part, count in parts.most_common(12):
        print(f"  {part:32} {count / 1e6:.2f} M")
    pixels = frames[0].format.width * frames[0].format.height
    for what, count in (("first frame", 1), ("all frames", len(frames))):
        some = frames[:count]
        # counting takes other ways through torch, whose rounding differs: a counted decode needs a counted encode
        encoding, stream = macs(partial(coder.encode, some, 0))
        decoding, _ = macs(partial(coder.decode, stream))
        figures = [operations / pixels / count / 1e3 for operations in (encoding, decoding)]
        print(f"  {what}: {figures[0]:.1f} kMAC a pixel to encode, {figures[1]:.1f} to decode")
    for rate in (int(text) for text in options.rates.split(",")):
        stream = coder.encode(frames, rate)
        encoding = median_seconds(partial(coder.encode, frames, rate), options.runs)
        decoding = median_seconds(partial(coder.decode, stream), options.runs)
        print(
            f"  rate {rate}: {len(stream) * 8 / pixels / len(frames):.4f} bpp, {len(frames) / encoding:.2f} frames/s"
            f" to encode, {len(frames) / decoding:.2f} to decode, {options.threads} threads"
        )


def macs(work: Callable[[], Done]) -> tuple[float, Done]:
    """Multiplications with additions that torch counts in some work, and what it returned."""
    with FlopCounterMode(display=False) as counter:
        done = work()
    return counter.get_total_flops() / 2, done


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Median wall time of some runs."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
