"""Weight files: what coding needs is there and nothing else, and every wrong file is refused by name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from bench.bitstream.container import StreamHeader  # noqa: E402
from bench.core.files import hash_file  # noqa: E402
from bench.errors import UnavailableError, UnknownNameError, UsageError  # noqa: E402
from bench.neural.codecs.s2vc.model import S2vc  # noqa: E402
from bench.neural.coding.weight_file import About, load, save  # noqa: E402
from bench.neural.training.model_card import CardFacts, write_model_card  # noqa: E402
from bench.video.frame import Frame  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402


@pytest.fixture(scope="module")
def frames(tiny_clip: Callable[..., Path]) -> list[Frame]:
    return list(open_sequence(tiny_clip(48, 40, 3)).read())


def stream(path: Path, frames: list[Frame]) -> bytes:
    loaded = load(path)
    file = io.BytesIO()
    header = StreamHeader(loaded.about.codec, loaded.digest, frames[0].format, len(frames), 1)
    loaded.coding.encode(loaded.model, frames, header, file)
    return file.getvalue()


def test_a_stream_is_decoded_with_the_file_read_again(tiny_weights: Path, frames: list[Frame]) -> None:
    loaded = load(tiny_weights)
    data = stream(tiny_weights, frames)
    decoded = loaded.coding.decode(loaded.model, io.BytesIO(data), name="s2vc", weights=loaded.digest)
    assert [frame.format for frame in decoded] == [frame.format for frame in frames]


def test_the_file_holds_half_precision_and_integer_tables_of_what_codes(tiny_s2vc: S2vc, tiny_weights: Path) -> None:
    tensors = load_file(tiny_weights)
    assert {value.dtype for name, value in tensors.items() if not name.startswith("tables/")} == {torch.float16}
    assert sorted(name for name in tensors if name.startswith("tables/")) == [
        f"tables/{coder}.coder/{what}" for coder in ("inter", "intra") for what in ("gaussian", "hyper")
    ]
    assert not [name for name in tensors if name.startswith(("vae.encoder", "guide.projection")) or ".prior." in name]
    assert torch.equal(tensors["inter.context_down.conv.weight"], tiny_s2vc.inter.context_down.conv.weight.half())


def test_coding_uses_the_stored_tables(tiny_weights: Path, tmp_path: Path, frames: list[Frame]) -> None:
    """Tables that expect far larger symbols than there are make a longer stream."""
    tensors = load_file(tiny_weights)
    table = tensors["tables/intra.coder/gaussian"]
    tensors["tables/intra.coder/gaussian"] = torch.cat([table[-1:]] * len(table))
    with safe_open(tiny_weights, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    sizes = [len(stream(path, frames[:1])) for path in (tiny_weights, tmp_path / "other.safetensors")]
    assert sizes[1] > sizes[0]


def test_equal_models_give_equal_files(tiny_s2vc: S2vc, tiny_weights: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    assert (
        save(again, About("s2vc", asdict(tiny_s2vc.config)), tiny_s2vc) == hash_file(again) == hash_file(tiny_weights)
    )
    assert load(again).digest == bytes.fromhex(hash_file(again))[:8]


def test_tensors_beyond_half_precision_are_named(tiny_s2vc: S2vc, tmp_path: Path) -> None:
    bias = tiny_s2vc.intra.context_down.conv.bias
    before = bias.detach().clone()
    try:
        with torch.no_grad():
            bias[0] = 1e6
        with pytest.raises(ValueError, match=r"intra\.context_down\.conv\.bias: has values beyond float16"):
            save(tmp_path / "x.safetensors", About("s2vc", asdict(tiny_s2vc.config)), tiny_s2vc)
    finally:
        with torch.no_grad():
            bias.copy_(before)
    assert not list(tmp_path.iterdir())


def rewritten(source: Path, target: Path, about: object, *, without: str | None = None) -> Path:
    tensors = {name: value for name, value in load_file(source).items() if name != without}
    save_file(tensors, target, {"vcbench": json.dumps(about)})
    return target


def told(path: Path) -> str:
    with pytest.raises(UnavailableError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_missing_damaged_and_foreign_files_are_refused(tiny_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    assert "no such weight file" in told(path)
    path.write_bytes(tiny_weights.read_bytes()[:-100])
    assert "is damaged" in told(path)
    path.write_bytes(b"PK\x03\x04 no safetensors")
    assert "is damaged" in told(path)
    save_file({"a": torch.zeros(1)}, path)
    assert "holds no codec of vcbench" in told(path)
    assert "holds no codec of vcbench" in told(rewritten(tiny_weights, path, ["s2vc"]))


def test_files_of_another_vcbench_are_refused(tiny_s2vc: S2vc, tiny_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    about = asdict(About("s2vc", asdict(tiny_s2vc.config)))
    assert "has layout 2, this vcbench reads 1" in told(rewritten(tiny_weights, path, {**about, "version": 2}))
    wider = {**about, "config": {**about["config"], "width": 24}}
    assert "size mismatch" in told(rewritten(tiny_weights, path, wider)) or "does not fit" in told(path)
    assert "unexpected keyword" in told(rewritten(tiny_weights, path, {**about, "config": {"depth": 3}}))
    assert "unknown codec of our own 'vc2s'" in told(rewritten(tiny_weights, path, {**about, "codec": "vc2s"}))
    lacking = rewritten(tiny_weights, path, about, without="inter.context_down.conv.bias")
    assert "inter.context_down.conv.bias is missing" in told(lacking)
    assert "tables/inter.coder/hyper" in told(rewritten(tiny_weights, path, about, without="tables/inter.coder/hyper"))


def test_a_codec_that_cannot_code_is_not_saved(tiny_s2vc: S2vc, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="codec of our own"):
        save(tmp_path / "x", replace(About("s2vc", {}), codec="x265"), tiny_s2vc)


FACTS = CardFacts("S2VC, small", "arXiv 2512.07480", "Apache-2.0", "clips of our own")


def test_the_model_card_says_what_was_trained_on_what(tiny_weights: Path, tmp_path: Path) -> None:
    stage = {"name": "intra", "steps": 30, "learning_rate": 5e-4, "batch": 8, "size": 128, "frames": 1}
    run = {
        "codec": "s2vc", "scale": "small", "seed": 7, "config": {"rates": 3}, "clips": ["a.mp4", "b.mp4"],
        "held_out": ["c.mp4"], "substitutions": {"LPIPS": "features | of SqueezeNet"},
        "stages": [stage, {**stage, "name": "inter", "steps": 12, "frames": 2}],
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run))
    write_model_card(tmp_path / "card.md", tiny_weights, tmp_path / "run.json", FACTS)
    text = (tmp_path / "card.md").read_text()
    assert hash_file(tiny_weights) in text
    assert "| steps | 42 in 2 stages, below |" in text
    assert "2 clips to train on, 1 held out" in text
    assert "| seed | 7 |" in text
    assert "- LPIPS: features | of SqueezeNet" in text
    assert "| inter | 12 | 0.0005 | 8 | 128x128 | 2 |" in text


@pytest.mark.parametrize("content", ["{}", "[]", "not json"])
def test_a_run_that_says_too_little_is_refused(tiny_weights: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"run\.json: does not describe a training"):
        write_model_card(tmp_path / "card.md", tiny_weights, tmp_path / "run.json", FACTS)
