"""RD curves, BD-rate with its doubts, confidence intervals."""
