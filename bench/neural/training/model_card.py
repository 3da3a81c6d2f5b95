"""The card of a weight file in words: what it is, what it was trained on, how, and what stands in for what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.files import hash_file, write_atomically
from bench.errors import UsageError


@dataclass(frozen=True)
class CardFacts:
    """What a run does not know: title of the codec, its paper, licence of the weights, where the clips are from, and
    what share of the weights that it started from was kept."""

    title: str
    paper: str
    licence: str
    data: str
    kept: float = 0.0


def write_model_card(path: Path, weights: Path, run: Path, facts: CardFacts) -> None:
    """Write the card (Markdown) of a weight file from the ``run.json`` of its training.

    Raises UsageError, naming the file, where that cannot be read or lacks something.
    """
    try:
        told = json.loads(run.read_text(encoding="utf-8"))
        text = model_card(weights, told, facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{run}: does not describe a training ({error!r}); name the run.json of a vcbench train"
        ) from None
    write_atomically(path, text.encode())


def model_card(weights: Path, run: Mapping[str, Any], facts: CardFacts) -> str:
    """The card's text; KeyError for what ``run`` lacks."""
    stages = run["stages"]
    rows = [
        ("codec", run["codec"]),
        ("file", f"{weights.name}, {weights.stat().st_size / 1e6:.1f} MB, float16"),
        ("SHA-256", f"`{hash_file(weights)}`"),
        ("licence", facts.licence),
        ("after", f"{facts.paper}; the figures are this implementation's own, never the paper's"),
        ("data", f"{facts.data}: {len(run['clips'])} clips to train on, {len(run['held_out'])} held out"),
        ("steps", f"{sum(stage['steps'] for stage in stages)} in {len(stages)} stages, below"),
        ("seed", str(run["seed"])),
        *([("started from", f"{run['from']}")] if "from" in run else []),
        *([("mixed", f"{facts.kept:.0%} of the weights that it started from")] if facts.kept else []),
    ]
    settings = [f"`{key} = {json.dumps(value)}`" for key, value in run["config"].items()]
    instead = [f"- {what}: {stand_in}" for what, stand_in in run["substitutions"].items()]
    return "\n".join(
        [
            f"# {facts.title}",
            "",
            *_table(("", ""), rows),
            "",
            "What the paper has, and what stands in for it here:",
            "",
            *(instead or ["- nothing"]),
            "",
            "Training:",
            "",
            *_table(
                ("stage", "steps", "learning rate", "batch", "picture", "frames"),
                [
                    (
                        stage["name"],
                        str(stage["steps"]),
                        f"{stage['learning_rate']:g}",
                        str(stage["batch"]),
                        f"{stage['size']}x{stage['size']}",
                        f"{stage['lead']} + {stage['frames']}" if stage.get("lead") else str(stage["frames"]),
                    )
                    for stage in stages
                ],
            ),
            "",
            f"Settings: {', '.join(settings)}.",
            "",
        ]
    )


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return [line(header), "|" + "---|" * len(header), *map(line, rows)]
