"""Bytes of bitstreams: what those of standards hold, our own container, and entropy coding."""
