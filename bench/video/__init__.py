"""Sequences and frames: reading, writing, planes, bit depth, chroma, colour conversion."""
