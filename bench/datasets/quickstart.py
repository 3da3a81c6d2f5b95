"""The embedded dataset: eight short sequences made from scikit-image's photographs, bit-exact on every machine.

All arithmetic is on integers: fixed-point positions, integer filters, a sine from an integer Taylor series and a
hash of counters for film grain. A photograph is held as one int64 a pixel with three lanes of 21 bits (R, G, B), so
that one gather and one multiplication serve the three channels; a lane holds 255 * 256 (bilinear weights) * 4 (2x2
supersamples) without overflow.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UnavailableError, UnknownNameError

WIDTH, HEIGHT = 352, 288

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
Ints = NDArray[Any]

_LANE = 21
_LANE_MASK = (1 << _LANE) - 1
_ONE = 1 << 16  # fixed-point one of positions, in source pixels
_REMEDY = "pip install 'scikit-image>=0.22,<0.27'"
_TAU_64 = 115904311329233965478  # 2 * pi * 2**64, rounded

# SHA-256 over "HxWxC" and the decoded bytes in row order; scikit-image 0.22 to 0.26 carry the same photographs.
_PHOTOS = {
    "astronaut.png": "c01d6152e34c0b9d5f495497fcde61637eb978d68a4160935d69c095ffe33372",
    "brick.png": "fab308530977c7d753a6148ad293ff9defd4f783b46f7e8b4da569abf6dd3f4f",
    "camera.png": "67cd3120dd76d5b1f73f19b999927ecf0faeebcc1dad548b325f43b26c4e8b2b",
    "chelsea.png": "def2d3d8e755b4d0e8037cf47cdbe95a0ca46e2f26a3f47e489c91db023a499d",
    "coffee.png": "08f2b7c24b6f726872ae9e50e553135a01c03032bed542b4aa765d8ee565794d",
    "coins.png": "b163d923c49d861651c583bb331de2ba3b51aeb4e1c29fbd038919b4eae03a91",
    "grass.png": "c67f38959615b921e338e5cb5202b7761cfedf7b23345885102a6b0c9d4df181",
    "gravel.png": "e859756f3334e802c4b7d78f7dc193100803a86172df8bef4ab77c26d10a20b0",
    "ihc.png": "8086770f68e93a12ba6f0076273176b9affbed03746d8155a1e9e9f2be3d4be3",
    "motorcycle_left.png": "f65705c9db23f31dc9a04769ed7cc5aabf1d2263df9d6500361baecd75814a63",
    "motorcycle_right.png": "aa5e861aa8ca9fd5172ede3fd6e33be86722a50fb1cf330100931a52ef75399f",
    "motorcycle_disp.npz": "0a74f0253a593ba32811c13ad75ce8cb591d1315af1bcc65dca330884df41614",
}

# The motorcycle window: source pixels an output pixel (1.7), its corner and its height and width in source pixels.
_VIEW_STEP = 111411
_VIEW_LEFT, _VIEW_TOP = 88, 4
_VIEW_SIZE = 492, 602
_CONVERGENCE = 45 * 16  # the disparity that stays in place, in 1/16 pixel: the motorcycle's


@dataclass(frozen=True)
class Clip:
    """One generated sequence.

    ``render`` yields the given number of frames as lanes scaled by 1024, ``made_by`` says in one line what they show,
    ``grain`` is the strength of film grain, in 1.3 grey levels of deviation at mid-tone.
    """

    name: str
    fps: int
    frames: int
    made_by: str
    render: Callable[[int], Iterator[Ints]]
    grain: int = 0


def generate(name: str) -> Iterator[Planes]:
    """Stream the frames of one sequence.

    Yields (Y, U, V) as uint8 arrays of 288x352, 144x176 and 144x176: BT.709, limited range, 4:2:0 with chroma sited at
    the centre of each 2x2 block. Raises UnknownNameError for another name, UnavailableError when a photograph is
    missing or is not the one the sequence is made from.
    """
    clip = SEQUENCES.get(name)
    if clip is None:
        raise UnknownNameError("quickstart sequence", name, SEQUENCES)
    return _planes(clip)


def write_y4m(name: str, path: str | os.PathLike[str]) -> Path:
    """Write one sequence as YUV4MPEG2 (tag C420jpeg: centre-sited chroma) and return its path.

    The file appears under its name only when it is complete. Raises as ``generate`` does.
    """
    frames = generate(name)
    path = Path(path)
    clip = SEQUENCES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{clip.fps}:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n".encode())
            for planes in frames:
                out.write(b"FRAME\n")
                for plane in planes:
                    out.write(plane.tobytes())
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _planes(clip: Clip) -> Iterator[Planes]:
    for index, packed in enumerate(clip.render(clip.frames)):
        luma, cb, cr = _to_yuv(packed)
        if clip.grain:
            luma = _with_grain(luma, index, clip.grain)
        yield luma, cb, cr


def _box2(a: Ints) -> Ints:
    sums: Ints = a[0::2, 0::2] + a[0::2, 1::2] + a[1::2, 0::2] + a[1::2, 1::2]
    return sums


def _to_yuv(packed: Ints) -> Planes:
    """BT.709 limited range (ITU-R BT.709-6, items 3.2 to 3.4) with 16-bit coefficients, from lanes scaled by 1024."""
    red = packed >> (2 * _LANE)
    green = (packed >> _LANE) & _LANE_MASK
    blue = packed & _LANE_MASK
    half = 1 << 25
    luma = ((11966 * red + 40254 * green + 4064 * blue + half) >> 26) + 16
    red, green, blue = _box2(red), _box2(green), _box2(blue)
    half = 1 << 27
    cb = ((-6596 * red - 22188 * green + 28784 * blue + half) >> 28) + 128
    cr = ((28784 * red - 26145 * green - 2639 * blue + half) >> 28) + 128
    return luma.astype(np.uint8), cb.astype(np.uint8), cr.astype(np.uint8)


def bundled_file(name: str) -> Path:
    """Path of a file that scikit-image brings; UnavailableError where it does not."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(f"scikit-image is not installed, and its photographs are needed; {_REMEDY}")
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / name
    if not path.is_file():
        raise UnavailableError(f"{path}: this scikit-image does not bundle the photograph; {_REMEDY}")
    return path


def _check_pixels(name: str, pixels: Ints) -> None:
    shape = "x".join(map(str, pixels.shape))
    digest = hashlib.sha256(shape.encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    if digest != _PHOTOS[name]:
        raise UnavailableError(
            f"{bundled_file(name)}: scikit-image {version('scikit-image')} carries another picture than "
            f"this vcbench knows (SHA-256 {digest}, expected {_PHOTOS[name]}); {_REMEDY}"
        )


@cache
def photograph(name: str) -> Ints:
    """RGB pixels (H, W, 3), int64, of a photograph that scikit-image brings; a grey one is repeated in three channels.

    Raises UnavailableError where it is not there, or another one.
    """
    from PIL import Image

    with Image.open(bundled_file(name)) as image:
        pixels = np.asarray(image)
    _check_pixels(name, pixels)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return pixels.astype(np.int64)


def _pack(rgb: Ints) -> Ints:
    rgb = rgb.astype(np.int64)
    return np.ascontiguousarray((rgb[..., 0] << (2 * _LANE)) | (rgb[..., 1] << _LANE) | rgb[..., 2])


@cache
def _packed(name: str, tint: tuple[int, int, int] = (256, 256, 256)) -> Ints:
    """A photograph as lanes, its channels scaled by ``tint`` / 256 (to give the grey textures a natural colour)."""
    scaled = (photograph(name) * np.array(tint) + 128) >> 8
    return _pack(np.minimum(scaled, 255))


def _sine(turn: int, steps: int) -> int:
    """sin(2 pi turn / steps) in 16-bit fixed point, by the Taylor series on integers of 64 fractional bits."""
    x = (_TAU_64 * (((turn + steps // 2) % steps) - steps // 2)) // steps
    square = (x * x) >> 64
    term = total = x
    for k in range(1, 20):
        term = -((term * square) >> 64) // ((2 * k) * (2 * k + 1))
        total += term
    return (total + (1 << 47)) >> 48


def _ease(t: int, last: int, start: int, stop: int) -> int:
    """Smoothstep from ``start`` at 0 to ``stop`` at ``last``, rounded to nearest."""
    numerator = (3 * last - 2 * t) * t * t
    denominator = last**3
    return start + ((stop - start) * numerator * 2 + denominator) // (2 * denominator)


def _sampled(image: Ints, left: int, top: int, step: int) -> Ints:
    """The window of ``image`` with its top left corner at (left, top), ``step`` source pixels to an output pixel.

    All in 16-bit fixed point. Bilinear samples at twice the output's density, summed over 2x2: lanes scaled by 1024.
    """
    x, wx = _taps(left, step, 2 * WIDTH, image.shape[1])
    y, wy = _taps(top, step, 2 * HEIGHT, image.shape[0])
    first, last = int(y[0]), int(y[-1]) + 2
    rows = image[first:last]
    wide = rows[:, x] * (16 - wx) + rows[:, x + 1] * wx
    wide = wide[:, 0::2] + wide[:, 1::2]
    y = y - first
    tall = wide[y] * (16 - wy)[:, None] + wide[y + 1] * wy[:, None]
    result: Ints = tall[0::2] + tall[1::2]
    return result


def _taps(start: int, step: int, count: int, size: int) -> tuple[Ints, Ints]:
    """Index of the left tap and weight (0 to 16) of the right one, for the centres of ``count`` half pixels."""
    position = start + (step * (2 * np.arange(count, dtype=np.int64) + 1)) // 4 - _ONE // 2
    position = np.clip((position + (1 << 11)) >> 12, 0, (size - 1) * 16)
    index = np.minimum(position >> 4, size - 2)
    return index, position - (index << 4)


def _rotated(image: Ints, centre: tuple[int, int], step: int, turn: int, steps: int) -> Ints:
    """As ``_sampled``, turned by ``turn`` / ``steps`` of a circle about ``centre`` (x, y in fixed point)."""
    sine, cosine = _sine(turn, steps), _sine(turn + steps // 4, steps)
    u = (step * (2 * np.arange(2 * WIDTH, dtype=np.int64) + 1 - 2 * WIDTH)) // 4
    v = (step * (2 * np.arange(2 * HEIGHT, dtype=np.int64) + 1 - 2 * HEIGHT)) // 4
    # 1/16 pixel is all that the weights resolve; int32 halves the memory traffic of the index arithmetic.
    x = _sixteenths((cosine * u) >> 16, (-sine * v) >> 16, centre[0], image.shape[1])
    y = _sixteenths((sine * u) >> 16, (cosine * v) >> 16, centre[1], image.shape[0])
    return _gathered(image, x, y)


def _sixteenths(along: Ints, down: Ints, offset: int, size: int) -> Ints:
    down = (down + offset - _ONE // 2 + (1 << 11)).astype(np.int32)
    position = (along.astype(np.int32) + down[:, None]) >> 12
    result: Ints = np.clip(position, 0, (size - 1) * 16 - 1)
    return result


def _gathered(image: Ints, x: Ints, y: Ints) -> Ints:
    flat = image.ravel()
    stride = image.shape[1]
    wx, wy = x & 15, y & 15
    at = (y >> 4) * stride + (x >> 4)
    right = wx * (16 - wy)
    below = (16 - wx) * wy
    corner = wx * wy
    samples = flat[at] * (256 - right - below - corner) + flat[at + 1] * right
    samples += flat[at + stride] * below
    samples += flat[at + stride + 1] * corner
    return _box2(samples)


def _mix(a: Ints, b: Ints, weight: int | Ints) -> Ints:
    """Cross-fade of two lane images, ``weight`` / 256 of ``b``; lanes are reduced to 10 bits first to leave room."""
    keep = sum(((1 << 12) - 1) << (_LANE * lane) for lane in range(3))
    a, b = (a >> 8) & keep, (b >> 8) & keep
    result: Ints = a * (256 - weight) + b * weight
    return result


@cache
def _disparity() -> Ints:
    """Disparity of the left view in 1/16 pixel, int32, known everywhere.

    The file holds float32, infinite where unknown; its bits are read as integers, so no float is ever rounded. An
    unknown pixel takes the disparity of the neighbour with which it matches the right view better. Foreground is then
    grown by two pixels, so that pixels whose colour mixes foreground and background move with the foreground instead
    of staying behind as specks.
    """
    with np.load(bundled_file("motorcycle_disp.npz"), allow_pickle=False) as archive:
        stored = archive["arr_0"]
    _check_pixels("motorcycle_disp.npz", stored)
    bits = stored.view(np.int32)
    exponent = bits >> 23
    known = exponent < 255
    # value = mantissa * 2**(exponent - 150); counted in sixteenths that is four powers of two more.
    values = ((bits & 0x7FFFFF) | 0x800000) >> np.where(known, 146 - exponent, 31)
    before, after = _neighbours(values, known)
    disparity = np.where(_mismatch(after) < _mismatch(before), after, before)
    for axis in (1, 1, 0):
        disparity = _grown(disparity, axis)
    return disparity


def _neighbours(values: Ints, known: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The nearest known value at or before each place of its row, and at or after it; at an end one serves for both."""
    width = values.shape[1]
    column = np.arange(width, dtype=np.int32)
    before = np.maximum.accumulate(np.where(known, column, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, column, width)[:, ::-1], axis=1)[:, ::-1]
    before, after = np.where(before < 0, after, before), np.where(after == width, before, after)
    return np.take_along_axis(values, before, 1), np.take_along_axis(values, after, 1)


def _mismatch(disparity: Ints) -> Ints:
    """Absolute colour difference of the left view and the right one at ``disparity``, summed over 3x3 pixels."""
    left, right = photograph("motorcycle_left.png"), photograph("motorcycle_right.png")
    column = np.maximum(np.arange(left.shape[1]) - ((disparity + 8) >> 4), 0)
    difference = np.abs(left - np.take_along_axis(right, column[..., None], 1)).sum(axis=2)
    padded = np.pad(difference, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: Ints = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total


def _grown(a: Ints, axis: int) -> Ints:
    """Greatest of each value and its two neighbours along ``axis``."""
    a = np.moveaxis(a, axis, 0)
    padded = np.concatenate([a[:1], a, a[-1:]])
    return np.moveaxis(np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:]), 0, axis)


def _motorcycle(frames: int) -> Iterator[Ints]:
    """The camera slides from the left to the right view of the stereo pair, turning to keep the motorcycle in frame."""
    for t in range(frames):
        yield _sampled(_between_views((256 * t) // (frames - 1)), 0, 0, _VIEW_STEP)


def _between_views(share: int) -> Ints:
    """The view ``share`` / 256 of the way from the left camera to the right one, as lanes.

    Disparity is warped forward with a z-buffer, nearest wins; colours are fetched backward from the left view, and
    from the right view where the left camera does not see (disocclusion).
    """
    height, width = _VIEW_SIZE
    rows = slice(_VIEW_TOP, _VIEW_TOP + height)
    left, right = _packed("motorcycle_left.png")[rows], _packed("motorcycle_right.png")[rows]
    disparity = _disparity()[rows]
    size = disparity.shape[1]
    column = np.arange(size, dtype=np.int32)
    target = ((16 * column - ((share * (disparity - _CONVERGENCE)) >> 8) + 8) >> 4) - _VIEW_LEFT
    inside = (target >= 0) & (target < width)
    row = np.arange(height, dtype=np.int32)[:, None]
    buffer = np.zeros(height * width, np.int32)
    np.maximum.at(buffer, (target + row * width)[inside], disparity[inside])
    nearest = buffer.reshape(height, width)
    # One-pixel cracks open where a surface stretches; closing them keeps the background from shining through.
    nearest[:, 1:-1] = np.maximum(nearest[:, 1:-1], np.minimum(nearest[:, :-2], nearest[:, 2:]))
    seen = nearest > 0
    behind = np.minimum(*_neighbours(nearest, seen))
    for _ in range(4):
        # What a hole uncovers is one surface: the farthest of the rows nearby keeps its rows from tearing apart.
        behind = -_grown(-behind, 0)
    depth = np.where(seen, nearest, behind)
    source = 16 * (np.arange(width, dtype=np.int32) + _VIEW_LEFT) + ((share * (depth - _CONVERGENCE)) >> 8)
    view = _along_rows(left, source, row)
    holes = np.nonzero(~seen)
    view[holes] = _along_rows(right, (source - depth)[holes], holes[0])
    return view


def _along_rows(image: Ints, x: Ints, row: Ints) -> Ints:
    """Lanes of ``image`` at columns ``x`` (1/16 pixel) of ``row``, linearly interpolated, rounded to 8 bits."""
    size = image.shape[1]
    x = np.clip(x, 0, 16 * (size - 1) - 1)
    weight = x & 15
    at = row * size + (x >> 4)
    flat = image.ravel()
    half = sum(8 << (_LANE * lane) for lane in range(3))
    keep = sum(255 << (_LANE * lane) for lane in range(3))
    result: Ints = ((flat[at] * (16 - weight) + flat[at + 1] * weight + half) >> 4) & keep
    return result


def _astronaut(frames: int) -> Iterator[Ints]:
    image = _packed("astronaut.png")
    for t in range(frames):
        yield _sampled(image, (20 * _ONE) + t * 3 * _ONE // 2, (2 * _ONE) + t * 3 * _ONE // 4, _ONE)


def _coffee(frames: int) -> Iterator[Ints]:
    image = _packed("coffee.png")
    for t in range(frames):
        step = _ease(t, frames - 1, 88000, 52000)
        x = _ease(t, frames - 1, 300 * _ONE, 330 * _ONE)
        y = _ease(t, frames - 1, 200 * _ONE, 170 * _ONE)
        yield _sampled(image, x - step * WIDTH // 2, y - step * HEIGHT // 2, step)


def _tissue(frames: int) -> Iterator[Ints]:
    image = _packed("ihc.png")
    for t in range(frames):
        yield _rotated(image, (256 * _ONE, 256 * _ONE), 72000, 4 * t, 1440)


def _grass(frames: int) -> Iterator[Ints]:
    grey = photograph("grass.png")[..., 0]
    # dry blades among the green: colour that luma does not tell, or codecs that predict chroma from it meet no others
    red = (3 * grey + np.roll(grey, (31, 17), (0, 1))) * 220 >> 10
    blue = (3 * grey + np.roll(grey, (-23, 41), (0, 1))) * 140 >> 10
    image = _pack(np.stack([red, grey, blue], axis=-1))
    for t in range(frames):
        x = 78 * _ONE + 34 * _sine(t, 46) + 11 * _sine(t, 17) + 3 * _sine(t + 2, 7)
        y = 112 * _ONE + 22 * _sine(t + 9, 38) + 9 * _sine(t, 13) + 3 * _sine(t, 6)
        yield _sampled(image, x, y, _ONE)


def _cat(frames: int) -> Iterator[Ints]:
    image = _packed("chelsea.png")
    for t in range(frames):
        yield _sampled(image, 8 * _ONE + t * _ONE // 2, 2 * _ONE + t * _ONE // 16, _ONE)


def _montage(frames: int) -> Iterator[Ints]:
    """Coffee, a dissolve to the astronaut, a hard cut to the motorcycle, and a fade to black."""
    coffee, astronaut, motorcycle = _packed("coffee.png"), _packed("astronaut.png"), _packed("motorcycle_right.png")
    for t in range(frames):
        if t < 26:
            shot = _sampled(coffee, 60 * _ONE + t * 3 * _ONE, 40 * _ONE, _ONE)
        if 14 <= t < 38:
            step = 92000 - 700 * t
            other = _sampled(astronaut, 240 * _ONE - step * WIDTH // 2, 210 * _ONE - step * HEIGHT // 2, step)
            shot = other if t >= 26 else _mix(shot, other, ((t - 13) * 256) // 13)
        if t >= 38:
            shot = _sampled(motorcycle, 260 * _ONE - (t - 38) * 2 * _ONE, 120 * _ONE + (t - 38) * _ONE, 74000)
        if t >= frames - 10:
            shot = _mix(shot, np.zeros_like(shot), (t - frames + 11) * 24)
        yield shot


@cache
def _cup() -> tuple[Ints, Ints]:
    """The cup on its saucer, cut out: lanes, and coverage 0 to 16 with a soft edge of about two pixels."""
    left, top, right, bottom = 70, 2, 500, 386
    rgb = photograph("coffee.png")[top:bottom, left:right]
    y, x = np.mgrid[top:bottom, left:right].astype(np.int64)
    cover = np.zeros(x.shape, np.int64)
    for cx, cy, rx, ry in ((282, 216, 196, 160), (292, 88, 114, 72)):
        # (1 - r^2) in 1/1024 changes by about 2048 / radius a pixel near the rim.
        inside = 1024 - (1024 * (x - cx) ** 2) // rx**2 - (1024 * (y - cy) ** 2) // ry**2
        cover = np.maximum(cover, np.clip(inside, 0, 16))
    return _pack(rgb), cover


def _over(canvas: Ints, layer: tuple[Ints, Ints], left: int, top: int, step: int) -> Ints:
    """Lay a cut-out over ``canvas``; its corner lies at (left, top) of the output, in 1/16 pixel."""
    image, cover = layer
    x, y = -left * step // 16, -top * step // 16
    colour = _sampled(image, x, y, step)
    alpha = _sampled(cover, x, y, step) >> 6
    outside_x = _beyond(x, step, WIDTH, image.shape[1])
    outside_y = _beyond(y, step, HEIGHT, image.shape[0])
    alpha[:, outside_x] = 0
    alpha[outside_y] = 0
    shadow = np.pad(alpha, ((9, 0), (6, 0)))[:HEIGHT, :WIDTH] * 3 >> 3
    return _mix(_mix(canvas, np.zeros_like(canvas), shadow), colour, alpha)


def _beyond(start: int, step: int, count: int, size: int) -> NDArray[np.bool_]:
    position = (start + step * np.arange(count, dtype=np.int64)) >> 16
    return (position < 0) | (position >= size)


def _cups(frames: int) -> Iterator[Ints]:
    wall = _packed("brick.png", (256, 196, 160))
    for t in range(frames):
        canvas = _sampled(wall, 20 * _ONE + t * _ONE, 90 * _ONE + t * _ONE // 4, _ONE)
        canvas = _over(canvas, _cup(), 16 * 300 - 88 * t, 16 * 20 + 4 * t, 3 * _ONE)
        yield _over(canvas, _cup(), -16 * 200 + 120 * t, 16 * 110 - 10 * t, 2 * _ONE)


def _with_grain(luma: NDArray[np.uint8], frame: int, strength: int) -> NDArray[np.uint8]:
    """Film grain: a near-normal hash of (frame, position), softened by a 3x3 binomial, strongest in the mid-tones."""
    height, width = luma.shape
    counter = np.arange((height + 2) * (width + 2), dtype=np.uint32) + np.uint32(((frame + 1) * 0x9E3779B1) % 2**32)
    bits = _hash(counter)
    noise = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24)
    noise = noise.astype(np.int32).reshape(height + 2, width + 2) - 510
    noise = noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]
    noise = noise[:-2] + 2 * noise[1:-1] + noise[2:]
    level = luma.astype(np.int32)
    weight = 64 + ((level * (255 - level)) >> 7)
    # The softened noise has a deviation of 887, the weight at mid-tone is 190: 1.3 grey levels a unit of strength.
    grainy = level + ((noise * weight * strength + (1 << 16)) >> 17)
    result: NDArray[np.uint8] = np.clip(grainy, 16, 235).astype(np.uint8)
    return result


def _hash(counter: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Two multiply-xorshift rounds: every input bit reaches every output bit; wraps modulo 2**32."""
    value = counter ^ (counter >> np.uint32(16))
    value *= np.uint32(0x7FEB352D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x846CA68B)
    value ^= value >> np.uint32(16)
    return value


SEQUENCES: dict[str, Clip] = {
    clip.name: clip
    for clip in (
        Clip(
            "astronaut", 30, 60, "portrait under a diagonal pan of 1.5 and 0.75 pixels per frame", _astronaut, grain=2
        ),
        Clip("cat", 25, 50, "fur under film grain and a pan of half a pixel per frame", _cat, grain=2),
        Clip("coffee", 30, 60, "smooth zoom in by a factor of 1.7 with a drift", _coffee, grain=1),
        Clip("cups", 30, 60, "two cut-out cups cross a panning brick wall and each other", _cups, grain=2),
        Clip("grass", 50, 50, "dense texture under a hand-held shake of several pixels per frame", _grass, grain=2),
        Clip("montage", 30, 60, "pan, dissolve, push-in, hard cut, diagonal pan, fade to black", _montage),
        Clip("motorcycle", 30, 60, "parallax and occlusion between the views of a stereo pair", _motorcycle, grain=1),
        Clip("tissue", 30, 60, "stained tissue turned by one degree per frame", _tissue, grain=1),
    )
}
