"""ActDiff-VC's stream with untrained networks: what comes back is what the encoder predicted; all else is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from needed import needed
from untrained import awake

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from pydantic import ValidationError  # noqa: E402

from bench.bitstream.container import StreamHeader, StreamReader, StreamWriter, varint  # noqa: E402
from bench.errors import BitstreamError  # noqa: E402
from bench.neural.codecs.actdiff_vc.codec import (  # noqa: E402
    KEYFRAME_UNIT,
    PARAMETERS_UNIT,
    STATE_UNIT,
    TRAJECTORIES_UNIT,
    bytes_by_type,
    decode,
    encode,
)
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig  # noqa: E402
from bench.neural.codecs.actdiff_vc.model import ActDiffVc, small  # noqa: E402
from bench.neural.codecs.actdiff_vc.options import TRAJECTORY_BPP, ActDiffOptions, trajectory_bits  # noqa: E402
from bench.neural.own_codecs import options_of  # noqa: E402
from bench.video import colour  # noqa: E402
from bench.video.formats import VideoFormat  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

CONFIG = ActDiffConfig(
    width=8, deep=8, y_channels=8, hyper_channels=4, rates=3, latent_channels=8, heads=2, head_width=8, layers=1,
    refiner_width=8, refiner_blocks=1,
)  # fmt: skip
WEIGHTS = b"12345678"
FIVES = ActDiffOptions(segments="fixed", longest=5, tracks=12, steps=1)
"""Segments of five frames, 12 points each, one step: quick, and the same whatever a clip shows."""


@pytest.fixture(scope="module")
def model() -> ActDiffVc:
    torch.manual_seed(0)
    built: ActDiffVc = awake(small(CONFIG))
    return built


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Smooth noise that turns by three degrees a frame, other noise from the eighth frame on."""
    fmt = VideoFormat(61, 43, chroma="444")
    generator = np.random.default_rng(0)
    found = []
    for index in range(11):
        if index % 7 == 0:
            texture = cv2.resize(
                generator.integers(0, 256, (12, 16, 3), np.uint8), (122, 86), interpolation=cv2.INTER_CUBIC
            )
        turn = cv2.getRotationMatrix2D((61, 43), 3 * index, 1)
        found.append(colour.from_rgb(np.ascontiguousarray(cv2.warpAffine(texture, turn, (122, 86))[21:64, 30:91]), fmt))
    return [Frame(fmt, frame.data) for frame in found]


@pytest.fixture(scope="module")
def stream(model: ActDiffVc, frames: list[Frame]) -> bytes:
    """Eleven frames in segments of five, five and three."""
    return written(model, frames)


def written(model: ActDiffVc, frames: list[Frame], rate: int = 1, options: ActDiffOptions = FIVES) -> bytes:
    file = io.BytesIO()
    header = StreamHeader("tiny", WEIGHTS, frames[0].format, len(frames), rate)
    encode(model, frames, header, file, options=options)
    return file.getvalue()


def read(model: ActDiffVc, data: bytes, **settings: Any) -> list[Frame]:
    return list(decode(model, io.BytesIO(data), **{"name": "tiny", "weights": WEIGHTS, "options": FIVES, **settings}))


def units_of(data: bytes) -> list[tuple[int, bytes]]:
    return [(unit.kind, unit.payload) for unit in StreamReader(io.BytesIO(data)).units()]


def rewritten(data: bytes, units: list[tuple[int, bytes]]) -> bytes:
    file = io.BytesIO()
    writer = StreamWriter(file, StreamReader(io.BytesIO(data)).header)
    for kind, payload in units:
        writer.write(kind, payload)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_any_number_of_frames_comes_back(model: ActDiffVc, frames: list[Frame], count: int) -> None:
    decoded = read(model, written(model, frames[:count]))
    assert [frame.format for frame in decoded] == [frame.format for frame in frames[:count]]


def test_segments_share_their_keyframes(stream: bytes) -> None:
    between = [TRAJECTORIES_UNIT, KEYFRAME_UNIT]
    assert [kind for kind, _ in units_of(stream)] == [PARAMETERS_UNIT, KEYFRAME_UNIT, *between * 3, STATE_UNIT]
    lengths = [payload[0] for kind, payload in units_of(stream) if kind == TRAJECTORIES_UNIT]
    assert lengths == [5, 5, 3]


def test_the_same_file_is_the_same_frames(model: ActDiffVc, stream: bytes) -> None:
    first, again = read(model, stream), read(model, stream)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(first, again, strict=True))
    longer = read(model, stream, options=FIVES.model_copy(update={"steps": 3}))
    assert not np.array_equal(longer[1].data, first[1].data)
    assert len(longer) == len(first) == 11


def test_the_temporal_filter_is_the_decoders_alone_and_goes_on_over_segments(
    model: ActDiffVc, frames: list[Frame], stream: bytes
) -> None:
    options = FIVES.model_copy(update={"temporal_filter": 0.5})
    assert stream == written(model, frames, options=options)
    plain, filtered = read(model, stream), read(model, stream, options=options)
    assert [np.array_equal(a.data, b.data) for a, b in zip(plain, filtered, strict=True)] == [True] + [False] * 10
    bare = read(model, stream, warped=True)
    again = read(model, stream, options=options, warped=True)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(bare, again, strict=True))


def test_the_generator_is_no_part_of_what_must_agree(model: ActDiffVc, stream: bytes) -> None:
    changed = small(CONFIG).eval()
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.generator.denoiser.network.proj_out.weight += 0.1
    assert not np.array_equal(read(changed, stream)[1].data, read(model, stream)[1].data)
    with torch.no_grad():
        changed.intra.to_picture[0].weight[0, 0] += 1e-3
    with pytest.raises(BitstreamError, match="state unit"):
        read(changed, stream)


def test_warped_keyframes_are_the_keyframes_at_the_ends(model: ActDiffVc, frames: list[Frame]) -> None:
    """With x265 at a fine quality, a keyframe is shown as the source's frame; what is between is less like it."""
    options = FIVES.model_copy(update={"keyframes": "x265", "qualities": (20, 14, 8)})
    data = written(model, frames[:5], 2, options)
    decoded = read(model, data, options=options, warped=True)
    error = [
        np.mean((a.planes[0].astype(float) - b.planes[0].astype(float)) ** 2)
        for a, b in zip(decoded, frames[:5], strict=True)
    ]
    ends = max(error[0], error[4])
    assert ends < 20
    assert error[2] > ends


def test_one_boundary_is_one_keyframe_less(model: ActDiffVc, frames: list[Frame]) -> None:
    """The ablation: the clip's last segment ends without a keyframe, and no segment is made from its end."""
    options = FIVES.model_copy(update={"boundaries": 1})
    data = written(model, frames[:8], options=options)
    assert [kind for kind, _ in units_of(data)] == [
        PARAMETERS_UNIT, KEYFRAME_UNIT, TRAJECTORIES_UNIT, KEYFRAME_UNIT, TRAJECTORIES_UNIT, STATE_UNIT,
    ]  # fmt: skip
    assert len(read(model, data)) == 8


@pytest.mark.parametrize(
    "change", [{"selection": "grid"}, {"selection": "flow"}, {"sketch": False}, {"segments": "adaptive", "patience": 2}]
)
def test_ablations_are_other_streams(
    model: ActDiffVc, frames: list[Frame], stream: bytes, change: dict[str, Any]
) -> None:
    data = written(model, frames, options=FIVES.model_copy(update=change))
    assert data != stream
    assert len(read(model, data)) == 11


def test_rate_points_are_keyframe_quality_and_trajectories_together(model: ActDiffVc, frames: list[Frame]) -> None:
    options = FIVES.model_copy(update={"tracks": 0})
    split = [bytes_by_type(io.BytesIO(written(model, frames, rate, options))) for rate in range(3)]
    keyframes = [bytes_of["keyframes"] for bytes_of in split]
    assert keyframes == sorted(set(keyframes))
    assert split[0]["trajectories"] <= split[-1]["trajectories"]


def test_the_budget_of_trajectories_grows_with_rate_and_size() -> None:
    assert trajectory_bits(0, 8, 10**6) == round(TRAJECTORY_BPP[0] * 10**6)
    assert trajectory_bits(7, 8, 10**6) == round(TRAJECTORY_BPP[1] * 10**6)
    assert trajectory_bits(3, 8, 2 * 10**6) == pytest.approx(2 * trajectory_bits(3, 8, 10**6), abs=1)


def test_bytes_are_told_by_type_and_are_all_of_the_file(stream: bytes) -> None:
    found = bytes_by_type(io.BytesIO(stream))
    assert sum(found.values()) == len(stream)
    for kind, name in ((KEYFRAME_UNIT, "keyframes"), (TRAJECTORIES_UNIT, "trajectories")):
        sizes = [len(payload) + len(varint(len(payload))) + 5 for found, payload in units_of(stream) if found == kind]
        assert found[name] == sum(sizes) > 0


@pytest.mark.parametrize(("width", "height", "pix_fmt"), [(33, 17, "yuv420p10le"), (8, 6, "gray"), (18, 70, "yuv422p")])
def test_sizes_chromas_and_depths(
    model: ActDiffVc, tiny_clip: Callable[..., Path], width: int, height: int, pix_fmt: str
) -> None:
    source = list(open_sequence(tiny_clip(width, height, 4, pix_fmt=pix_fmt)).read())
    decoded = read(model, written(model, source))
    assert [frame.format for frame in decoded] == [frame.format for frame in source]


def test_damage_is_found_and_its_unit_named(model: ActDiffVc, stream: bytes) -> None:
    for position in range(60, len(stream), 41):
        damaged = bytearray(stream)
        damaged[position] ^= 0x10
        with pytest.raises(BitstreamError, match=r"unit \d|end"):
            read(model, bytes(damaged), warped=True)
    for length in (len(stream) - 1, len(stream) // 2, 70):
        with pytest.raises(BitstreamError, match=r"unit \d|end"):
            read(model, stream[:length], warped=True)


def test_units_in_the_wrong_place_are_refused(model: ActDiffVc, frames: list[Frame]) -> None:
    """Whole units under right checksums, but not a stream that an encoder writes."""
    data = written(model, frames[:5])
    parameters, first, between, last, state = units_of(data)
    for wrong, message in (
        ([first, between, last, state], r"unit 1 \(type 1\): expected parameters \(type 4\)"),
        ([(PARAMETERS_UNIT, b"\x09\x02\x00"), first, between, last, state], "unit 1 .*: parameters 9, 2, 0"),
        ([(PARAMETERS_UNIT, b"\x00"), first, between, last, state], "unit 1 .*: damaged"),
        ([(PARAMETERS_UNIT, parameters[1] + b"\x00"), first, between, last, state], "unit 1 .*: damaged .1 bytes too"),
        ([parameters, between, first, last, state], r"unit 2 \(type 2\): expected a keyframe"),
        ([parameters, first, last, state], r"unit 3 \(type 1\): expected trajectories"),
        (
            [parameters, first, (TRAJECTORIES_UNIT, b"\x09"), last, state],
            "unit 3 .*: a segment of 9 frames, 5 are left",
        ),
        ([parameters, first, (TRAJECTORIES_UNIT, b"\x01"), last, state], "unit 3 .*: a segment of 1 frames"),
        (
            [parameters, first, (TRAJECTORIES_UNIT, b"\x03" + between[1][1:]), last, state],
            "unit 3 .*: trajectories of 5",
        ),
        ([parameters, first, (TRAJECTORIES_UNIT, b"\x05\x01"), last, state], r"unit 3 \(type 2\): trajectories"),
        ([parameters, first, between, state], r"unit 4 \(type 3\): expected a keyframe"),
        ([parameters, first, between, last], "end: the stream has fewer frames than its header says"),
        ([parameters, first, between, last, state, state], r"unit 6 \(type 3\): follows the state unit"),
        ([parameters, first, between, last, (STATE_UNIT, bytes(8))], "state unit: what was decoded is not"),
    ):
        with pytest.raises(BitstreamError, match=message):
            read(model, rewritten(data, wrong), warped=True)


def test_wrong_weights_and_empty_streams_are_refused(model: ActDiffVc, frames: list[Frame], stream: bytes) -> None:
    with pytest.raises(BitstreamError, match="header: was written by tiny"):
        read(model, stream, weights=b"87654321")
    file = io.BytesIO()
    encode(model, [], StreamHeader("tiny", WEIGHTS, frames[0].format, 0, 1), file)
    with pytest.raises(BitstreamError, match="a stream of no frames"):
        read(model, file.getvalue())


def test_a_decoder_gives_a_segment_as_soon_as_it_has_it(model: ActDiffVc, stream: bytes) -> None:
    """Memory is bounded by a segment: its frames come before the next one's units are read."""
    decoded = decode(model, io.BytesIO(stream[:-30]), name="tiny", weights=WEIGHTS, options=FIVES)
    assert len([next(decoded) for _ in range(8)]) == 8
    with pytest.raises(BitstreamError):
        next(decoded)


def test_options_are_read_from_a_card_and_held_to_what_there_is() -> None:
    assert options_of("actdiff-vc", {"steps": 20, "keyframes": "x265"}) == {
        "options": ActDiffOptions(steps=20, keyframes="x265")
    }
    assert options_of("s2vc", {}) == {}
    with pytest.raises(ValueError, match="s2vc has no options, the card gives steps"):
        options_of("s2vc", {"steps": 3})
    for wrong, message in (
        ({"step": 3}, "step"),
        ({"steps": 0}, "steps"),
        ({"strength": 0}, "strength"),
        ({"strength": 1.5}, "strength"),
        ({"temporal_filter": 1}, "temporal_filter"),
        ({"qualities": (1, 2)}, "qualities: are of other keyframes"),
        ({"keyframes": "x265", "rdoq": 0.1}, "rdoq: is of learned keyframes"),
        ({"keyframes": "x266"}, "keyframes: 'x266' is not a keyframe codec; use one of learned, x264"),
        (
            {"keyframes": "compressai:../mine", "qualities": (1, 2)},
            "keyframes: 'compressai:../mine' is not a keyframe codec",
        ),
        ({"keyframes": "compressai:mbt2018"}, "qualities: say which one of compressai:mbt2018 each rate index has"),
    ):
        with pytest.raises(ValueError, match=rf"options:\n  .*{message}"):
            options_of("actdiff-vc", wrong)
    with pytest.raises(ValidationError):
        ActDiffOptions(boundaries=3)
