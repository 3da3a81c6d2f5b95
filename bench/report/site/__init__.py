"""The report's site."""
