"""Our own small neural codecs and what they share."""
