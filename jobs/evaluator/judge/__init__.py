"""Judges score a reply item by item and quote the evidence for each."""
