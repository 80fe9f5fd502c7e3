"""The numbers of a run: one row per cell, and how many cells have an answer."""
