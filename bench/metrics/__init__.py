"""Quality metrics: fidelity, perceptual, temporal consistency."""
