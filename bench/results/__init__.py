"""Result sets as tables."""
