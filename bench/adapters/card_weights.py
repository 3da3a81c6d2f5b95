"""Weight files that a card names: below the card's folder, and the very files that the card means."""

from __future__ import annotations

from pathlib import Path

from bench.cards import Card, Weights
from bench.core.files import file_digest
from bench.errors import UnavailableError
from bench.weights import files as weights


def locate(card: Card, folder: Path | None, wanted: Weights, *, otherwise: str) -> Path:
    """The verified file of a card's weights; UnavailableError saying what to do.

    Weights that vcbench fetches are looked for where it puts them, and so are its own that are not below the folder.
    ``otherwise``: how to come by a file for which the card names no address, such as "put it there".
    """
    if wanted.fetched is not None:
        return _fetched(card, wanted.fetched, wanted.sha256)
    if folder is None:
        raise UnavailableError(
            f"card {card.name}: is not in a folder, so {wanted.file} cannot be found below it; save the card to a file"
        )
    path = folder / wanted.file
    if not path.is_file() and (known := weights.of_digest(wanted.sha256)) is not None:
        return weights.path(known.name)
    if not path.is_file():
        remedy = f"get it from {wanted.url}, and put it there" if wanted.url else otherwise
        raise UnavailableError(f"{path}: no such weight file; {remedy}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnavailableError(
            f"{path}: is a link to {path.resolve()}, outside {folder.resolve()}; put the file itself there"
        )
    found = file_digest(path)
    if found != wanted.sha256:
        raise UnavailableError(
            f"{path}: SHA-256 is {found}, card {card.name} requires {wanted.sha256}; "
            "put the right file there, or name the new one's digest in a card of your own"
        )
    return path


def _fetched(card: Card, name: str, sha256: str) -> Path:
    if (known := weights.get(name).sha256) != sha256:
        raise UnavailableError(
            f"card {card.name}: requires {name} with SHA-256 {sha256}, weights.toml has {known}; correct the card"
        )
    return weights.path(name)
