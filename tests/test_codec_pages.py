"""The table of codecs in docs/codecs/README.md holds every card, and says of it what the card says."""

from __future__ import annotations

import re
from pathlib import Path

from bench.cards import load_card

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "codecs" / "README.md"
CARDS = sorted(path.stem for path in (ROOT / "codecs").glob("*.toml"))


def rows() -> dict[str, list[str]]:
    """Cells of each row of the table by the codec's name."""
    table = PAGE.read_text(encoding="utf-8").partition("| codec | kind |")[2].partition("\n\n")[0]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
    return {re.sub(r"^\[(.*?)\].*$", r"\1", row[0].strip()): row for row in found}


def test_every_card_has_a_row_and_every_row_a_card() -> None:
    assert sorted(rows()) == CARDS


def test_a_row_says_what_the_card_says() -> None:
    for name, (_, kind, code, rate, needed, verified) in rows().items():
        card = load_card(ROOT / "codecs" / f"{name}.toml")
        assert (kind, rate) == (card.kind, card.rate_kind), name
        assert code and needed and verified, name


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
