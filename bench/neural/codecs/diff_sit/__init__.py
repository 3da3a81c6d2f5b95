"""Diff-SIT, our own: efficient video diffusion with sparse information transmission."""
