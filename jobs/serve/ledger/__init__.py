"""The service's own database, and the only part of jobs that speaks SQL: keys, usage, calls, history."""

from jobs.serve.ledger.file import LedgerError, LedgerFile, LedgerTooNew
from jobs.serve.ledger.history import Past
from jobs.serve.ledger.keys import Key
from jobs.serve.ledger.service import Ledger

__all__ = ["Key", "Ledger", "LedgerError", "LedgerFile", "LedgerTooNew", "Past"]
