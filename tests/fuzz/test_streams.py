"""Whatever lies behind right checksums, our own codecs and compressai's models decode it or refuse it by name.

Streams of seeded, tiny networks are changed: bytes of payloads, lengths, kinds and order of units, header fields. Each
codec may have a folder of corpus/: streams that once broke its decoder. Networks differ between versions of torch, so
that a stream there may be refused elsewhere than it once was; it is never a crash.
"""

from __future__ import annotations

import io
import os
import resource
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from needed import needed
from untrained import awake

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from bench.adapters import compressai_stream  # noqa: E402
from bench.bitstream.container import (  # noqa: E402
    DIGEST_BYTES,
    PayloadReader,
    StreamHeader,
    StreamReader,
    varint,
)
from bench.errors import BitstreamError  # noqa: E402
from bench.networks import compressai_models as zoo  # noqa: E402
from bench.video import colour  # noqa: E402
from bench.video.formats import VideoFormat  # noqa: E402
from bench.video.frame import Frame  # noqa: E402

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).with_name("corpus")
EXAMPLES = int(os.environ.get("VCBENCH_FUZZ_EXAMPLES", "40"))
NAME, WEIGHTS, FORMAT = "tiny", b"12345678", VideoFormat(64, 64)
MEMORY = 1 << 30
"""Bytes that decoding may take beyond what the networks do."""

Decode = Callable[[bytes], Iterator[Frame]]
Stream = tuple[list[int], list[tuple[int, bytes]]]
"""The numbers of a header after name and weights, and the units."""


@dataclass(frozen=True)
class Target:
    """A codec with its networks: a stream of three frames, and how any is decoded."""

    stream: bytes
    decode: Decode


def frames() -> list[Frame]:
    """Smooth noise that moves by two pixels per frame."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    texture = cv2.resize(noise, (72, 72), interpolation=cv2.INTER_CUBIC)
    pictures = [np.ascontiguousarray(texture[2 * number :][:64, 2 * number :][:, :64]) for number in range(3)]
    return [Frame(FORMAT, colour.from_rgb(picture, FORMAT).data) for picture in pictures]


def diff_sit_model() -> torch.nn.Module:
    from bench.neural.codecs.diff_sit.config import DiffSitConfig
    from bench.neural.codecs.diff_sit.model import small

    sizes = {"width": 8, "deep": 8, "y_channels": 8, "hyper_channels": 4, "flow_width": 4, "motion_width": 8}
    return small(
        DiffSitConfig(
            **sizes, motion_components=3, rates=3, vae_width=4, latent_channels=8, heads=2, head_width=8, layers=1
        )
    )


def s2vc_model() -> torch.nn.Module:
    from bench.neural.codecs.s2vc.model import S2vc, S2vcConfig
    from bench.neural.networks.backbones import small_unet, tiny_autoencoder

    sizes = {"width": 16, "deep": 16, "y_channels": 8, "hyper_channels": 8, "guidance": 16, "vae_width": 8}
    config = S2vcConfig(**sizes, unet_widths=(16, 16), rates=3, reanchor_every=2, teacher_channels=4)
    unet = small_unet(config.latent_channels, config.unet_widths, config.guidance)
    return S2vc(config, tiny_autoencoder(config.latent_channels, config.vae_width), unet)


def actdiff_model() -> torch.nn.Module:
    from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
    from bench.neural.codecs.actdiff_vc.model import small

    sizes = {"width": 8, "deep": 8, "y_channels": 8, "hyper_channels": 4, "latent_channels": 8, "heads": 2}
    return small(ActDiffConfig(**sizes, rates=3, head_width=8, layers=1, refiner_width=8, refiner_blocks=1))


def own(codec: str, model: torch.nn.Module, **options: object) -> Target:
    from bench.neural.own_codecs import coding

    file = io.BytesIO()
    chosen = coding(codec)
    chosen.encode(model, frames(), StreamHeader(NAME, WEIGHTS, FORMAT, 3, 1), file, **options)
    return Target(
        file.getvalue(),
        lambda data: chosen.decode(model, io.BytesIO(data), name=NAME, weights=WEIGHTS, **options),
    )


def compressai_target(model: str, *widths: int) -> Target:
    from bench.core.quiet_import import imported

    network = awake(imported("compressai.zoo.image").model_architectures[model](*widths)).requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.mul_(1.6)
    network.update()
    coder = zoo.build(model, network.state_dict())
    file = io.BytesIO()
    compressai_stream.encode(coder, frames(), StreamHeader(NAME, WEIGHTS, FORMAT, 3, 1), file)
    return Target(file.getvalue(), lambda data: compressai_stream.decode(coder, StreamReader(io.BytesIO(data))))


def actdiff_target() -> Target:
    from bench.neural.codecs.actdiff_vc.options import ActDiffOptions

    quick = ActDiffOptions(segments="fixed", longest=3, tracks=12, steps=1)
    return own("actdiff-vc", awake(actdiff_model()), options=quick)


TARGETS: dict[str, Callable[[], Target]] = {
    "stream-actdiff-vc": actdiff_target,
    "stream-diff-sit": lambda: own("diff-sit", awake(diff_sit_model())),
    "stream-s2vc": lambda: own("s2vc", awake(s2vc_model())),
    "stream-mbt2018-mean": lambda: compressai_target("mbt2018-mean", 8, 12),
    "stream-mbt2018": lambda: compressai_target("mbt2018", 8, 12),
}


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    torch.manual_seed(0)
    return TARGETS[request.param]()


@pytest.fixture
def kept(request: pytest.FixtureRequest, target: Target) -> list[bytes]:
    """Streams that once broke this decoder."""
    folder = CORPUS / request.node.callspec.params["target"]
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def taken_apart(data: bytes) -> Stream:
    reader = StreamReader(io.BytesIO(data))
    fields = PayloadReader(reader.header.pack(), "header")
    fields.take(fields.varint() + DIGEST_BYTES)
    return [fields.varint() for _ in range(12)], [(unit.kind, unit.payload) for unit in reader.units()]


def put_together(stream: Stream) -> bytes:
    """Bytes of a stream, every checksum right."""
    numbers, units = stream
    header = varint(len(NAME)) + NAME.encode() + WEIGHTS + b"".join(map(varint, numbers))
    data, chain = b"VCB\x01", 0
    for kind, payload in [(0, header), *units, (255, b"")]:
        unit = bytes([kind]) + varint(len(payload)) + payload
        chain = zlib.crc32(unit, chain)
        data += unit + chain.to_bytes(4, "little")
    return data


def changed(stream: Stream) -> st.SearchStrategy[bytes]:
    """A stream with one to three changes."""
    place, unit = st.integers(0, 1 << 20), st.integers(0, len(stream[1]) - 1)
    junk = st.one_of(
        st.binary(max_size=24), st.sampled_from([bytes(8), b"\xff" * 8, b"\xff" * 64, b"\x80" * 9, b"\0\0\0\x80" * 2])
    )
    small = st.one_of(st.integers(0, 5), st.integers(60, 160))
    change = st.one_of(
        st.tuples(st.just("bytes"), unit, place, st.integers(0, 12), junk),
        st.tuples(st.just("bytes"), unit, place, st.just(1), st.binary(min_size=1, max_size=1)),
        st.tuples(st.just("cut"), unit, place),
        st.tuples(st.just("kind"), unit, st.integers(1, 6)),
        st.tuples(st.just("drop"), unit),
        st.tuples(st.just("swap"), unit, unit),
        st.tuples(st.just("double"), unit, unit),
        st.tuples(st.just("header"), st.integers(0, 11), st.one_of(small, small, st.integers(1 << 13, 1 << 63))),
    )

    def apply(changes: list[tuple[str, ...]]) -> bytes:
        numbers, units = list(stream[0]), list(stream[1])
        for what, *arguments in changes:
            change_one(numbers, units, what, arguments)
        return put_together((numbers, units))

    return st.lists(change, min_size=1, max_size=3).map(apply)


def change_one(numbers: list[int], units: list[tuple[int, bytes]], what: str, arguments: Sequence[object]) -> None:
    if what == "header":
        field, value = arguments
        numbers[field] = value
        return
    if not units:
        return
    number, *rest = arguments
    number %= len(units)
    kind, payload = units[number]
    match what:
        case "bytes":
            at, cut, put = rest
            at %= len(payload) + 1
            units[number] = kind, payload[:at] + put + payload[at + cut :]
        case "cut":
            units[number] = kind, payload[: rest[0] % (len(payload) + 1)]
        case "kind":
            units[number] = rest[0], payload
        case "drop":
            del units[number]
        case "swap":
            other = rest[0] % len(units)
            units[number], units[other] = units[other], units[number]
        case "double":
            units.insert(rest[0] % len(units), units[number])


def check(target: Target, data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoded = []
    try:
        for frame in target.decode(data):
            decoded.append(frame)
    except BitstreamError as error:
        assert 10 < len(str(error)) < 500
    else:
        header = StreamReader(io.BytesIO(data)).header
        assert [frame.format for frame in decoded] == [header.format] * header.frames
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MEMORY


def test_streams_that_broke_a_decoder_are_read_or_refused(target: Target, kept: list[bytes]) -> None:
    for data in kept:
        check(target, data)


def test_changed_streams_are_read_or_refused(target: Target) -> None:
    whole = taken_apart(target.stream)
    assert put_together(whole) == target.stream
    assert len(list(target.decode(target.stream))) == 3

    @settings(
        max_examples=max(1, EXAMPLES // 5),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(changed(whole))
    def read(data: bytes) -> None:
        check(target, data)

    read()
