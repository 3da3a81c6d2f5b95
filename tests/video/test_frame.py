"""Frames: planes are views; padding and deeper coding come back exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame, sample_dtype


def random_frame(fmt: VideoFormat, seed: int = 0) -> Frame:
    samples = np.random.default_rng(seed).integers(0, fmt.peak, fmt.samples_per_frame, endpoint=True)
    return Frame(fmt, samples.astype(sample_dtype(fmt)))


def test_planes_are_views_in_file_order() -> None:
    fmt = VideoFormat(5, 3)
    frame = Frame(fmt, np.arange(27, dtype=np.uint8))
    luma, blue, red = frame.planes
    assert luma.tolist()[2] == [10, 11, 12, 13, 14]
    assert blue.tolist() == [[15, 16, 17], [18, 19, 20]]
    assert red[-1, -1] == 26
    assert all(np.shares_memory(plane, frame.data) for plane in frame.planes)


def test_from_planes_is_the_inverse_of_planes() -> None:
    frame = random_frame(VideoFormat(7, 5, chroma="422", bit_depth=10))
    assert np.array_equal(Frame.from_planes(frame.format, list(frame.planes)).data, frame.data)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    chroma=st.sampled_from(["gray", "420", "422", "444"]),
    multiple=st.sampled_from([1, 2, 8, 16]),
    depths=st.sampled_from([(8, None), (8, 10), (8, 12), (10, None), (10, 12), (10, 10), (12, 10)]),
    seed=st.integers(0, 99),
)
def test_there_and_back_is_exact(
    width: int, height: int, chroma: str, multiple: int, depths: tuple[int, int | None], seed: int
) -> None:
    fmt = VideoFormat(width, height, chroma=chroma, bit_depth=depths[0])  # type: ignore[arg-type]
    transform = CodingTransform.fit(fmt, size_multiple=multiple, bit_depth=depths[1])
    frame = random_frame(fmt, seed)
    coded = transform.forward(frame)
    assert coded.format == transform.coded
    assert coded.format.width % multiple == coded.format.height % multiple == 0
    assert coded.format.bit_depth == max(depths[0], depths[1] or 0)
    assert coded.data.dtype == sample_dtype(coded.format)
    back = transform.inverse(coded)
    assert back.format == fmt
    assert np.array_equal(back.data, frame.data)


def test_padding_repeats_the_edge() -> None:
    fmt = VideoFormat(3, 2, chroma="gray")
    coded = CodingTransform.fit(fmt, size_multiple=4).forward(Frame(fmt, np.array([1, 2, 3, 4, 5, 6], np.uint8)))
    assert coded.planes[0].tolist() == [[1, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [4, 5, 6, 6]]


def test_padded_chroma_fits_the_padded_luma() -> None:
    fmt = VideoFormat(5, 3)
    coded = CodingTransform.fit(fmt, size_multiple=8).forward(random_frame(fmt))
    assert [plane.shape for plane in coded.planes] == [(8, 8), (4, 4), (4, 4)]


def test_deeper_samples_come_back_rounded_and_clipped() -> None:
    fmt = VideoFormat(6, 1, chroma="gray")
    transform = CodingTransform.fit(fmt, bit_depth=10)
    decoded = Frame(transform.coded, np.array([0, 1, 2, 5, 1021, 1023], "<u2"))
    assert transform.inverse(decoded).data.tolist() == [0, 0, 1, 1, 255, 255]


@pytest.mark.parametrize(
    ("width", "depth", "words"),
    [(64, None, []), (65, None, ["7 right"]), (64, 10, ["10 bit"]), (65, 10, ["7 right", "10 bit"])],
)
def test_description_names_each_change(width: int, depth: int | None, words: list[str]) -> None:
    transform = CodingTransform.fit(VideoFormat(width, 64), size_multiple=8, bit_depth=depth)
    described = transform.describe()
    assert len(described) == len(words)
    assert all(word in line for word, line in zip(words, described, strict=True))
    assert transform.is_identity == (not words)


def test_identity_hands_the_frame_through() -> None:
    frame = random_frame(VideoFormat(64, 64))
    transform = CodingTransform.fit(frame.format)
    assert transform.forward(frame) is frame
    assert transform.inverse(frame) is frame


@pytest.mark.parametrize("multiple", [1, 8])
def test_a_decoded_frame_means_what_its_source_means(multiple: int) -> None:
    """A bitstream without a colour description must not make RGB of other pixels than its source's."""
    source = VideoFormat(12, 10, siting="centre", full_range=True, matrix="bt601")
    transform = CodingTransform.fit(source, size_multiple=multiple)
    found = replace(transform.coded, siting="left", full_range=False, matrix="bt709")
    decoded = Frame(found, np.zeros(found.samples_per_frame, "u1"))
    assert transform.inverse(decoded).format == source
