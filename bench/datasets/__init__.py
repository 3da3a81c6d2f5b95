"""Datasets: their manifests, their files on this machine, downloads, and the embedded one."""
