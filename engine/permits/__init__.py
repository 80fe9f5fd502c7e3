"""Waiting for permits: one line for all calls that have the same limits, served in order."""

from engine.permits.book import MemoryBook, Permit, PermitBook
from engine.permits.lead_time import CONNECT_MEMORY, LEAD_MAX_S, LeadTime
from engine.permits.permits import Permits

__all__ = [
    "CONNECT_MEMORY",
    "LEAD_MAX_S",
    "LeadTime",
    "MemoryBook",
    "Permit",
    "PermitBook",
    "Permits",
]
