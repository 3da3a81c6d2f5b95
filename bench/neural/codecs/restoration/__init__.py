"""Codecs that send a small picture by a classical encoder and restore it by a network."""
