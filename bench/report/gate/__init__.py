"""The gate's verdicts for people and for CI services."""
