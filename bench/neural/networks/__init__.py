"""Networks that our codecs are built of."""
