"""Filters behind a decoder: what they add is known beforehand, and a card that has none keeps its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.adapters.base import RatePoint
from bench.adapters.post_filter import filtered
from bench.cards import Catalog, Grain, Temporal
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype
from bench.video.sequence import open_sequence

TinyClip = Callable[..., Path]


def grey(fmt: VideoFormat, level: int = 120) -> Frame:
    return Frame(fmt, np.full(fmt.samples_per_frame, level << (fmt.bit_depth - 8), sample_dtype(fmt)))


@pytest.mark.parametrize("depth", [8, 10])
def test_grain_is_the_same_in_every_frame_and_of_the_luma_alone(depth: int) -> None:
    fmt = VideoFormat(96, 64, bit_depth=depth)
    frames = list(filtered(iter([grey(fmt), grey(fmt, 130)]), [Grain(kind="grain", sigma=3, size=0, seed=5)]))
    levels = (120 << (depth - 8), 130 << (depth - 8))
    first, second = (frame.planes[0].astype(float) - level for frame, level in zip(frames, levels, strict=True))
    np.testing.assert_array_equal(first, second)
    drawn = np.random.RandomState(5).standard_normal((64, 96)) * 3 * (fmt.peak / 255)
    np.testing.assert_array_equal(first, np.rint(drawn))
    assert all((plane == 120 << (depth - 8)).all() for plane in frames[0].planes[1:])


def test_filters_come_one_after_the_other() -> None:
    pytest.importorskip("torch")
    fmt = VideoFormat(64, 64, chroma="gray")
    rows, columns = np.mgrid[:64, :64]
    still = Frame(fmt, np.rint(128 + 60 * np.sin(rows / 3) * np.cos(columns / 4)).astype(np.uint8).ravel())
    frames = [next(filtered(iter([still]), [Grain(kind="grain", sigma=3, seed=seed)])) for seed in (0, 1)]
    steady = list(filtered(iter(frames), [Temporal(kind="temporal", share=0.7)]))
    assert all(frame.format == fmt for frame in steady)
    before, after = (np.abs(a.planes[0].astype(float) - b.planes[0]).mean() for a, b in (frames, steady))
    assert after < 0.5 * before


def test_a_card_shows_its_filters_and_one_without_has_the_key_it_had() -> None:
    card = Catalog().card("x265@grain")
    assert card.identity()["post_filters"] == [{"kind": "grain", "sigma": 3.0, "size": 0.7, "seed": 0}]
    assert "post_filters" not in Catalog().card("x265").identity()


def test_decoders_are_filtered_and_streams_are_not(tiny_clip: TinyClip, tmp_path: Path) -> None:
    source = open_sequence(tiny_clip(64, 64, 3))
    decoded, streams = [], []
    for name in ("x265@low-delay", "x265@grain"):
        codec = build(Catalog().card(name), folder=tmp_path)
        stream = tmp_path / f"{name}.hevc"
        codec.encode(source, RatePoint("qp", 40), stream)
        streams.append(stream.read_bytes())
        with codec.open_decoder(stream, source.format) as decoder:
            decoded.append([frame.planes[0].astype(int) for frame in decoder.frames()])
    assert streams[0] == streams[1]
    differences = [noisy - plain for plain, noisy in zip(*decoded, strict=True)]
    assert 2 < np.std(differences[0]) < 4
    inside = (decoded[0][0] > 20) & (decoded[0][1] > 20) & (decoded[0][0] < 235) & (decoded[0][1] < 235)
    np.testing.assert_array_equal(differences[0][inside], differences[1][inside])
