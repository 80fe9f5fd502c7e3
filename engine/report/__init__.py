"""Rows, plans and the status of a run as text for people and as data for other programs."""
