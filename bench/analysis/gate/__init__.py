"""A candidate's results held against a baseline's: rules, paired cells, verdicts."""
