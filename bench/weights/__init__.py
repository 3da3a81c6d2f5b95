"""Weights of networks that vcbench did not train: which there are, where, verified, and downloads."""
