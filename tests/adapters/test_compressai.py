"""CompressAI's models as codecs: streams against the library's own coding, on seeded weights in files."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.adapters import warm
from bench.adapters.base import EncodeInfo, RatePoint
from bench.adapters.child import ChildCodec
from bench.adapters.compressai import CompressaiCodec
from bench.cards import Catalog, load_card
from bench.core.files import hash_file
from bench.core.quiet_import import imported
from bench.errors import BitstreamError, CardError, DecodeError, UnavailableError
from bench.registry import build
from bench.video import colour
from bench.video.frame import Frame
from bench.video.sequence import Sequence, open_sequence

if find_spec("compressai") is None:
    pytest.skip("compressai is not installed", allow_module_level=True)
imported("compressai")  # as codecs do it, in half the time: the first of all files that need it

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
Make = Callable[..., CompressaiCodec]

CARDS = Path(__file__).resolve().parents[2] / "codecs"
IMAGE_MODELS = {
    "bmshj2018-factorized": (8, 12), "bmshj2018-hyperprior": (8, 12), "mbt2018-mean": (8, 12), "mbt2018": (8, 12),
    "cheng2020-anchor": (8,), "cheng2020-attn": (8,),
}  # fmt: skip

CARD = """
name = "seeded"
title = "Seeded weights"
adapter = "compressai"
kind = "learned"
licence = "Apache-2.0"
gop = "as the model has it"
extension = "vcb"
[rates]
parameter = "quality"
values = [{values}]
minimum = {minimum}
maximum = {maximum}
[input]
chroma = ["gray", "420", "422", "444"]
bit_depths = [8, 10, 12]
{weights}
[settings]
model = "{model}"
{settings}
"""


def zoo(model: str) -> Any:
    return imported("compressai.zoo.video" if model == "ssf2020" else "compressai.zoo.image")


@pytest.fixture(scope="module")
def network() -> Callable[[str], Any]:
    """Seeded networks by name, small where the model's widths are free, whose latents are not all zero."""
    made: dict[str, Any] = {}

    def make(model: str) -> Any:
        import torch

        if model not in made:
            torch.manual_seed(0)
            made[model] = zoo(model).model_architectures[model](*IMAGE_MODELS.get(model, ())).eval()
            for parameter in made[model].parameters():
                parameter.requires_grad_(False)
                if parameter.ndim == 4:
                    parameter.mul_(1.6)
            made[model].update()
        return made[model]

    return make


@pytest.fixture
def make(network: Callable[[str], Any], tmp_path: Path) -> Make:
    """Codec of a card that names a file with the seeded weights of a model, at every quality the same."""
    import torch

    def codec(model: str, *, settings: str = "", count: int = 1, sha256: str | None = None) -> CompressaiCodec:
        file = tmp_path / "weights.pth"
        if not file.is_file():
            torch.save(network(model).state_dict(), file)
        entry = f'[[weights]]\nfile = "weights.pth"\nsha256 = "{sha256 or hash_file(file)}"\n'
        card = {"values": 1, "minimum": 1, "maximum": count, "weights": entry * count}
        (tmp_path / "seeded.toml").write_text(CARD.format(**card, model=model, settings=settings))
        built = build(load_card(tmp_path / "seeded.toml"), folder=tmp_path)
        assert isinstance(built, CompressaiCodec)
        return built

    return codec


def stream_of(codec: CompressaiCodec, source: Sequence, folder: Path) -> Path:
    path = folder / "stream.vcb"
    codec.encode(source, RatePoint("quality", 1), path)
    return path


def units(stream: Path) -> list[tuple[int, bytes]]:
    """Type and payload of each unit that holds a frame."""
    from bench.bitstream.container import StreamReader

    with stream.open("rb") as file:
        found = [(unit.kind, unit.payload) for unit in StreamReader(file).units()]
    return found[:-1]


def padded_and_back(frame: Frame, multiple: int) -> tuple[Any, Any]:
    """The picture as CompressAI's evaluation pads it, and the amounts that undo it."""
    import torch
    from compressai.ops import compute_padding
    from torch.nn import functional

    picture = torch.from_numpy(colour.to_rgb(frame).astype(np.float32) / np.float32(frame.format.peak))
    picture = picture.permute(2, 0, 1)[None]
    pad, unpad = compute_padding(*picture.shape[-2:], min_div=multiple)
    return functional.pad(picture, pad), unpad


def as_frame(picture: Any, unpad: Any, like: Frame) -> bytes:
    from torch.nn import functional

    samples = functional.pad(picture, unpad).clamp(0, 1)[0].permute(1, 2, 0).mul(255).round().numpy().astype("u1")
    return colour.from_rgb(np.ascontiguousarray(samples), like.format).data.tobytes()


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_an_image_model_codes_each_frame_as_the_library_does(
    make: Make, network: Callable[[str], Any], tiny_clip: TinyClip, tmp_path: Path, model: str
) -> None:
    codec, source = make(model), open_sequence(tiny_clip(67, 45, 2))
    stream = stream_of(codec, source, tmp_path)
    coded = units(stream)
    assert [kind for kind, _ in coded] == [1, 1]
    for frame, (_, payload), decoded in zip(source.read(), coded, codec.decode(stream), strict=True):
        picture, unpad = padded_and_back(frame, 64)
        theirs = network(model).compress(picture)
        strings = [part[0] for part in theirs["strings"]]
        assert payload.endswith(strings[-1])
        assert all(part in payload for part in strings)
        assert 0 <= len(payload) - sum(map(len, strings)) <= 2 * (len(strings) - 1)
        shown = network(model).decompress(theirs["strings"], theirs["shape"])["x_hat"]
        assert decoded.data.tobytes() == as_frame(shown, unpad, frame)


def test_bits_are_what_the_models_own_likelihoods_promise(
    make: Make, network: Callable[[str], Any], tiny_clip: TinyClip, tmp_path: Path
) -> None:
    source = open_sequence(tiny_clip(128, 64, 1))
    ((_, payload),) = units(stream_of(make("mbt2018-mean"), source, tmp_path))
    picture, _ = padded_and_back(next(iter(source.read())), 64)
    likelihoods = network("mbt2018-mean")(picture)["likelihoods"].values()
    promised = sum(float(-part.log2().sum()) for part in likelihoods)
    assert 8 * len(payload) == pytest.approx(promised, rel=0.05)


class TestScaleSpaceFlow:
    def test_frames_are_coded_as_the_library_does(
        self, make: Make, network: Callable[[str], Any], tiny_clip: TinyClip, tmp_path: Path
    ) -> None:
        codec, source = make("ssf2020", settings="threads = 2"), open_sequence(tiny_clip(90, 70, 3))
        stream = stream_of(codec, source, tmp_path)
        frames = list(source.read())
        pictures, unpads = zip(*(padded_and_back(frame, 128) for frame in frames), strict=True)
        strings, shapes = network("ssf2020").compress(list(pictures))
        assert [kind for kind, _ in units(stream)] == [1, 2, 2]
        motion_and_residual = [*strings[2]["motion"], *strings[2]["residual"]]
        assert all(part[0] in units(stream)[2][1] for part in motion_and_residual)
        theirs = network("ssf2020").decompress(strings, shapes)
        ours = [frame.data.tobytes() for frame in codec.decode(stream)]
        assert ours == [as_frame(*each) for each in zip(theirs, unpads, frames, strict=True)]
        assert len(set(ours)) == 3

        # the same weights, with an intra period
        codec = make("ssf2020", settings="threads = 2\nintra_period = 2")
        stream = stream_of(codec, source, tmp_path)
        assert [kind for kind, _ in units(stream)] == [1, 2, 1]
        assert [frame.data.tobytes() for frame in islice(codec.decode(stream), 2)] == ours[:2]


@pytest.mark.parametrize("model", ["mbt2018-mean", "cheng2020-attn", "ssf2020"])
def test_multiplications_are_those_that_torch_counts(
    make: Make, tiny_clip: TinyClip, tmp_path: Path, model: str
) -> None:
    """Also where CompressAI calls functions itself: divisive normalisation, and contexts symbol by symbol."""
    from torch.utils.flop_counter import FlopCounterMode

    from bench.networks.complexity import counting

    codec, source = make(model), open_sequence(tiny_clip(64, 64, 2))
    with counting() as ours, FlopCounterMode(display=False) as theirs:
        list(codec.decode(stream_of(codec, source, tmp_path)))
    assert ours.macs == theirs.get_total_flops() // 2 > 1e6


FORMATS = [(33, 17, "yuv422p10le"), (16, 48, "yuv444p12le"), (64, 64, "gray"), (1, 1, "yuv420p")]


@pytest.mark.parametrize(("width", "height", "pix_fmt"), FORMATS)
def test_every_format_comes_back_as_it_was(
    make: Make, tiny_clip: TinyClip, tmp_path: Path, width: int, height: int, pix_fmt: str
) -> None:
    codec, source = make("bmshj2018-factorized"), open_sequence(tiny_clip(width, height, 2, pix_fmt))
    decoded = list(codec.decode(stream_of(codec, source, tmp_path)))
    assert [frame.format for frame in decoded] == [source.format] * 2
    assert all(frame.data.size == source.format.samples_per_frame for frame in decoded)


def test_processes_of_their_own_agree(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """The decoder is another process, alone with the file, and chose the encoder's tables, or it would refuse."""
    codec, source = make("cheng2020-attn"), open_sequence(tiny_clip(67, 45, 2))
    child = ChildCodec(codec, tmp_path, trust=False)
    (tmp_path / "cell").mkdir()
    child.encode(source, RatePoint("quality", 1), tmp_path / "cell" / "stream.vcb")
    with child.open_decoder(tmp_path / "cell" / "stream.vcb", source.format) as decoder:
        theirs = [frame.data.tobytes() for frame in decoder.frames()]
    assert theirs == [frame.data.tobytes() for frame in codec.decode(tmp_path / "cell" / "stream.vcb")]


def test_a_network_is_loaded_once_for_all_encodes_and_decodes(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """Forks of the warm process have it: they code when its file is gone, which a process that begins anew cannot."""
    source = open_sequence(tiny_clip(64, 64, 1))
    child = ChildCodec(make("bmshj2018-factorized"), tmp_path, trust=False)

    def encoded(name: str) -> EncodeInfo:
        (tmp_path / name).mkdir()
        return child.encode(source, RatePoint("quality", 1), tmp_path / name / "stream.vcb")

    try:
        first = encoded("first").usage
        (tmp_path / "weights.pth").unlink()
        second = encoded("second").usage
        assert (tmp_path / "first/stream.vcb").read_bytes() == (tmp_path / "second/stream.vcb").read_bytes()
        assert first is not None and second is not None and first.start_s == second.start_s
        assert second.start_s is not None and second.start_s > second.cpu_s
        with child.open_decoder(tmp_path / "second/stream.vcb", source.format) as decoder:
            assert len(list(decoder.frames())) == 1
        with pytest.raises(UnavailableError, match=r"weights\.pth"):
            stream_of(make_without_writing(tmp_path), source, tmp_path)
    finally:
        warm.end_all()


def test_a_decoder_that_chooses_other_tables_is_found_out(
    make: Make, network: Callable[[str], Any], tiny_clip: TinyClip, tmp_path: Path
) -> None:
    from bench.adapters.compressai_stream import decode
    from bench.bitstream.container import StreamReader
    from bench.networks.compressai_models import build as build_coder

    stream = stream_of(make("bmshj2018-hyperprior"), open_sequence(tiny_clip(64, 64, 2)), tmp_path)
    state = {name: value.clone() for name, value in network("bmshj2018-hyperprior").state_dict().items()}

    def refused() -> bool:
        reader = StreamReader(io.BytesIO(stream.read_bytes()))
        try:
            return len(list(decode(build_coder("bmshj2018-hyperprior", state), reader))) != 2
        except BitstreamError as error:
            return "the arithmetic of the two machines differs" in str(error)

    assert not refused()
    state["h_s.4.bias"] += 1e-2
    assert refused()


def test_damage_is_told_with_the_unit(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    codec = make("bmshj2018-factorized")
    stream = stream_of(codec, open_sequence(tiny_clip(64, 64, 3)), tmp_path)
    data = stream.read_bytes()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 4
    for content, message in ((data[:-5], "ends inside it"), (damaged, "damaged")):
        stream.write_bytes(content)
        with pytest.raises(DecodeError, match=rf"stream\.vcb: unit \d+: .*{message}"):
            list(codec.decode(stream))


@pytest.mark.parametrize("model", ["bmshj2018-factorized", "mbt2018-mean", "mbt2018"])
@pytest.mark.parametrize(
    "forge",
    [lambda part: b"", lambda part: part[:-4], lambda part: part[:-1], lambda part: part[:8] + b"\xff" * len(part)],
    ids=["empty", "cut by a word", "cut by a byte", "escapes without end"],
)
def test_forged_strings_are_refused_with_the_unit(
    make: Make, tiny_clip: TinyClip, tmp_path: Path, model: str, forge: Callable[[bytes], bytes]
) -> None:
    """Whatever string of a frame it is, and though each checksum is right."""
    from bench.bitstream.container import PayloadReader, StreamReader, StreamWriter
    from bench.networks.compressai_models import pack_strings, unpack_strings

    codec = make(model)
    stream = stream_of(codec, open_sequence(tiny_clip(64, 64, 2)), tmp_path)
    ((kind, first), *rest) = units(stream)
    count = 1 if model == "bmshj2018-factorized" else 2
    strings = unpack_strings(PayloadReader(first, "unit 1"), count)
    header = StreamReader(io.BytesIO(stream.read_bytes())).header
    for forged in range(count):
        parts = [forge(part) if number == forged else part for number, part in enumerate(strings)]
        with stream.open("wb") as file:
            writer = StreamWriter(file, header)
            for unit in [(kind, pack_strings(parts)), *rest]:
                writer.write(*unit)
            writer.close()
        with pytest.raises(DecodeError, match=r"stream\.vcb: unit 1 .*coded symbol"):
            list(codec.decode(stream))


def test_tables_of_forged_weights_are_refused(make: Make, network: Callable[[str], Any], tmp_path: Path) -> None:
    import torch

    state = {name: value.clone() for name, value in network("bmshj2018-hyperprior").state_dict().items()}
    state["gaussian_conditional._cdf_length"] += 1
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UnavailableError, match=r"weights\.pth.*table 0 of"):
        make("bmshj2018-hyperprior").coder(1)


def test_streams_of_other_weights_models_and_rates_are_refused(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    codec, source = make("bmshj2018-factorized", count=2), open_sequence(tiny_clip(64, 64, 1))
    stream = stream_of(codec, source, tmp_path)
    codec.encode(source, RatePoint("quality", 2), tmp_path / "finer.vcb")
    with pytest.raises(DecodeError, match=r"finer\.vcb: header: rate index 2, the model has 2"):
        list(make("bmshj2018-factorized").decode(tmp_path / "finer.vcb"))
    with pytest.raises(DecodeError, match=r"was written by bmshj2018-factorized with weights .*, this is mbt2018"):
        list(make("mbt2018").decode(stream))
    (tmp_path / "weights.pth").write_bytes(b"others")
    with pytest.raises(UnavailableError, match=r"SHA-256 is .* requires"):
        list(codec.decode(stream))


def test_weights_that_are_not_what_the_card_says(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    make("bmshj2018-factorized").check()
    with pytest.raises(UnavailableError, match=r"weights\.pth: SHA-256 is [0-9a-f]{64}, card seeded requires 0000"):
        make("bmshj2018-factorized", sha256="0" * 64).check()
    source = open_sequence(tiny_clip(64, 64, 1))
    with pytest.raises(UnavailableError, match=r"weights\.pth: holds no mbt2018 \("):
        stream_of(make("mbt2018"), source, tmp_path)  # the file is still that of the other model
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(UnavailableError, match=r"weights\.pth: no such weight file; put it there"):
        make_without_writing(tmp_path).check()


def make_without_writing(folder: Path) -> CompressaiCodec:
    built = build(load_card(folder / "seeded.toml"), folder=folder)
    assert isinstance(built, CompressaiCodec)
    return built


def test_weights_are_never_executed(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"g_a.0.weight": Attack()}))
    with pytest.raises(UnavailableError, match="holds no plain tensors"):
        stream_of(make("mbt2018"), open_sequence(tiny_clip(64, 64, 1)), tmp_path)
    assert not (tmp_path / "executed").exists()


def test_wrong_cards_are_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(CardError, match=r"settings:\n  model: .*'ssf2020'"):
        make("ssf2021")
    with pytest.raises(CardError, match=r"settings\.intra_period: mbt2018 is all intra"):
        make("mbt2018", settings="intra_period = 4")
    card = {"values": 1, "minimum": 1, "maximum": 3, "weights": "", "model": "mbt2018"}
    file = 'files = ["mbt2018-1-3f36cd77.pth.tar"]\nurl = "https://example.org"'
    with pytest.raises(CardError, match=r"settings\.files: are 1, and quality 1 to 3 are 3 rate points"):
        build_text(CARD.format(**card, settings=file), tmp_path)
    with pytest.raises(CardError, match=r"settings\.url: is missing"):
        build_text(CARD.format(**{**card, "maximum": 1}, settings=file.splitlines()[0]), tmp_path)
    with pytest.raises(CardError, match=r"files\.0: String should match"):
        build_text(CARD.format(**card, settings='files = ["../weights.pth"]'), tmp_path)


def build_text(text: str, folder: Path) -> Any:
    (folder / "seeded.toml").write_text(text)
    return build(load_card(folder / "seeded.toml"), folder=folder)


def test_the_guides_card_of_weights_of_ones_own_codes(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    guide = (
        (CARDS.parent / "docs" / "how-to" / "add-a-codec.md")
        .read_text()
        .partition("## One of CompressAI's networks")[2]
    )
    shown = guide.partition("```toml\n")[2].partition("```")[0]
    made = make("mbt2018-mean")  # writes the weight file
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights.pth").rename(tmp_path / "weights" / "mine-1.pth")
    head = 'name = "seeded"\ntitle = "t"\nlicence = "l"\ngop = "g"\nextension = "vcb"\n'
    codec = build_text(head + shown.replace('"..."', f'"{made.card.weights[0].sha256}"'), tmp_path)
    codec.check()
    source = open_sequence(tiny_clip(64, 64, 1))
    assert len(list(codec.decode(stream_of(codec, source, tmp_path)))) == 1


OURS = sorted(path.stem for path in CARDS.glob("*.toml") if 'adapter = "compressai"' in path.read_text())


def test_every_model_has_its_card() -> None:
    assert {*IMAGE_MODELS, "ssf2020"} == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_our_cards_name_the_files_that_the_library_names(name: str) -> None:
    catalog = Catalog((CARDS.parent,))
    urls = zoo(name).model_urls[name]
    for configuration, metric in ((None, "mse"), ("ms-ssim", "ms-ssim")):
        if metric in urls:
            card = load_card(catalog.find("codecs", name)).configured(configuration)
            codec = build(card, folder=CARDS)
            assert codec.settings.model == name
            assert {rate: file.url for rate, file in codec.published_weights().items()} == urls[metric]
    assert set(urls) == {"mse", *(key for key in load_card(CARDS / f"{name}.toml").configurations if key == "ms-ssim")}


def test_rate_points_are_ascending_and_published() -> None:
    for name in OURS:
        values = load_card(CARDS / f"{name}.toml").rates.values
        assert all(low < high for low, high in pairwise(values))
        assert len(values) >= 4


def test_without_weights_a_card_of_ours_says_what_to_run_and_loads_no_network(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.cards import load_card\n"
        "from bench.errors import UnavailableError\nfrom bench.registry import build\n"
        f"folder = Path({str(CARDS)!r})\ncodec = build(load_card(folder / 'ssf2020.toml'), folder=folder)\n"
        "codec.tool()\ntry:\n    codec.check()\nexcept UnavailableError as error:\n    print(error)\n"
        "print('torch' in sys.modules)"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "no weights ssf2020-mse-1-c1ac1a47.pth.tar here; run: vcbench fetch weights ssf2020",
        "False",
    ]
