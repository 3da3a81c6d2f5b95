"""Diff-SIT's stream with untrained networks: what comes back is what the encoder predicted; all else is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed import needed
from untrained import awake

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from bench.bitstream.container import StreamHeader, StreamReader, StreamWriter  # noqa: E402
from bench.errors import BitstreamError, UsageError  # noqa: E402
from bench.neural.codecs.diff_sit.codec import (  # noqa: E402
    INTER_UNIT,
    INTRA_UNIT,
    MOTION_UNIT,
    STATE_UNIT,
    bytes_by_type,
    decode,
    encode,
    encode_group,
)
from bench.neural.codecs.diff_sit.config import DiffSitConfig, DiffSitOptions  # noqa: E402
from bench.neural.codecs.diff_sit.model import DiffSit, small  # noqa: E402
from bench.neural.coding.pictures import to_tensor  # noqa: E402
from bench.neural.networks.blocks import pad_to  # noqa: E402
from bench.neural.own_codecs import RDOQ, options_of  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = DiffSitConfig(
    width=8, deep=8, y_channels=8, hyper_channels=4, flow_width=4, motion_width=8, motion_components=3, rates=3,
    vae_width=4, latent_channels=8, heads=2, head_width=8, layers=1, chunk=9,
)  # fmt: skip
WEIGHTS = b"12345678"


@pytest.fixture(scope="module")
def model() -> DiffSit:
    torch.manual_seed(0)
    built: DiffSit = awake(small(CONFIG))
    return built


@pytest.fixture(scope="module")
def frames(tiny_clip: Callable[..., Path]) -> list[Frame]:
    return list(open_sequence(tiny_clip(45, 35, 22, pix_fmt="yuv444p")).read())


def written(model: DiffSit, frames: list[Frame], rate: int = 1, **settings: Any) -> bytes:
    file = io.BytesIO()
    encode(model, frames, StreamHeader("tiny", WEIGHTS, frames[0].format, len(frames), rate), file, **settings)
    return file.getvalue()


def read(model: DiffSit, data: bytes, **settings: object) -> list[Frame]:
    return list(decode(model, io.BytesIO(data), **{"name": "tiny", "weights": WEIGHTS, **settings}))


def kinds(data: bytes) -> list[int]:
    return [unit.kind for unit in StreamReader(io.BytesIO(data)).units()]


def rewritten(data: bytes, units: list[tuple[int, bytes]]) -> bytes:
    file = io.BytesIO()
    writer = StreamWriter(file, StreamReader(io.BytesIO(data)).header)
    for kind, payload in units:
        writer.write(kind, payload)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 10, 22])
def test_any_number_of_frames_comes_back(model: DiffSit, frames: list[Frame], count: int) -> None:
    decoded = read(model, written(model, frames[:count]))
    assert [frame.format for frame in decoded] == [frame.format for frame in frames[:count]]
    assert len({frame.data.tobytes() for frame in decoded}) == count


def test_units_follow_the_groups(model: DiffSit, frames: list[Frame]) -> None:
    """I, then P, and on over the generator's chunks; motion after each backbone that has frames beside it."""
    group = [INTER_UNIT, MOTION_UNIT]
    assert kinds(written(model, frames[:1])) == [INTRA_UNIT, STATE_UNIT]
    assert kinds(written(model, frames[:2])) == [INTRA_UNIT, MOTION_UNIT, STATE_UNIT]
    assert kinds(written(model, frames[:10])) == [INTRA_UNIT, MOTION_UNIT, *group, *group, INTER_UNIT, STATE_UNIT]


def test_a_chain_of_that_length_starts_anew(model: DiffSit, frames: list[Frame]) -> None:
    every = written(model, frames[:7], options=DiffSitOptions(chain=1))
    second = written(model, frames[:7], options=DiffSitOptions(chain=2))
    assert kinds(every)[:-1] == [INTRA_UNIT, MOTION_UNIT] * 2 + [INTRA_UNIT]
    assert kinds(second)[:-1] == [INTRA_UNIT, MOTION_UNIT, INTER_UNIT, MOTION_UNIT, INTRA_UNIT]
    assert len(read(model, every)) == len(read(model, second)) == 7


def test_symbols_chosen_by_rate_and_error_cost_less_and_decode_alike(model: DiffSit, frames: list[Frame]) -> None:
    """A decoder needs not be told of it."""
    plain, thrifty = (written(model, frames[:4], options=DiffSitOptions(rdoq=rdoq)) for rdoq in (0, 0.2))
    assert len(thrifty) < len(plain)
    assert len(read(model, thrifty, options=DiffSitOptions(intermediate=True))) == 4
    assert written(model, frames[:4]) == written(model, frames[:4], options=DiffSitOptions(rdoq=RDOQ))


def test_the_intermediate_sequence_is_what_the_encoder_predicts(model: DiffSit, frames: list[Frame]) -> None:
    data = written(model, frames[:7])
    decoded = read(model, data, options=DiffSitOptions(intermediate=True))
    header = StreamReader(io.BytesIO(data)).header
    state = None
    for index in (1, 4, 6):  # backbones of the groups 0 to 2, 3 to 5, and 6 alone
        group = [
            pad_to(to_tensor(frame), 64) for frame in frames[index // 3 * 3 : index // 3 * 3 + 3][: 7 - index // 3 * 3]
        ]
        with torch.inference_mode():
            _, state = encode_group(model.stem, group, state, header)
        predicted = (state.picture[0, :, :35, :45] + 1) * 127.5
        source = to_tensor(decoded[index])[0] * 127.5 + 127.5
        inside = (predicted > 1) & (predicted < 254)
        assert inside.float().mean() > 0.5
        assert (predicted - source).abs()[inside.all(0).expand(3, -1, -1)].max() < 2.5  # YUV and back
    final = read(model, data)
    assert not any(np.array_equal(a.data, b.data) for a, b in zip(decoded, final, strict=True))


def test_the_temporal_filter_is_the_decoders_alone_and_goes_on_over_chunks(model: DiffSit, frames: list[Frame]) -> None:
    """Chunks are of nine frames: the tenth is filtered too, the first is not, and the intermediate sequence never."""
    data = written(model, frames[:11])
    assert data == written(model, frames[:11], options=DiffSitOptions(temporal_filter=0.5))
    plain, filtered = (read(model, data, options=DiffSitOptions(temporal_filter=share)) for share in (0, 0.5))
    same = [np.array_equal(a.data, b.data) for a, b in zip(plain, filtered, strict=True)]
    assert same == [True] + [False] * 10
    sent, also = (
        read(model, data, options=DiffSitOptions(intermediate=True, temporal_filter=share)) for share in (0, 0.5)
    )
    assert all(np.array_equal(a.data, b.data) for a, b in zip(sent, also, strict=True))


def test_motion_frames_are_their_backbone_where_nothing_moves(model: DiffSit, frames: list[Frame]) -> None:
    """With motion coders that give zeros, the frames beside a backbone equal it: nothing else is sent of them."""
    still = small(CONFIG).eval()
    still.load_state_dict(model.state_dict())
    for codec in (still.stem.side_motion, still.stem.chain_motion):
        for layer in (codec.synthesis, codec.refine_out[-1]):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    decoded = read(still, written(still, frames[:6]), options=DiffSitOptions(intermediate=True))
    images = [frame.data.tobytes() for frame in decoded]
    assert images[0] == images[1] == images[2] != images[3]
    assert images[3] == images[4] == images[5]


def test_the_decoder_ends_in_the_state_the_encoder_predicted(model: DiffSit, frames: list[Frame]) -> None:
    """The stream's last unit has the encoder's digest; a changed weight of what is coded is found by it."""
    data = written(model, frames[:4])
    changed = small(CONFIG).eval()
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.stem.inter.to_picture[0].weight[0, 0] += 1e-3
    with pytest.raises(BitstreamError, match="state unit"):
        read(changed, data)


def test_the_generator_is_no_part_of_what_must_agree(model: DiffSit, frames: list[Frame]) -> None:
    data = written(model, frames[:3])
    changed = small(CONFIG).eval()
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.odfte.transformer.proj_out.weight += 0.1
    assert not np.array_equal(read(changed, data)[0].data, read(model, data)[0].data)


def test_higher_rate_indexes_cost_more(model: DiffSit, frames: list[Frame]) -> None:
    sizes = [len(written(model, frames[:4], rate)) for rate in range(CONFIG.rates)]
    assert sizes == sorted(set(sizes))


def test_bytes_are_told_by_type_and_are_all_of_the_file(model: DiffSit, frames: list[Frame]) -> None:
    file = io.BytesIO()
    sizes = encode(model, frames[:7], StreamHeader("tiny", WEIGHTS, frames[0].format, 7, 1), file)
    data = file.getvalue()
    found = bytes_by_type(io.BytesIO(data))
    assert sum(found.values()) == len(data)
    assert found["I"] == sizes[0]
    assert found["MV"] == sizes[1] + sizes[3]
    assert found["P"] == sizes[2] + sizes[4]


@pytest.mark.parametrize(
    ("width", "height", "pix_fmt"), [(33, 17, "yuv444p"), (66, 50, "yuv420p10le"), (18, 90, "yuv422p"), (8, 6, "gray")]
)
def test_sizes_chromas_and_depths(
    model: DiffSit, tiny_clip: Callable[..., Path], width: int, height: int, pix_fmt: str
) -> None:
    source = list(open_sequence(tiny_clip(width, height, 4, pix_fmt=pix_fmt)).read())
    decoded = read(model, written(model, source))
    assert [frame.format for frame in decoded] == [frame.format for frame in source]


def test_damage_is_found_and_its_unit_named(model: DiffSit, frames: list[Frame]) -> None:
    data = written(model, frames[:4])
    for position in range(60, len(data), 23):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(BitstreamError, match=r"unit \d|end"):
            read(model, bytes(damaged), options=DiffSitOptions(intermediate=True))
    for length in (len(data) - 1, len(data) // 2, 70):
        with pytest.raises(BitstreamError, match=r"unit \d|end"):
            read(model, data[:length], options=DiffSitOptions(intermediate=True))


def test_units_in_the_wrong_place_are_refused(model: DiffSit, frames: list[Frame]) -> None:
    """Whole units under right checksums, but not a stream that an encoder writes."""
    data = written(model, frames[:4])
    units = [(unit.kind, unit.payload) for unit in StreamReader(io.BytesIO(data)).units()]
    intra, motion, inter, state = units
    for wrong, message in (
        ([motion, intra, inter, state], r"unit 1 \(type 3\): expected a backbone frame \(type 1\)"),
        ([inter, motion, inter, state], r"unit 1 \(type 2\): expected a backbone frame \(type 1\)"),
        ([intra, inter, motion, state], r"unit 2 \(type 2\): expected motion"),
        ([intra, motion, state], r"unit 3 \(type 4\): expected a backbone frame \(type 1 or 2\)"),
        ([intra, motion, inter], "end: the stream has fewer frames than its header says"),
        ([intra, motion, inter, motion, state], r"unit 4 \(type 3\): expected the state"),
        ([*units, state], r"unit 5 \(type 4\): follows the state unit"),
        ([intra, motion, (INTER_UNIT, b"\x7fabc"), state], r"unit 3 \(type 2\): damaged"),
    ):
        with pytest.raises(BitstreamError, match=message):
            read(model, rewritten(data, wrong), options=DiffSitOptions(intermediate=True))


def test_wrong_weights_name_and_rate_are_refused(model: DiffSit, frames: list[Frame]) -> None:
    data = written(model, frames[:1])
    with pytest.raises(BitstreamError, match="header: was written by tiny"):
        read(model, data, weights=b"87654321")
    with pytest.raises(BitstreamError, match="rate index 3, the model has 3"):
        file = io.BytesIO()
        encode(model, [], StreamHeader("tiny", WEIGHTS, frames[0].format, 0, 3), file)
        read(model, file.getvalue())
    with pytest.raises(BitstreamError, match="a stream of no frames"):
        file = io.BytesIO()
        encode(model, [], StreamHeader("tiny", WEIGHTS, frames[0].format, 0, 1), file)
        read(model, file.getvalue())


def test_missing_frames_are_found(model: DiffSit, frames: list[Frame]) -> None:
    file = io.BytesIO()
    encode(model, frames[:3], StreamHeader("tiny", WEIGHTS, frames[0].format, 5, 0), file)
    with pytest.raises(BitstreamError, match=r"unit 3 \(type 4\): expected a backbone frame"):
        read(model, file.getvalue(), options=DiffSitOptions(intermediate=True))


def test_a_decoder_gives_a_chunk_as_soon_as_it_has_it(model: DiffSit, frames: list[Frame]) -> None:
    """Memory is bounded by a chunk: the ninth frame comes before the tenth's unit is read."""
    data = written(model, frames[:10])
    cut = io.BytesIO(data[: len(data) - 60])
    decoded = decode(model, cut, name="tiny", weights=WEIGHTS)
    assert len([next(decoded) for _ in range(9)]) == 9
    with pytest.raises(BitstreamError):
        next(decoded)


@pytest.mark.parametrize("chunk", [0, 3, 10, 12, 17])
def test_a_chunk_that_does_not_fit_is_refused(chunk: int) -> None:
    with pytest.raises(UsageError, match=f"chunk {chunk}: takes 9, 21, 33"):
        DiffSitConfig(chunk=chunk)


def test_a_cards_options_are_taken_and_held_to_their_range() -> None:
    assert options_of("diff-sit", {"chain": 9}) == {"options": DiffSitOptions(chain=9)}
    assert options_of("diff-sit", {}) == {"options": DiffSitOptions(chain=0, intermediate=False)}
    for wrong, message in (
        ({"chain": -1}, "chain"),
        ({"chains": 1}, "chains"),
        ({"intermediate": "some"}, "intermed"),
        ({"rdoq": -1}, "rdoq"),
        ({"temporal_filter": 1}, "temporal_filter"),
    ):
        with pytest.raises(ValueError, match=message):
            options_of("diff-sit", wrong)
