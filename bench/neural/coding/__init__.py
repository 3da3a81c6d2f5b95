"""From latents and pictures to payloads and back, and the files that trained networks are in."""
