"""The card with which `vcbench run` takes a weight file that a user has trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.core.files import hash_file, write_atomically
from bench.neural.coding.weight_file import read_about
from bench.neural.own_codecs import coding
from bench.neural.training.model_card import CardFacts


def write_codec_card(weights: Path, facts: CardFacts, label: str) -> Path:
    """Write a codec's card (TOML) beside its weight file, which it names by its digest; returns the card's file.

    ``label`` tells this training from others in that name: codec, scale, label.
    """
    about = read_about(weights)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{about.codec}-{about.scale}-{label}")[:80]
    rates = int(about.config["rates"])
    told = {
        "name": name,
        "title": f"{facts.title}, {label}",
        "adapter": "neural",
        "kind": "diffusion",
        "licence": facts.licence,
        "paper": facts.paper,
        "note": f"Trained by vcbench train: its figures are this training's, never the paper's. "
        f"{weights.with_suffix('.md').name} says on what and how, and what replaces what.",
        "gop": coding(about.codec).gop(about.config),
        "extension": "vcb",
    }
    text = "\n".join(
        [
            *(f"{key} = {_string(value)}" for key, value in told.items()),
            "",
            "[rates]",
            'parameter = "index"',
            f"values = {list(range(rates))}",
            "minimum = 0",
            f"maximum = {rates - 1}",
            "",
            "[input]",
            'chroma = ["gray", "420", "422", "444"]',
            "bit_depths = [8, 10, 12]",
            "",
            "[[weights]]",
            f"file = {_string(weights.name)}",
            f"sha256 = {_string(hash_file(weights))}",
            "",
            "[settings]",
            f"codec = {_string(about.codec)}",
            "# the number of threads changes the bits, and cells run side by side",
            "threads = 1",
            "",
        ]
    )
    card = weights.with_name(f"{name}.toml")
    write_atomically(card, text.encode())
    return card


def _string(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does and DEL besides."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False).replace("\x7f", "\\u007f")
