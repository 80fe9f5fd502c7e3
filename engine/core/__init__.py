"""Decisions as plain functions of values: no I/O, no clock, no await, no chance."""
