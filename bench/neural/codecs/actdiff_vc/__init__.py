"""ActDiff-VC, our own: active sampling for ultra-low-bit-rate video compression."""
