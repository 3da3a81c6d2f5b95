"""Rate points found by search."""
