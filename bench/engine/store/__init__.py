"""The folder of a result set: what is written, by whom, and who is at work there."""
