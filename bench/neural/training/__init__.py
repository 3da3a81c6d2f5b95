"""The training of our codecs."""
