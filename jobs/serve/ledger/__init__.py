"""The service's own database: keys, usage, calls and history. Only this part of jobs uses SQL."""

from jobs.serve.ledger.file import LedgerError, LedgerFile, LedgerTooNew
from jobs.serve.ledger.history import PastResult
from jobs.serve.ledger.keys import Key
from jobs.serve.ledger.service import Ledger

__all__ = ["Key", "Ledger", "LedgerError", "LedgerFile", "LedgerTooNew", "PastResult"]
