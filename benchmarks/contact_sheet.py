"""Decoded frames side by side at nearly equal rate: `python benchmarks/contact_sheet.py RESULTS ... -o sheet.webp`.

A row for each frame and rate: the source, then of each codec the cell whose rate is nearest, decoded from its stored
bitstream by a fresh process. Names, bits a pixel and the frame's own values are written over each picture.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from equal_rate import loaded
from PIL import Image, ImageDraw, ImageFont

from bench.adapters.base import copy_alone
from bench.cards import Catalog
from bench.engine.cell import external
from bench.engine.verify.origin import source_clip, stored_codec, stored_format
from bench.records.cell import CellResult
from bench.report.site.frame_values import frame_values
from bench.results.result_set import ResultSet
from bench.video import colour
from bench.video.frame import Frame

HEADING = 32
SHOWN = ("psnr_y", "ms_ssim", "niqe", "vmaf")


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--codecs", required=True, help="names, separated by commas")
    parser.add_argument("--clips", nargs="+", required=True, type=Path, help="the sources' files")
    parser.add_argument("--sequence", required=True, help="name of the sequence")
    parser.add_argument("--bpp", required=True, help="rates, separated by commas")
    parser.add_argument("--frames", default="10", help="frames, separated by commas")
    parser.add_argument("--path", action="append", default=[], type=Path, help="folder with codecs/ of other cards")
    parser.add_argument("--crop", help="WIDTHxHEIGHT+X+Y of each picture; default all")
    parser.add_argument("-o", "--out", required=True, type=Path)
    options = parser.parse_args()
    results = loaded(parser, options.results)
    catalog = Catalog(tuple(options.path))
    # what a search for a rate tried has a rate alone
    cells = [c for c in results.cells if c.measurements and c.sequence.name == options.sequence]
    frames = [int(text) for text in options.frames.split(",")]
    rows = []
    for bpp in (float(text) for text in options.bpp.split(",")):
        near = [nearest([c for c in cells if c.codec.name == name], bpp) for name in options.codecs.split(",")]
        originals = source(near[0], catalog, options.clips, frames)
        columns = [[(f"source, frame {n}", picture) for n, picture in zip(frames, originals, strict=True)]]
        columns += [list(decoded(results, cell, catalog, frames)) for cell in near]
        rows += [[titled(*cut(column[i], options.crop)) for column in columns] for i in range(len(frames))]
    sheet = np.vstack([np.hstack(row) for row in rows])
    Image.fromarray(sheet).save(options.out, quality=80)
    print(f"{options.out}: {sheet.shape[1]}x{sheet.shape[0]}, {options.out.stat().st_size} bytes")


def nearest(cells: Sequence[CellResult], bpp: float) -> CellResult:
    """The cell of a codec whose rate is nearest in ratio."""
    return min(cells, key=lambda cell: abs(np.log((cell.bpp or np.inf) / bpp)))


def source(cell: CellResult, catalog: Catalog, clips: Sequence[Path], frames: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames of the source of a cell, as 8-bit RGB."""
    return picked(source_clip(cell.sequence, catalog, clips).read(), frames)


def decoded(
    results: ResultSet, cell: CellResult, catalog: Catalog, frames: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Frames of a cell with what is to be written over them."""
    assert cell.bitstream is not None
    codec = external(stored_codec(cell.codec, catalog), None)
    transform = codec.transform(stored_format(cell.sequence))
    stored = next(p for f in results.folders if (p := f / "bitstreams" / cell.bitstream.file).is_file())
    values = frame_values(results, cell)
    with tempfile.TemporaryDirectory() as folder:
        alone = copy_alone(stored, Path(folder) / "decode")
        with codec.open_decoder(alone, transform.coded) as decoder:
            pictures = list(picked(map(transform.inverse, decoder.frames()), frames))
    for n, picture in zip(frames, pictures, strict=True):
        known = {name: values[name][n] for name in SHOWN if name in values}
        own = " ".join(f"{name} {value:.4g}" for name, value in known.items() if value is not None)
        yield f"{cell.codec.name} {cell.rate.value:g}: {cell.bpp:.4f} bpp\n{own}", picture


def picked(video: Iterator[Frame], frames: Sequence[int]) -> Iterator[np.ndarray]:
    """Chosen frames of an 8-bit video, as 8-bit RGB."""
    for n, frame in enumerate(islice(video, max(frames) + 1)):
        if n in frames:
            yield colour.to_rgb(frame).astype(np.uint8)


def cut(entry: tuple[str, np.ndarray], where: str | None) -> tuple[str, np.ndarray]:
    """The picture's part that WIDTHxHEIGHT+X+Y names."""
    text, picture = entry
    if where:
        size, x, y = where.split("+")
        width, height = (int(side) for side in size.split("x"))
        picture = picture[int(y) : int(y) + height, int(x) : int(x) + width]
    return text, picture


def titled(text: str, picture: np.ndarray) -> np.ndarray:
    """A picture under its lines of text."""
    image = Image.new("RGB", (picture.shape[1], picture.shape[0] + HEADING), "white")
    ImageDraw.Draw(image).text((3, 2), text, fill="black", font=ImageFont.load_default(11))
    image.paste(Image.fromarray(picture), (0, HEADING))
    return np.asarray(image)


if __name__ == "__main__":
    main()
