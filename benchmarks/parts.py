"""What each part of a diffusion codec adds: `python benchmarks/parts.py CODEC CLIP... --without no-fte,no-noise`.

The codec codes each clip once, and each configuration decodes that stream, so that all have the same bits: rate and
scale of the base differ in nothing. Tables in Markdown: means over the clips; and each configuration minus the codec,
with the 95 % interval of the mean (bootstrap over clips) and on how many the codec is better. Below them CPU seconds
per frame. Rows are kept in --out, line by line, and are not measured again: after an interruption, and with further
clips or configurations, the same command continues.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from equal_rate import UNITS, is_better, print_row
from neural import Coder

from bench.bitstream.container import StreamReader, StreamWriter
from bench.engine.measure import DecodedVideo, measure_together
from bench.registry import metric_class
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import open_sequence

DRAWS = 2000
METRICS = "psnr_y,ms_ssim,vmaf_neg,niqe,fd_squeezenet,kd_squeezenet,ewarp,flicker"
DECIMALS = {"ms_ssim": 4, "vmaf_neg": 1}
"""Of a difference; of other metrics two."""

Done = TypeVar("Done")
Row = dict[str, Any]


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec")
    parser.add_argument("clips", nargs="*", type=Path, help="none: print what --out has")
    parser.add_argument("--without", required=True, help="configurations, separated by commas")
    parser.add_argument("--rate", type=int, default=1, help="rate index")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--metrics", default=METRICS)
    parser.add_argument("--out", required=True, type=Path, help="file of rows, JSON lines")
    options = parser.parse_args()
    names = [options.codec, *(f"{options.codec}@{name}" for name in options.without.split(","))]
    metrics = options.metrics.split(",")
    for clip in options.clips:
        known = {(row["clip"], row["codec"]) for row in rows(options.out, options.rate, options.frames)}
        missing = [name for name in names if (clip.stem, name) not in known]
        if missing:
            frames = list(islice(open_sequence(clip).read(), options.frames))
            with options.out.open("a", encoding="utf-8") as file:
                for row in measured(options.codec, missing, frames, options.rate, metrics):
                    row |= {"clip": clip.stem, "rate": options.rate, "frames": options.frames}
                    print(json.dumps(row), file=file, flush=True)
    print_tables(rows(options.out, options.rate, options.frames), names, metrics)


def rows(path: Path, rate: int, frames: int) -> list[Row]:
    """Rows that a file has of a rate index and a number of frames."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found: list[Row] = [json.loads(line) for line in lines if line.endswith("}")]
    return [row for row in found if (row["rate"], row["frames"]) == (rate, frames)]


def measured(codec: str, names: Sequence[str], frames: list[Frame], rate: int, metrics: Sequence[str]) -> Iterator[Row]:
    """A row of each configuration: bits per pixel, values, CPU seconds per frame."""
    fmt = frames[0].format
    kinds, same = [metric_class(name) for name in metrics], CodingTransform(fmt, fmt)
    encode_s, stream = timed(lambda: Coder(codec).encode(frames, rate))
    bpp = 8 * len(stream) / (fmt.width * fmt.height * len(frames))
    for name in names:
        coder = Coder(name)
        own = of_weights(stream, coder.loaded.digest)
        decode_s, decoded = timed(lambda coder=coder, own=own: list(coder.frames(own)))
        with tempfile.TemporaryDirectory() as folder:
            (found,) = measure_together(iter(frames), [DecodedVideo(iter(decoded), kinds, same, Path(folder))])
        if isinstance(found, Exception):
            raise found
        if missing := [f"{one.metric}: {one.reason or one.status}" for one in found if one.value is None]:
            raise SystemExit("\n".join(missing))
        values = {one.metric: one.value for one in found}
        times = {"encode_s": encode_s / len(frames), "decode_s": decode_s / len(frames)}
        yield {"codec": name, "bpp": bpp, "values": values, **times}


def of_weights(stream: bytes, digest: bytes) -> bytes:
    """The stream, as if written with other weights."""
    reader, file = StreamReader(io.BytesIO(stream)), io.BytesIO()
    writer = StreamWriter(file, replace(reader.header, weights=digest))
    for unit in reader.units():
        writer.write(unit.kind, unit.payload)
    writer.close()
    return file.getvalue()


def timed(call: Callable[[], Done]) -> tuple[float, Done]:
    """CPU seconds of a call, those of programs that it started included, and what it gave."""
    start = sum(os.times()[:4])
    found = call()
    return sum(os.times()[:4]) - start, found


def print_tables(found: Sequence[Row], names: Sequence[str], metrics: Sequence[str]) -> None:
    """Means, differences and times, over the clips that all configurations have."""
    by = {(row["clip"], row["codec"]): row for row in found}
    clips = [clip for clip in sorted({clip for clip, _ in by}) if all((clip, name) in by for name in names)]
    if not clips:
        print("no clip has rows of all configurations")
        return
    print(f"\n{len(clips)} clips: {', '.join(clips)}\n")
    heads = [f"{name}, {UNITS[name][1]}" if name in UNITS else name for name in metrics]
    print_row(["configuration", "bpp", *heads, "decode, CPU s per frame"])
    print_row(["---", "--:", *["--:"] * (len(metrics) + 1)])
    for name in names:
        mean = [f"{np.mean(values(by, clips, name, metric)):.4g}" for metric in metrics]
        bpp, seconds = (np.mean([by[clip, name][what] for clip in clips]) for what in ("bpp", "decode_s"))
        print_row([name, f"{bpp:.4f}", *mean, f"{seconds:.2f}"])
    print(f"\nencode: {np.mean([by[clip, names[0]]['encode_s'] for clip in clips]):.2f} CPU s per frame\n")
    print_row([f"minus {names[0]}", *heads])
    print_row(["---", *["--:"] * len(metrics)])
    for name in names[1:]:
        print_row([name, *(difference(by, clips, (names[0], name), metric) for metric in metrics)])


def values(by: dict[tuple[str, str], Row], clips: Sequence[str], name: str, metric: str) -> np.ndarray:
    """A metric of a configuration, clip by clip, in the unit of tables."""
    return np.array([by[clip, name]["values"][metric] for clip in clips]) / UNITS.get(metric, (1.0, ""))[0]


def difference(by: dict[tuple[str, str], Row], clips: Sequence[str], names: tuple[str, str], metric: str) -> str:
    """Mean of the second less the first, its interval, and on how many clips the first is better."""
    ours, theirs = (values(by, clips, name, metric) for name in names)
    return apart(metric, ours, theirs)


def apart(metric: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Mean of theirs less ours, clip by clip, its interval, and on how many clips ours is better."""
    found = theirs - ours
    draws = np.random.default_rng(0).integers(len(found), size=(DRAWS, len(found)))
    low, high = np.percentile(found[draws].mean(axis=1), [2.5, 97.5])
    better = sum(is_better(metric, one, two) for one, two in zip(ours, theirs, strict=True))
    mean, low, high = (f"{value:+.{DECIMALS.get(metric, 2)}f}" for value in (np.mean(found), low, high))
    return f"{mean} ({low} to {high}), {better}/{len(found)}"


if __name__ == "__main__":
    main()
