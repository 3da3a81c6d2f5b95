"""Codecs in a user's checkout of their authors' code."""
