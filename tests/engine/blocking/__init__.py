"""Tests of runs by calls that block."""
