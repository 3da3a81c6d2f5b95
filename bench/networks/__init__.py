"""Published networks that metrics and codecs rest on; all of it is imported late."""
