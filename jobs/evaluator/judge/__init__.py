"""Judges: what makes a reply's score, item by item, each with its evidence."""
