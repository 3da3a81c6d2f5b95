"""What every part rests on and nothing of codecs, videos or results is known to."""
