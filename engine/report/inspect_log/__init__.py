"""Logs of Inspect AI, written without that package: the conversations of a run with their scores."""
