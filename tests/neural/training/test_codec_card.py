"""Cards of weights that users trained: read back as cards, as vcbench's own where weights are its own."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("compressai", "diffusers")

from safetensors.torch import save_file  # noqa: E402

from bench.cards import brought, load_card  # noqa: E402
from bench.core.files import canonical_json, hash_file  # noqa: E402
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig  # noqa: E402
from bench.neural.codecs.diff_sit.config import DiffSitConfig  # noqa: E402
from bench.neural.codecs.s2vc.model import S2vcConfig  # noqa: E402
from bench.neural.coding.weight_file import _ENTRY, About  # noqa: E402
from bench.neural.training.codec_card import write_codec_card  # noqa: E402
from bench.neural.training.model_card import CardFacts  # noqa: E402

FACTS = CardFacts("Some codec", "A paper", "Apache-2.0", "videos in clips")
CONFIGS = {"s2vc": S2vcConfig, "diff-sit": DiffSitConfig, "actdiff-vc": ActDiffConfig}


@pytest.mark.parametrize("codec", sorted(CONFIGS))
def test_a_card_is_one_and_names_its_weights(tmp_path: Path, codec: str) -> None:
    weights = tmp_path / f"{codec}-small.safetensors"
    about = About(codec, asdict(CONFIGS[codec](rates=3)), "small")
    save_file({"x": torch.zeros(1)}, weights, {_ENTRY: canonical_json(asdict(about))})
    card = load_card(write_codec_card(weights, FACTS, "first try"))
    assert card.name == f"{codec}-small-first-try"
    assert (card.rates.values, card.rates.maximum) == ((0, 1, 2), 2)
    assert [(entry.file, entry.sha256) for entry in card.weights] == [(weights.name, hash_file(weights))]
    assert card.kind == "diffusion"
    assert card.licence == "Apache-2.0"
    assert "never the paper's" in (card.note or "")


@pytest.mark.parametrize("name", ["s2vc-small", "diff-sit-small", "actdiff-vc-small"])
def test_of_the_weights_that_come_with_vcbench_it_is_their_card(tmp_path: Path, name: str) -> None:
    (own,) = (path for folder in brought("codecs") if (path := folder / f"{name}.toml").is_file())
    known = load_card(own).configured("learned")
    weights = tmp_path / f"{name}.safetensors"
    # the wheel does not hold them, the repository does
    shutil.copy(Path(__file__).parents[3] / "codecs" / (known.weights[0].file or ""), weights)
    made = load_card(write_codec_card(weights, FACTS, "again"))
    for what in ("adapter", "kind", "gop", "extension", "rates", "input", "rate_kind"):
        assert getattr(made, what) == getattr(known, what), what
    assert made.settings == {name: value for name, value in known.settings.items() if name != "options"}
    assert made.weights[0].sha256 == known.weights[0].sha256


@pytest.mark.parametrize("text", ['"quoted" \\ back', "line\nbreak", "bell \x07 and \x7f", "größer ☃ 動画"])
def test_any_words_stay_words(tmp_path: Path, text: str) -> None:
    weights = tmp_path / "w.safetensors"
    about = About("s2vc", asdict(S2vcConfig()), "small")
    save_file({"x": torch.zeros(1)}, weights, {_ENTRY: canonical_json(asdict(about))})
    card = load_card(write_codec_card(weights, CardFacts("Some codec", "A paper", text, "clips"), text))
    assert card.licence == " ".join(text.split())
    assert card.title == f"Some codec, {' '.join(text.split())}"
    assert card.name.startswith("s2vc-small-")
