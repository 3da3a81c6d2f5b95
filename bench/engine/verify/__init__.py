"""Stored results checked again."""
