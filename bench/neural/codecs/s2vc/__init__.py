"""S2VC, our own: single-step diffusion-based video coding with semantic and temporal guidance."""
