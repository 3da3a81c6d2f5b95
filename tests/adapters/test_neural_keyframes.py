"""A codec of ours whose keyframes are another card's: which card and weights it takes, and what it says without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from needed import needed

from bench.adapters.base import RatePoint
from bench.adapters.child import ChildCodec
from bench.adapters.neural import NeuralCodec
from bench.cards import Catalog, load_card
from bench.core.files import hash_file
from bench.engine.fetch_weights import fetch_weights
from bench.errors import CardError, DecodeError, UnavailableError
from bench.registry import build
from bench.video import ffmpeg
from bench.video.sequence import open_sequence

needed("compressai", "diffusers")

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
Make = Callable[..., NeuralCodec]

CARD = """
name = "tiny"
title = "ActDiff-VC of the smallest sizes, untrained"
adapter = "neural"
kind = "diffusion"
licence = "Apache-2.0"
gop = "segments of four"
extension = "vcb"
[rates]
parameter = "index"
values = [0, 2]
minimum = 0
maximum = 2
[input]
chroma = ["420"]
bit_depths = [8, 10]
[[weights]]
file = "tiny.safetensors"
sha256 = "{sha256}"
[settings]
codec = "actdiff-vc"
[settings.options]
steps = 1
segments = "fixed"
longest = 4
keyframes = "{keyframes}"
qualities = {qualities}
"""

IMAGES = """
name = "images"
title = "Seeded weights"
adapter = "compressai"
licence = "Apache-2.0"
gop = "all intra"
extension = "vcb"
[rates]
parameter = "quality"
values = [1, 2]
minimum = 1
maximum = 2
{weights}
[settings]
model = "bmshj2018-hyperprior"
[configurations.other.settings]
threads = 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a weight file of ActDiff-VC and two of an image model."""
    import torch

    from bench.core.quiet_import import imported
    from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
    from bench.neural.codecs.actdiff_vc.model import small
    from bench.neural.coding.weight_file import About, save

    folder = tmp_path_factory.mktemp("trained")
    config = ActDiffConfig(
        width=8, deep=8, y_channels=8, hyper_channels=4, rates=3, latent_channels=8, heads=2, head_width=8, layers=1,
        refiner_width=8, refiner_blocks=1,
    )  # fmt: skip
    torch.manual_seed(0)
    save(folder / "tiny.safetensors", About("actdiff-vc", asdict(config)), small(config))
    kind = imported("compressai.zoo.image").model_architectures["bmshj2018-hyperprior"]
    for quality in (1, 2):
        torch.save(kind(8, 12).state_dict(), folder / f"images-{quality}.pth")
    return folder


@pytest.fixture
def make(trained: Path, tmp_path: Path) -> Make:
    """Codec of a card beside the card that it names for keyframes."""
    for file in trained.iterdir():
        if not (tmp_path / file.name).is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    entry = '[[weights]]\nfile = "{name}"\nsha256 = "{sha256}"\n'
    files = [trained / f"images-{quality}.pth" for quality in (1, 2)]
    entries = "".join(entry.format(name=file.name, sha256=hash_file(file)) for file in files)
    (tmp_path / "images.toml").write_text(IMAGES.format(weights=entries))

    def card(keyframes: str = "compressai:images", qualities: str = "[1, 1, 2]") -> NeuralCodec:
        text = CARD.format(sha256=hash_file(trained / "tiny.safetensors"), keyframes=keyframes, qualities=qualities)
        (tmp_path / "tiny.toml").write_text(text)
        codec = build(load_card(tmp_path / "tiny.toml"), folder=tmp_path)
        assert isinstance(codec, NeuralCodec)
        return codec

    return card


def test_processes_of_their_own_agree(make: Make, tiny_clip: TinyClip, tmp_path: Path) -> None:
    """The decoder is another process, alone with the file; it finds card and weights as the encoder did."""
    codec, source = make(), open_sequence(tiny_clip(48, 32, 5, "yuv420p10le"))
    codec.check()
    child = ChildCodec(codec, tmp_path, trust=False)
    (tmp_path / "cell").mkdir()
    child.encode(source, RatePoint("index", 2), tmp_path / "cell" / "stream.vcb")
    with child.open_decoder(tmp_path / "cell" / "stream.vcb", source.format) as decoder:
        assert [frame.format for frame in decoder.frames()] == [source.format] * 5
    with pytest.raises(DecodeError, match=r"keyframes are of bmshj2018-hyperprior with weights \w{16}; name its card"):
        list(make("learned", "[]").decode(tmp_path / "cell" / "stream.vcb"))
    with pytest.raises(DecodeError, match=r"with weights (\w{16}), compressai:images is bmshj.* with weights (?!\1)"):
        list(make(qualities="[1, 1, 1]").decode(tmp_path / "cell" / "stream.vcb"))


def test_missing_and_other_weights_are_told(make: Make, tmp_path: Path) -> None:
    codec = make()
    (tmp_path / "images-2.pth").write_bytes(b"others")
    with pytest.raises(UnavailableError, match=r"images-2\.pth: SHA-256 is \w{64}, card images requires \w{64}"):
        codec.check()
    (tmp_path / "images-2.pth").unlink()
    with pytest.raises(UnavailableError, match=r"images-2\.pth: no such weight file; put it there"):
        codec.check()
    make(qualities="[1, 2, 1]").check()  # index 1 is none of the card's rate points


def test_published_weights_are_those_of_the_card_that_is_named(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = make("compressai:bmshj2018-hyperprior", "[1, 2, 8]")
    ours = Catalog().card("bmshj2018-hyperprior").settings["files"]
    assert [file.file for _, file in sorted(codec.published_weights().items())] == [ours[0], ours[1], ours[7]]
    with pytest.raises(UnavailableError, match=rf"no weights {ours[0]} here; run: vcbench fetch weights tiny"):
        codec.check()
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path / "here"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ours[0]).write_bytes(b"not these")
    with pytest.raises(UnavailableError, match=r"SHA-256 is \w{64}; by its name it begins with"):
        codec.check()


def test_fetching_brings_the_weights_of_keyframes(
    make: Make, tmp_path: Path, http_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (tmp_path / "images-1.pth").read_bytes()
    file = f"images-1-{hash_file(tmp_path / 'images-1.pth')[:8]}.pth"
    http_server.files[f"/{file}"] = content
    published = f'url = "{http_server.url}"\nfiles = ["{file}", "{file}"]\n'
    text = IMAGES.format(weights="")
    (tmp_path / "images.toml").write_text(text.replace("[configurations", f"{published}[configurations"))
    codec = make()
    (tmp_path / "here").mkdir()
    fetched = fetch_weights(["tiny"], folder=tmp_path / "here", catalog=Catalog((tmp_path,)), pause=lambda _: None)
    assert [(found.name, found.status) for found in fetched] == [(file, "downloaded")]
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path / "here"))
    codec.check()


def test_wrong_cards_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"tiny: settings\.options\.qualities: are 2, the card has rate indexes 0 to 2"):
        make(qualities="[1, 2]")
    with pytest.raises(CardError, match=r"names the card imagse, but there is no imagse\.toml beside this card"):
        make("compressai:imagse").check()
    with pytest.raises(CardError, match=r"settings\.options\.qualities: quality 3 is outside 1 to 2 of images"):
        make(qualities="[1, 2, 3]").check()
    with pytest.raises(CardError, match=r"whose adapter is ffmpeg; name a card of the adapter compressai"):
        make("compressai:x265").check()
    with pytest.raises(CardError, match=r"keyframes: 'x266' is not a keyframe codec"):
        make("x266")


def test_what_writes_the_keyframes_is_part_of_the_key(make: Make, tmp_path: Path) -> None:
    first = make().tool()
    assert make("compressai:images@other").tool() != first
    card = (tmp_path / "images.toml").read_text()
    digest = hash_file(tmp_path / "images-1.pth")
    (tmp_path / "images.toml").write_text(card.replace(digest, digest[::-1]))
    assert make().tool() != first
    through_ffmpeg = make("x265", "[40, 30, 20]").tool()
    assert through_ffmpeg["ffmpeg"] == ffmpeg.version()
    assert "ffmpeg" not in make("learned", "[]").tool()


def test_a_missing_encoder_is_told_before_anything_is_run(make: Make, tmp_path: Path) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        "#!/bin/sh\ncase $1 in -version) echo 'ffmpeg version 7.0\nlibavcodec 61. 3.100 / 61. 3.100';; "
        "*) echo ' V..... libx264 H.264';; esac\n"
    )
    fake.chmod(0o755)
    make("x265", "[40, 30, 20]")
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.cards import load_card\nfrom bench.registry import build\n"
        "from bench.errors import UnavailableError\n"
        f"folder = Path({str(tmp_path)!r})\ncodec = build(load_card(folder / 'tiny.toml'), folder=folder)\n"
        "try:\n    codec.check()\nexcept UnavailableError as error:\n    print(error)\nprint('torch' in sys.modules)"
    )
    environment = {**os.environ, "VCBENCH_FFMPEG": str(fake)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    told, loaded = done.stdout.splitlines()
    assert "has no encoder libx265, which keyframes are to be coded with" in told
    assert loaded == "False"
