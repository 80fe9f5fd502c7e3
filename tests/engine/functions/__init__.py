"""Tests of functions as jobs."""
