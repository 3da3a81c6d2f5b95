"""How a card's codec is driven."""
