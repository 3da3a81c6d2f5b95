"""Our codecs, a package each."""
