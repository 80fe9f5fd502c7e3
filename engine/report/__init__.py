"""Rows and looks at a run, written for people and for other programs."""
