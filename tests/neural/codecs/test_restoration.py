"""Restoration codecs: an AV1 base in our container, and the network behind it, with seeded weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.bitstream.container import StreamHeader, StreamReader, StreamWriter, varint  # noqa: E402
from bench.errors import BitstreamError, UnavailableError  # noqa: E402
from bench.neural.codecs.restoration import av1, base, codec  # noqa: E402
from bench.neural.codecs.restoration.network import NetworkConfig, Restoration, from_published  # noqa: E402
from bench.neural.codecs.restoration.options import RestorationOptions  # noqa: E402
from bench.neural.codecs.restoration.restore import Known, Noise, lanczos, restored, windows  # noqa: E402
from bench.neural.coding.pictures import to_tensor  # noqa: E402
from bench.neural.coding.weight_file import About, load, save  # noqa: E402
from bench.neural.own_codecs import options_of  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
WEIGHTS = b"12345678"
SIZES = {"width": 8, "depth": 8}


def network(seed: int = 0, **parts: object) -> Restoration:
    """A small network in which no part is nothing."""
    torch.manual_seed(seed)
    built = Restoration(NetworkConfig(**{**SIZES, "half": True, **parts})).eval().requires_grad_(False)  # type: ignore[arg-type]
    for value in built.parameters():
        if not value.any():
            torch.nn.init.normal_(value, std=0.05)
    return built


def frames_of(path: Path) -> list[Frame]:
    return list(open_sequence(path).read())


def written(model: Restoration, frames: list[Frame], rate: int = 3, **options: object) -> bytes:
    file = io.BytesIO()
    header = StreamHeader("restoration", WEIGHTS, frames[0].format, len(frames), rate)
    codec.encode(model, frames, header, file, options=RestorationOptions.model_validate(options))
    return file.getvalue()


def read(model: Restoration, data: bytes, **options: object) -> list[Frame]:
    chosen = RestorationOptions.model_validate(options)
    return list(codec.decode(model, io.BytesIO(data), name="restoration", weights=WEIGHTS, options=chosen))


def scale_of(data: bytes) -> int:
    (unit,) = StreamReader(io.BytesIO(data)).units()
    return unit.payload[0]


FORMATS = [(91, 70, "yuv420p"), (33, 17, "yuv422p10le"), (64, 64, "gray"), (1, 1, "yuv444p12le")]


@pytest.mark.parametrize(("width", "height", "pix_fmt"), FORMATS)
def test_every_format_comes_back_as_it_was(tiny_clip: TinyClip, width: int, height: int, pix_fmt: str) -> None:
    frames = frames_of(tiny_clip(width, height, 2, pix_fmt))
    decoded = read(network(), written(network(), frames, scales=(4,)))
    assert [frame.format for frame in decoded] == [frames[0].format] * 2


def test_delimiters_are_left_out_and_come_back(tiny_clip: TinyClip) -> None:
    """What dav1d is given is what SVT-AV1 wrote; the stream in the container is shorter by two bytes per frame."""
    frames = frames_of(tiny_clip(64, 64, 9))
    with base.BaseEncoder(frames[0].format, (2,)) as encoder:
        for frame in frames:
            encoder.add(to_tensor(frame))
        short = encoder.encode(2, 40, "random-access")
        whole = (Path(encoder._folder.name) / "base").read_bytes()
    assert av1.with_delimiters(short) == whole
    assert len(whole) - len(short) == 2 * whole.count(av1.DELIMITER) >= 2 * 9
    types = av1.shown_types(short)
    assert len(types) == 9
    assert types[0] == av1.KEY
    assert {av1.REFERENCE, av1.LEAF} == set(types[1:])


def test_low_delay_has_no_frame_that_was_coded_before_others(tiny_clip: TinyClip) -> None:
    frames = frames_of(tiny_clip(64, 64, 9))
    data = written(network(), frames, scales=(4,), structure="low-delay")
    (unit,) = StreamReader(io.BytesIO(data)).units()
    assert av1.shown_types(unit.payload[2:]) == [av1.KEY, *[av1.LEAF] * 8]
    parts = codec.bytes_by_type(io.BytesIO(data))
    assert parts["reference"] == 0 < parts["leaf"]
    assert sum(parts.values()) == len(data)


def test_threads_do_not_change_what_a_stream_decodes_to(tiny_clip: TinyClip) -> None:
    """Bits are decoded by integers alone; the network's last bits may differ by one level of a sample."""
    model = network(exchanges=(2, 5), facts=True, noise=True)
    data = written(model, frames_of(tiny_clip(64, 64, 3)), scales=(4,))
    kept = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(np.stack([frame.data.astype(int) for frame in read(model, data)]))
    finally:
        torch.set_num_threads(kept)
    assert np.abs(found[0] - found[1]).max() <= 1


def test_the_scale_is_the_one_that_serves_the_clip(tiny_clip: TinyClip) -> None:
    """Detail that a quarter of the size cannot hold has the half size; what both hold as well has either."""
    fine = frames_of(tiny_clip(96, 96, 2, noise=0))
    options = {"restore": "lanczos", "quarter": (20,) * 8, "half": (30,) * 8}
    assert scale_of(written(network(), fine, **options)) == 2
    # half cannot be as short, so that there is nothing to choose and nothing to restore
    assert scale_of(written(None, fine, quarter=(63,) * 8)) == 4  # type: ignore[arg-type]


def test_scales_compete_at_equal_rate(tiny_clip: TinyClip) -> None:
    """Half the size has the bytes of a quarter, wherever its search begins, or is out of the race."""
    frames = frames_of(tiny_clip(128, 96, 5))
    with base.BaseEncoder(frames[0].format, (2, 4)) as encoder:
        for frame in frames:
            encoder.add(to_tensor(frame))
        found = set()
        for begin in (63, 45, 20):
            options = RestorationOptions(quarter=(12,) * 8, half=(begin,) * 8)
            quarter, half = codec.streams(encoder, 0, options)
            assert (quarter.scale, half.scale) == (4, 2)
            assert len(half.data) <= len(quarter.data)
            finer = encoder.encode(2, half.quality - 1, "random-access")
            assert len(half.data) >= codec.NEAR * len(quarter.data) or len(finer) > len(quarter.data)
            found.add(half.quality)
        assert max(found) - min(found) <= 2
        assert len(codec.streams(encoder, 0, RestorationOptions(quarter=(63,) * 8, half=(63,) * 8))) == 1


def test_more_rate_never_looks_worse_across_a_change_of_scale(tiny_clip: TinyClip) -> None:
    frames = frames_of(tiny_clip(128, 96, 5))
    seen = []
    for rate in range(8):
        data = written(network(), frames, rate, restore="lanczos", quarter=(63, 58, 52, 44, 36, 28, 20, 12))
        errors = [
            (a.planes[0].astype(float) - b.planes[0].astype(float)) ** 2
            for a, b in zip(frames, read(network(), data, restore="lanczos"), strict=True)
        ]
        seen.append((scale_of(data), len(data), float(-10 * np.log10(np.mean(errors)))))
    assert {scale for scale, _, _ in seen} == {2, 4}
    assert all(one[1] < two[1] for one, two in pairwise(seen))
    assert all(one[2] <= two[2] + 0.05 for one, two in pairwise(seen))


@pytest.mark.parametrize("structure", ["random-access", "low-delay"])
def test_a_base_by_vvenc_says_so_and_comes_back(tiny_clip: TinyClip, structure: str) -> None:
    frames = frames_of(tiny_clip(91, 70, 9))
    data = written(network(), frames, base="vvenc", scales=(4,), structure=structure, quarter=(30,) * 8)
    (unit,) = StreamReader(io.BytesIO(data)).units()
    assert codec.BASE_UNITS[unit.kind] == "vvenc"
    decoded = read(network(), data, restore="lanczos")  # a decoder needs no option to know it
    assert [frame.format for frame in decoded] == [frames[0].format] * 9
    error = np.mean([(a.planes[0].astype(float) - b.planes[0]) ** 2 for a, b in zip(frames, decoded, strict=True)])
    assert error < np.var(frames[0].planes[0])
    assert codec.bytes_by_type(io.BytesIO(data))["base"] == len(unit.payload) - 2


def test_damage_is_told_with_the_unit(tiny_clip: TinyClip) -> None:
    model = network()
    data = written(model, frames_of(tiny_clip(64, 64, 3)), scales=(4,))
    with pytest.raises(BitstreamError, match="unit 1: the stream ends inside it"):
        read(model, data[:-12])
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    with pytest.raises(BitstreamError, match="unit 1: damaged"):
        read(model, bytes(flipped))
    header = StreamReader(io.BytesIO(data)).header
    (unit,) = StreamReader(io.BytesIO(data)).units()

    def with_payload(payload: bytes) -> bytes:
        file = io.BytesIO()
        writer = StreamWriter(file, header)
        writer.write(unit.kind, payload)
        writer.close()
        return file.getvalue()

    with pytest.raises(BitstreamError, match=r"unit 1.*a base at 1/3"):
        read(model, with_payload(varint(3) + unit.payload[1:]))
    with pytest.raises(BitstreamError, match=r"unit 1.*shows \d frames, the header says 3"):
        read(model, with_payload(unit.payload[: 2 + len(next(iter(av1.obus(unit.payload[2:]))).data)]))
    with pytest.raises(BitstreamError, match="header: was written by restoration"):
        list(codec.decode(model, io.BytesIO(data), name="restoration", weights=b"87654321"))


@pytest.mark.parametrize("data", [b"\x12", b"\x12\x05\x00", b"\x80\x00", b"\x10\x00", b"\x0a" + b"\xff" * 6])
def test_bytes_that_are_no_obus_are_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError, match="byte 0"):
        list(av1.obus(data))


def test_frames_do_not_depend_on_how_many_are_restored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows carry all that a frame's features come from."""
    model = network(exchanges=(2, 5), facts=True)
    torch.manual_seed(1)
    small = list(torch.rand(11, 1, 3, 8, 8).unbind(0))
    known = Known([0, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1], 50, 4)
    found = []
    for chunk in (3, 11):
        monkeypatch.setattr("bench.neural.codecs.restoration.restore.CHUNK", chunk)
        found.append(torch.cat(list(restored(model, iter(small), known, RestorationOptions()))))
    assert torch.allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize(("count", "length", "reach"), [(0, 3, 1), (1, 3, 1), (7, 3, 2), (9, 4, 0), (5, 8, 3)])
def test_windows_have_every_item_once_with_its_neighbours(count: int, length: int, reach: int) -> None:
    items = [torch.tensor(number) for number in range(count)]
    seen: list[int] = []
    for first, window, size, begin in windows(items, length, reach):
        assert [int(item) for item in window] == list(range(begin, begin + len(window)))
        assert begin == max(0, first - reach)
        assert len(window) == min(first + size + reach, count) - begin
        seen += range(first, first + size)
    assert seen == list(range(count))


@pytest.mark.parametrize("part", ["facts", "exchange", "diffusion", "moving", "before", "semantic"])
def test_every_switch_changes_the_picture(part: str) -> None:
    parts = {"facts": True, "exchanges": (2,), "noise": True, "moving": True, "before": True, "semantic": True}
    model = network(**parts)
    torch.manual_seed(1)
    small = list(torch.rand(3, 1, 3, 16, 16).unbind(0))
    if part == "exchange":  # which works where frames are restored together
        model = network(**{**parts, "before": False})
    known = Known([0, 2, 1], 50, 4)
    whole, without = (
        torch.cat(list(restored(model, iter(small), known, RestorationOptions(without=chosen))))
        for chosen in ((), (part,))
    )
    assert (whole - without).abs().max() > 1e-3


def test_noise_moves_with_the_picture_and_is_drawn_anew_where_it_changes() -> None:
    """A smooth picture that moves right and down by whole pixels; then another picture altogether."""
    torch.manual_seed(0)
    coarse = torch.rand(1, 3, 14, 14) * 2 - 1
    large = torch.nn.functional.interpolate(coarse, scale_factor=12, mode="bicubic").clamp(-1, 1)
    here, there = large[..., 16:144, 16:144], large[..., 13:141, 12:140]
    noise = Noise(0, moving=True)
    first = noise(here)
    second = noise(there)
    inner = slice(24, 104)
    same = second[..., inner, inner] == first[..., 21:101, 20:100]
    assert same.float().mean() > 0.7  # where the flow is right to half a pixel
    assert abs(float(second.std()) - 1) < 0.05
    third = noise(-there)
    assert (third == second).float().mean() < 0.2
    still = Noise(0, moving=False)
    assert torch.equal(still(here), first)
    assert torch.equal(still(there), first)


def test_a_part_begins_as_nothing() -> None:
    """So that a network that begins with pretrained weights begins as what they are."""
    torch.manual_seed(0)
    plain = Restoration(NetworkConfig(**SIZES))  # type: ignore[arg-type]
    full = Restoration(
        NetworkConfig(**SIZES, half=True, facts=True, noise=True, before=True, semantic=True, exchanges=(1, 2))  # type: ignore[arg-type]
    )
    full.load_state_dict(plain.state_dict(), strict=False)
    full.start_half()
    small = torch.rand(1, 2, 3, 8, 8)
    noisy, before = torch.rand(1, 2, 3, 32, 32), torch.rand(1, 2, 4, 32, 32)
    wanted, _ = plain(small, 4)
    found, shows = full(small, 4, noisy=noisy, before=before, meaning=torch.rand(1, 8))
    assert torch.allclose(found, wanted, atol=1e-6)
    assert shows.shape == (1, 2, 8)
    halves = torch.rand(1, 1, 3, 8, 8).repeat_interleave(2, 3).repeat_interleave(2, 4)
    quarter = halves[..., ::2, ::2]
    assert torch.allclose(full(halves, 2)[0], plain(quarter, 4)[0], atol=1e-5)


def test_lanczos_has_the_kernels_values() -> None:
    """Against the kernel written out with numpy; OpenCV has one of four lobes alone."""
    torch.manual_seed(0)
    row = torch.rand(12)
    found = lanczos(row.expand(1, 1, 12, 12) * 2 - 1, 4)[0, 0, 20]

    def kernel(x: float) -> float:
        return float(np.sinc(x) * np.sinc(x / 3)) if abs(x) < 3 else 0.0

    for place in range(16, 32):
        at = (place + 0.5) / 4 - 0.5
        weights = [kernel(at - tap) for tap in range(12)]
        wanted = np.dot(weights, row.numpy()) / sum(weights)
        assert float(found[place]) == pytest.approx(float(np.clip(wanted, 0, 1)) * 2 - 1, abs=1e-5)


def test_published_weights_are_a_codec(tmp_path: Path) -> None:
    """A numbered stack of convolutions and PReLUs, as the wheel's model is, has the names of ours and its results."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.PReLU(8)]
    for _ in range(2):
        layers += [torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.PReLU(8)]
    layers.append(torch.nn.Conv2d(8, 48, 3, padding=1))
    stack = torch.nn.Sequential(*layers)
    published = {f"body.{name}": value for name, value in stack.state_dict().items()}
    ours = Restoration(NetworkConfig(width=8, depth=2))
    ours.load_state_dict(from_published(published))
    small = torch.rand(1, 1, 3, 8, 8) * 2 - 1
    picture = (small[0] + 1) / 2
    wanted = torch.nn.functional.pixel_shuffle(stack(picture), 4)
    wanted = wanted + picture.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.allclose(ours(small, 4)[0][0], wanted * 2 - 1, atol=1e-5)


def test_weights_survive_being_stored(tmp_path: Path) -> None:
    from dataclasses import asdict

    model = network(facts=True, exchanges=(2, 5))
    save(tmp_path / "weights.safetensors", About("restoration", json.loads(json.dumps(asdict(model.config)))), model)
    loaded = load(tmp_path / "weights.safetensors")
    small = torch.rand(1, 2, 3, 8, 8)
    assert torch.allclose(loaded.model(small, 4)[0], model(small, 4)[0], atol=0.02)


def test_a_file_that_is_not_those_weights_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", **{"body.0.weight": np.zeros((64, 3, 3, 3), np.float32)})
    with pytest.raises(UnavailableError, match=r"other\.npz"):
        load(tmp_path / "other.npz")


def test_options_are_checked() -> None:
    assert options_of("restoration", {"scales": [4]})["options"].scales == (4,)
    with pytest.raises(ValueError, match="give as many"):
        options_of("restoration", {"quarter": [60]})
    with pytest.raises(ValueError, match="scales"):
        options_of("restoration", {"scales": []})
    with pytest.raises(ValueError, match="the card has rate indexes 0 to 8"):
        RestorationOptions().check_rates(9)
